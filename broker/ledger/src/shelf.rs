// SPDX-License-Identifier: EUPL-1.2
//! Reading the tree below its right edge: tiles from a small cache, else from the store, and then
//! only believed where their root stands in the tile above.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use einmal_protocol::{
    Digest,
    merkle::{self, Range},
};

use crate::{
    store::{Archive, StoreError},
    tile::{HEIGHT, Tile, TileId},
    tree::{Tree, hashes_of},
};

/// Tiles of leaves kept, about 16 KiB each. A proof needs one or two.
const LEAVES_KEPT: usize = 256;
/// Tiles above them kept: those of the first 67 million leaves, so that a proof reads one tile.
const ABOVE_KEPT: usize = 1024;

/// The tiles of one ledger.
pub(crate) struct Shelf {
    archive: Arc<dyn Archive>,
    leaves: Mutex<Cache>,
    above: Mutex<Cache>,
}

/// Two generations: what was not used while the young one filled up is dropped.
struct Cache {
    kept: usize,
    young: HashMap<TileId, Arc<Tile>>,
    old: HashMap<TileId, Arc<Tile>>,
}

impl Cache {
    fn of(kept: usize) -> Mutex<Self> {
        Mutex::new(Self { kept, young: HashMap::new(), old: HashMap::new() })
    }

    fn find(&mut self, id: TileId) -> Option<Arc<Tile>> {
        if let Some(tile) = self.young.get(&id) {
            return Some(Arc::clone(tile));
        }
        let tile = self.old.remove(&id)?;
        self.keep(id, Arc::clone(&tile));
        Some(tile)
    }

    fn keep(&mut self, id: TileId, tile: Arc<Tile>) {
        if self.young.len() >= self.kept / 2 {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(id, tile);
    }
}

impl Shelf {
    pub(crate) fn new(archive: Arc<dyn Archive>) -> Self {
        Self { archive, leaves: Cache::of(LEAVES_KEPT), above: Cache::of(ABOVE_KEPT) }
    }

    fn cache(&self, level: u8) -> MutexGuard<'_, Cache> {
        let cache = if level == 0 { &self.leaves } else { &self.above };
        // A cache of immutable tiles is right at every moment, even after a panic elsewhere.
        cache.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps tiles that have just been made full.
    pub(crate) fn keep(&self, completed: &[(TileId, Arc<Tile>)]) {
        for (id, tile) in completed {
            self.cache(id.level).keep(*id, Arc::clone(tile));
        }
    }

    /// One tile, full or at the right edge.
    pub(crate) async fn tile(&self, tree: &Tree, id: TileId) -> Result<Arc<Tile>, StoreError> {
        let at_hand = |id| tree.tile(id).cloned().or_else(|| self.cache(id.level).find(id));
        // Climb to a tile that is at hand, then come down, each one vouching for the next.
        let mut missing = Vec::new();
        let mut next = id;
        let mut tile = loop {
            if let Some(tile) = at_hand(next) {
                break tile;
            }
            if usize::from(next.level) > usize::from(id.level) + 8 {
                return Err(StoreError::Broken(format!("tile {id} is not of this tree")));
            }
            missing.push(next);
            next = next.parent();
        };
        for id in missing.into_iter().rev() {
            let above = tile.node(0, id.index % (1 << HEIGHT));
            tile = Arc::new(self.load(id).await?);
            if above.is_none() || tile.root() != above {
                return Err(StoreError::Broken(format!("tile {id} is not what the tree says")));
            }
            self.cache(id.level).keep(id, Arc::clone(&tile));
        }
        Ok(tile)
    }

    async fn load(&self, id: TileId) -> Result<Tile, StoreError> {
        let bytes = self.archive.tiles(&[id]).await?.pop().flatten();
        bytes
            .and_then(|bytes| Tile::parse(&bytes))
            .ok_or_else(|| StoreError::Broken(format!("tile {id} is missing or malformed")))
    }

    /// The hash of each range.
    pub(crate) async fn hashes(
        &self,
        tree: &Tree,
        ranges: &[Range],
    ) -> Result<Vec<Digest>, StoreError> {
        let mut held: HashMap<TileId, Arc<Tile>> = HashMap::new();
        let mut hashes = Vec::with_capacity(ranges.len());
        for range in ranges {
            loop {
                match hashes_of(*range, |id| tree.tile(id).or_else(|| held.get(&id))) {
                    Ok(nodes) => break hashes.push(merkle::fold(&nodes)),
                    Err(id) if held.contains_key(&id) => {
                        return Err(StoreError::Broken(format!("tile {id} is too short")));
                    }
                    Err(id) => held.insert(id, self.tile(tree, id).await?),
                };
            }
        }
        Ok(hashes)
    }

    /// The root that the tree had when it had this many leaves.
    pub(crate) async fn root_at(&self, tree: &Tree, size: u64) -> Result<Digest, StoreError> {
        let whole = self.hashes(tree, &[Range { begin: 0, end: size }]).await?;
        Ok(whole.first().copied().unwrap_or_else(merkle::empty_root))
    }

    /// The archive below.
    pub(crate) fn archive(&self) -> &dyn Archive {
        &*self.archive
    }
}
