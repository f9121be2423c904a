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
        Ok(Self { file: file.to_owned(), held: Mutex::new(held) })
    }

    /// The last one of a ledger.
    pub fn last(&self, origin: &str) -> Option<Checkpoint> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner).get(origin).cloned()
    }

    /// Remembers a checkpoint that was proven consistent with the last one, if it is larger.
    pub fn advance(&self, checkpoint: &Checkpoint) {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let last = held.get(checkpoint.origin()).map_or(0, Checkpoint::size);
        if checkpoint.size() > last {
            held.insert(checkpoint.origin().to_owned(), checkpoint.clone());
        }
    }

    /// Writes what is remembered. Called now and then and at the end: a file that is a little
    /// behind is still a point that every later checkpoint must extend.
    ///
    /// # Errors
    /// Where the file cannot be written.
    pub fn save(&self) -> Result<(), FileError> {
        let notes: HashMap<String, String> = {
            let held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
            held.iter().map(|(origin, seen)| (origin.clone(), seen.note().to_owned())).collect()
        };
        let bytes =
            serde_json::to_vec_pretty(&notes).map_err(|error| FileError::new(&self.file, error))?;
        files::replace(&self.file, &bytes)
    }
}
