// SPDX-License-Identifier: EUPL-1.2
//! Freshness: what an online key says, every few minutes, the newest documents are (TUF 1.0's
//! timestamp and snapshot in one). Without it nobody can know that a newer deny list is withheld,
//! so whoever has none that is young enough refuses. It names digests and grants nothing.

use einmal_protocol::{envelope::payload_type, wire::v1::Envelope};
use serde::{Deserialize, Serialize};

use crate::{
    chain::{Accepted, ChainError},
    root::{Role, Root, RootError},
};

/// Older than this, nothing is decided any more.
pub const STALE_MS: u64 = 60 * 60_000;
/// The online key signs this often.
pub const SIGN_EVERY_MS: u64 = 10 * 60_000;
/// A clock may differ by this much.
const AHEAD_MS: u64 = 2 * 60_000;
const FRESHNESS_MAX: usize = 4 * 1024;

/// What was newest at a time, as it is signed.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct Freshness {
    /// UTC milliseconds.
    pub issued_at_ms: u64,
    /// The rules.
    pub rules: Accepted,
    /// The directory.
    pub directory: Accepted,
    /// The deny list.
    pub deny: Accepted,
}

impl Freshness {
    /// Verifies what the online role says, which may not be older than what it said before.
    ///
    /// # Errors
    /// Where it is malformed, not signed by the online role, older, or of the future.
    pub fn accept(
        envelope: &Envelope,
        root: &Root,
        before_ms: u64,
        now_ms: u64,
    ) -> Result<Self, FreshnessError> {
        if envelope.payload.len() > FRESHNESS_MAX {
            return Err(FreshnessError::Form("too long".to_owned()));
        }
        root.check_signed(envelope, payload_type::FRESHNESS, &[Role::Online])
            .map_err(FreshnessError::Signature)?;
        let this: Self = serde_json::from_slice(&envelope.payload)
            .map_err(|error| FreshnessError::Form(error.to_string()))?;
        if this.issued_at_ms < before_ms {
            return Err(FreshnessError::Older);
        }
        if this.issued_at_ms > now_ms.saturating_add(AHEAD_MS) {
            return Err(FreshnessError::Ahead);
        }
        Ok(this)
    }

    /// Whether a document is at least as new as the one that is named here.
    ///
    /// # Errors
    /// Where it is older, or another of the same version.
    pub fn check(&self, what: &'static str, found: &Accepted) -> Result<(), FreshnessError> {
        let named = match what {
            "rules" => &self.rules,
            "directory" => &self.directory,
            _ => &self.deny,
        };
        if found.version < named.version {
            let (got, newest) = (found.version, named.version);
            return Err(FreshnessError::Withheld { what, got, newest });
        }
        if found.version == named.version && found.digest != named.digest {
            return Err(ChainError::Fork { what, version: found.version }.into());
        }
        Ok(())
    }

    /// When nothing is decided on its word any more, UTC milliseconds.
    pub fn ends_at_ms(&self) -> u64 {
        self.issued_at_ms.saturating_add(STALE_MS)
    }
}

/// Why freshness is not accepted.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum FreshnessError {
    /// Not the form.
    #[error("the statement of freshness is malformed: {0}")]
    Form(String),
    /// Too few signatures.
    #[error("the statement of freshness is not signed by the online key: {0}")]
    Signature(#[source] RootError),
    /// Older than one that was seen.
    #[error("the statement of freshness is older than the one before")]
    Older,
    /// Of the future.
    #[error("the statement of freshness is more than two minutes ahead of this machine's clock")]
    Ahead,
    /// A document is older than it should be.
    #[error("{what} version {got} is offered, but version {newest} is the newest: it is withheld")]
    Withheld {
        /// Which document.
        what: &'static str,
        /// The version offered.
        got: u64,
        /// The newest.
        newest: u64,
    },
    /// Two documents of one version.
    #[error(transparent)]
    Chain(#[from] ChainError),
}
