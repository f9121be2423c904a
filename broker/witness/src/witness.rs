// SPDX-License-Identifier: EUPL-1.2
//! The witness itself: checks, remembers, cosigns; under one lock a ledger, so that no two
//! requests can both be the next.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use einmal_peer::{Clock, files, files::FileError};
use einmal_protocol::{
    cosignature::{Cosigner, WitnessKey, cosignatures, with_cosignatures},
    merkle,
    note::{Checkpoint, LedgerKey, NoteError, claimed_origin},
};

use crate::{
    config::WitnessConfig,
    request::AddCheckpoint,
    state::{Folder, StateError, name_of},
};

/// What a witness says to a request. Each is one HTTP status.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// 200: signature lines.
    Cosigned(String),
    /// 400.
    Malformed(&'static str),
    /// 403: not signed by the ledger's key.
    NotSigned,
    /// 404: nobody told the witness about this ledger.
    UnknownLog,
    /// 409: the witness knows another size.
    Conflict {
        /// This one; 0 where none yet.
        size: u64,
    },
    /// 422: the ledger did not only grow, or the proof is wrong.
    Inconsistent,
    /// 500: what it remembers could not be written. It says no more about this ledger until it
    /// is started again.
    Fenced,
}

/// Cosigns checkpoints.
#[derive(Debug)]
pub struct Witness {
    cosigner: Cosigner,
    clock: Clock,
    folder: Folder,
    logs: HashMap<String, Log>,
    /// Origins by the hash that monitors ask with.
    origins: HashMap<String, String>,
}

#[derive(Debug)]
struct Log {
    key: LedgerKey,
    memory: Mutex<Memory>,
}

#[derive(Debug)]
enum Memory {
    /// What was last cosigned, and when, in seconds since 1970.
    Known { newest: Option<Checkpoint>, time_s: u64 },
    /// A write failed: what is on the disk is not known.
    Lost,
}

