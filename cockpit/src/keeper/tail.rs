// SPDX-License-Identifier: EUPL-1.2
//! Follows the ledger: recomputes every leaf from its body, grows its own tree, and believes a
//! checkpoint only where its root is equal. What does not fit is an alarm, and "complete up to"
//! stands still.

use std::{num::NonZero, sync::Arc};

use einmal_protocol::{
    note::{Checkpoint, LedgerKey, NoteError},
    time::day_of,
};

use super::{
    Participants, Retention,
    body::{self, Checked, Days},
    checkpoints::Compared,
    days::{DayKeyError, KeyRing},
    index::{Index, IndexError, Noted},
    open::Opener,
};
use einmal_peer::Clock;

pub use einmal_protocol::wire::ledger::v1::Entry;

/// Entries are held back until a checkpoint covers them, at most this many.
pub const PENDING_MAX: usize = 16_384;
/// And at most this many bytes of bodies.
pub const PENDING_BYTES_MAX: usize = 256 * 1024 * 1024;

/// A thread for fewer is not worth its while.
const OPENED_TOGETHER: usize = 16;

/// Takes what a ledger's stream says. After an error, tail anew from [`Intake::size`].
pub struct Intake {
    index: Index,
    ring: KeyRing,
    ledger: LedgerKey,
    participants: Arc<dyn Participants>,
    retention: Retention,
    clock: Clock,
    pending: Vec<Checked>,
    pending_bytes: usize,
}

/// How far the keeper has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Taken {
    /// Entries verified and indexed.
    pub size: u64,
    /// Entries that wait for the rest of their checkpoint.
    pub pending: usize,
}

impl Intake {
    pub(crate) fn new(
        index: Index,
        ring: KeyRing,
        ledger: LedgerKey,
        participants: Arc<dyn Participants>,
        (retention, clock): (Retention, Clock),
    ) -> Self {
        let pending = Vec::new();
        Self { index, ring, ledger, participants, retention, clock, pending, pending_bytes: 0 }
    }

    /// How many entries are verified and indexed: where to tail from.
    ///
    /// # Errors
    /// Where the index cannot be read.
    pub async fn size(&self) -> Result<u64, IndexError> {
        Ok(self.index.state().await?.size)
    }

    /// Takes a run of entries with the checkpoint that covers all sent so far. Entries that are
    /// known already are compared and passed over, so a stream may begin anew anywhere. A
    /// checkpoint that covers more than was sent keeps the entries waiting for the rest.
    ///
    /// # Errors
    /// Where anything does not fit. It stands in the alarms then, and nothing of this run was
    /// taken.
    pub async fn take(
        &mut self,
        entries: Vec<Entry>,
        checkpoint: &str,
    ) -> Result<Taken, IntakeError> {
        match self.try_take(entries, checkpoint).await {
            Ok(taken) => Ok(taken),
            Err(error) => {
                self.pending.clear();
                self.pending_bytes = 0;
                if error.is_alarm() {
                    self.index.alarm(&error.to_string(), None).await?;
                }
                Err(error)
            }
        }
    }

    /// Compares a checkpoint that somebody else was shown with the keeper's own tree: two that
    /// contradict each other prove a split view. False where it is ahead of the keeper.
    ///
    /// # Errors
    /// Where it is not the ledger's, or contradicts what the keeper holds.
    pub async fn compare(&self, checkpoint: &str) -> Result<bool, IntakeError> {
        let checkpoint = Checkpoint::parse(checkpoint, &self.ledger)?;
        match self.index.compare(&checkpoint, self.clock.now_ms()).await? {
            Compared::Ahead => Ok(false),
            Compared::Consistent => Ok(true),
            Compared::Forked => Err(IntakeError::Fork { size: checkpoint.size() }),
        }
    }

    async fn try_take(&mut self, entries: Vec<Entry>, note: &str) -> Result<Taken, IntakeError> {
        let checkpoint = Checkpoint::parse(note, &self.ledger)?;
        let mut tree = self.index.tree().await?;
        let (newest, forgotten_before) = self.index.horizon().await?;
        let oldest = day_of(self.clock.now_ms()).saturating_sub(self.retention.days());
        let newest = self.pending.iter().map(|entry| entry.leaf.day).fold(newest, u32::max);
        let mut days = Days { oldest: oldest.max(forgotten_before), forgotten_before, newest };
        for entry in entries {
            self.wait(entry, tree.size(), &mut days).await?;
        }
        let total = tree.size() + self.pending.len() as u64;
        if checkpoint.size() > total {
            return Ok(Taken { size: tree.size(), pending: self.pending.len() });
        }
        if checkpoint.size() < total && !self.pending.is_empty() {
            return Err(IntakeError::NotCovered { size: checkpoint.size(), sent: total });
        }
        if checkpoint.size() < total {
            // An older checkpoint again: no news, but it must be of the same tree.
            self.compare(note).await?;
            return Ok(Taken { size: total, pending: 0 });
        }
        let nodes: Vec<_> =
            self.pending.iter().flat_map(|entry| tree.push(entry.leaf.hash())).collect();
        if tree.root() != checkpoint.root() {
            return Err(IntakeError::Fork { size: checkpoint.size() });
        }
        let entries = std::mem::take(&mut self.pending);
        self.pending_bytes = 0;
        let noted = self.open_all(entries).await?;
        let at_ms = self.clock.now_ms();
        self.index.append(&nodes, &noted, (&checkpoint, at_ms), &self.ring).await?;
        self.index.compare_waiting(&self.ledger, at_ms).await?;
        Ok(Taken { size: checkpoint.size(), pending: 0 })
    }

