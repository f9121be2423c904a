// SPDX-License-Identifier: EUPL-1.2
//! Everything that is almost a proof. After none of these may an adapter reveal (NO-LOG-NO-DATA).

use std::sync::Arc;

use einmal_protocol::{
    Digest,
    commitment::Commitment,
    envelope::payload_type,
    key::SigningKey,
    leaf::{Leaf, LeafKind, body_bytes},
    wire::v1::{Consistency, Envelope, ExchangeBody, Receipt, body},
};
use prost::Message;

use crate::log::Log;

/// An exchange that the adapter has committed to.
#[derive(Clone, Debug)]
pub struct Committed {
    /// Its number on the stream.
    pub exchange: u64,
    /// What is logged.
    pub body: ExchangeBody,
    /// The register's word.
    pub commitment: Commitment,
    /// What stands for it in the ledger.
    pub leaf: Leaf,
}

impl Committed {
    /// An exchange with the leaf that an honest broker logs for it.
    pub fn new(exchange: u64, body: ExchangeBody, commitment: Commitment) -> Self {
        let leaf = leaf_of(&body, commitment.day);
        Self { exchange, body, commitment, leaf }
    }
}

/// The leaf of an exchange.
pub fn leaf_of(body: &ExchangeBody, day: u32) -> Leaf {
    let bytes = body_bytes(body::Kind::Exchange(body.clone()));
    Leaf::new(LeafKind::Exchange, day, &bytes)
}

/// Something else in the ledger.
pub fn other_leaf(number: u8) -> Leaf {
    Leaf { kind: LeafKind::Use, day: 1, body: Digest::of(&[number]) }
}

/// What a hostile broker can build a proof from: the ledger with its true key, at least five
/// leaves long, and the adapter's commitment, which it has not logged.
#[derive(Clone, Copy, Debug)]
pub struct Scene<'s> {
    /// The true ledger.
    pub log: &'s Log,
    /// The commitment.
    pub committed: &'s Committed,
    /// Size of the last checkpoint that the adapter saw.
    pub seen: u64,
}

impl Scene<'_> {
    fn logged(&self) -> Log {
        self.log.with(self.committed.leaf)
    }

    /// What an honest broker would send.
    pub fn honest(&self) -> Receipt {
        self.logged().last(self.seen)
    }

    /// A history that differs in its first leaf.
    pub fn fork(&self) -> Log {
        self.log.forked(other_leaf(0))
    }

    /// The leaf of the same exchange with another commitment, which the adapter never made.
    fn not_made(&self) -> Leaf {
        let Committed { body, commitment, .. } = self.committed;
        let slots = commitment.slots.iter().skip(1).cloned().collect();
        let commitment = Commitment { slots, ..commitment.clone() };
        let envelope = SigningKey::from_seed(&[9; 32]).and_then(|stranger| {
            Envelope::sign(payload_type::COMMITMENT, commitment.to_payload(), &[&stranger])
        });
        let commitment_bytes = envelope.unwrap_or_default().encode_to_vec();
        let body = ExchangeBody { commitment: commitment_bytes, ..body.clone() };
        leaf_of(&body, commitment.day)
    }

    fn leaf_bytes(&self) -> Vec<u8> {
        self.committed.leaf.to_bytes().to_vec()
    }
}

/// What it is, and how it is made.
pub type Forgery = (&'static str, fn(&Scene<'_>) -> Option<Receipt>);

/// Proofs of something else, or of nothing.
pub const OF_SOMETHING_ELSE: &[Forgery] = &[
    ("no receipt", |_| None),
    ("an empty receipt", |_| Some(Receipt::default())),
    ("the proof for another index", |scene| {
        let honest = scene.honest();
        Some(Receipt { index: honest.index.saturating_sub(1), ..honest })
    }),
    ("another index's path", |scene| {
        let log = scene.logged();
        let inclusion = log.receipt(log.size().saturating_sub(2), scene.seen).inclusion;
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
    ("garbage for a leaf", |scene| Some(Receipt { leaf: vec![0; 37], ..scene.honest() })),
    ("garbage for a path", |scene| {
        Some(Receipt { inclusion: vec![vec![1; 31]; 3], ..scene.honest() })
    }),
    ("a path without end", |scene| {
        Some(Receipt { inclusion: vec![vec![1; 32]; 5_000], ..scene.honest() })
    }),
];

/// Checkpoints that the ledger's key did not sign for this tree.
pub const OF_ANOTHER_CHECKPOINT: &[Forgery] = &[
    ("a checkpoint signed by another key", |scene| {
        let key = Arc::new(SigningKey::from_seed(&[7; 32]).ok()?);
        Some(scene.logged().signed_by(key).last(scene.seen))
    }),
    ("a checkpoint of another ledger", |scene| {
        let origin = format!("{}-other", scene.log.origin);
        Some(scene.logged().called(&origin).last(scene.seen))
    }),
    ("a checkpoint whose size was changed", |scene| {
        let honest = scene.honest();
        let size = scene.log.size() + 1;
        let changed =
            honest.checkpoint.replace(&format!("\n{size}\n"), &format!("\n{}\n", size + 1));
        Some(Receipt { checkpoint: changed, ..honest })
    }),
    ("the true checkpoint from before it was logged", |scene| {
        Some(Receipt { checkpoint: scene.log.checkpoint(), consistency: None, ..scene.honest() })
    }),
    ("garbage for a checkpoint", |scene| {
        Some(Receipt { checkpoint: "\u{0}\n\n— x AAAA\n".to_owned(), ..scene.honest() })
    }),
];

/// Checkpoints, truly signed, that do not extend the last one seen.
pub const OF_ANOTHER_HISTORY: &[Forgery] = &[
    ("a fork", |scene| Some(scene.fork().with(scene.committed.leaf).last(scene.seen))),
    ("a fork with the truth's consistency proof", |scene| {
        let consistency = scene.honest().consistency;
        Some(Receipt { consistency, ..scene.fork().with(scene.committed.leaf).last(scene.seen) })
    }),
    ("a smaller tree", |scene| {
        let consistency = Consistency { from_size: scene.seen, path: Vec::new() };
        let receipt = scene.log.first(2).with(scene.committed.leaf).last(0);
        Some(Receipt { consistency: Some(consistency), ..receipt })
    }),
    ("a smaller tree, proven from its own past", |scene| {
        Some(scene.log.first(2).with(scene.committed.leaf).last(2))
    }),
    ("no consistency proof", |scene| Some(Receipt { consistency: None, ..scene.honest() })),
    ("a consistency proof from an older tree", |scene| {
        Some(scene.logged().last(scene.seen.saturating_sub(1)))
    }),
    ("a consistency proof from the empty tree", |scene| {
        let consistency = Consistency { from_size: 0, path: Vec::new() };
        Some(Receipt { consistency: Some(consistency), ..scene.honest() })
    }),
    ("garbage for a consistency proof", |scene| {
        let consistency = Consistency { from_size: scene.seen, path: vec![vec![2; 33]; 4] };
        Some(Receipt { consistency: Some(consistency), ..scene.honest() })
    }),
];

/// All of them.
pub fn all() -> impl Iterator<Item = &'static Forgery> {
    OF_SOMETHING_ELSE.iter().chain(OF_ANOTHER_CHECKPOINT).chain(OF_ANOTHER_HISTORY)
}
