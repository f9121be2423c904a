// SPDX-License-Identifier: EUPL-1.2
//! Verifying any log that is published as C2SP tlog-tiles, ours or another's, from what it serves
//! and its public key alone: every leaf's hash, every tile, the root, the signature.

use std::{
    collections::VecDeque,
    io::{ErrorKind, Read},
    path::PathBuf,
    pin::Pin,
    sync::Arc,
};

use einmal_protocol::{
    Digest,
    leaf::Leaf,
    merkle,
    note::{Checkpoint, LedgerKey, NOTE_MAX, NoteError},
};
use tokio_util::task::AbortOnDropHandle;

use crate::{
    path::TilePath,
    tile::{HEIGHT, Tile, WIDTH, hashes_at},
};

/// Fetches under way at once.
const AT_ONCE: usize = 8;
const HASH: usize = 32;
const TILE_MAX: usize = WIDTH * HASH;
/// 256 entries of at most 65,535 bytes, each after its length.
const BUNDLE_MAX: usize = WIDTH * (2 + u16::MAX as usize);

/// A fetch under way.
pub type Fetching<'a> =
    Pin<Box<dyn Future<Output = Result<Option<Vec<u8>>, SourceError>> + Send + 'a>>;

/// Where a log's files are.
pub trait TileSource: Send + Sync + 'static {
    /// The file at a path such as `checkpoint` or `tile/0/x001/234`; nothing where there is none.
    /// A file longer than `size_max` bytes is an error.
    fn get<'a>(&'a self, path: &'a str, size_max: usize) -> Fetching<'a>;
}

/// A source that does not answer.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
#[error("{0}")]
pub struct SourceError(pub String);

/// A log's files in a folder.
#[derive(Clone, Debug)]
pub struct DirSource {
    folder: PathBuf,
}

impl DirSource {
    /// The files below this folder.
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        Self { folder: folder.into() }
    }
}

impl TileSource for DirSource {
    fn get<'a>(&'a self, path: &'a str, size_max: usize) -> Fetching<'a> {
        let file = self.folder.join(path);
        Box::pin(async move {
            tokio::task::spawn_blocking(move || read(&file, size_max))
                .await
                .map_err(|error| SourceError(error.to_string()))?
        })
    }
}

fn read(path: &std::path::Path, size_max: usize) -> Result<Option<Vec<u8>>, SourceError> {
    let failed = |error: std::io::Error| SourceError(error.to_string());
    let file = match std::fs::File::open(path) {
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
            return Ok(None);
        }
        opened => opened.map_err(failed)?,
    };
    let mut bytes = Vec::new();
    file.take(size_max as u64 + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() > size_max {
        return Err(SourceError(format!("longer than {size_max} bytes")));
    }
    Ok(Some(bytes))
}

/// A log that holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ForeignReport {
    /// What the log's key signed.
    pub checkpoint: Checkpoint,
    /// Entries that were read and give their leaf's hash.
    pub entries: u64,
    /// The first entry that is served: 0 where all are, the size where none is. Below it the log
    /// was pruned, or serves tiles only; those leaves are verified from their hashes.
    pub entries_from: u64,
    /// Entries that have the form of an Einmal leaf.
    pub own_leaves: u64,
    /// Tiles that are what the leaves give.
    pub tiles: u64,
    /// Leaves whose tiles are pruned too, verified from the hashes above them.
    pub pruned: u64,
}

