// SPDX-License-Identifier: EUPL-1.2
//! Tiles: 256 hashes side by side, with the seven rows of nodes above them, so that a proof takes
//! its hashes from memory and computes none of them again.

use std::fmt;

use einmal_protocol::{Digest, merkle::node_hash};

/// Hashes in a full tile.
pub(crate) const WIDTH: usize = 256;
/// Levels of the tree that one tile spans.
pub(crate) const HEIGHT: u32 = 8;
const HASH: usize = 32;

/// Which tile: tile level (each spans eight levels of the tree) and position in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TileId {
    /// 0 holds leaf hashes.
    pub level: u8,
    /// Position among the tiles of its level.
    pub index: u64,
}

impl TileId {
    /// The tile that holds this tile's root.
    pub(crate) fn parent(self) -> Self {
        Self { level: self.level + 1, index: self.index >> HEIGHT }
    }
}

impl fmt::Display for TileId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.level, self.index)
    }
}

/// How many hashes a tile level has in a tree of this size.
pub(crate) fn hashes_at(level: u8, size: u64) -> u64 {
    size.checked_shr(HEIGHT * u32::from(level)).unwrap_or(0)
}

/// One tile, full or growing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tile {
    rows: [Vec<Digest>; HEIGHT as usize],
}

impl Tile {
    /// Reads stored hashes; nothing where they are no tile.
    pub(crate) fn parse(bytes: &[u8]) -> Option<Self> {
        let (hashes, rest) = bytes.as_chunks::<HASH>();
        if hashes.is_empty() || hashes.len() > WIDTH || !rest.is_empty() {
            return None;
        }
        let mut tile = Self::default();
        for hash in hashes {
            tile.push(Digest::from(*hash));
        }
        Some(tile)
    }

    /// Appends a hash; gives the tile's root when that made it full.
    pub(crate) fn push(&mut self, hash: Digest) -> Option<Digest> {
        let mut carry = hash;
        for row in &mut self.rows {
            row.push(carry);
            if row.len() % 2 == 1 {
                return None;
            }
            let [.., left, right] = row.as_slice() else { return None };
            carry = node_hash(left, right);
        }
        Some(carry)
    }

    /// How many hashes it has.
    pub(crate) fn width(&self) -> usize {
        self.hashes().len()
    }

    /// Its hashes.
    pub(crate) fn hashes(&self) -> &[Digest] {
        let [hashes, ..] = &self.rows;
        hashes
    }

    /// A complete node inside it: `row` 0 is the hashes themselves.
    pub(crate) fn node(&self, row: usize, position: u64) -> Option<Digest> {
        self.rows.get(row)?.get(usize::try_from(position).ok()?).copied()
    }

    /// The root of a full tile.
    pub(crate) fn root(&self) -> Option<Digest> {
        let [.., last] = &self.rows;
        match last.as_slice() {
            [left, right] => Some(node_hash(left, right)),
            _ => None,
        }
    }

    /// The bytes of its first hashes; nothing where it has fewer.
    pub(crate) fn prefix(&self, width: usize) -> Option<Vec<u8>> {
        Some(self.hashes().get(..width)?.iter().flat_map(|hash| *hash.as_bytes()).collect())
    }

    /// All its bytes.
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        self.hashes().iter().flat_map(|hash| *hash.as_bytes()).collect()
    }
}
