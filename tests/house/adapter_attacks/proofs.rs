// SPDX-License-Identifier: EUPL-1.2
//! NO-LOG-NO-DATA: only the true proof of this very commitment opens it.

use std::sync::Arc;

use einmal_protocol::{
    Digest,
    commitment::Commitment,
    envelope::payload_type,
    key::SigningKey,
    leaf::{Leaf, LeafKind},
    wire::{
        register::v1::{
            Cancel, attach_request::Message as FromAdapter, attach_response::Message as ToAdapter,
        },
        v1::{Consistency, Envelope, ExchangeBody, Receipt},
    },
};
use prost::Message;

use super::{
    double::After,
    log::Log,
    stage::{Committed, LONG, SILENCE, Stage, leaf_of},
};

/// What a hostile broker can build a proof from: the ledger with its true key, and the adapter's
/// commitment, which it has not logged.
struct Scene<'s> {
    log: &'s Log,
    committed: &'s Committed,
    seen: u64,
}

impl Scene<'_> {
    /// What an honest broker would send.
    fn honest(&self) -> Receipt {
        self.log.with(self.committed.leaf).last(self.seen)
    }

    /// A history that differs in its first leaf.
    fn fork(&self) -> Log {
        let mut fork = self.log.clone();
        fork.leaves[0] = other_leaf(0);
        fork
    }

    /// The leaf of the same exchange with another commitment, which the adapter never made.
    fn not_made(&self) -> Leaf {
        let Committed { body, commitment, .. } = self.committed;
        let slots = commitment.slots.iter().skip(1).cloned().collect();
        let commitment = Commitment { slots, ..commitment.clone() };
        let stranger = SigningKey::from_seed(&[9; 32]).unwrap();
        let envelope =
            Envelope::sign(payload_type::COMMITMENT, commitment.to_payload(), &[&stranger]);
        let body = ExchangeBody { commitment: envelope.unwrap().encode_to_vec(), ..body.clone() };
        leaf_of(&body, commitment.day)
    }

    fn leaf_bytes(&self) -> Vec<u8> {
        self.committed.leaf.to_bytes().to_vec()
    }
}

/// Something else in the ledger.
pub(super) fn other_leaf(number: u8) -> Leaf {
    Leaf { kind: LeafKind::Use, day: 1, body: Digest::of(&[number]) }
}

type Forgery = (&'static str, fn(&Scene<'_>) -> Option<Receipt>);