/// What does not hold, or is not there.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub enum ForeignError {
    /// The source does not answer.
    #[error("{path}: {error}")]
    Source {
        /// Which file.
        path: String,
        /// What is wrong.
        error: SourceError,
    },
    /// A file that must be there.
    #[error("{path} is missing, and the log cannot have pruned it")]
    Missing {
        /// Which.
        path: String,
    },
    /// The checkpoint is none, or not this log's.
    #[error("checkpoint: {0}")]
    Checkpoint(#[from] NoteError),
    /// A file that is not what the tree says.
    #[error("{path}: {problem}")]
    Broken {
        /// Which.
        path: String,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// The leaves do not give the signed root.
    #[error("the leaves do not give the root that the checkpoint signs")]
    Root,
}

/// Fetches a log's checkpoint and everything under it, and derives it all anew. `progress` hears
/// how many leaves of how many are done. Memory stays small however large the log is.
///
/// # Errors
/// At the first thing that does not hold.
pub async fn verify_tiles(
    source: Arc<dyn TileSource>,
    key: &LedgerKey,
    progress: &mut (dyn FnMut(u64, u64) + Send),
) -> Result<ForeignReport, ForeignError> {
    let path = "checkpoint".to_owned();
    let note = match source.get(&path, NOTE_MAX).await {
        Err(error) => return Err(ForeignError::Source { path, error }),
        Ok(None) => return Err(ForeignError::Missing { path }),
        Ok(Some(bytes)) => String::from_utf8(bytes).map_err(|_| NoteError::Form)?,
    };
    let checkpoint = Checkpoint::parse(&note, key)?;
    let mut walk = Walk::new(source, checkpoint).await?;
    walk.run(progress).await?;
    Ok(walk.report)
}

/// One tile of leaves with its entries, fetched and compared.
struct Unit {
    /// Nothing where both are gone.
    hashes: Option<Vec<Digest>>,
    /// How many of them are Einmal leaves; nothing where the entries are gone.
    own_leaves: Option<u64>,
}

struct Walk {
    source: Arc<dyn TileSource>,
    size: u64,
    /// Leaves done.
    done: u64,
    /// The growing tile of each level.
    growing: Vec<Tile>,
    /// Whether bundles are asked for at all.
    bundles: bool,
    report: ForeignReport,
}

impl Walk {
    async fn new(
        source: Arc<dyn TileSource>,
        checkpoint: Checkpoint,
    ) -> Result<Self, ForeignError> {
        let size = checkpoint.size();
        let mut bundles = false;
        // A log that has neither its first nor its last bundle serves none.
        for index in [0, size.saturating_sub(1) >> HEIGHT] {
            let path = path_at(None, index, size);
            bundles |= size > 0 && fetch(&*source, path, BUNDLE_MAX).await?.is_some();
        }
        let report = ForeignReport {
            checkpoint,
            entries: 0,
            entries_from: size,
            own_leaves: 0,
            tiles: 0,
            pruned: 0,
        };
        Ok(Self { source, size, done: 0, growing: Vec::new(), bundles, report })
    }

    async fn run(
        &mut self,
        progress: &mut (dyn FnMut(u64, u64) + Send),
    ) -> Result<(), ForeignError> {
        let mut under_way = VecDeque::new();
        let mut next = 0;
        while self.done < self.size {
            while next < self.size && under_way.len() < AT_ONCE {
                let (source, bundles, size) = (Arc::clone(&self.source), self.bundles, self.size);
                let index = next >> HEIGHT;
                let work = async move { unit(&*source, index, size, bundles).await };
                under_way.push_back((next, AbortOnDropHandle::new(tokio::spawn(work))));
                next = next.saturating_add(WIDTH as u64);
            }
            let Some((begin, task)) = under_way.pop_front() else { return Err(ForeignError::Root) };
            if begin < self.done {
                continue;
            }
            let path = path_at(Some(0), begin >> HEIGHT, self.size);
            let unit = task.await.map_err(|error| ForeignError::Source {
                path: format!("tile/{path}"),
                error: SourceError(error.to_string()),
            })??;
            match unit.hashes {
                Some(hashes) => self.take(begin, &hashes, unit.own_leaves).await?,
                None => {
                    self.skip().await?;
                    next = next.max(self.done);
                }
            }
            progress(self.done, self.size);
        }
        self.finish().await
    }

    /// The leaves of one tile.
    async fn take(
        &mut self,
        begin: u64,
        hashes: &[Digest],
        own_leaves: Option<u64>,
    ) -> Result<(), ForeignError> {
        match own_leaves {
            Some(own) => {
                self.report.entries_from = self.report.entries_from.min(begin);
                self.report.entries += hashes.len() as u64;
                self.report.own_leaves += own;
            }
            // Only a beginning can be pruned.
            None if self.report.entries_from < begin => {
                return Err(missing(path_at(None, begin >> HEIGHT, self.size)));
            }
            None => {}
        }
        self.report.tiles += 1;
        for hash in hashes {
            self.push(0, *hash).await?;
        }
        Ok(())
    }

    /// A subtree whose tiles are gone: its hash from the lowest tile above that is there.
    async fn skip(&mut self) -> Result<(), ForeignError> {
        let gone = path_at(Some(0), self.done >> HEIGHT, self.size);
        // Only a beginning can be pruned.
        if self.report.pruned != self.done {
            return Err(missing(gone));
        }
        for level in 1..=7u8 {
            let span = HEIGHT * u32::from(level);
            let position = self.done >> span;
            if position << span != self.done || hashes_at(level, self.size) <= position {
                break;
            }
            let path = path_at(Some(level), position >> HEIGHT, self.size);
            let Some(found) = fetch(&*self.source, path, TILE_MAX).await? else { continue };
            let hashes = hashes_of(path, &found)?;
            let position = usize::try_from(position % WIDTH as u64).unwrap_or(WIDTH);
            let hash = hashes.get(position).ok_or_else(|| missing(gone))?;
            self.report.pruned += 1 << span;
            return self.push(level, *hash).await;
        }
        Err(missing(gone))
    }

    /// Appends a hash to a level; a tile that this makes full is compared with what is served.
    async fn push(&mut self, level: u8, hash: Digest) -> Result<(), ForeignError> {
        let mut hash = hash;
        let before = self.done;
        self.done += 1u64.checked_shl(HEIGHT * u32::from(level)).unwrap_or(0);
        for level in level..=7 {
            let place = usize::from(level);
            if self.growing.len() <= place {
                self.growing.resize_with(place + 1, Tile::default);
            }
            let Some(tile) = self.growing.get_mut(place) else { break };
            let Some(root) = tile.push(hash) else { break };
            let tile = std::mem::take(tile);
            // The leaves' own tile was compared when it was fetched.
            if level > 0 {
                let index = hashes_at(level, before) >> HEIGHT;
                self.compare(path_at(Some(level), index, self.size), &tile).await?;
            }
            hash = root;
        }
        Ok(())
    }

    async fn compare(&mut self, path: TilePath, tile: &Tile) -> Result<(), ForeignError> {
        let found = fetch(&*self.source, path, TILE_MAX).await?.ok_or_else(|| missing(path))?;
        if hashes_of(path, &found)? != tile.hashes() {
            return Err(broken(path, "not what the tiles below give"));
        }
        self.report.tiles += 1;
        Ok(())
    }

    /// The right edge: the growing tiles above the leaves, and the root.
    async fn finish(&mut self) -> Result<(), ForeignError> {
        let growing = std::mem::take(&mut self.growing);
        let mut nodes = Vec::new();
        for (level, tile) in (0..=7u8).zip(&growing).rev() {
            let width = tile.width();
            if level > 0 && width > 0 {
                let index = hashes_at(level, self.size) >> HEIGHT;
                self.compare(path_at(Some(level), index, self.size), tile).await?;
            }
            for row in (0..HEIGHT as usize).rev().filter(|row| width >> row & 1 == 1) {
                let last = (width >> row) as u64 - 1;
                nodes.push(tile.node(row, last).ok_or(ForeignError::Root)?);
            }
        }
        let whole = self.done == self.size && merkle::fold(&nodes) == self.report.checkpoint.root();
        whole.then_some(()).ok_or(ForeignError::Root)
    }
}

/// The path of a tile, or bundle where there is no level, in a log of this size: partial where it
/// is the last one.
fn path_at(level: Option<u8>, index: u64, size: u64) -> TilePath {
    let rest = hashes_at(level.unwrap_or(0), size).saturating_sub(index << HEIGHT);
    let width = usize::try_from(rest).unwrap_or(WIDTH).min(WIDTH);
    TilePath { level, index, width }
}

/// A file that was found.
struct Found {
    /// How many hashes or entries it must have.
    width: usize,
    bytes: Vec<u8>,
}

/// A file; where a partial one is gone, the full one that took its place.
async fn fetch(
    source: &dyn TileSource,
    path: TilePath,
    size_max: usize,
) -> Result<Option<Found>, ForeignError> {
    let mut widths = vec![path.width, WIDTH];
    widths.dedup();
    for width in widths {
        let path = format!("tile/{}", TilePath { width, ..path });
        match source.get(&path, size_max).await {
            Err(error) => return Err(ForeignError::Source { path, error }),
            Ok(None) => {}
            Ok(Some(bytes)) => return Ok(Some(Found { width, bytes })),
        }
    }
    Ok(None)
}

/// The first hashes of a tile's file: as many as the path says.
fn hashes_of(path: TilePath, found: &Found) -> Result<Vec<Digest>, ForeignError> {
    let (hashes, rest) = found.bytes.as_chunks::<HASH>();
    if !rest.is_empty() || hashes.len() != found.width {
        return Err(broken(path, "not as many hashes as its path says"));
    }
    Ok(hashes.iter().take(path.width).map(|hash| Digest::from(*hash)).collect())
}

async fn unit(
    source: &dyn TileSource,
    index: u64,
    size: u64,
    bundles: bool,
) -> Result<Unit, ForeignError> {
    let (tile_path, bundle_path) = (path_at(Some(0), index, size), path_at(None, index, size));
    let tile = fetch(source, tile_path, TILE_MAX).await?;
    let bundle = match bundles {
        true => fetch(source, bundle_path, BUNDLE_MAX).await?,
        false => None,
    };
    let hashes = tile.map(|found| hashes_of(tile_path, &found)).transpose()?;
    let Some(bundle) = bundle else { return Ok(Unit { hashes, own_leaves: None }) };
    let Some(hashes) = hashes else { return Err(missing(tile_path)) };
    let entries = entries_of(bundle_path, &bundle)?;
    let leaves = entries.iter().map(|entry| merkle::leaf_hash(entry));
    if !leaves.eq(hashes.iter().copied()) {
        return Err(broken(bundle_path, "an entry is not the one whose hash is in the tile"));
    }
    let own = entries.iter().filter(|entry| Leaf::parse(entry).is_ok()).count() as u64;
    Ok(Unit { hashes: Some(hashes), own_leaves: Some(own) })
}

/// The first entries of a bundle: as many as the path says. A full one in the place of a partial
/// one is read to its end as well.
fn entries_of(path: TilePath, bundle: &Found) -> Result<Vec<&[u8]>, ForeignError> {
    let mut entries = Vec::with_capacity(bundle.width);
    let mut rest = bundle.bytes.as_slice();
    while !rest.is_empty() {
        let split = rest.split_first_chunk::<2>().and_then(|(length, after)| {
            after.split_at_checked(usize::from(u16::from_be_bytes(*length)))
        });
        let Some((entry, after)) = split else { return Err(broken(path, "an entry is cut off")) };
        entries.push(entry);
        rest = after;
        // Empty entries are allowed: without this, a small file could hold millions of them.
        if entries.len() > bundle.width {
            break;
        }
    }
    if entries.len() != bundle.width {
        return Err(broken(path, "not as many entries as its path says"));
    }
    entries.truncate(path.width);
    Ok(entries)
}

fn missing(path: TilePath) -> ForeignError {
    ForeignError::Missing { path: format!("tile/{path}") }
}

fn broken(path: TilePath, problem: &'static str) -> ForeignError {
    ForeignError::Broken { path: format!("tile/{path}"), problem }
}
