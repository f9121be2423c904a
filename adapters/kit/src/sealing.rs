// SPDX-License-Identifier: EUPL-1.2
//! A register's own sealing keys: made here, kept in a file that only the adapter may read,
//! changed every fifteen days, destroyed an hour after their end.

use std::path::{Path, PathBuf};

use einmal_peer::{files, random};
use einmal_protocol::{
    Digest,
    digest::{hex, unhex},
    envelope::payload_type,
    key::SigningKey,
    seal::{Aad, SealKind, SealingPrivateKey, recipient_of},
    wire::v1::{Envelope, Kem, KeyCard, SealingKey},
};
use prost::Message;
use serde::{Deserialize, Serialize};
use zeroize::{Zeroize, Zeroizing};

use crate::adapter::StartError;

const DAY_MS: u64 = 86_400_000;
const LIFE_MS: u64 = 30 * DAY_MS;
const CHANGE_MS: u64 = 15 * DAY_MS;
const DESTROY_MS: u64 = 3_600_000;
/// Clocks differ: a key counts a little before it was made.
const EARLY_MS: u64 = 10 * 60_000;

/// The sealing keys of one register, with the card that announces them.
pub(crate) struct SealingKeys {
    file: PathBuf,
    participant: String,
    stored: Stored,
    keys: Vec<SealingPrivateKey>,
}

#[derive(Serialize, Deserialize, Default)]
#[serde(deny_unknown_fields)]
struct Stored {
    version: u64,
    previous: Option<String>,
    keys: Vec<StoredKey>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct StoredKey {
    secret: String,
    not_before_ms: u64,
    not_after_ms: u64,
}

impl Drop for StoredKey {
    fn drop(&mut self) {
        self.secret.zeroize();
    }
}

impl SealingKeys {
    /// Reads the keys, destroys those that are over, makes a new one where it is time. The card
    /// is to be published.
    pub(crate) fn open(
        folder: &Path,
        participant: &str,
        identity: &SigningKey,
        now_ms: u64,
    ) -> Result<(Self, Envelope), StartError> {
        let file = folder.join(format!("{participant}.sealing.json"));
        let stored = match files::read_if_there(&file)? {
            Some(bytes) => {
                let bytes = Zeroizing::new(bytes);
                serde_json::from_slice(&bytes)
                    .map_err(|error| files::FileError::new(&file, error))?
            }
            None => Stored::default(),
        };
        let mut this = Self { file, participant: participant.to_owned(), stored, keys: Vec::new() };
        let card = this.renew(identity, now_ms)?;
        Ok((this, card))
    }

    /// Whether keys are to be made or destroyed.
    pub(crate) fn is_due(&self, now_ms: u64) -> bool {
        let fresh = |key: &StoredKey| now_ms.saturating_add(CHANGE_MS) < key.not_after_ms;
        let dead = |key: &StoredKey| now_ms >= key.not_after_ms.saturating_add(DESTROY_MS);
        self.stored.keys.iter().any(dead) || !self.stored.keys.iter().any(fresh)
    }

    /// Destroys what is over, makes what is missing, and announces the rest in a new card.
    pub(crate) fn renew(
        &mut self,
        identity: &SigningKey,
        now_ms: u64,
    ) -> Result<Envelope, StartError> {
        let alive = |key: &StoredKey| now_ms < key.not_after_ms.saturating_add(DESTROY_MS);
        self.stored.keys.retain(alive);
        let fresh = |key: &StoredKey| now_ms.saturating_add(CHANGE_MS) < key.not_after_ms;
        if !self.stored.keys.iter().any(fresh) {
            let key = SealingPrivateKey::generate(Kem::XWing, random::entropy()?)?;
            self.stored.keys.push(StoredKey {
                secret: hex(key.secret_bytes()),
                not_before_ms: now_ms.saturating_sub(EARLY_MS),
                not_after_ms: now_ms.saturating_add(LIFE_MS),
            });
        }
        self.keys = self
            .stored
            .keys
            .iter()
            .map(|stored| {
                let secret = Zeroizing::new(unhex(&stored.secret).unwrap_or_default());
                SealingPrivateKey::new(Kem::XWing, &secret)
            })
            .collect::<Result<_, _>>()?;
        let card = self.card(now_ms);
        let payload = card.encode_to_vec();
        self.stored.version = card.version;
        self.stored.previous = Some(Digest::of(&payload).to_hex());
        let bytes = Zeroizing::new(
            serde_json::to_vec(&self.stored)
                .map_err(|error| files::FileError::new(&self.file, error))?,
        );
        files::replace_secret(&self.file, &bytes)?;
        Ok(Envelope::sign(payload_type::KEY_CARD, payload, &[identity])?)
    }