/// Each is almost a proof.
const FORGERIES: &[Forgery] = &[
    ("no receipt", |_| None),
    ("an empty receipt", |_| Some(Receipt::default())),
    ("a checkpoint signed by another key", |scene| {
        let key = Arc::new(SigningKey::from_seed(&[7; 32]).unwrap());
        Some(Log { key, ..scene.log.with(scene.committed.leaf) }.last(scene.seen))
    }),
    ("a checkpoint of another ledger", |scene| {
        let origin = "demo.einmal.example/ledger-2".to_owned();
        Some(Log { origin, ..scene.log.with(scene.committed.leaf) }.last(scene.seen))
    }),
    ("a checkpoint whose size was changed", |scene| {
        let honest = scene.honest();
        let size = scene.log.size() + 1;
        let changed =
            honest.checkpoint.replace(&format!("\n{size}\n"), &format!("\n{}\n", size + 1));
        assert_ne!(changed, honest.checkpoint);
        Some(Receipt { checkpoint: changed, ..honest })
    }),
    ("the true checkpoint from before it was logged", |scene| {
        Some(Receipt { checkpoint: scene.log.checkpoint(), consistency: None, ..scene.honest() })
    }),
    ("the proof for another index", |scene| {
        let honest = scene.honest();
        Some(Receipt { index: honest.index - 1, ..honest })
    }),
    ("another index's path", |scene| {
        let log = scene.log.with(scene.committed.leaf);
        let inclusion = log.receipt(log.size() - 2, scene.seen).inclusion;
        Some(Receipt { inclusion, ..scene.honest() })
    }),
    ("an index past the end", |scene| Some(Receipt { index: u64::MAX, ..scene.honest() })),
    ("another leaf, truly in the tree", |scene| {
        Some(scene.log.with(other_leaf(1)).last(scene.seen))
    }),
    ("this leaf, and the proof of another", |scene| {
        let other = scene.log.with(other_leaf(1)).last(scene.seen);
        Some(Receipt { leaf: scene.leaf_bytes(), ..other })
    }),
    ("the leaf of another commitment, truly in the tree", |scene| {
        Some(scene.log.with(scene.not_made()).last(scene.seen))
    }),
    ("the leaf of another commitment, said to be this", |scene| {
        let other = scene.log.with(scene.not_made()).last(scene.seen);
        Some(Receipt { leaf: scene.leaf_bytes(), ..other })
    }),
    ("the leaf of another day", |scene| {
        let leaf = Leaf { day: scene.committed.leaf.day + 1, ..scene.committed.leaf };
        Some(scene.log.with(leaf).last(scene.seen))
    }),
    ("the leaf as a refusal", |scene| {
        let leaf = Leaf { kind: LeafKind::Refusal, ..scene.committed.leaf };
        Some(scene.log.with(leaf).last(scene.seen))
    }),
    ("a fork", |scene| Some(scene.fork().with(scene.committed.leaf).last(scene.seen))),
    ("a fork with the truth's consistency proof", |scene| {
        let consistency = scene.honest().consistency;
        Some(Receipt { consistency, ..scene.fork().with(scene.committed.leaf).last(scene.seen) })
    }),
    ("a smaller tree", |scene| {
        let mut small = scene.log.clone();
        small.leaves.truncate(2);
        let consistency = Consistency { from_size: scene.seen, path: Vec::new() };
        let receipt = small.with(scene.committed.leaf).last(0);
        Some(Receipt { consistency: Some(consistency), ..receipt })
    }),
    ("a smaller tree, proven from its own past", |scene| {
        let mut small = scene.log.clone();
        small.leaves.truncate(2);
        Some(small.with(scene.committed.leaf).last(2))
    }),
    ("no consistency proof", |scene| Some(Receipt { consistency: None, ..scene.honest() })),
    ("a consistency proof from an older tree", |scene| {
        Some(scene.log.with(scene.committed.leaf).last(scene.seen - 1))
    }),
    ("a consistency proof from the empty tree", |scene| {
        let consistency = Consistency { from_size: 0, path: Vec::new() };
        Some(Receipt { consistency: Some(consistency), ..scene.honest() })
    }),
    ("garbage for a checkpoint", |scene| {
        Some(Receipt { checkpoint: "\u{0}\n\n— x AAAA\n".to_owned(), ..scene.honest() })
    }),
    ("garbage for a leaf", |scene| Some(Receipt { leaf: vec![0; 37], ..scene.honest() })),
    ("garbage for a path", |scene| {
        Some(Receipt { inclusion: vec![vec![1; 31]; 3], ..scene.honest() })
    }),
    ("a path without end", |scene| {
        Some(Receipt { inclusion: vec![vec![1; 32]; 5_000], ..scene.honest() })
    }),
    ("garbage for a consistency proof", |scene| {
        let consistency = Consistency { from_size: scene.seen, path: vec![vec![2; 33]; 4] };
        Some(Receipt { consistency: Some(consistency), ..scene.honest() })
    }),
];

/// A stage whose ledger has a past that the adapter saw.
async fn stage_with_past() -> Stage {
    let mut stage = Stage::start().await;
    stage.log.leaves = (0..5).map(|number| other_leaf(100 + number)).collect();
    stage.still_serves().await;
    stage
}

