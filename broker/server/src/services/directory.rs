// SPDX-License-Identifier: EUPL-1.2
//! Trust and key cards. The broker only hands them on: each is verified by whoever takes it.

use std::sync::Arc;

use einmal_peer::PeerRole;
use einmal_policy::{chain::Accepted, key_card::participant_of};
use einmal_protocol::{
    Reason,
    wire::directory::v1::{
        GetTrustRequest, GetTrustResponse, ListKeyCardsRequest, ListKeyCardsResponse,
        PublishKeyCardRequest, PublishKeyCardResponse, PublishTrustRequest, PublishTrustResponse,
        directory_service_server::DirectoryService,
    },
};
use prost::Message;
use tonic::{Request, Response, Status};

use crate::{Broker, caller, exchange::Failure};

const PARTICIPANTS_MAX: usize = 64;
const KNOWN_MAX: usize = 1100;
/// The keeper's card, the largest there is, has about 40 KiB.
const CARD_MAX: usize = 128 * 1024;

/// Serves `einmal.directory.v1`.
pub(crate) struct DirectoryRoom(pub(crate) Arc<Broker>);

#[tonic::async_trait]
impl DirectoryService for DirectoryRoom {
    async fn get_trust(
        &self,
        request: Request<GetTrustRequest>,
    ) -> Result<Response<GetTrustResponse>, Status> {
        let known = request.into_inner().known;
        if known.len() > KNOWN_MAX {
            return Err(Failure::refused(Reason::TooLarge).into());
        }
        let mut offer = self.0.trust.unknown(&known);
        if known.is_empty() {
            // For whoever has nothing yet; everybody else has pinned it themselves.
            offer.roots.insert(0, self.0.trust.pinned().clone());
        }
        Ok(Response::new(offer.into()))
    }

    async fn publish_trust(
        &self,
        request: Request<PublishTrustRequest>,
    ) -> Result<Response<PublishTrustResponse>, Status> {
        // Anybody of the trust domain: what counts is who signed it.
        let caller = caller::of(&request)?;
        let broker = &self.0;
        let Some(_place) = broker.publishers.enter(&caller.id) else {
            return Err(Failure::refused(Reason::BrokerBusy).into());
        };
        let offer = request.into_inner().into();
        let renewed = broker.trust.renew(offer, broker.clock.now_ms()).await;
        let changed = renewed.map_err(|error| {
            tracing::warn!(by = %caller.id, %error, "published documents are not accepted");
            Failure::refused(Reason::TrustNotAccepted).with_detail(error.to_string())
        })?;
        let state = broker.trust.state();
        let version = |accepted: Option<Accepted>| accepted.map_or(0, |accepted| accepted.version);
        let held = PublishTrustResponse {
            root: version(state.root),
            rules: version(state.rules),
            directory: version(state.directory),
            deny: version(state.deny),
            fresh_at_ms: state.fresh_at_ms,
        };
        if changed {
            broker.shared.announce().await;
            tracing::info!(
                by = %caller.id, held.root, held.rules, held.directory, held.deny, "published"
            );
        }
        Ok(Response::new(held))
    }

    async fn list_key_cards(
        &self,
        request: Request<ListKeyCardsRequest>,
    ) -> Result<Response<ListKeyCardsResponse>, Status> {
        let mut participants = request.into_inner().participants;
        participants.sort_unstable();
        participants.dedup();
        if participants.len() > PARTICIPANTS_MAX {
            return Err(Failure::refused(Reason::TooLarge).into());
        }
        Ok(Response::new(ListKeyCardsResponse { cards: self.0.cards.envelopes(&participants) }))
    }

    async fn publish_key_card(
        &self,
        request: Request<PublishKeyCardRequest>,
    ) -> Result<Response<PublishKeyCardResponse>, Status> {
        let caller = caller::of(&request)?;
        let malformed = |_| Failure::refused(Reason::MalformedRequest);
        let card =
            request.into_inner().card.ok_or_else(|| Failure::refused(Reason::MalformedRequest))?;
        if card.encoded_len() > CARD_MAX {
            return Err(Failure::refused(Reason::TooLarge).into());
        }
        let trust = self.0.trust.current();
        let participant = participant_of(&card).map_err(malformed)?;
        let may = match caller.role {
            PeerRole::Operator => trust.directory.may_carry_for_register(&caller.id, &participant),
            PeerRole::Cockpit => {
                caller.id == participant && trust.directory.keeper(&participant).is_some()
            }
            PeerRole::Broker | PeerRole::Pages | PeerRole::Auditor => false,
        };
        if !may {
            return Err(Failure::refused(Reason::OperatorMayNotCarry).into());
        }
        let now_ms = self.0.clock.now_ms();
        let version = self.0.cards.accept(card, &trust.directory, now_ms).map_err(|error| {
            tracing::warn!(participant, %error, "a key card is not accepted");
            Failure::refused(Reason::MalformedRequest).with_detail(error.to_string())
        })?;
        tracing::info!(participant, version, "key card accepted");
        Ok(Response::new(PublishKeyCardResponse { version }))
    }
}
