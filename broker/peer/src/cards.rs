// SPDX-License-Identifier: EUPL-1.2
//! Key cards that a party holds, each verified with its participant's identity keys.

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    sync::{PoisonError, RwLock},
};

use einmal_policy::{
    Directory,
    key_card::{CardError, KeyCard, participant_of},
};
use einmal_protocol::{
    envelope::payload_type,
    key::PublicKey,
    seal::SealingPublicKey,
    wire::{
        directory::v1::{
            ListKeyCardsRequest, PublishKeyCardRequest,
            directory_service_client::DirectoryServiceClient,
        },
        v1::{Envelope, Kem},
    },
};
use prost::Message;
use tonic::transport::Channel;

use crate::files::{self, FileError};

/// Holds key cards by participant, in a folder too, so that none is rolled back after a restart.
#[derive(Debug)]
pub struct Cards {
    folder: PathBuf,
    held: RwLock<HashMap<String, Held>>,
}

#[derive(Debug)]
struct Held {
    card: KeyCard,
    envelope: Envelope,
    signers: Vec<PublicKey>,
}

impl Held {
    /// Whether one who signed it still counts: a key may be denied or replaced.
    fn counts(&self, keys: &[PublicKey]) -> bool {
        self.signers.iter().any(|signer| keys.contains(signer))
    }
}

impl Cards {
    /// Those in a folder, verified anew. Cards that are over are passed over.
    ///
    /// # Errors
    /// Where the folder cannot be read.
    pub fn open(folder: &Path, directory: &Directory, now_ms: u64) -> Result<Self, FileError> {
        let failed = |error: std::io::Error| FileError::new(folder, error);
        std::fs::create_dir_all(folder).map_err(failed)?;
        let this = Self { folder: folder.to_owned(), held: RwLock::default() };
        for entry in std::fs::read_dir(folder).map_err(failed)? {
            let path = entry.map_err(failed)?.path();
            if path.extension().is_some_and(|ending| ending == "card") {
                let envelope = files::envelope(&path)?;
                if let Err(error) = this.accept(envelope, directory, now_ms) {
                    tracing::warn!(file = %path.display(), %error, "key card passed over");
                }
            }
        }
        Ok(this)
    }

    /// Takes a card, after the one held of the same participant. Its version.
    ///
    /// # Errors
    /// Where it is not accepted or cannot be kept.
    pub fn accept(
        &self,
        envelope: Envelope,
        directory: &Directory,
        now_ms: u64,
    ) -> Result<u64, CardsError> {
        let participant = participant_of(&envelope)?;
        let keys = directory.card_keys(&participant).ok_or(CardsError::Unknown)?;
        let mut held = self.held.write().unwrap_or_else(PoisonError::into_inner);
        // One whose key was denied or replaced binds no more: a thief may have made the highest
        // version there is.
        let before = held.get(&participant).filter(|held| held.counts(keys));
        let before = before.map(|held| held.card.accepted());
        let card = KeyCard::verify(&envelope, &participant, keys, before, now_ms)?;
        let version = card.accepted().version;
        if before != Some(card.accepted()) {
            let path = self.folder.join(format!("{participant}.card"));
            files::replace(&path, &envelope.encode_to_vec())?;
            let signers =
                envelope.signers(payload_type::KEY_CARD, keys).map_err(CardError::from)?;
            let signers = signers.into_iter().cloned().collect();
            held.insert(participant, Held { card, envelope, signers });
        }
        Ok(version)
    }

    /// The key to seal to, of a card whose signer still counts: it may have been denied since.
    pub fn key(
        &self,
        participant: &str,
        directory: &Directory,
        kem: Kem,
        now_ms: u64,
    ) -> Option<SealingPublicKey> {
        let keys = directory.card_keys(participant)?;
        let held = self.held.read().unwrap_or_else(PoisonError::into_inner);
        let found = held.get(participant).filter(|held| held.counts(keys))?;
        found.card.key_at(kem, now_ms).cloned()
    }

    /// The envelopes of some participants' cards.
    pub fn envelopes(&self, participants: &[String]) -> Vec<Envelope> {
        let held = self.held.read().unwrap_or_else(PoisonError::into_inner);
        participants
            .iter()
            .filter_map(|participant| held.get(participant).map(|held| held.envelope.clone()))
            .collect()
    }

