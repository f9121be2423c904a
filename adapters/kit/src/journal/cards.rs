// SPDX-License-Identifier: EUPL-1.2
//! The public half of an officer's day keys, as the adapter uses it: one signed file, whose signer
//! is pinned when a journal first sees it. Of hundreds of registers' keys for hundreds of days only
//! those of now are held in memory.

use std::{
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
    time::SystemTime,
};

use einmal_peer::files::{self, FileError};
use einmal_policy::root::KeyText;
use einmal_protocol::{
    Digest,
    envelope::payload_type,
    key::PublicKey,
    seal::SealingPublicKey,
    time::{DAY_MS, day_to_iso},
    wire::v1::{Envelope, Kem},
};
use prost::Message;
use serde::{Deserialize, Serialize};

/// Days that one file may hold: three years.
pub(super) const DAYS_MAX: usize = 1_100;
/// A file with so many keys is no longer than this.
const FILE_MAX: u64 = 2 * 1024 * 1024;
const PIN: &str = "officer.json";

/// What the officer signs.
#[derive(Clone, PartialEq, Message)]
pub struct OfficerKeys {
    /// The officer's own public key, as JSON: `{"algorithm": …, "key": …}`.
    #[prost(string, tag = "1")]
    pub officer: String,
    /// Strictly rising.
    #[prost(uint64, tag = "2")]
    pub version: u64,
    /// UTC milliseconds.
    #[prost(uint64, tag = "3")]
    pub issued_at_ms: u64,
    /// By day, rising.
    #[prost(message, repeated, tag = "4")]
    pub days: Vec<DayCard>,
}

/// The public key of one day.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct DayCard {
    /// Days since 1970 (UTC).
    #[prost(uint32, tag = "1")]
    pub day: u32,
    /// X-Wing, 1216 bytes.
    #[prost(bytes = "vec", tag = "2")]
    pub public_key: Vec<u8>,
}

/// An officer's file that holds.
pub struct Opened {
    /// Who signed it.
    pub officer: PublicKey,
    /// What it says.
    pub keys: OfficerKeys,
}

/// How an officer is compared: by telephone, on paper.
pub fn fingerprint(officer: &PublicKey) -> String {
    let hex = Digest::of_parts(&[b"einmal officer v1", officer.bytes()]).to_hex();
    let groups: Vec<String> = hex
        .as_bytes()
        .chunks(4)
        .take(8)
        .map(|group| String::from_utf8_lossy(group).into_owned())
        .collect();
    groups.join(" ")
}

/// Reads an officer's public file, and verifies that it is signed by the key that it names.
///
/// # Errors
/// Where it is none.
pub fn open(path: &Path) -> Result<Opened, FileError> {
    let failed = |problem: &str| FileError::new(path, problem);
    let length = std::fs::metadata(path).map_err(|error| FileError::new(path, error))?.len();
    if length > FILE_MAX {
        return Err(failed("far too long for an officer's day keys"));
    }
    let wrong = || failed("not the public file of `einmal adapter officer init`");
    let envelope = Envelope::decode(files::read(path)?.as_slice()).map_err(|_| wrong())?;
    let keys = OfficerKeys::decode(envelope.payload.as_slice()).map_err(|_| wrong())?;
    let officer: KeyText = serde_json::from_str(&keys.officer).map_err(|_| wrong())?;
    let officer = officer.parse().map_err(|_| wrong())?;
    envelope
        .verified(payload_type::OFFICER_KEYS, std::slice::from_ref(&officer))
        .map_err(|error| FileError::new(path, error))?;
    if keys.days.is_empty()
        || keys.days.len() > DAYS_MAX
        || !keys.days.is_sorted_by(|one, next| one.day < next.day)
    {
        return Err(wrong());
    }
    Ok(Opened { officer, keys })
}

/// The officer that a journal belongs to.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Pin {
    officer: KeyText,
    version: u64,
}

/// The keys that a journal seals to.
pub(crate) struct Cards {
    path: PathBuf,
    pin: PathBuf,
    held: Mutex<Held>,
}

#[derive(Default)]
struct Held {
    /// Of today and the days beside it.
    keys: Vec<(u32, SealingPublicKey)>,
    last_day: u32,
    version: u64,
    modified: Option<SystemTime>,
}

