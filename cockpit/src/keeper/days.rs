// SPDX-License-Identifier: EUPL-1.2
//! Day keys: one X-Wing key pair for each UTC day, made 30 days ahead and kept in two folders,
//! each file encrypted under a key of the site. Everything that could link a record to a person
//! hangs on its day's key, so that destroying one file forgets one day (FORGETS-ON-TIME).

use std::{
    collections::{BTreeMap, HashMap},
    fs,
    io::Write,
    path::{Path, PathBuf},
    sync::{Arc, PoisonError, RwLock},
};

use einmal_protocol::{
    entropy::Entropy,
    key::SigningKey,
    seal::{SealError, SealingPrivateKey},
    time::{day_of, day_to_iso},
    wire::v1::{Envelope, Kem},
};
use ring::{
    aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey},
    hkdf, hmac,
    rand::{SecureRandom, SystemRandom},
};
use zeroize::Zeroizing;

use super::{card, day_files};

/// Keys are made for this many days ahead of today.
pub const DAYS_AHEAD: u32 = 30;
pub(super) const FOLDER: &str = "day-keys";
const CARD: &str = "key-card";

/// A tag: HMAC-SHA256 of a person's canonical form under the index key of one day.
pub(crate) type Tag = [u8; 32];

/// Where day keys lie.
#[derive(Clone, Debug)]
pub struct DayKeyFiles {
    /// The site's key: 32 random bytes, readable by its owner alone. Made if it is missing and
    /// there are no day keys yet.
    pub site_key: PathBuf,
    /// Each holds all day keys. On two disks they outlive one.
    pub folders: [PathBuf; 2],
}

/// One day's key with what is derived from it. Never printed.
pub(crate) struct DayKey {
    pub(crate) day: u32,
    pub(crate) private: SealingPrivateKey,
    index: hmac::Key,
    reseal: LessSafeKey,
}

impl DayKey {
    fn new(day: u32, private: SealingPrivateKey) -> Result<Self, DayKeyError> {
        let secret = hkdf::Salt::new(hkdf::HKDF_SHA256, b"einmal cockpit day key v1")
            .extract(private.secret_bytes());
        let derive = |label: &[u8]| {
            let mut bytes = Zeroizing::new([0; 32]);
            secret
                .expand(&[label], hkdf::HKDF_SHA256)
                .and_then(|okm| okm.fill(bytes.as_mut()))
                .map_err(|_| DayKeyError::Crypto)?;
            Ok::<_, DayKeyError>(bytes)
        };
        let index = hmac::Key::new(hmac::HMAC_SHA256, derive(b"index")?.as_ref());
        let reseal = aead_key(derive(b"re-seal")?.as_ref())?;
        Ok(Self { day, private, index, reseal })
    }

    /// The tag of a canonical form on this day.
    pub(crate) fn tag(&self, form: &[u8]) -> Tag {
        let mut tag = [0; 32];
        tag.copy_from_slice(hmac::sign(&self.index, form).as_ref());
        tag
    }

    /// Seals for the index.
    pub(crate) fn reseal(&self, aad: &[u8], plain: &[u8]) -> Result<Vec<u8>, DayKeyError> {
        encrypt(&self.reseal, aad, plain)
    }

    /// Opens what [`DayKey::reseal`] made.
    pub(crate) fn unseal(
        &self,
        aad: &[u8],
        sealed: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, DayKeyError> {
        decrypt(&self.reseal, aad, sealed).ok_or(DayKeyError::Crypto)
    }
}

#[derive(Default)]
struct Ring {
    by_day: BTreeMap<u32, Arc<DayKey>>,
    by_id: HashMap<Vec<u8>, Arc<DayKey>>,
}

/// The day keys that are there, shared by all parts of the keeper.
#[derive(Clone, Default)]
pub(crate) struct KeyRing(Arc<RwLock<Ring>>);

impl KeyRing {
    /// A day's key.
    pub(crate) fn day(&self, day: u32) -> Option<Arc<DayKey>> {
        self.read().by_day.get(&day).cloned()
    }

    /// The key that a sealed message names.
    pub(crate) fn by_id(&self, id: &[u8]) -> Option<Arc<DayKey>> {
        self.read().by_id.get(id).cloned()
    }

