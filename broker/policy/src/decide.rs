// SPDX-License-Identifier: EUPL-1.2
//! The decision: one pure function of request, rules and directory, one Cedar decision per field.
//! Broker, adapter, `Explain` and replay all call it, and it must come out the same
//! (PURPOSE-BOUND). Deny by default; any evaluation error denies, because Cedar itself skips a
//! policy that errors, and a skipped `forbid` would widen access.

use std::sync::Arc;

use einmal_protocol::{
    Digest, Reason,
    permit::{Grants, Permit},
    request::Request,
    wire::v1::{FieldGrant, FieldRefusal, Initiation},
};

use crate::{
    directory::Directory,
    rules::{Rules, RulesError},
    rules_document::RuleTest,
    slice::Key,
};

/// What is to be decided.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Question {
    /// Who asks.
    pub authority: String,
    /// Who is asked.
    pub register: String,
    /// For what.
    pub evidence_type: String,
    /// Which fields.
    pub fields: Vec<String>,
    /// What for.
    pub purpose: String,
    /// On whose initiative.
    pub initiation: Initiation,
    /// Whether the identification number is used.
    pub idnr_used: bool,
}

impl From<&Request> for Question {
    fn from(request: &Request) -> Self {
        Self {
            authority: request.authority.clone(),
            register: request.register.clone(),
            evidence_type: request.evidence_type.clone(),
            fields: request.fields.clone(),
            purpose: request.purpose.clone(),
            initiation: request.initiation,
            idnr_used: request.idnr_used,
        }
    }
}

/// Everything that policies read of the one who asks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asker<'a> {
    pub(crate) authority: &'a str,
    pub(crate) area: &'a str,
    pub(crate) kinds: &'a [String],
}

/// The answer for one field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldDecision {
    /// Which.
    pub field: String,
    /// Whether it may leave.
    pub permitted: bool,
    /// Ids of the policies that determined it, sorted; none where nothing permits.
    pub policies: Vec<String>,
}

/// The whole answer, permitted or not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explanation {
    /// Whether the ends lie in different areas.
    pub crosses_areas: bool,
    /// In the order of the question.
    pub fields: Vec<FieldDecision>,
}

/// Why a request is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", reason.message())]
pub struct Refused {
    /// The stable reason.
    pub reason: Reason,
    /// The fields that were refused, with the policies that forbade them.
    pub fields: Vec<FieldRefusal>,
}

impl From<Reason> for Refused {
    fn from(reason: Reason) -> Self {
        Self { reason, fields: Vec::new() }
    }
}

/// A policy that could not be evaluated.
#[derive(Debug, thiserror::Error)]
#[error("a policy could not be evaluated: {0}")]
pub struct PolicyFailure(String);

impl PolicyFailure {
    pub(crate) fn new(error: impl std::fmt::Display) -> Self {
        Self(error.to_string())
    }
}

/// Decides one request. Strict: one refused field refuses the request.
///
/// # Errors
/// A refusal, naming each refused field and the policies that spoke.
pub fn decide(
    rules: &Rules,
    directory: &Directory,
    question: &Question,
    request: Digest,
) -> Result<Permit, Refused> {
    let decided = decided(rules, directory, question)?;
    match &decided.outcome {
        Ok(grants) => {
            Ok(Permit::new(request, rules.digest(), directory.digest(), Arc::clone(grants)))
        }
        Err(fields) => Err(Refused { reason: Reason::NotPermitted, fields: fields.clone() }),
    }
}

/// Answers a question field by field, without collapsing it.
///
/// # Errors
/// Where the question names something that does not exist, or a policy errors.
pub fn explain(
    rules: &Rules,
    directory: &Directory,
    question: &Question,
) -> Result<Explanation, Refused> {
    decided(rules, directory, question).map(|decided| decided.explanation.clone())
}

/// A question's whole answer, and what a permit or a refusal says of it: made once, and shared by
/// all questions that no policy tells apart.
#[derive(Debug)]
pub(crate) struct Decided {
    pub(crate) explanation: Explanation,
    outcome: Result<Arc<Grants>, Vec<FieldRefusal>>,
}

