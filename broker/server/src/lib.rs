// SPDX-License-Identifier: EUPL-1.2
//! The broker: it decides, routes and logs what it cannot read. [`exchange`] tells the whole
//! story in one function; everything else in this crate is a leaf of it.

pub mod admission;
pub mod attachment;
pub mod attachments;
pub mod authenticate;
pub mod caller;
pub mod config;
mod ending;
pub mod exchange;
pub mod forget;
pub mod keeper_memory;
pub mod metrics;
pub mod notice;
pub mod open_ledger;
mod outlier;
pub mod publishers;
mod receipts;
pub mod refusal;
pub mod serve;
mod services;
pub mod shared;
pub mod status;
pub mod use_report;
pub mod window;

use std::sync::{Arc, atomic::AtomicBool};

use einmal_ledger::Ledger;
use einmal_peer::{Cards, Clock, TrustStore};
use tokio::sync::Semaphore;

pub use config::{BrokerConfig, Limits};
pub use serve::{Running, ServeError, start};

/// Everything that one broker is made of. Shared by all exchanges.
pub struct Broker {
    /// Origin of the ledger that it writes.
    pub origin: String,
    /// The time.
    pub clock: Clock,
    /// Rules and directory, verified.
    pub trust: Arc<TrustStore>,
    /// Key cards of registers and keepers, to hand out.
    pub cards: Cards,
    /// Where everything is logged.
    pub ledger: Ledger,
    /// Adapters that dialled in.
    pub attachments: attachments::Attachments,
    /// Answers to identical retries.
    pub window: window::Window,
    /// Batch roots whose signature was checked.
    pub verified: authenticate::VerifiedBatches,
    /// What it shares with other brokers: quotas, retries, news.
    pub shared: shared::Shared,
    /// Who is worked on now, and who waits.
    pub admission: Arc<admission::Admission>,
    /// How many exchanges may be in flight.
    pub in_flight: Arc<Semaphore>,
    /// How many may read bodies at once.
    pub readers: Arc<Semaphore>,
    /// Who is publishing documents.
    pub publishers: publishers::Publishers,
    /// Set once this broker is about to stop.
    pub draining: AtomicBool,
    /// All limits.
    pub limits: Limits,
    /// Figures for the operator.
    pub metrics: metrics::Metrics,
}

impl std::fmt::Debug for Broker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Broker({})", self.origin)
    }
}
