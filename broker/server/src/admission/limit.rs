// SPDX-License-Identifier: EUPL-1.2
//! How many exchanges the broker works on at once, found by how long its own work takes. Pure: it
//! knows no clock.
//!
//! Where the time is short, the limit grows by its square root; where it is long, it shrinks in
//! proportion. What is long is measured too: more than three times what the same work takes in a
//! small crowd, and more than a few milliseconds. At its smallest the crowd cannot be what is
//! slow, so what is measured there is how long the work takes now: a ledger that became slower is
//! learnt, and does not hold the broker down.

/// The least that work is begun on at once, whatever it takes.
pub(super) const AT_ONCE_MIN: usize = 32;
/// What it begins with.
const AT_ONCE_FIRST: f64 = 64.0;
/// So many times what the work takes in a small crowd is too long.
const TOO_LONG: f64 = 3.0;
/// A limit shrinks by no more than this at a time.
const SHRINK_MAX: f64 = 0.5;
/// Judged are so many exchanges together: about a whole crowd.
const TOGETHER_MIN: usize = 32;
const TOGETHER_MAX: usize = 512;

/// The limit, and what it was found by.
#[derive(Debug)]
pub(super) struct LatencyLimit {
    at_once: f64,
    at_once_max: f64,
    /// Up to here nothing counts as long, in microseconds.
    short_us: f64,
    /// What the work takes in a small crowd, in microseconds.
    base_us: f64,
    took_us: Vec<u32>,
    /// The largest crowd while these were done.
    crowd: usize,
}

impl LatencyLimit {
    /// At most `at_once_max`; work of up to `short_us` microseconds is never too long.
    pub(super) fn new(at_once_max: usize, short_us: u32) -> Self {
        #[allow(clippy::cast_precision_loss, reason = "limits are small numbers")]
        let at_once_max = at_once_max.max(1) as f64;
        Self {
            at_once: AT_ONCE_FIRST.min(at_once_max),
            at_once_max,
            short_us: f64::from(short_us),
            base_us: f64::MAX,
            took_us: Vec::with_capacity(TOGETHER_MAX),
            crowd: 0,
        }
    }

    /// How many may be worked on at once.
    pub(super) fn at_once(&self) -> usize {
        #[allow(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "between 1 and at_once_max"
        )]
        let at_once = self.at_once as usize;
        at_once
    }

    /// One exchange took so long, while a crowd of so many was worked on.
    pub(super) fn took(&mut self, us: u32, crowd: usize) {
        self.took_us.push(us);
        self.crowd = self.crowd.max(crowd);
        if self.took_us.len() >= self.at_once().clamp(TOGETHER_MIN, TOGETHER_MAX) {
            self.judge();
        }
    }

    fn judge(&mut self) {
        let middle = self.took_us.len() / 2;
        let (_, median, _) = self.took_us.select_nth_unstable(middle);
        let median = f64::from(*median).max(1.0);
        let crowd = std::mem::take(&mut self.crowd);
        self.took_us.clear();
        #[allow(clippy::cast_precision_loss, reason = "a small number")]
        let least = (AT_ONCE_MIN as f64).min(self.at_once_max);
        if median < self.base_us {
            self.base_us = median;
        } else if self.at_once <= least {
            self.base_us += (median - self.base_us) / 4.0;
        }
        let long = self.short_us.max(self.base_us * TOO_LONG);
        if median > long {
            self.at_once = (self.at_once * (long / median).max(SHRINK_MAX)).max(least);
        } else if crowd * 2 >= self.at_once() {
            // A limit that nobody comes near proves nothing.
            self.at_once = (self.at_once + self.at_once.sqrt()).min(self.at_once_max);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::*;

    /// Work that takes `base_us`, and longer as soon as more than `capacity` are worked on.
    fn crowd(limit: &mut LatencyLimit, rounds: usize, capacity: usize, base_us: u32) {
        for _ in 0..rounds {
            let crowd = limit.at_once();
            let us = base_us as usize * crowd.max(capacity) / capacity;
            limit.took(u32::try_from(us).unwrap(), crowd);
        }
    }

    #[test]
    fn it_grows_while_work_is_short_and_stops_where_it_gets_long() {
        let mut limit = LatencyLimit::new(2_000, 20_000);
        crowd(&mut limit, 20_000, 100, 5_000);
        // 20 ms are reached by four times the capacity.
        assert!((200..=450).contains(&limit.at_once()), "{}", limit.at_once());
        let mut fast = LatencyLimit::new(2_000, 20_000);
        crowd(&mut fast, 40_000, 2_000, 1_000);
        assert_eq!(fast.at_once(), 2_000);
    }

    #[test]
    fn it_shrinks_within_a_few_rounds_and_recovers() {
        let mut limit = LatencyLimit::new(2_000, 20_000);
        crowd(&mut limit, 40_000, 2_000, 1_000);
        crowd(&mut limit, 4_000, 20, 5_000);
        assert!(limit.at_once() < 200, "{}", limit.at_once());
        crowd(&mut limit, 40_000, 2_000, 1_000);
        assert_eq!(limit.at_once(), 2_000);
    }

    #[test]
    fn work_that_takes_longer_than_before_whatever_the_crowd_is_learnt() {
        let mut limit = LatencyLimit::new(2_000, 20_000);
        crowd(&mut limit, 40_000, 2_000, 1_000);
        // A witness that needs a second from now on.
        crowd(&mut limit, 8_000, 2_000, 1_000_000);
        assert!(limit.at_once() > 2 * AT_ONCE_MIN, "{}", limit.at_once());
    }

    #[test]
    fn a_limit_that_nobody_comes_near_does_not_grow() {
        let mut limit = LatencyLimit::new(2_000, 20_000);
        for _ in 0..10_000 {
            limit.took(500, 3);
        }
        assert_eq!(limit.at_once(), 64);
    }

    proptest! {
        #[test]
        fn it_stays_within_its_bounds(
            max in 1_usize..4_000,
            took in vec((any::<u32>(), 0_usize..5_000), 0..3_000),
        ) {
            let mut limit = LatencyLimit::new(max, 20_000);
            for (us, crowd) in took {
                limit.took(us, crowd);
                prop_assert!((AT_ONCE_MIN.min(max)..=max).contains(&limit.at_once()));
            }
        }
    }
}
