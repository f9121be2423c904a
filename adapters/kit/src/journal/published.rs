// SPDX-License-Identifier: EUPL-1.2
//! A ledger as it is published (c2sp.org/tlog-tiles), asked for single leaves: whether one stands
//! where a receipt says, and whether the tree extends one seen before. Tiles are believed in
//! nothing: each answer is a proof that leads to the signed checkpoint.

use std::{collections::HashMap, time::Duration};

use einmal_peer::http::{HttpClient, HttpOptions};
use einmal_protocol::{
    Digest,
    leaf::Leaf,
    merkle::{self, Node, Range},
    note::{Checkpoint, LedgerKey, NOTE_MAX, NoteError},
};

const HEIGHT: u32 = 8;
const WIDTH: u64 = 256;
const HASH: usize = 32;
const TILE_MAX: usize = 256 * HASH;
const DEADLINE: Duration = Duration::from_secs(20);
/// Tiles held at once: 32 MiB.
const TILES_MAX: usize = 4096;

/// Where a ledger is published, and who signs it.
#[derive(Clone, Debug)]
pub struct Source {
    /// "https://…", below which `checkpoint` and `tile/` lie.
    pub url: String,
    /// The ledger's key, from the directory or by hand.
    pub key: LedgerKey,
}

/// A published ledger at one moment.
pub struct Published {
    http: HttpClient,
    url: String,
    checkpoint: Checkpoint,
    tiles: HashMap<(u32, u64), Vec<Digest>>,
}

/// Why nothing can be said.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub enum PublishedError {
    /// It does not answer.
    #[error("{url} does not answer: {problem}")]
    Unreachable {
        /// What was asked for.
        url: String,
        /// What happened.
        problem: String,
    },
    /// It answers something else.
    #[error("{url} is not what it should be: {problem}")]
    Malformed {
        /// What was asked for.
        url: String,
        /// What is wrong.
        problem: String,
    },
    /// The checkpoint is not this ledger's.
    #[error("{url}: {error}")]
    Checkpoint {
        /// Where.
        url: String,
        /// What is wrong.
        error: NoteError,
    },
    /// What the checkpoint covers is not served.
    #[error("{url} is covered by the published checkpoint and is not there")]
    Missing {
        /// What was asked for.
        url: String,
    },
}

impl PublishedError {
    /// Whether to ask again later says more.
    pub fn is_passing(&self) -> bool {
        matches!(self, Self::Unreachable { .. })
    }
}

impl Published {
    /// Fetches the newest checkpoint.
    ///
    /// # Errors
    /// Where there is none that the ledger's key signed.
    pub async fn fetch(source: &Source) -> Result<Self, PublishedError> {
        let http = HttpClient::new(HttpOptions { deadline: DEADLINE, ..HttpOptions::default() });
        let url = source.url.trim_end_matches('/').to_owned();
        let at = format!("{url}/checkpoint");
        let bytes = get(&http, &at, NOTE_MAX).await?;
        let bytes = bytes.ok_or_else(|| PublishedError::Missing { url: at.clone() })?;
        let note = String::from_utf8(bytes).map_err(|_| PublishedError::Malformed {
            url: at.clone(),
            problem: "not text".to_owned(),
        })?;
        let checkpoint = Checkpoint::parse(&note, &source.key)
            .map_err(|error| PublishedError::Checkpoint { url: at, error })?;
        Ok(Self { http, url, checkpoint, tiles: HashMap::new() })
    }

    /// What is published.
    pub fn checkpoint(&self) -> &Checkpoint {
        &self.checkpoint
    }

    /// Whether this leaf stands at this position; nothing where the published tree has not come
    /// so far.
    ///
    /// # Errors
    /// Where tiles cannot be had.
    pub async fn holds(&mut self, leaf: &Leaf, index: u64) -> Result<Option<bool>, PublishedError> {
        let size = self.checkpoint.size();
        let Some(ranges) = merkle::plan_inclusion(index, size) else { return Ok(None) };
        let path = self.path(ranges).await?;
        let root = merkle::root_from_inclusion(leaf.hash(), index, size, &path);
        Ok(Some(root == Some(self.checkpoint.root())))
    }

