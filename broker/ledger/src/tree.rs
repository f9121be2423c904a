// SPDX-License-Identifier: EUPL-1.2
//! The right edge of the tree as tiles: all that is needed to append leaves, know the root and
//! prove the newest leaves. Cheap to copy, so a batch is computed on a copy and kept only once
//! it is durable.

use std::sync::Arc;

use einmal_protocol::{
    Digest,
    merkle::{self, Node, Range},
};

use crate::tile::{HEIGHT, Tile, TileId, hashes_at};

/// The growing tile of each level.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tree {
    size: u64,
    edge: Vec<Arc<Tile>>,
}

/// A tree after some leaves more.
#[derive(Clone, Debug)]
pub(crate) struct Growth {
    /// The tree with them.
    pub(crate) tree: Tree,
    /// Tiles that they made full.
    pub(crate) completed: Vec<(TileId, Arc<Tile>)>,
}

/// Where in which tile a node lies.
pub(crate) fn place(node: Node) -> (TileId, usize, u64) {
    let (level, row) = (u32::from(node.level) / HEIGHT, u32::from(node.level) % HEIGHT);
    let across = HEIGHT - row;
    let id = TileId { level: u8::try_from(level).unwrap_or(u8::MAX), index: node.index >> across };
    (id, row as usize, node.index & ((1 << across) - 1))
}

impl Tree {
    /// The tree of this size, from the tiles at its right edge, lowest level first. Nothing where
    /// a tile has another width than the size demands.
    pub(crate) fn new(size: u64, edge: Vec<Tile>) -> Option<Self> {
        let fits = (0u8..)
            .zip(&edge)
            .all(|(level, tile)| tile.width() as u64 == hashes_at(level, size) % 256);
        let levels = u8::try_from(edge.len()).ok()?;
        (fits && hashes_at(levels, size) == 0)
            .then(|| Self { size, edge: edge.into_iter().map(Arc::new).collect() })
    }

    /// How many leaves.
    pub(crate) fn size(&self) -> u64 {
        self.size
    }

    /// The tile at the right edge, where this is one.
    pub(crate) fn tile(&self, id: TileId) -> Option<&Arc<Tile>> {
        let at_edge = id.index == hashes_at(id.level, self.size) >> HEIGHT;
        self.edge.get(usize::from(id.level)).filter(|_| at_edge)
    }

    /// The root, from the right edge alone.
    pub(crate) fn root(&self) -> Option<Digest> {
        Some(merkle::fold(&self.edge_nodes()?))
    }

    /// The complete subtrees at the right edge, large to small.
    pub(crate) fn edge_nodes(&self) -> Option<Vec<Digest>> {
        hashes_of(Range { begin: 0, end: self.size }, |id| self.tile(id)).ok()
    }

    /// Grows by some leaves.
    pub(crate) fn grow(&self, leaves: impl IntoIterator<Item = Digest>) -> Growth {
        let mut growth = Growth { tree: self.clone(), completed: Vec::new() };
        for leaf in leaves {
            growth.tree.push(leaf, &mut growth.completed);
        }
        growth
    }

    /// Appends one leaf, noting the tiles that it makes full.
    pub(crate) fn push(&mut self, leaf: Digest, completed: &mut Vec<(TileId, Arc<Tile>)>) {
        let mut hash = leaf;
        for level in 0..=7u8 {
            if self.edge.len() == usize::from(level) {
                self.edge.push(Arc::default());
            }
            let Some(tile) = self.edge.get_mut(usize::from(level)) else { break };
            let Some(root) = Arc::make_mut(tile).push(hash) else { break };
            let index = hashes_at(level, self.size) >> HEIGHT;
            completed.push((TileId { level, index }, std::mem::take(tile)));
            hash = root;
        }
        self.size += 1;
    }

    /// The growing tiles that are not empty, lowest level first.
    pub(crate) fn partial_tiles(&self) -> impl Iterator<Item = (TileId, &Arc<Tile>)> {
        (0u8..).zip(&self.edge).filter(|(_, tile)| tile.width() > 0).map(|(level, tile)| {
            (TileId { level, index: hashes_at(level, self.size) >> HEIGHT }, tile)
        })
    }
}

