// SPDX-License-Identifier: EUPL-1.2
//! The rules, compiled: policies parsed and strictly validated, their own tests passed.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    str::FromStr,
    sync::{Arc, PoisonError, RwLock},
};

use cedar_policy::{
    Effect, EntityUid, Policy, PolicyId, PolicySet, PrincipalConstraint, ResourceConstraint,
    Schema, ValidationMode, Validator,
};
use einmal_protocol::{
    Digest, commitment::SLOTS_MAX, cosignature::WitnessKey, evidence::EVIDENCE_MAX, request::is_id,
    tlog_proof::Quorum,
};

use crate::{
    decide::{self, Asker, Slice},
    rules_document::{EvidenceType, Purpose, RulesDocument},
};

/// The Cedar schema that rules are written against unless they bring another.
pub const SCHEMA: &str = include_str!("schema.cedarschema");
/// At most this many slices are remembered.
const SLICES_MAX: usize = 4096;
/// Two years and a day (IDNrG § 9 (3)).
const RETENTION_DAYS: u32 = 731;
/// Ten years.
const RETENTION_MAX: u32 = 3660;
const WITNESSES_MAX: usize = 32;
const POLICIES_MAX: usize = 10_000;
/// Brackets inside brackets, in policies and schema.
const DEPTH_MAX: usize = 16;
/// Bytes of one policy or declaration.
const STATEMENT_MAX: usize = 16 * 1024;
/// The smallest padded evidence: a signed "nothing found" fits.
const EVIDENCE_MIN: u32 = 512;

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
        let document: RulesDocument =
            serde_json::from_slice(payload).map_err(|error| RulesError::Form(error.to_string()))?;
        if (document.version > 1) != document.change.is_some() {
            let problem = "`change` is missing, or there in version 1: build with --previous";
            return Err(RulesError::Form(problem.to_owned()));
        }
        let digest = Digest::of(payload);
        let (schema, policies) = compile(&document)?;
        let texts = policies.iter().map(text_of).collect::<Result<_, _>>()?;
        let evidence_types = check_evidence_types(&document)?;
        let purposes = check_purposes(&document)?;
        check_areas(&document)?;
        let witnesses = check_ledger(&document)?;
        check_names(&policies, &evidence_types, &purposes)?;
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

/// Whether Cedar text is nested so deep, or one statement so long, that reading it could overflow
/// the stack, which ends the process: Cedar reads expressions by recursion without a limit.
fn is_too_deep(text: &str, brackets: [&str; 2]) -> bool {
    let [open, close] = brackets;
    let (mut depth, mut length, mut before) = (0_usize, 0_usize, ' ');
    let (mut quoted, mut comment) = (false, false);
    for c in text.chars() {
        length += c.len_utf8();
        match c {
            '\n' | '\r' => comment = false,
            _ if comment => (),
            // An escaped character says nothing, nor does the backslash that was one.
            _ if quoted && before == '\\' => {
                before = ' ';
                continue;
            }
            '"' => quoted = !quoted,
            _ if quoted => (),
            '/' if before == '/' => comment = true,
            _ if open.contains(c) => depth += 1,
            _ if close.contains(c) => depth = depth.saturating_sub(1),
            ';' => (depth, length) = (0, 0),
            _ => (),
        }
        if depth > DEPTH_MAX || length > STATEMENT_MAX {
            return true;
        }
        before = c;
    }
    false
}

