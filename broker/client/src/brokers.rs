// SPDX-License-Identifier: EUPL-1.2
//! The brokers of the directory that write one ledger: which of them is asked, and which next. All
//! of them get the identical bytes; that an id is logged once (ONCE) makes that safe.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use einmal_peer::{
    Tls,
    dial::{self, MESSAGE_MAX, Target},
};
use einmal_policy::directory::DirectoryDocument;
use einmal_protocol::{Reason, wire::evidence::v1::evidence_service_client::EvidenceServiceClient};
use tokio::time::Instant;
use tonic::{Code, Response, Status, transport::Channel};
use tonic_types::StatusExt;

use crate::ClientError;

/// A broker that is gone or stops is asked last for this long.
const REST: Duration = Duration::from_secs(10);
/// A broker that says nothing of when to come again.
const SHORT_REST: Duration = Duration::from_millis(250);
/// No broker may send a client away for longer than this.
const REST_MAX: Duration = Duration::from_secs(30);

/// One broker and how it is.
#[derive(Clone)]
struct Way {
    address: String,
    channel: Channel,
    /// Before this moment others are asked first.
    rests_until: Option<Instant>,
}

/// All brokers that this client dialled so far, the configured one first.
pub(crate) struct Brokers {
    tls: Tls,
    trust_domain: String,
    configured: String,
    ways: Mutex<Vec<Way>>,
}

/// How often a question may be sent.
#[derive(Clone, Copy)]
pub(crate) enum Patience {
    /// Once to each broker, healthy ones first.
    Once,
    /// Until then, waiting as long as brokers ask to.
    Until(Instant),
}

/// What follows from a broker's error.
enum Course {
    /// It is the answer, whoever is asked.
    Ends,
    /// It is about this broker, now: after that time it may be asked again.
    Elsewhere(Duration),
}

impl Brokers {
    pub(crate) fn new(
        address: &str,
        trust_domain: &str,
        tls: Tls,
    ) -> Result<(Self, Channel), ClientError> {
        let target = Target::broker(address, trust_domain);
        let channel = dial::channel(&target, Arc::clone(&tls.client))?;
        let first =
            Way { address: address.to_owned(), channel: channel.clone(), rests_until: None };
        let (configured, trust_domain) = (address.to_owned(), trust_domain.to_owned());
        let brokers = Self { tls, trust_domain, configured, ways: Mutex::new(vec![first]) };
        Ok((brokers, channel))
    }

    /// The brokers of a ledger, those that do not rest first. The configured one is always among
    /// them: which ledger it writes it says itself.
    pub(crate) fn channels(
        &self,
        directory: &DirectoryDocument,
        ledger: Option<&str>,
    ) -> Vec<(String, Channel)> {
        self.of(directory, ledger).into_iter().map(|way| (way.address, way.channel)).collect()
    }

    fn of(&self, directory: &DirectoryDocument, ledger: Option<&str>) -> Vec<Way> {
        let mut ways = self.ways.lock().unwrap_or_else(PoisonError::into_inner);
        let is_of = |way: &Way| {
            way.address == self.configured
                || directory.brokers.iter().any(|broker| {
                    broker.address == way.address && ledger.is_none_or(|l| l == broker.ledger)
                })
        };
        for broker in &directory.brokers {
            if ways.iter().any(|way| way.address == broker.address) {
                continue;
            }
            let mut target = Target::broker(&broker.address, &self.trust_domain);
            target.id = Some(broker.id.clone());
            match dial::channel(&target, Arc::clone(&self.tls.client)) {
                Ok(channel) => {
                    ways.push(Way { address: broker.address.clone(), channel, rests_until: None })
                }
                Err(error) => tracing::warn!(broker = broker.id, %error, "cannot be dialled"),
            }
        }
        // Those that left the directory are dialled no more.
        ways.retain(|way| {
            way.address == self.configured
                || directory.brokers.iter().any(|broker| broker.address == way.address)
        });
        let mut found: Vec<Way> = ways.iter().filter(|way| is_of(way)).cloned().collect();
        let now = Instant::now();
        // Stable, so the configured one stays first among the healthy.
        found.sort_by_key(|way| way.rests_until.filter(|until| *until > now));
        found
    }

    fn rests(&self, address: &str, until: Option<Instant>) {
        let mut ways = self.ways.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(way) = ways.iter_mut().find(|way| way.address == address) {
            way.rests_until = until;
        }
    }

    /// Asks one broker after the other until one answers for all of them.
    pub(crate) async fn ask<T, F>(
        &self,
        directory: &DirectoryDocument,
        ledger: &str,
        patience: Patience,
        call: impl Fn(EvidenceServiceClient<Channel>) -> F,
    ) -> Result<T, ClientError>
    where
        F: Future<Output = Result<Response<T>, Status>>,
    {
        let mut last = None;
        loop {
            let ways = self.of(directory, Some(ledger));
            let count = ways.len();
            for (number, way) in ways.into_iter().enumerate() {
                let client = EvidenceServiceClient::new(way.channel.clone())
                    .max_decoding_message_size(MESSAGE_MAX);
                let answer = match patience {
                    Patience::Once => call(client).await,
                    Patience::Until(ends) => {
                        // The rest of the time is shared, so that one who never answers leaves
                        // some for the others.
                        let left = ends.saturating_duration_since(Instant::now());
                        let share = u32::try_from(count - number).unwrap_or(1).max(1);
                        if left.is_zero() {
                            return Err(last.unwrap_or(ClientError::Late));
                        }
                        match tokio::time::timeout(left / share, call(client)).await {
                            Ok(answer) => answer,
                            Err(_) => {
                                self.rests(&way.address, Some(Instant::now() + REST));
                                last = Some(ClientError::Late);
                                continue;
                            }
                        }
                    }
                };
                let status = match answer {
                    Ok(answer) => {
                        self.rests(&way.address, None);
                        return Ok(answer.into_inner());
                    }
                    Err(status) => status,
                };
                let Course::Elsewhere(rest) = course(&status) else { return Err(status.into()) };
                tracing::debug!(broker = way.address, code = %status.code(), "another is asked");
                self.rests(&way.address, Some(Instant::now() + rest));
                last = Some(status.into());
            }
            let Patience::Until(ends) = patience else {
                return Err(last.unwrap_or(ClientError::Late));
            };
            let next = self.of(directory, Some(ledger)).into_iter().map(|way| way.rests_until);
            let Some(next) = next.min().flatten().filter(|next| *next < ends) else {
                return Err(last.unwrap_or(ClientError::Late));
            };
            tokio::time::sleep_until(next).await;
        }
    }
}

/// What a broker's error says about asking another, and about asking it again.
fn course(status: &Status) -> Course {
    let error = ClientError::from(status.clone());
    let asked = || {
        let info = status.get_details_retry_info().and_then(|info| info.retry_delay);
        info.unwrap_or(SHORT_REST).min(REST_MAX)
    };
    match error.reason() {
        Some(Reason::Draining) => Course::Elsewhere(REST),
        Some(
            Reason::BrokerBusy
            | Reason::RegisterBusy
            | Reason::RegisterNotAttached
            | Reason::LedgerUnavailable
            | Reason::DenyListStale,
        ) => Course::Elsewhere(asked()),
        Some(_) => Course::Ends,
        // The connection's own end, which each version of the transport names otherwise.
        None if [Code::Unavailable, Code::Unknown, Code::Cancelled].contains(&status.code()) => {
            Course::Elsewhere(SHORT_REST)
        }
        None => Course::Ends,
    }
}
