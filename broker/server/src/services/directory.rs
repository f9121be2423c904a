// SPDX-License-Identifier: EUPL-1.2
//! Trust and key cards. The broker only hands them on: each is verified by whoever takes it.

use std::sync::Arc;

use einmal_peer::PeerRole;
use einmal_policy::key_card::participant_of;
use einmal_protocol::{
    Reason,
    wire::directory::v1::{
        GetTrustRequest, GetTrustResponse, ListKeyCardsRequest, ListKeyCardsResponse,
        PublishKeyCardRequest, PublishKeyCardResponse, directory_service_server::DirectoryService,
    },
};
use prost::Message;
use tonic::{Request, Response, Status};

use crate::{Broker, caller, exchange::Failure};

const PARTICIPANTS_MAX: usize = 64;
/// The keeper's card, the largest there is, has about 40 KiB.
const CARD_MAX: usize = 128 * 1024;

/// Serves `einmal.directory.v1`.
pub(crate) struct DirectoryRoom(pub(crate) Arc<Broker>);

#[tonic::async_trait]
impl DirectoryService for DirectoryRoom {
    async fn get_trust(
        &self,
        _: Request<GetTrustRequest>,
    ) -> Result<Response<GetTrustResponse>, Status> {
        let documents = self.0.trust.documents();
        let mut roots = vec![self.0.trust.pinned().clone()];
        roots.extend(documents.roots);
        Ok(Response::new(GetTrustResponse {
            roots,
            rules: Some(documents.rules),
            directory: Some(documents.directory),
        }))
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
            PeerRole::Broker | PeerRole::Auditor => false,
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
