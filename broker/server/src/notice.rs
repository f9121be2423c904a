// SPDX-License-Identifier: EUPL-1.2
//! Notices: what is done with the ledger itself is a leaf of it too, so that reading bodies,
//! forgetting and holding can be read and checked like any access.

use einmal_ledger::{AppendError, Ledger, Logged, NewEntry};
use einmal_peer::random;
use einmal_protocol::{
    leaf::{LeafKind, body_bytes},
    time::day_of,
    wire::v1::{NoticeBody, body, notice_body::What},
};

/// A reason is at most so many bytes long.
pub const REASON_MAX: usize = 500;

/// Logs a notice. `by` is who did it, as "auditor/<id>".
///
/// # Errors
/// As for any append; then what it speaks of must not be done.
pub async fn log(
    ledger: &Ledger,
    by: &str,
    what: What,
    now_ms: u64,
) -> Result<Logged, AppendError> {
    let id = random::request_id(now_ms).map_err(|_| AppendError::Busy)?;
    let notice = NoticeBody { by: by.to_owned(), at_ms: now_ms, what: Some(what) };
    ledger
        .append(NewEntry {
            authority: by.to_owned(),
            id,
            kind: LeafKind::Notice,
            day: day_of(now_ms),
            body: body_bytes(body::Kind::Notice(notice)),
        })
        .await
}

/// A reason that may stand in the ledger: one line, not empty, not long.
pub fn is_reason(text: &str) -> bool {
    !text.trim().is_empty() && text.len() <= REASON_MAX && !text.chars().any(char::is_control)
}
