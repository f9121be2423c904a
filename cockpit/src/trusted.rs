// SPDX-License-Identifier: EUPL-1.2
//! What rules and directory say, for the keeper's checks and the pages' words. Every version that
//! was accepted once is kept, since old records are read under it.

use std::sync::{Arc, PoisonError, RwLock};

use einmal_peer::{Archive, TrustStore, archive::Kind, files::FileError};
use einmal_policy::{Directory, rules_document::Texts};
use einmal_protocol::{Digest, key::PublicKey, wire::v1::Envelope};

use crate::{
    keeper::{self, Participants},
    pages::{Participation, Vocabulary},
};

/// Trust of now and of before.
pub struct Trusted {
    trust: Arc<TrustStore>,
    archive: Arc<Archive>,
    /// All directories ever accepted, the newest last.
    directories: RwLock<Vec<Arc<Directory>>>,
}

impl Trusted {
    /// Reads what the archive holds, into which `trust` puts what it accepts.
    ///
    /// # Errors
    /// Where the archive cannot be read.
    pub fn open(trust: Arc<TrustStore>, archive: Arc<Archive>) -> Result<Self, FileError> {
        let mut kept = Vec::new();
        for envelope in archive.all(Kind::Directory)? {
            // It was verified before it was kept.
            match Directory::parse(&envelope?.payload) {
                Ok(directory) => kept.push(Arc::new(directory)),
                Err(error) => tracing::error!(%error, "an archived directory is passed over"),
            }
        }
        kept.sort_by_key(|directory| directory.document().version);
        let this = Self { trust, archive, directories: RwLock::new(kept) };
        this.note_directory();
        Ok(this)
    }

    /// Notes the current directory. To be called after each change.
    pub fn note_directory(&self) {
        // Whose keys are denied now signed what was logged before.
        let current = Arc::clone(self.trust.current().signed_directory());
        let mut known = self.directories.write().unwrap_or_else(PoisonError::into_inner);
        if !known.iter().any(|directory| directory.digest() == current.digest()) {
            known.push(current);
        }
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

impl keeper::Archive for Trusted {
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
        found(self.archive.rules(digest)).unwrap_or_default()
    }

    fn directory(&self, digest: Digest) -> Option<Envelope> {
        found(self.archive.directory(digest))
    }
}

fn found<T>(read: Result<Option<T>, FileError>) -> Option<T> {
    read.unwrap_or_else(|error| {
        tracing::error!(%error, "alarm: an archived document cannot be read");
        None
    })
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

    fn policy(&self, id: &str) -> Option<(String, Texts)> {
        let trust = self.trust.current();
        trust.rules.policy(id).map(|text| {
            let (de, en) = (text.text_de.clone(), text.text_en.clone());
            (text.legal_basis.clone(), Texts { de_leicht: de.clone(), de, en })
        })
    }

    fn authority_region(&self, id: &str) -> Option<String> {
        self.newest(|directory| directory.authority(id).map(|found| found.entry.region.clone()))
    }

    fn participants(&self) -> Participation {
        let trust = self.trust.current();
        let document = trust.directory.document();
        let mut all = Participation {
            authorities: document.authorities.iter().map(|each| each.name.clone()).collect(),
            registers: document
                .registers
                .iter()
                .map(|each| (each.name.clone(), each.evidence_types.clone()))
                .collect(),
        };
        all.authorities.sort_unstable();
        all.registers.sort_unstable();
        all
    }
}
