// SPDX-License-Identifier: EUPL-1.2
//! A ledger in memory that can be told to lie.

use std::sync::Arc;

use einmal_protocol::{
    Digest,
    cosignature::{Cosigner, with_cosignatures},
    key::SigningKey,
    leaf::Leaf,
    merkle::{self, Range},
    note::Checkpoint,
    wire::v1::{Consistency, Receipt},
};

/// Leaves under an origin and a key. A clone of it is where a fork begins.
#[derive(Clone, Debug)]
pub struct Log {
    /// Its name.
    pub origin: String,
    /// What signs its checkpoints.
    pub key: Arc<SigningKey>,
    /// Who cosigns them, and when (seconds since 1970).
    pub witnesses: Arc<Vec<Cosigner>>,
    /// When they say that they saw it, seconds since 1970.
    pub cosigned_at_s: u64,
    leaves: Vec<Leaf>,
    /// Hashes of all complete subtrees, by level.
    levels: Vec<Vec<Digest>>,
}

impl Log {
    /// An empty ledger that nobody cosigns.
    pub fn new(origin: &str, key: Arc<SigningKey>) -> Self {
        Self {
            origin: origin.to_owned(),
            key,
            witnesses: Arc::default(),
            cosigned_at_s: 1,
            leaves: Vec::new(),
            levels: Vec::new(),
        }
    }

    /// Adds a leaf.
    pub fn push(&mut self, leaf: Leaf) {
        self.leaves.push(leaf);
        let mut hash = merkle::leaf_hash(&leaf.to_bytes());
        for level in 0.. {
            if self.levels.len() == level {
                self.levels.push(Vec::new());
            }
            let Some(row) = self.levels.get_mut(level) else { return };
            row.push(hash);
            // The second of two makes their parent complete.
            match row.as_slice() {
                [.., left, right] if row.len() % 2 == 0 => hash = merkle::node_hash(left, right),
                _ => return,
            }
        }
    }

    /// This ledger with other leaves.
    #[must_use]
    pub fn of(&self, leaves: impl IntoIterator<Item = Leaf>) -> Self {
        let mut other = Self { leaves: Vec::new(), levels: Vec::new(), ..self.clone() };
        leaves.into_iter().for_each(|leaf| other.push(leaf));
        other
    }

    /// This ledger with one leaf more.
    #[must_use]
    pub fn with(&self, leaf: Leaf) -> Self {
        let mut longer = self.clone();
        longer.push(leaf);
        longer
    }

    /// The first so many leaves of it.
    #[must_use]
    pub fn first(&self, count: usize) -> Self {
        self.of(self.leaves.iter().take(count).copied())
    }

    /// A history that differs in its first leaf.
    #[must_use]
    pub fn forked(&self, first: Leaf) -> Self {
        self.of(std::iter::once(first).chain(self.leaves.iter().skip(1).copied()))
    }

    /// The same leaves under another key.
    #[must_use]
    pub fn signed_by(self, key: Arc<SigningKey>) -> Self {
        Self { key, ..self }
    }

    /// The same leaves under another name.
    #[must_use]
    pub fn called(self, origin: &str) -> Self {
        Self { origin: origin.to_owned(), ..self }
    }

    /// The leaves.
    pub fn leaves(&self) -> &[Leaf] {
        &self.leaves
    }

    /// How many leaves.
    pub fn size(&self) -> u64 {
        self.leaves.len() as u64
    }

    /// The root over them.
    pub fn root(&self) -> Digest {
        self.hash(Range { begin: 0, end: self.size() })
    }

    fn hash(&self, range: Range) -> Digest {
        if range.begin >= range.end {
            return merkle::empty_root();
        }
        let find = |node: merkle::Node| {
            let row = self.levels.get(usize::from(node.level))?;
            row.get(usize::try_from(node.index).ok()?).copied()
        };
        let nodes: Vec<Digest> = range.nodes().into_iter().filter_map(find).collect();
        merkle::fold(&nodes)
    }

    fn hashes(&self, ranges: Vec<Range>) -> Vec<Vec<u8>> {
        ranges.into_iter().map(|range| self.hash(range).to_vec()).collect()
    }

    /// Its checkpoint, cosigned by all its witnesses; empty where the key cannot sign.
    pub fn checkpoint(&self) -> String {
        let signed = Checkpoint::sign(&self.origin, self.size(), self.root(), &self.key);
        let Ok(checkpoint) = signed else { return String::new() };
        let sign = |witness: &Cosigner| witness.cosign(&checkpoint, self.cosigned_at_s).ok();
        let lines: String = self.witnesses.iter().filter_map(sign).collect();
        let keys: Vec<_> = self.witnesses.iter().map(|witness| witness.public().clone()).collect();
        match with_cosignatures(&checkpoint, &lines, &keys) {
            Ok(cosigned) => cosigned.note().to_owned(),
            Err(_) => checkpoint.note().to_owned(),
        }
    }

    /// The proof of one leaf under the newest checkpoint, for whoever saw one of that size. Empty
    /// where there is no such leaf.
    pub fn receipt(&self, index: u64, seen: u64) -> Receipt {
        let size = self.size();
        let consistency = (seen > 0).then(|| Consistency {
            from_size: seen,
            path: self.hashes(merkle::plan_consistency(seen, size).unwrap_or_default()),
        });
        let leaf = usize::try_from(index).ok().and_then(|index| self.leaves.get(index));
        Receipt {
            index,
            leaf: leaf.map(|leaf| leaf.to_bytes().to_vec()).unwrap_or_default(),
            inclusion: self.hashes(merkle::plan_inclusion(index, size).unwrap_or_default()),
            checkpoint: self.checkpoint(),
            consistency,
        }
    }

    /// The proof of the newest leaf.
    pub fn last(&self, seen: u64) -> Receipt {
        self.receipt(self.size().saturating_sub(1), seen)
    }
}

#[cfg(test)]
mod tests {
    use einmal_protocol::{leaf::LeafKind, note::LedgerKey, receipt};

    use super::*;

    #[test]
    fn its_proofs_hold_at_every_size() {
        let key = Arc::new(SigningKey::from_seed(&[1; 32]).unwrap());
        let ledger = LedgerKey::new("check/l", key.public().clone()).unwrap();
        let mut log = Log::new("check/l", key);
        let mut seen = None;
        for number in 0..20_u8 {
            let leaf = Leaf { kind: LeafKind::Use, day: 1, body: Digest::of(&[number]) };
            log.push(leaf);
            let size = seen.as_ref().map_or(0, Checkpoint::size);
            let proven = receipt::verify(&log.last(size), leaf, &ledger, seen.as_ref()).unwrap();
            let first = log.receipt(0, size);
            receipt::verify(&first, log.leaves()[0], &ledger, seen.as_ref()).unwrap();
            seen = Some(proven.checkpoint().clone());
        }
        assert_eq!(log.first(7).with(log.leaves()[7]).root(), log.first(8).root());
        assert_ne!(log.forked(log.leaves()[3]).root(), log.root());
    }
}
