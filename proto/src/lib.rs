// SPDX-License-Identifier: EUPL-1.2
//! What travels between authority, broker, register and keeper: messages, envelopes, sealing,
//! leaves and proofs. Pure: no clock, file, socket or randomness; those come in as arguments.
//! Old signatures must verify for ever, so every signed or hashed form is pinned by golden bytes.

pub mod batch;
pub mod commitment;
pub mod cosignature;
pub mod digest;
pub mod entropy;
pub mod envelope;
pub mod evidence;
pub mod key;
pub mod leaf;
pub mod merkle;
pub mod note;
pub mod pad;
pub mod permit;
pub mod person;
pub mod reason;
pub mod receipt;
pub mod record;
mod redact;
pub mod request;
pub mod request_id;
pub mod seal;
pub mod time;
pub mod tlog_proof;
mod vkey;
pub mod wire;

pub use digest::Digest;
pub use reason::Reason;
pub use request_id::RequestId;
