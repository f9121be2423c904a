// SPDX-License-Identifier: EUPL-1.2
//! A register's own journal of what it revealed: append-only, one file a day, durable before each
//! answer leaves (no journal, no data). In the clear stands who asked for what, and the receipt;
//! whom it was about is sealed to a day key of the register's own data-protection officer, and
//! evidence does not stand there at all. Days are deleted when the signed rules say so, and the
//! officer destroys their keys (FORGETS-ON-TIME).
//!
//! What was refused is not journalled: nothing left, and the signed refusal is in the ledger. An
//! entry is written before the last checks, so one whose answer stayed here after all is followed
//! by a note that says so; where a crash comes between, the entry says too much, never too little.

pub mod audit;
mod cards;
mod entry;
mod frame;
mod guard;
pub mod officer;
mod published;
pub mod reading;
mod tend;
mod writer;

use std::{
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use einmal_peer::{
    Clock,
    expiry::{self, End},
    files::FileError,
    random,
};
use einmal_protocol::{Digest, time::day_of};
use tokio::sync::{mpsc, oneshot};

pub use cards::{CardsError, DayCard, OfficerKeys, Opened, fingerprint, open as open_cards};
pub use entry::{Exchange, Group, Head, Involved, Item, NotLogged, Records, What, Withheld};
pub use frame::{BrokenJournal, ReadError};
pub(crate) use guard::{Noted, Sealed};
pub(crate) use tend::{audit_all_of, tend};

use cards::Cards;
use writer::{Ask, Book};

/// Entries that may wait at once; more than exchanges can be open.
const WAITING: usize = 4096;
/// An entry that is not durable in this time counts for nothing.
const PATIENCE: Duration = Duration::from_secs(10);
/// A journal that failed is tried again so often, if it is needed.
const PROBE_EVERY: Duration = Duration::from_secs(1);
/// A journal that fails raises its alarm again after so long.
const ALARM_EVERY: Duration = Duration::from_secs(60);

/// Where a register's journal lies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JournalSetup {
    /// Its folder, for this register alone.
    pub folder: PathBuf,
    /// The public file of the register's data-protection officer.
    pub officer: PathBuf,
}

/// A register's journal.
pub(crate) struct Journal {
    register: String,
    folder: PathBuf,
    cards: Cards,
    ask: mpsc::Sender<Ask>,
    state: Arc<State>,
    clock: Clock,
}

/// How a journal is.
#[derive(Debug)]
pub(crate) struct State {
    register: String,
    folder: PathBuf,
    entries: AtomicU64,
    failing: Mutex<Option<Failing>>,
}

#[derive(Debug)]
struct Failing {
    problem: String,
    told: Instant,
    probed: Option<Instant>,
}

/// How a journal is, for people and tests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JournalStatus {
    /// Whose.
    pub register: String,
    /// What keeps it from being written, if anything.
    pub problem: Option<String>,
    /// Written since the start.
    pub entries: u64,
    /// When the officer's last day key ends; UTC milliseconds.
    pub keys_end_at_ms: u64,
}

/// Why a journal cannot be used, or something could not be journalled.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// A file.
    #[error(transparent)]
    File(#[from] FileError),
    /// The officer's keys.
    #[error("the journal's officer: {0}")]
    Cards(#[from] CardsError),
    /// It was changed.
    #[error(transparent)]
    Broken(#[from] BrokenJournal),
    /// Another register's.
    #[error("{} is of another register or day: each register has a folder of its own", path.display())]
    OtherRegister {
        /// Which file.
        path: PathBuf,
    },
    /// Two writers.
    #[error(
        "{} is held by another process: each adapter, and each replica of one, has a journal of \
         its own", path.display()
    )]
    InUse {
        /// The lock.
        path: PathBuf,
    },
    /// It failed before.
    #[error("the journal cannot be written, so nothing is revealed: {problem}")]
    Fails {
        /// What the system said.
        problem: String,
    },
    /// Sealing.
    #[error("an entry for the journal could not be sealed: {0}")]
    Seal(String),
}

impl State {
    fn works(&self, count: usize) {
        self.entries.fetch_add(count as u64, Ordering::Relaxed);
        let before = self.failing.lock().unwrap_or_else(PoisonError::into_inner).take();
        if before.is_some() {
            tracing::warn!(register = self.register, "the journal can be written again");
        }
    }

    fn failed(&self, problem: &str) {
        let mut failing = self.failing.lock().unwrap_or_else(PoisonError::into_inner);
        let told = failing.as_ref().map(|failing| failing.told);
        let tells = told.is_none_or(|told| told.elapsed() >= ALARM_EVERY);
        if tells {
            tracing::error!(
                register = self.register, folder = %self.folder.display(), problem,
                "alarm: the journal cannot be written; nothing is revealed until it can"
            );
        }
        *failing = Some(Failing {
            problem: problem.to_owned(),
            told: told.filter(|_| !tells).unwrap_or_else(Instant::now),
            probed: failing.as_ref().and_then(|failing| failing.probed),
        });
    }

    fn problem(&self) -> Option<String> {
        let failing = self.failing.lock().unwrap_or_else(PoisonError::into_inner);
        failing.as_ref().map(|failing| failing.problem.clone())
    }

    /// Whether it is time to try again.
    fn probes(&self) -> bool {
        let mut failing = self.failing.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(failing) = failing.as_mut() else { return false };
        let due = failing.probed.is_none_or(|probed| probed.elapsed() >= PROBE_EVERY);
        if due {
            failing.probed = Some(Instant::now());
        }
        due
    }
}

