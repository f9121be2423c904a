// SPDX-License-Identifier: EUPL-1.2
//! The walls between registers of one adapter: each has places, threads, a time limit and
//! breakers of its own, so that one that is slow, blocks, panics or is broken slows no other.
//!
//! Nothing here may depend on what a lookup finds (SAME-ANSWER). So whoever is turned away is
//! turned away before the lookup; a place is given back no sooner than the evidence type's
//! earliest time, or how fast places come free would tell; and a panic, which may be about the
//! person's data, is said inside the seal like any other answer that cannot be transmitted.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, Once, PoisonError},
    time::{Duration, Instant},
};

use serde::Deserialize;
use tokio::runtime::{Builder, Handle, Runtime};
use tokio_util::sync::CancellationToken;

use crate::{
    breaker::{Breaker, BreakerState, Verdict},
    limiter::{Limiter, Place},
    register::{Answer, Query, Register, RegisterFault},
};

/// Lookups run on threads of this name: what is said of a panic on them holds no person.
const THREAD: &str = "einmal-lookup";

/// Limits of one register. All have defaults.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RegisterLimits {
    /// Lookups at once; without it, a quarter of what a stream may have open.
    pub lookups: Option<usize>,
    /// So many more may wait for one of them; without it, as many as may run. Whoever comes then
    /// gets a fault at once.
    pub waiting: Option<usize>,
    /// And so many milliseconds; without it, 1000.
    pub wait_ms: Option<u64>,
    /// A lookup that takes longer is a fault of its source, in milliseconds; without it, 10000.
    pub lookup_ms: Option<u64>,
    /// After so many faults of a source in a row, it is left alone; without it, 5; 0: never.
    pub faults: Option<u32>,
    /// For so many milliseconds at first, then for longer; without it, 5000.
    pub pause_ms: Option<u64>,
}

impl RegisterLimits {
    fn lookups(&self, credits: u32) -> usize {
        self.lookups.unwrap_or(credits as usize / 4).max(1)
    }
}

/// What one register does at the moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RegisterState {
    /// Its id.
    pub register: String,
    /// Lookups under way, or whose earliest time has not come.
    pub lookups: usize,
    /// How many there may be.
    pub lookups_max: usize,
    /// Breakers that are not closed, by evidence type, sorted.
    pub breakers: Vec<(String, BreakerState)>,
}

/// The wall around one register.
pub(crate) struct Bulkhead {
    register: String,
    limiter: Limiter,
    /// By evidence type: each has one source, and types that others hold go on.
    breakers: Mutex<HashMap<String, Arc<Breaker>>>,
    faults: u32,
    pause: Duration,
    time_limit: Duration,
    threads: Handle,
}

/// Threads for the lookups of all registers: as many as there are places, begun when they are
/// needed. Code that blocks holds its register's threads and no other's.
pub(crate) struct Threads {
    handle: Handle,
    /// Taken when it ends.
    runtime: Option<Runtime>,
}

/// Leave to look one person up.
pub(crate) struct Lookup<'b> {
    bulkhead: &'b Bulkhead,
    breaker: Arc<Breaker>,
    evidence_type: String,
    place: Place,
}

/// Why nobody is looked up now. The same whoever is asked about.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(crate) enum Closed {
    /// Too many at once.
    #[error("the register is busy: more lookups wait than `limits` allow")]
    Busy,
    /// The breaker is open.
    #[error("its source failed several times in a row and is left alone for a moment")]
    LeftAlone,
}

/// Why a lookup came to no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LookupFault {
    /// The register said so.
    #[error(transparent)]
    Register(#[from] RegisterFault),
    /// It took too long.
    #[error("the lookup took longer than {} ms", .0.as_millis())]
    TooLong(Duration),
    /// Its code panicked.
    #[error("the register's code panicked")]
    Panicked,
    /// Nothing came back.
    #[error("the lookup was interrupted")]
    Interrupted,
    /// Nobody was asked.
    #[error(transparent)]
    Closed(#[from] Closed),
}

impl LookupFault {
    /// Whether it may have to do with what is held about this person. Then it must not be seen
    /// from outside.
    pub(crate) fn may_be_about_the_person(&self) -> bool {
        matches!(self, Self::Panicked | Self::Register(RegisterFault::Value { .. }))
    }

    /// What it says of the source; nothing where the source was not at fault nor proven well.
    fn verdict(&self) -> Option<Verdict> {
        match self {
            Self::Register(RegisterFault::Source { .. }) | Self::TooLong(_) => {
                Some(Verdict::Failed)
            }
            Self::Register(RegisterFault::Value { .. }) => Some(Verdict::Answered),
            // A panic is a mistake in the code: whether the source is well is not known.
            Self::Register(RegisterFault::NotConfigured { .. })
            | Self::Panicked
            | Self::Interrupted
            | Self::Closed(_) => None,
        }
    }
}

impl Threads {
    /// For so many lookups at once.
    ///
    /// # Errors
    /// Where the system gives no more.
    pub(crate) fn new(
        limits: impl Iterator<Item = RegisterLimits>,
        credits: u32,
    ) -> std::io::Result<Self> {
        say_no_person_in_panics();
        let places = limits.map(|limits| limits.lookups(credits)).sum::<usize>().max(1);
        // Only its threads are used: it is never driven.
        let mut builder = Builder::new_current_thread();
        let runtime = builder.thread_name(THREAD).max_blocking_threads(places).build()?;
        Ok(Self { handle: runtime.handle().clone(), runtime: Some(runtime) })
    }

    /// What lookups are begun with.
    pub(crate) fn handle(&self) -> Handle {
        self.handle.clone()
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        // Waits for nobody: code that blocks for ever would keep the adapter from ending.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// The message of a panic in a register's code may hold a person; only its place is told.
fn say_no_person_in_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let usual = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            if std::thread::current().name() != Some(THREAD) {
                return usual(panic);
            }
            let at = panic.location().map(ToString::to_string).unwrap_or_default();
            tracing::error!(at, "alarm: a register's code panicked");
        }));
    });
}

