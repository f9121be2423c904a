// SPDX-License-Identifier: EUPL-1.2
//! The window of identical retries (ONCE): an authority's request id is taken once; the same
//! bytes again get the same answer, while it runs and for some minutes after; other bytes are
//! refused.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError, Weak},
};

use einmal_protocol::{Digest, Reason, RequestId, wire::evidence::v1::RequestEvidenceResponse};
use prost::Message;
use tokio::sync::watch;

use crate::exchange::Failure;

/// What an exchange came to.
pub type Outcome = Result<Arc<RequestEvidenceResponse>, Failure>;
type Key = (String, RequestId);

/// Remembers requests in flight and answers given.
#[derive(Debug)]
pub struct Window {
    life_ms: u64,
    bytes_max: usize,
    held: Mutex<Held>,
}

#[derive(Debug, Default)]
struct Held {
    entries: HashMap<Key, Entry>,
    bytes: usize,
}

#[derive(Debug)]
struct Entry {
    request: Digest,
    until_ms: u64,
    bytes: usize,
    outcome: watch::Sender<Option<Outcome>>,
    /// Gone when whoever runs it is.
    runner: Weak<()>,
    /// Whether it has come to an answer that is kept.
    is_kept: bool,
}

/// What a request is to the window.
#[derive(Debug)]
pub enum Claim {
    /// The first with this id: it must run, and say what came of it.
    First(First),
    /// The same bytes again: wait for the outcome.
    Same(watch::Receiver<Option<Outcome>>),
    /// Other bytes under a known id.
    Other,
}

/// The right, and the duty, to run an exchange.
#[derive(Debug)]
pub struct First {
    key: Key,
    sender: watch::Sender<Option<Outcome>>,
    _runner: Arc<()>,
}

impl First {
    /// What waiters wait for.
    pub fn subscribe(&self) -> watch::Receiver<Option<Outcome>> {
        self.sender.subscribe()
    }

    /// Comes to its end when nobody waits any more.
    pub fn abandoned(&self) -> impl Future<Output = ()> + Send + use<> {
        let sender = self.sender.clone();
        async move { sender.closed().await }
    }
}

impl Drop for First {
    /// Whoever waits for a runner that vanished waits no longer.
    fn drop(&mut self) {
        self.sender.send_if_modified(|outcome| {
            let is_silent = outcome.is_none();
            if is_silent {
                *outcome = Some(Err(Failure::fault(Reason::RegisterFault)));
            }
            is_silent
        });
    }
}

impl Window {
    /// Keeps answers for so long, and at most so many bytes of them.
    pub fn new(life_ms: u64, bytes_max: usize) -> Self {
        Self { life_ms, bytes_max, held: Mutex::default() }
    }

    /// Claims an id for these bytes.
    pub fn claim(&self, authority: &str, id: RequestId, request: Digest, now_ms: u64) -> Claim {
        let key = (authority.to_owned(), id);
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(entry) = held.entries.get(&key) {
            if entry.request != request {
                return Claim::Other;
            }
            // A runner that vanished without a word: run again.
            let stands = entry.is_kept || entry.runner.strong_count() > 0;
            if now_ms < entry.until_ms && stands {
                return Claim::Same(entry.outcome.subscribe());
            }
            held.remove(&key);
        }
        let (sender, _) = watch::channel(None);
        let runner = Arc::new(());
        let entry = Entry {
            request,
            until_ms: now_ms.saturating_add(self.life_ms),
            bytes: 0,
            outcome: sender.clone(),
            runner: Arc::downgrade(&runner),
            is_kept: false,
        };
        held.entries.insert(key.clone(), entry);
        Claim::First(First { key, sender, _runner: runner })
    }

    /// Says what came of it. Where nothing was logged, the same id may be sent again at once.
    pub fn settle(&self, first: First, outcome: Outcome, logged: bool, now_ms: u64) {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let bytes = outcome.as_ref().map_or(0, |answer| answer.encoded_len());
        if !logged || bytes > self.bytes_max {
            held.remove(&first.key);
        } else if let Some(entry) = held.entries.get_mut(&first.key) {
            entry.bytes = bytes;
            entry.is_kept = true;
            entry.until_ms = now_ms.saturating_add(self.life_ms);
            held.bytes += bytes;
            if held.bytes > self.bytes_max {
                held.shrink(self.bytes_max / 2, &first.key);
            }
        }
        drop(held);
        first.sender.send_replace(Some(outcome));
    }

