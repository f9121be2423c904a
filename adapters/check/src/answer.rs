// SPDX-License-Identifier: EUPL-1.2
//! What an authority and the keeper make of an answer: everything in it is verified.

use std::collections::BTreeMap;

use einmal_policy::rules_document::EvidenceType;
use einmal_protocol::{
    Digest, evidence,
    person::is_date,
    record::{self, open_access},
    wire::v1::{AccessRecord, Outcome, SubjectRole},
};
use serde_json::Value;

use crate::{
    asker::Asked,
    case::Problem,
    forgery::Committed,
    questions::{CASE_REFERENCE, Expect, Target},
    stage::CHUNK_MAX,
    world::World,
};

/// What a broker can see of an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Shape {
    /// Bytes of the commitment's envelope.
    pub(crate) commitment: usize,
    /// Bytes of each sealed access record.
    pub(crate) slots: Vec<usize>,
    /// Bytes of each chunk of evidence.
    pub(crate) chunks: Vec<usize>,
}

impl Shape {
    pub(crate) fn of(committed: &Committed, chunks: &[Vec<u8>]) -> Self {
        let slots = committed.commitment.slots.iter().map(|slot| slot.sealed_record.len());
        Self {
            commitment: committed.body.commitment.len(),
            slots: slots.collect(),
            chunks: chunks.iter().map(Vec::len).collect(),
        }
    }

    pub(crate) fn difference(&self, other: &Self) -> Option<String> {
        let differ =
            |what: &str, a: String, b: String| (a != b).then(|| format!("{what}: {a}, {b}"));
        differ("bytes of the commitment", self.commitment.to_string(), other.commitment.to_string())
            .or_else(|| {
                let of = |shape: &Self| format!("{:?}", shape.slots);
                differ("bytes of the sealed access records", of(self), of(other))
            })
            .or_else(|| {
                let of = |shape: &Self| format!("{:?}", shape.chunks);
                differ("bytes of the chunks", of(self), of(other))
            })
    }
}

/// A verified answer.
pub(crate) struct Answer {
    pub(crate) outcome: Outcome,
    pub(crate) values: BTreeMap<String, Value>,
    /// How many persons got an access record.
    pub(crate) records: usize,
    /// Whether the record of whom was asked about names somebody by number or by name.
    subject_is_named: bool,
}

/// Opens and verifies all of an answer.
pub(crate) fn open(
    world: &World,
    asked: &Asked,
    committed: &Committed,
    chunks: &[Vec<u8>],
) -> Result<Answer, Problem> {
    let bad = |what: String| Problem::failed(what);
    let largest = chunks.iter().map(Vec::len).max().unwrap_or_default();
    if largest > CHUNK_MAX as usize {
        return Err(bad(format!("a chunk has {largest} bytes; the broker takes {CHUNK_MAX}")));
    }
    let sealed = chunks.concat();
    if Digest::of(&sealed) != committed.commitment.sealed_evidence_digest {
        return Err(bad("what it revealed is not what it had committed to".to_owned()));
    }
    let register = world.trust.directory.register(&asked.request.register);
    let keys = register.map(|found| found.keys.as_slice()).unwrap_or_default();
    let evidence = evidence::open(&sealed, asked.digest, &asked.reply_key, keys)
        .map_err(|error| bad(format!("the evidence: {error}")))?;
    if evidence.register != asked.request.register {
        return Err(bad("the evidence names another register".to_owned()));
    }
    let outcome = evidence.outcome();
    if outcome == Outcome::Unspecified {
        return Err(bad("the evidence has no outcome".to_owned()));
    }
    let mut values = BTreeMap::new();
    for field in evidence.fields {
        if !asked.request.fields.contains(&field.field) {
            return Err(bad(format!(
                "it sent the field `{}`, which is not permitted",
                field.field
            )));
        }
        let value: Value = serde_json::from_str(&field.json)
            .map_err(|_| bad(format!("the value of `{}` is no JSON", field.field)))?;
        check_schema(&asked.kind, &field.field, &value).map_err(bad)?;
        if values.insert(field.field.clone(), value).is_some() {
            return Err(bad(format!("the field `{}` is there twice", field.field)));
        }
    }
    if outcome != Outcome::Found && !values.is_empty() {
        return Err(bad("it sent fields though it found nobody".to_owned()));
    }
    let (records, subject_is_named) = records(world, asked, committed, (outcome, &values))?;
    Ok(Answer { outcome, values, records, subject_is_named })
}

