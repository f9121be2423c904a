// SPDX-License-Identifier: EUPL-1.2
//! RFC 6962 Merkle trees over SHA-256: hashes, proofs and their verification (RFC 9162 § 2.1).
//!
//! A proof is first *planned*, as the ranges of leaves whose hashes it needs, then computed from
//! complete subtrees; so whoever stores a tree can fetch what is needed before computing.

use crate::digest::Digest;

/// The root of the empty tree.
pub fn empty_root() -> Digest {
    Digest::of(b"")
}

/// Hash of a leaf's bytes.
pub fn leaf_hash(leaf: &[u8]) -> Digest {
    Digest::of_parts(&[&[0], leaf])
}

/// Hash of an inner node.
pub fn node_hash(left: &Digest, right: &Digest) -> Digest {
    Digest::of_parts(&[&[1], left.as_bytes(), right.as_bytes()])
}

/// Some leaves that lie side by side: `begin..end`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range {
    /// First leaf.
    pub begin: u64,
    /// One past the last leaf.
    pub end: u64,
}

/// A complete subtree: the 2^level leaves from `index * 2^level` on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Node {
    /// 0 is a leaf.
    pub level: u8,
    /// Position among the nodes of its level.
    pub index: u64,
}

impl Range {
    /// The complete subtrees that make up this range, left to right. The range must begin where
    /// a subtree of its size may begin, as all ranges of planned proofs do.
    pub fn nodes(self) -> Vec<Node> {
        let mut nodes = Vec::new();
        let mut begin = self.begin;
        while begin < self.end {
            let rest = self.end - begin;
            let fits = 63 - rest.leading_zeros().min(63);
            let aligned = if begin == 0 { 63 } else { begin.trailing_zeros() };
            let level = fits.min(aligned);
            nodes.push(Node { level: u8::try_from(level).unwrap_or(63), index: begin >> level });
            begin += 1 << level;
        }
        nodes
    }
}

/// The hash of a range from the hashes of its complete subtrees, left to right.
pub fn fold(nodes: &[Digest]) -> Digest {
    let mut rest = nodes.iter().rev();
    let Some(last) = rest.next() else { return empty_root() };
    rest.fold(*last, |right, left| node_hash(left, &right))
}

/// The root over some leaves.
pub fn root<'a>(leaves: impl IntoIterator<Item = &'a [u8]>) -> Digest {
    let mut edge = Edge::default();
    for leaf in leaves {
        edge.push(leaf_hash(leaf));
    }
    edge.root()
}

/// The right edge of a growing tree: complete subtrees from large to small. All that is needed
/// to append leaves and know the root.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Edge {
    size: u64,
    nodes: Vec<Digest>,
}

impl Edge {
    /// The edge of a tree of this size, from the hashes of `Range { 0, size }.nodes()`.
    pub fn new(size: u64, nodes: Vec<Digest>) -> Option<Self> {
        (nodes.len() == size.count_ones() as usize).then_some(Self { size, nodes })
    }

    /// Appends a leaf's hash.
    pub fn push(&mut self, leaf: Digest) {
        let mut hash = leaf;
        for _ in 0..self.size.trailing_ones() {
            if let Some(left) = self.nodes.pop() {
                hash = node_hash(&left, &hash);
            }
        }
        self.nodes.push(hash);
        self.size += 1;
    }

    /// How many leaves.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The tree's root.
    pub fn root(&self) -> Digest {
        fold(&self.nodes)
    }
}

/// The largest power of two smaller than `size`, for a size of 2 or more.
fn split(size: u64) -> u64 {
    1 << (63 - (size - 1).leading_zeros())
}

/// Which ranges an inclusion proof names, leaf sibling first. Nothing where the leaf is outside.
pub fn plan_inclusion(index: u64, size: u64) -> Option<Vec<Range>> {
    if index >= size {
        return None;
    }
    let (mut begin, mut end) = (0, size);
    let mut path = Vec::new();
    while end - begin > 1 {
        let middle = begin + split(end - begin);
        if index < middle {
            path.push(Range { begin: middle, end });
            end = middle;
        } else {
            path.push(Range { begin, end: middle });
            begin = middle;
        }
    }
    path.reverse();
    Some(path)
}

