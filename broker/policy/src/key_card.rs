// SPDX-License-Identifier: EUPL-1.2
//! Key cards: a participant's sealing keys, signed by its own identity key, with start and end.

use einmal_protocol::{
    Digest,
    digest::hex,
    envelope::{EnvelopeError, payload_type},
    key::PublicKey,
    seal::SealingPublicKey,
    wire::v1::{self, Envelope, Kem},
};
use prost::Message;

use crate::chain::{Accepted, Candidate, ChainError};

/// A card holds at most this many keys.
pub const KEYS_MAX: usize = 64;
/// A card's payload is at most this long.
pub const CARD_MAX: usize = 256 * 1024;

/// A verified key card.
#[derive(Clone, Debug)]
pub struct KeyCard {
    participant: String,
    keys: Vec<Window>,
    expires_at_ms: u64,
    accepted: Accepted,
}

#[derive(Clone, Debug)]
struct Window {
    key: SealingPublicKey,
    not_before_ms: u64,
    not_after_ms: u64,
}

/// Whose card an envelope claims to be, so that the right keys can be looked up.
///
/// # Errors
/// Where it is no card.
pub fn participant_of(envelope: &Envelope) -> Result<String, CardError> {
    if envelope.payload.len() > CARD_MAX {
        return Err(CardError::Form);
    }
    v1::KeyCard::decode(envelope.payload.as_slice())
        .map(|card| card.participant)
        .map_err(|_| CardError::Form)
}

impl KeyCard {
    /// Verifies a card with its participant's identity keys, after the one accepted before.
    ///
    /// # Errors
    /// Where it is malformed, not signed by the participant, older than the one before, or over.
    pub fn verify(
        envelope: &Envelope,
        participant: &str,
        identity: &[PublicKey],
        before: Option<&Accepted>,
        now_ms: u64,
    ) -> Result<Self, CardError> {
        if envelope.payload.len() > CARD_MAX {
            return Err(CardError::Form);
        }
        let payload = envelope.verified(payload_type::KEY_CARD, identity)?;
        let card = v1::KeyCard::decode(payload).map_err(|_| CardError::Form)?;
        if card.participant != participant {
            return Err(CardError::OtherParticipant);
        }
        if card.keys.is_empty() || card.keys.len() > KEYS_MAX {
            return Err(CardError::Form);
        }
        let previous = (!card.previous_digest.is_empty()).then(|| hex(&card.previous_digest));
        let candidate = Candidate {
            what: "key card",
            version: card.version,
            previous: previous.as_deref(),
            expires_at_ms: card.expires_at_ms,
            digest: Digest::of(payload),
        };
        let accepted = candidate.accept(before, now_ms)?;
        let keys = card
            .keys
            .iter()
            .map(|key| {
                if key.not_before_ms >= key.not_after_ms {
                    return Err(CardError::Form);
                }
                Ok(Window {
                    key: SealingPublicKey::new(key.kem(), &key.public_key)
                        .map_err(|_| CardError::Form)?,
                    not_before_ms: key.not_before_ms,
                    not_after_ms: key.not_after_ms,
                })
            })
            .collect::<Result<_, _>>()?;
        Ok(Self {
            participant: card.participant.clone(),
            keys,
            expires_at_ms: card.expires_at_ms,
            accepted,
        })
    }

    /// Whose it is.
    pub fn participant(&self) -> &str {
        &self.participant
    }

    /// Version and digest.
    pub fn accepted(&self) -> &Accepted {
        &self.accepted
    }

    /// When it ends, UTC milliseconds.
    pub fn expires_at_ms(&self) -> u64 {
        self.expires_at_ms
    }

    /// The key to seal to at a time: the last to begin of those that are good then. X-Wing unless
    /// another KEM is asked for.
    pub fn key_at(&self, kem: Kem, now_ms: u64) -> Option<&SealingPublicKey> {
        if now_ms >= self.expires_at_ms {
            return None;
        }
        self.keys
            .iter()
            .filter(|window| window.key.kem() == kem)
            .filter(|window| window.not_before_ms <= now_ms && now_ms < window.not_after_ms)
            .max_by_key(|window| window.not_before_ms)
            .map(|window| &window.key)
    }
}

/// Why a key card is not accepted.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum CardError {
    /// Malformed.
    #[error("the bytes are not a key card")]
    Form,
    /// Somebody else's.
    #[error("the key card is another participant's")]
    OtherParticipant,
    /// Version, digest or expiry.
    #[error(transparent)]
    Chain(#[from] ChainError),
    /// Not signed by the participant.
    #[error(transparent)]
    Envelope(#[from] EnvelopeError),
}

#[cfg(test)]
mod tests {
    use einmal_protocol::{entropy::Entropy, key::SigningKey, seal::SealingPrivateKey};

    use super::*;

    fn card(version: u64, previous: Vec<u8>, key: &SigningKey) -> Envelope {
        let sealing =
            |seed| SealingPrivateKey::generate(Kem::XWing, Entropy::new([seed; 32])).unwrap();
        let window = |seed, from, to| v1::SealingKey {
            kem: Kem::XWing.into(),
            public_key: sealing(seed).public().bytes().to_vec(),
            not_before_ms: from,
            not_after_ms: to,
        };
        let card = v1::KeyCard {
            participant: "standesamt".into(),
            version,
            previous_digest: previous,
            issued_at_ms: 0,
            expires_at_ms: 100,
            keys: vec![window(1, 0, 50), window(2, 40, 90)],
        };
        Envelope::sign(payload_type::KEY_CARD, card.encode_to_vec(), &[key]).unwrap()
    }

    #[test]
    fn signed_by_its_owner_in_order_and_in_time() {
        let (owner, other) =
            (SigningKey::from_seed(&[1; 32]).unwrap(), SigningKey::from_seed(&[2; 32]).unwrap());
        let keys = [owner.public().clone()];
        let verify = |envelope: &Envelope, before: Option<&Accepted>, now| {
            KeyCard::verify(envelope, "standesamt", &keys, before, now)
        };
        let first = verify(&card(1, vec![], &owner), None, 0).unwrap();
        assert!(verify(&card(1, vec![], &other), None, 0).is_err());
        assert!(KeyCard::verify(&card(1, vec![], &owner), "amt", &keys, None, 0).is_err());
        assert!(verify(&card(1, vec![], &owner), None, 100).is_err());
        let id_at = |now| first.key_at(Kem::XWing, now).map(SealingPublicKey::id);
        assert!(id_at(10).is_some() && id_at(10) != id_at(45));
        assert_eq!(id_at(90), None);
        assert_eq!(first.key_at(Kem::X25519, 10), None);
        let digest = Digest::from_hex(&first.accepted().digest).unwrap().to_vec();
        let second = verify(&card(2, digest, &owner), Some(first.accepted()), 0).unwrap();
        assert!(verify(&card(2, vec![9; 32], &owner), Some(first.accepted()), 0).is_err());
        assert!(verify(&card(1, vec![], &owner), Some(second.accepted()), 0).is_err());
    }
}
