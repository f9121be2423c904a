// SPDX-License-Identifier: EUPL-1.2
//! Whether new rules grant more than the old ones. Granting takes both signers, narrowing one, so
//! the class is signed and derived again on acceptance.
//!
//! Decided by form, not by asking questions: kinds of authorities combine in a directory, and no
//! sample covers all that could ever be entered. What cannot be proven to narrow, widens.

use std::collections::BTreeMap;

use cedar_policy::{Effect, Policy};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::{
    rules::Rules,
    rules_document::{RulesDocument, Texts},
};

/// Operators inside operators: the evaluator's stack holds far more than this.
const DEPTH_MAX: usize = 64;

/// What a new version of the rules does to the one before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Change {
    /// Somebody may get more than before, or it cannot be proven that nobody may.
    Widens,
    /// Nobody may get anything that they could not get before.
    Narrows,
    /// Every decision, commitment, size and retention stays: only texts, legal bases, ids of
    /// policies, own tests, expiry and version differ.
    TextOnly,
}

impl std::fmt::Display for Change {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Widens => "widens",
            Self::Narrows => "narrows",
            Self::TextOnly => "text only",
        })
    }
}

/// The class of a change: sound for every authority that could ever be entered in a directory.
pub fn class(old: &Rules, new: &Rules) -> Change {
    if shape(old) != shape(new) {
        return Change::Widens;
    }
    let (Some(old), Some(new)) = (Effects::of(old), Effects::of(new)) else {
        return Change::Widens;
    };
    if old.permits.keys().eq(new.permits.keys()) && old.forbids.keys().eq(new.forbids.keys()) {
        return Change::TextOnly;
    }
    // A permit that errors denies; without it another permit could allow.
    let mut gone = old.permits.iter().filter(|(text, _)| !new.permits.contains_key(*text));
    let errors_stay = gone.all(|(_, permit)| permit.total);
    let permits_hold = new.permits.iter().all(|(text, permit)| {
        let wider = |old: &Clauses| old.total && permit.implies(old);
        old.permits.contains_key(text) || old.permits.values().any(wider)
    });
    let forbids_hold = old.forbids.iter().all(|(text, forbid)| {
        let wider = |new: &Clauses| forbid.total && forbid.implies(new);
        new.forbids.contains_key(text) || new.forbids.values().any(wider)
    });
    if errors_stay && permits_hold && forbids_hold { Change::Narrows } else { Change::Widens }
}

/// Derives the class again and compares it with what the new rules say about themselves.
///
/// # Errors
/// Where they say another class, or none.
pub fn check(old: &Rules, new: &Rules) -> Result<Change, ChangeError> {
    let derived = class(old, new);
    match new.document().change {
        Some(declared) if declared == derived => Ok(derived),
        declared => Err(ChangeError { declared, derived }),
    }
}

/// Whether all that citizens read stays: of what the rules speak about, and of every policy but a
/// `forbid` that is new, which brings its own words.
pub(crate) fn same_words(old: &Rules, new: &Rules) -> bool {
    let (before, after) = (old.document(), new.document());
    before.purposes == after.purposes
        && before.evidence_types == after.evidence_types
        && before.areas == after.areas
        && before.kinds == after.kinds
        && new.policies().iter().all(|policy| {
            let id = policy.id().to_string();
            old.policy(&id)
                .map_or(policy.effect() == Effect::Forbid, |said| new.policy(&id) == Some(said))
        })
}

/// Rules that say something else about themselves than what they do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the rules say of themselves `{}`, but the change from the version before is `{derived}`: build them again from that version",
    declared.map_or("nothing".to_owned(), |declared| declared.to_string())
)]
pub struct ChangeError {
    /// What they say.
    pub declared: Option<Change>,
    /// What it is.
    pub derived: Change,
}

/// A document without all that changes no decision, commitment, size or retention. Taken away by
/// name, so that what is added to the form later counts until somebody says otherwise.
fn shape(rules: &Rules) -> RulesDocument {
    let mut shape = rules.document().clone();
    shape.version = 0;
    shape.previous = None;
    shape.change = None;
    shape.issued_at_ms = 0;
    shape.expires_at_ms = 0;
    shape.policies.clear();
    shape.tests.clear();
    shape.retention_days = Some(rules.retention_days());
    for area in &mut shape.areas {
        blank(&mut area.texts);
    }
    for purpose in &mut shape.purposes {
        blank(&mut purpose.texts);
        purpose.legal_basis.clear();
        purpose.initiations.sort_unstable();
        // Whether there is a ground decides; its wording does not.
        purpose.idnr_ground = purpose.idnr_ground.take().map(|_| String::new());
    }
    for kind in &mut shape.kinds {
        blank(&mut kind.texts);
    }
    for kind in &mut shape.evidence_types {
        blank(&mut kind.texts);
        for field in &mut kind.fields {
            blank(&mut field.texts);
        }
    }
    // Ids are unique, so the order says nothing. That of fields may.
    shape.areas.sort_by(|a, b| a.id.cmp(&b.id));
    shape.kinds.sort_by(|a, b| a.id.cmp(&b.id));
    shape.purposes.sort_by(|a, b| a.id.cmp(&b.id));
    shape.evidence_types.sort_by(|a, b| a.id.cmp(&b.id));
    shape
}

fn blank(texts: &mut Texts) {
    *texts = Texts { de: String::new(), en: String::new(), de_leicht: String::new() };
}

