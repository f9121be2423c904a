// SPDX-License-Identifier: EUPL-1.2
//! The deny list: what is forbidden at once, whatever the rules say. It can only narrow: an entry
//! forbids, and no entry can permit. One emergency role signs additions; what is on the list is
//! lifted only by those who sign rules, since lifting grants again.

use std::collections::BTreeSet;

use einmal_protocol::{
    Digest,
    envelope::payload_type,
    key::PublicKey,
    request::is_id,
    wire::v1::{Envelope, FieldRefusal},
};
use serde::{Deserialize, Serialize};

use crate::{
    chain::{Accepted, Candidate, ChainError},
    decide::Question,
    root::{KeyText, Role, Root, RootError},
    rules::Rules,
};

/// At most this many entries.
pub const ENTRIES_MAX: usize = 1_000;
/// Bytes of one reason.
const REASON_MAX: usize = 500;
/// Bytes of the list.
const LIST_MAX: usize = 1024 * 1024;

/// The deny list as it is signed.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct DenyDocument {
    /// Strictly rising.
    pub version: u64,
    /// SHA-256 (hex) of the previous version's payload; absent in version 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previous: Option<String>,
    /// UTC milliseconds.
    pub issued_at_ms: u64,
    /// What is forbidden.
    pub entries: Vec<DenyEntry>,
}

/// One thing that is forbidden: every request that fits all that the entry names. `operator`,
/// `key` and `everything` stand alone.
#[derive(Clone, Debug, Default, Serialize, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct DenyEntry {
    /// Its id, for refusals and for lifting it.
    pub id: String,
    /// Why, for people. Names nobody.
    pub reason: String,
    /// This authority.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub authority: Option<String>,
    /// Authorities of this kind.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub authority_kind: Option<String>,
    /// This register.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub register: Option<String>,
    /// This evidence type.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub evidence_type: Option<String>,
    /// This field of the evidence type.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub field: Option<String>,
    /// This purpose, and every narrower one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub purpose: Option<String>,
    /// This operator carries for nobody.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub operator: Option<String>,
    /// This identity key signs nothing that counts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<KeyText>,
    /// Every request.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub everything: bool,
}

impl DenyEntry {
    /// How many things a request must fit.
    fn criteria(&self) -> usize {
        let named = [
            &self.authority,
            &self.authority_kind,
            &self.register,
            &self.evidence_type,
            &self.field,
            &self.purpose,
            &self.operator,
        ];
        named.into_iter().flatten().count()
            + usize::from(self.key.is_some())
            + usize::from(self.everything)
    }

    fn stands_alone(&self) -> bool {
        self.operator.is_some() || self.key.is_some() || self.everything
    }

    fn check(&self) -> Result<(), DenyError> {
        let bad =
            |problem: &str| DenyError::Entry { id: self.id.clone(), problem: problem.to_owned() };
        if !is_id(&self.id) {
            return Err(bad("the id is malformed: use lower-case letters, digits, `.`, `_`, `-`"));
        }
        if self.reason.trim().is_empty() || self.reason.len() > REASON_MAX {
            return Err(bad("a reason of 1 to 500 bytes is needed"));
        }
        match self.criteria() {
            0 => return Err(bad("it names nothing to forbid")),
            1 => (),
            _ if self.stands_alone() => {
                return Err(bad("`operator`, `key` and `everything` stand alone in an entry"));
            }
            _ => (),
        }
        if self.field.is_some() && self.evidence_type.is_none() {
            return Err(bad("a field is named together with its evidence type"));
        }
        if let Some(key) = &self.key {
            key.parse().map_err(|_| bad("the key is malformed"))?;
        }
        Ok(())
    }

    fn fits(&self, question: &Question, kinds: &[String], purposes: &[&str]) -> bool {
        let is = |named: &Option<String>, asked: &str| {
            named.as_deref().is_none_or(|named| named == asked)
        };
        // The directory leaves these out (see `DenyList::operators`, `DenyList::keys`).
        if self.operator.is_some() || self.key.is_some() {
            return false;
        }
        is(&self.authority, &question.authority)
            && is(&self.register, &question.register)
            && is(&self.evidence_type, &question.evidence_type)
            && self.authority_kind.as_ref().is_none_or(|kind| kinds.contains(kind))
            && self.field.as_ref().is_none_or(|field| question.fields.contains(field))
            && self.purpose.as_deref().is_none_or(|purpose| purposes.contains(&purpose))
    }
}

/// A deny list that was verified.
#[derive(Clone, Debug)]
pub struct DenyList {
    document: DenyDocument,
    digest: Digest,
    keys: BTreeSet<PublicKey>,
}

