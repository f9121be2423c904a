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
    offset_ms: Arc<AtomicI64>,
}

impl Clock {
    /// The system's clock.
    pub fn system() -> Self {
        Self::default()
    }

    /// Now.
    pub fn now_ms(&self) -> u64 {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let now = i64::try_from(since.as_millis()).unwrap_or(i64::MAX);
        let shifted = now.saturating_add(self.offset_ms.load(Ordering::Relaxed));
        u64::try_from(shifted).unwrap_or_default()
    }

    /// Makes this clock, and every clone of it, go wrong by so much: for tests of skew.
    pub fn shift_ms(&self, by: i64) {
        self.offset_ms.fetch_add(by, Ordering::Relaxed);
    }
}
