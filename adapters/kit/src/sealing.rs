// SPDX-License-Identifier: EUPL-1.2
//! A register's own sealing keys: kept in a file that only the adapter may read, changed every
//! fifteen days, destroyed an hour after their end.
//!
//! Each key comes out of a chain that goes one way: a step gives a key and the next link, and the
//! link before is destroyed. So whoever copies the file later opens nothing sealed to a key that
//! was destroyed. Several replicas of one adapter share nothing but a copy of this file, once: the
//! steps lie at fixed times, so all of them make the same keys and, to the byte, the same cards. A
//! register without replicas mixes fresh randomness into each step: then whoever copied the file
//! opens nothing that is sealed to later keys either.

use std::path::{Path, PathBuf};

use einmal_peer::{files, random};
use einmal_protocol::{
    Digest,
    digest::{hex, unhex},
    envelope::payload_type,
    key::SigningKey,
    seal::{Aad, SealError, SealKind, SealingPrivateKey, recipient_of},
    wire::v1::{Envelope, Kem, KeyCard, SealingKey},
};
use prost::Message;
use ring::hkdf;
use serde::{Deserialize, Serialize};
use zeroize::{Zeroize, Zeroizing};

use crate::adapter::StartError;

const DAY_MS: u64 = 86_400_000;
const LIFE_MS: u64 = 30 * DAY_MS;
const CHANGE_MS: u64 = 15 * DAY_MS;
const DESTROY_MS: u64 = 3_600_000;
/// Clocks differ: a first key counts a little before it was made.
const EARLY_MS: u64 = 10 * 60_000;
/// And each later one a while after, when every replica has made it and every broker has its card.
const LATE_MS: u64 = 3_600_000;

/// The sealing keys of one register, with the card that announces them.
pub(crate) struct SealingKeys {
    file: PathBuf,
    participant: String,
    is_replicated: bool,
    stored: Stored,
    keys: Vec<SealingPrivateKey>,
}

#[derive(Clone, Serialize, Deserialize, Default)]
#[serde(deny_unknown_fields)]
struct Stored {
    /// Of the card.
    version: u64,
    /// Digest of the card before it.
    previous: Option<String>,
    /// What the next step is made from. Nothing before the first.
    #[serde(default)]
    chain: Option<String>,
    /// When the last step was due.
    #[serde(default)]
    stepped_at_ms: u64,
    keys: Vec<StoredKey>,
}

#[derive(Clone, Serialize, Deserialize)]
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

impl Drop for Stored {
    fn drop(&mut self) {
        self.chain.zeroize();
    }
}

impl StoredKey {
    fn open(&self) -> Result<SealingPrivateKey, SealError> {
        let secret = Zeroizing::new(unhex(&self.secret).unwrap_or_default());
        SealingPrivateKey::new(Kem::XWing, &secret)
    }
}

impl Stored {
    /// One step of the chain, with fresh randomness or as every replica makes it.
    fn step(
        &mut self,
        participant: &str,
        fresh: Option<[u8; 32]>,
        at_ms: u64,
    ) -> Result<(), StartError> {
        if self.chain.is_some() {
            self.previous = Some(Digest::of(&self.card(participant)?).to_hex());
        }
        let mut link = Zeroizing::new(self.chain.as_deref().and_then(unhex).unwrap_or_default());
        link.extend_from_slice(&fresh.unwrap_or_default());
        let secret = derive(&link, b"key", participant)?;
        self.chain = Some(hex(derive(&link, b"chain", participant)?.as_slice()));
        self.version += 1;
        self.stepped_at_ms = at_ms;
        let goes_on = self.keys.iter().any(|key| at_ms + LATE_MS < key.not_after_ms);
        self.keys.push(StoredKey {
            secret: hex(secret.as_slice()),
            not_before_ms: if goes_on { at_ms + LATE_MS } else { at_ms.saturating_sub(EARLY_MS) },
            not_after_ms: at_ms + LIFE_MS,
        });
        Ok(())
    }

