// SPDX-License-Identifier: EUPL-1.2
//! What rules and directory say, for the keeper's checks and the pages' words. Every version that
//! was accepted once is kept, since old records are read under it.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, PoisonError, RwLock},
};

use einmal_peer::{
    TrustStore,
    files::{self, FileError},
};
use einmal_policy::{Directory, rules_document::Texts};
use einmal_protocol::{
    Digest,
    digest::hex,
    key::PublicKey,
    wire::{directory::v1::GetTrustResponse, v1::Envelope},
};
use prost::Message;

use crate::{
    keeper::{Archive, Participants},
    pages::Vocabulary,
};

/// Trust of now and of before.
pub struct Trusted {
    trust: Arc<TrustStore>,
    folder: PathBuf,
    /// All directories ever accepted, the newest last.
    directories: RwLock<Vec<Arc<Directory>>>,
}

impl Trusted {
    /// Reads what was kept, and keeps what is current.
    ///
    /// # Errors
    /// Where the folder cannot be used.
    pub fn open(trust: Arc<TrustStore>, folder: &Path) -> Result<Self, FileError> {
        let this = Self { trust, folder: folder.to_owned(), directories: RwLock::default() };
        std::fs::create_dir_all(folder).map_err(|error| FileError::new(folder, error))?;
        let entries = std::fs::read_dir(folder).map_err(|error| FileError::new(folder, error))?;
        let mut kept = Vec::new();
        for entry in entries {
            let path = entry.map_err(|error| FileError::new(folder, error))?.path();
            if path.extension().is_some_and(|ending| ending == "directory") {
                // It was verified before it was kept.
                let envelope = files::envelope(&path)?;
                if let Ok(directory) = Directory::parse(&envelope.payload) {
                    kept.push(Arc::new(directory));
                }
            }
        }
        kept.sort_by_key(|directory| directory.document().version);
        *this.directories.write().unwrap_or_else(PoisonError::into_inner) = kept;
        this.keep()?;
        Ok(this)
    }

    /// Keeps what is current. To be called after each change.
    ///
    /// # Errors
    /// Where the folder cannot be written.
    pub fn keep(&self) -> Result<(), FileError> {
        let documents = self.trust.documents();
        let trust = self.trust.current();
        let path = self.path(trust.directory.digest(), "directory");
        if !path.exists() {
            files::replace(&path, &documents.directory.encode_to_vec())?;
        }
        let path = self.path(trust.rules.digest(), "rules");
        if !path.exists() {
            let chain = GetTrustResponse { rules: documents.rules.clone(), ..<_>::default() };
            files::replace(&path, &chain.encode_to_vec())?;
        }
        // Whose keys are denied now signed what was logged before.
        let current = Arc::clone(trust.signed_directory());
        let mut known = self.directories.write().unwrap_or_else(PoisonError::into_inner);
        if !known.iter().any(|directory| directory.digest() == current.digest()) {
            known.push(current);
        }
        Ok(())
    }

    fn path(&self, digest: Digest, ending: &str) -> PathBuf {
        self.folder.join(format!("{}.{ending}", hex(digest.as_bytes())))
    }

    /// The newest directory that answers.
    fn newest<T>(&self, find: impl Fn(&Directory) -> Option<T>) -> Option<T> {
        let known = self.directories.read().unwrap_or_else(PoisonError::into_inner);
        known.iter().rev().find_map(|directory| find(directory))
    }

    /// All keys that a participant ever had.
    fn keys(&self, find: impl Fn(&Directory) -> Option<Vec<PublicKey>>) -> Option<Vec<PublicKey>> {
        let known = self.directories.read().unwrap_or_else(PoisonError::into_inner);
        let mut all: Vec<PublicKey> =
            known.iter().filter_map(|directory| find(directory)).flatten().collect();
        all.sort_unstable();
        all.dedup();
        (!all.is_empty()).then_some(all)
    }
}

impl Participants for Trusted {
    fn authority_keys(&self, id: &str) -> Option<Vec<PublicKey>> {
        self.keys(|directory| directory.authority(id).map(|found| found.keys.clone()))
    }

    fn register_keys(&self, id: &str) -> Option<Vec<PublicKey>> {
        self.keys(|directory| directory.register(id).map(|found| found.keys.clone()))
    }

    fn slots(&self, evidence_type: &str) -> Option<u32> {
        self.trust.current().rules.evidence_type(evidence_type).map(|kind| kind.slots)
    }
}

impl Archive for Trusted {
    fn roots(&self) -> Vec<Envelope> {
        let mut roots = vec![self.trust.pinned().clone()];
        for root in &self.trust.documents().roots {
            if !roots.contains(root) {
                roots.push(root.clone());
            }
        }
        roots
    }

    fn rules(&self, digest: Digest) -> Vec<Envelope> {
        let kept = files::read(&self.path(digest, "rules")).ok();
        let chain = kept.and_then(|bytes| GetTrustResponse::decode(bytes.as_slice()).ok());
        chain.map(|chain| chain.rules).unwrap_or_default()
    }

    fn directory(&self, digest: Digest) -> Option<Envelope> {
        files::envelope(&self.path(digest, "directory")).ok()
    }
}

impl Vocabulary for Trusted {
    fn purpose(&self, id: &str) -> Option<Texts> {
        self.trust.current().rules.purpose(id).map(|purpose| purpose.texts.clone())
    }

    fn legal_basis(&self, purpose: &str) -> Vec<String> {
        let trust = self.trust.current();
        trust.rules.purpose(purpose).map(|found| found.legal_basis.clone()).unwrap_or_default()
    }

    fn evidence_type(&self, id: &str) -> Option<Texts> {
        self.trust.current().rules.evidence_type(id).map(|kind| kind.texts.clone())
    }

    fn field(&self, evidence_type: &str, name: &str) -> Option<Texts> {
        let trust = self.trust.current();
        let kind = trust.rules.evidence_type(evidence_type)?;
        kind.fields.iter().find(|field| field.name == name).map(|field| field.texts.clone())
    }

    fn authority_name(&self, id: &str) -> Option<String> {
        self.newest(|directory| directory.authority(id).map(|found| found.entry.name.clone()))
    }

    fn register_name(&self, id: &str) -> Option<String> {
        self.newest(|directory| directory.register(id).map(|found| found.entry.name.clone()))
    }

    fn policy(&self, id: &str) -> Option<(String, String)> {
        let trust = self.trust.current();
        trust.rules.policy(id).map(|text| (text.legal_basis.clone(), text.text_de.clone()))
    }
}
