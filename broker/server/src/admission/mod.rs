// SPDX-License-Identifier: EUPL-1.2
//! Who is worked on now, who waits, who is turned away. Asked before anything costs much, so before
//! a signature is checked: what is turned away must stay cheap.
//!
//! Two things are bounded. The broker's own work, by how long it takes ([`limit`]): time at the
//! register is not the broker's, and whoever is there leaves their place to others, so that a slow
//! register slows nobody else. And all exchanges that were begun, by number: nobody has more of
//! them than four times what is left for the others. Whoever finds no place waits a moment in a
//! line of their own ([`fair`]).

mod fair;
mod limit;

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use einmal_peer::SpiffeId;
use einmal_policy::Directory;
use einmal_protocol::{
    Reason,
    wire::v1::{BatchRoot, SignedRequest},
};
use fair::FairQueue;
use limit::LatencyLimit;
use prost::Message;
use tokio::sync::oneshot;

use crate::{config::Limits, exchange::Failure};

/// Nobody has more exchanges than so many times what is left for the others.
const SHARE: usize = 4;

/// The door.
#[derive(Debug)]
pub struct Admission {
    state: Mutex<State>,
    all_max: usize,
    patience: Duration,
}

#[derive(Debug)]
struct State {
    limit: LatencyLimit,
    /// What the broker works on now.
    busy: usize,
    /// What was begun and has not ended, by whose it is.
    begun: HashMap<Arc<str>, usize>,
    all: usize,
    waiting: FairQueue<oneshot::Sender<()>>,
    turned_away: u64,
}

/// Figures about the door.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Figures {
    /// How many are worked on at once, at most.
    pub at_once: usize,
    /// How many wait.
    pub waiting: usize,
    /// How many were turned away since the start.
    pub turned_away: u64,
}

/// The right to be worked on, until it is dropped.
#[derive(Debug)]
pub struct Place {
    admission: Arc<Admission>,
    who: Arc<str>,
    began: Instant,
    away_us: AtomicU64,
    is_logged: AtomicBool,
}

/// A place in a line; who gives up leaves it.
struct Waiting<'a> {
    admission: &'a Arc<Admission>,
    who: &'a Arc<str>,
    ticket: u64,
    is_over: bool,
}

/// An exchange that is at a register; it comes back before all others.
struct Away<'a> {
    place: &'a Place,
    began: Instant,
}

impl Admission {
    /// A door that nobody has come through yet.
    pub fn new(limits: &Limits) -> Self {
        let short_us = limits.own_ms.saturating_mul(1_000);
        let state = State {
            limit: LatencyLimit::new(limits.in_flight_max, short_us),
            busy: 0,
            begun: HashMap::new(),
            all: 0,
            waiting: FairQueue::new(limits.queue_max),
            turned_away: 0,
        };
        let patience = Duration::from_millis(limits.queue_ms);
        Self { state: Mutex::new(state), all_max: limits.in_flight_max, patience }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Numbers that are changed together under it.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for a place, at most for the time that a place is waited for.
    ///
    /// # Errors
    /// Where there is none in time, or too many wait.
    pub async fn enter(self: &Arc<Self>, who: &str) -> Result<Place, Failure> {
        let (who, waiting) = {
            let mut state = self.state();
            let who = state.begun.get_key_value(who).map_or_else(|| Arc::from(who), of_key);
            let own = state.begun.get(&who).copied().unwrap_or_default();
            let room = self.all_max.saturating_sub(state.all);
            if room == 0 || own > SHARE * room {
                return Err(state.turn_away());
            }
            if state.waiting.len() == 0 && state.busy < state.limit.at_once() {
                state.busy += 1;
                (who, None)
            } else {
                let (sender, called) = oneshot::channel();
                let Some(ticket) = state.waiting.push(&who, sender) else {
                    return Err(state.turn_away());
                };
                (who, Some((ticket, called)))
            }
        };
        if let Some((ticket, called)) = waiting {
            let mut waiting = Waiting { admission: self, who: &who, ticket, is_over: false };
            if tokio::time::timeout(self.patience, called).await.is_err() {
                let failure = self.state().turn_away();
                drop(waiting);
                return Err(failure);
            }
            waiting.is_over = true;
        }
        {
            let mut state = self.state();
            state.all += 1;
            *state.begun.entry(Arc::clone(&who)).or_default() += 1;
        }
        let (away_us, is_logged) = (AtomicU64::new(0), AtomicBool::new(false));
        Ok(Place { admission: Arc::clone(self), who, began: Instant::now(), away_us, is_logged })
    }

    /// What the operator may want to see.
    pub fn figures(&self) -> Figures {
        let state = self.state();
        let (at_once, waiting) = (state.limit.at_once(), state.waiting.len());
        Figures { at_once, waiting, turned_away: state.turned_away }
    }
}

fn of_key((key, _): (&Arc<str>, &usize)) -> Arc<str> {
    Arc::clone(key)
}

impl State {
    /// Somebody's work is over, or at a register: those whose turn it is take their places.
    fn give_back(&mut self) {
        self.busy = self.busy.saturating_sub(1);
        while self.busy < self.limit.at_once() {
            let Some(next) = self.waiting.pop() else { return };
            self.busy += 1;
            // Whoever has given up meanwhile gives the place back (`Waiting`).
            let _ = next.send(());
        }
    }

