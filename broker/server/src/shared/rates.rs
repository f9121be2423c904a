// SPDX-License-Identifier: EUPL-1.2
//! Quotas: so many a second, and so many at once (GCRA). Counted here, or in Redis for all brokers.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use einmal_peer::Clock;

use super::link::Away;

const MICROS: u64 = 1_000_000;
/// Names that are counted here before those that are full again are forgotten.
const NAMES_MAX: usize = 16_384;

/// How often something may happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// One more after each so many microseconds.
    interval_us: u64,
    /// And so many at once.
    burst: u64,
}

impl Rate {
    /// So many a second, and so many at once; nothing where `per_second` is none.
    pub fn per_second(per_second: u32, burst: u32) -> Option<Self> {
        let interval_us = MICROS.checked_div(u64::from(per_second))?.max(1);
        Some(Self { interval_us, burst: u64::from(burst.max(1)) })
    }

    /// So many a minute, all of them at once if need be. None: none at all.
    pub fn per_minute(count: u32) -> Option<Self> {
        let interval_us = (60 * MICROS).checked_div(u64::from(count))?.max(1);
        Some(Self { interval_us, burst: u64::from(count) })
    }

    /// What is left to one of so many brokers that count for themselves.
    #[must_use]
    pub fn share(self, brokers: u32) -> Self {
        let brokers = u64::from(brokers.max(1));
        Self {
            interval_us: self.interval_us.saturating_mul(brokers),
            burst: (self.burst / brokers).max(1),
        }
    }

    pub(super) fn interval_us(self) -> u64 {
        self.interval_us
    }

    /// How far ahead of now the time of the next may lie.
    pub(super) fn tolerance_us(self) -> u64 {
        self.interval_us.saturating_mul(self.burst - 1)
    }

    /// When the one after this may come on time, if that was `due_us` so far; or how long to wait.
    fn take(self, due_us: u64, now_us: u64) -> Result<u64, u64> {
        let due_us = due_us.max(now_us);
        match due_us.checked_sub(now_us.saturating_add(self.tolerance_us())) {
            None | Some(0) => Ok(due_us.saturating_add(self.interval_us)),
            Some(wait_us) => Err(wait_us),
        }
    }
}

/// Whose quota.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whose<'a> {
    /// Requests of an authority.
    Authority(&'a str),
    /// Requests to a register.
    Register(&'a str),
    /// Refusals of an authority that are logged.
    Refusals(&'a str),
}

impl<'a> Whose<'a> {
    /// Its kind and whose it is.
    pub(super) fn parts(self) -> (&'static str, &'a str) {
        match self {
            Self::Authority(id) => ("authority", id),
            Self::Register(id) => ("register", id),
            Self::Refusals(id) => ("refusals", id),
        }
    }
}

/// What came of asking.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taken {
    /// One was taken of each.
    All,
    /// None was taken of any: this one is used up, for so long.
    None {
        /// Which of those that were asked for.
        which: usize,
        /// When to try again.
        wait: Duration,
    },
}

/// Counts.
pub trait Rates: Send + Sync {
    /// Takes one of each, or none.
    fn take(&self, asked: &[(Whose<'_>, Rate)])
    -> impl Future<Output = Result<Taken, Away>> + Send;
}

/// Counts for this broker alone.
#[derive(Debug)]
pub struct LocalRates {
    clock: Clock,
    /// When the next would come on time, by kind and id.
    due_us: Mutex<HashMap<(&'static str, String), u64>>,
}

impl LocalRates {
    /// Counts nothing yet.
    pub fn new(clock: Clock) -> Self {
        Self { clock, due_us: Mutex::default() }
    }

    /// As [`Rates::take`]; it is always there.
    pub fn take_now(&self, asked: &[(Whose<'_>, Rate)]) -> Taken {
        let now_us = self.clock.now_ms().saturating_mul(1_000);
        let mut due_us = self.due_us.lock().unwrap_or_else(PoisonError::into_inner);
        // Ids are those of the directory; so there are few that are not full again.
        if due_us.len() >= NAMES_MAX {
            due_us.retain(|_, due_us| *due_us > now_us);
        }
        let mut next = Vec::with_capacity(asked.len());
        for (which, (whose, rate)) in asked.iter().enumerate() {
            let (kind, id) = whose.parts();
            let name = (kind, id.to_owned());
            // A clock that went back must not keep anybody out for longer than a full quota.
            let longest = now_us.saturating_add(rate.tolerance_us() + rate.interval_us);
            let due = due_us.get(&name).copied().unwrap_or(now_us).min(longest);
            match rate.take(due, now_us) {
                Ok(due) => next.push((name, due)),
                Err(wait_us) => return Taken::None { which, wait: Duration::from_micros(wait_us) },
            }
        }
        due_us.extend(next);
        Taken::All
    }
}

impl Rates for LocalRates {
    async fn take(&self, asked: &[(Whose<'_>, Rate)]) -> Result<Taken, Away> {
        Ok(self.take_now(asked))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_then_one_at_a_time_and_never_more_than_the_rate() {
        let rate = Rate::per_second(10, 3).unwrap();
        let (mut due, mut taken) = (0, 0);
        for now_ms in 0..10_000 {
            if let Ok(next) = rate.take(due, now_ms * 1_000) {
                (due, taken) = (next, taken + 1);
            }
        }
        assert_eq!(taken, 3 + 10 * 10 - 1, "three at once, then ten a second");
        assert_eq!(rate.take(300_000, 0), Err(100_000), "and says how long to wait");
    }

    #[test]
    fn shares_add_up_to_no_more_than_the_whole() {
        for (per_second, burst, brokers) in [(10, 5, 2), (7, 3, 3), (1000, 2000, 4), (1, 1, 9)] {
            let whole = Rate::per_second(per_second, burst).unwrap();
            let share = whole.share(brokers);
            assert!(share.interval_us >= whole.interval_us * u64::from(brokers));
            assert!(share.burst * u64::from(brokers) <= whole.burst.max(u64::from(brokers)));
        }
        assert_eq!(Rate::per_second(0, 5), None);
    }

    #[test]
    fn a_clock_that_goes_back_keeps_nobody_out_for_long() {
        let clock = Clock::standing_at(10_000_000);
        let rates = LocalRates::new(clock.clone());
        let one = [(Whose::Authority("a"), Rate::per_second(1, 1).unwrap())];
        assert_eq!(rates.take_now(&one), Taken::All);
        clock.shift_ms(-3_600_000);
        let Taken::None { wait, .. } = rates.take_now(&one) else { panic!("a full quota is full") };
        assert!(wait <= Duration::from_secs(1), "{wait:?}");
    }

    #[test]
    fn what_is_full_again_is_forgotten() {
        let clock = Clock::standing_at(0);
        let rates = LocalRates::new(clock.clone());
        let rate = Rate::per_second(1, 1).unwrap();
        for number in 0..NAMES_MAX {
            rates.take_now(&[(Whose::Register(&number.to_string()), rate)]);
        }
        clock.shift_ms(2_000);
        rates.take_now(&[(Whose::Register("one more"), rate)]);
        assert_eq!(rates.due_us.lock().unwrap().len(), 1);
    }
}
