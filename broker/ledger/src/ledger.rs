// SPDX-License-Identifier: EUPL-1.2
//! The ledger as others use it.

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, OnceLock, PoisonError, RwLock},
};

use einmal_protocol::{
    Digest, RequestId,
    key::SigningKey,
    leaf::{Leaf, LeafKind},
    merkle,
    note::Checkpoint,
    wire::v1::{Consistency, Receipt},
};
use tokio::{
    sync::{Semaphore, mpsc, watch},
    task::JoinHandle,
};
use tokio_util::sync::CancellationToken;

use crate::{
    config::LedgerConfig,
    open::{self, OpenError},
    shelf::Shelf,
    sqlite::SqliteStore,
    store::{Addition, Archive, Detail, Slot, Store, StoreError},
    tree::{Growth, Tree},
    writer::{Waiting, Writer},
};

/// Bytes of the longest body.
pub(crate) const BODY_MAX: usize = 1 << 20;
/// Bodies that wait are together at most this many KiB.
const QUEUE_KIB: usize = 64 << 10;
/// Entries in one answer.
const ENTRIES_MAX: usize = 1024;
/// Consistency proofs kept.
const PROOFS_KEPT: usize = 1024;

/// What is to be logged.
#[derive(Clone)]
pub struct NewEntry {
    /// Whose request it is about.
    pub authority: String,
    /// The request.
    pub id: RequestId,
    /// Exchange, refusal or use. An exchange and a refusal exclude one another.
    pub kind: LeafKind,
    /// Day of the entry, days since 1970 (UTC).
    pub day: u32,
    /// Bytes of a `Body`, at most 1 MiB.
    pub body: Vec<u8>,
}

impl fmt::Debug for NewEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "NewEntry({:?} {}, body of {} bytes)", self.kind, self.id, self.body.len())
    }
}

/// An entry that is in the ledger for good.
#[derive(Clone, Debug)]
pub struct Logged {
    /// Its position.
    pub index: u64,
    /// Its leaf.
    pub leaf: Leaf,
    /// The inclusion path to the checkpoint's root, leaf sibling first.
    pub inclusion: Vec<Digest>,
    /// The checkpoint that covers it.
    pub checkpoint: Arc<Checkpoint>,
}

impl Logged {
    /// The receipt; with the consistency path from a size that its reader has seen.
    pub fn receipt(&self, consistency: Option<(u64, Vec<Digest>)>) -> Receipt {
        let bytes = |path: &[Digest]| path.iter().map(|hash| hash.to_vec()).collect();
        Receipt {
            index: self.index,
            leaf: self.leaf.to_bytes().to_vec(),
            inclusion: bytes(&self.inclusion),
            checkpoint: self.checkpoint.note().to_owned(),
            consistency: consistency
                .map(|(from_size, path)| Consistency { from_size, path: bytes(&path) }),
        }
    }
}

/// The leaf of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Found {
    /// Its position.
    pub index: u64,
    /// Exchange or refusal.
    pub kind: LeafKind,
    /// SHA-256 of its body.
    pub body_digest: Digest,
}

pub use crate::store::Entry as StoredEntry;

/// Consistency paths by the two sizes.
type Proofs = HashMap<(u64, u64), Vec<Digest>>;

/// The ledger. Clones are handles on the same one.
#[derive(Clone)]
pub struct Ledger {
    shared: Arc<Shared>,
    store: Arc<dyn Store>,
    queue: mpsc::Sender<Waiting>,
    room: Arc<Semaphore>,
    proofs: Arc<Mutex<Proofs>>,
    closing: CancellationToken,
    writer: Arc<tokio::sync::Mutex<Option<JoinHandle<()>>>>,
}

/// What the writer and all handles see.
pub(crate) struct Shared {
    pub(crate) shelf: Shelf,
    tree: RwLock<Tree>,
    checkpoint: watch::Sender<Arc<Checkpoint>>,
    pub(crate) key: SigningKey,
    stopped: OnceLock<String>,
}

impl Shared {
    /// The newest tree that is durable and signed.
    pub(crate) fn tree(&self) -> Tree {
        self.tree.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Shows a durable, signed tree: first the tree, so that whoever sees the checkpoint finds it.
    pub(crate) fn publish(&self, growth: &Growth, checkpoint: Arc<Checkpoint>) {
        self.shelf.keep(&growth.completed);
        *self.tree.write().unwrap_or_else(PoisonError::into_inner) = growth.tree.clone();
        self.checkpoint.send_replace(checkpoint);
    }

    /// Says why the writer stops; the first reason stays.
    pub(crate) fn stop(&self, why: &str) {
        let _first = self.stopped.set(why.to_owned());
    }

    fn stopped(&self) -> AppendError {
        let why = self.stopped.get().map_or("its writer ended", String::as_str);
        AppendError::Stopped(why.to_owned())
    }
}

impl Ledger {
    /// Makes a new ledger and its memory. Creating is asked for explicitly, so that a wrong path
    /// never becomes an empty ledger.
    ///
    /// # Errors
    /// Where its database or memory exists already, or cannot be written.
    pub async fn create(config: LedgerConfig, key: SigningKey) -> Result<Self, OpenError> {
        open::ledger_key(&config, &key)?;
        if config.memory.exists() {
            return Err(OpenError::MemoryExists);
        }
        let store = SqliteStore::create(config.database.as_path(), &config.origin).await?;
        Self::start(Arc::new(store), &config, key).await
    }