fn compile(document: &RulesDocument) -> Result<(Schema, Vec<Policy>), RulesError> {
    let too_deep = || {
        format!(
            "brackets nest deeper than {DEPTH_MAX}, or one statement is longer than {STATEMENT_MAX} bytes"
        )
    };
    if is_too_deep(&document.schema, ["([{<", ")]}>"]) {
        return Err(RulesError::Schema(too_deep()));
    }
    if is_too_deep(&document.policies, ["([{", ")]}"]) {
        return Err(RulesError::Policies(too_deep()));
    }
    let (schema, mut warnings) = Schema::from_cedarschema_str(&document.schema)
        .map_err(|error| RulesError::Schema(error.to_string()))?;
    if let Some(warning) = warnings.next() {
        return Err(RulesError::Schema(warning.to_string()));
    }
    drop(warnings);
    let parsed = PolicySet::from_str(&document.policies)
        .map_err(|error| RulesError::Policies(error.to_string()))?;
    if parsed.templates().next().is_some() {
        return Err(RulesError::Policies("templates are not taken".to_owned()));
    }
    let mut named = PolicySet::new();
    let mut policies = Vec::new();
    for policy in parsed.policies() {
        let id = policy.annotation("id").filter(|id| is_id(id)).ok_or_else(|| {
            RulesError::Policies(format!("policy without a good @id annotation: {policy}"))
        })?;
        let policy = policy.new_id(PolicyId::new(id));
        named.add(policy.clone()).map_err(|error| RulesError::Policies(error.to_string()))?;
        policies.push(policy);
    }
    if policies.len() > POLICIES_MAX {
        return Err(RulesError::Policies(format!("more than {POLICIES_MAX} policies")));
    }
    let result = Validator::new(schema.clone()).validate(&named, ValidationMode::Strict);
    if let Some(error) = result.validation_errors().next() {
        return Err(RulesError::Policies(error.to_string()));
    }
    if let Some(warning) = result.validation_warnings().next() {
        return Err(RulesError::Policies(warning.to_string()));
    }
    Ok((schema, policies))
}

fn text_of(policy: &Policy) -> Result<(String, PolicyText), RulesError> {
    let text = |key: &str| policy.annotation(key).unwrap_or_default().to_owned();
    let id = policy.id().to_string();
    if text("legal_basis").is_empty() {
        return Err(RulesError::Policies(format!("policy `{id}` has no @legal_basis")));
    }
    let text = PolicyText {
        legal_basis: text("legal_basis"),
        text_de: text("text_de"),
        text_en: text("text_en"),
        permits: policy.effect() == Effect::Permit,
    };
    Ok((id, text))
}

fn check_evidence_types(
    document: &RulesDocument,
) -> Result<HashMap<String, EvidenceType>, RulesError> {
    let mut found = HashMap::new();
    for kind in &document.evidence_types {
        let bad = |problem: &str| RulesError::EvidenceType {
            id: kind.id.clone(),
            problem: problem.to_owned(),
        };
        if !is_id(&kind.id) {
            return Err(bad("the id is malformed"));
        }
        if kind.size < EVIDENCE_MIN || kind.size as usize > EVIDENCE_MAX {
            return Err(bad("the size must be 512 bytes to 2 MiB"));
        }
        if kind.slots == 0 || kind.slots > SLOTS_MAX {
            return Err(bad("there must be 1 to 32 slots"));
        }
        if kind.earliest_ms > 10_000 {
            return Err(bad("the earliest answer may be at most 10,000 ms"));
        }
        let mut names: Vec<&str> = kind.fields.iter().map(|field| field.name.as_str()).collect();
        names.sort_unstable();
        let count = names.len();
        names.dedup();
        if names.is_empty() || names.len() != count || !names.iter().all(|name| is_id(name)) {
            return Err(bad("fields must have good and distinct names"));
        }
        if found.insert(kind.id.clone(), kind.clone()).is_some() {
            return Err(bad("it is there twice"));
        }
    }
    Ok(found)
}

/// Retention and witnesses.
fn check_ledger(document: &RulesDocument) -> Result<Vec<WitnessKey>, RulesError> {
    let bad = |problem: String| RulesError::Ledger(problem);
    if document.retention_days.is_some_and(|days| !(1..=RETENTION_MAX).contains(&days)) {
        return Err(bad(format!("retention_days is a number from 1 to {RETENTION_MAX}")));
    }
    let Some(named) = &document.witnesses else { return Ok(Vec::new()) };
    let keys: Vec<WitnessKey> = named
        .keys
        .iter()
        .map(|key| WitnessKey::parse(key).map_err(|error| bad(format!("witness `{key}`: {error}"))))
        .collect::<Result<_, _>>()?;
    let distinct: HashSet<&String> = named.keys.iter().collect();
    if distinct.len() != keys.len() || keys.len() > WITNESSES_MAX {
        return Err(bad(format!("at most {WITNESSES_MAX} different witnesses are named")));
    }
    if !(1..=keys.len()).contains(&(named.required as usize)) {
        return Err(bad("required is at least 1 and at most the number of witnesses".to_owned()));
    }
    Ok(keys)
}