/// Why there is no key.
#[derive(Debug, thiserror::Error)]
pub enum CardsError {
    /// The file.
    #[error(transparent)]
    File(#[from] FileError),
    /// None for today.
    #[error(
        "{} has no key for {day}: have the officer run `einmal adapter officer renew` and send the \
         new file", path.display()
    )]
    NoKey {
        /// Which file.
        path: PathBuf,
        /// YYYY-MM-DD.
        day: String,
    },
    /// Somebody else's.
    #[error(
        "{} is signed by another officer ({got}) than this journal was begun with ({pinned}): \
         compare the fingerprint with the officer by telephone; if there is a new one, take \
         {} away and start again", path.display(), pin.display()
    )]
    OtherOfficer {
        /// Which file.
        path: PathBuf,
        /// Where the first one is remembered.
        pin: PathBuf,
        /// Whose it is.
        got: String,
        /// Whose it should be.
        pinned: String,
    },
    /// An old one.
    #[error(
        "{} has version {got}, and version {seen} was here before: take the officer's newest file",
        path.display()
    )]
    Older {
        /// Which file.
        path: PathBuf,
        /// Its version.
        got: u64,
        /// The one before.
        seen: u64,
    },
}

impl Cards {
    /// Reads the file and pins its officer.
    pub(crate) fn open(path: &Path, folder: &Path, today: u32) -> Result<Self, CardsError> {
        let cards = Self { path: path.to_owned(), pin: folder.join(PIN), held: Mutex::default() };
        let mut held = Held::default();
        cards.read(&mut held, today)?;
        *cards.held.lock().unwrap_or_else(PoisonError::into_inner) = held;
        cards.key(today)?;
        Ok(cards)
    }

    /// The key of a day that is now.
    pub(crate) fn key(&self, day: u32) -> Result<SealingPublicKey, CardsError> {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(key) = held.of(day) {
            return Ok(key);
        }
        // A day later than was thought of, or a newer file.
        if day <= held.last_day || self.is_newer(&held) {
            self.read(&mut held, day)?;
        }
        held.of(day)
            .ok_or_else(|| CardsError::NoKey { path: self.path.clone(), day: day_to_iso(day) })
    }

    /// Takes a newer file where there is one. What is not accepted leaves all as it was.
    pub(crate) fn refresh(&self, today: u32) -> Result<(), CardsError> {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let is_ready = held.of(today + 1).is_some() || today >= held.last_day;
        if is_ready && !self.is_newer(&held) {
            return Ok(());
        }
        self.read(&mut held, today)
    }

    /// When the last key ends, UTC milliseconds.
    pub(crate) fn ends_at_ms(&self) -> u64 {
        let held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        (u64::from(held.last_day) + 1) * DAY_MS
    }

    fn is_newer(&self, held: &Held) -> bool {
        std::fs::metadata(&self.path).and_then(|file| file.modified()).ok() != held.modified
    }

    fn read(&self, held: &mut Held, today: u32) -> Result<(), CardsError> {
        let modified = std::fs::metadata(&self.path).and_then(|file| file.modified()).ok();
        // Remembered also where it is refused, so that it is not read again and again.
        held.modified = modified;
        let Opened { officer, keys } = open(&self.path)?;
        self.check(&officer, keys.version)?;
        let near = keys.days.iter().filter(|card| (today..=today + 1).contains(&card.day));
        held.keys = near
            .map(|card| {
                let key = SealingPublicKey::new(Kem::XWing, &card.public_key)
                    .map_err(|error| FileError::new(&self.path, error))?;
                Ok((card.day, key))
            })
            .collect::<Result<_, FileError>>()?;
        held.last_day = keys.days.last().map_or(0, |card| card.day);
        held.version = keys.version;
        Ok(())
    }

    /// The officer stays the same, and versions never go back.
    fn check(&self, officer: &PublicKey, version: u64) -> Result<(), CardsError> {
        if let Some(bytes) = files::read_if_there(&self.pin)? {
            let failed = |error: &dyn std::fmt::Display| FileError::new(&self.pin, error);
            let pin: Pin = serde_json::from_slice(&bytes).map_err(|error| failed(&error))?;
            let pinned = pin.officer.parse().map_err(|error| failed(&error))?;
            if pinned != *officer {
                return Err(CardsError::OtherOfficer {
                    path: self.path.clone(),
                    pin: self.pin.clone(),
                    got: fingerprint(officer),
                    pinned: fingerprint(&pinned),
                });
            }
            if version < pin.version {
                let path = self.path.clone();
                return Err(CardsError::Older { path, got: version, seen: pin.version });
            }
            if version == pin.version {
                return Ok(());
            }
        }
        let pin = Pin { officer: KeyText::from(officer), version };
        let bytes =
            serde_json::to_vec_pretty(&pin).map_err(|error| FileError::new(&self.pin, error))?;
        Ok(files::replace(&self.pin, &bytes)?)
    }
}

impl Held {
    fn of(&self, day: u32) -> Option<SealingPublicKey> {
        self.keys.iter().find(|(of, _)| *of == day).map(|(_, key)| key.clone())
    }
}
