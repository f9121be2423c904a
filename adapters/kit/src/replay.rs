// SPDX-License-Identifier: EUPL-1.2
//! What an adapter remembers of exchanges: ids that were revealed, so that none is answered
//! twice, and commitments that were never logged, by broker and authority.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
};

use einmal_protocol::{
    RequestId,
    time::{REQUEST_LIFE_MS, SKEW_MS},
};

/// An id is remembered until no request under it can be fresh any more.
const LIFE_MS: u64 = REQUEST_LIFE_MS + 2 * SKEW_MS;
const IDS_MAX: usize = 1_000_000;
/// From so many orphans of one broker and authority within the window on, each is an alarm: a
/// crash leaves a few, a broker that tries leaves many.
const ORPHANS_ALARM: u64 = 3;
const ORPHANS_WINDOW_MS: u64 = 10 * 60_000;

/// Ids that were revealed.
#[derive(Debug, Default)]
pub(crate) struct Revealed(Mutex<HashMap<(String, RequestId), u64>>);

impl Revealed {
    /// Whether an id was revealed.
    pub(crate) fn knows(&self, authority: &str, id: RequestId) -> bool {
        let ids = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        ids.contains_key(&(authority.to_owned(), id))
    }

    /// Remembers an id, once; false where it stands already or there is no more room, and
    /// nothing may then be revealed.
    pub(crate) fn remember(&self, authority: &str, id: RequestId, now_ms: u64) -> bool {
        let mut ids = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if ids.len() >= IDS_MAX {
            ids.retain(|_, until| now_ms < *until);
            if ids.len() >= IDS_MAX {
                return false;
            }
        }
        let until = id.issued_at_ms().max(now_ms).saturating_add(LIFE_MS);
        ids.insert((authority.to_owned(), id), until).is_none()
    }
}

/// Commitments that were never logged.
#[derive(Debug, Default)]
pub(crate) struct Orphans(Mutex<HashMap<(String, String), (u64, u64)>>);

impl Orphans {
    /// Counts one, and raises an alarm where they become many: a broker that asks and does not
    /// log learns nothing, but it tries.
    pub(crate) fn count(&self, broker: &str, authority: &str, now_ms: u64) {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (broker.to_owned(), authority.to_owned());
        let (since_ms, count) = counts.entry(key).or_insert((now_ms, 0));
        if now_ms > since_ms.saturating_add(ORPHANS_WINDOW_MS) {
            (*since_ms, *count) = (now_ms, 0);
        }
        *count += 1;
        if *count >= ORPHANS_ALARM {
            tracing::error!(broker, authority, count, "alarm: commitments were not logged");
        } else {
            tracing::warn!(broker, authority, count, "a commitment was not logged");
        }
    }
}