fn check_purposes(document: &RulesDocument) -> Result<HashMap<String, Purpose>, RulesError> {
    let mut found: HashMap<String, Purpose> = HashMap::new();
    for purpose in &document.purposes {
        let bad = |problem: &str| RulesError::Purpose {
            id: purpose.id.clone(),
            problem: problem.to_owned(),
        };
        if !is_id(&purpose.id) || purpose.legal_basis.is_empty() {
            return Err(bad("the id is malformed or the legal basis missing"));
        }
        // Parents stand before their children, so there is no circle.
        if purpose.parent.as_ref().is_some_and(|parent| !found.contains_key(parent)) {
            return Err(bad("its parent must stand before it"));
        }
        if found.insert(purpose.id.clone(), purpose.clone()).is_some() {
            return Err(bad("it is there twice"));
        }
    }
    Ok(found)
}

fn check_areas(document: &RulesDocument) -> Result<(), RulesError> {
    let mut found = HashSet::new();
    for area in &document.areas {
        let bad =
            |problem: &str| RulesError::Area { id: area.id.clone(), problem: problem.to_owned() };
        if !is_id(&area.id) {
            return Err(bad("the id is malformed"));
        }
        if !found.insert(&area.id) {
            return Err(bad("it is there twice"));
        }
    }
    // Every area that is misspelt is another one, so a refusal would be expected for the wrong
    // reason.
    for test in &document.tests {
        let areas = [&test.authority_area, &test.register_area];
        if let Some(unknown) = areas.into_iter().find(|area| !found.contains(area)) {
            let problem = format!("the rules have no area `{unknown}`");
            return Err(RulesError::Test { name: test.name.clone(), problem });
        }
    }
    Ok(())
}

/// A `forbid` whose purpose or field is misspelt forbids nothing, and strict validation knows
/// types but no names.
fn check_names(
    policies: &[Policy],
    evidence_types: &HashMap<String, EvidenceType>,
    purposes: &HashMap<String, Purpose>,
) -> Result<(), RulesError> {
    for policy in policies {
        for uid in policy.entity_literals() {
            let id = uid.id().unescaped();
            let known = match uid.type_name().to_string().as_str() {
                "Purpose" => purposes.contains_key(id),
                "EvidenceType" => evidence_types.contains_key(id),
                "Field" => id.split_once('/').is_some_and(|(kind, name)| {
                    evidence_types
                        .get(kind)
                        .is_some_and(|kind| kind.fields.iter().any(|field| field.name == name))
                }),
                // Authorities and their kinds stand in the directory; the schema has the rest.
                _ => true,
            };
            if !known {
                let policy = policy.id();
                let problem = format!("policy `{policy}` names {uid}, which the rules do not have");
                return Err(RulesError::Policies(problem));
            }
        }
    }
    Ok(())
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

/// Why rules are not accepted.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum RulesError {
    /// Not the form.
    #[error("the rules are malformed: {0}")]
    Form(String),
    /// The Cedar schema.
    #[error("the Cedar schema is not accepted: {0}")]
    Schema(String),
    /// The Cedar policies.
    #[error("the policies are not accepted: {0}")]
    Policies(String),
    /// An evidence type.
    #[error("evidence type `{id}`: {problem}")]
    EvidenceType {
        /// Its id.
        id: String,
        /// What is wrong.
        problem: String,
    },
    /// A purpose.
    #[error("purpose `{id}`: {problem}")]
    Purpose {
        /// Its id.
        id: String,
        /// What is wrong.
        problem: String,
    },
    /// Retention or witnesses.
    #[error("what the rules say about the ledger: {0}")]
    Ledger(String),
    /// An administrative area.
    #[error("area `{id}`: {problem}")]
    Area {
        /// Its id.
        id: String,
        /// What is wrong.
        problem: String,
    },
    /// One of the rules' own tests.
    #[error("the rules' own test `{name}` fails: {problem}")]
    Test {
        /// Its name.
        name: String,
        /// What came out instead.
        problem: String,
    },
}

#[cfg(test)]
#[path = "rules_tests.rs"]
mod tests;
