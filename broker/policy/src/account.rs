// SPDX-License-Identifier: EUPL-1.2
//! The account of a decision for people: every policy that spoke, also where another one
//! outweighed it, and, where nothing permits, what is missing.

use cedar_policy::Policy;
use einmal_protocol::{Reason, wire::v1::Initiation};
use serde::Serialize;

use crate::{
    Rules,
    asking::{Asking, explain_as, speaks_to},
    decide::{Question, Refused},
    rules::PolicyText,
    rules_document::EvidenceType,
};

/// How one question comes out, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Account {
    /// Whether every field is permitted.
    pub permitted: bool,
    /// Whether the ends lie in different areas.
    pub crosses_areas: bool,
    /// Why the purpose does not admit the question at all, whatever policies say.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub purpose_refuses: Option<String>,
    /// In the order of the question.
    pub fields: Vec<FieldAccount>,
    /// Fields of the evidence type that were not asked for and would be permitted.
    pub also_permitted: Vec<String>,
}

/// How one field comes out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FieldAccount {
    /// Which.
    pub field: String,
    /// Whether it may leave.
    pub permitted: bool,
    /// Policies that permit it; where another forbids or fails they would have permitted it.
    pub permits: Vec<Voice>,
    /// Policies that forbid it.
    pub forbids: Vec<Voice>,
    /// Policies that could not be evaluated, which denies.
    pub fails: Vec<Voice>,
    /// Where nothing permits it: one change of the question, and it would be permitted.
    pub would_be_permitted: Vec<Otherwise>,
}

/// A policy, as it speaks to people.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Voice {
    /// Its id.
    pub policy: String,
    /// Citation.
    pub legal_basis: String,
    /// In German.
    pub text_de: String,
    /// In English.
    pub text_en: String,
}

/// A question that differs in one thing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Otherwise {
    /// On another initiative: "application" or "statutory".
    Initiation(String),
    /// With or without the identification number.
    IdnrUsed(bool),
    /// Within one area or across areas.
    CrossesAreas(bool),
    /// For another purpose.
    Purpose(String),
    /// Asked by an office that is of this kind as well.
    Kind(String),
}

/// Gives the account of a question.
///
/// # Errors
/// Where the question names something that does not exist.
pub fn account(
    rules: &Rules,
    asker: &Asking,
    register_area: &str,
    question: &Question,
) -> Result<Account, Refused> {
    let evidence = rules.evidence_type(&question.evidence_type);
    let evidence = evidence.ok_or(Reason::UnknownEvidenceType)?;
    let purpose = rules.leaf_purpose(&question.purpose).ok_or(Reason::UnknownPurpose)?;
    let purpose_refuses = if purpose.admits(question.initiation, question.idnr_used) {
        None
    } else if purpose.admits(question.initiation, false) {
        Some("it has no idnr_ground, so the identification number may not be used".to_owned())
    } else {
        Some(format!("it may be set going by {} only", purpose.initiations.join(", ")))
    };
    let crosses_areas = asker.area != register_area;
    let ask = Ask { rules, asker, register_area, question, evidence };
    let mut fields = ask.fields()?;
    for field in &mut fields {
        field.permitted &= purpose_refuses.is_none();
    }
    let others = evidence.fields.iter().map(|field| &field.name);
    let others = others.filter(|name| !question.fields.contains(name));
    let also_permitted = others.filter(|name| ask.allowed(asker, question, register_area, name));
    Ok(Account {
        permitted: fields.iter().all(|field| field.permitted),
        crosses_areas,
        purpose_refuses,
        also_permitted: also_permitted.cloned().collect(),
        fields,
    })
}

/// Rules with one policy only, for which every purpose admits every question.
fn alone(rules: &Rules, policy: &Policy) -> Option<Rules> {
    let mut document = rules.document().clone();
    document.policies = policy.to_cedar()?;
    document.tests.clear();
    for purpose in &mut document.purposes {
        purpose.initiations.clear();
        purpose.idnr_ground = Some("§".to_owned());
    }
    Rules::parse(&serde_json::to_vec(&document).ok()?).ok()
}

struct Ask<'a> {
    rules: &'a Rules,
    asker: &'a Asking,
    register_area: &'a str,
    question: &'a Question,
    evidence: &'a EvidenceType,
}

