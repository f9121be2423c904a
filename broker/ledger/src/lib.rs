// SPDX-License-Identifier: EUPL-1.2
//! The append-only Merkle log: tree, group commit, stores, tiles.
//!
//! [`Ledger::append`] answers only when the entry is durable and covered by a checkpoint that a
//! memory outside the database knows as well. If the ledger cannot know what is stored, it stops
//! (APPEND-ONLY). What it writes is a C2SP tlog-tiles log, which [`router`] serves and [`verify`]
//! re-derives from the bodies up.

mod config;
mod http;
mod ledger;
mod memory;
mod open;
mod path;
mod shelf;
mod sqlite;
pub mod store;
mod tile;
mod tree;
mod verify;
mod writer;

#[cfg(test)]
mod conformance;

pub use config::LedgerConfig;
pub use http::router;
pub use ledger::{AppendError, Found, Ledger, Logged, NewEntry, ReadError, StoredEntry};
pub use memory::MemoryError;
pub use open::OpenError;
pub use sqlite::{DatabaseError, SqliteOptions, SqliteStore};
pub use verify::{Report, VerifyError, verify, verify_store};