impl DenyList {
    /// Verifies a list that may follow the one held: signed by the emergency role, or by those
    /// who sign rules. Only the latter may leave out an entry of the list before.
    ///
    /// # Errors
    /// Names the entry that is malformed, double or gone, or the signature that is missing.
    pub fn accept(
        envelope: &Envelope,
        root: &Root,
        before: Option<&Accepted>,
        held: Option<&Self>,
    ) -> Result<(Self, Accepted), DenyError> {
        let signed = |roles: &[Role]| root.check_signed(envelope, payload_type::DENY, roles);
        let lifts = signed(&[Role::RegisterAuthority, Role::DataProtectionOfficer]).is_ok();
        if !lifts {
            signed(&[Role::Emergency]).map_err(DenyError::Signature)?;
        }
        let list = Self::parse(&envelope.payload)?;
        let candidate = Candidate {
            what: "deny list",
            version: list.document.version,
            previous: list.document.previous.as_deref(),
            expires_at_ms: u64::MAX,
            digest: list.digest,
        };
        let accepted = candidate.accept(before, 0)?;
        if let Some(held) = held.filter(|_| !lifts) {
            let entries = &list.document.entries;
            if let Some(gone) = held.document.entries.iter().find(|one| !entries.contains(one)) {
                return Err(DenyError::Lifted { id: gone.id.clone() });
            }
        }
        Ok((list, accepted))
    }

    /// Verifies a list of the past, signed under any of these roots; the newest root first.
    ///
    /// # Errors
    /// Where none of them vouches for it, or it is malformed.
    pub fn of_the_past(envelope: &Envelope, chain: &[Root]) -> Result<Self, DenyError> {
        let mut newest_lacks = None;
        for root in chain.iter().rev() {
            match Self::accept(envelope, root, None, None) {
                Ok((list, _)) => return Ok(list),
                Err(error @ DenyError::Signature(_)) => {
                    newest_lacks.get_or_insert(error);
                }
                Err(error) => return Err(error),
            }
        }
        Err(newest_lacks.unwrap_or_else(|| DenyError::Form("there is no root".to_owned())))
    }

    /// Reads a payload.
    ///
    /// # Errors
    /// Names the entry that is malformed or double.
    pub fn parse(payload: &[u8]) -> Result<Self, DenyError> {
        if payload.len() > LIST_MAX {
            return Err(DenyError::Form(format!("longer than {LIST_MAX} bytes")));
        }
        let document: DenyDocument =
            serde_json::from_slice(payload).map_err(|error| DenyError::Form(error.to_string()))?;
        if document.entries.len() > ENTRIES_MAX {
            return Err(DenyError::Form(format!("more than {ENTRIES_MAX} entries")));
        }
        let mut ids = BTreeSet::new();
        let mut keys = BTreeSet::new();
        for entry in &document.entries {
            entry.check()?;
            if !ids.insert(&entry.id) {
                return Err(DenyError::Entry {
                    id: entry.id.clone(),
                    problem: "it is there twice".to_owned(),
                });
            }
            keys.extend(entry.key.as_ref().and_then(|key| key.parse().ok()));
        }
        Ok(Self { digest: Digest::of(payload), document, keys })
    }

    /// The document.
    pub fn document(&self) -> &DenyDocument {
        &self.document
    }

    /// SHA-256 of the payload.
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// Identity keys that count for nothing.
    pub fn keys(&self) -> &BTreeSet<PublicKey> {
        &self.keys
    }

    /// Operators that carry for nobody.
    pub fn operators(&self) -> BTreeSet<&str> {
        self.document.entries.iter().filter_map(|entry| entry.operator.as_deref()).collect()
    }

    /// The first entry that forbids a question, from an authority of these kinds.
    pub fn forbids(
        &self,
        question: &Question,
        kinds: &[String],
        rules: &Rules,
    ) -> Option<&DenyEntry> {
        if self.document.entries.is_empty() {
            return None;
        }
        let purposes = rules.with_broader(&question.purpose);
        self.document.entries.iter().find(|entry| entry.fits(question, kinds, &purposes))
    }
}

/// How a refusal names the entry that forbade: for each field that was asked for.
pub(crate) fn refusals(entry: &DenyEntry, question: &Question) -> Vec<FieldRefusal> {
    let forbidden =
        |field: &&String| entry.field.as_ref().is_none_or(|forbidden| forbidden == *field);
    let policies = vec![format!("deny:{}", entry.id)];
    let fields = question.fields.iter().filter(forbidden);
    fields.map(|field| FieldRefusal { field: field.clone(), policies: policies.clone() }).collect()
}

/// Why a deny list is not accepted.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum DenyError {
    /// Not the form.
    #[error("the deny list is malformed: {0}")]
    Form(String),
    /// An entry.
    #[error("entry `{id}` of the deny list: {problem}")]
    Entry {
        /// Its id.
        id: String,
        /// What is wrong.
        problem: String,
    },
    /// An entry is gone, or changed.
    #[error(
        "entry `{id}` of the deny list was lifted or changed: that needs the signatures of the \
         register authority and of the data-protection officer"
    )]
    Lifted {
        /// Its id.
        id: String,
    },
    /// Too few signatures.
    #[error(
        "the deny list is signed neither by the emergency role nor, as one that lifts an entry \
         must be, by register authority and data-protection officer: {0}"
    )]
    Signature(#[source] RootError),
    /// Version or digest.
    #[error(transparent)]
    Chain(#[from] ChainError),
}
