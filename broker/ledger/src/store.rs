// SPDX-License-Identifier: EUPL-1.2
//! The contract between the ledger and whatever keeps its bytes.

use std::{fmt, pin::Pin};

use einmal_protocol::{
    Digest, RequestId,
    leaf::{Leaf, LeafKind},
    merkle,
};

pub use crate::tile::TileId;

/// An answer that a store is still working on.
pub type Pending<'a, T, E = StoreError> = Pin<Box<dyn Future<Output = Result<T, E>> + Send + 'a>>;

/// What never changes once it is written: leaves, and the tiles above them.
pub trait Archive: Send + Sync + 'static {
    /// The bytes of some tiles, in the order asked for; nothing for one that is not stored.
    fn tiles<'a>(&'a self, ids: &'a [TileId]) -> Pending<'a, Vec<Option<Vec<u8>>>>;

    /// Entries from an index on, in order and without a gap: at most `max`, fewer where they grow
    /// large, at least one where there is one. `detail` says whether bodies come along.
    fn entries(&self, from_index: u64, max: usize, detail: Detail) -> Pending<'_, Vec<Entry>>;
}

/// The ledger's one row, and the only way to change it.
///
/// A store is a **compare-and-append** on one row (origin, size, root). Everything of a batch
/// becomes visible and durable together with the row, or nothing of it does.
///
/// - [`Store::append`] compares the row's head with `expected` under a lock that no other append
///   can hold. Where they differ it changes nothing and answers [`AppendFault::Moved`]. Where a
///   slot is taken, by the ledger or twice in the batch, or was issued before the row's
///   `ids_from_ms` and so may have been taken and forgotten, it changes nothing and answers
///   [`AppendFault::SlotTaken`]: whoever appends need not ask before. Where an index is taken
///   although the row did not say so, it changes nothing and answers [`AppendFault::NotDone`] with
///   [`StoreError::Broken`].
/// - When `append` returns `Ok`, the batch is on stable storage: it survives a power cut.
/// - [`AppendFault::NotDone`] is a promise that nothing was changed and nothing will be.
///   [`AppendFault::Unknown`] promises nothing.
/// - [`Store::row`] sees the outcome of every append that has returned, those with an unknown
///   outcome included: it waits until no earlier append can take effect any more. What it answers
///   is durable.
/// - [`Store::taken`] sees at least every append that returned `Ok`.
/// - Several handles, in several processes, may lie on the same storage.
pub trait Store: Archive {
    /// The row.
    fn row(&self) -> Pending<'_, Row>;

    /// Which of these slots are taken, and by which leaf; in the order asked for.
    fn taken<'a>(&'a self, slots: &'a [Slot]) -> Pending<'a, Vec<Option<Taken>>>;

    /// Appends a batch if the row is as expected.
    fn append<'a>(&'a self, expected: &'a Head, batch: &'a Batch) -> Pending<'a, (), AppendFault>;

    /// Deletes, so that it cannot be read back from the storage, every body of a day before
    /// `bodies_before` and every slot whose id was issued before `ids_before_ms`. Leaves and tiles
    /// stay. Answers how many bodies were deleted. The horizons in the row never move back.
    fn forget(&self, bodies_before: u32, ids_before_ms: u64) -> Pending<'_, u64>;

    /// The days that have bodies, oldest first.
    fn days(&self) -> Pending<'_, Vec<DayOfBodies>>;

    /// Ends the ledger for good where its head is this one: every later append answers
    /// [`AppendFault::Closed`]. Closing a closed ledger changes nothing.
    fn close<'a>(&'a self, last: &'a Head) -> Pending<'a, (), AppendFault>;

    /// Lets go of the storage: when it returns, this handle holds no file and no connection, and
    /// writes nothing any more. What is asked of it later fails as [`StoreError::Unavailable`].
    fn disconnect(&self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>>;

    /// Bytes left on the disk, where that can be known.
    fn free_bytes(&self) -> Option<u64> {
        None
    }

    /// A number that changes when the storage may have become another one without having said so:
    /// after a reconnect, which may have met a restored backup or a standby.
    fn connection_generation(&self) -> u64 {
        0
    }

    /// Whether other processes may append too.
    fn is_shared(&self) -> bool {
        false
    }
}

/// The bodies of one day.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DayOfBodies {
    /// Days since 1970 (UTC).
    pub day: u32,
    /// How many bodies.
    pub bodies: u64,
    /// Bytes that they take, or nearly.
    pub bytes: u64,
}

/// What the ledger is: the whole tree in three values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    /// Its name.
    pub origin: String,
    /// How many leaves.
    pub size: u64,
    /// The root over them.
    pub root: Digest,
}

impl Head {
    /// A new ledger's.
    pub fn empty(origin: &str) -> Self {
        Self { origin: origin.to_owned(), size: 0, root: merkle::empty_root() }
    }
}