impl Growth {
    /// Every tile that differs from before, as bytes to store; not the growing one of level 0,
    /// which would be written anew with every leaf.
    pub(crate) fn changed(&self, before: u64) -> Vec<(TileId, Vec<u8>)> {
        let full = self.completed.iter().map(|(id, tile)| (*id, tile.to_bytes()));
        let grew = |level| hashes_at(level, before) != hashes_at(level, self.tree.size);
        let partial = self
            .tree
            .partial_tiles()
            .filter(|(id, _)| id.level > 0 && grew(id.level))
            .map(|(id, tile)| (id, tile.to_bytes()));
        full.chain(partial).collect()
    }

    /// The inclusion path of a leaf that this growth added: all of it lies in tiles at hand.
    pub(crate) fn inclusion(&self, index: u64) -> Option<Vec<Digest>> {
        let find = |id| {
            let done = || self.completed.iter().find(|(done, _)| *done == id).map(|(_, tile)| tile);
            self.tree.tile(id).or_else(done)
        };
        merkle::plan_inclusion(index, self.tree.size)?
            .into_iter()
            .map(|range| hashes_of(range, find).ok().map(|hashes| merkle::fold(&hashes)))
            .collect()
    }
}

/// The hashes of a range's complete subtrees, or the tile that is missing for it.
pub(crate) fn hashes_of<'a>(
    range: Range,
    find: impl Fn(TileId) -> Option<&'a Arc<Tile>>,
) -> Result<Vec<Digest>, TileId> {
    range
        .nodes()
        .into_iter()
        .map(|node| {
            let (id, row, position) = place(node);
            find(id).and_then(|tile| tile.node(row, position)).ok_or(id)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn leaf(index: u64) -> Digest {
        merkle::leaf_hash(&index.to_be_bytes())
    }

    #[test]
    fn tiles_give_the_same_tree_as_the_protocol_s_edge() {
        let (mut tree, mut edge, mut completed) =
            (Tree::default(), merkle::Edge::default(), vec![]);
        for index in 0..66_000 {
            tree.push(leaf(index), &mut completed);
            edge.push(leaf(index));
            if index % 509 == 0 || (65_530..65_540).contains(&index) {
                assert_eq!(tree.root(), Some(edge.root()), "{index}");
            }
        }
        // 66,000 leaves: 257 full tiles of leaves, one full tile above, one hash above that.
        assert_eq!(completed.len(), 258);
        let widths: Vec<_> = tree.partial_tiles().map(|(id, tile)| (id, tile.width())).collect();
        assert_eq!(
            widths,
            [
                (TileId { level: 0, index: 257 }, 208),
                (TileId { level: 1, index: 1 }, 1),
                (TileId { level: 2, index: 0 }, 1)
            ]
        );
    }

    #[test]
    fn fresh_leaves_are_proven_from_tiles_at_hand() {
        for (before, after) in [(0, 1), (0, 257), (250, 262), (255, 256), (65_300, 65_600)] {
            let mut tree = Tree::default();
            (0..before).for_each(|index| tree.push(leaf(index), &mut Vec::new()));
            let growth = tree.grow((before..after).map(leaf));
            let root = growth.tree.root();
            for index in before..after {
                let path = growth.inclusion(index).unwrap();
                assert_eq!(merkle::root_from_inclusion(leaf(index), index, after, &path), root);
            }
        }
    }

    #[test]
    fn an_edge_of_other_widths_is_no_tree() {
        let mut tree = Tree::default();
        (0..300).for_each(|index| tree.push(leaf(index), &mut Vec::new()));
        let tiles: Vec<Tile> = tree.partial_tiles().map(|(_, tile)| (**tile).clone()).collect();
        assert_eq!(Tree::new(300, tiles.clone()).unwrap().root(), tree.root());
        assert!(Tree::new(299, tiles.clone()).is_none());
        assert!(Tree::new(300, tiles[..1].to_vec()).is_none());
    }
}