    /// All keys from a day on, oldest first.
    pub(crate) fn since(&self, day: u32) -> Vec<Arc<DayKey>> {
        self.read().by_day.range(day..).map(|(_, key)| key.clone()).collect()
    }

    /// Forgets the keys of all days before this one. Each private key is wiped with its last user.
    pub(crate) fn forget_before(&self, day: u32) {
        let mut ring = self.0.write().unwrap_or_else(PoisonError::into_inner);
        ring.by_day = ring.by_day.split_off(&day);
        ring.by_id.retain(|_, key| key.day >= day);
    }

    fn insert(&self, key: DayKey) {
        let key = Arc::new(key);
        let mut ring = self.0.write().unwrap_or_else(PoisonError::into_inner);
        ring.by_id.insert(key.private.public().id(), key.clone());
        ring.by_day.insert(key.day, key);
    }

    fn read(&self) -> std::sync::RwLockReadGuard<'_, Ring> {
        // Inserting into a map leaves nothing half done.
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The day keys with their files, and the card that announces them.
pub struct DayKeys {
    participant: String,
    identity: Arc<SigningKey>,
    files: DayKeyFiles,
    site: LessSafeKey,
    ring: KeyRing,
    card: Option<Envelope>,
}

impl std::fmt::Debug for DayKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "DayKeys({})", self.participant)
    }
}

impl DayKeys {
    /// Reads all day keys that are there and makes those that are missing from today on.
    ///
    /// # Errors
    /// Where the site key or a day key does not open, or a folder cannot be written.
    pub fn open(
        participant: String,
        identity: Arc<SigningKey>,
        files: DayKeyFiles,
        now_ms: u64,
    ) -> Result<Self, DayKeyError> {
        for folder in &files.folders {
            let folder = folder.join(FOLDER);
            fs::create_dir_all(&folder).map_err(|source| DayKeyError::file(&folder, source))?;
        }
        let site = site_key(&files)?;
        let mut this =
            Self { participant, identity, files, site, ring: KeyRing::default(), card: None };
        for day in day_files::days(&this.files)? {
            this.load(day)?;
        }
        this.card = card::newest(this.files.folders.iter().map(|folder| folder.join(CARD)))?;
        this.make_ahead(now_ms)?;
        Ok(this)
    }

    /// The keys, shared.
    pub(crate) fn ring(&self) -> KeyRing {
        self.ring.clone()
    }

    /// The current key card: a new version where the keys to announce have changed, which they do
    /// each day.
    ///
    /// # Errors
    /// Where keys cannot be made, the card cannot be signed, or a folder cannot be written.
    pub fn card(&mut self, now_ms: u64) -> Result<Envelope, DayKeyError> {
        self.make_ahead(now_ms)?;
        let keys = self.ring.since(day_of(now_ms).saturating_sub(1));
        let announced = card::announce(&keys, now_ms);
        let last = self.card.as_ref();
        if let Some(last) = last.filter(|last| {
            card::still_says(last, &self.participant, &announced, self.identity.public())
        }) {
            return Ok(last.clone());
        }
        let next = card::next(last, &self.participant, announced, now_ms, &self.identity)?;
        // Stored before it is handed out, so that no version is ever used twice.
        let bytes = prost::Message::encode_to_vec(&next);
        for folder in &self.files.folders {
            write_whole(&folder.join(CARD), &bytes)?;
        }
        self.card = Some(next.clone());
        Ok(next)
    }

    fn make_ahead(&mut self, now_ms: u64) -> Result<(), DayKeyError> {
        let today = day_of(now_ms);
        for day in today..=today.saturating_add(DAYS_AHEAD) {
            if self.ring.day(day).is_none() && !self.load(day)? {
                self.make(day)?;
            }
        }
        Ok(())
    }

