// SPDX-License-Identifier: EUPL-1.2
//! An adapter's figures: sums over all its registers. Which register it was stands in the log and
//! nowhere here, and how long one exchange took must not tell what was found.

use std::sync::Arc;

use einmal_peer::figures::{Common, Later, Shown};
use einmal_protocol::Reason;
use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::Registry,
};

use crate::adapter::Shared;

/// How an exchange ended.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Ended {
    /// "revealed", "refused", "failed", "unlogged", "withheld" or "cut".
    result: &'static str,
    /// The stable reason of a refusal or failure; else empty.
    reason: &'static str,
}

/// Counts how exchanges end.
#[derive(Clone, Debug, Default)]
pub(crate) struct Exchanges(Family<Ended, Counter>);

/// One exchange. However it ends, it is counted once: cut, if nobody said anything else.
pub(crate) struct Told<'e> {
    exchanges: &'e Exchanges,
    ended: Ended,
}

impl Exchanges {
    pub(crate) fn begin(&self) -> Told<'_> {
        Told { exchanges: self, ended: Ended { result: "cut", reason: "" } }
    }
}

impl Told<'_> {
    /// The request may not, or we failed.
    pub(crate) fn declined(&mut self, result: &'static str, reason: Reason) {
        self.ended = Ended { result, reason: reason.as_str() };
    }

    /// It was committed to; that is how far it came.
    pub(crate) fn came_to(&mut self, result: &'static str) {
        self.ended = Ended { result, reason: "" };
    }
}

impl Drop for Told<'_> {
    fn drop(&mut self) {
        self.exchanges.0.get_or_create(&self.ended).inc();
    }
}

/// What is looked at when somebody asks.
pub(crate) struct Figures {
    shared: Arc<Shared>,
    registry: Registry,
    common: Common,
    brokers: Gauge,
    streams: Gauge,
    in_flight: Gauge,
    unproven: Gauge,
    lookups: Gauge,
    lookups_max: Gauge,
    registers: Gauge,
    paused: Gauge,
    journals_failing: Gauge,
}

impl Figures {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        let (mut registry, common) = Common::begin();
        let own = registry.sub_registry_with_prefix("adapter");
        own.register("exchanges", "Exchanges by how they ended", shared.told.0.clone());
        let mut gauge = |name: &str, help: &str| {
            let gauge = Gauge::default();
            own.register(name, help, gauge.clone());
            gauge
        };
        Self {
            brokers: gauge("brokers", "Brokers of the directory"),
            streams: gauge("streams", "Streams to brokers"),
            in_flight: gauge("in_flight", "Exchanges at this moment"),
            unproven: gauge("unproven", "Commitments that wait for their proof"),
            lookups: gauge("lookups", "Lookups at this moment"),
            lookups_max: gauge("lookups_max", "Lookups that there may be at once"),
            registers: gauge("registers", "Registers that it speaks for"),
            paused: gauge("registers_paused", "Registers of which a source is left alone"),
            journals_failing: gauge("journals_failing", "Journals that cannot be written"),
            shared,
            registry,
            common,
        }
    }

    fn set(&self) -> Result<(), &'static str> {
        let Shared { trust, tls, clock, nodes, .. } = &*self.shared;
        let set = |gauge: &Gauge, count: usize| {
            gauge.set(i64::try_from(count).unwrap_or(i64::MAX));
        };
        let trust = trust.current();
        let (mut lookups, mut lookups_max, mut paused, mut failing) = (0, 0, 0, 0);
        for node in nodes.values() {
            let state = node.bulkhead.state();
            lookups += state.lookups;
            lookups_max += state.lookups_max;
            paused += usize::from(!state.breakers.is_empty());
            let journal = node.journal.as_ref();
            failing +=
                usize::from(journal.is_some_and(|journal| journal.status().problem.is_some()));
        }
        set(&self.brokers, trust.directory.document().brokers.len());
        set(&self.streams, self.shared.streams.now());
        set(&self.in_flight, self.shared.exchanges.now());
        set(&self.unproven, self.shared.unproven.now());
        set(&self.lookups, lookups);
        set(&self.lookups_max, lookups_max);
        set(&self.registers, nodes.len());
        set(&self.paused, paused);
        set(&self.journals_failing, failing);
        let ends_at_ms = tls.borrow().ends_at_ms();
        self.common.tell(clock.now_ms(), (&trust, ends_at_ms))?;
        if self.shared.streams.now() == 0 {
            return Err("no broker is attached");
        }
        Ok(())
    }
}

impl Shown for Figures {
    fn look(&self) -> Later<'_, Result<(), &'static str>> {
        Box::pin(async { self.set() })
    }

    fn registry(&self) -> &Registry {
        &self.registry
    }
}
