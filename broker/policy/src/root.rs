// SPDX-License-Identifier: EUPL-1.2
//! The root: which keys may sign what, and how many of them it takes (TUF 1.0 § 5.3). Pinned by
//! every party; root N+1 is signed by the thresholds of N and of N+1.

use std::collections::{BTreeMap, BTreeSet};

use base64::{Engine, prelude::BASE64_STANDARD};
use einmal_protocol::{
    Digest,
    envelope::{EnvelopeError, payload_type},
    key::{Algorithm, PublicKey},
    wire::v1::Envelope,
};
use serde::{Deserialize, Serialize};

use crate::chain::{self, Accepted, Candidate, ChainError};

/// At most this many roots are walked at once.
pub const ROOTS_MAX: usize = 1024;
const KEYS_MAX: usize = 32;

/// Who may sign something.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Signs the next root.
    Root,
    /// Signs rules (with the data-protection officer) and directory.
    RegisterAuthority,
    /// Signs rules.
    DataProtectionOfficer,
    /// Signs the deny list.
    Emergency,
    /// Keeps the deny list fresh.
    Online,
}

impl Role {
    const ALL: [Self; 5] = [
        Self::Root,
        Self::RegisterAuthority,
        Self::DataProtectionOfficer,
        Self::Emergency,
        Self::Online,
    ];
}

/// A public key in a document.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct KeyText {
    /// "ed25519" or "ecdsa-p256".
    pub algorithm: Algorithm,
    /// Raw key, base64.
    pub key: String,
}

impl KeyText {
    /// Reads it.
    ///
    /// # Errors
    /// Where it is no such key.
    pub fn parse(&self) -> Result<PublicKey, RootError> {
        let bytes = BASE64_STANDARD.decode(&self.key).map_err(|_| RootError::Key)?;
        PublicKey::new(self.algorithm, &bytes).map_err(|_| RootError::Key)
    }
}

impl From<&PublicKey> for KeyText {
    fn from(key: &PublicKey) -> Self {
        Self { algorithm: key.algorithm(), key: BASE64_STANDARD.encode(key.bytes()) }
    }
}

/// The keys of a role.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct RoleKeys {
    /// Distinct keys.
    pub keys: Vec<KeyText>,
    /// How many of them must sign; at least one.
    pub threshold: usize,
}

/// The root as it is signed.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct RootDocument {
    /// Strictly rising, one at a time.
    pub version: u64,
    /// SHA-256 (hex) of the previous version's payload.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previous: Option<String>,
    /// UTC milliseconds.
    pub issued_at_ms: u64,
    /// UTC milliseconds.
    pub expires_at_ms: u64,
    /// SPIFFE trust domain of all certificates.
    pub trust_domain: String,
    /// All five roles.
    pub roles: BTreeMap<Role, RoleKeys>,
}

/// A root that was verified.
#[derive(Clone, Debug)]
pub struct Root {
    document: RootDocument,
    keys: BTreeMap<Role, (Vec<PublicKey>, usize)>,
    accepted: Accepted,
}

impl Root {
    /// Takes the pinned root: the one thing that is trusted because somebody put it there. It
    /// must still be signed by its own threshold.
    ///
    /// # Errors
    /// Where it is malformed or not signed by itself. Its expiry does not matter yet: a newer
    /// one may follow.
    pub fn pinned(envelope: &Envelope) -> Result<Self, RootError> {
        let this = Self::parse(&envelope.payload)?;
        this.check_signed(envelope, payload_type::ROOT, &[Role::Root])?;
        Ok(this)
    }

    /// Walks from this root over newer ones. Versions up to this one are passed over.
    ///
    /// # Errors
    /// Where a version is skipped, or not signed by the thresholds of the one before and of
    /// itself, or the newest has expired.
    pub fn walk(self, newer: &[Envelope], now_ms: u64) -> Result<Self, RootError> {
        self.walk_over(newer, now_ms).map(|(_, root)| root)
    }

    /// As `walk`, and versions and digests of all roots on the way.
    ///
    /// # Errors
    /// As `walk`.
    pub fn walk_over(
        self,
        newer: &[Envelope],
        now_ms: u64,
    ) -> Result<(Vec<Accepted>, Self), RootError> {
        let (passed, root) = self.over(newer)?;
        chain::check_expiry("root", root.document.expires_at_ms, now_ms)?;
        Ok((passed.into_iter().map(|root| root.accepted).collect(), root))
    }

    /// As `walk`, but every root on the way, oldest first and at least this one, and whether or
    /// not the newest has expired: what was signed in the past was signed under one of them.
    ///
    /// # Errors
    /// Where a version is skipped, or not signed by the thresholds of the one before and of
    /// itself.
    pub fn chain(self, newer: &[Envelope]) -> Result<Vec<Self>, RootError> {
        let (mut chain, newest) = self.over(newer)?;
        chain.push(newest);
        Ok(chain)
    }