/// Which ranges a consistency proof names (RFC 6962 § 2.1.2). Nothing where `old` is larger than
/// `new`; empty where they are equal or `old` is 0.
pub fn plan_consistency(old: u64, new: u64) -> Option<Vec<Range>> {
    if old > new {
        return None;
    }
    let mut path = Vec::new();
    if old == 0 || old == new {
        return Some(path);
    }
    let (mut begin, mut end) = (0, new);
    // Whether the subtree looked at is the whole old tree so far, whose root the verifier has.
    let mut known = true;
    while old != end {
        let middle = begin + split(end - begin);
        if old <= middle {
            path.push(Range { begin: middle, end });
            end = middle;
        } else {
            path.push(Range { begin, end: middle });
            begin = middle;
            known = false;
        }
    }
    if !known {
        path.push(Range { begin, end });
    }
    path.reverse();
    Some(path)
}

/// The path of one leaf among a few, all held in memory: for batches of requests.
pub fn inclusion_path(leaves: &[&[u8]], index: u64) -> Option<Vec<Digest>> {
    let ranges = plan_inclusion(index, leaves.len() as u64)?;
    ranges
        .into_iter()
        .map(|range| {
            let begin = usize::try_from(range.begin).ok()?;
            let end = usize::try_from(range.end).ok()?;
            Some(root(leaves.get(begin..end)?.iter().copied()))
        })
        .collect()
}

/// The root that a leaf hash, its position and its path give; nothing where they do not fit.
pub fn root_from_inclusion(leaf: Digest, index: u64, size: u64, path: &[Digest]) -> Option<Digest> {
    if index >= size {
        return None;
    }
    let (mut node, mut last) = (index, size - 1);
    let mut hash = leaf;
    for sibling in path {
        if last == 0 {
            return None;
        }
        if node & 1 == 1 || node == last {
            hash = node_hash(sibling, &hash);
            while node & 1 == 0 && node != 0 {
                node >>= 1;
                last >>= 1;
            }
        } else {
            hash = node_hash(&hash, sibling);
        }
        node >>= 1;
        last >>= 1;
    }
    (last == 0).then_some(hash)
}

/// True only where the tree of `new` size and root extends the tree of `old` size and root.
pub fn verify_consistency(old: (u64, Digest), new: (u64, Digest), path: &[Digest]) -> bool {
    consistent(old, new, path).unwrap_or(false)
}

fn consistent(old: (u64, Digest), new: (u64, Digest), path: &[Digest]) -> Option<bool> {
    let ((old_size, old_root), (new_size, new_root)) = (old, new);
    if old_size > new_size {
        return None;
    }
    // Nothing is consistent with anything, but only the true empty root is nothing.
    if old_size == 0 && old_root != empty_root() {
        return Some(false);
    }
    if old_size == new_size {
        return Some(path.is_empty() && old_root == new_root);
    }
    if old_size == 0 {
        return Some(path.is_empty());
    }
    let mut rest = path.iter();
    let first = if old_size.is_power_of_two() { old_root } else { *rest.next()? };
    let (mut node, mut last) = (old_size - 1, new_size - 1);
    while node & 1 == 1 {
        node >>= 1;
        last >>= 1;
    }
    let (mut from_old, mut from_new) = (first, first);
    for sibling in rest {
        if last == 0 {
            return None;
        }
        if node & 1 == 1 || node == last {
            from_old = node_hash(sibling, &from_old);
            from_new = node_hash(sibling, &from_new);
            while node & 1 == 0 && node != 0 {
                node >>= 1;
                last >>= 1;
            }
        } else {
            from_new = node_hash(&from_new, sibling);
        }
        node >>= 1;
        last >>= 1;
    }
    Some(last == 0 && from_old == old_root && from_new == new_root)
}

#[cfg(test)]
#[path = "merkle_tests.rs"]
mod tests;
