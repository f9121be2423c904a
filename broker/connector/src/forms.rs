// SPDX-License-Identifier: EUPL-1.2
//! What applications say and get, as JSON. Unknown keys are refused; no error quotes a value.

use std::collections::BTreeMap;

use einmal_client::{Ask, Received};
use einmal_protocol::{
    Reason, RequestId,
    person::{Person, PersonError},
    wire::v1::{self, Initiation, Outcome, Use},
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::Value;

use crate::problem::Problem;

/// Evidences in one call.
pub(crate) const WANTED_MAX: usize = 32;

/// `POST /v1/evidence` and `POST /v1/explain`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct One {
    evidence_type: String,
    fields: Vec<String>,
    register: Option<String>,
    #[serde(flatten)]
    pub(crate) circumstances: Circumstances,
}

/// `POST /v1/evidences`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Many {
    pub(crate) evidences: Vec<Wanted>,
    #[serde(flatten)]
    pub(crate) circumstances: Circumstances,
}

impl One {
    /// What is wanted, and in which circumstances.
    pub(crate) fn parts(self) -> (Wanted, Circumstances) {
        let Self { evidence_type, fields, register, circumstances } = self;
        (Wanted { evidence_type, fields, register }, circumstances)
    }
}

/// One evidence.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Wanted {
    pub(crate) evidence_type: String,
    pub(crate) fields: Vec<String>,
    pub(crate) register: Option<String>,
}

/// In whose name, what for, about whom.
#[derive(Deserialize)]
pub(crate) struct Circumstances {
    /// May be left out by an application that has one only.
    pub(crate) authority: Option<String>,
    pub(crate) purpose: String,
    #[serde(default)]
    pub(crate) statutory: bool,
    pub(crate) person: PersonForm,
    #[serde(default)]
    pub(crate) case_reference: String,
    #[serde(default)]
    pub(crate) clerk: String,
    pub(crate) deadline_ms: Option<u64>,
    /// Reported at once, where something is found.
    #[serde(rename = "use")]
    pub(crate) used: Option<UseForm>,
}

/// A person, in one of the three lawful ways.
#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct PersonForm {
    idnr: String,
    family_name: String,
    given_names: String,
    birth_date: String,
    postcode: String,
    place: String,
}

/// What became of an answer.
#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum UseForm {
    Used,
    Discarded,
}

/// `POST /v1/evidence/{id}/use`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Report {
    #[serde(rename = "use")]
    pub(crate) used: UseForm,
}

impl UseForm {
    pub(crate) fn of(self, outcome: Outcome) -> Use {
        match (outcome, self) {
            (Outcome::Found, Self::Used) => Use::Used,
            (Outcome::Found, Self::Discarded) => Use::Discarded,
            _ => Use::NothingFound,
        }
    }
}

/// Reads a call. The parser's own message would quote values, and with them the person.
pub(crate) fn read<T: DeserializeOwned>(body: &[u8]) -> Result<T, Problem> {
    serde_json::from_slice(body).map_err(|error| {
        let (line, column) = (error.line(), error.column());
        Problem::malformed(&format!(
            "the call is not the JSON that is expected, near line {line}, column {column}"
        ))
    })
}

impl Circumstances {
    /// Who is meant, in which case.
    pub(crate) fn person(&mut self) -> Result<Person, Problem> {
        let form = std::mem::take(&mut self.person);
        let wire = v1::Person {
            idnr: form.idnr,
            family_name: form.family_name,
            given_names: form.given_names,
            birth_date: form.birth_date,
            postcode: form.postcode,
            place: form.place,
            case_reference: std::mem::take(&mut self.case_reference),
            clerk: std::mem::take(&mut self.clerk),
        };
        Person::from_wire(wire).map_err(|error| match error {
            PersonError::Form => Problem::malformed("the person is not well formed"),
            PersonError::Query => Reason::QueryNotLawful.into(),
            PersonError::CheckDigit => Reason::BadCheckDigit.into(),
        })
    }

    /// The question about that person.
    pub(crate) fn ask(&self, person: &Person, wanted: &Wanted) -> Ask {
        Ask {
            register: wanted.register.clone(),
            evidence_type: wanted.evidence_type.clone(),
            fields: wanted.fields.clone(),
            purpose: self.purpose.clone(),
            initiation: if self.statutory {
                Initiation::Statutory
            } else {
                Initiation::Application
            },
            person: person.clone(),
            retry_of: None::<RequestId>,
        }
    }
}

/// Verified evidence: what it says, whose it is, and where the access stands in the ledger.
#[derive(Serialize)]
pub(crate) struct Answer {
    id: String,
    evidence_type: String,
    outcome: &'static str,
    register: String,
    /// By the register's clock: milliseconds since 1970, UTC.
    answered_at_ms: u64,
    fields: BTreeMap<String, Value>,
    policies: BTreeMap<String, Vec<String>>,
    receipt: ReceiptForm,
    /// Whether its use is reported already.
    reported: bool,
}

#[derive(Serialize)]
struct ReceiptForm {
    ledger: String,
    index: u64,
    size: u64,
    /// The signed note (c2sp.org/tlog-checkpoint).
    checkpoint: String,
}

impl Answer {
    /// Takes the values out of what was received.
    pub(crate) fn of(evidence_type: &str, received: &mut Received, reported: bool) -> Self {
        let checkpoint = received.proven.checkpoint();
        let receipt = ReceiptForm {
            ledger: checkpoint.origin().to_owned(),
            index: received.proven.index(),
            size: checkpoint.size(),
            checkpoint: checkpoint.note().to_owned(),
        };
        Self {
            id: received.id.to_string(),
            evidence_type: evidence_type.to_owned(),
            outcome: match received.outcome {
                Outcome::Found => "found",
                Outcome::Ambiguous => "ambiguous",
                Outcome::NotTransmitted => "not_transmitted",
                Outcome::NothingFound | Outcome::Unspecified => "nothing_found",
            },
            register: received.register.clone(),
            answered_at_ms: received.answered_at_ms,
            fields: std::mem::take(&mut received.values),
            policies: std::mem::take(&mut received.policies),
            receipt,
            reported,
        }
    }
}
