// SPDX-License-Identifier: EUPL-1.2
//! What root, rules, directory and key cards have in common: versions that strictly rise,
//! digests that chain, and an expiry. So none can be rolled back, frozen or mixed (TUF 1.0 § 5).

use einmal_protocol::{Digest, time::to_iso};
use serde::{Deserialize, Serialize};

/// A signed document's payload is at most this long.
pub const DOCUMENT_MAX: usize = 16 * 1024 * 1024;

/// What is remembered of the newest accepted version.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct Accepted {
    /// Its version.
    pub version: u64,
    /// SHA-256 of its payload, in hex.
    pub digest: String,
}

/// A version that asks to be accepted.
pub struct Candidate<'a> {
    /// What it is: "rules", "directory", ...
    pub what: &'static str,
    /// Its version.
    pub version: u64,
    /// The digest of the version before it, as it says.
    pub previous: Option<&'a str>,
    /// When it ends, UTC milliseconds.
    pub expires_at_ms: u64,
    /// SHA-256 of its payload.
    pub digest: Digest,
}

impl Candidate<'_> {
    /// Whether this version may follow what was accepted before.
    ///
    /// # Errors
    /// Where it is older, another of the same version, does not name its predecessor, or is over.
    pub fn accept(&self, before: Option<&Accepted>, now_ms: u64) -> Result<Accepted, ChainError> {
        let what = self.what;
        if self.version == 0 || (self.version == 1) != self.previous.is_none() {
            return Err(ChainError::Previous { what, version: self.version });
        }
        if let Some(before) = before {
            if self.version < before.version {
                return Err(ChainError::Rollback {
                    what,
                    got: self.version,
                    accepted: before.version,
                });
            }
            if self.version == before.version && self.digest.to_hex() != before.digest {
                return Err(ChainError::Fork { what, version: self.version });
            }
            if before.version.checked_add(1) == Some(self.version)
                && self.previous != Some(&before.digest)
            {
                return Err(ChainError::Previous { what, version: self.version });
            }
        }
        check_expiry(what, self.expires_at_ms, now_ms)?;
        Ok(Accepted { version: self.version, digest: self.digest.to_hex() })
    }
}

/// Whether a document is still good.
///
/// # Errors
/// Where it has expired.
pub fn check_expiry(what: &'static str, expires_at_ms: u64, now_ms: u64) -> Result<(), ChainError> {
    if now_ms >= expires_at_ms {
        return Err(ChainError::Expired { what, expired: to_iso(expires_at_ms) });
    }
    Ok(())
}

/// Whoever signs the steps of a chain may have begun it further back than what is known: then it
/// must lead over that, or replaced root keys, or one signer of two, could go round it.
pub(crate) fn no_way_around(
    what: &'static str,
    passed: &[Accepted],
    known: Option<&Accepted>,
) -> Result<(), ChainError> {
    let Some(known) = known else { return Ok(()) };
    match passed.iter().any(|one| one.version == known.version && one != known) {
        true => Err(ChainError::Fork { what, version: known.version }),
        false => Ok(()),
    }
}

/// Why a version is not accepted.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum ChainError {
    /// Older than what was accepted.
    #[error("{what} version {got} is older than version {accepted}, which was accepted before")]
    Rollback {
        /// Root, rules, directory or key card.
        what: &'static str,
        /// The candidate.
        got: u64,
        /// The one before.
        accepted: u64,
    },
    /// Two different documents of one version.
    #[error("there are two different {what} of version {version}; tell the register authority")]
    Fork {
        /// Root, rules, directory or key card.
        what: &'static str,
        /// Of which version.
        version: u64,
    },
    /// It does not name its predecessor.
    #[error("{what} version {version} does not name the version before it by its digest")]
    Previous {
        /// Root, rules, directory or key card.
        what: &'static str,
        /// The candidate.
        version: u64,
    },
    /// Over.
    #[error("the {what} expired at {expired}; publish a newer version")]
    Expired {
        /// Root, rules, directory or key card.
        what: &'static str,
        /// When.
        expired: String,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    fn candidate(version: u64, previous: Option<&str>) -> Candidate<'_> {
        let digest = Digest::of(&version.to_be_bytes());
        Candidate { what: "rules", version, previous, expires_at_ms: 100, digest }
    }

    #[test]
    fn no_rollback_no_fork_no_gap_no_freeze() {
        let one = candidate(1, None).accept(None, 0).unwrap();
        let two = candidate(2, Some(&one.digest)).accept(Some(&one), 0).unwrap();
        assert!(matches!(
            candidate(1, None).accept(Some(&two), 0),
            Err(ChainError::Rollback { .. })
        ));
        assert!(matches!(
            candidate(3, Some("other")).accept(Some(&two), 0),
            Err(ChainError::Previous { .. })
        ));
        assert!(matches!(candidate(3, None).accept(None, 0), Err(ChainError::Previous { .. })));
        let other = Candidate { digest: Digest::of(b"other"), ..candidate(2, Some(&one.digest)) };
        assert!(matches!(other.accept(Some(&two), 0), Err(ChainError::Fork { .. })));
        assert!(matches!(
            candidate(2, Some(&one.digest)).accept(Some(&two), 100),
            Err(ChainError::Expired { .. })
        ));
        assert!(candidate(2, Some(&one.digest)).accept(Some(&two), 99).is_ok());
        assert!(candidate(9, Some("skipped")).accept(Some(&two), 0).is_ok());
        let last = candidate(u64::MAX, Some("skipped")).accept(Some(&two), 0).unwrap();
        assert!(candidate(u64::MAX, Some("skipped")).accept(Some(&last), 0).is_ok());
    }
}
