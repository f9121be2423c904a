// SPDX-License-Identifier: EUPL-1.2
//! The rules, compiled: policies parsed and strictly validated, their own tests passed.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, PoisonError, RwLock},
};

use cedar_policy::{EntityUid, Policy, PrincipalConstraint, ResourceConstraint, Schema};
use einmal_protocol::{Digest, cosignature::WitnessKey, tlog_proof::Quorum};

use crate::{
    compile::{compile, text_of},
    decide::{self, Asker, Slice},
    names::check_names,
    rules_document::{EvidenceType, Purpose, RulesDocument},
    vocabulary::{self, RULES_MAX, at_most},
};

pub use crate::rules_error::RulesError;

/// The Cedar schema that rules are written against unless they bring another.
pub const SCHEMA: &str = include_str!("schema.cedarschema");
/// At most this many slices are remembered.
const SLICES_MAX: usize = 4096;
/// Two years and a day (IDNrG § 9 (3)).
const RETENTION_DAYS: u32 = 731;

/// What an annotation says about a policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicyText {
    /// Citation.
    pub legal_basis: String,
    /// In German, for people.
    pub text_de: String,
    /// In English.
    pub text_en: String,
    /// Whether it permits; otherwise it forbids.
    pub permits: bool,
}

/// Rules that may be decided by.
pub struct Rules {
    document: RulesDocument,
    digest: Digest,
    schema: Schema,
    policies: Vec<Policy>,
    texts: BTreeMap<String, PolicyText>,
    evidence_types: HashMap<String, EvidenceType>,
    purposes: HashMap<String, Purpose>,
    witnesses: Vec<WitnessKey>,
    slices: RwLock<HashMap<(Asker, String), Arc<Slice>>>,
}

impl std::fmt::Debug for Rules {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Rules(version {}, {})", self.document.version, self.digest)
    }
}

impl Rules {
    /// Reads a payload whose signatures were checked.
    ///
    /// # Errors
    /// Names what is wrong: the form, a policy, a reference, a test that fails.
    pub fn parse(payload: &[u8]) -> Result<Self, RulesError> {
        at_most("bytes of rules", payload.len(), RULES_MAX)?;
        let document: RulesDocument =
            serde_json::from_slice(payload).map_err(|error| RulesError::Form(error.to_string()))?;
        if (document.version > 1) != document.change.is_some() {
            let problem = "`change` is missing, or there in version 1: build with --previous";
            return Err(RulesError::Form(problem.to_owned()));
        }
        let digest = Digest::of(payload);
        vocabulary::check_counts(&document)?;
        let (schema, policies) = compile(&document)?;
        let text_of = |policy| text_of(policy, &document.policies);
        let texts = policies.iter().map(text_of).collect::<Result<_, _>>()?;
        let evidence_types = vocabulary::check_evidence_types(&document)?;
        let purposes = vocabulary::check_purposes(&document)?;
        vocabulary::check_areas_and_kinds(&document)?;
        let witnesses = vocabulary::check_ledger(&document)?;
        check_names(&document, &policies)?;
        let rules = Self {
            document,
            digest,
            schema,
            policies,
            texts,
            evidence_types,
            purposes,
            witnesses,
            slices: RwLock::default(),
        };
        for test in &rules.document.tests {
            decide::run_test(&rules, test)?;
        }
        Ok(rules)
    }

    /// The document.
    pub fn document(&self) -> &RulesDocument {
        &self.document
    }

    /// SHA-256 of the payload.
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// An evidence type.
    pub fn evidence_type(&self, id: &str) -> Option<&EvidenceType> {
        self.evidence_types.get(id)
    }

    /// Records are destroyed after this many days (FORGETS-ON-TIME).
    pub fn retention_days(&self) -> u32 {
        self.document.retention_days.unwrap_or(RETENTION_DAYS)
    }