impl Ask<'_> {
    /// How each field comes out by each policy alone, so that it speaks also where another one
    /// outweighs it.
    fn fields(&self) -> Result<Vec<FieldAccount>, Refused> {
        let known = |name: &String| self.evidence.fields.iter().any(|field| field.name == *name);
        if !self.question.fields.iter().all(known) {
            return Err(Reason::UnknownField.into());
        }
        let empty = |field: &String| FieldAccount {
            field: field.clone(),
            permitted: false,
            permits: Vec::new(),
            forbids: Vec::new(),
            fails: Vec::new(),
            would_be_permitted: Vec::new(),
        };
        let mut fields: Vec<FieldAccount> = self.question.fields.iter().map(empty).collect();
        let all = self.rules.policies().iter();
        for policy in all.filter(|policy| speaks_to(policy, self.asker, &self.evidence.id)) {
            let id = policy.id().to_string();
            let alone = alone(self.rules, policy);
            for field in &mut fields {
                let question =
                    Question { fields: vec![field.field.clone()], ..self.question.clone() };
                let spoken = alone.as_ref().and_then(|alone| {
                    let said = explain_as(alone, self.asker, self.register_area, &question);
                    said.ok()?.fields.into_iter().next()
                });
                match spoken {
                    None => field.fails.push(self.voice(&id)),
                    Some(spoken) if spoken.policies.is_empty() => (),
                    Some(spoken) if spoken.permitted => field.permits.push(self.voice(&id)),
                    Some(_) => field.forbids.push(self.voice(&id)),
                }
            }
        }
        for field in &mut fields {
            let silent = field.forbids.is_empty() && field.fails.is_empty();
            field.permitted = !field.permits.is_empty() && silent;
            if field.permits.is_empty() && field.fails.is_empty() {
                field.would_be_permitted = self.otherwise(&field.field);
            }
        }
        Ok(fields)
    }

    fn voice(&self, policy: &str) -> Voice {
        let text = self.rules.policy(policy);
        let said = |get: fn(&PolicyText) -> &String| {
            text.map(|text| get(text).clone()).unwrap_or_default()
        };
        Voice {
            legal_basis: said(|text| &text.legal_basis),
            text_de: said(|text| &text.text_de),
            text_en: said(|text| &text.text_en),
            policy: policy.to_owned(),
        }
    }

    /// The nearest questions that come out well.
    fn otherwise(&self, field: &str) -> Vec<Otherwise> {
        let mut found = Vec::new();
        let (asker, area) = (self.asker, self.register_area);
        let mut other = self.question.clone();
        let (initiation, name) = match self.question.initiation {
            Initiation::Application => (Initiation::Statutory, "statutory"),
            _ => (Initiation::Application, "application"),
        };
        other.initiation = initiation;
        if self.allowed(asker, &other, area, field) {
            found.push(Otherwise::Initiation(name.to_owned()));
        }
        let mut other = self.question.clone();
        other.idnr_used = !other.idnr_used;
        if self.allowed(asker, &other, area, field) {
            found.push(Otherwise::IdnrUsed(other.idnr_used));
        }
        let crosses = asker.area != area;
        let far = if crosses { &asker.area } else { "(another area)" };
        if self.allowed(asker, self.question, far, field) {
            found.push(Otherwise::CrossesAreas(!crosses));
        }
        for purpose in &self.rules.document().purposes {
            let mut other = self.question.clone();
            other.purpose.clone_from(&purpose.id);
            if self.allowed(asker, &other, area, field) {
                found.push(Otherwise::Purpose(purpose.id.clone()));
            }
        }
        for kind in &self.rules.document().kinds {
            let mut other = asker.clone();
            other.kinds.push(kind.id.clone());
            if !asker.kinds.contains(&kind.id) && self.allowed(&other, self.question, area, field) {
                found.push(Otherwise::Kind(kind.id.clone()));
            }
        }
        found
    }

    fn allowed(&self, asker: &Asking, question: &Question, area: &str, field: &str) -> bool {
        let question = Question { fields: vec![field.to_owned()], ..question.clone() };
        let purpose = self.rules.leaf_purpose(&question.purpose);
        purpose.is_some_and(|purpose| purpose.admits(question.initiation, question.idnr_used))
            && explain_as(self.rules, asker, area, &question)
                .is_ok_and(|answer| answer.fields.iter().all(|field| field.permitted))
    }
}

#[cfg(test)]
#[path = "account_tests.rs"]
mod tests;
