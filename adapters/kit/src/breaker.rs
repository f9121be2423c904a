// SPDX-License-Identifier: EUPL-1.2
//! The circuit breaker of one register's source: after some faults of the source in a row nobody
//! asks it for a short time; then one asks, and what comes of it decides for all.
//!
//! Only [`RegisterFault::Source`](crate::RegisterFault::Source) and lookups that took too long
//! count. What was found, and what is wrong with one person's data, changes nothing here: else a
//! broker could read it off the next person's answer (SAME-ANSWER).

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

/// The pause doubles with each probe that fails, up to this many times the first one.
const PAUSE_GROWTH_MAX: u32 = 12;

/// Whether a source is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BreakerState {
    /// As usual.
    Closed,
    /// Nobody asks it for a while.
    Open,
    /// The next question, or one that is under way, decides.
    HalfOpen,
}

#[derive(Debug)]
enum State {
    Closed { faults: u32 },
    Open { until: Instant, pause: Duration },
    Probing { pause: Duration },
}

/// One breaker.
#[derive(Debug)]
pub(crate) struct Breaker {
    state: Mutex<State>,
    faults_max: u32,
    pause: Duration,
}

/// What happened to the source, as far as a breaker cares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It answered, whatever it was.
    Answered,
    /// It is away, slow or refuses.
    Failed,
}

/// Whoever holds it may ask the source. Dropped without a verdict, it changes nothing.
#[derive(Debug)]
pub(crate) struct Pass<'b> {
    breaker: &'b Breaker,
    is_probe: bool,
    is_settled: bool,
}

impl Breaker {
    /// Opens after `faults_max` in a row (0: never), for `pause` at first.
    pub(crate) fn new(faults_max: u32, pause: Duration) -> Self {
        Self { state: Mutex::new(State::Closed { faults: 0 }), faults_max, pause }
    }

    fn held(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Leave to ask the source; nothing while it is left alone.
    pub(crate) fn admit(&self, now: Instant) -> Option<Pass<'_>> {
        let mut state = self.held();
        let is_probe = match *state {
            State::Closed { .. } => false,
            State::Open { until, pause } if now >= until => {
                *state = State::Probing { pause };
                true
            }
            State::Open { .. } | State::Probing { .. } => return None,
        };
        Some(Pass { breaker: self, is_probe, is_settled: false })
    }

    /// Whether the source is asked.
    pub(crate) fn state(&self, now: Instant) -> BreakerState {
        match *self.held() {
            State::Closed { .. } => BreakerState::Closed,
            State::Open { until, .. } if now < until => BreakerState::Open,
            State::Open { .. } | State::Probing { .. } => BreakerState::HalfOpen,
        }
    }
}

impl Pass<'_> {
    /// Says what came of it. Answers the new state where it changed.
    pub(crate) fn settle(mut self, verdict: Verdict, now: Instant) -> Option<BreakerState> {
        self.is_settled = true;
        let mut state = self.breaker.held();
        let is_probe = self.is_probe;
        let (next, told) = match (&*state, verdict) {
            (State::Probing { .. }, Verdict::Answered) if is_probe => {
                (State::Closed { faults: 0 }, Some(BreakerState::Closed))
            }
            (State::Probing { pause }, Verdict::Failed) if is_probe => {
                let pause = (*pause * 2).min(self.breaker.pause * PAUSE_GROWTH_MAX);
                (State::Open { until: now + pause, pause }, Some(BreakerState::Open))
            }
            (State::Closed { .. }, Verdict::Answered) => (State::Closed { faults: 0 }, None),
            (State::Closed { faults }, Verdict::Failed) => {
                let (faults, pause) = (faults.saturating_add(1), self.breaker.pause);
                if faults == self.breaker.faults_max {
                    (State::Open { until: now + pause, pause }, Some(BreakerState::Open))
                } else {
                    (State::Closed { faults }, None)
                }
            }
            // Asked before it opened: only a probe speaks now.
            (State::Open { .. } | State::Probing { .. }, _) => return None,
        };
        *state = next;
        told
    }
}

impl Drop for Pass<'_> {
    fn drop(&mut self) {
        if self.is_probe && !self.is_settled {
            let mut state = self.breaker.held();
            if let State::Probing { pause } = *state {
                // The probe was cancelled: the next one who comes asks instead.
                *state = State::Open { until: Instant::now(), pause };
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAUSE: Duration = Duration::from_secs(5);

    #[test]
    fn opens_after_faults_in_a_row_and_one_probe_decides() {
        let (breaker, start) = (Breaker::new(3, PAUSE), Instant::now());
        let ask = |verdict, now| breaker.admit(now).map(|pass| pass.settle(verdict, now));
        for verdict in [Verdict::Failed, Verdict::Failed, Verdict::Answered] {
            assert_eq!(ask(verdict, start), Some(None), "an answer begins a new row");
        }
        assert_eq!(ask(Verdict::Failed, start), Some(None));
        assert_eq!(ask(Verdict::Failed, start), Some(None));
        let late = breaker.admit(start).unwrap();
        assert_eq!(ask(Verdict::Failed, start), Some(Some(BreakerState::Open)));
        assert_eq!(late.settle(Verdict::Answered, start), None, "asked before it opened");
        assert!(breaker.admit(start + PAUSE / 2).is_none());
        assert_eq!(breaker.state(start), BreakerState::Open);

        let now = start + PAUSE;
        let probe = breaker.admit(now).unwrap();
        assert_eq!(breaker.state(now), BreakerState::HalfOpen);
        assert!(breaker.admit(now).is_none(), "one at a time");
        assert_eq!(probe.settle(Verdict::Failed, now), Some(BreakerState::Open));
        assert!(breaker.admit(now + PAUSE).is_none(), "the pause has doubled");
        let now = now + 2 * PAUSE;
        assert_eq!(ask(Verdict::Answered, now), Some(Some(BreakerState::Closed)));
        assert_eq!(ask(Verdict::Failed, now), Some(None));
    }

    #[test]
    fn a_probe_that_is_cancelled_leaves_the_place_to_the_next() {
        let (breaker, start) = (Breaker::new(1, Duration::from_millis(1)), Instant::now());
        breaker.admit(start).unwrap().settle(Verdict::Failed, start);
        let later = start + Duration::from_secs(60);
        drop(breaker.admit(later).unwrap());
        assert!(breaker.admit(later).is_some());
        // Zero switches it off.
        let never = Breaker::new(0, PAUSE);
        for _ in 0..100 {
            assert_eq!(never.admit(start).unwrap().settle(Verdict::Failed, start), None);
        }
    }
}
