// SPDX-License-Identifier: EUPL-1.2
//! What a server must be for its COMMIT to mean that nothing is lost: asked in every transaction
//! that writes, for each may have met another server.

use sqlx::postgres::PgRow;

use super::{
    lane::Transaction,
    rows::{cell, fault},
};
use crate::store::StoreError;

/// The question. Whether a standby may lag is asked of the function under the view, because to
/// plan the view takes longer than the commit of a small batch.
pub(super) const QUESTION: &str = "SELECT \
    current_setting('fsync'), \
    current_setting('full_page_writes'), \
    current_setting('data_sync_retry'), \
    current_setting('synchronous_commit'), \
    pg_is_in_recovery(), \
    pg_has_role('pg_read_all_stats', 'USAGE'), \
    EXISTS (SELECT FROM pg_stat_get_wal_senders() AS sender \
        WHERE sender.state IN ('streaming', 'catchup') \
        AND sender.sync_state IN ('async', 'potential')), \
    current_user::text, \
    pg_postmaster_start_time()::text; ";

/// Which standbys may lag. A base backup and an archive of the log are read by no one who could be
/// failed over to.
const STANDBYS: &str = "SELECT string_agg(application_name, ', ') FROM pg_stat_replication \
    WHERE state IN ('streaming', 'catchup') AND sync_state IN ('async', 'potential') \
    AND application_name NOT IN ('pg_basebackup', 'pg_receivewal')";

/// Refuses a server that may lose what it has committed; otherwise says when it was started,
/// which tells one server from another.
pub(super) async fn check(
    transaction: &mut Transaction<'_>,
    answer: Option<&PgRow>,
) -> Result<String, StoreError> {
    let Some(answer) = answer else {
        return Err(StoreError::Unavailable("the server did not say its settings".to_owned()));
    };
    let setting = |at| cell::<String>(answer, at);
    let standbys = match cell(answer, 6)? {
        true => lagging(transaction).await?,
        false => None,
    };
    let refusal = if setting(0)? != "on" {
        "the server may lose what it has committed: set fsync = on".to_owned()
    } else if setting(1)? != "on" {
        "the server may be damaged by a power cut: set full_page_writes = on".to_owned()
    } else if setting(2)? != "off" {
        "the server goes on after a failed sync: set data_sync_retry = off".to_owned()
    } else if !["on", "remote_apply"].contains(&setting(3)?.as_str()) {
        "the server answers before a commit is durable: set synchronous_commit = on".to_owned()
    } else if cell(answer, 4)? {
        "the server is a standby: connect to the primary".to_owned()
    } else if !cell::<bool>(answer, 5)? {
        let user = setting(7)?;
        format!("whether a standby may lag cannot be seen: GRANT pg_monitor TO {user}")
    } else if let Some(standbys) = standbys {
        format!(
            "the standby {standbys} may lack what was committed: name it in \
             synchronous_standby_names and wait until it has caught up, or disconnect it"
        )
    } else {
        return setting(8);
    };
    Err(StoreError::Unavailable(refusal))
}

async fn lagging(transaction: &mut Transaction<'_>) -> Result<Option<String>, StoreError> {
    let rows = transaction.run(STANDBYS).await.map_err(fault)?;
    rows.first().map_or(Ok(None), |row| cell(row, 0))
}
