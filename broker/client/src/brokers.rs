// SPDX-License-Identifier: EUPL-1.2
//! The brokers of one ledger: the identical bytes go to another where one is away, drains or has no
//! room. That is safe, because a request id is logged once, whichever broker it comes to (ONCE).

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use einmal_peer::{
    dial::{self, DialError, Target},
    random,
};
use einmal_policy::Directory;
use einmal_protocol::{Reason, reason::DOMAIN};
use rustls::ClientConfig;
use tokio::time::{Instant, sleep, timeout};
use tonic::{Code, Status, transport::Channel};
use tonic_types::StatusExt;

/// One that failed is tried after all others for this time.
const REST: Duration = Duration::from_secs(30);
/// A broker that takes a question and then says nothing is given up; it ends exchanges itself long
/// before.
const SILENCE: Duration = Duration::from_secs(120);
/// Between two rounds through all brokers: longer and longer, unless they say how long.
const PAUSE_MIN: Duration = Duration::from_millis(200);
const PAUSE_MAX: Duration = Duration::from_secs(5);
/// A directory may name more; a question does not go to all of them.
const TRIED_MAX: usize = 8;

/// Connections to brokers, made when first needed.
pub(crate) struct Brokers {
    /// Those of the configuration, the nearest first.
    named: Vec<String>,
    trust_domain: String,
    tls: Arc<ClientConfig>,
    held: Mutex<HashMap<String, Held>>,
}

struct Held {
    channel: Channel,
    rests_until: Option<Instant>,
}

/// Where a question can go.
#[derive(Clone)]
struct Way {
    address: String,
    channel: Channel,
}

impl Brokers {
    /// Brokers of these addresses, "https://host:port", and those that a directory will name.
    ///
    /// # Errors
    /// Where one is no address.
    pub(crate) fn new(
        named: Vec<String>,
        trust_domain: &str,
        tls: Arc<ClientConfig>,
    ) -> Result<Self, DialError> {
        let trust_domain = trust_domain.to_owned();
        let brokers = Self { named, trust_domain, tls, held: Mutex::default() };
        brokers.named.iter().try_for_each(|address| brokers.way(address).map(drop))?;
        Ok(brokers)
    }

    /// Those of the configuration.
    pub(crate) fn named(&self) -> Vec<String> {
        self.named.clone()
    }

    /// Those of the configuration, then those that the directory names for a ledger.
    pub(crate) fn of(&self, directory: &Directory, ledger: &str) -> Vec<String> {
        let brokers = directory.document().brokers.iter().filter(|broker| broker.ledger == ledger);
        let mut addresses = self.named();
        for broker in brokers {
            if !addresses.contains(&broker.address) {
                addresses.push(broker.address.clone());
            }
        }
        addresses
    }

    /// A connection to the first of them that did not fail lately.
    pub(crate) fn first(&self, addresses: &[String]) -> Result<Channel, Status> {
        let way = self.ways(addresses).into_iter().next();
        way.map(|way| way.channel).ok_or_else(none)
    }

    /// Asks these brokers, one after the other, until one answers, says something that
    /// another would say too, or `patience` is over; each of them once at least.
    ///
    /// # Errors
    /// What the last of them said.
    pub(crate) async fn ask<T, F: Future<Output = Result<T, Status>>>(
        &self,
        addresses: Vec<String>,
        patience: Duration,
        ask: impl Fn(Channel) -> F,
    ) -> Result<T, Status> {
        let until = Instant::now() + patience;
        let mut pause = PAUSE_MIN;
        loop {
            let (mut said, mut wait) = (None, None);
            for way in self.ways(&addresses) {
                let silent = |_| Err(Status::unavailable("the broker does not answer"));
                match timeout(SILENCE, ask(way.channel)).await.unwrap_or_else(silent) {
                    Ok(answer) => {
                        self.works(&way.address);
                        return Ok(answer);
                    }
                    Err(status) if another_may_help(&status) => {
                        if !is_of_the_register(&status) {
                            self.rests(&way.address);
                        }
                        let details = status.get_error_details();
                        wait = wait.max(details.retry_info().and_then(|info| info.retry_delay));
                        said = Some(status);
                    }
                    Err(status) => return Err(status),
                }
            }
            let said = said.unwrap_or_else(none);
            let next = wait.unwrap_or(pause) + jitter(pause);
            if Instant::now() + next >= until {
                return Err(said);
            }
            sleep(next).await;
            pause = (pause * 2).min(PAUSE_MAX);
        }
    }

    /// Connections to these, those that failed lately after the others.
    fn ways(&self, addresses: &[String]) -> Vec<Way> {
        let mut ways: Vec<(bool, Way)> = addresses
            .iter()
            .filter_map(|address| match self.way(address) {
                Ok(way) => Some(way),
                Err(error) => {
                    tracing::warn!(%error, "a broker of the directory cannot be dialled");
                    None
                }
            })
            .collect();
        ways.sort_by_key(|(rests, _)| *rests);
        ways.into_iter().map(|(_, way)| way).take(TRIED_MAX).collect()
    }

    /// A connection, and whether it failed lately.
    fn way(&self, address: &str) -> Result<(bool, Way), DialError> {
        let mut held = self.held();
        if !held.contains_key(address) {
            let target = Target::broker(address, &self.trust_domain);
            let channel = dial::channel(&target, Arc::clone(&self.tls))?;
            held.insert(address.to_owned(), Held { channel, rests_until: None });
        }
        let held = held.get(address).ok_or_else(|| DialError::Address(address.to_owned()))?;
        let rests = held.rests_until.is_some_and(|until| Instant::now() < until);
        Ok((rests, Way { address: address.to_owned(), channel: held.channel.clone() }))
    }

    fn works(&self, address: &str) {
        if let Some(held) = self.held().get_mut(address) {
            held.rests_until = None;
        }
    }

    fn rests(&self, address: &str) {
        if let Some(held) = self.held().get_mut(address) {
            held.rests_until = Some(Instant::now() + REST);
        }
    }

    fn held(&self) -> MutexGuard<'_, HashMap<String, Held>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn none() -> Status {
    Status::unavailable("no broker is known")
}

fn reason(status: &Status) -> Option<Reason> {
    let details = status.get_error_details();
    let info = details.error_info().filter(|info| info.domain == DOMAIN)?;
    Reason::parse(&info.reason)
}

/// The broker did its part.
fn is_of_the_register(status: &Status) -> bool {
    matches!(reason(status), Some(Reason::RegisterBusy | Reason::RegisterNotAttached))
}

/// Whether another broker may answer what this one did not; or the same one a little later.
fn another_may_help(status: &Status) -> bool {
    match reason(status) {
        Some(reason) => matches!(
            reason,
            Reason::Draining
                | Reason::BrokerBusy
                | Reason::RegisterBusy
                | Reason::RegisterNotAttached
                | Reason::LedgerUnavailable
                | Reason::DenyListStale
        ),
        // It did not come to our part of the broker, or not back from there: the connection failed.
        None => matches!(
            status.code(),
            Code::Unavailable | Code::Unknown | Code::Cancelled | Code::Internal
        ),
    }
}

/// Up to a half, so that those who were turned away together do not come back together.
fn jitter(pause: Duration) -> Duration {
    let share = random::bytes::<1>().map_or(0, |[byte]| byte);
    pause * u32::from(share) / 512
}

#[cfg(test)]
#[path = "brokers_tests.rs"]
mod tests;