    /// Forgets what is over. Called now and then.
    pub fn sweep(&self, now_ms: u64) {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let over: Vec<Key> = held
            .entries
            .iter()
            .filter(|(_, entry)| now_ms >= entry.until_ms)
            .map(|(key, _)| key.clone())
            .collect();
        for key in over {
            held.remove(&key);
        }
    }
}

impl Held {
    fn remove(&mut self, key: &Key) {
        if let Some(entry) = self.entries.remove(key) {
            self.bytes = self.bytes.saturating_sub(entry.bytes);
        }
    }

    /// Drops the oldest answers. Their ids stay refused by the ledger.
    fn shrink(&mut self, to: usize, keep: &Key) {
        let mut by_age: Vec<(u64, Key)> = self
            .entries
            .iter()
            .filter(|(key, entry)| entry.bytes > 0 && *key != keep)
            .map(|(key, entry)| (entry.until_ms, key.clone()))
            .collect();
        by_age.sort_unstable();
        for (_, key) in by_age {
            if self.bytes <= to {
                break;
            }
            self.remove(&key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(n: u8) -> RequestId {
        RequestId::new(1, [n; 10])
    }

    fn answer(bytes: usize) -> Outcome {
        let sealed_evidence = vec![1; bytes];
        Ok(Arc::new(RequestEvidenceResponse { sealed_evidence, ..Default::default() }))
    }

    fn first(window: &Window, n: u8) -> First {
        match window.claim("a", id(n), Digest::of(b"x"), 0) {
            Claim::First(first) => first,
            other => panic!("{other:?}"),
        }
    }

    #[tokio::test]
    async fn same_bytes_wait_for_the_same_answer_and_others_are_refused() {
        let window = Window::new(100, 1_000);
        let running = first(&window, 1);
        let Claim::Same(mut waiting) = window.claim("a", id(1), Digest::of(b"x"), 1) else {
            panic!("the same bytes are the same request")
        };
        assert!(matches!(window.claim("a", id(1), Digest::of(b"y"), 1), Claim::Other));
        assert!(matches!(window.claim("b", id(1), Digest::of(b"y"), 1), Claim::First(_)));
        window.settle(running, answer(10), true, 5);
        let got = waiting.wait_for(Option::is_some).await.unwrap().clone();
        assert_eq!(got.unwrap().unwrap().sealed_evidence, vec![1; 10]);
        assert!(matches!(window.claim("a", id(1), Digest::of(b"x"), 104), Claim::Same(_)));
        assert!(matches!(window.claim("a", id(1), Digest::of(b"x"), 105), Claim::First(_)));
    }

    #[tokio::test]
    async fn who_runs_learns_when_nobody_waits_and_who_waits_that_nobody_runs() {
        let window = Window::new(100, 1_000);
        let running = first(&window, 1);
        let one = running.subscribe();
        let Claim::Same(two) = window.claim("a", id(1), Digest::of(b"x"), 1) else { panic!() };
        let abandoned = running.abandoned();
        tokio::pin!(abandoned);
        drop(one);
        let moment = std::time::Duration::from_millis(1);
        assert!(tokio::time::timeout(moment, &mut abandoned).await.is_err(), "two waits still");
        drop(two);
        abandoned.await;
        // It vanishes: the next with the same bytes runs, and who had joined is told.
        let Claim::Same(mut three) = window.claim("a", id(1), Digest::of(b"x"), 2) else {
            panic!()
        };
        drop(running);
        assert!(three.wait_for(Option::is_some).await.unwrap().clone().unwrap().is_err());
        assert!(matches!(window.claim("a", id(1), Digest::of(b"x"), 3), Claim::First(_)));
    }

    #[test]
    fn what_was_not_logged_may_be_sent_again() {
        let window = Window::new(100, 1_000);
        let failed = Err(Failure::fault(Reason::RegisterNotAttached));
        window.settle(first(&window, 1), failed, false, 0);
        assert!(matches!(window.claim("a", id(1), Digest::of(b"y"), 1), Claim::First(_)));
    }

    #[test]
    fn answers_are_bounded_oldest_first() {
        let window = Window::new(100, 1_000);
        window.settle(first(&window, 1), answer(600), true, 0);
        window.settle(first(&window, 2), answer(600), true, 1);
        assert!(matches!(window.claim("a", id(1), Digest::of(b"x"), 2), Claim::First(_)));
        assert!(matches!(window.claim("a", id(2), Digest::of(b"x"), 2), Claim::Same(_)));
        window.sweep(101);
        assert_eq!(window.held.lock().unwrap().bytes, 0);
    }
}
