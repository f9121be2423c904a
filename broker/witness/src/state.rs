// SPDX-License-Identifier: EUPL-1.2
//! What a witness remembers: per ledger the newest checkpoint that it cosigned, one file each.
//! A file holds the old or the new note, never half of one, and is on stable storage when writing
//! it returns.

use std::{
    fs::{self, File, TryLockError},
    path::{Path, PathBuf},
};

use einmal_peer::files::{self, FileError};
use einmal_protocol::{
    Digest,
    note::{Checkpoint, LedgerKey, NoteError},
};

/// So many proofs of forks are kept for one ledger: the first say all there is to say.
const FORKS_MAX: usize = 64;

/// The folder, which no other process may use at the same time.
#[derive(Debug)]
pub(crate) struct Folder {
    path: PathBuf,
    _lock: File,
}

/// Why a witness's memory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// A file cannot be read or written.
    #[error(transparent)]
    File(#[from] FileError),
    /// Another witness runs on it: two would contradict each other.
    #[error("{}: another process uses this folder; stop it first", .0.display())]
    InUse(PathBuf),
    /// What is there is not what a witness wrote.
    #[error(
        "{}: not a checkpoint signed by this ledger's key: {error}; find out who changed it, and \
         do not delete it: the witness would cosign any tree afterwards", path.display()
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        error: NoteError,
    },
}

/// The name under which a ledger is asked for: the SHA-256 of its origin, in hex.
pub(crate) fn name_of(origin: &str) -> String {
    Digest::of(origin.as_bytes()).to_hex()
}

impl Folder {
    pub(crate) fn open(path: &Path) -> Result<Self, StateError> {
        let failed = |error: std::io::Error| FileError::new(path, error);
        fs::create_dir_all(path).map_err(failed)?;
        let lock = File::create(path.join("lock")).map_err(failed)?;
        match lock.try_lock() {
            Ok(()) => Ok(Self { path: path.to_owned(), _lock: lock }),
            Err(TryLockError::WouldBlock) => Err(StateError::InUse(path.to_owned())),
            Err(TryLockError::Error(error)) => Err(failed(error).into()),
        }
    }

    fn file_of(&self, origin: &str) -> PathBuf {
        self.path.join("logs").join(format!("{}.checkpoint", name_of(origin)))
    }

    /// The newest checkpoint of a ledger; nothing where there was none yet.
    pub(crate) fn newest(&self, log: &LedgerKey) -> Result<Option<Checkpoint>, StateError> {
        let path = self.file_of(log.name());
        let Some(bytes) = files::read_if_there(&path)? else { return Ok(None) };
        let text = String::from_utf8(bytes).map_err(|_| NoteError::Form);
        match text.and_then(|note| Checkpoint::parse(&note, log)) {
            Ok(checkpoint) => Ok(Some(checkpoint)),
            Err(error) => Err(StateError::Damaged { path, error }),
        }
    }

    /// Remembers a checkpoint: durable when this returns.
    pub(crate) fn remember(&self, checkpoint: &Checkpoint) -> Result<(), FileError> {
        files::replace(&self.file_of(checkpoint.origin()), checkpoint.note().as_bytes())
    }

    /// Keeps two notes that contradict each other. Nothing where there are enough of this ledger.
    pub(crate) fn keep_fork(
        &self,
        first: &Checkpoint,
        second: &Checkpoint,
    ) -> Result<Option<PathBuf>, FileError> {
        let folder = self.path.join("forks");
        let failed = |error: std::io::Error| FileError::new(&folder, error);
        fs::create_dir_all(&folder).map_err(failed)?;
        let of_log = name_of(first.origin());
        let mut kept = 0;
        for entry in fs::read_dir(&folder).map_err(failed)? {
            let name = entry.map_err(failed)?.file_name();
            kept += usize::from(name.to_string_lossy().starts_with(&of_log));
        }
        if kept >= FORKS_MAX {
            return Ok(None);
        }
        let root: String = second.root().to_hex().chars().take(16).collect();
        let path = folder.join(format!("{of_log}-{}-{root}.txt", first.size()));
        let text = format!(
            "Two trees of one size, both signed by the key of the ledger {}.\n\n\
             === the one that was cosigned\n{}\n=== the other\n{}",
            first.origin(),
            first.note(),
            second.note()
        );
        files::replace(&path, text.as_bytes())?;
        Ok(Some(path))
    }
}
