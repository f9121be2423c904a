// SPDX-License-Identifier: EUPL-1.2
//! The register's side of the exchange: verify, decide again, commit, check the log, reveal.
//! A custom adapter writes [`Register`] and calls [`start`]; everything else is done here.

pub mod adapter;
mod answer;
mod attach;
mod breaker;
mod bulkhead;
mod certificate;
mod counted;
mod exchange;
mod figures;
pub mod journal;
mod limiter;
mod node;
mod outgoing;
pub mod register;
mod replay;
mod sealing;
pub mod settings;
mod spent;
mod streams;

pub use adapter::{Adapter, AdapterSetup, RegisterSetup, StartError, start};
pub use breaker::BreakerState;
pub use bulkhead::{RegisterLimits, RegisterState};
pub use counted::Counts;
pub use journal::{JournalSetup, JournalStatus};
pub use register::{Answer, Found, Query, Register, RegisterFault};
pub use spent::{Phase, Taken};
