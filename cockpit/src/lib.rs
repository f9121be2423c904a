// SPDX-License-Identifier: EUPL-1.2
//! The cockpit: keeper of day keys and index, and the pages citizens read.
//!
//! The two halves share no state. The keeper holds the day keys, follows the ledger, opens access
//! records and finds them again by blind tags; the pages hold no key and ask the keeper over
//! gRPC, in one process or in two.

pub mod config;
pub mod export;
pub mod finding;
pub mod keeper;
pub mod login;
pub mod pages;
pub mod serve;
pub mod trusted;
