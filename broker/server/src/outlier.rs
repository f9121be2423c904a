// SPDX-License-Identifier: EUPL-1.2
//! When one of a register's replicas is set aside: after some failures in a row, for a time that
//! doubles each time it fails again. Pure: the time is handed in.

use std::time::{Duration, Instant};

/// So many failures in a row, and it is set aside.
const IN_A_ROW: u32 = 3;
/// For so long at first.
const ASIDE_FIRST: Duration = Duration::from_secs(2);
/// Doubled this many times at most: about four minutes.
const DOUBLED_MAX: u32 = 7;

/// How one replica did lately. Where nothing is known of it, it does well.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Lately {
    failures: u32,
    /// How often it was set aside without doing well in between.
    times: u32,
    until: Option<Instant>,
}

impl Lately {
    /// It failed. For how long it is set aside, if it is now.
    pub(crate) fn failed(&mut self, now: Instant) -> Option<Duration> {
        if self.is_aside(now) {
            // What was begun before.
            return None;
        }
        self.failures += 1;
        // Whoever was aside before has one try.
        if self.times == 0 && self.failures < IN_A_ROW {
            return None;
        }
        let aside = ASIDE_FIRST * 2_u32.pow(self.times.min(DOUBLED_MAX));
        *self = Self { failures: 0, times: self.times + 1, until: Some(now + aside) };
        Some(aside)
    }

    /// Whether it is asked only where nobody else can be.
    pub(crate) fn is_aside(&self, now: Instant) -> bool {
        self.until.is_some_and(|until| now < until)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_set_aside_after_failures_in_a_row_for_longer_each_time() {
        let (mut lately, mut now) = (Lately::default(), Instant::now());
        assert_eq!((lately.failed(now), lately.failed(now)), (None, None));
        assert!(!lately.is_aside(now));
        for seconds in [2, 4, 8, 16, 32, 64, 128, 256, 256] {
            let aside = Duration::from_secs(seconds);
            assert_eq!(lately.failed(now), Some(aside));
            assert!(lately.is_aside(now + aside - Duration::from_millis(1)));
            assert_eq!(lately.failed(now), None, "what was begun before counts once");
            now += aside;
            assert!(!lately.is_aside(now));
        }
    }
}