/// Each forgery is sent for a fresh commitment; the adapter ends the stream, comes back, and
/// serves what is true.
async fn nothing_is_revealed_for(forgeries: &[Forgery]) {
    let mut stage = stage_with_past().await;
    for (number, (name, forge)) in forgeries.iter().enumerate() {
        let open = stage.honest_open().await;
        let committed = stage.commit(open).await;
        let forged = forge(&Scene { log: &stage.log, committed: &committed, seen: stage.seen });
        stage.line.logged(committed.exchange, forged).await;
        let after = stage.line.after(committed.exchange, LONG).await;
        assert_eq!(after, After::Ended, "{name}");
        stage.reattach().await;
        stage.still_serves().await;
        // A restarted adapter waits less before it dials again.
        if number % 4 == 3 {
            stage.restart().await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_honest_log_step_is_followed_by_a_reveal() {
    let mut stage = Stage::start().await;
    for _ in 0..3 {
        let prepared = stage.prepared().await;
        let received = stage.exchange(&prepared).await;
        assert_eq!(received.proven.index() + 1, stage.log.size());
        assert!(!received.values.is_empty());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_revealed_for_a_forged_proof() {
    let (first, second) = FORGERIES.split_at(FORGERIES.len() / 2);
    tokio::join!(nothing_is_revealed_for(first), nothing_is_revealed_for(second));
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_revealed_without_a_log_step() {
    let mut stage = stage_with_past().await;
    let open = stage.honest_open().await;
    let committed = stage.commit(open).await;
    assert_eq!(stage.line.after(committed.exchange, SILENCE).await, After::Silent);
    // What was not revealed is still there for the true proof.
    stage.reveal(&committed).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proof_for_one_exchange_opens_no_other() {
    let mut stage = stage_with_past().await;
    let (one, other) = (stage.honest_open().await, stage.honest_open().await);
    let (one, other) = (stage.commit(one).await, stage.commit(other).await);
    stage.log = stage.log.with(other.leaf);
    stage.line.logged(one.exchange, stage.log.last(stage.seen)).await;
    assert_eq!(stage.line.after(one.exchange, LONG).await, After::Ended);
    // The true leaf stays in the ledger; what was in flight on the stream is gone.
    stage.reattach().await;
    stage.line.logged(other.exchange, stage.log.last(stage.seen)).await;
    stage.seen = stage.log.size();
    assert_eq!(stage.line.after(other.exchange, SILENCE).await, After::Silent);
    stage.still_serves().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_step_of_nobody_is_held_against_the_ledger_all_the_same() {
    let mut stage = stage_with_past().await;
    // True: it is an exchange that the adapter has forgotten, and the ledger has grown.
    stage.log = stage.log.with(other_leaf(1));
    stage.line.logged(4711, stage.log.last(stage.seen)).await;
    stage.seen = stage.log.size();
    stage.still_serves().await;
    // False.
    let mut fork = stage.log.clone();
    fork.leaves[0] = other_leaf(2);
    stage.line.logged(4712, fork.with(other_leaf(3)).last(stage.seen)).await;
    assert!(stage.line.ends(LONG).await);
    stage.reattach().await;
    stage.still_serves().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancelled_exchange_reveals_nothing() {
    let mut stage = stage_with_past().await;
    let open = stage.honest_open().await;
    let committed = stage.commit(open).await;
    let cancel = Cancel { exchange: committed.exchange, reason: "CANCELLED".to_owned() };
    stage.line.send(ToAdapter::Cancel(cancel)).await;
    stage.log(&committed).await;
    assert_eq!(stage.line.after(committed.exchange, SILENCE).await, After::Silent);
    stage.still_serves().await;
}

/// Two roots of one size are proof enough: nothing more is revealed for this ledger.
#[tokio::test(flavor = "multi_thread")]
async fn after_two_roots_of_one_size_nothing_is_revealed_until_a_person_looked() {
    let mut stage = stage_with_past().await;
    let open = stage.honest_open().await;
    let committed = stage.commit(open).await;
    let mut fork = stage.log.clone();
    fork.leaves.pop();
    let fork = fork.with(committed.leaf);
    assert_eq!(fork.size(), stage.seen);
    stage.line.logged(committed.exchange, Some(fork.last(stage.seen))).await;
    assert_eq!(stage.line.after(committed.exchange, LONG).await, After::Ended);
    stage.reattach().await;
    for _ in 0..2 {
        let open = stage.honest_open().await;
        stage.line.open(open).await;
        let answer = stage.line.next().await;
        assert!(matches!(answer, Some(FromAdapter::Decline(_))), "{answer:?}");
        stage.restart().await;
    }
    let proof = stage.folder.path().join("adapter-rechenzentrum-weser/forks.json");
    let text = std::fs::read_to_string(&proof).unwrap();
    assert!(text.contains(&stage.log.checkpoint().lines().nth(2).unwrap()[..8]), "{text}");
    std::fs::remove_file(proof).unwrap();
    stage.restart().await;
    stage.still_serves().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restarted_adapter_notices_a_fork_from_before() {
    let mut stage = stage_with_past().await;
    stage.restart().await;
    let open = stage.honest_open().await;
    let committed = stage.commit(open).await;
    let scene = Scene { log: &stage.log, committed: &committed, seen: stage.seen };
    // Whoever asks the adapter to forget gets no further than whoever shows a fork.
    let forged = scene.fork().with(committed.leaf).last(0);
    stage.line.logged(committed.exchange, forged).await;
    assert_eq!(stage.line.after(committed.exchange, LONG).await, After::Ended);
    stage.restart_after_drop().await;
    let open = stage.honest_open().await;
    let committed = stage.commit(open).await;
    let scene = Scene { log: &stage.log, committed: &committed, seen: stage.seen };
    let forged = scene.fork().with(committed.leaf).last(stage.seen);
    stage.line.logged(committed.exchange, forged).await;
    assert_eq!(stage.line.after(committed.exchange, LONG).await, After::Ended);
    stage.reattach().await;
    stage.still_serves().await;
}
