// SPDX-License-Identifier: EUPL-1.2
//! Forgetting: the horizons first, then day by day the bodies, then the slots.

use std::time::Duration;

use sqlx::AssertSqlSafe;

use super::{
    PostgresStore,
    rows::{cell, code, fault, index, number},
};
use crate::store::StoreError;

/// Slots that one commit deletes, so that appends wait only shortly.
const SLOTS_AT_ONCE: i64 = 2000;
/// Who reads bodies holds back the end of a partition, and who waits for it holds back all
/// others: it is tried for a short time, and again later.
const LOCK_MS: u32 = 1000;
const ATTEMPTS: u32 = 10;
const PAUSE: Duration = Duration::from_millis(200);
/// Times of ids have 48 bits.
const TIME_MAX: u64 = (1 << 48) - 1;

pub(super) async fn forget(
    store: &PostgresStore,
    bodies_before: u32,
    ids_before_ms: u64,
) -> Result<u64, StoreError> {
    let ids_before_ms = ids_before_ms.min(TIME_MAX);
    let (mut transaction, row, _) = store.lock("").await?;
    let bodies_from = row.bodies_from.max(bodies_before);
    let ids_from_ms = row.ids_from_ms.max(ids_before_ms);
    let horizons = format!(
        "UPDATE {}.ledger SET bodies_from = {bodies_from}, ids_from_ms = {ids_from_ms}",
        store.schema
    );
    transaction.run(&horizons).await.map_err(fault)?;
    transaction.commit().await?;
    let bodies = forget_bodies(store, bodies_from).await?;
    forget_slots(store, ids_from_ms).await?;
    Ok(bodies)
}

async fn forget_bodies(store: &PostgresStore, before: u32) -> Result<u64, StoreError> {
    let (mut count, mut attempts) = (0, 0);
    while let Some(result) = forget_oldest_day(store, before).await? {
        match result {
            Ok(bodies) => (count, attempts) = (count + bodies, 0),
            Err(error) if attempts == ATTEMPTS => return Err(error),
            Err(_) => {
                attempts += 1;
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
    Ok(count)
}

/// Drops the oldest day's partition; nothing where none is older. An inner error says that it is
/// being read.
async fn forget_oldest_day(
    store: &PostgresStore,
    before: u32,
) -> Result<Option<Result<u64, StoreError>>, StoreError> {
    let schema = &store.schema;
    let oldest =
        format!("SELECT day, bodies FROM {schema}.day WHERE day < {before} ORDER BY day LIMIT 1");
    let (mut transaction, _, oldest) = store.lock(&oldest).await?;
    let Some(oldest) = oldest.first() else {
        transaction.roll_back().await;
        return Ok(None);
    };
    let (day, bodies): (i32, u64) = (cell(oldest, 0)?, index(oldest, 1)?);
    let dropped = transaction
        .run(&format!(
            "SET LOCAL lock_timeout = {LOCK_MS}; DROP TABLE IF EXISTS {schema}.body_{day}; \
             DELETE FROM {schema}.day WHERE day = {day}"
        ))
        .await;
    match dropped {
        Ok(_) => {
            transaction.commit().await?;
            Ok(Some(Ok(bodies)))
        }
        Err(error) if code(&error) == "55P03" => {
            transaction.roll_back().await;
            Ok(Some(Err(fault(error))))
        }
        Err(error) => Err(fault(error)),
    }
}

/// Deletes slots from the oldest on; each time from where the last time ended, for what was
/// deleted still stands in the index for a while.
async fn forget_slots(store: &PostgresStore, ids_before_ms: u64) -> Result<(), StoreError> {
    // A slot's key begins with the six bytes of time of its UUIDv7.
    let [_, _, before @ ..] = number(ids_before_ms)?.to_be_bytes();
    let delete = store.in_schema(
        "WITH gone AS (DELETE FROM einmal_schema.slot WHERE key IN ( \
             SELECT key FROM einmal_schema.slot WHERE key >= $1 AND key < $2 ORDER BY key LIMIT $3 \
         ) RETURNING key) SELECT key FROM gone ORDER BY key DESC LIMIT 1",
    );
    let mut from = Vec::new();
    loop {
        let (mut transaction, _) = store.begin("").await?;
        let question = sqlx::query(AssertSqlSafe(delete.clone()));
        let question = question.bind(from.clone()).bind(before.to_vec()).bind(SLOTS_AT_ONCE);
        let rows = transaction.ask(question).await.map_err(fault)?;
        let last = rows.first().map(|row| cell::<Vec<u8>>(row, 0)).transpose()?;
        transaction.commit().await?;
        match last {
            Some(last) => from = last,
            None => return Ok(()),
        }
    }
}
