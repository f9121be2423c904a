// SPDX-License-Identifier: EUPL-1.2
//! The keeper: the only one who can open access records. It holds the day keys, follows the
//! ledger and verifies all of it, opens, tags, re-seals and indexes, and answers the pages.

mod body;
mod card;
mod claims;
pub mod days;
mod index;
mod open;
mod service;
mod subject;
pub mod tail;
mod tree;

use std::{
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
};

use einmal_protocol::{
    Digest,
    key::{PublicKey, SigningKey},
    note::LedgerKey,
    wire::v1::Envelope,
};

pub use days::{DayKeyError, DayKeyFiles, DayKeys};
pub use index::IndexError;
pub use service::{connect_in_process, service};
pub use tail::{Entry, Intake, IntakeError, Taken};

use einmal_peer::Clock;
use index::Index;

/// An access record can be found for this many days.
pub const DAYS_KEPT: u32 = 731;

/// What the keeper must know of others to check a body. The contract: a key that was valid when a
/// body was logged is in the answer, also after it was replaced; nothing means "no such
/// participant" and is a finding.
pub trait Participants: Send + Sync {
    /// Identity keys of an authority.
    fn authority_keys(&self, id: &str) -> Option<Vec<PublicKey>>;
    /// Identity keys of a register.
    fn register_keys(&self, id: &str) -> Option<Vec<PublicKey>>;
    /// How many access records every commitment of this evidence type has.
    fn slots(&self, evidence_type: &str) -> Option<u32>;
}

/// The signed things that an export carries, so that it can be verified offline.
pub trait Archive: Send + Sync {
    /// All roots, oldest first.
    fn roots(&self) -> Vec<Envelope>;
    /// The rules whose payload has this digest.
    fn rules(&self, digest: Digest) -> Option<Envelope>;
    /// The directory whose payload has this digest.
    fn directory(&self, digest: Digest) -> Option<Envelope>;
}

/// An archive that holds nothing: exports then carry no rules, directory or roots.
pub struct NoArchive;

impl Archive for NoArchive {
    fn roots(&self) -> Vec<Envelope> {
        Vec::new()
    }

    fn rules(&self, _digest: Digest) -> Option<Envelope> {
        None
    }

    fn directory(&self, _digest: Digest) -> Option<Envelope> {
        None
    }
}

/// What a keeper is made of.
pub struct KeeperSettings {
    /// The keeper's id in the directory.
    pub participant: String,
    /// Its identity key, which signs key cards.
    pub identity: Arc<SigningKey>,
    /// Where the day keys lie.
    pub files: DayKeyFiles,
    /// The index, an SQLite file.
    pub index: PathBuf,
    /// The ledger that it follows.
    pub ledger: LedgerKey,
}

/// The keeper. Cheap to clone; all clones are one.
#[derive(Clone)]
pub struct Keeper {
    days: Arc<Mutex<DayKeys>>,
    ring: days::KeyRing,
    index: Index,
    ledger: LedgerKey,
    archive: Arc<dyn Archive>,
    clock: Clock,
}

impl Keeper {
    /// Reads or makes day keys and opens the index.
    ///
    /// # Errors
    /// Where a key file does not open, a folder cannot be written, or the index is of another
    /// ledger.
    pub async fn open(
        settings: KeeperSettings,
        archive: Arc<dyn Archive>,
        clock: Clock,
    ) -> Result<Self, KeeperError> {
        let KeeperSettings { participant, identity, files, index, ledger } = settings;
        let days = DayKeys::open(participant, identity, files, clock.now_ms())?;
        let index = Index::open(&index, ledger.name()).await?;
        let ring = days.ring();
        Ok(Self { days: Arc::new(Mutex::new(days)), ring, index, ledger, archive, clock })
    }

    /// The current key card: a new one each day, the same one within it. Makes the keys that are
    /// missing.
    ///
    /// # Errors
    /// Where keys cannot be made or stored.
    pub fn card(&self, now_ms: u64) -> Result<Envelope, DayKeyError> {
        // A poisoned lock is safe to take: every change of the day keys is a whole file.
        self.days.lock().unwrap_or_else(PoisonError::into_inner).card(now_ms)
    }

    /// Whoever follows the ledger feeds this. There should be one at a time.
    pub fn intake(&self, participants: Arc<dyn Participants>) -> Intake {
        Intake::new(
            self.index.clone(),
            self.ring.clone(),
            self.ledger.clone(),
            participants,
            self.clock.clone(),
        )
    }

    /// How many entries are verified and indexed: where to tail from.
    ///
    /// # Errors
    /// Where the index cannot be read.
    pub async fn size(&self) -> Result<u64, IndexError> {
        Ok(self.index.state().await?.size)
    }

    /// Puts an alarm on the status page. The text must name no person.
    ///
    /// # Errors
    /// Where the index cannot be written.
    pub async fn alarm(&self, text: &str) -> Result<(), IndexError> {
        self.index.alarm(text, None).await
    }

    /// Takes away all alarms, after somebody has looked into them.
    ///
    /// # Errors
    /// Where the index cannot be written.
    pub async fn clear_alarms(&self) -> Result<(), IndexError> {
        self.index.clear_alarms().await
    }
}

/// Why a keeper cannot start.
#[derive(Debug, thiserror::Error)]
pub enum KeeperError {
    /// Day keys.
    #[error(transparent)]
    Days(#[from] DayKeyError),
    /// The index.
    #[error(transparent)]
    Index(#[from] IndexError),
}
