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

use crate::admission::Figures;

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

/// Figures about who is let in.
#[derive(Clone, Debug, Default)]
struct AdmissionMetrics {
    at_once: Gauge<u64, AtomicU64>,
    waiting: Gauge<u64, AtomicU64>,
    turned_away: Gauge<u64, AtomicU64>,
}

impl AdmissionMetrics {
    fn register(&self, registry: &mut Registry) {
        let at_once =
            "Exchanges that the broker works on at once, at most; found by how long it takes";
        registry.register("admission_at_once", at_once, self.at_once.clone());
        registry.register("admission_waiting", "Requests that wait", self.waiting.clone());
        let turned_away = "Requests that were turned away since the start";
        registry.register("admission_turned_away", turned_away, self.turned_away.clone());
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
    admission: AdmissionMetrics,
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
        let admission = AdmissionMetrics::default();
        admission.register(registry);
        Self {
            registry: all,
            exchanges,
            common,
            seconds,
            unlogged_refusals,
            attached,
            in_flight,
            ledger_size,
            admission,
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

    /// Who is let in, waits, or is turned away.
    pub fn admission(&self, figures: Figures) {
        self.admission.at_once.set(figures.at_once as u64);
        self.admission.waiting.set(figures.waiting as u64);
        self.admission.turned_away.set(figures.turned_away);
    }

    /// The text that Prometheus reads.
    pub fn text(&self) -> String {
        figures::text([&self.registry])
    }
}