    /// Opens a ledger.
    ///
    /// # Errors
    /// Where there is none, where what is stored is not one tree, or where it is older than what
    /// was signed.
    pub async fn open(config: LedgerConfig, key: SigningKey) -> Result<Self, OpenError> {
        let store = SqliteStore::open(config.database.as_path()).await?;
        Self::start(Arc::new(store), &config, key).await
    }

    /// Starts a ledger over any store; the configuration's `database` is not looked at.
    ///
    /// # Errors
    /// As for [`Ledger::open`].
    pub async fn start(
        store: Arc<dyn Store>,
        config: &LedgerConfig,
        key: SigningKey,
    ) -> Result<Self, OpenError> {
        let archive: Arc<dyn Archive> = Arc::clone(&store) as _;
        let shelf = Shelf::new(archive);
        let opened = open::open(&*store, &shelf, config, &key).await?;
        let shared = Arc::new(Shared {
            shelf,
            tree: RwLock::new(opened.tree),
            checkpoint: watch::Sender::new(Arc::new(opened.checkpoint)),
            key,
            stopped: OnceLock::new(),
        });
        let (queue, waiting) = mpsc::channel(config.queue_max);
        let closing = CancellationToken::new();
        let writer = Writer {
            shared: Arc::clone(&shared),
            store: Arc::clone(&store),
            memory: Some(opened.memory),
            head: opened.head,
            edge: opened.edge,
            queue: waiting,
            batch_max: config.batch_max,
            closing: closing.clone(),
        };
        let writer = tokio::spawn(writer.run());
        Ok(Self {
            shared,
            store,
            queue,
            room: Arc::new(Semaphore::new(QUEUE_KIB)),
            proofs: Arc::default(),
            closing,
            writer: Arc::new(tokio::sync::Mutex::new(Some(writer))),
        })
    }