    /// One day's key, from files that a running keeper may be working with: makes and mends
    /// nothing. Nothing where the day has no key, or none any more.
    ///
    /// # Errors
    /// Where the site key or the day's key does not open.
    pub(crate) fn one(files: &DayKeyFiles, day: u32) -> Result<Option<DayKey>, DayKeyError> {
        let site = read(&files.site_key)?
            .map(Zeroizing::new)
            .ok_or_else(|| DayKeyError::SiteKeyLost(files.site_key.clone()))?;
        let site = aead_key(&site).map_err(|_| DayKeyError::SiteKey(files.site_key.clone()))?;
        for path in paths(files, day) {
            if let Some(bytes) = read(&path)? {
                let plain = decrypt(&site, &day_aad(day), &bytes)
                    .ok_or_else(|| DayKeyError::NotOpened(path.clone()))?;
                return DayKey::new(day, SealingPrivateKey::new(Kem::XWing, &plain)?).map(Some);
            }
        }
        Ok(None)
    }

    /// Reads a day's key from the first folder that has it, and puts it back into the one that
    /// has lost it. False where neither has it.
    fn load(&self, day: u32) -> Result<bool, DayKeyError> {
        let paths = paths(&self.files, day);
        let mut found: Option<(Vec<u8>, Zeroizing<Vec<u8>>)> = None;
        let mut missing = Vec::new();
        for path in &paths {
            let Some(bytes) = read(path)? else {
                missing.push(path);
                continue;
            };
            let plain = decrypt(&self.site, &day_aad(day), &bytes)
                .ok_or_else(|| DayKeyError::NotOpened(path.clone()))?;
            match &found {
                Some((_, first)) if *first != plain => {
                    return Err(DayKeyError::Differ(day_to_iso(day)));
                }
                Some(_) => (),
                None => found = Some((bytes, plain)),
            }
        }
        let Some((bytes, plain)) = found else { return Ok(false) };
        for path in missing {
            write_whole(path, &bytes)?;
        }
        self.ring.insert(DayKey::new(day, SealingPrivateKey::new(Kem::XWing, &plain)?)?);
        Ok(true)
    }

    fn make(&self, day: u32) -> Result<(), DayKeyError> {
        let mut seed = [0; 32];
        random(&mut seed)?;
        let private = SealingPrivateKey::generate(Kem::XWing, Entropy::new(seed))?;
        let bytes = encrypt(&self.site, &day_aad(day), private.secret_bytes())?;
        for path in &paths(&self.files, day) {
            write_whole(path, &bytes)?;
        }
        self.ring.insert(DayKey::new(day, private)?);
        Ok(())
    }
}

fn paths(files: &DayKeyFiles, day: u32) -> [PathBuf; 2] {
    let name = format!("{}.key", day_to_iso(day));
    files.folders.each_ref().map(|folder| folder.join(FOLDER).join(&name))
}

fn day_aad(day: u32) -> Vec<u8> {
    [b"einmal day key v1".as_slice(), &day.to_be_bytes()].concat()
}

/// Reads the site's key, or makes it where nothing was ever encrypted under one.
fn site_key(files: &DayKeyFiles) -> Result<LessSafeKey, DayKeyError> {
    let path = &files.site_key;
    if let Some(bytes) = read(path)?.map(Zeroizing::new) {
        only_its_owner(path)?;
        return aead_key(&bytes).map_err(|_| DayKeyError::SiteKey(path.clone()));
    }
    for folder in &files.folders {
        let folder = folder.join(FOLDER);
        let mut there =
            fs::read_dir(&folder).map_err(|source| DayKeyError::file(&folder, source))?;
        if there.next().is_some() {
            return Err(DayKeyError::SiteKeyLost(path.clone()));
        }
    }
    let mut bytes = Zeroizing::new([0; 32]);
    random(bytes.as_mut())?;
    write_whole(path, bytes.as_ref())?;
    aead_key(bytes.as_ref())
}

#[cfg(unix)]
fn only_its_owner(path: &Path) -> Result<(), DayKeyError> {
    use std::os::unix::fs::PermissionsExt;
    let metadata = fs::metadata(path).map_err(|source| DayKeyError::file(path, source))?;
    if metadata.permissions().mode() & 0o077 != 0 {
        return Err(DayKeyError::Open(path.to_owned()));
    }
    Ok(())
}

#[cfg(not(unix))]
fn only_its_owner(_path: &Path) -> Result<(), DayKeyError> {
    Ok(())
}

