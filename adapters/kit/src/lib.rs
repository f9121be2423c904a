// SPDX-License-Identifier: EUPL-1.2
//! The register's side of the exchange: verify, decide again, commit, check the log, reveal.

pub mod register;

pub use register::{Answer, Found, Query, Register, RegisterFault};