    /// Who must have cosigned before anything is revealed.
    pub fn quorum(&self) -> Quorum<'_> {
        let required = self.document.witnesses.as_ref().map_or(0, |named| named.required);
        Quorum { witnesses: &self.witnesses, required: required as usize }
    }

    /// A purpose.
    pub fn purpose(&self, id: &str) -> Option<&Purpose> {
        self.purposes.get(id)
    }

    /// A purpose that a request may name: one without narrower ones.
    pub fn leaf_purpose(&self, id: &str) -> Option<&Purpose> {
        let narrower = |purpose: &Purpose| purpose.parent.as_deref() == Some(id);
        self.purpose(id).filter(|_| !self.document.purposes.iter().any(narrower))
    }

    /// A purpose and all broader ones.
    pub(crate) fn with_broader<'a>(&'a self, id: &'a str) -> Vec<&'a str> {
        let broader = |id: &&'a str| self.purposes.get(*id)?.parent.as_deref();
        // Parents stand before their children, so this ends.
        std::iter::successors(Some(id), broader).collect()
    }

    /// What a policy says to people.
    pub fn policy(&self, id: &str) -> Option<&PolicyText> {
        self.texts.get(id)
    }

    pub(crate) fn schema(&self) -> &Schema {
        &self.schema
    }

    /// All policies, each under its `@id`.
    pub(crate) fn policies(&self) -> &[Policy] {
        &self.policies
    }

    /// The policies that could speak about this asker and evidence type, remembered: Cedar's cost
    /// is linear in the policies evaluated.
    pub(crate) fn slice(
        &self,
        asker: &Asker,
        evidence_type: &EvidenceType,
    ) -> Result<Arc<Slice>, decide::PolicyFailure> {
        let key = (asker.clone(), evidence_type.id.clone());
        if let Some(slice) = self.slices.read().unwrap_or_else(PoisonError::into_inner).get(&key) {
            return Ok(Arc::clone(slice));
        }
        let reaching =
            self.policies.iter().filter(|policy| reaches(policy, asker, &evidence_type.id));
        let slice = Arc::new(Slice::new(self, asker, evidence_type, reaching.cloned())?);
        let mut slices = self.slices.write().unwrap_or_else(PoisonError::into_inner);
        if slices.len() >= SLICES_MAX {
            slices.clear();
        }
        slices.insert(key, Arc::clone(&slice));
        Ok(slice)
    }
}

/// Whether a policy could speak about this asker and evidence type. A scope that is open, or uses
/// `in` or `is`, belongs to every slice that it could reach.
pub(crate) fn reaches(policy: &Policy, asker: &Asker, evidence_type: &str) -> bool {
    let is_asker = |uid: &EntityUid| match uid.type_name().to_string().as_str() {
        "Authority" => uid.id().unescaped() == asker.authority,
        "AuthorityKind" => asker.kinds.iter().any(|kind| uid.id().unescaped() == kind),
        // A type that later rules may bring: never leave a policy out by mistake.
        _ => true,
    };
    let is_asked = |uid: &EntityUid| match uid.type_name().to_string().as_str() {
        "EvidenceType" => uid.id().unescaped() == evidence_type,
        "Field" => {
            uid.id().unescaped().split_once('/').is_none_or(|(kind, _)| kind == evidence_type)
        }
        _ => true,
    };
    let principal = match policy.principal_constraint() {
        PrincipalConstraint::Any | PrincipalConstraint::Is(_) => true,
        PrincipalConstraint::Eq(uid)
        | PrincipalConstraint::In(uid)
        | PrincipalConstraint::IsIn(_, uid) => is_asker(&uid),
    };
    principal
        && match policy.resource_constraint() {
            ResourceConstraint::Any | ResourceConstraint::Is(_) => true,
            ResourceConstraint::Eq(uid)
            | ResourceConstraint::In(uid)
            | ResourceConstraint::IsIn(_, uid) => is_asked(&uid),
        }
}

#[cfg(test)]
#[path = "rules_tests.rs"]
mod tests;