/// Why a witness does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Its key cannot be read.
    #[error(transparent)]
    File(#[from] FileError),
    /// Its key or name is none.
    #[error("`name` and `key` do not make a witness's key: {0}")]
    Key(NoteError),
    /// A ledger's key is none.
    #[error("[[logs]] number {number}: {error}")]
    Log {
        /// Which, from 1.
        number: usize,
        /// What is wrong.
        error: NoteError,
    },
    /// A ledger stands there twice.
    #[error("[[logs]]: the ledger `{0}` stands there twice; one key each")]
    Twice(String),
    /// Its memory cannot be used.
    #[error(transparent)]
    State(#[from] StateError),
    /// The port cannot be had.
    #[error("{address}: {error}")]
    Port {
        /// Where it should listen.
        address: std::net::SocketAddr,
        /// Why not.
        error: std::io::Error,
    },
}

impl Witness {
    /// Reads key, ledgers and memory.
    ///
    /// # Errors
    /// Where any of them cannot be used.
    pub fn open(config: &WitnessConfig, clock: Clock) -> Result<Self, StartError> {
        let cosigner = Cosigner::new(&config.name, files::signing_key(&config.key)?)
            .map_err(StartError::Key)?;
        let folder = Folder::open(&config.state)?;
        let (mut logs, mut origins) = (HashMap::new(), HashMap::new());
        for (number, log) in (1..).zip(&config.logs) {
            let key =
                LedgerKey::parse(&log.vkey).map_err(|error| StartError::Log { number, error })?;
            let origin = key.name().to_owned();
            let newest = folder.newest(&key)?;
            let own = std::slice::from_ref(cosigner.public());
            let said = newest.as_ref().map(|newest| cosignatures(newest, own));
            let time_s = said.and_then(|said| said.first().map(|said| said.time_s)).unwrap_or(0);
            let memory = Mutex::new(Memory::Known { newest, time_s });
            origins.insert(name_of(&origin), origin.clone());
            if logs.insert(origin.clone(), Log { key, memory }).is_some() {
                return Err(StartError::Twice(origin));
            }
        }
        Ok(Self { cosigner, clock, folder, logs, origins })
    }

    /// The public half of its key.
    pub fn key(&self) -> &WitnessKey {
        self.cosigner.public()
    }

    /// The newest checkpoint that was cosigned, by the hex SHA-256 of the ledger's origin.
    pub fn newest(&self, hash: &str) -> Option<Checkpoint> {
        match &*self.logs.get(self.origins.get(hash)?)?.lock() {
            Memory::Known { newest, .. } => newest.clone(),
            Memory::Lost => None,
        }
    }

    /// Answers a request. It writes files, so call it where blocking is allowed.
    pub fn add_checkpoint(&self, body: &[u8]) -> Verdict {
        let request = match AddCheckpoint::parse(body) {
            Ok(request) => request,
            Err(malformed) => return Verdict::Malformed(malformed.0),
        };
        let known = claimed_origin(&request.note).ok().and_then(|origin| self.logs.get(origin));
        let Some(log) = known else { return Verdict::UnknownLog };
        let Ok(checkpoint) = Checkpoint::parse(&request.note, &log.key) else {
            return Verdict::NotSigned;
        };
        if request.old_size > checkpoint.size() {
            return Verdict::Malformed("the old size is larger than the checkpoint's");
        }
        let mut memory = log.lock();
        let Memory::Known { newest, time_s } = &*memory else { return Verdict::Fenced };
        if let Some(newest) = newest {
            self.note_a_fork(newest, &checkpoint);
        }
        if let Err(refused) = check(newest.as_ref(), &request, &checkpoint) {
            return refused;
        }
        // A clock that goes back must not make an older tree look like the newest.
        let time_s = (self.clock.now_ms() / 1000).max(*time_s).max(1);
        let Ok((line, cosigned)) = self.cosign(&log.key, &checkpoint, time_s) else {
            return Verdict::Malformed("the checkpoint leaves no room for a cosignature");
        };
        if let Err(error) = self.folder.remember(&cosigned) {
            tracing::error!(%error, origin = checkpoint.origin(), "fenced: start the witness anew");
            *memory = Memory::Lost;
            return Verdict::Fenced;
        }
        *memory = Memory::Known { newest: Some(cosigned), time_s };
        Verdict::Cosigned(line)
    }

    /// The line, and the checkpoint with it and with the ledger's own; lines of others that came
    /// along are not ours to hand on.
    fn cosign(
        &self,
        log: &LedgerKey,
        checkpoint: &Checkpoint,
        time_s: u64,
    ) -> Result<(String, Checkpoint), NoteError> {
        let line = self.cosigner.cosign(checkpoint, time_s)?;
        let own = std::slice::from_ref(self.cosigner.public());
        let cosigned = with_cosignatures(&checkpoint.alone(log)?, &line, own)?;
        Ok((line, cosigned))
    }

    /// Two trees of one size, both signed: that no proof can ever mend.
    fn note_a_fork(&self, newest: &Checkpoint, other: &Checkpoint) {
        if newest.size() != other.size() || newest.root() == other.root() {
            return;
        }
        let (first, second) = (newest.note(), other.note());
        tracing::error!(origin = newest.origin(), first, second, "ALARM: this ledger has forked");
        if let Err(error) = self.folder.keep_fork(newest, other) {
            tracing::error!(%error, "the proof of a fork could not be kept");
        }
    }
}

impl Log {
    fn lock(&self) -> MutexGuard<'_, Memory> {
        // Memory changes in one assignment, so it is whole even after a panic elsewhere.
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether the ledger only grew since what was last cosigned.
fn check(
    newest: Option<&Checkpoint>,
    request: &AddCheckpoint,
    checkpoint: &Checkpoint,
) -> Result<(), Verdict> {
    let known = newest.map_or((0, merkle::empty_root()), |newest| (newest.size(), newest.root()));
    if request.old_size != known.0 {
        return Err(Verdict::Conflict { size: known.0 });
    }
    let new = (checkpoint.size(), checkpoint.root());
    if merkle::verify_consistency(known, new, &request.proof) {
        return Ok(());
    }
    tracing::warn!(
        origin = checkpoint.origin(),
        from = known.0,
        to = new.0,
        "a signed checkpoint came without a proof that it extends the one before"
    );
    Err(Verdict::Inconsistent)
}
