// SPDX-License-Identifier: EUPL-1.2
//! Registers by configuration alone: databases and files of several kinds.
//!
//! A file in TOML says where a register's data lies, which columns a person is matched against
//! and how columns become fields of an evidence type ([`SourcesConfig`]). [`ConfiguredRegister`]
//! checks all of it against the evidence types and the real tables before it answers anything.
//!
//! What a kind of sources is, and how one is added, stands in `kinds.rs`.
//!
//! Sources are only read. Every query has bound parameters, a time limit and a row limit.
//! Matching runs over all people, blocked or not (IDNrG § 6 (4), (5)).

mod codes;
mod config;
mod csv_file;
mod csv_table;
mod dates;
mod draft;
mod fixed_width;
mod kinds;
mod late;
mod lines;
mod lookup;
mod mistake;
mod names;
mod numbers;
mod plan;
mod planner;
mod register;
mod rest;
mod schema;
mod sql;
mod values;

#[cfg(test)]
mod tests;

pub use config::{ConfigError, SourcesConfig};
pub use csv_file::BadLines;
pub use draft::{Draft, DraftError, draft};
pub use late::open_or_later;
pub use mistake::Mistake;
pub use names::folded;
pub use register::ConfiguredRegister;
