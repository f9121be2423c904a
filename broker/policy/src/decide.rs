// SPDX-License-Identifier: EUPL-1.2
//! The decision: one pure function of request, rules and directory, one Cedar decision per field.
//! Broker, adapter, `Explain` and replay all call it, and it must come out the same
//! (PURPOSE-BOUND). Deny by default; any evaluation error denies, because Cedar itself skips a
//! policy that errors, and a skipped `forbid` would widen access.

use std::collections::{HashMap, HashSet};

use cedar_policy::{
    Authorizer, Context, Decision, Entities, Entity, EntityId, EntityTypeName, EntityUid, Policy,
    PolicySet, Request as CedarRequest, RestrictedExpression,
};
use einmal_protocol::{
    Digest, Reason,
    permit::Permit,
    request::Request,
    wire::v1::{FieldGrant, FieldRefusal, Initiation},
};

use crate::{
    directory::Directory,
    rules::{Rules, RulesError},
    rules_document::{EvidenceType, RuleTest},
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
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Asker {
    pub(crate) authority: String,
    pub(crate) area: String,
    pub(crate) kinds: Vec<String>,
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
    let explanation = explain(rules, directory, question)?;
    let refused: Vec<FieldRefusal> = explanation
        .fields
        .iter()
        .filter(|field| !field.permitted)
        .map(|field| FieldRefusal { field: field.field.clone(), policies: field.policies.clone() })
        .collect();
    if !refused.is_empty() {
        return Err(Refused { reason: Reason::NotPermitted, fields: refused });
    }
    let grants = explanation
        .fields
        .into_iter()
        .map(|field| FieldGrant { field: field.field, policies: field.policies })
        .collect();
    Ok(Permit::new(request, rules.digest(), directory.digest(), grants, explanation.crosses_areas))
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
    let authority = directory.authority(&question.authority).ok_or(Reason::UnknownAuthority)?;
    let register = directory.register(&question.register).ok_or(Reason::UnknownRegister)?;
    if !register.entry.evidence_types.contains(&question.evidence_type) {
        return Err(Reason::NotHeldByRegister.into());
    }
    let asker = Asker {
        authority: authority.entry.id.clone(),
        area: authority.entry.area.clone(),
        kinds: authority.entry.kinds.clone(),
    };
    ask(rules, &asker, &register.entry.area, question)
}

pub(crate) fn ask(
    rules: &Rules,
    asker: &Asker,
    register_area: &str,
    question: &Question,
) -> Result<Explanation, Refused> {
    let kind = rules.evidence_type(&question.evidence_type).ok_or(Reason::UnknownEvidenceType)?;
    rules.leaf_purpose(&question.purpose).ok_or(Reason::UnknownPurpose)?;
    let known = |name: &String| kind.fields.iter().any(|field| field.name == *name);
    if question.fields.is_empty() || !question.fields.iter().all(known) {
        return Err(Reason::UnknownField.into());
    }
    let crosses_areas = asker.area != register_area;
    let slice = rules.slice(asker, kind).map_err(|_| Reason::PolicyError)?;
    let fields = question
        .fields
        .iter()
        .map(|field| slice.decide(rules, asker, kind, field, question, crosses_areas))
        .collect::<Result<_, _>>()
        .map_err(|_| Reason::PolicyError)?;
    Ok(Explanation { crosses_areas, fields })
}

/// The part of the rules that can speak about one asker and evidence type.
pub(crate) struct Slice {
    policies: PolicySet,
    entities: Entities,
}

impl Slice {
    pub(crate) fn new(
        rules: &Rules,
        asker: &Asker,
        kind: &EvidenceType,
        policies: impl Iterator<Item = Policy>,
    ) -> Result<Self, PolicyFailure> {
        let policies = PolicySet::from_policies(policies).map_err(failure)?;
        let mut entities = vec![
            Entity::new(
                uid("Authority", &asker.authority)?,
                HashMap::from([("area".to_owned(), string(&asker.area))]),
                asker
                    .kinds
                    .iter()
                    .map(|kind| uid("AuthorityKind", kind))
                    .collect::<Result<_, _>>()?,
            )
            .map_err(failure)?,
        ];
        for kind in &asker.kinds {
            entities.push(Entity::new_no_attrs(uid("AuthorityKind", kind)?, HashSet::new()));
        }
        entities.push(Entity::new_no_attrs(uid("EvidenceType", &kind.id)?, HashSet::new()));
        for field in &kind.fields {
            let special = RestrictedExpression::new_bool(field.special_category);
            entities.push(
                Entity::new(
                    field_uid(&kind.id, &field.name)?,
                    HashMap::from([("special_category".to_owned(), special)]),
                    HashSet::from([uid("EvidenceType", &kind.id)?]),
                )
                .map_err(failure)?,
            );
        }
        for purpose in &rules.document().purposes {
            let parents =
                purpose.parent.iter().map(|id| uid("Purpose", id)).collect::<Result<_, _>>()?;
            entities.push(Entity::new_no_attrs(uid("Purpose", &purpose.id)?, parents));
        }
        let entities = Entities::from_entities(entities, Some(rules.schema())).map_err(failure)?;
        Ok(Self { policies, entities })
    }

    fn decide(
        &self,
        rules: &Rules,
        asker: &Asker,
        kind: &EvidenceType,
        field: &str,
        question: &Question,
        crosses_areas: bool,
    ) -> Result<FieldDecision, PolicyFailure> {
        let initiation = match question.initiation {
            Initiation::Application => "application",
            Initiation::Statutory => "statutory",
            Initiation::Unspecified => "unspecified",
        };
        let purpose = RestrictedExpression::new_entity_uid(uid("Purpose", &question.purpose)?);
        let context = Context::from_pairs([
            ("purpose".to_owned(), purpose),
            ("initiation".to_owned(), string(initiation)),
            ("crosses_areas".to_owned(), RestrictedExpression::new_bool(crosses_areas)),
            ("idnr_used".to_owned(), RestrictedExpression::new_bool(question.idnr_used)),
        ])
        .map_err(failure)?;
        let request = CedarRequest::new(
            uid("Authority", &asker.authority)?,
            uid("Action", "retrieve")?,
            field_uid(&kind.id, field)?,
            context,
            Some(rules.schema()),
        )
        .map_err(failure)?;
        let response = Authorizer::new().is_authorized(&request, &self.policies, &self.entities);
        if let Some(error) = response.diagnostics().errors().next() {
            return Err(PolicyFailure(error.to_string()));
        }
        let mut policies: Vec<String> =
            response.diagnostics().reason().map(ToString::to_string).collect();
        policies.sort_unstable();
        let permitted = response.decision() == Decision::Allow;
        Ok(FieldDecision { field: field.to_owned(), permitted, policies })
    }
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
        authority: "rules-test".to_owned(),
        area: test.authority_area.clone(),
        kinds: vec![test.authority_kind.clone()],
    };
    let question = Question {
        authority: asker.authority.clone(),
        register: "rules-test".to_owned(),
        evidence_type: test.evidence_type.clone(),
        fields: test.fields.clone(),
        purpose: test.purpose.clone(),
        initiation,
        idnr_used: test.idnr_used,
    };
    let refused: Vec<String> = match ask(rules, &asker, &test.register_area, &question) {
        Ok(explanation) => {
            let refused = explanation.fields.into_iter().filter(|field| !field.permitted);
            refused.map(|field| field.field).collect()
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

fn string(text: &str) -> RestrictedExpression {
    RestrictedExpression::new_string(text.to_owned())
}

fn field_uid(evidence_type: &str, field: &str) -> Result<EntityUid, PolicyFailure> {
    uid("Field", &format!("{evidence_type}/{field}"))
}

fn uid(kind: &str, id: &str) -> Result<EntityUid, PolicyFailure> {
    let name: EntityTypeName = kind.parse().map_err(failure)?;
    Ok(EntityUid::from_type_name_and_id(name, EntityId::new(id)))
}

fn failure(error: impl std::fmt::Display) -> PolicyFailure {
    PolicyFailure(error.to_string())
}

#[cfg(test)]
#[path = "decide_tests.rs"]
pub(crate) mod tests;
