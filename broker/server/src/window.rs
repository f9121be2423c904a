// SPDX-License-Identifier: EUPL-1.2
//! The window of identical retries (ONCE): an authority's request id is taken once; the same
//! bytes again get the same answer, while it runs and for some minutes after; other bytes are
//! refused.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use einmal_protocol::{Digest, RequestId, wire::evidence::v1::RequestEvidenceResponse};
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
    outcome: watch::Receiver<Option<Outcome>>,
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
}

impl First {
    /// What waiters wait for.
    pub fn subscribe(&self) -> watch::Receiver<Option<Outcome>> {
        self.sender.subscribe()
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
            let running = entry.outcome.borrow().is_none();
            if entry.request != request {
                return Claim::Other;
            }
            // A runner that vanished without a word leaves a closed channel: run again.
            if now_ms < entry.until_ms && !(running && entry.outcome.has_changed().is_err()) {
                return Claim::Same(entry.outcome.clone());
            }
            held.remove(&key);
        }
        let (sender, outcome) = watch::channel(None);
        let until_ms = now_ms.saturating_add(self.life_ms);
        held.entries.insert(key.clone(), Entry { request, until_ms, bytes: 0, outcome });
        Claim::First(First { key, sender })
    }

    /// Says what came of it. Where nothing was logged, the same id may be sent again at once.
    pub fn settle(&self, first: First, outcome: Outcome, logged: bool, now_ms: u64) {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let bytes = outcome.as_ref().map_or(0, |answer| answer.encoded_len());
        if !logged || bytes > self.bytes_max {
            held.remove(&first.key);
        } else if let Some(entry) = held.entries.get_mut(&first.key) {
            entry.bytes = bytes;
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
    use einmal_protocol::Reason;

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
