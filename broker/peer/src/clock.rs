// SPDX-License-Identifier: EUPL-1.2
//! The clock, passed in wherever time matters, so that tests can move it.

use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::{SystemTime, UNIX_EPOCH},
};

/// Tells UTC milliseconds since 1970.
#[derive(Clone, Debug, Default)]
pub struct Clock {
    stands_at_ms: Option<u64>,
    offset_ms: Arc<AtomicI64>,
}

impl Clock {
    /// The system's clock.
    pub fn system() -> Self {
        Self::default()
    }

    /// A clock that stands still until it is shifted: for tests.
    pub fn standing_at(now_ms: u64) -> Self {
        Self { stands_at_ms: Some(now_ms), ..Self::default() }
    }

    /// Now.
    pub fn now_ms(&self) -> u64 {
        let now_ms = self.stands_at_ms.unwrap_or_else(|| {
            let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
        });
        now_ms.saturating_add_signed(self.offset_ms.load(Ordering::Relaxed))
    }

    /// Makes this clock, and every clone of it, go wrong by so much: for tests of skew.
    pub fn shift_ms(&self, by: i64) {
        self.offset_ms.fetch_add(by, Ordering::Relaxed);
    }
}
