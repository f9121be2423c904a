// SPDX-License-Identifier: EUPL-1.2
//! The keeper's figures. They name nobody, and say nothing of any one day.

use std::sync::Arc;

use einmal_peer::{
    Tls, TrustStore,
    figures::{Common, Later, Shown},
};
use einmal_protocol::time::day_of;
use prometheus_client::{metrics::gauge::Gauge, registry::Registry};

use super::{Desk, Keeper};

/// What is looked at when somebody asks.
pub(crate) struct Figures {
    keeper: Keeper,
    trust: Arc<TrustStore>,
    tls: Tls,
    registry: Registry,
    common: Common,
    ledger_size: Gauge,
    alarms: Gauge,
    forks: Gauge,
    waiting: Gauge,
    oldest_key: Gauge,
    retention: Gauge,
    keys_ahead: Gauge,
}

impl Figures {
    pub(crate) fn new(keeper: Keeper, trust: Arc<TrustStore>, tls: Tls) -> Self {
        let (mut registry, common) = Common::begin();
        let own = registry.sub_registry_with_prefix("keeper");
        let mut gauge = |name: &str, help: &str| {
            let gauge = Gauge::default();
            own.register(name, help, gauge.clone());
            gauge
        };
        Self {
            ledger_size: gauge("ledger_size", "Leaves verified and indexed"),
            alarms: gauge("alarms", "Open alarms"),
            forks: gauge("forks", "Proofs that the ledger showed two histories"),
            waiting: gauge("checkpoints_waiting", "Checkpoints handed in, not compared yet"),
            oldest_key: gauge("oldest_key_age_days", "Age of the oldest day key"),
            retention: gauge("retention_days", "For how long the rules say that records are kept"),
            keys_ahead: gauge("keys_ahead_days", "Days from now on that have their key"),
            keeper,
            trust,
            tls,
            registry,
            common,
        }
    }

    async fn set(&self) -> Result<(), &'static str> {
        let now_ms = self.keeper.clock.now_ms();
        let count = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
        let today = day_of(now_ms);
        let keys = self.keeper.ring.since(0);
        let oldest = keys.first().map_or(today, |key| key.day);
        self.oldest_key.set(i64::from(today.saturating_sub(oldest)));
        let newest = keys.last().map_or(today, |key| key.day);
        self.keys_ahead.set(i64::from(newest) - i64::from(today));
        self.retention.set(i64::from(self.keeper.retention.days()));
        let told = self.common.tell(now_ms, (&self.trust.current(), self.tls.ends_at_ms()));
        let standing = Desk::of(&self.keeper).standing().await;
        let standing = standing.map_err(|_| "the index cannot be read")?;
        self.ledger_size.set(i64::try_from(standing.complete_up_to).unwrap_or(i64::MAX));
        self.alarms.set(count(standing.alarms.len()));
        self.forks.set(count(standing.forks.len()));
        self.waiting.set(i64::try_from(standing.waiting).unwrap_or(i64::MAX));
        told
    }
}

impl Shown for Figures {
    fn look(&self) -> Later<'_, Result<(), &'static str>> {
        Box::pin(self.set())
    }

    fn registry(&self) -> &Registry {
        &self.registry
    }
}
