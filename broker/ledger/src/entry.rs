// SPDX-License-Identifier: EUPL-1.2
//! What goes into a ledger, what comes out, and why it may not.

use std::{fmt, sync::Arc};

use einmal_protocol::{
    Digest, RequestId,
    leaf::{Leaf, LeafKind},
    note::Checkpoint,
    wire::v1::{Consistency, Receipt},
};

use crate::store::StoreError;

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
    /// Its id or its day is before what the ledger still remembers.
    #[error("the request is older than the ids and days that the ledger still remembers")]
    TooOld,
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