    /// The newest root, and those before it.
    fn over(self, newer: &[Envelope]) -> Result<(Vec<Self>, Self), RootError> {
        if newer.len() > ROOTS_MAX {
            return Err(RootError::TooMany);
        }
        let (mut before, mut root) = (Vec::new(), self);
        for envelope in newer {
            if let Some(next) = root.next(envelope)? {
                before.push(std::mem::replace(&mut root, next));
            }
        }
        Ok((before, root))
    }

    /// The root that follows this one; nothing where it is this one or older.
    fn next(&self, envelope: &Envelope) -> Result<Option<Self>, RootError> {
        let next = Self::parse(&envelope.payload)?;
        let version = next.document.version;
        if version < self.document.version {
            return Ok(None);
        }
        if version == self.document.version {
            return match next.accepted == self.accepted {
                true => Ok(None),
                false => Err(ChainError::Fork { what: "root", version }.into()),
            };
        }
        if self.document.version.checked_add(1) != Some(version)
            || next.document.previous.as_ref() != Some(&self.accepted.digest)
        {
            return Err(ChainError::Previous { what: "root", version }.into());
        }
        self.check_signed(envelope, payload_type::ROOT, &[Role::Root])?;
        next.check_signed(envelope, payload_type::ROOT, &[Role::Root])?;
        if next.document.trust_domain != self.document.trust_domain {
            return Err(RootError::TrustDomain);
        }
        Ok(Some(next))
    }

    fn parse(payload: &[u8]) -> Result<Self, RootError> {
        let document: RootDocument =
            serde_json::from_slice(payload).map_err(|error| RootError::Form(error.to_string()))?;
        let candidate = Candidate {
            what: "root",
            version: document.version,
            previous: document.previous.as_deref(),
            expires_at_ms: u64::MAX,
            digest: Digest::of(payload),
        };
        let accepted = candidate.accept(None, 0)?;
        let mut keys = BTreeMap::new();
        let mut everyone = BTreeSet::new();
        for role in Role::ALL {
            let entry = document.roles.get(&role).ok_or(RootError::RoleMissing(role))?;
            let parsed = entry.keys.iter().map(KeyText::parse).collect::<Result<Vec<_>, _>>()?;
            let distinct: BTreeSet<_> = parsed.iter().cloned().collect();
            if distinct.len() != parsed.len()
                || parsed.len() > KEYS_MAX
                || entry.threshold == 0
                || entry.threshold > parsed.len()
            {
                return Err(RootError::Threshold(role));
            }
            // One key, one role: otherwise one person could sign for both sides.
            for key in distinct {
                if !everyone.insert(key) {
                    return Err(RootError::KeyInTwoRoles(role));
                }
            }
            keys.insert(role, (parsed, entry.threshold));
        }
        Ok(Self { document, keys, accepted })
    }

    /// Whether enough distinct keys of each of these roles signed this envelope as this type.
    ///
    /// # Errors
    /// Names the role that falls short.
    pub fn check_signed(
        &self,
        envelope: &Envelope,
        payload_type: &str,
        roles: &[Role],
    ) -> Result<(), RootError> {
        if envelope.payload.len() > chain::DOCUMENT_MAX {
            return Err(RootError::Form("too large".to_owned()));
        }
        for role in roles {
            let (keys, threshold) = self.keys.get(role).ok_or(RootError::RoleMissing(*role))?;
            let got = envelope.signers(payload_type, keys)?.len();
            if got < *threshold {
                return Err(RootError::UnderSigned { role: *role, got, threshold: *threshold });
            }
        }
        Ok(())
    }

    /// The ids of each role's keys.
    pub fn key_ids(&self) -> BTreeMap<Role, Vec<String>> {
        let ids = |keys: &[PublicKey]| keys.iter().map(PublicKey::id).collect();
        self.keys.iter().map(|(role, (keys, _))| (*role, ids(keys))).collect()
    }

    /// The document.
    pub fn document(&self) -> &RootDocument {
        &self.document
    }

    /// Version and digest.
    pub fn accepted(&self) -> &Accepted {
        &self.accepted
    }
}

