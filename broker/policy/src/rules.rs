// SPDX-License-Identifier: EUPL-1.2
//! The rules, compiled: policies parsed and strictly validated, their own tests passed.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::Arc,
};

use cedar_policy::{Policy, Schema};
use einmal_protocol::{Digest, cosignature::WitnessKey, tlog_proof::Quorum};

use crate::{
    compile::{compile, text_of},
    decide::{self, Asker},
    memory::Memory,
    names::check_names,
    rules_document::{EvidenceType, Purpose, RulesDocument},
    slice::{Group, Index, Key, Slice},
    vocabulary::{self, RULES_MAX, at_most},
};

pub use crate::rules_error::RulesError;

/// The Cedar schema that rules are written against unless they bring another.
pub const SCHEMA: &str = include_str!("schema.cedarschema");
/// Two years and a day (IDNrG § 9 (3)).
pub const RETENTION_DAYS: u32 = 731;

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
    /// Purposes with narrower ones.
    broader: HashSet<String>,
    index: Index,
    memory: Memory,
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
        let index = Index::new(&document, &schema, &policies)
            .map_err(|error| RulesError::Schema(error.to_string().into()))?;
        let broader = document.purposes.iter().filter_map(|one| one.parent.clone()).collect();
        let mut rules = Self {
            document,
            digest,
            schema,
            policies,
            texts,
            evidence_types,
            purposes,
            witnesses,
            broader,
            index,
            memory: Memory::default(),
        };
        for test in &rules.document.tests {
            decide::run_test(&rules, test)?;
        }
        rules.memory = Memory::default();
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
        self.purpose(id).filter(|_| !self.broader.contains(id))
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

    #[cfg(test)]
    pub(crate) fn schema(&self) -> &Schema {
        &self.schema
    }

    /// All policies, each under its `@id`.
    pub(crate) fn policies(&self) -> &[Policy] {
        &self.policies
    }

    pub(crate) fn memory(&self) -> &Memory {
        &self.memory
    }

    /// The policies about an evidence type.
    pub(crate) fn group(&self, evidence_type: &str) -> Option<&Group> {
        self.index.group(evidence_type)
    }

    /// The policies that could speak about a question, remembered: Cedar's cost is linear in the
    /// policies evaluated.
    pub(crate) fn slice(
        &self,
        key: &Key,
        asker: Asker<'_>,
        kind: &EvidenceType,
        purpose: &str,
    ) -> Result<Arc<Slice>, decide::PolicyFailure> {
        if let Some(slice) = self.memory.slices.find(key.of_slice()) {
            return Ok(slice);
        }
        let slice = Slice::new(&self.index, &self.schema, asker, kind, purpose)?;
        let slice = Arc::new(slice);
        self.memory.slices.keep(key.of_slice(), Arc::clone(&slice));
        Ok(slice)
    }
}

#[cfg(test)]
#[path = "rules_tests.rs"]
mod tests;