fn read(path: &Path) -> Result<Option<Vec<u8>>, DayKeyError> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(DayKeyError::file(path, source)),
    }
}

/// Writes a file that is there whole or not at all, readable by its owner alone.
fn write_whole(path: &Path, bytes: &[u8]) -> Result<(), DayKeyError> {
    let new = path.with_extension("new");
    let write = || {
        let mut options = fs::OpenOptions::new();
        options.write(true).create(true).truncate(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let mut file = options.open(&new)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&new, path)?;
        match path.parent() {
            Some(folder) if !folder.as_os_str().is_empty() => fs::File::open(folder)?.sync_all(),
            _ => Ok(()),
        }
    };
    write().map_err(|source| DayKeyError::file(path, source))
}

/// Fills with the system's randomness.
pub(crate) fn random(into: &mut [u8]) -> Result<(), DayKeyError> {
    SystemRandom::new().fill(into).map_err(|_| DayKeyError::Crypto)
}

/// An AES-256-GCM key of 32 bytes.
pub(crate) fn aead_key(bytes: &[u8]) -> Result<LessSafeKey, DayKeyError> {
    UnboundKey::new(&AES_256_GCM, bytes).map(LessSafeKey::new).map_err(|_| DayKeyError::Crypto)
}

/// Nonce, ciphertext, tag. Nonces are random: a day has far fewer than 2^32 records.
pub(crate) fn encrypt(key: &LessSafeKey, aad: &[u8], plain: &[u8]) -> Result<Vec<u8>, DayKeyError> {
    let mut nonce = [0; NONCE_LEN];
    random(&mut nonce)?;
    let mut sealed = Vec::with_capacity(NONCE_LEN + plain.len() + AES_256_GCM.tag_len());
    sealed.extend_from_slice(plain);
    let tag = key
        .seal_in_place_separate_tag(
            Nonce::assume_unique_for_key(nonce),
            Aad::from(aad),
            &mut sealed,
        )
        .map_err(|_| DayKeyError::Crypto)?;
    sealed.extend_from_slice(tag.as_ref());
    sealed.splice(0..0, nonce);
    Ok(sealed)
}

/// Opens what [`encrypt`] made.
pub(crate) fn decrypt(key: &LessSafeKey, aad: &[u8], sealed: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    let (nonce, rest) = sealed.split_first_chunk::<NONCE_LEN>()?;
    let mut plain = Zeroizing::new(rest.to_vec());
    let length = key
        .open_in_place(Nonce::assume_unique_for_key(*nonce), Aad::from(aad), &mut plain)
        .ok()?
        .len();
    plain.truncate(length);
    Some(plain)
}

/// Why day keys cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DayKeyError {
    /// A file.
    #[error("`{path}` cannot be read or written: check that it is there and who owns it")]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Not 32 bytes.
    #[error("`{0}` is not a site key: it must be 32 random bytes")]
    SiteKey(PathBuf),
    /// Missing while there are day keys.
    #[error("the site key `{0}` is missing but there are day keys: restore it")]
    SiteKeyLost(PathBuf),
    /// Others may read it.
    #[error("`{0}` can be read by others: set its mode to 0600")]
    Open(PathBuf),
    /// Encrypted under another site key, or damaged.
    #[error("`{0}` does not open under the site key: restore it from the other folder")]
    NotOpened(PathBuf),
    /// The two copies are different keys.
    #[error("the two copies of the key of {0} differ: find out which one the key card names")]
    Differ(String),
    /// The stored card is not one.
    #[error("the stored key card `{0}` cannot be read: restore it from the other folder")]
    Card(PathBuf),
    /// A sealing key.
    #[error(transparent)]
    Seal(#[from] SealError),
    /// The card could not be signed.
    #[error("the key card could not be signed")]
    Sign(#[source] einmal_protocol::key::KeyError),
    /// A cipher failed or there is no randomness.
    #[error("a cipher failed or the system gave no randomness")]
    Crypto,
}

impl DayKeyError {
    pub(super) fn file(path: &Path, source: std::io::Error) -> Self {
        Self::File { path: path.to_owned(), source }
    }
}
