// SPDX-License-Identifier: EUPL-1.2
//! What a keeper does by itself: follows the ledger, keeps trust and key card fresh, forgets.

use std::{collections::HashMap, sync::Arc, time::Duration};

use einmal_peer::{
    Clock, Tls, TrustStore,
    cards::publish,
    dial::{self, Target},
};
use einmal_protocol::{
    time::{day_of, day_to_iso},
    wire::ledger::v1::{TailEntriesRequest, ledger_service_client::LedgerServiceClient},
};
use tokio_util::sync::CancellationToken;
use tonic::transport::Channel;

use super::RENEW;
use crate::{
    keeper::{Entry, ForgetError, Intake, Keeper, Participants},
    trusted::Trusted,
};

/// Entries with their bodies come in runs; the largest stays below this.
const RUN_MAX: usize = 64 * 1024 * 1024;

/// Forgets once a day, and again where it failed.
#[derive(Default)]
pub(super) struct Daily {
    done_on: Option<u32>,
}

impl Daily {
    pub(super) async fn look(&mut self, keeper: &Keeper, now_ms: u64) {
        if let Err(error) = keeper.look_after(now_ms).await {
            tracing::error!(%error, "the keeper's index cannot be looked after");
        }
        if self.done_on == Some(day_of(now_ms)) {
            return;
        }
        match keeper.forget().await {
            Ok(done) if done.is_nothing() => self.done_on = Some(day_of(now_ms)),
            Ok(done) => {
                tracing::info!(
                    before = day_to_iso(done.before_day),
                    keys = done.key_days.len(),
                    "forgot"
                );
                self.done_on = Some(day_of(now_ms));
            }
            // It has its own alarm, and is not tried again before tomorrow or a restart.
            Err(error @ ForgetError::ClockRunsAhead) => {
                tracing::error!(%error, "alarm");
                self.done_on = Some(day_of(now_ms));
            }
            Err(error) => tracing::error!(%error, "not all is forgotten; trying again"),
        }
    }
}

/// What following takes.
#[derive(Clone)]
pub(super) struct Follower {
    pub(super) keeper: Keeper,
    pub(super) trust: Arc<TrustStore>,
    pub(super) trusted: Arc<Trusted>,
    pub(super) channel: Channel,
    pub(super) clock: Clock,
    /// Origin of the ledger.
    pub(super) ledger: String,
}

/// Follows the ledger, and follows it again after a break.
pub(super) async fn follow(parts: Follower, stop: CancellationToken) {
    let mut wait = Duration::from_millis(200);
    while !stop.is_cancelled() {
        let participants = Arc::clone(&parts.trusted) as Arc<dyn Participants>;
        let intake = parts.keeper.intake(participants);
        match intake.complete().await {
            Ok(0) => {}
            Ok(records) => tracing::info!(records, "the index of an older version is complete"),
            Err(error) => tracing::error!(%error, "alarm: the index of an older version is not \
                                                     complete: some lists will fail"),
        }
        let followed = tokio::select! {
            followed = tail(intake, parts.channel.clone(), &mut wait) => followed,
            () = stop.cancelled() => return,
        };
        if let Err(problem) = followed {
            tracing::warn!(problem, "the ledger is not followed; trying again");
        }
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            () = stop.cancelled() => {}
        }
        wait = (wait * 2).min(Duration::from_secs(10));
    }
}

async fn tail(mut intake: Intake, channel: Channel, wait: &mut Duration) -> Result<(), String> {
    let from_index = intake.size().await.map_err(|error| error.to_string())?;
    let mut stream = LedgerServiceClient::new(channel)
        .max_decoding_message_size(RUN_MAX)
        .tail_entries(TailEntriesRequest { from_index, reason: String::new() })
        .await
        .map_err(|status| status.message().to_owned())?
        .into_inner();
    let mut run = Vec::new();
    while let Some(response) =
        stream.message().await.map_err(|status| status.message().to_owned())?
    {
        run.extend(response.entries.into_iter().map(|entry| Entry {
            index: entry.index,
            leaf: entry.leaf,
            body: entry.body,
        }));
        if response.checkpoint.is_empty() {
            continue;
        }
        let taken = intake
            .take(std::mem::take(&mut run), &response.checkpoint)
            .await
            .map_err(|error| error.to_string())?;
        tracing::debug!(taken.size, "followed the ledger");
        *wait = Duration::from_millis(200);
    }
    Ok(())
}

/// A broker may take so long to take a card.
const PUBLISH: Duration = Duration::from_secs(20);
/// Those that did not are asked again after this time.
const AGAIN: Duration = Duration::from_secs(10);

/// Gives the key card to all brokers that write the ledger, not only to the one that is followed:
/// registers ask for it at the broker that they have a stream to. To those that are away, later.
pub(super) async fn spread(parts: Follower, (tls, domain): (Tls, String), stop: CancellationToken) {
    let mut channels: HashMap<String, Channel> = HashMap::new();
    loop {
        let trust = parts.trust.current();
        let brokers = trust.directory.document().brokers.iter();
        let brokers: Vec<String> = brokers
            .filter(|broker| broker.ledger == parts.ledger)
            .map(|broker| broker.address.clone())
            .collect();
        channels.retain(|address, _| brokers.contains(address));
        let mut next = RENEW;
        for address in brokers {
            let publishing = async {
                let card = parts.keeper.card(parts.clock.now_ms());
                let card = card.map_err(|error| error.to_string())?;
                if !channels.contains_key(&address) {
                    let target = Target::broker(&address, &domain);
                    let channel = dial::channel(&target, Arc::clone(&tls.client));
                    channels.insert(address.clone(), channel.map_err(|error| error.to_string())?);
                }
                let Some(channel) = channels.get(&address).cloned() else { return Ok(0) };
                let published = tokio::time::timeout(PUBLISH, publish(channel, card)).await;
                let published = published.map_err(|_| "it does not answer".to_owned())?;
                published.map_err(|status| status.message().to_owned())
            };
            let published: Result<u64, String> = tokio::select! {
                published = publishing => published,
                () = stop.cancelled() => return,
            };
            if let Err(problem) = published {
                tracing::warn!(
                    address,
                    problem,
                    "a broker did not take the key card; trying again"
                );
                next = AGAIN;
            }
        }
        tokio::select! {
            () = tokio::time::sleep(next) => {}
            () = stop.cancelled() => return,
        }
    }
}

/// Keeps trust fresh, and forgets.
pub(super) async fn renew(parts: Follower, mut forgetting: Daily, stop: CancellationToken) {
    loop {
        tokio::select! {
            () = tokio::time::sleep(RENEW) => {}
            () = stop.cancelled() => return,
        }
        let now_ms = parts.clock.now_ms();
        parts.keeper.keep_for(parts.trust.current().rules.retention_days());
        forgetting.look(&parts.keeper, now_ms).await;
        let renewed = async {
            let polled = parts.trust.poll(parts.channel.clone(), now_ms).await;
            polled.map_err(|status| status.message().to_owned())?;
            parts.trusted.note_directory();
            Ok(())
        };
        let renewed: Result<(), String> = renewed.await;
        if let Err(problem) = renewed {
            tracing::warn!(problem, "trust is not renewed; trying again");
        }
    }
}
