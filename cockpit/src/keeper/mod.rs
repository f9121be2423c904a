// SPDX-License-Identifier: EUPL-1.2
//! The keeper: the only one who can open access records. It holds the day keys, follows the
//! ledger and verifies all of it, opens, tags, re-seals and indexes, and answers the pages.

mod body;
mod card;
mod checkpoint_service;
pub mod checkpoints;
mod claims;
mod complete;
mod day_files;
pub mod days;
pub mod desk;
mod exported;
mod facts;
mod figures;
pub mod fill;
pub mod forget;
pub mod hold;
mod index;
mod list;
mod notice;
pub mod officer;
mod open;
mod pages_door;
mod search;
mod service;
mod subject;
pub mod tail;
mod tree;

use std::{
    path::PathBuf,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
};

use einmal_protocol::{
    Digest,
    key::{PublicKey, SigningKey},
    note::LedgerKey,
    wire::v1::Envelope,
};

pub use checkpoint_service::take_checkpoints;
pub use checkpoints::{Compared, SplitView};
pub use day_files::parse_day;
pub use days::{DayKeyError, DayKeyFiles, DayKeys};
pub use desk::Desk;
pub(crate) use figures::Figures;
pub use forget::{Due, ForgetError, Forgetting};
pub use hold::{Held, HoldError, Holds};
pub use index::IndexError;
pub use notice::Notice;
pub use pages_door::{PagesDoor, answer_pages};
pub use service::{client, connect_in_process, service};
pub use tail::{Entry, Intake, IntakeError, Taken};

use einmal_peer::Clock;
use index::Index;

use crate::login::Logins;

/// For how many days records are kept, as the current rules say. All clones are one.
#[derive(Clone, Debug)]
pub(crate) struct Retention(Arc<AtomicU32>);

impl Retention {
    pub(crate) fn days(&self) -> u32 {
        self.0.load(Ordering::Relaxed)
    }
}

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
    /// The rules whose payload has this digest, after those that both roles signed and that they
    /// narrow; nothing where they are not known.
    fn rules(&self, digest: Digest) -> Vec<Envelope>;
    /// The directory whose payload has this digest.
    fn directory(&self, digest: Digest) -> Option<Envelope>;
}

/// An archive that holds nothing: exports then carry no rules, directory or roots.
pub struct NoArchive;

impl Archive for NoArchive {
    fn roots(&self) -> Vec<Envelope> {
        Vec::new()
    }

    fn rules(&self, _digest: Digest) -> Vec<Envelope> {
        Vec::new()
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
    /// For how many days the rules say that records are kept.
    pub retention_days: u32,
    /// Whose logins count.
    pub logins: Logins,
}

/// The keeper. Cheap to clone; all clones are one.
#[derive(Clone)]
pub struct Keeper {
    days: Arc<Mutex<DayKeys>>,
    ring: days::KeyRing,
    index: Index,
    ledger: LedgerKey,
    archive: Arc<dyn Archive>,
    retention: Retention,
    forgetting: Forgetting,
    logins: Logins,
    clock: Clock,
}

impl Keeper {
    /// Opens the index, finishes forgetting that was begun, and reads or makes day keys: only keys
    /// of days that are kept are read.
    ///
    /// # Errors
    /// Where a key file does not open, a folder cannot be written, or the index is of another
    /// ledger.
    pub async fn open(
        settings: KeeperSettings,
        archive: Arc<dyn Archive>,
        clock: Clock,
    ) -> Result<Self, KeeperError> {
        let KeeperSettings { participant, identity, files, index, ledger, retention_days, logins } =
            settings;
        let mut forgetting =
            Forgetting::beside(&index, ledger.name(), files.clone(), clock.clone()).await?;
        forgetting.resume().await?;
        let days = DayKeys::open(participant, identity, files, clock.now_ms())?;
        let ring = days.ring();
        forgetting.ring = ring.clone();
        Ok(Self {
            days: Arc::new(Mutex::new(days)),
            ring,
            index: forgetting.index.clone(),
            ledger,
            archive,
            retention: Retention(Arc::new(AtomicU32::new(retention_days))),
            forgetting,
            logins,
            clock,
        })
    }

    /// Takes what newer rules say.
    pub fn keep_for(&self, retention_days: u32) {
        self.retention.0.store(retention_days, Ordering::Relaxed);
    }

    /// Forgets what is older than the rules allow: to be called at the start and once a day. Where
    /// the clock is far ahead of the ledger it forgets nothing and raises an alarm.
    ///
    /// # Errors
    /// Where the clock runs ahead, or files or index cannot be written.
    pub async fn forget(&self) -> Result<Due, ForgetError> {
        self.forgetting.run(self.retention.days(), false).await
    }

    /// The oldest day whose key is in memory.
    pub fn oldest_key_day(&self) -> Option<u32> {
        self.ring.since(0).first().map(|key| key.day)
    }

    /// What is to be looked at every minute: drops from memory the keys that a command beside this
    /// keeper has destroyed, and compares checkpoints that wait.
    ///
    /// # Errors
    /// Where the index cannot be read.
    pub async fn look_after(&self, now_ms: u64) -> Result<(), IndexError> {
        self.forgetting.drop_forgotten().await?;
        self.index.compare_waiting(&self.ledger, now_ms).await
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
            (self.retention.clone(), self.clock.clone()),
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
    /// Forgetting that was begun before.
    #[error(transparent)]
    Forget(#[from] ForgetError),
}
