// SPDX-License-Identifier: EUPL-1.2
//! The ledger as others use it.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, OnceLock, PoisonError, RwLock,
        atomic::{AtomicBool, Ordering},
    },
};

use einmal_protocol::{
    Digest, RequestId,
    key::SigningKey,
    leaf::{Leaf, LeafKind},
    merkle,
    note::{Checkpoint, LedgerKey, NoteError},
};
use tokio::{
    sync::{Semaphore, mpsc, watch},
    task::JoinHandle,
};
use tokio_util::sync::CancellationToken;

use crate::{
    batch::Waiting,
    config::LedgerConfig,
    distant::{parted, tell_later},
    entry::{AppendError, Found, Logged, NewEntry, ReadError},
    open::{self, OpenError},
    shelf::Shelf,
    sqlite::SqliteStore,
    store::{Addition, Archive, DayOfBodies, Detail, Row, Slot, Store},
    tree::Tree,
    witness::{Cosigner, cosign_later},
    writer::{ATTEMPTS, Pace, Work, Writer, pause},
};

/// Bytes of the longest body.
pub(crate) const BODY_MAX: usize = 1 << 20;
/// Bodies that wait are together at most this many KiB.
const QUEUE_KIB: usize = 64 << 10;
/// Entries in one answer.
const ENTRIES_MAX: usize = 1024;
/// Consistency proofs kept.
const PROOFS_KEPT: usize = 1024;

pub use crate::store::Entry as StoredEntry;

/// Consistency paths by the two sizes.
type Proofs = HashMap<(u64, u64), Vec<Digest>>;

/// The ledger. Clones are handles on the same one.
#[derive(Clone)]
pub struct Ledger {
    shared: Arc<Shared>,
    store: Arc<dyn Store>,
    queue: mpsc::Sender<Work>,
    room: Arc<Semaphore>,
    proofs: Arc<Mutex<Proofs>>,
    closing: CancellationToken,
    reserve_bytes: u64,
    writer: Arc<tokio::sync::Mutex<Option<JoinHandle<()>>>>,
}

/// What the writer and all handles see.
pub(crate) struct Shared {
    pub(crate) shelf: Arc<Shelf>,
    tree: RwLock<Tree>,
    checkpoint: watch::Sender<Arc<Checkpoint>>,
    /// The newest that witnesses cosigned, where nobody waits for them.
    cosigned: Mutex<Option<Arc<Checkpoint>>>,
    pub(crate) key: SigningKey,
    stopped: OnceLock<String>,
    /// Whether a memory on another machine keeps it waiting.
    waiting: AtomicBool,
}

