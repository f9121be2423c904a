// SPDX-License-Identifier: EUPL-1.2
//! How many logins a minute go on to the provider. Pure.

use std::sync::{Mutex, PoisonError};

/// So many a minute, evenly, with ten seconds' worth at once.
pub(super) struct Pace {
    step_us: u64,
    next_us: Mutex<u64>,
}

impl Pace {
    pub(super) fn new(per_minute: u32) -> Self {
        Self { step_us: 60_000_000 / u64::from(per_minute.max(1)), next_us: Mutex::new(0) }
    }

    pub(super) fn admits(&self, now_ms: u64) -> bool {
        let now_us = now_ms.saturating_mul(1000);
        let mut next = self.next_us.lock().unwrap_or_else(PoisonError::into_inner);
        let at = (*next).max(now_us);
        let good = at - now_us < 10_000_000;
        if good {
            *next = at + self.step_us;
        }
        good
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pace_lets_through_what_was_agreed() {
        let pace = Pace::new(600);
        let admitted = (0..60_000).filter(|ms| pace.admits(1_000_000 + ms)).count();
        assert!((690..=710).contains(&admitted), "{admitted}: a minute's, and 10 s ahead");
        assert!(!pace.admits(1_060_000) && pace.admits(1_070_000));
    }
}
