// SPDX-License-Identifier: EUPL-1.2
//! The keeper's key card: one card that lists all day keys from today on, each with its window.

use std::{fs, path::PathBuf, sync::Arc};

use einmal_protocol::{
    Digest,
    envelope::payload_type,
    key::{PublicKey, SigningKey},
    time::{DAY_MS, SKEW_MS, YESTERDAY_UNTIL_MS},
    wire::v1::{Envelope, KeyCard, SealingKey},
};
use prost::Message;

use super::days::{DayKey, DayKeyError};

/// What a card says of the keys whose window is not over.
pub(crate) fn announce(keys: &[Arc<DayKey>], now_ms: u64) -> Vec<SealingKey> {
    keys.iter()
        .map(|key| {
            let start = u64::from(key.day) * DAY_MS;
            let public = key.private.public();
            SealingKey {
                kem: public.kem().into(),
                public_key: public.bytes().to_vec(),
                not_before_ms: start.saturating_sub(SKEW_MS),
                not_after_ms: start + DAY_MS + YESTERDAY_UNTIL_MS + SKEW_MS,
            }
        })
        .filter(|key| key.not_after_ms > now_ms)
        .collect()
}

/// Whether a stored card is this keeper's, signed by its present key, and lists these keys.
pub(crate) fn still_says(
    card: &Envelope,
    participant: &str,
    keys: &[SealingKey],
    identity: &PublicKey,
) -> bool {
    let Ok(payload) = card.verified(payload_type::KEY_CARD, std::slice::from_ref(identity)) else {
        return false;
    };
    KeyCard::decode(payload).is_ok_and(|card| card.participant == participant && card.keys == keys)
}

/// The next version.
pub(crate) fn next(
    last: Option<&Envelope>,
    participant: &str,
    keys: Vec<SealingKey>,
    now_ms: u64,
    identity: &SigningKey,
) -> Result<Envelope, DayKeyError> {
    let version = last.map_or(0, version);
    let card = KeyCard {
        participant: participant.to_owned(),
        version: version + 1,
        previous_digest: last.map(|last| Digest::of(&last.payload).to_vec()).unwrap_or_default(),
        issued_at_ms: now_ms,
        expires_at_ms: keys.iter().map(|key| key.not_after_ms).max().unwrap_or(now_ms),
        keys,
    };
    Envelope::sign(payload_type::KEY_CARD, card.encode_to_vec(), &[identity])
        .map_err(DayKeyError::Sign)
}

/// The newest of the stored copies; nothing where there was never a card.
pub(crate) fn newest(
    paths: impl Iterator<Item = PathBuf>,
) -> Result<Option<Envelope>, DayKeyError> {
    let mut newest: Option<Envelope> = None;
    for path in paths {
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
            Err(source) => return Err(DayKeyError::File { path, source }),
        };
        let card = Envelope::parse(&bytes).ok();
        let card = card.filter(|card| version(card) > 0).ok_or(DayKeyError::Card(path))?;
        if newest.as_ref().is_none_or(|newest| version(newest) < version(&card)) {
            newest = Some(card);
        }
    }
    Ok(newest)
}

fn version(card: &Envelope) -> u64 {
    KeyCard::decode(card.payload.as_slice()).map(|card| card.version).unwrap_or_default()
}
