// SPDX-License-Identifier: EUPL-1.2
//! A ledger in memory that can be told to lie.

use std::{path::Path, sync::Arc};

use einmal_peer::files;
use einmal_protocol::{
    Digest,
    key::SigningKey,
    leaf::Leaf,
    merkle::{self, Range},
    note::Checkpoint,
    wire::v1::{Consistency, Receipt},
};

/// Leaves under an origin and a key. A clone of it is where a fork begins.
#[derive(Clone)]
pub(crate) struct Log {
    pub(crate) origin: String,
    pub(crate) key: Arc<SigningKey>,
    pub(crate) leaves: Vec<Leaf>,
}

impl Log {
    /// An empty ledger with the true key of the demo's world.
    pub(crate) fn of_world(folder: &Path) -> Self {
        let key = files::signing_key(&folder.join("keys/ledger.key")).unwrap();
        let origin = einmal::demo::plan::LEDGER.to_owned();
        Self { origin, key: Arc::new(key), leaves: Vec::new() }
    }

    /// This ledger with one leaf more.
    pub(crate) fn with(&self, leaf: Leaf) -> Self {
        let mut leaves = self.leaves.clone();
        leaves.push(leaf);
        Self { leaves, ..self.clone() }
    }

    pub(crate) fn size(&self) -> u64 {
        self.leaves.len() as u64
    }

    pub(crate) fn root(&self) -> Digest {
        self.hash(Range { begin: 0, end: self.size() })
    }

    fn hash(&self, range: Range) -> Digest {
        let (begin, end) = (range.begin as usize, range.end as usize);
        let leaves: Vec<_> = self.leaves[begin..end].iter().map(Leaf::to_bytes).collect();
        merkle::root(leaves.iter().map(<[u8; 38]>::as_slice))
    }

    fn hashes(&self, ranges: Vec<Range>) -> Vec<Vec<u8>> {
        ranges.into_iter().map(|range| self.hash(range).to_vec()).collect()
    }

    pub(crate) fn checkpoint(&self) -> String {
        let checkpoint = Checkpoint::sign(&self.origin, self.size(), self.root(), &self.key);
        checkpoint.unwrap().note().to_owned()
    }

    /// The proof of one leaf under the newest checkpoint, for whoever saw one of that size.
    pub(crate) fn receipt(&self, index: u64, seen: u64) -> Receipt {
        let size = self.size();
        let consistency = (seen > 0).then(|| Consistency {
            from_size: seen,
            path: self.hashes(merkle::plan_consistency(seen, size).unwrap_or_default()),
        });
        Receipt {
            index,
            leaf: self.leaves[index as usize].to_bytes().to_vec(),
            inclusion: self.hashes(merkle::plan_inclusion(index, size).unwrap()),
            checkpoint: self.checkpoint(),
            consistency,
        }
    }

    /// The proof of the newest leaf.
    pub(crate) fn last(&self, seen: u64) -> Receipt {
        self.receipt(self.size() - 1, seen)
    }
}