    /// Whether the published tree extends one seen before; nothing where it is the smaller one.
    ///
    /// # Errors
    /// Where tiles cannot be had.
    pub async fn extends(&mut self, seen: &Checkpoint) -> Result<Option<bool>, PublishedError> {
        let new = (self.checkpoint.size(), self.checkpoint.root());
        let old = (seen.size(), seen.root());
        let Some(ranges) = merkle::plan_consistency(old.0, new.0) else { return Ok(None) };
        let path = self.path(ranges).await?;
        Ok(Some(merkle::verify_consistency(old, new, &path)))
    }

    async fn path(&mut self, ranges: Vec<Range>) -> Result<Vec<Digest>, PublishedError> {
        let mut path = Vec::with_capacity(ranges.len());
        for range in ranges {
            let mut nodes = Vec::new();
            for node in range.nodes() {
                nodes.push(self.node(node).await?);
            }
            path.push(merkle::fold(&nodes));
        }
        Ok(path)
    }

    /// The hash of a complete subtree, from the tile that has its parts.
    async fn node(&mut self, node: Node) -> Result<Digest, PublishedError> {
        let (level, row) = (u32::from(node.level) / HEIGHT, u32::from(node.level) % HEIGHT);
        let first = node.index << row;
        let tile = self.tile(level, first / WIDTH).await?;
        let begin = usize::try_from(first % WIDTH).unwrap_or(usize::MAX);
        let hashes = tile.get(begin..begin.saturating_add(1 << row));
        let mut hashes = hashes.map(<[Digest]>::to_vec).ok_or_else(|| {
            let url = self.url.clone();
            PublishedError::Malformed { url, problem: "a tile is too short".to_owned() }
        })?;
        while hashes.len() > 1 {
            hashes = hashes
                .chunks(2)
                .filter_map(|pair| Some(merkle::node_hash(pair.first()?, pair.get(1)?)))
                .collect();
        }
        Ok(hashes.first().copied().unwrap_or_else(merkle::empty_root))
    }

    async fn tile(&mut self, level: u32, index: u64) -> Result<Vec<Digest>, PublishedError> {
        if let Some(tile) = self.tiles.get(&(level, index)) {
            return Ok(tile.clone());
        }
        let hashes = self.checkpoint.size() >> (HEIGHT * level);
        let width = hashes.saturating_sub(index * WIDTH).min(WIDTH);
        let full = format!("{}/tile/{level}/{}", self.url, number(index));
        let partial = format!("{full}.p/{width}");
        let urls: &[&String] = if width < WIDTH { &[&partial, &full] } else { &[&full] };
        for url in urls {
            let Some(bytes) = get(&self.http, url, TILE_MAX).await? else { continue };
            let (chunks, rest) = bytes.as_chunks::<HASH>();
            if !rest.is_empty() || (chunks.len() as u64) < width {
                return Err(PublishedError::Malformed {
                    url: (*url).clone(),
                    problem: "not as many hashes as the checkpoint covers".to_owned(),
                });
            }
            let tile: Vec<Digest> = chunks.iter().map(|hash| Digest::from(*hash)).collect();
            if self.tiles.len() >= TILES_MAX {
                self.tiles.clear();
            }
            self.tiles.insert((level, index), tile.clone());
            return Ok(tile);
        }
        Err(PublishedError::Missing { url: full })
    }
}

/// A tile's number in its path: groups of three digits, all but the last after an `x`.
fn number(index: u64) -> String {
    let mut text = format!("{:03}", index % 1000);
    let mut rest = index / 1000;
    while rest > 0 {
        text = format!("x{:03}/{text}", rest % 1000);
        rest /= 1000;
    }
    text
}

async fn get(
    http: &HttpClient,
    url: &str,
    size_max: usize,
) -> Result<Option<Vec<u8>>, PublishedError> {
    let failed = |problem| PublishedError::Unreachable { url: url.to_owned(), problem };
    let answer = http.get(url, size_max).await.map_err(|error| failed(error.to_string()))?;
    match answer.status.as_u16() {
        200 => Ok(Some(answer.body)),
        404 | 410 => Ok(None),
        status => Err(failed(format!("status {status}"))),
    }
}
