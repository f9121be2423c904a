// SPDX-License-Identifier: EUPL-1.2
//! What a register's data-protection officer holds, on a machine of their own: an identity key,
//! with a passphrase if they like, and one sealing key for each day, each in a file that opens only
//! with the identity key. Destroying a day's file forgets that day (FORGETS-ON-TIME), with every
//! copy of the journal that there is.

use std::{
    fs,
    io::{Seek, SeekFrom, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use einmal_peer::{
    files::{self, FileError},
    keyfile::OpenedKey,
    random,
};
use einmal_policy::root::KeyText;
use einmal_protocol::{
    envelope::payload_type,
    key::PublicKey,
    seal::SealingPrivateKey,
    time::{day_of, day_to_iso, parse_day},
    wire::v1::{Envelope, Kem},
};
use prost::Message;
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use zeroize::Zeroizing;

use super::cards::{self, DAYS_MAX, DayCard, OfficerKeys};

/// The identity key's file.
pub const KEY: &str = "officer.key";
/// The public file, for the adapter.
pub const CARDS: &str = "officer.cards";
const FOLDER: &str = "day-keys";
const ENDING: &str = "key";

/// An officer's folder, opened.
pub struct Officer {
    folder: PathBuf,
    key: OpenedKey,
    site: LessSafeKey,
}

impl std::fmt::Debug for Officer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Officer({})", self.folder.display())
    }
}

/// What was made and destroyed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Renewed {
    /// Days that got a key.
    pub made: Vec<u32>,
    /// Days whose key is gone for good.
    pub destroyed: Vec<u32>,
    /// The last day that has a key.
    pub last_day: u32,
    /// Version of the public file.
    pub version: u64,
}

impl Officer {
    /// The officer of a folder, whose identity key was opened already.
    ///
    /// # Errors
    /// Where a cipher fails.
    pub fn new(folder: &Path, key: OpenedKey) -> Result<Self, FileError> {
        let failed = |_| FileError::new(folder, "a cipher failed");
        let site = key.derive(b"officer day keys").map_err(failed)?;
        let site = UnboundKey::new(&AES_256_GCM, site.as_ref()).map_err(failed)?;
        Ok(Self { folder: folder.to_owned(), key, site: LessSafeKey::new(site) })
    }

    /// The public half of the identity key.
    pub fn public(&self) -> &PublicKey {
        self.key.key().public()
    }

    /// The public file.
    pub fn cards(&self) -> PathBuf {
        self.folder.join(CARDS)
    }

    /// Makes the keys that are missing from today on for so many days, writes the public file anew,
    /// and then destroys the keys of days that are older than the retention.
    ///
    /// # Errors
    /// Where files cannot be read or written, or there is no randomness.
    pub fn renew(&self, days: u32, retention_days: u32, now_ms: u64) -> Result<Renewed, FileError> {
        let today = day_of(now_ms);
        let folder = self.folder.join(FOLDER);
        fs::create_dir_all(&folder).map_err(|error| FileError::new(&folder, error))?;
        let before = match self.cards().exists() {
            true => Some(cards::open(&self.cards())?),
            false => None,
        };
        if before.as_ref().is_some_and(|before| before.officer != *self.public()) {
            return Err(FileError::new(&self.cards(), "signed by another officer's key"));
        }
        let (mut cards, version) = before.map_or((Vec::new(), 0), |before| {
            let known = before.keys.days.into_iter();
            (known.filter(|card| card.day >= today).collect(), before.keys.version)
        });
        let mut made = Vec::new();
        for day in today..today.saturating_add(days) {
            if !cards.iter().any(|card: &DayCard| card.day == day) {
                let key = match self.day_key(day)? {
                    Some(key) => key,
                    None => self.make(day)?,
                };
                cards.push(DayCard { day, public_key: key.public().bytes().to_vec() });
                made.push(day);
            }
        }
        sync(&folder)?;
        cards.sort_by_key(|card| card.day);
        if cards.len() > DAYS_MAX {
            let problem = format!("at most {DAYS_MAX} days can have keys ahead");
            return Err(FileError::new(&self.folder, problem));
        }
        let last_day = cards.last().map_or(today, |card| card.day);
        let version = version + 1;
        self.publish(OfficerKeys {
            officer: serde_json::to_string(&KeyText::from(self.public()))
                .map_err(|error| FileError::new(&self.cards(), error))?,
            version,
            issued_at_ms: now_ms,
            days: cards,
        })?;
        let destroyed = self.destroy_before(today.saturating_sub(retention_days))?;
        Ok(Renewed { made, destroyed, last_day, version })
    }

