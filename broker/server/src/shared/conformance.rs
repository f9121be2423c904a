// SPDX-License-Identifier: EUPL-1.2
//! What is promised of retries and quotas, whether one broker keeps them or Redis does. Each suite
//! is given two ends: of one broker the same, of Redis those of two brokers.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use einmal_peer::Clock;
use einmal_protocol::{Digest, Reason, RequestId, wire::evidence::v1::RequestEvidenceResponse};

use super::{
    LocalRates, Rate, Rates, Taken, Whose,
    retries::{Asked, Claim, Marker, Retries, Settled},
};
use crate::{
    exchange::Failure,
    window::{self, First, Window},
};

/// How long an end is remembered in these tests.
pub(super) const LIFE: Duration = Duration::from_millis(600);
/// Longer answers are not kept in these tests.
pub(super) const ANSWER_MAX: usize = 1_000;

/// What a suite learns of a request.
#[derive(Debug, PartialEq)]
pub(super) enum Known {
    First,
    Running,
    Ended,
    Answered(RequestEvidenceResponse),
    Other,
    Unknown,
}

/// One end of what keeps retries.
pub(super) trait End {
    async fn claim(&self, asked: Asked<'_>) -> Known;
    /// Settles what this end has claimed.
    async fn settle(&self, asked: Asked<'_>, settled: Settled<'_>);
}

type Claimed<T> = Mutex<HashMap<(String, RequestId), T>>;

fn key(asked: Asked<'_>) -> (String, RequestId) {
    (asked.authority.to_owned(), asked.id)
}

/// A broker on its own.
struct Alone {
    window: Window,
    began: Instant,
    claimed: Claimed<First>,
}

impl Alone {
    fn now_ms(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap()
    }
}

impl End for Alone {
    async fn claim(&self, asked: Asked<'_>) -> Known {
        match self.window.claim(asked.authority, asked.id, asked.digest, self.now_ms()) {
            window::Claim::First(first) => {
                self.claimed.lock().unwrap().insert(key(asked), first);
                Known::First
            }
            window::Claim::Other => Known::Other,
            window::Claim::Same(outcome) => match outcome.borrow().clone() {
                None => Known::Running,
                Some(Ok(answer)) => Known::Answered(Arc::unwrap_or_clone(answer)),
                Some(Err(_)) => Known::Ended,
            },
        }
    }

    async fn settle(&self, asked: Asked<'_>, settled: Settled<'_>) {
        let first = self.claimed.lock().unwrap().remove(&key(asked)).unwrap();
        let failed = Failure::fault(Reason::RegisterFault);
        let (outcome, logged) = match settled {
            Settled::Answered(answer) => (Ok(Arc::new(answer.clone())), true),
            Settled::Ended => (Err(failed), true),
            Settled::Dropped => (Err(failed), false),
        };
        self.window.settle(first, outcome, logged, self.now_ms());
    }
}

/// One of several brokers.
pub(super) struct OfMany {
    pub(super) retries: Retries,
    claimed: Claimed<Marker>,
}

impl OfMany {
    pub(super) fn new(retries: Retries) -> Self {
        Self { retries, claimed: Mutex::default() }
    }
}

impl End for OfMany {
    async fn claim(&self, asked: Asked<'_>) -> Known {
        match self.retries.claim(asked).await.expect("Redis is there") {
            Claim::First(marker) => {
                self.claimed.lock().unwrap().insert(key(asked), marker);
                Known::First
            }
            Claim::Running => Known::Running,
            Claim::Ended => Known::Ended,
            Claim::Answered(answer) => Known::Answered(*answer),
            Claim::Other => Known::Other,
            Claim::Unknown => Known::Unknown,
        }
    }

    async fn settle(&self, asked: Asked<'_>, settled: Settled<'_>) {
        let marker = self.claimed.lock().unwrap().remove(&key(asked)).unwrap();
        self.retries.settle(&marker, settled).await.expect("Redis is there");
    }
}

/// A request that nobody has asked yet.
pub(super) fn asked(bytes: &[u8]) -> Asked<'static> {
    let id = RequestId::new(1, einmal_peer::random::bytes().unwrap());
    Asked { authority: "office", id, digest: Digest::of(bytes) }
}

pub(super) fn answer(bytes: usize) -> RequestEvidenceResponse {
    RequestEvidenceResponse { sealed_evidence: vec![7; bytes], ..Default::default() }
}