    /// The key to seal to, asking a broker for the card where it is not held.
    ///
    /// # Errors
    /// Where the broker does not answer, or has no good card.
    pub async fn key_or_fetch(
        &self,
        participant: &str,
        directory: &Directory,
        channel: &Channel,
        now_ms: u64,
    ) -> Result<SealingPublicKey, CardsError> {
        if let Some(key) = self.key(participant, directory, Kem::XWing, now_ms) {
            return Ok(key);
        }
        let request = ListKeyCardsRequest { participants: vec![participant.to_owned()] };
        let answer = DirectoryServiceClient::new(channel.clone())
            .list_key_cards(request)
            .await
            .map_err(|status| CardsError::Broker(Box::new(status)))?;
        for card in answer.into_inner().cards {
            self.accept(card, directory, now_ms)?;
        }
        self.key(participant, directory, Kem::XWing, now_ms)
            .ok_or_else(|| CardsError::None { participant: participant.to_owned() })
    }
}

/// Hands an own card to a broker.
///
/// # Errors
/// Where the broker does not answer or refuses it.
pub async fn publish(channel: Channel, card: Envelope) -> Result<u64, tonic::Status> {
    let request = PublishKeyCardRequest { card: Some(card) };
    let answer = DirectoryServiceClient::new(channel).publish_key_card(request).await?;
    Ok(answer.into_inner().version)
}

/// Why there is no card.
#[derive(Debug, thiserror::Error)]
pub enum CardsError {
    /// Not in the directory.
    #[error("the key card's participant is not in the directory")]
    Unknown,
    /// Not accepted.
    #[error(transparent)]
    Card(#[from] CardError),
    /// Could not be kept.
    #[error(transparent)]
    File(#[from] FileError),
    /// The broker did not answer.
    #[error("the broker did not hand out the key card: {}", .0.message())]
    Broker(Box<tonic::Status>),
    /// Nobody has one.
    #[error("there is no current key card of `{participant}`; start its adapter or keeper once")]
    None {
        /// Whose.
        participant: String,
    },
}

#[cfg(test)]
mod tests {
    use einmal_protocol::{
        key::SigningKey,
        wire::v1::{self, SealingKey},
    };
    use serde_json::json;

    use super::*;

    fn key(seed: u8) -> SigningKey {
        SigningKey::from_seed(&[seed; 32]).unwrap()
    }

    fn directory(seeds: &[u8]) -> Directory {
        let text = |seed: &u8| einmal_policy::root::KeyText::from(key(*seed).public());
        let keys: Vec<_> = seeds.iter().map(text).collect();
        let document = json!({
            "version": 1, "issued_at_ms": 0, "expires_at_ms": 600, "lowest_rules_version": 1,
            "operators": [], "authorities": [], "registers": [], "brokers": [], "ledgers": [],
            "keepers": [{ "id": "keeper", "name": "", "keys": keys }],
        });
        Directory::parse(&serde_json::to_vec(&document).unwrap()).unwrap()
    }

    fn card(version: u64, signer: u8) -> Envelope {
        let card = v1::KeyCard {
            participant: "keeper".into(),
            version,
            previous_digest: if version > 1 { vec![9; 32] } else { Vec::new() },
            issued_at_ms: 0,
            expires_at_ms: 100,
            keys: vec![SealingKey {
                kem: Kem::X25519.into(),
                public_key: vec![9; 32],
                not_before_ms: 0,
                not_after_ms: 100,
            }],
        };
        Envelope::sign(payload_type::KEY_CARD, card.encode_to_vec(), &[&key(signer)]).unwrap()
    }

    #[test]
    fn a_card_of_a_denied_key_is_sealed_to_no_more_and_binds_no_more() {
        let folder = std::env::temp_dir().join(format!("einmal-cards-{}", std::process::id()));
        let _absent = std::fs::remove_dir_all(&folder);
        let (both, left) = (directory(&[1, 2]), directory(&[2]));
        let cards = Cards::open(&folder, &both, 0).unwrap();
        cards.accept(card(u64::MAX, 1), &both, 0).unwrap();
        assert!(cards.key("keeper", &both, Kem::X25519, 0).is_some());
        assert!(cards.key("keeper", &left, Kem::X25519, 0).is_none());
        assert!(cards.accept(card(1, 2), &both, 0).is_err());
        assert_eq!(cards.accept(card(1, 2), &left, 0).unwrap(), 1);
        assert!(cards.key("keeper", &left, Kem::X25519, 0).is_some());
        let _gone = std::fs::remove_dir_all(&folder);
    }
}