/// Why a root, or something signed under it, is not accepted.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum RootError {
    /// Malformed.
    #[error("the document is malformed: {0}")]
    Form(String),
    /// Not a key.
    #[error("a key in the document is malformed")]
    Key,
    /// A role is not named.
    #[error("the root names no keys for the role {0:?}")]
    RoleMissing(Role),
    /// A threshold that cannot be, or a key twice.
    #[error("the role {0:?} needs distinct keys and a threshold between one and their number")]
    Threshold(Role),
    /// One key for two roles.
    #[error("a key of the role {0:?} stands in another role too")]
    KeyInTwoRoles(Role),
    /// Too few signatures.
    #[error("signed by {got} distinct keys of the role {role:?}, {threshold} are needed")]
    UnderSigned {
        /// Which role.
        role: Role,
        /// How many signed.
        got: usize,
        /// How many must.
        threshold: usize,
    },
    /// More than `ROOTS_MAX`.
    #[error("more than {ROOTS_MAX} roots at once")]
    TooMany,
    /// The trust domain may not change.
    #[error("the new root names another trust domain")]
    TrustDomain,
    /// Version, digest or expiry.
    #[error(transparent)]
    Chain(#[from] ChainError),
    /// Envelope.
    #[error(transparent)]
    Envelope(#[from] EnvelopeError),
}

#[cfg(test)]
pub(crate) mod tests {
    use einmal_protocol::key::SigningKey;

    use super::*;

    pub(crate) fn key(seed: u8) -> SigningKey {
        SigningKey::from_seed(&[seed; 32]).unwrap()
    }

    pub(crate) fn document() -> RootDocument {
        let role = |seeds: &[u8], threshold| RoleKeys {
            keys: seeds.iter().map(|seed| KeyText::from(key(*seed).public())).collect(),
            threshold,
        };
        RootDocument {
            version: 1,
            previous: None,
            issued_at_ms: 0,
            expires_at_ms: 1_000,
            trust_domain: "einmal.example".into(),
            roles: [
                (Role::Root, role(&[1, 2, 3], 2)),
                (Role::RegisterAuthority, role(&[11, 12], 1)),
                (Role::DataProtectionOfficer, role(&[21], 1)),
                (Role::Emergency, role(&[31], 1)),
                (Role::Online, role(&[41], 1)),
            ]
            .into(),
        }
    }

    pub(crate) fn sign(document: &impl Serialize, kind: &str, seeds: &[u8]) -> Envelope {
        let keys: Vec<SigningKey> = seeds.iter().map(|seed| key(*seed)).collect();
        let keys: Vec<&SigningKey> = keys.iter().collect();
        Envelope::sign(kind, serde_json::to_vec(document).unwrap(), &keys).unwrap()
    }

    #[test]
    fn thresholds_count_distinct_keys() {
        let sign = |seeds: &[u8]| sign(&document(), payload_type::ROOT, seeds);
        assert!(Root::pinned(&sign(&[1, 3])).is_ok());
        for few in [&[1][..], &[1, 1, 1], &[], &[1, 11]] {
            assert!(matches!(Root::pinned(&sign(few)), Err(RootError::UnderSigned { .. })));
        }
    }

    #[test]
    fn one_key_one_role() {
        let mut both = document();
        both.roles
            .insert(Role::DataProtectionOfficer, both.roles[&Role::RegisterAuthority].clone());
        assert!(matches!(
            Root::pinned(&sign(&both, payload_type::ROOT, &[1, 2])),
            Err(RootError::KeyInTwoRoles(_))
        ));
    }

    #[test]
    fn the_next_root_needs_both_thresholds_and_its_predecessor() {
        let first = Root::pinned(&sign(&document(), payload_type::ROOT, &[1, 2])).unwrap();
        let mut next = document();
        next.version = 2;
        next.previous = Some(first.accepted().digest.clone());
        let keys = [4, 5].map(|seed| KeyText::from(key(seed).public())).to_vec();
        next.roles.insert(Role::Root, RoleKeys { keys, threshold: 2 });
        let walk = |document: &RootDocument, seeds: &[u8], now| {
            let envelope = sign(document, payload_type::ROOT, seeds);
            first.clone().walk(&[envelope], now).map(|root| root.document.version)
        };
        assert_eq!(walk(&next, &[1, 2, 4, 5], 0), Ok(2));
        assert!(matches!(walk(&next, &[1, 2, 4], 0), Err(RootError::UnderSigned { .. })));
        assert!(matches!(walk(&next, &[1, 4, 5], 0), Err(RootError::UnderSigned { .. })));
        assert!(matches!(
            walk(&next, &[1, 2, 4, 5], 1_000),
            Err(RootError::Chain(ChainError::Expired { .. }))
        ));
        let mut skipping = next.clone();
        skipping.version = 3;
        assert!(walk(&skipping, &[1, 2, 4, 5], 0).is_err());
        let mut stray = next;
        stray.previous = Some("00".into());
        assert!(walk(&stray, &[1, 2, 4, 5], 0).is_err());
    }
}