/// Identical bytes get the identical answer, others are refused, and only what is in the ledger is
/// remembered.
pub(super) async fn retries(one: &impl End, other: &impl End) {
    let own = asked(b"own");
    let changed = Asked { digest: Digest::of(b"changed"), ..own };
    let of_another = Asked { authority: "another office", ..changed };
    assert_eq!(one.claim(own).await, Known::First);
    assert_eq!(other.claim(own).await, Known::Running);
    assert_eq!(other.claim(changed).await, Known::Other);
    assert_eq!(other.claim(of_another).await, Known::First);
    one.settle(own, Settled::Answered(&answer(500))).await;
    for end in [other.claim(own).await, one.claim(own).await] {
        assert_eq!(end, Known::Answered(answer(500)));
    }
    assert_eq!(one.claim(changed).await, Known::Other);

    let dropped = asked(b"own");
    assert_eq!(one.claim(dropped).await, Known::First);
    one.settle(dropped, Settled::Dropped).await;
    let changed = Asked { digest: Digest::of(b"changed"), ..dropped };
    assert_eq!(other.claim(changed).await, Known::First, "nothing was logged");
    assert_eq!(one.claim(dropped).await, Known::Other, "now those bytes have it");

    let ended = asked(b"own");
    assert_eq!(one.claim(ended).await, Known::First);
    one.settle(ended, Settled::Ended).await;
    assert_eq!(other.claim(ended).await, Known::Ended);

    let long = asked(b"own");
    assert_eq!(one.claim(long).await, Known::First);
    one.settle(long, Settled::Answered(&answer(ANSWER_MAX + 1))).await;
    assert!(!matches!(other.claim(long).await, Known::Answered(_)), "it is too long to be kept");

    tokio::time::sleep(LIFE + Duration::from_millis(50)).await;
    assert_eq!(other.claim(own).await, Known::First, "it is forgotten on time");
}

/// Nobody takes more than there is, two quotas are taken both or not at all, and what is used up
/// comes back.
pub(super) async fn rates(one: &impl Rates, other: &impl Rates) {
    let [a, b, r]: [u8; 3] = einmal_peer::random::bytes().unwrap();
    let (a, b, r) = (format!("a{a}"), format!("b{b}"), format!("r{r}"));
    let of = |whose, per_second, burst| (whose, Rate::per_second(per_second, burst).unwrap());
    // Two brokers take at once, and get no more than one would.
    let asked = [of(Whose::Authority(&a), 1, 6)];
    let (mut taken, mut waits) = (0, Vec::new());
    for _ in 0..5 {
        let (here, there) = tokio::join!(one.take(&asked), other.take(&asked));
        for came in [here.unwrap(), there.unwrap()] {
            match came {
                Taken::All => taken += 1,
                Taken::None { which, wait } => waits.push((which, wait)),
            }
        }
    }
    assert_eq!(taken, 6);
    let second = Duration::from_secs(1);
    assert!(waits.iter().all(|(which, wait)| *which == 0 && *wait <= second), "{waits:?}");

    // The register is used up by another authority; this one's own quota stays as it was.
    let full = [of(Whose::Register(&r), 20, 1)];
    assert_eq!(one.take(&full).await.unwrap(), Taken::All);
    let both = [of(Whose::Authority(&b), 1, 1), of(Whose::Register(&r), 20, 1)];
    let Taken::None { which: 1, wait } = other.take(&both).await.unwrap() else {
        panic!("the register is used up")
    };
    assert!(wait <= Duration::from_millis(50), "{wait:?}");
    tokio::time::sleep(Duration::from_millis(60)).await;
    assert_eq!(other.take(&both).await.unwrap(), Taken::All, "nothing was taken before");
    // The same name means another quota where it is another kind.
    assert_eq!(one.take(&[of(Whose::Refusals(&b), 1, 1)]).await.unwrap(), Taken::All);
    assert_eq!(one.take(&[]).await.unwrap(), Taken::All);
}

#[tokio::test]
async fn a_broker_on_its_own_conforms() {
    let life_ms = u64::try_from(LIFE.as_millis()).unwrap();
    let window = Window::new(life_ms, ANSWER_MAX);
    let alone = Alone { window, began: Instant::now(), claimed: Mutex::default() };
    let local = LocalRates::new(Clock::system());
    tokio::join!(retries(&alone, &alone), rates(&local, &local));
}