    fn publish(&self, keys: OfficerKeys) -> Result<(), FileError> {
        let signer = [self.key.key()];
        let signed = Envelope::sign(payload_type::OFFICER_KEYS, keys.encode_to_vec(), &signer)
            .map_err(|error| FileError::new(&self.cards(), error))?;
        files::replace(&self.cards(), &signed.encode_to_vec())
    }

    /// The private key of a day; nothing where it has none, or none any more.
    ///
    /// # Errors
    /// Where its file does not open with this identity key.
    pub fn day_key(&self, day: u32) -> Result<Option<SealingPrivateKey>, FileError> {
        let path = self.path(day);
        let Some(mut bytes) = files::read_if_there(&path)?.map(Zeroizing::new) else {
            return Ok(None);
        };
        let not_opened = || FileError::new(&path, "does not open with this officer's key");
        let (nonce, sealed) = bytes.split_first_chunk_mut::<NONCE_LEN>().ok_or_else(not_opened)?;
        let nonce = Nonce::assume_unique_for_key(*nonce);
        let aad = Aad::from(aad(day));
        let plain = self.site.open_in_place(nonce, aad, sealed).map_err(|_| not_opened())?;
        SealingPrivateKey::new(Kem::XWing, plain)
            .map(Some)
            .map_err(|error| FileError::new(&path, error))
    }

    fn make(&self, day: u32) -> Result<SealingPrivateKey, FileError> {
        let path = self.path(day);
        let failed = |error: &dyn std::fmt::Display| FileError::new(&path, error);
        let entropy = random::entropy().map_err(|error| failed(&error))?;
        let key =
            SealingPrivateKey::generate(Kem::XWing, entropy).map_err(|error| failed(&error))?;
        let nonce = random::bytes::<NONCE_LEN>().map_err(|error| failed(&error))?;
        let mut sealed = Zeroizing::new(Vec::with_capacity(key.secret_bytes().len() + 16));
        sealed.extend_from_slice(key.secret_bytes());
        self.site
            .seal_in_place_append_tag(
                Nonce::assume_unique_for_key(nonce),
                Aad::from(aad(day)),
                &mut *sealed,
            )
            .map_err(|error| failed(&error))?;
        let mut file = fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&path)
            .map_err(|error| failed(&error))?;
        file.write_all(&nonce)
            .and_then(|()| file.write_all(&sealed))
            .and_then(|()| file.sync_all())
            .map_err(|error| failed(&error))?;
        Ok(key)
    }

    /// Overwritten, synced, unlinked, and the folder synced. A disk that keeps old blocks keeps
    /// them under the identity key.
    fn destroy_before(&self, before: u32) -> Result<Vec<u32>, FileError> {
        let mut destroyed: Vec<u32> =
            self.days()?.into_iter().filter(|day| *day < before).collect();
        destroyed.sort_unstable();
        for day in &destroyed {
            let path = self.path(*day);
            destroy(&path).map_err(|error| FileError::new(&path, error))?;
        }
        sync(&self.folder.join(FOLDER))?;
        Ok(destroyed)
    }

    /// The days that have a private key.
    ///
    /// # Errors
    /// Where the folder cannot be read.
    pub fn days(&self) -> Result<Vec<u32>, FileError> {
        let folder = self.folder.join(FOLDER);
        let failed = |error| FileError::new(&folder, error);
        let mut days = Vec::new();
        for entry in fs::read_dir(&folder).map_err(failed)? {
            let path = entry.map_err(failed)?.path();
            if path.extension().is_some_and(|ending| ending == ENDING) {
                days.extend(path.file_stem().and_then(|name| name.to_str()).and_then(parse_day));
            }
        }
        Ok(days)
    }

    fn path(&self, day: u32) -> PathBuf {
        self.folder.join(FOLDER).join(format!("{}.{ENDING}", day_to_iso(day)))
    }
}

fn aad(day: u32) -> Vec<u8> {
    [b"einmal officer day key v1".as_slice(), &day.to_be_bytes()].concat()
}

fn destroy(path: &Path) -> std::io::Result<()> {
    let mut file = fs::OpenOptions::new().write(true).open(path)?;
    let length = usize::try_from(file.seek(SeekFrom::End(0))?).unwrap_or(usize::MAX);
    file.rewind()?;
    file.write_all(&vec![0; length.min(64 * 1024)])?;
    file.sync_all()?;
    fs::remove_file(path)
}

fn sync(folder: &Path) -> Result<(), FileError> {
    fs::File::open(folder)
        .and_then(|folder| folder.sync_all())
        .map_err(|error| FileError::new(folder, error))
}

#[cfg(test)]
#[path = "officer_tests.rs"]
pub(crate) mod tests;