    /// Puts an entry with those that wait for a checkpoint, or compares it with what is known.
    async fn wait(&mut self, entry: Entry, size: u64, days: &mut Days) -> Result<(), IntakeError> {
        let index = entry.index;
        if index < size {
            let known = self.index.leaf(index).await?;
            return if known.as_deref() == Some(entry.leaf.as_slice()) {
                Ok(())
            } else {
                Err(IntakeError::Rewritten { index })
            };
        }
        let expected = size + self.pending.len() as u64;
        if index != expected {
            return Err(IntakeError::Gap { expected, got: index });
        }
        self.pending_bytes += entry.body.len();
        if self.pending.len() >= PENDING_MAX || self.pending_bytes > PENDING_BYTES_MAX {
            return Err(IntakeError::TooMany);
        }
        let checked = body::check(entry, *days)?;
        days.newest = days.newest.max(checked.leaf.day);
        self.pending.push(checked);
        Ok(())
    }

    /// Opens on threads of its own, as many as there are cores: half a millisecond for each seal is
    /// long for an event loop.
    async fn open_all(&self, mut entries: Vec<Checked>) -> Result<Vec<Noted>, IntakeError> {
        let cores = std::thread::available_parallelism().map_or(1, NonZero::get);
        let each = entries.len().div_ceil(cores).max(OPENED_TOGETHER);
        let mut running = Vec::new();
        while !entries.is_empty() {
            let rest = entries.split_off(each.min(entries.len()));
            let part = std::mem::replace(&mut entries, rest);
            let (ring, participants) = (self.ring.clone(), self.participants.clone());
            let ledger = self.ledger.name().to_owned();
            let retention_days = self.retention.days();
            running.push(tokio::task::spawn_blocking(move || {
                let participants = participants.as_ref();
                let opener = Opener { ring: &ring, participants, ledger: &ledger, retention_days };
                part.into_iter()
                    .map(|entry| opener.open(&entry).map(|opened| Noted { entry, opened }))
                    .collect::<Result<Vec<_>, DayKeyError>>()
            }));
        }
        let mut noted = Vec::new();
        for part in running {
            noted.extend(part.await.map_err(|_| IntakeError::Stopped)??);
        }
        Ok(noted)
    }

    /// Writes what an index of before lists had filters lacks, read again from the bodies that it
    /// holds. To be called before anything is taken; where nothing is missing it reads one row.
    ///
    /// # Errors
    /// Where the index cannot be read or written.
    pub async fn complete(&self) -> Result<u64, IntakeError> {
        let (mut from, mut written) = (0, 0);
        loop {
            let entries = self.index.without_facts(from).await?;
            let Some(last) = entries.last() else { return Ok(written) };
            from = last.index + 1;
            let days = Days { oldest: u32::MAX, forgotten_before: 0, newest: 0 };
            let entries = entries.into_iter().map(|entry| body::check(entry, days));
            let noted = self.open_all(entries.collect::<Result<_, _>>()?).await?;
            written += self.index.add_facts(&noted).await?;
        }
    }
}

/// Why a run of entries was not taken.
#[derive(Debug, thiserror::Error)]
pub enum IntakeError {
    /// Not a checkpoint of this ledger.
    #[error("the ledger's checkpoint is not accepted: {0}")]
    Checkpoint(#[from] NoteError),
    /// The tree that was shown is not the tree that was signed.
    #[error(
        "the checkpoint of size {size} contradicts the entries that were shown: the ledger was \
         changed, or shows different people different things"
    )]
    Fork {
        /// Its size.
        size: u64,
    },
    /// A known entry has another leaf now.
    #[error("entry {index} is not the one that was shown before: the ledger was changed")]
    Rewritten {
        /// Which.
        index: u64,
    },
    /// The leaf is malformed.
    #[error("entry {index} has a leaf that cannot be read")]
    Leaf {
        /// Which.
        index: u64,
    },
    /// The leaf stands for another body.
    #[error("the body of entry {index} is not the one in the ledger's tree")]
    OtherBody {
        /// Which.
        index: u64,
    },
    /// Withheld.
    #[error("the body of entry {index} is not served, though its day is not over")]
    BodyMissing {
        /// Which.
        index: u64,
    },
    /// Entries are left out.
    #[error("entry {expected} should come next, but {got} came")]
    Gap {
        /// What should come.
        expected: u64,
        /// What came.
        got: u64,
    },
    /// The checkpoint is older than the entries beside it.
    #[error("{sent} entries were sent, but the checkpoint covers {size}")]
    NotCovered {
        /// What it covers.
        size: u64,
        /// What was sent.
        sent: u64,
    },
    /// More than are held back.
    #[error("more entries were sent without a checkpoint than are held back")]
    TooMany,
    /// A cipher failed.
    #[error(transparent)]
    Cipher(#[from] DayKeyError),
    /// The index failed.
    #[error(transparent)]
    Index(#[from] IndexError),
    /// The process stops.
    #[error("the keeper stops")]
    Stopped,
}

impl IntakeError {
    /// Whether the ledger did wrong, as against: this machine failed, or the stream broke.
    pub fn is_alarm(&self) -> bool {
        !matches!(
            self,
            Self::Gap { .. } | Self::TooMany | Self::Cipher(_) | Self::Index(_) | Self::Stopped
        )
    }
}
