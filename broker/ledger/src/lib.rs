// SPDX-License-Identifier: EUPL-1.2
//! The append-only Merkle log: tree, group commit, stores, tiles.
//!
//! [`Ledger::append`] answers only when the entry is durable and covered by a checkpoint that a
//! memory outside the database knows as well. If the ledger cannot know what is stored, it stops
//! (APPEND-ONLY). What it writes is a C2SP tlog-tiles log, which [`router`] serves and [`verify`]
//! re-derives from the bodies up.

mod batch;
mod config;
mod distant;
mod entry;
mod follow;
mod foreign;
mod http;
mod ledger;
mod memory;
mod open;
mod path;
mod postgres;
mod shelf;
mod sign;
mod sqlite;
pub mod store;
mod tile;
mod tree;
mod verify;
mod witness;
mod writer;

#[cfg(test)]
mod conformance;

pub use config::LedgerConfig;
pub use distant::{Distant, DistantFault, DistantMemory, Need};
pub use entry::{AppendError, Found, Logged, NewEntry, ReadError};
pub use foreign::{
    DirSource, Fetching, ForeignError, ForeignReport, SourceError, TileSource, verify_tiles,
};
pub use http::router;
pub use ledger::{Ledger, StoredEntry};
pub use memory::MemoryError;
pub use open::OpenError;
pub use path::TilePath;
pub use postgres::{PostgresOptions, PostgresOptionsError, PostgresStore};
pub use sqlite::{DatabaseError, SqliteOptions, SqliteStore};
pub use verify::{Report, VerifyError, remembered, verify, verify_store};
pub use witness::{Added, Witness, WitnessFault, Witnesses};