impl Journal {
    /// Takes the folder, checks its newest file and the officer's keys.
    ///
    /// # Errors
    /// Where the journal was changed, cannot be written, is held by somebody else, or the officer
    /// gave no key for today.
    pub(crate) fn open(
        setup: &JournalSetup,
        register: &str,
        clock: &Clock,
    ) -> Result<Self, JournalError> {
        let book = Book::open(&setup.folder, register)?;
        let cards = Cards::open(&setup.officer, &setup.folder, day_of(clock.now_ms()))?;
        let (ask, asked) = mpsc::channel(WAITING);
        let state = Arc::new(State {
            register: register.to_owned(),
            folder: setup.folder.clone(),
            entries: AtomicU64::new(0),
            failing: Mutex::new(None),
        });
        tokio::spawn(writer::run(book, asked, Arc::clone(&state), clock.clone()));
        let (register, folder) = (register.to_owned(), setup.folder.clone());
        Ok(Self { register, folder, cards, ask, state, clock: clock.clone() })
    }

    /// Whether an exchange could be journalled now. Asked before anything is looked up or logged,
    /// so that a full disk leaves no entries in the ledger without an answer.
    ///
    /// # Errors
    /// Where it could not; a journal that failed is then tried again.
    pub(crate) fn ready(&self) -> Result<(), JournalError> {
        self.cards.key(day_of(self.clock.now_ms()))?;
        let Some(problem) = self.state.problem() else { return Ok(()) };
        if self.state.probes() {
            let _ = self.ask.try_send(Ask::Probe);
        }
        Err(JournalError::Fails { problem })
    }

    /// Seals whom an exchange is about to the officer's key of today. Answers the day too.
    ///
    /// # Errors
    /// Where there is no key, or no randomness.
    pub(crate) fn seal(
        &self,
        records: &Records,
        (request, slots): (Digest, u32),
    ) -> Result<(u32, Vec<u8>), JournalError> {
        let day = day_of(self.clock.now_ms());
        let key = self.cards.key(day)?;
        let entropy = random::entropy().map_err(|error| JournalError::Seal(error.to_string()))?;
        entry::seal(records, (request, slots), &key, entropy)
            .map(|sealed| (day, sealed))
            .map_err(|error| JournalError::Seal(error.to_string()))
    }

    /// Makes something durable; true only when it is.
    pub(crate) async fn append(&self, what: What) -> bool {
        let (done, durable) = oneshot::channel();
        let ask = Ask::Append(Box::new(what.into()), Some(done));
        let durable = async { self.ask.send(ask).await.is_ok() && durable.await == Ok(true) };
        tokio::time::timeout(PATIENCE, durable).await.unwrap_or_else(|_| {
            self.state.failed("it takes too long");
            false
        })
    }

    /// Writes something down when there is time, without anybody waiting for it.
    pub(crate) fn note(&self, what: What) {
        if self.ask.try_send(Ask::Append(Box::new(what.into()), None)).is_err() {
            tracing::warn!(register = self.register, "a note for the journal was dropped");
        }
    }

    /// Ends the writer and lets the folder go.
    pub(crate) async fn close(&self) {
        let (done, closed) = oneshot::channel();
        if self.ask.send(Ask::Close(done)).await.is_ok() {
            let _ = tokio::time::timeout(PATIENCE, closed).await;
        }
    }

    pub(crate) fn status(&self) -> JournalStatus {
        JournalStatus {
            register: self.register.clone(),
            problem: self.state.problem(),
            entries: self.state.entries.load(Ordering::Relaxed),
            keys_end_at_ms: self.cards.ends_at_ms(),
        }
    }

    /// Looks after it, once in a while: newer keys of the officer, and those that end soon.
    fn look(&self, tells: bool) {
        let now_ms = self.clock.now_ms();
        if let Err(error) = self.cards.refresh(day_of(now_ms)) {
            tracing::error!(register = self.register, %error, "alarm: the officer's file is not taken");
        }
        // A journal that nobody needs just now recovers as well.
        if self.state.problem().is_some() && self.state.probes() {
            let _ = self.ask.try_send(Ask::Probe);
        }
        let end = End { what: "day keys", at_ms: self.cards.ends_at_ms() };
        for warning in expiry::warnings(now_ms, &[end]).into_iter().filter(|_| tells) {
            let days = warning.within_days;
            if warning.is_alarm() {
                tracing::error!(
                    register = self.register,
                    days,
                    "alarm: the journal's day keys end soon, and then nothing is revealed: have \
                     the officer run `einmal adapter officer renew` and send the new file"
                );
            } else {
                tracing::warn!(
                    register = self.register,
                    days,
                    "the journal's day keys end soon: have the officer run `einmal adapter officer \
                     renew` and send the new file"
                );
            }
        }
    }

    /// Deletes days whose time is over.
    fn forget(&self, before: u32) {
        match writer::forget(&self.folder, before) {
            Ok(days) if days.is_empty() => {}
            Ok(days) => tracing::info!(
                register = self.register,
                count = days.len(),
                "days of the journal were forgotten"
            ),
            Err(error) => tracing::error!(
                register = self.register, %error, "alarm: days of the journal cannot be forgotten"
            ),
        }
    }

    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    pub(crate) fn register(&self) -> &str {
        &self.register
    }
}

#[cfg(test)]
#[path = "journal_tests.rs"]
pub(crate) mod tests;
