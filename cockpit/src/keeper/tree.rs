// SPDX-License-Identifier: EUPL-1.2
//! The keeper's own Merkle tree over the leaves it was shown: it believes a checkpoint only where
//! its own root is equal. Every complete subtree's hash is handed out for storing, so that
//! inclusion proofs need a few rows and not the whole ledger.

use einmal_protocol::{
    Digest,
    merkle::{Node, Range, fold, node_hash},
};

/// A growing tree: its right edge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Tree {
    size: u64,
    edge: Vec<Digest>,
}

impl Tree {
    /// The tree of this size from the hashes of [`Tree::edge_nodes`].
    pub(crate) fn new(size: u64, edge: Vec<Digest>) -> Option<Self> {
        (edge.len() == size.count_ones() as usize).then_some(Self { size, edge })
    }

    /// Which stored hashes make the edge of a tree of this size.
    pub(crate) fn edge_nodes(size: u64) -> Vec<Node> {
        Range { begin: 0, end: size }.nodes()
    }

    /// Appends a leaf's hash; every subtree that it completes, the leaf first.
    pub(crate) fn push(&mut self, leaf: Digest) -> Vec<(Node, Digest)> {
        let mut node = Node { level: 0, index: self.size };
        let mut hash = leaf;
        let mut done = vec![(node, hash)];
        while node.index % 2 == 1 {
            let Some(left) = self.edge.pop() else { break };
            hash = node_hash(&left, &hash);
            node = Node { level: node.level + 1, index: node.index / 2 };
            done.push((node, hash));
        }
        self.edge.push(hash);
        self.size += 1;
        done
    }

    /// How many leaves.
    pub(crate) fn size(&self) -> u64 {
        self.size
    }

    /// The root over them.
    pub(crate) fn root(&self) -> Digest {
        fold(&self.edge)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use einmal_protocol::merkle::{Edge, leaf_hash, plan_inclusion, root_from_inclusion};

    use super::*;

    #[test]
    fn stored_nodes_prove_every_leaf_and_rebuild_the_edge() {
        let (mut tree, mut edge) = (Tree::new(0, Vec::new()).unwrap(), Edge::default());
        let mut stored = BTreeMap::new();
        for size in 1..=40_u64 {
            let leaf = leaf_hash(&size.to_be_bytes());
            stored.extend(tree.push(leaf));
            edge.push(leaf);
            assert_eq!(tree.root(), edge.root());
            let nodes = Tree::edge_nodes(size).iter().map(|node| stored[node]).collect();
            assert_eq!(Tree::new(size, nodes).unwrap(), tree);
            for index in 0..size {
                let path: Vec<Digest> = plan_inclusion(index, size)
                    .unwrap()
                    .into_iter()
                    .map(|range| fold(&range.nodes().iter().map(|n| stored[n]).collect::<Vec<_>>()))
                    .collect();
                let leaf = leaf_hash(&(index + 1).to_be_bytes());
                assert_eq!(root_from_inclusion(leaf, index, size, &path), Some(tree.root()));
            }
        }
    }
}