    fn turn_away(&mut self) -> Failure {
        self.turned_away += 1;
        // Spread, so that those who were turned away together do not come back together.
        let retry_after = Duration::from_millis(500 + self.turned_away.wrapping_mul(617) % 1_000);
        Failure { retry_after: Some(retry_after), ..Failure::refused(Reason::BrokerBusy) }
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        if self.is_over {
            return;
        }
        let mut state = self.admission.state();
        if !state.waiting.remove(self.who, self.ticket) {
            // It was called in the same moment.
            state.give_back();
        }
    }
}

impl Place {
    /// Waits for somebody else, a register most of all: that is none of the broker's time, and
    /// the place is another's meanwhile. Whoever comes back goes on at once, before all that wait:
    /// what was begun is worth more than what was not.
    pub async fn away<T>(&self, until: impl Future<Output = T>) -> T {
        self.admission.state().give_back();
        let _away = Away { place: self, began: Instant::now() };
        until.await
    }

    /// The exchange stands in the ledger: only such tell how long the broker's work takes.
    pub fn is_logged(&self) {
        self.is_logged.store(true, Ordering::Relaxed);
    }
}

impl Drop for Away<'_> {
    fn drop(&mut self) {
        let us = u64::try_from(self.began.elapsed().as_micros()).unwrap_or(u64::MAX);
        self.place.away_us.fetch_add(us, Ordering::Relaxed);
        self.place.admission.state().busy += 1;
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let away = Duration::from_micros(self.away_us.load(Ordering::Relaxed));
        let own_us = self.began.elapsed().saturating_sub(away).as_micros();
        let mut state = self.admission.state();
        if self.is_logged.load(Ordering::Relaxed) {
            let crowd = state.busy;
            state.limit.took(u32::try_from(own_us).unwrap_or(u32::MAX), crowd);
        }
        state.all = state.all.saturating_sub(1);
        if let Some(own) = state.begun.get_mut(&self.who) {
            *own -= 1;
            if *own == 0 {
                state.begun.remove(&self.who);
            }
        }
        state.give_back();
    }
}

/// In whose line a request stands: in that of the authority it names, where the caller may carry
/// for it; else in the caller's own. No signature is checked yet, so nobody can fill the line of an
/// authority but those whom the directory lets speak for it.
pub fn line_of(caller: &SpiffeId, authority: Option<&str>, directory: &Directory) -> String {
    match authority {
        Some(id) if directory.may_carry_for_authority(&caller.id, id) => id.to_owned(),
        _ => caller.to_string(),
    }
}

/// The authority that a signed request names, not believed yet.
pub fn named(signed_request: &[u8]) -> Option<String> {
    let batch = SignedRequest::decode(signed_request).ok()?.batch?;
    Some(BatchRoot::decode(batch.payload.as_slice()).ok()?.authority)
}

#[cfg(test)]
#[path = "admission_tests.rs"]
mod tests;