/// The policies by their meaning: Cedar's JSON form without annotations.
struct Effects {
    permits: BTreeMap<String, Clauses>,
    forbids: BTreeMap<String, Clauses>,
}

impl Effects {
    fn of(rules: &Rules) -> Option<Self> {
        let (mut permits, mut forbids) = (BTreeMap::new(), BTreeMap::new());
        for policy in rules.policies() {
            let body = body(policy)?;
            let text = Value::Object(body.clone()).to_string();
            let clauses = Clauses::of(&body);
            match policy.effect() {
                Effect::Permit => permits.insert(text, clauses),
                Effect::Forbid => forbids.insert(text, clauses),
            };
        }
        Some(Self { permits, forbids })
    }
}

/// A policy taken apart: it speaks where its scope fits and every clause is true.
struct Clauses {
    scope: [Option<Value>; 3],
    clauses: Vec<Value>,
    /// Whether it can always be evaluated.
    total: bool,
}

impl Clauses {
    fn of(body: &Map<String, Value>) -> Self {
        let conditions = body.get("conditions").and_then(Value::as_array);
        let mut clauses = Vec::new();
        let mut total = conditions.is_some();
        for condition in conditions.into_iter().flatten() {
            match condition.get("body") {
                Some(inside) if condition.get("kind") == Some(&json!("when")) => {
                    total &= is_total(inside, DEPTH_MAX);
                    split(inside, &mut clauses);
                }
                Some(inside) => {
                    total &= is_total(inside, DEPTH_MAX);
                    clauses.push(condition.clone());
                }
                None => total = false,
            }
        }
        let scope = ["principal", "action", "resource"].map(|part| body.get(part).cloned());
        Self { scope, clauses, total }
    }

    /// Whether this one speaks only where the other does, if the other can be evaluated: the same
    /// scope, every clause of the other or a stricter one, and perhaps more.
    fn implies(&self, other: &Self) -> bool {
        self.scope == other.scope
            && other.clauses.iter().all(|wide| self.clauses.iter().any(|own| stricter(own, wide)))
    }
}

/// What is joined by `&&`, one by one.
fn split(expression: &Value, clauses: &mut Vec<Value>) {
    match expression.get("&&").map(|both| (both.get("left"), both.get("right"))) {
        Some((Some(left), Some(right))) => {
            split(left, clauses);
            split(right, clauses);
        }
        _ => clauses.push(expression.clone()),
    }
}

/// Whether a clause is the other one, or the other one with fewer entities in its list.
fn stricter(own: &Value, wide: &Value) -> bool {
    let listed = |clause: &Value| -> Option<(Value, Vec<Value>)> {
        let sides = clause.get("in")?;
        let list = sides.get("right")?.get("Set")?.as_array()?.clone();
        Some((sides.get("left")?.clone(), list))
    };
    own == wide
        || listed(own).zip(listed(wide)).is_some_and(|((left, few), (other, many))| {
            left == other && few.iter().all(|entity| many.contains(entity))
        })
}

/// A policy in Cedar's JSON form, without annotations.
fn body(policy: &Policy) -> Option<Map<String, Value>> {
    let Ok(Value::Object(mut body)) = policy.to_json() else { return None };
    body.remove("annotations");
    Some(body)
}

/// What a policy says, whatever its id, texts and layout: equal for equal policies. Absent where
/// Cedar cannot write it down.
pub(crate) fn meaning(policy: &Policy) -> Option<String> {
    body(policy).map(|body| Value::Object(body).to_string())
}

/// Whether an expression that strict validation accepted can be evaluated always. Only what is
/// known is trusted: no arithmetic, no extension function, no tag, and attributes only of what
/// every request brings.
fn is_total(expression: &Value, depth: usize) -> bool {
    let Some(depth) = depth.checked_sub(1) else { return false };
    let Some((operator, inside)) = expression.as_object().and_then(single) else { return false };
    let parts = |names: &[&str]| {
        names.iter().all(|name| inside.get(*name).is_some_and(|part| is_total(part, depth)))
    };
    match operator {
        "Var" => true,
        "Value" => is_plain(inside),
        "!" | "isEmpty" => parts(&["arg"]),
        "&&" | "||" | "==" | "!=" | "<" | "<=" | ">" | ">=" | "in" | "contains" | "containsAll"
        | "containsAny" => parts(&["left", "right"]),
        "if-then-else" => parts(&["if", "then", "else"]),
        "has" | "like" => parts(&["left"]),
        "is" => parts(&["left"]) && (inside.get("in").is_none() || parts(&["in"])),
        // Principal, resource and context are there, and validation proves their attributes; any
        // other entity may be missing from the store.
        "." => inside.get("left").and_then(|left| left.get("Var")).is_some(),
        "Set" => inside.as_array().is_some_and(|all| all.iter().all(|part| is_total(part, depth))),
        _ => false,
    }
}

fn single(object: &Map<String, Value>) -> Option<(&str, &Value)> {
    let (key, value) = object.iter().next()?;
    (object.len() == 1).then_some((key.as_str(), value))
}

/// A literal without extension values.
fn is_plain(value: &Value) -> bool {
    match value {
        Value::Object(object) => object.keys().all(|key| key == "__entity"),
        Value::Array(values) => values.iter().all(is_plain),
        _ => true,
    }
}

#[cfg(test)]
#[path = "change_tests.rs"]
pub(crate) mod tests;
