// SPDX-License-Identifier: EUPL-1.2
//! What a register says, in the one shape and size that all answers of a type have (SAME-ANSWER):
//! signed and sealed evidence, and one sealed access record for each slot.

use std::collections::BTreeSet;

use einmal_protocol::{
    commitment::Slot,
    entropy::Entropy,
    evidence::{self, EvidenceError},
    record::{RecordError, seal_access},
    wire::v1::{AccessRecord, Evidence, FieldValue, Outcome, Subject, SubjectRole},
};

use crate::{exchange::Verified, node::Node, register::Answer};

/// What the register says, in the shape that all answers have.
pub(crate) struct Said {
    outcome: Outcome,
    values: Vec<FieldValue>,
    /// Whose access records are written; the one asked about first.
    subjects: Vec<Subject>,
}

impl Said {
    /// An answer that transmits nothing.
    pub(crate) fn nothing(outcome: Outcome, subject: Subject) -> Self {
        Self { outcome, values: Vec::new(), subjects: vec![subject] }
    }

    /// What is said.
    pub(crate) fn outcome(&self) -> Outcome {
        self.outcome
    }

    /// Whose access records are written.
    pub(crate) fn subjects(&self) -> &[Subject] {
        &self.subjects
    }

    /// The fields that leave.
    pub(crate) fn fields(&self) -> Vec<String> {
        self.values.iter().map(|value| value.field.clone()).collect()
    }
}

/// "No such person", "no data" and "blocked" are one value; an ambiguous match transmits nothing.
pub(crate) fn say(verified: &Verified, answer: &Answer) -> Said {
    let asked = || verified.person.query.to_subject();
    match answer {
        Answer::Nothing => Said::nothing(Outcome::NothingFound, asked()),
        Answer::Ambiguous => Said::nothing(Outcome::Ambiguous, asked()),
        Answer::Found(found) if found.blocked => {
            Said::nothing(Outcome::NothingFound, found.subject.clone())
        }
        Answer::Found(found) => {
            let permitted: BTreeSet<&str> =
                verified.permit.fields().iter().map(|grant| grant.field.as_str()).collect();
            let values = found
                .values
                .iter()
                .filter(|(field, _)| permitted.contains(field.as_str()))
                .map(|(field, value)| FieldValue { field: field.clone(), json: value.to_string() })
                .collect();
            let mut subjects = vec![found.subject.clone()];
            for other in &found.affected {
                if *other != Subject::default() && !subjects.contains(other) {
                    subjects.push(other.clone());
                }
            }
            Said { outcome: Outcome::Found, values, subjects }
        }
    }
}

/// Why an answer could not be sealed.
pub(crate) enum Unsealed {
    /// It does not fit its evidence type: more persons than slots, or too long.
    DoesNotFit(&'static str),
    /// A key or the system failed.
    Failed(String),
}

/// The sealed evidence, and one sealed access record for each slot.
pub(crate) fn seal(
    node: &Node,
    verified: &Verified,
    said: &Said,
    now_ms: u64,
) -> Result<(Vec<u8>, Vec<Slot>), Unsealed> {
    let Verified { request, kind, .. } = verified;
    if said.subjects.len() > kind.slots as usize {
        return Err(Unsealed::DoesNotFit("it names more persons than its evidence type has slots"));
    }
    let slots = access_records(verified, said)?;
    let evidence = Evidence {
        request_digest: request.digest.to_vec(),
        register: node.id.clone(),
        outcome: said.outcome.into(),
        fields: said.values.clone(),
        answered_at_ms: now_ms,
    };
    let keys = (&node.identity, &request.reply_key);
    evidence::seal(&evidence, request.digest, kind.size as usize, keys, entropy()?)
        .map(|sealed| (sealed, slots))
        .map_err(|error| match error {
            EvidenceError::Pad(_) => {
                Unsealed::DoesNotFit("it is longer than its evidence type's size")
            }
            other => Unsealed::Failed(other.to_string()),
        })
}

fn entropy() -> Result<Entropy, Unsealed> {
    einmal_peer::random::entropy().map_err(|error| Unsealed::Failed(error.to_string()))
}

/// One sealed record for each slot: for each person who is named, and dummies for the rest.
fn access_records(verified: &Verified, said: &Said) -> Result<Vec<Slot>, Unsealed> {
    let Verified { request, person, kind, keeper, .. } = verified;
    let fields: Vec<String> = said.values.iter().map(|value| value.field.clone()).collect();
    let mut subjects = said.subjects.iter();
    (0..kind.slots)
        .map(|slot| {
            let record = match subjects.next() {
                Some(subject) => AccessRecord {
                    request_digest: request.digest.to_vec(),
                    subject: Some(subject.clone()),
                    role: if slot == 0 { SubjectRole::Asked } else { SubjectRole::Affected }.into(),
                    outcome: said.outcome.into(),
                    fields: fields.clone(),
                    // The file number is between the authority and the one it asks about.
                    case_reference: if slot == 0 {
                        person.case_reference.clone()
                    } else {
                        String::new()
                    },
                },
                None => AccessRecord {
                    request_digest: request.digest.to_vec(),
                    role: SubjectRole::Nobody.into(),
                    ..AccessRecord::default()
                },
            };
            let sealed = seal_access(&record, request.digest, slot, keeper, entropy()?).map_err(
                |error| match error {
                    RecordError::Pad(_) => Unsealed::DoesNotFit("its access record is too long"),
                    other => Unsealed::Failed(other.to_string()),
                },
            )?;
            Ok(Slot { sealed_record: sealed.sealed, plain_digest: sealed.plain_digest })
        })
        .collect()
}