    /// Logs an entry. Answers when it is durable, signed, and known to the outside memory.
    ///
    /// # Errors
    /// [`AppendError::Stopped`] leaves open whether the entry was logged; all others mean that it
    /// was not.
    pub async fn append(&self, entry: NewEntry) -> Result<Logged, AppendError> {
        let slot = Slot::new(&entry.authority, entry.id, entry.kind);
        let slot = slot.ok_or(AppendError::TooLarge)?;
        if entry.body.len() > BODY_MAX {
            return Err(AppendError::TooLarge);
        }
        let kib = u32::try_from(entry.body.len() / 1024 + 1).unwrap_or(u32::MAX);
        let share = Arc::clone(&self.room).try_acquire_many_owned(kib);
        let share = share.map_err(|_| AppendError::Busy)?;
        let leaf = Leaf::new(entry.kind, entry.day, &entry.body);
        let (answer, answered) = tokio::sync::oneshot::channel();
        let addition = Addition { slot, leaf, body: entry.body };
        self.queue.try_send(Waiting { addition, answer, share }).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => AppendError::Busy,
            mpsc::error::TrySendError::Closed(_) => self.shared.stopped(),
        })?;
        let placed = answered.await.map_err(|_| self.shared.stopped())??;
        let inclusion = placed.growth.inclusion(placed.index).ok_or_else(|| {
            AppendError::Stopped("the proof of a fresh leaf cannot be computed".to_owned())
        })?;
        Ok(Logged { index: placed.index, leaf, inclusion, checkpoint: placed.checkpoint })
    }

    /// The consistency path between two sizes; empty from 0, as RFC 9162 has it.
    ///
    /// # Errors
    /// Where a size is larger than the newest checkpoint's, or the store does not answer.
    pub async fn consistency(
        &self,
        from_size: u64,
        to_size: u64,
    ) -> Result<Vec<Digest>, ReadError> {
        let tree = self.shared.tree();
        let ranges = merkle::plan_consistency(from_size, to_size)
            .filter(|_| to_size <= tree.size())
            .ok_or(ReadError::OutOfRange { size: tree.size() })?;
        let key = (from_size, to_size);
        let kept = || self.proofs.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(path) = kept().get(&key) {
            return Ok(path.clone());
        }
        let path = self.shared.shelf.hashes(&tree, &ranges).await?;
        let mut proofs = kept();
        if proofs.len() >= PROOFS_KEPT {
            proofs.clear();
        }
        proofs.insert(key, path.clone());
        Ok(path)
    }

    /// The inclusion path of an old leaf in the tree of some size.
    ///
    /// # Errors
    /// As for [`Ledger::consistency`].
    pub async fn inclusion(&self, index: u64, size: u64) -> Result<Vec<Digest>, ReadError> {
        let tree = self.shared.tree();
        let ranges = merkle::plan_inclusion(index, size)
            .filter(|_| size <= tree.size())
            .ok_or(ReadError::OutOfRange { size: tree.size() })?;
        Ok(self.shared.shelf.hashes(&tree, &ranges).await?)
    }

    /// A signed checkpoint of the tree as it was at some size: for a reader who catches up run by
    /// run. It says nothing new, since every later checkpoint contains that tree.
    ///
    /// # Errors
    /// As for [`Ledger::consistency`], and where the key cannot sign.
    pub async fn checkpoint_at(&self, size: u64) -> Result<Checkpoint, ReadError> {
        let (tree, newest) = (self.shared.tree(), self.checkpoint());
        if size > tree.size() {
            return Err(ReadError::OutOfRange { size: tree.size() });
        }
        let root = self.shared.shelf.root_at(&tree, size).await?;
        Checkpoint::sign(newest.origin(), size, root, &self.shared.key).map_err(ReadError::Sign)
    }

    /// The exchange or refusal of a request, where there is one and its id is not forgotten.
    ///
    /// # Errors
    /// Where the store does not answer.
    pub async fn find(&self, authority: &str, id: RequestId) -> Result<Option<Found>, ReadError> {
        let Some(slot) = Slot::new(authority, id, LeafKind::Exchange) else { return Ok(None) };
        let taken = self.store.taken(&[slot]).await?.pop().flatten();
        Ok(taken.map(|taken| Found {
            index: taken.index,
            kind: taken.leaf.kind,
            body_digest: taken.leaf.body,
        }))
    }

    /// Entries from an index on that the newest checkpoint covers, with their bodies: at most
    /// `max` and about 4 MiB, none where there are none yet.
    ///
    /// # Errors
    /// Where the store does not answer.
    pub async fn entries(
        &self,
        from_index: u64,
        max: usize,
    ) -> Result<Vec<StoredEntry>, ReadError> {
        let covered = self.checkpoint().size().saturating_sub(from_index);
        let max = max.min(ENTRIES_MAX).min(usize::try_from(covered).unwrap_or(ENTRIES_MAX));
        if max == 0 {
            return Ok(Vec::new());
        }
        Ok(self.store.entries(from_index, max, Detail::Bodies).await?)
    }

    /// Deletes bodies of days before one (FORGETS-ON-TIME), and the ids of requests issued before
    /// a time; answers how many bodies. The caller refuses requests that old, so that ONCE holds.
    ///
    /// # Errors
    /// Where the store does not answer; then some may be deleted already.
    pub async fn forget(
        &self,
        bodies_before_day: u32,
        ids_before_ms: u64,
    ) -> Result<u64, ReadError> {
        Ok(self.store.forget(bodies_before_day, ids_before_ms).await?)
    }

    /// The newest checkpoint.
    pub fn checkpoint(&self) -> Arc<Checkpoint> {
        Arc::clone(&self.shared.checkpoint.borrow())
    }

    /// The newest checkpoint, each time it changes.
    pub fn watch(&self) -> watch::Receiver<Arc<Checkpoint>> {
        self.shared.checkpoint.subscribe()
    }

    /// Whether it still takes entries.
    pub fn is_healthy(&self) -> bool {
        self.shared.stopped.get().is_none() && !self.queue.is_closed()
    }

    /// Logs what has queued, then stops, for all handles.
    pub async fn close(self) {
        self.closing.cancel();
        if let Some(writer) = self.writer.lock().await.take()
            && let Err(error) = writer.await
        {
            tracing::error!(%error, "the ledger's writer ended");
        }
    }

    pub(crate) fn shelf(&self) -> (&Shelf, Tree) {
        (&self.shared.shelf, self.shared.tree())
    }
}

/// Why an entry is not logged.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub enum AppendError {
    /// The request has its leaf.
    #[error("the request id was used before: leaf {index} is its {kind:?}")]
    Duplicate {
        /// The leaf.
        index: u64,
        /// Its kind.
        kind: LeafKind,
    },
    /// Too much is waiting, or the store does not answer. Nothing was logged.
    #[error("the ledger is busy: try again shortly")]
    Busy,
    /// The storage is full. Nothing was logged.
    #[error("the ledger's storage is full: make room, then try again")]
    Full,
    /// The body or the authority's name is too long.
    #[error("a body has at most 1 MiB and an authority's name at most 200 bytes")]
    TooLarge,
    /// The ledger has stopped. Whether the entry was logged is not known.
    #[error("the ledger has stopped: {0}")]
    Stopped(String),
}

/// Why there is no answer.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub enum ReadError {
    /// The tree is not that large.
    #[error("the ledger has {size} leaves, and the first size is at most the second")]
    OutOfRange {
        /// How large it is.
        size: u64,
    },
    /// The storage's word.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The key could not sign.
    #[error("the checkpoint could not be signed: {0}")]
    Sign(#[source] einmal_protocol::note::NoteError),
}