impl Shared {
    /// The newest tree that is durable and signed.
    pub(crate) fn tree(&self) -> Tree {
        self.tree.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Shows a durable, signed tree: first the tree, so that whoever sees the checkpoint finds it.
    pub(crate) fn publish(&self, tree: &Tree, checkpoint: Arc<Checkpoint>) {
        *self.tree.write().unwrap_or_else(PoisonError::into_inner) = tree.clone();
        self.checkpoint.send_replace(checkpoint);
    }

    /// The newest checkpoint.
    pub(crate) fn checkpoint(&self) -> Arc<Checkpoint> {
        Arc::clone(&self.checkpoint.borrow())
    }

    /// Says why the writer stops; the first reason stays.
    pub(crate) fn stop(&self, why: &str) {
        let _first = self.stopped.set(why.to_owned());
        self.wait(false);
    }

    /// Says whether nothing can be answered for now.
    pub(crate) fn wait(&self, waiting: bool) {
        self.waiting.store(waiting, Ordering::Relaxed);
    }

    fn is_waiting(&self) -> bool {
        self.waiting.load(Ordering::Relaxed)
    }

    /// The newest checkpoint, each time it changes.
    pub(crate) fn watch(&self) -> watch::Receiver<Arc<Checkpoint>> {
        self.checkpoint.subscribe()
    }

    /// Whether it was told to stop.
    pub(crate) fn is_stopped(&self) -> bool {
        self.stopped.get().is_some()
    }

    /// The ledger's public key.
    pub(crate) fn ledger_key(&self) -> Result<LedgerKey, NoteError> {
        LedgerKey::new(self.checkpoint().origin(), self.key.public().clone())
    }

    /// Keeps a checkpoint that witnesses cosigned, for the public.
    pub(crate) fn keep_cosigned(&self, checkpoint: Arc<Checkpoint>) {
        *self.cosigned.lock().unwrap_or_else(PoisonError::into_inner) = Some(checkpoint);
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
        let ledger_key = open::ledger_key(config, &key)?;
        let archive: Arc<dyn Archive> = Arc::clone(&store) as _;
        let shelf = Arc::new(Shelf::new(archive));
        let opened = match open::open(&*store, &shelf, config, &key).await {
            Ok(opened) => opened,
            Err(error) => {
                store.disconnect().await;
                return Err(error);
            }
        };
        let (needed, told) = parted(opened.afar);
        let checkpoint = Arc::new(opened.checkpoint);
        // Where witnesses cosign later, the public sees only what they have been shown: not the
        // newest today, and an older one tomorrow.
        let later = !config.witnesses.all.is_empty() && config.witnesses.required == 0;
        let shared = Arc::new(Shared {
            shelf,
            tree: RwLock::new(opened.tree.clone()),
            cosigned: Mutex::new(later.then(|| Arc::clone(&checkpoint))),
            checkpoint: watch::Sender::new(checkpoint),
            key,
            stopped: OnceLock::new(),
            waiting: AtomicBool::new(needed.as_ref().is_some_and(|afar| !afar.met)),
        });
        let (queue, waiting) = mpsc::channel(config.queue_max);
        let closing = CancellationToken::new();
        let cosigner = Arc::new(Cosigner::new(config.witnesses.clone(), ledger_key));
        let writer = Writer {
            shared: Arc::clone(&shared),
            store: Arc::clone(&store),
            memory: opened.memory,
            afar: needed,
            cosigner: Arc::clone(&cosigner),
            row: opened.row,
            tree: opened.tree,
            edge: opened.edge,
            queue: waiting,
            batch_max: config.batch_max,
            follow: config.follow,
            pace: Pace::default(),
            generation: store.connection_generation(),
            closing: closing.clone(),
        };
        let writer = tokio::spawn(writer.run());
        if let Some(told) = told {
            let (shared, queue) = (Arc::clone(&shared), queue.clone());
            tokio::spawn(tell_later(told, shared, queue, closing.clone()));
        }
        if later {
            tokio::spawn(cosign_later(
                cosigner,
                Arc::clone(&shared),
                queue.clone(),
                closing.clone(),
            ));
        }
        Ok(Self {
            shared,
            store,
            queue,
            room: Arc::new(Semaphore::new(QUEUE_KIB)),
            proofs: Arc::default(),
            closing,
            reserve_bytes: config.reserve_bytes,
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
        if self.shared.is_waiting() {
            return Err(AppendError::Busy);
        }
        let leaf = Leaf::new(entry.kind, entry.day, &entry.body);
        let (answer, answered) = tokio::sync::oneshot::channel();
        let addition = Addition { slot, leaf, body: entry.body };
        let waiting = Work::Append(Waiting { addition, answer, share });
        self.queue.try_send(waiting).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => AppendError::Busy,
            mpsc::error::TrySendError::Closed(_) => self.shared.stopped(),
        })?;
        let placed = answered.await.map_err(|_| self.shared.stopped())??;
        let (index, checkpoint) = (placed.index, placed.checkpoint);
        let unproven =
            || AppendError::Stopped("the proof of a fresh leaf cannot be computed".to_owned());
        let inclusion = if checkpoint.size() == placed.growth.tree.size() {
            placed.growth.inclusion(index).ok_or_else(unproven)?
        } else {
            // Others appended before it could be signed.
            self.prove(index, checkpoint.size()).await.ok_or_else(unproven)?
        };
        Ok(Logged { index, leaf, inclusion, checkpoint })
    }

    /// The inclusion path of an entry that is logged: worth some tries, for whoever waits for it
    /// could learn no more than that its outcome is not known.
    async fn prove(&self, index: u64, size: u64) -> Option<Vec<Digest>> {
        for attempt in 0..ATTEMPTS {
            pause(attempt).await;
            match self.inclusion(index, size).await {
                Ok(path) => return Some(path),
                Err(error) => tracing::warn!(%error, index, "proving a fresh leaf"),
            }
        }
        None
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
        if taken.is_some_and(|taken| taken.index >= self.checkpoint().size()) {
            self.refresh().await;
        }
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

    /// Waits until what other processes have appended so far is known here, or the writer ends.
    pub async fn refresh(&self) {
        if self.shared.is_waiting() {
            return;
        }
        let (answer, answered) = tokio::sync::oneshot::channel();
        if self.queue.send(Work::Refresh(answer)).await.is_ok() {
            let _ended = answered.await;
        }
    }

    /// Ends the ledger for good, and gives its last checkpoint, for the directory. A new origin
    /// begins elsewhere.
    ///
    /// # Errors
    /// [`AppendError::Busy`] where the store does not answer, [`AppendError::Stopped`] where the
    /// ledger has stopped.
    pub async fn end(&self) -> Result<Arc<Checkpoint>, AppendError> {
        let (answer, answered) = tokio::sync::oneshot::channel();
        let sent = self.queue.send(Work::End(answer)).await;
        sent.map_err(|_| self.shared.stopped())?;
        answered.await.map_err(|_| self.shared.stopped())?
    }

    /// The ledger's one row, from the store: its head, and from when on bodies and ids are kept.
    ///
    /// # Errors
    /// Where the store does not answer.
    pub async fn row(&self) -> Result<Row, ReadError> {
        Ok(self.store.row().await?)
    }

    /// The days that have bodies, oldest first.
    ///
    /// # Errors
    /// Where the store does not answer.
    pub async fn days(&self) -> Result<Vec<DayOfBodies>, ReadError> {
        Ok(self.store.days().await?)
    }

    /// Whether the reserve of the disk is untouched, as far as that can be known. Where it is not,
    /// begin nothing new: what is under way can still be logged.
    pub fn has_room(&self) -> bool {
        self.store.free_bytes().is_none_or(|free| free >= self.reserve_bytes)
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
        let count = self.store.forget(bodies_before_day, ids_before_ms).await?;
        self.refresh().await;
        Ok(count)
    }

    /// The newest checkpoint.
    pub fn checkpoint(&self) -> Arc<Checkpoint> {
        self.shared.checkpoint()
    }

    /// The newest checkpoint that witnesses cosigned; where there are none, the newest.
    pub fn public_checkpoint(&self) -> Arc<Checkpoint> {
        let cosigned = self.shared.cosigned.lock().unwrap_or_else(PoisonError::into_inner);
        cosigned.clone().unwrap_or_else(|| self.checkpoint())
    }

    /// The newest checkpoint, each time it changes.
    pub fn watch(&self) -> watch::Receiver<Arc<Checkpoint>> {
        self.shared.watch()
    }

    /// Whether it takes entries: it has not stopped, and waits for no memory.
    pub fn is_healthy(&self) -> bool {
        let waits = self.shared.is_waiting();
        self.shared.stopped.get().is_none() && !waits && !self.queue.is_closed()
    }

    /// Logs what has queued, then stops, for all handles. When it returns, no file and no
    /// connection of the storage is held any more: it can be copied, moved or opened elsewhere.
    pub async fn close(self) {
        self.closing.cancel();
        // Left where it is until it has ended: whoever gives up waiting here may ask again.
        let mut home = self.writer.lock().await;
        if let Some(writer) = home.as_mut()
            && let Err(error) = writer.await
        {
            tracing::error!(%error, "the ledger's writer ended");
        }
        *home = None;
        self.store.disconnect().await;
    }

    pub(crate) fn shelf(&self) -> (&Shelf, Tree) {
        (&self.shared.shelf, self.shared.tree())
    }
}