impl Decided {
    fn new(explanation: Explanation) -> Self {
        let fields = explanation.fields.iter();
        let refused: Vec<FieldRefusal> = fields
            .clone()
            .filter(|field| !field.permitted)
            .map(|field| FieldRefusal {
                field: field.field.clone(),
                policies: field.policies.clone(),
            })
            .collect();
        let grant = |field: &FieldDecision| FieldGrant {
            field: field.field.clone(),
            policies: field.policies.clone(),
        };
        let outcome = match refused.is_empty() {
            true => Ok(Grants::new(fields.map(grant).collect(), explanation.crosses_areas).into()),
            false => Err(refused),
        };
        Self { explanation, outcome }
    }
}

fn decided(
    rules: &Rules,
    directory: &Directory,
    question: &Question,
) -> Result<Arc<Decided>, Refused> {
    let authority = directory.authority(&question.authority).ok_or(Reason::UnknownAuthority)?;
    let register = directory.register(&question.register).ok_or(Reason::UnknownRegister)?;
    if !register.entry.evidence_types.contains(&question.evidence_type) {
        return Err(Reason::NotHeldByRegister.into());
    }
    let asker = Asker {
        authority: &authority.entry.id,
        area: &authority.entry.area,
        kinds: &authority.entry.kinds,
    };
    ask(rules, asker, &register.entry.area, question)
}

pub(crate) fn ask(
    rules: &Rules,
    asker: Asker<'_>,
    register_area: &str,
    question: &Question,
) -> Result<Arc<Decided>, Refused> {
    let group = rules.group(&question.evidence_type).ok_or(Reason::UnknownEvidenceType)?;
    let crosses_areas = asker.area != register_area;
    let key = Key::new(group, asker, question, crosses_areas);
    if let Some(known) = rules.memory().decisions.find(key.of_decision()) {
        return Ok(known);
    }
    let kind = rules.evidence_type(&question.evidence_type).ok_or(Reason::UnknownEvidenceType)?;
    let purpose = rules.leaf_purpose(&question.purpose).ok_or(Reason::UnknownPurpose)?;
    let known = |name: &String| kind.fields.iter().any(|field| field.name == *name);
    if question.fields.is_empty() || !question.fields.iter().all(known) {
        return Err(Reason::UnknownField.into());
    }
    let mut fields = rules
        .slice(&key, asker, kind, &question.purpose)
        .and_then(|slice| slice.decide(question, crosses_areas))
        .map_err(|_| Reason::PolicyError)?;
    purpose.restrict(question, &mut fields);
    let decided = Arc::new(Decided::new(Explanation { crosses_areas, fields }));
    // More fields than there are repeat some, and there is no end of such questions.
    if question.fields.len() <= kind.fields.len() {
        rules.memory().decisions.keep(key.of_decision(), Arc::clone(&decided));
    }
    Ok(decided)
}

/// Runs one of the rules' own tests.
///
/// # Errors
/// What came out instead.
pub fn run_test(rules: &Rules, test: &RuleTest) -> Result<(), RulesError> {
    let failed = |problem: String| RulesError::Test { name: test.name.clone(), problem };
    let initiation = match test.initiation.as_str() {
        "application" => Initiation::Application,
        "statutory" => Initiation::Statutory,
        other => return Err(failed(format!("`{other}` is no initiation"))),
    };
    let asker = Asker {
        authority: "rules-test",
        area: &test.authority_area,
        kinds: std::slice::from_ref(&test.authority_kind),
    };
    let question = Question {
        authority: asker.authority.to_owned(),
        register: "rules-test".to_owned(),
        evidence_type: test.evidence_type.clone(),
        fields: test.fields.clone(),
        purpose: test.purpose.clone(),
        initiation,
        idnr_used: test.idnr_used,
    };
    let refused: Vec<String> = match ask(rules, asker, &test.register_area, &question) {
        Ok(decided) => {
            let refused = decided.explanation.fields.iter().filter(|field| !field.permitted);
            refused.map(|field| field.field.clone()).collect()
        }
        // A name that does not exist is a mistake in the test, whatever it expects.
        Err(refused) => return Err(failed(refused.reason.message().to_owned())),
    };
    match (test.permitted, refused.is_empty()) {
        (true, false) => Err(failed(format!("refused: {}", refused.join(", ")))),
        (false, true) => Err(failed("all fields are permitted".to_owned())),
        _ => Ok(()),
    }
}

#[cfg(test)]
#[path = "decide_tests.rs"]
pub(crate) mod tests;
