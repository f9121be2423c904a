// SPDX-License-Identifier: EUPL-1.2
//! The trust a party holds: verified from the pinned root, remembered across restarts, and for
//! ten minutes beside the one before, so that a switch drops no exchange.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, PoisonError, RwLock},
};

use einmal_policy::{
    Trust, TrustState,
    trust::{Documents, TrustError},
};
use einmal_protocol::{
    Digest,
    wire::{
        directory::v1::{GetTrustRequest, directory_service_client::DirectoryServiceClient},
        v1::Envelope,
    },
};
use tonic::transport::Channel;

use crate::{
    dial::MESSAGE_MAX,
    files::{self, FileError},
};

/// How long the trust before the current one still counts.
pub const OVERLAP_MS: u64 = 10 * 60_000;
/// Rules and directory together may be this long.
const TRUST_MAX: usize = 48 * 1024 * 1024;

/// Holds the current trust.
pub struct TrustStore {
    pinned: Envelope,
    state_file: PathBuf,
    held: RwLock<Held>,
}

struct Held {
    state: TrustState,
    documents: Documents,
    current: Arc<Trust>,
    /// The one before, and when it was replaced.
    before: Option<(Arc<Trust>, u64)>,
}

impl std::fmt::Debug for TrustStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "TrustStore({})", self.state_file.display())
    }
}

impl TrustStore {
    /// Verifies documents against the pinned root and what the state file remembers.
    ///
    /// # Errors
    /// Where the documents are not accepted, or the state cannot be read or written.
    pub fn open(
        pinned: Envelope,
        documents: Documents,
        state_file: &Path,
        now_ms: u64,
    ) -> Result<Self, TrustStoreError> {
        let state = match files::read_if_there(state_file)? {
            Some(bytes) => {
                serde_json::from_slice(&bytes).map_err(|error| FileError::new(state_file, error))?
            }
            None => TrustState::default(),
        };
        let (trust, state) = Trust::accept(&pinned, &documents, &state, now_ms)?;
        remember(state_file, &state)?;
        let held = Held { state, documents, current: Arc::new(trust), before: None };
        Ok(Self { pinned, state_file: state_file.to_owned(), held: RwLock::new(held) })
    }

    /// Takes newer documents. The state is durable before they count.
    ///
    /// # Errors
    /// Where they are not accepted; what was held before goes on.
    pub fn renew(&self, documents: Documents, now_ms: u64) -> Result<(), TrustStoreError> {
        let mut held = self.held.write().unwrap_or_else(PoisonError::into_inner);
        if documents == held.documents {
            return Ok(());
        }
        let (trust, state) = Trust::accept(&self.pinned, &documents, &held.state, now_ms)?;
        remember(&self.state_file, &state)?;
        let before = std::mem::replace(&mut held.current, Arc::new(trust));
        held.before = Some((before, now_ms));
        held.state = state;
        held.documents = documents;
        Ok(())
    }

    /// The current trust.
    pub fn current(&self) -> Arc<Trust> {
        Arc::clone(&self.held.read().unwrap_or_else(PoisonError::into_inner).current)
    }

    /// The documents, to hand on.
    pub fn documents(&self) -> Documents {
        self.held.read().unwrap_or_else(PoisonError::into_inner).documents.clone()
    }

    /// The pinned root.
    pub fn pinned(&self) -> &Envelope {
        &self.pinned
    }

    /// The trust that a permit was decided under: the current one, or for ten minutes the one
    /// before.
    pub fn of_permit(&self, rules: Digest, directory: Digest, now_ms: u64) -> Option<Arc<Trust>> {
        let held = self.held.read().unwrap_or_else(PoisonError::into_inner);
        if held.current.is_of(rules, directory) {
            return Some(Arc::clone(&held.current));
        }
        held.before
            .as_ref()
            .filter(|(_, since)| now_ms < since.saturating_add(OVERLAP_MS))
            .filter(|(trust, _)| trust.is_of(rules, directory))
            .map(|(trust, _)| Arc::clone(trust))
    }
}

fn remember(path: &Path, state: &TrustState) -> Result<(), FileError> {
    let bytes = serde_json::to_vec_pretty(state).map_err(|error| FileError::new(path, error))?;
    files::replace(path, &bytes)
}

/// Asks a broker for the documents. They are worth nothing until they are verified.
///
/// # Errors
/// Where the broker does not answer.
pub async fn fetch(channel: Channel) -> Result<Documents, tonic::Status> {
    let answer = DirectoryServiceClient::new(channel)
        .max_decoding_message_size(TRUST_MAX)
        .max_encoding_message_size(MESSAGE_MAX)
        .get_trust(GetTrustRequest {})
        .await?
        .into_inner();
    let missing = || tonic::Status::unavailable("the broker has no rules or directory");
    Ok(Documents {
        roots: answer.roots,
        rules: answer.rules.ok_or_else(missing)?,
        directory: answer.directory.ok_or_else(missing)?,
    })
}

/// Why there is no trust.
#[derive(Debug, thiserror::Error)]
pub enum TrustStoreError {
    /// Documents not accepted.
    #[error(transparent)]
    Trust(#[from] TrustError),
    /// State file.
    #[error(transparent)]
    File(#[from] FileError),
}