/// Opens the access records as the keeper does; how many persons they name.
fn records(
    world: &World,
    asked: &Asked,
    committed: &Committed,
    (outcome, values): (Outcome, &BTreeMap<String, Value>),
) -> Result<(usize, bool), Problem> {
    let (mut named, mut subject_is_named) = (0, false);
    for (number, slot) in (0..).zip(&committed.commitment.slots) {
        let bad = |what: &str| Problem::failed(format!("access record {number} {what}"));
        let plain = open_access(slot, asked.digest, number, &world.keeper)
            .map_err(|error| bad(&format!("does not open for the keeper: {error}")))?;
        let record: AccessRecord =
            record::parse(&plain).map_err(|error| bad(&format!("is malformed: {error}")))?;
        if record.request_digest != asked.digest.to_vec() {
            return Err(bad("is about another request"));
        }
        let subject = record.subject.clone().unwrap_or_default();
        match (number, record.role()) {
            (0, SubjectRole::Asked) => {
                subject_is_named = !subject.idnr.is_empty() || !subject.birth_name.is_empty();
                if record.case_reference != CASE_REFERENCE {
                    return Err(bad("lacks the case reference of the request"));
                }
            }
            (0, _) => return Err(bad("is not about the person who was asked about")),
            (_, SubjectRole::Affected) => {}
            (_, SubjectRole::Nobody) => continue,
            _ => return Err(bad("has no role that fits its slot")),
        }
        named += 1;
        if record.outcome() != outcome {
            return Err(bad("says another outcome than the evidence"));
        }
        let mut fields = record.fields.clone();
        fields.sort_unstable();
        if !fields.iter().eq(values.keys()) {
            return Err(bad("names other fields than those that left"));
        }
    }
    Ok((named, subject_is_named))
}

/// The part of JSON Schema that evidence uses.
fn check_schema(kind: &EvidenceType, name: &str, value: &Value) -> Result<(), String> {
    let field = kind.fields.iter().find(|field| field.name == name);
    let field = field.ok_or_else(|| format!("its evidence type has no field `{name}`"))?;
    if fits(&field.schema, value) {
        return Ok(());
    }
    Err(format!("the value of `{name}` does not fit its JSON Schema in the rules"))
}

fn fits(schema: &Value, value: &Value) -> bool {
    let of_type = |name: &str| match name {
        "string" => value.is_string(),
        "number" => value.is_number(),
        "integer" => value.is_i64() || value.is_u64(),
        "boolean" => value.is_boolean(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        "null" => value.is_null(),
        _ => true,
    };
    let right_type = match schema.get("type") {
        Some(Value::String(name)) => of_type(name),
        Some(Value::Array(names)) => names.iter().filter_map(Value::as_str).any(of_type),
        _ => true,
    };
    let listed = match schema.get("enum").and_then(Value::as_array) {
        Some(allowed) => allowed.contains(value),
        None => true,
    };
    let is_date_type = schema.get("format").and_then(Value::as_str) == Some("date");
    let right_date = !is_date_type || value.as_str().is_none_or(is_date);
    let items = match (schema.get("items"), value.as_array()) {
        (Some(items), Some(values)) => values.iter().all(|value| fits(items, value)),
        _ => true,
    };
    let parts = match (schema.get("properties").and_then(Value::as_object), value.as_object()) {
        (Some(parts), Some(values)) => {
            values.iter().all(|(name, value)| parts.get(name).is_none_or(|part| fits(part, value)))
        }
        _ => true,
    };
    let required = schema.get("required").and_then(Value::as_array).into_iter().flatten();
    let complete = value.as_object().is_none_or(|values| {
        required.filter_map(Value::as_str).all(|name| values.contains_key(name))
    });
    right_type && listed && right_date && items && parts && complete
}

impl Answer {
    /// Whether it is what the question file says.
    pub(crate) fn check(&self, target: &Target) -> Result<(), String> {
        let expected = match target.expect {
            Expect::Found => Outcome::Found,
            Expect::Nothing | Expect::Blocked => Outcome::NothingFound,
            Expect::Ambiguous => Outcome::Ambiguous,
        };
        if self.outcome != expected {
            let (got, expected) = (name_of(self.outcome), name_of(expected));
            return Err(format!("it says {got}; expected was {expected}"));
        }
        if !self.subject_is_named {
            return Err("its access record names nobody, so no citizen would find it".to_owned());
        }
        let permitted = |name: &&String| target.choice.fields.contains(*name);
        for name in target.fields.iter().filter(permitted) {
            if !self.values.contains_key(name) {
                return Err(format!("the field `{name}` is missing"));
            }
        }
        for (name, value) in target.values.iter().filter(|(name, _)| permitted(name)) {
            match self.values.get(name) {
                None => return Err(format!("the field `{name}` is missing")),
                Some(got) if got != value => {
                    return Err(format!("the field `{name}` has another value than expected"));
                }
                Some(_) => {}
            }
        }
        Ok(())
    }
}

fn name_of(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Unspecified => "nothing",
        Outcome::Found => "FOUND",
        Outcome::NothingFound => "NOTHING_FOUND",
        Outcome::Ambiguous => "AMBIGUOUS",
        Outcome::NotTransmitted => {
            "NOT_TRANSMITTED (the register has something that does not fit; see its log)"
        }
    }
}
