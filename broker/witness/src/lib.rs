// SPDX-License-Identifier: EUPL-1.2
//! Cosigns checkpoints of ledgers that only grow (c2sp.org/tlog-witness), so that a ledger cannot
//! show different trees to different people; and the client by which a ledger asks for that.
//!
//! A witness remembers one checkpoint a ledger, in a file, and writes it durably before it says
//! anything about it. It cannot notice by itself that its own files were put back to an older
//! state: whoever restores a witness from a backup starts a new one, with a new key.

mod client;
mod config;
mod request;
mod serve;
mod state;
mod witness;

pub use client::{ClientError, WitnessAnswer, WitnessClient};
pub use config::{LogConfig, WitnessConfig};
pub use request::{AddCheckpoint, BODY_MAX, Malformed, PROOF_MAX};
pub use serve::{Running, router, start};
pub use state::StateError;
pub use witness::{StartError, Verdict, Witness};