/// The ledger's one row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// The tree.
    pub head: Head,
    /// Bodies of days before this one are forgotten; days since 1970.
    pub bodies_from: u32,
    /// Slots of ids issued before this are forgotten; UTC milliseconds. Such an id is never taken
    /// again (ONCE).
    pub ids_from_ms: u64,
    /// Whether it was ended.
    pub closed: bool,
}

/// What comes along with a leaf.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Detail {
    /// Nothing.
    Leaves,
    /// The body, where it is not forgotten.
    Bodies,
}

/// A stored leaf.
#[derive(Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its position.
    pub index: u64,
    /// The leaf.
    pub leaf: Leaf,
    /// Its body, where asked for and not forgotten.
    pub body: Option<Vec<u8>>,
}

impl fmt::Debug for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let length = self.body.as_ref().map(Vec::len);
        write!(f, "Entry({} {:?}, body of {length:?} bytes)", self.index, self.leaf)
    }
}

/// The place that one request's leaf takes: exchange and refusal share one, a report of use has
/// its own (ONCE).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Slot {
    authority: String,
    id: RequestId,
    class: u8,
}

impl Slot {
    /// The longest authority, in bytes.
    pub const AUTHORITY_MAX: usize = 200;

    /// The slot of a leaf of this kind; nothing where the authority's name is too long.
    pub fn new(authority: &str, id: RequestId, kind: LeafKind) -> Option<Self> {
        let class = match kind {
            LeafKind::Exchange | LeafKind::Refusal => 1,
            LeafKind::Use => 2,
            LeafKind::Notice => 3,
        };
        let fits = authority.len() <= Self::AUTHORITY_MAX;
        fits.then(|| Self { authority: authority.to_owned(), id, class })
    }

    /// When the id was issued, UTC milliseconds.
    pub fn issued_at_ms(&self) -> u64 {
        self.id.issued_at_ms()
    }

    /// A key of 32 bytes that sorts by the time the id was issued: id, class, and 15 bytes of the
    /// authority's SHA-256.
    pub fn to_bytes(&self) -> Vec<u8> {
        let authority = Digest::of(self.authority.as_bytes());
        let authority = authority.as_bytes().iter().take(15);
        self.id.as_bytes().iter().chain(&[self.class]).chain(authority).copied().collect()
    }
}

/// The leaf that took a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Taken {
    /// Its position.
    pub index: u64,
    /// The leaf.
    pub leaf: Leaf,
}

/// Some entries, and all that changes with them.
#[derive(Clone, Debug)]
pub struct Batch {
    /// The row afterwards.
    pub next: Head,
    /// The entries; the first has the index that was the size before.
    pub entries: Vec<Addition>,
    /// Tiles that became full, and growing ones above level 0 as they are afterwards, replacing
    /// shorter ones of the same id. The growing tile of level 0 is not stored: the leaves are.
    pub tiles: Vec<(TileId, Vec<u8>)>,
}

impl Batch {
    /// When the oldest of its ids was issued, UTC milliseconds.
    pub(crate) fn oldest_id_ms(&self) -> u64 {
        self.entries.iter().map(|entry| entry.slot.issued_at_ms()).min().unwrap_or(u64::MAX)
    }
}

/// One entry of a batch.
#[derive(Clone)]
pub struct Addition {
    /// The slot that it takes.
    pub slot: Slot,
    /// The leaf.
    pub leaf: Leaf,
    /// What the leaf stands for.
    pub body: Vec<u8>,
}

impl fmt::Debug for Addition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Addition({:?}, body of {} bytes)", self.leaf, self.body.len())
    }
}

/// Why a store has no answer.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub enum StoreError {
    /// There is no room.
    #[error("the ledger's storage is full: make room, then go on")]
    Full,
    /// It may pass.
    #[error("the ledger's storage does not answer: {0}")]
    Unavailable(String),
    /// It will not pass: what is stored contradicts itself, or the disk failed.
    #[error("the ledger's storage is damaged: {0}")]
    Broken(String),
}

/// Why a batch is not in the ledger, or perhaps is.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub enum AppendFault {
    /// The row was another. Nothing was changed.
    #[error("another wrote the ledger, which now has {} leaves", found.size)]
    Moved {
        /// What it was.
        found: Head,
    },
    /// The ledger was ended. Nothing was changed.
    #[error("the ledger was closed: begin a new origin")]
    Closed,
    /// A slot of the batch is taken, or may have been before it was forgotten. Nothing was changed.
    #[error("an id of the batch has its leaf already")]
    SlotTaken,
    /// Nothing was changed.
    #[error("nothing was written: {0}")]
    NotDone(#[source] StoreError),
    /// It may have been written.
    #[error("whether it was written is not known: {0}")]
    Unknown(#[source] StoreError),
}
