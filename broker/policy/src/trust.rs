// SPDX-License-Identifier: EUPL-1.2
//! What a party trusts at one moment: root, rules and directory, all verified from the pinned
//! root, none older than what was accepted before.

use std::sync::Arc;

use einmal_protocol::{Digest, Reason, envelope::payload_type, wire::v1::Envelope};
use serde::{Deserialize, Serialize};

use crate::{
    chain::{Accepted, Candidate, ChainError, check_expiry},
    directory::{Directory, DirectoryError},
    root::{Role, Root, RootError},
    rules::{Rules, RulesError},
};

/// What must survive a restart, so that nobody can roll a party back.
#[derive(Clone, Debug, Default, Serialize, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct TrustState {
    /// Newest root.
    #[serde(default)]
    pub root: Option<Accepted>,
    /// Newest rules.
    #[serde(default)]
    pub rules: Option<Accepted>,
    /// Newest directory.
    #[serde(default)]
    pub directory: Option<Accepted>,
}

/// The signed documents as they travel.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Documents {
    /// From version 1 on.
    pub roots: Vec<Envelope>,
    /// Current rules.
    pub rules: Envelope,
    /// Current directory.
    pub directory: Envelope,
}

/// Verified trust. One exchange uses one of these from start to end.
#[derive(Clone, Debug)]
pub struct Trust {
    /// The root.
    pub root: Root,
    /// The rules.
    pub rules: Arc<Rules>,
    /// The directory.
    pub directory: Arc<Directory>,
}

impl Trust {
    /// Verifies documents from the pinned root and against what was accepted before. The new
    /// state must be made durable before the trust is used.
    ///
    /// # Errors
    /// Names the document that is not accepted, and why.
    pub fn accept(
        pinned: &Envelope,
        documents: &Documents,
        state: &TrustState,
        now_ms: u64,
    ) -> Result<(Self, TrustState), TrustError> {
        let root = Root::pinned(pinned)?.walk(&documents.roots, now_ms)?;
        if let Some(before) = &state.root {
            let (got, accepted) = (root.accepted().version, before.version);
            if got < accepted {
                return Err(ChainError::Rollback { what: "root", got, accepted }.into());
            }
            if got == accepted && root.accepted() != before {
                return Err(ChainError::Fork { what: "root", version: got }.into());
            }
        }
        let both = [Role::RegisterAuthority, Role::DataProtectionOfficer];
        root.check_signed(&documents.rules, payload_type::RULES, &both)
            .map_err(TrustError::RulesSignature)?;
        let one = [Role::RegisterAuthority];
        root.check_signed(&documents.directory, payload_type::DIRECTORY, &one)
            .map_err(TrustError::DirectorySignature)?;
        let rules = Rules::parse(&documents.rules.payload)?;
        let directory = Directory::parse(&documents.directory.payload)?;
        let accepted_rules = Candidate {
            what: "rules",
            version: rules.document().version,
            previous: rules.document().previous.as_deref(),
            expires_at_ms: rules.document().expires_at_ms,
            digest: rules.digest(),
        }
        .accept(state.rules.as_ref(), now_ms)?;
        let accepted_directory = Candidate {
            what: "directory",
            version: directory.document().version,
            previous: directory.document().previous.as_deref(),
            expires_at_ms: directory.document().expires_at_ms,
            digest: directory.digest(),
        }
        .accept(state.directory.as_ref(), now_ms)?;
        let (got, lowest) = (rules.document().version, directory.document().lowest_rules_version);
        if got < lowest {
            return Err(ChainError::Rollback { what: "rules", got, accepted: lowest }.into());
        }
        let state = TrustState {
            root: Some(root.accepted().clone()),
            rules: Some(accepted_rules),
            directory: Some(accepted_directory),
        };
        Ok((Self { root, rules: Arc::new(rules), directory: Arc::new(directory) }, state))
    }

    /// Verifies documents of the past, for replay and for exported records: signatures count,
    /// expiry and newer versions do not.
    ///
    /// # Errors
    /// As `accept`.
    pub fn of_the_past(pinned: &Envelope, documents: &Documents) -> Result<Self, TrustError> {
        Self::accept(pinned, documents, &TrustState::default(), 0).map(|(trust, _)| trust)
    }

    /// Whether all three are still good.
    ///
    /// # Errors
    /// `RulesExpired` where one is over.
    pub fn check_time(&self, now_ms: u64) -> Result<(), Reason> {
        let ends = [
            ("root", self.root.document().expires_at_ms),
            ("rules", self.rules.document().expires_at_ms),
            ("directory", self.directory.document().expires_at_ms),
        ];
        ends.into_iter()
            .try_for_each(|(what, end)| check_expiry(what, end, now_ms))
            .map_err(|_| Reason::RulesExpired)
    }

    /// Whether a permit was decided under these rules and this directory.
    pub fn is_of(&self, rules: Digest, directory: Digest) -> bool {
        self.rules.digest() == rules && self.directory.digest() == directory
    }
}

/// Why documents are not accepted.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum TrustError {
    /// The root.
    #[error("root: {0}")]
    Root(#[from] RootError),
    /// Too few signatures on the rules.
    #[error("rules: {0}")]
    RulesSignature(#[source] RootError),
    /// Too few signatures on the directory.
    #[error("directory: {0}")]
    DirectorySignature(#[source] RootError),
    /// The rules.
    #[error("rules: {0}")]
    Rules(#[from] RulesError),
    /// The directory.
    #[error("directory: {0}")]
    Directory(#[from] DirectoryError),
    /// Version, digest or expiry.
    #[error(transparent)]
    Chain(#[from] ChainError),
}

#[cfg(test)]
#[path = "trust_tests.rs"]
mod tests;