    fn card(&self, now_ms: u64) -> KeyCard {
        let previous = self.stored.previous.as_deref().and_then(unhex).unwrap_or_default();
        let keys = self.stored.keys.iter().zip(&self.keys).map(|(stored, key)| SealingKey {
            kem: Kem::XWing.into(),
            public_key: key.public().bytes().to_vec(),
            not_before_ms: stored.not_before_ms,
            not_after_ms: stored.not_after_ms,
        });
        KeyCard {
            participant: self.participant.clone(),
            version: self.stored.version + 1,
            previous_digest: previous,
            issued_at_ms: now_ms,
            expires_at_ms: now_ms.saturating_add(LIFE_MS),
            keys: keys.collect(),
        }
    }

    /// Opens what is sealed to one of these keys; nothing where it is for another, or changed.
    pub(crate) fn open_sealed(
        &self,
        kind: SealKind,
        aad: &Aad,
        sealed: &[u8],
    ) -> Option<Zeroizing<Vec<u8>>> {
        let id = recipient_of(sealed).ok()?;
        let key = self.keys.iter().find(|key| key.public().id() == id)?;
        key.open(kind, aad, sealed).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_change_in_time_and_old_ones_are_destroyed() {
        let folder = std::env::temp_dir().join(format!("einmal-sealing-{}", std::process::id()));
        let identity = SigningKey::from_seed(&[1; 32]).unwrap();
        let start = 1_000 * DAY_MS;
        let (mut keys, first) = SealingKeys::open(&folder, "r", &identity, start).unwrap();
        let aad = Aad::of_request(Digest::of(b"x"), 0);
        let entropy = einmal_protocol::entropy::Entropy::new([1; 32]);
        let public = keys.keys[0].public().clone();
        let sealed = public.seal(SealKind::Person, &aad, b"somebody", entropy).unwrap();
        assert!(!keys.is_due(start + CHANGE_MS - 1));
        assert!(keys.is_due(start + CHANGE_MS));
        let second = keys.renew(&identity, start + CHANGE_MS).unwrap();
        let cards = [first, second].map(|card| KeyCard::decode(card.payload.as_slice()).unwrap());
        assert_eq!(cards.each_ref().map(|card| (card.version, card.keys.len())), [(1, 1), (2, 2)]);
        assert_eq!(cards[1].previous_digest, Digest::of(&cards[0].encode_to_vec()).to_vec());
        assert!(keys.open_sealed(SealKind::Person, &aad, &sealed).is_some());
        // A restart finds both; an hour after its end the first is gone, from the file too.
        let (mut keys, _) = SealingKeys::open(&folder, "r", &identity, start + CHANGE_MS).unwrap();
        assert!(keys.open_sealed(SealKind::Person, &aad, &sealed).is_some());
        keys.renew(&identity, start + LIFE_MS + DESTROY_MS).unwrap();
        assert!(keys.open_sealed(SealKind::Person, &aad, &sealed).is_none());
        let (keys, _) =
            SealingKeys::open(&folder, "r", &identity, start + LIFE_MS + DESTROY_MS).unwrap();
        assert!(keys.open_sealed(SealKind::Person, &aad, &sealed).is_none());
        let _ = std::fs::remove_dir_all(&folder);
    }
}
