// SPDX-License-Identifier: EUPL-1.2
//! What a ledger is told before it starts.

use std::{path::PathBuf, time::Duration};

use einmal_protocol::note::is_origin;

use crate::{distant::Distant, witness::Witnesses};

/// Where a ledger lies and how much it takes at once.
#[derive(Clone, Debug)]
pub struct LedgerConfig {
    /// The ledger's name in every checkpoint: a schemaless URL. It never changes.
    pub origin: String,
    /// The SQLite database.
    pub database: PathBuf,
    /// The outside memory: a small file with the newest checkpoint that was signed. In production
    /// on another disk than the database and in none of its backups.
    pub memory: PathBuf,
    /// Start although the memory is missing and the ledger is not empty. Only after a person has
    /// made sure by other means (a keeper, a witness) that the database is not an old one.
    pub adopt_memory: bool,
    /// Who cosigns its checkpoints.
    pub witnesses: Witnesses,
    /// A memory on another machine, where there is one.
    pub distant: Option<Distant>,
    /// Less room than this on the database's disk, in bytes, and [`crate::Ledger::has_room`] says
    /// so: then nothing new is begun, while what is under way can still be logged.
    pub reserve_bytes: u64,
    /// How often to look what other processes have appended, where there are any.
    pub follow: Duration,
    /// At most this many entries in one commit, 1 to 1024.
    pub batch_max: usize,
    /// At most this many entries waiting, 1 to 65536, and 64 MiB of bodies; more are answered
    /// "busy" at once.
    pub queue_max: usize,
}

impl LedgerConfig {
    /// Most entries that one commit may take.
    pub const BATCH_LIMIT: usize = 1024;
    /// Most entries that may wait.
    pub const QUEUE_LIMIT: usize = 65_536;

    /// A configuration with the usual limits: 256 entries in a commit, 4096 waiting.
    pub fn new(origin: &str, database: impl Into<PathBuf>, memory: impl Into<PathBuf>) -> Self {
        Self {
            origin: origin.to_owned(),
            database: database.into(),
            memory: memory.into(),
            adopt_memory: false,
            witnesses: Witnesses::default(),
            distant: None,
            reserve_bytes: 256 << 20,
            follow: Duration::from_millis(500),
            batch_max: 256,
            queue_max: 4096,
        }
    }

    /// What is wrong with it, if anything.
    pub(crate) fn check(&self) -> Result<(), &'static str> {
        if !is_origin(&self.origin) {
            return Err("the origin is a schemaless URL without spaces and `+`");
        }
        if !(1..=Self::BATCH_LIMIT).contains(&self.batch_max) {
            return Err("batch_max is a number from 1 to 1024");
        }
        if !(1..=Self::QUEUE_LIMIT).contains(&self.queue_max) {
            return Err("queue_max is a number from 1 to 65536");
        }
        Ok(())
    }
}
