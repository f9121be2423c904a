// SPDX-License-Identifier: EUPL-1.2
//! Names in policies. Strict validation knows types but no names, and a `forbid` whose purpose,
//! field or kind is misspelt forbids nothing.

use std::collections::HashSet;

use cedar_policy::{EntityUid, Policy};
use einmal_protocol::request::is_id;
use serde_json::Value;

use crate::{
    rules_document::RulesDocument,
    rules_error::{Flaw, RulesError},
    vocabulary::INITIATIONS,
};

/// Letters that may differ, for a name to be taken for another.
const TYPING_MISTAKES: usize = 3;

/// All names that policies may use.
struct Names<'a> {
    kinds: HashSet<&'a str>,
    purposes: HashSet<&'a str>,
    evidence_types: HashSet<&'a str>,
    fields: HashSet<String>,
    areas: HashSet<&'a str>,
}

/// Checks that policies name nothing that the rules do not have.
pub(crate) fn check_names(document: &RulesDocument, policies: &[Policy]) -> Result<(), RulesError> {
    let types = &document.evidence_types;
    let fields = types.iter().flat_map(|kind| {
        kind.fields.iter().map(move |field| format!("{}/{}", kind.id, field.name))
    });
    let names = Names {
        kinds: document.kinds.iter().map(|kind| kind.id.as_str()).collect(),
        purposes: document.purposes.iter().map(|purpose| purpose.id.as_str()).collect(),
        evidence_types: types.iter().map(|kind| kind.id.as_str()).collect(),
        fields: fields.collect(),
        areas: document.areas.iter().map(|area| area.id.as_str()).collect(),
    };
    for policy in policies {
        // Looked for only where there is something to tell: the text may have megabytes.
        let flaw = |name: &str, problem: String| {
            let begins = place_of(&document.policies, policy);
            let text = document.policies.get(begins.unwrap_or(0)..).unwrap_or_default();
            let at = text.find(name).map(|inside| begins.unwrap_or(0) + inside).or(begins);
            RulesError::Policies(Flaw::at(format!("policy `{}` {problem}", policy.id()), at))
        };
        for uid in policy.entity_literals() {
            if let Err(near) = names.have(&uid) {
                let problem = format!("names {uid}, which the rules do not have{near}");
                return Err(flaw(&uid.to_string(), problem));
            }
        }
        // A test that never can be true is as silent as a misspelt entity.
        let conditions = policy.to_json().unwrap_or_default();
        for (attribute, text) in compared(&conditions) {
            let known = match attribute {
                "area" => names.areas.contains(text),
                "initiation" => INITIATIONS.contains(&text),
                _ => continue,
            };
            if !known {
                let near = match attribute {
                    "area" => hint(text, names.areas.iter().copied()),
                    _ => hint(text, INITIATIONS.into_iter()),
                };
                let problem =
                    format!("compares {attribute} with \"{text}\", which it never is{near}");
                return Err(flaw(&format!("\"{text}\""), problem));
            }
        }
    }
    Ok(())
}

/// Where a policy begins in the text that it was read from.
pub(crate) fn place_of(text: &str, policy: &Policy) -> Option<usize> {
    policy.to_cedar().and_then(|source| text.find(source.as_str()))
}

impl Names<'_> {
    fn have(&self, uid: &EntityUid) -> Result<(), String> {
        let id = uid.id().unescaped();
        let check = |names: &HashSet<&str>| match names.contains(id) {
            true => Ok(()),
            false => Err(hint(id, names.iter().copied())),
        };
        match uid.type_name().to_string().as_str() {
            "Purpose" => check(&self.purposes),
            "EvidenceType" => check(&self.evidence_types),
            "Field" if self.fields.contains(id) => Ok(()),
            "Field" => Err(hint(id, self.fields.iter().map(String::as_str))),
            "AuthorityKind" if self.kinds.is_empty() => {
                Err(": list the kinds of authorities in the rules (kinds.toml)".to_owned())
            }
            "AuthorityKind" => check(&self.kinds),
            // Authorities stand in the directory, which takes no other ids.
            "Authority" if !is_id(id) => {
                Err(": an id is lower-case letters a to z, digits, dot, underscore, hyphen"
                    .to_owned())
            }
            // The schema has the rest.
            _ => Ok(()),
        }
    }
}

/// Attributes that a policy compares with a text.
fn compared(expression: &Value) -> Vec<(&str, &str)> {
    let mut found = Vec::new();
    let mut rest = vec![expression];
    while let Some(next) = rest.pop() {
        match next {
            Value::Array(all) => rest.extend(all),
            Value::Object(object) => {
                rest.extend(object.values());
                for sides in ["==", "!="].iter().filter_map(|operator| object.get(*operator)) {
                    let (left, right) = (sides.get("left"), sides.get("right"));
                    for (one, other) in [(left, right), (right, left)] {
                        let attribute = one.and_then(|side| side.get(".")?.get("attr")?.as_str());
                        let text = other.and_then(|side| side.get("Value")?.as_str());
                        found.extend(attribute.zip(text));
                    }
                }
            }
            _ => (),
        }
    }
    found
}

/// ": did you mean …?", where one of the names is near.
pub fn hint<'a>(name: &str, names: impl Iterator<Item = &'a str>) -> String {
    let near = names.map(|other| (distance(name, other), other)).min();
    match near {
        Some((distance, other)) if distance <= TYPING_MISTAKES.min(name.len().div_ceil(2)) => {
            format!(": did you mean `{other}`?")
        }
        _ => String::new(),
    }
}

/// Letters to put in, take out or change.
fn distance(one: &str, other: &str) -> usize {
    // Far off by length alone: not worth a table.
    if one.len().abs_diff(other.len()) > TYPING_MISTAKES {
        return usize::MAX;
    }
    let other: Vec<char> = other.chars().collect();
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (number, letter) in one.chars().enumerate() {
        let mut diagonal = number;
        let mut left = number + 1;
        for (place, compared) in row.iter_mut().enumerate() {
            let above = *compared;
            let cost = match place.checked_sub(1).and_then(|before| other.get(before)) {
                None => number + 1,
                Some(same) if *same == letter => diagonal,
                Some(_) => 1 + diagonal.min(above).min(left),
            };
            (diagonal, left, *compared) = (above, cost, cost);
        }
    }
    row.last().copied().unwrap_or(0)
}
