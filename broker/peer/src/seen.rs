// SPDX-License-Identifier: EUPL-1.2
//! The last checkpoint of each ledger that a party saw, kept in a file: what a new checkpoint
//! must be consistent with, after a restart too. So nobody is shown two histories.

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

use einmal_policy::Directory;
use einmal_protocol::note::Checkpoint;

use crate::files::{self, FileError};

/// Remembers checkpoints by ledger.
#[derive(Debug)]
pub struct Seen {
    file: PathBuf,
    held: Mutex<HashMap<String, Checkpoint>>,
    /// One writer of the file at a time.
    saving: Mutex<()>,
}

impl Seen {
    /// Reads the file, where there is one. Checkpoints are verified with the directory's keys.
    ///
    /// # Errors
    /// Where the file cannot be read, or a checkpoint in it is not a ledger's.
    pub fn open(file: &Path, directory: &Directory) -> Result<Self, FileError> {
        let mut held = HashMap::new();
        if let Some(bytes) = files::read_if_there(file)? {
            let notes: HashMap<String, String> =
                serde_json::from_slice(&bytes).map_err(|error| FileError::new(file, error))?;
            for (origin, note) in notes {
                // A ledger that left the directory is of no use any more.
                if let Some(ledger) = directory.ledger(&origin) {
                    let checkpoint = Checkpoint::parse(&note, &ledger.key)
                        .map_err(|error| FileError::new(file, error))?;
                    held.insert(origin, checkpoint);
                }
            }
        }
        Ok(Self { file: file.to_owned(), held: Mutex::new(held), saving: Mutex::default() })
    }

    /// The last one of a ledger.
    pub fn last(&self, origin: &str) -> Option<Checkpoint> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner).get(origin).cloned()
    }

    /// Remembers a checkpoint that was proven consistent with the last one when its question was
    /// asked, if it is larger. Answers overtake one another, so it may be smaller meanwhile.
    ///
    /// # Errors
    /// Where there are two roots of one size: two histories.
    pub fn advance(&self, checkpoint: &Checkpoint) -> Result<(), TwoHistories> {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        match held.get(checkpoint.origin()) {
            Some(last) if last.size() == checkpoint.size() && last.root() != checkpoint.root() => {
                tracing::error!(
                    one = last.note(),
                    other = checkpoint.note(),
                    "alarm: the ledger shows two histories"
                );
                Err(TwoHistories { size: last.size() })
            }
            Some(last) if last.size() >= checkpoint.size() => Ok(()),
            _ => {
                held.insert(checkpoint.origin().to_owned(), checkpoint.clone());
                Ok(())
            }
        }
    }

    /// Writes what is remembered. Called now and then and at the end: a file that is a little
    /// behind is still a point that every later checkpoint must extend.
    ///
    /// # Errors
    /// Where the file cannot be written.
    pub fn save(&self) -> Result<(), FileError> {
        let _alone = self.saving.lock().unwrap_or_else(PoisonError::into_inner);
        let notes: HashMap<String, String> = {
            let held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
            held.iter().map(|(origin, seen)| (origin.clone(), seen.note().to_owned())).collect()
        };
        let bytes =
            serde_json::to_vec_pretty(&notes).map_err(|error| FileError::new(&self.file, error))?;
        files::replace(&self.file, &bytes)
    }
}

/// Two checkpoints of one ledger that contradict each other. The log line holds both as proof.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("the ledger signed two different trees of size {size}")]
pub struct TwoHistories {
    size: u64,
}