impl Bulkhead {
    pub(crate) fn new(
        register: &str,
        limits: &RegisterLimits,
        credits: u32,
        threads: Handle,
    ) -> Self {
        let ms = |limit: Option<u64>, usual| Duration::from_millis(limit.unwrap_or(usual));
        let lookups = limits.lookups(credits);
        let waiting = limits.waiting.unwrap_or(lookups);
        Self {
            register: register.to_owned(),
            limiter: Limiter::new(lookups, waiting, ms(limits.wait_ms, 1_000)),
            breakers: Mutex::default(),
            faults: limits.faults.unwrap_or(5),
            pause: ms(limits.pause_ms, 5_000),
            time_limit: ms(limits.lookup_ms, 10_000),
            threads,
        }
    }

    /// Leave to look somebody up, now or soon.
    ///
    /// # Errors
    /// Where the register is busy, or its source is left alone: for everybody alike.
    pub(crate) async fn enter(&self, evidence_type: &str) -> Result<Lookup<'_>, Closed> {
        let breaker = self.breaker(evidence_type);
        // Those who wait for a source that fails meanwhile are not kept waiting.
        if breaker.state(Instant::now()) == BreakerState::Open {
            return Err(Closed::LeftAlone);
        }
        let place = self.limiter.enter().await.ok_or(Closed::Busy)?;
        let evidence_type = evidence_type.to_owned();
        Ok(Lookup { bulkhead: self, breaker, evidence_type, place })
    }

    fn breaker(&self, evidence_type: &str) -> Arc<Breaker> {
        let mut breakers = self.breakers.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(breaker) = breakers.get(evidence_type) {
            return Arc::clone(breaker);
        }
        let breaker = Arc::new(Breaker::new(self.faults, self.pause));
        // No more than there are evidence types: others are refused before.
        breakers.insert(evidence_type.to_owned(), Arc::clone(&breaker));
        breaker
    }

    /// What is going on.
    pub(crate) fn state(&self) -> RegisterState {
        let now = Instant::now();
        let breakers = self.breakers.lock().unwrap_or_else(PoisonError::into_inner);
        let mut not_closed: Vec<_> = breakers
            .iter()
            .map(|(evidence_type, breaker)| (evidence_type.clone(), breaker.state(now)))
            .filter(|(_, state)| *state != BreakerState::Closed)
            .collect();
        not_closed.sort_unstable_by(|one, other| one.0.cmp(&other.0));
        RegisterState {
            register: self.register.clone(),
            lookups: self.limiter.taken(),
            lookups_max: self.limiter.places(),
            breakers: not_closed,
        }
    }
}

impl Lookup<'_> {
    /// Asks the register, on a thread of its own and for no longer than its time limit. The place
    /// stays taken until this is dropped, and until code that does not stop has ended.
    pub(crate) async fn retrieve(
        &self,
        register: &Arc<dyn Register>,
        query: Query,
    ) -> Result<Answer, LookupFault> {
        let pass = self.breaker.admit(Instant::now()).ok_or(Closed::LeftAlone)?;
        let answer = self.on_a_thread(register, query).await;
        let verdict = match &answer {
            Ok(_) => Some(Verdict::Answered),
            Err(fault) => fault.verdict(),
        };
        let changed = verdict.and_then(|verdict| pass.settle(verdict, Instant::now()));
        let (register, evidence_type) = (&self.bulkhead.register, &self.evidence_type);
        match changed {
            Some(BreakerState::Closed) => {
                tracing::info!(register, evidence_type, "the source answers again");
            }
            Some(_) => tracing::error!(
                register,
                evidence_type,
                "alarm: the source fails again and again and is left alone for a moment"
            ),
            None => {}
        }
        answer
    }

    async fn on_a_thread(
        &self,
        register: &Arc<dyn Register>,
        query: Query,
    ) -> Result<Answer, LookupFault> {
        let cancel = CancellationToken::new();
        // However this ends, the lookup is told to end.
        let _cancelled = cancel.clone().drop_guard();
        let (register, place) = (Arc::clone(register), self.place.clone());
        let here = Handle::current();
        let lookup = self.bulkhead.threads.spawn_blocking(move || {
            let _place = place;
            here.block_on(async {
                tokio::select! {
                    biased;
                    () = cancel.cancelled() => None,
                    answer = register.retrieve(&query) => Some(answer),
                }
            })
        });
        let limit = self.bulkhead.time_limit;
        match tokio::time::timeout(limit, lookup).await {
            Err(_) => Err(LookupFault::TooLong(limit)),
            Ok(Err(failed)) if failed.is_panic() => Err(LookupFault::Panicked),
            Ok(Err(_) | Ok(None)) => Err(LookupFault::Interrupted),
            Ok(Ok(Some(answer))) => Ok(answer?),
        }
    }
}

#[cfg(test)]
#[path = "bulkhead_tests.rs"]
mod tests;