    /// The payload of the card: nothing in it depends on who makes it, or when.
    fn card(&self, participant: &str) -> Result<Vec<u8>, SealError> {
        let announced = self.keys.iter().filter(|key| self.stepped_at_ms < key.not_after_ms);
        let keys = announced.map(|key| {
            Ok(SealingKey {
                kem: Kem::XWing.into(),
                public_key: key.open()?.public().bytes().to_vec(),
                not_before_ms: key.not_before_ms,
                not_after_ms: key.not_after_ms,
            })
        });
        let card = KeyCard {
            participant: participant.to_owned(),
            version: self.version,
            previous_digest: self.previous.as_deref().and_then(unhex).unwrap_or_default(),
            issued_at_ms: self.stepped_at_ms,
            expires_at_ms: self.stepped_at_ms + LIFE_MS,
            keys: keys.collect::<Result<_, SealError>>()?,
        };
        Ok(card.encode_to_vec())
    }

    fn destroy(&mut self, now_ms: u64) {
        self.keys.retain(|key| now_ms < key.not_after_ms.saturating_add(DESTROY_MS));
    }
}

/// 32 bytes for one use, of one register.
fn derive(link: &[u8], label: &[u8], participant: &str) -> Result<Zeroizing<[u8; 32]>, SealError> {
    let mut bytes = Zeroizing::new([0; 32]);
    hkdf::Salt::new(hkdf::HKDF_SHA256, b"einmal sealing chain v1")
        .extract(link)
        .expand(&[label, b" ", participant.as_bytes()], hkdf::HKDF_SHA256)
        .and_then(|okm| okm.fill(bytes.as_mut_slice()))
        .map_err(|_| SealError::Key)?;
    Ok(bytes)
}

impl SealingKeys {
    /// Reads the keys, destroys those that are over, makes those that are due. The card is to be
    /// published. Where there are replicas, all begin with a copy of the same file.
    pub(crate) fn open(
        folder: &Path,
        participant: &str,
        identity: &SigningKey,
        (is_replicated, now_ms): (bool, u64),
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
        let participant = participant.to_owned();
        let mut this = Self { file, participant, is_replicated, stored, keys: Vec::new() };
        let card = this.renew(identity, now_ms)?;
        Ok((this, card))
    }

    /// Of the card.
    pub(crate) fn version(&self) -> u64 {
        self.stored.version
    }

    /// Whether keys are to be made or destroyed.
    pub(crate) fn is_due(&self, now_ms: u64) -> bool {
        let dead = |key: &StoredKey| now_ms >= key.not_after_ms.saturating_add(DESTROY_MS);
        self.is_step_due(&self.stored, now_ms) || self.stored.keys.iter().any(dead)
    }

    fn is_step_due(&self, stored: &Stored, now_ms: u64) -> bool {
        stored.chain.is_none() || now_ms >= stored.stepped_at_ms.saturating_add(CHANGE_MS)
    }

    /// Destroys what is over, makes what is due, and announces the rest in a card. What is made
    /// counts only once it is in the file.
    pub(crate) fn renew(
        &mut self,
        identity: &SigningKey,
        now_ms: u64,
    ) -> Result<Envelope, StartError> {
        let mut next = self.stored.clone();
        while self.is_step_due(&next, now_ms) {
            let is_first = next.chain.is_none();
            let at_ms = if is_first { now_ms } else { next.stepped_at_ms + CHANGE_MS };
            let fresh = (is_first || !self.is_replicated).then(random::bytes::<32>).transpose()?;
            next.step(&self.participant, fresh, at_ms)?;
            next.destroy(at_ms);
        }
        next.destroy(now_ms);
        let keys = next.keys.iter().map(StoredKey::open).collect::<Result<_, _>>()?;
        let payload = next.card(&self.participant)?;
        if next.version != self.stored.version || next.keys.len() != self.stored.keys.len() {
            let bytes = Zeroizing::new(
                serde_json::to_vec(&next)
                    .map_err(|error| files::FileError::new(&self.file, error))?,
            );
            files::replace_secret(&self.file, &bytes)?;
        }
        (self.stored, self.keys) = (next, keys);
        Ok(Envelope::sign(payload_type::KEY_CARD, payload, &[identity])?)
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
#[path = "sealing_tests.rs"]
mod tests;
