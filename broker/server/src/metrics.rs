// SPDX-License-Identifier: EUPL-1.2
//! Figures for the operator, in Prometheus' text format. No label ever holds a person, a request
//! or free text.

use std::{sync::atomic::AtomicU64, time::Duration};

use einmal_peer::figures::{self, Common};
use einmal_policy::Trust;
use einmal_protocol::Reason;
use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{
        counter::Counter,
        family::Family,
        gauge::Gauge,
        histogram::{Histogram, exponential_buckets},
    },
    registry::Registry,
};

/// How exchanges ended.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub struct Ended {
    /// "answered", "refused" or "failed".
    result: &'static str,
    /// The stable reason; empty for an answer.
    reason: &'static str,
}

/// How an operation on what brokers share ended.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Operation {
    /// "claim", "settle", "take", "announce" or "hear".
    operation: &'static str,
    /// "done", "away" or "unbelievable".
    result: &'static str,
}

/// Figures about Redis.
#[derive(Clone, Debug, Default)]
pub struct SharedMetrics {
    /// 1 while it works, 0 while it is away or there is none.
    pub up: Gauge,
    operations: Family<Operation, Counter>,
}

impl SharedMetrics {
    /// Counts an operation.
    pub fn count(&self, operation: &'static str, result: &'static str) {
        self.operations.get_or_create(&Operation { operation, result }).inc();
    }

    fn register(&self, registry: &mut Registry) {
        registry.register("shared_up", "Whether Redis works", self.up.clone());
        registry.register(
            "shared_operations",
            "Operations on what brokers share, by how they ended",
            self.operations.clone(),
        );
    }
}

/// All figures.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    exchanges: Family<Ended, Counter>,
    common: Common,
    seconds: Histogram,
    /// Refusals before a good signature, and over the quota: counted, not logged.
    pub unlogged_refusals: Counter,
    /// Streams of adapters.
    pub attached: Gauge,
    /// Exchanges at this moment.
    pub in_flight: Gauge,
    /// Leaves in the ledger.
    pub ledger_size: Gauge<u64, AtomicU64>,
    /// What is shared with other brokers.
    pub shared: SharedMetrics,
}

impl Default for Metrics {
    fn default() -> Self {
        let (mut all, common) = Common::begin();
        let registry = all.sub_registry_with_prefix("broker");
        let exchanges = Family::<Ended, Counter>::default();
        let seconds = Histogram::new(exponential_buckets(0.0005, 2.0, 16));
        let (unlogged_refusals, attached, in_flight, ledger_size) =
            (Counter::default(), Gauge::default(), Gauge::default(), Gauge::default());
        registry.register("exchanges", "Exchanges by how they ended", exchanges.clone());
        registry.register("exchange_seconds", "Duration of answered exchanges", seconds.clone());
        registry.register(
            "unlogged_refusals",
            "Refusals without a good signature or over the quota",
            unlogged_refusals.clone(),
        );
        registry.register("attached", "Streams of adapters", attached.clone());
        registry.register("in_flight", "Exchanges at this moment", in_flight.clone());
        registry.register("ledger_size", "Leaves in the ledger", ledger_size.clone());
        let shared = SharedMetrics::default();
        shared.register(registry);
        Self {
            registry: all,
            exchanges,
            common,
            seconds,
            unlogged_refusals,
            attached,
            in_flight,
            ledger_size,
            shared,
        }
    }
}

impl Metrics {
    /// An exchange was answered.
    pub fn answered(&self, took: Duration) {
        self.exchanges.get_or_create(&Ended { result: "answered", reason: "" }).inc();
        self.seconds.observe(took.as_secs_f64());
    }

    /// An exchange was refused or failed.
    pub fn ended(&self, reason: Reason) {
        let result = if reason.is_refusal() { "refused" } else { "failed" };
        self.exchanges.get_or_create(&Ended { result, reason: reason.as_str() }).inc();
    }

    /// How long root, rules, directory, certificate and deny list are good still.
    ///
    /// # Errors
    /// Where one of them is over.
    pub fn expire(&self, now_ms: u64, held: (&Trust, u64)) -> Result<(), &'static str> {
        self.common.tell(now_ms, held)
    }

    /// The figures.
    pub fn registry(&self) -> &Registry {
        &self.registry
    }

    /// The text that Prometheus reads.
    pub fn text(&self) -> String {
        figures::text([&self.registry])
    }
}
