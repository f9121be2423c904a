// SPDX-License-Identifier: EUPL-1.2
//! The demo's world at work: one broker, an adapter for each operator, the cockpit; real mTLS on
//! the loopback, all in one process.

use std::{path::Path, sync::Arc, time::Duration};

use einmal_adapter_kit::Adapter;
use einmal_client::Client;
use einmal_peer::Clock;
use tokio_util::sync::CancellationToken;

use super::plan::Plan;
use crate::{Exit, adapter, broker, cockpit, online::Online, request};

/// How long everybody may take to find everybody.
const READY: Duration = Duration::from_secs(20);

/// A running world.
pub struct House {
    /// What it was made from.
    pub plan: Plan,
    /// The broker.
    pub broker: einmal_broker::Running,
    /// The adapters.
    pub adapters: Vec<Adapter>,
    /// The cockpit.
    pub cockpit: einmal_cockpit::serve::Running,
    /// What keeps the deny list fresh.
    pub online: Arc<Online>,
    /// Ends that.
    pub stop: CancellationToken,
    /// The clock of all of them.
    pub clock: Clock,
}

impl House {
    /// Makes a world in an empty folder and starts it.
    ///
    /// # Errors
    /// Where a part does not start.
    pub async fn create(folder: &Path) -> Result<Self, Exit> {
        let clock = Clock::system();
        let plan = Plan::create(folder, &clock).await?;
        Self::start(plan, clock).await
    }

    /// Starts a world that was made before, and waits until every register is attached.
    ///
    /// # Errors
    /// Where a part does not start.
    pub async fn start(plan: Plan, clock: Clock) -> Result<Self, Exit> {
        let config = broker::read(&plan.config("broker"))?;
        let broker = einmal_broker::start(&config, clock.clone()).await.map_err(Exit::failed)?;
        let online = Arc::new(Online::open(&plan.config("publisher"), clock.clone()).await?);
        online.sign().await?;
        let stop = CancellationToken::new();
        tokio::spawn(Arc::clone(&online).run(stop.clone()));
        let cockpit = cockpit::start(&plan.config("cockpit"), clock.clone()).await?;
        let mut adapters = Vec::new();
        for config in &plan.adapters {
            adapters.push(adapter::start(config, clock.clone()).await?);
        }
        let house = Self { plan, broker, adapters, cockpit, online, stop, clock };
        house.ready().await?;
        Ok(house)
    }

    /// Waits until every register is attached.
    ///
    /// # Errors
    /// Names one that is not.
    pub async fn ready(&self) -> Result<(), Exit> {
        let attachments = &self.broker.broker.attachments;
        let missing = || self.plan.registers.iter().find(|register| !attachments.has(&register.id));
        let wait = async {
            while missing().is_some() {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        if tokio::time::timeout(READY, wait).await.is_err() {
            let id = missing().map(|register| register.id.clone()).unwrap_or_default();
            return Err(Exit::failed(format!("the register `{id}` did not attach")));
        }
        Ok(())
    }

    /// The parental-allowance office's client.
    ///
    /// # Errors
    /// Where it cannot connect.
    pub async fn client(&self) -> Result<Client, Exit> {
        request::connect(&self.plan.config("client"), self.clock.clone()).await
    }

    /// Another authority's client.
    ///
    /// # Errors
    /// Where it cannot connect.
    pub async fn other_client(&self) -> Result<Client, Exit> {
        request::connect(&self.plan.config("client-other"), self.clock.clone()).await
    }

    /// Ends everything, adapters first.
    pub async fn stop(self) {
        self.stop.cancel();
        for adapter in self.adapters {
            adapter.stop().await;
        }
        self.cockpit.stop().await;
        self.broker.stop().await;
    }
}
