// SPDX-License-Identifier: EUPL-1.2
//! All that a register writes: find one person, return fields. The kit does dialling,
//! verification, the decision, the three steps, sealing, padding and limits.

use std::collections::BTreeMap;

use einmal_protocol::{person::PersonQuery, wire::v1::Subject};
use serde_json::Value;
use zeroize::Zeroize;

pub use tonic::async_trait;

/// A register of evidence about persons.
///
/// The contract:
/// - [`retrieve`](Register::retrieve) matches over all people, blocked or not, and says
///   [`Answer::Found`] only where exactly one fits all parts of the query; more than one is
///   [`Answer::Ambiguous`] (IDNrG § 6 (4)).
/// - It returns at least the fields that it was asked for, where it has them; what it returns
///   beyond them never leaves (the kit keeps only permitted fields).
/// - It does not log the query, and puts no part of it or of the answer into an error.
/// - It may be called many times at once, and dropped at any `await` (a cancelled exchange). Each
///   call has a thread of its own, so it may block; a call beyond its time limit is given up.
///
/// The folder `examples` has a complete adapter with one, `parking.rs`, its `main` included.
#[async_trait]
pub trait Register: Send + Sync {
    /// Looks one person up.
    ///
    /// # Errors
    /// Where the register cannot answer at the moment.
    async fn retrieve(&self, query: &Query) -> Result<Answer, RegisterFault>;
}

/// What is asked of a register.
#[derive(Clone)]
pub struct Query {
    /// Who is meant; one of the three lawful forms, check digit right. Wiped on drop.
    pub person: PersonQuery,
    /// Id of the evidence type.
    pub evidence_type: String,
    /// Names of the permitted fields, sorted.
    pub fields: Vec<String>,
}

impl std::fmt::Debug for Query {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Query({}, person redacted)", self.evidence_type)
    }
}

/// What a register found.
pub enum Answer {
    /// No such person, or nothing about them.
    Nothing,
    /// More than one person fits.
    Ambiguous,
    /// Exactly one.
    Found(Found),
}

/// One person's evidence. Wiped on drop.
pub struct Found {
    /// Who it is about, as the register knows them: by identification number if it has one, else
    /// birth name, given names, birth date and place. The access record is filed under this.
    pub subject: Subject,
    /// Other persons whom the evidence names; each gets an access record of their own.
    pub affected: Vec<Subject>,
    /// Values by field name.
    pub values: BTreeMap<String, Value>,
    /// The person is under a block (Auskunftssperre, BMG § 51): outside, this looks like
    /// [`Answer::Nothing`].
    pub blocked: bool,
}

impl std::fmt::Debug for Answer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Answer(redacted)")
    }
}

impl Drop for Found {
    fn drop(&mut self) {
        for subject in std::iter::once(&mut self.subject).chain(&mut self.affected) {
            subject.idnr.zeroize();
            subject.birth_name.zeroize();
            subject.given_names.zeroize();
            subject.birth_date.zeroize();
            subject.birth_place.zeroize();
        }
        self.values.values_mut().for_each(wipe);
    }
}

fn wipe(value: &mut Value) {
    match value {
        Value::String(text) => text.zeroize(),
        Value::Array(values) => values.iter_mut().for_each(wipe),
        Value::Object(values) => values.values_mut().for_each(wipe),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// Why a register cannot answer. Goes to its own operator's log, never outside, and holds no
/// personal data.
#[derive(Debug, thiserror::Error)]
pub enum RegisterFault {
    /// The source is away, slow or refuses.
    #[error("the source `{source_name}` does not answer: {problem}")]
    Source {
        /// Its name in the configuration.
        source_name: String,
        /// What happened, without personal data.
        problem: String,
    },
    /// The source answered something that is not evidence of this type.
    #[error("the source `{source_name}` gave a value that field `{field}` cannot take: {problem}")]
    Value {
        /// Its name in the configuration.
        source_name: String,
        /// The field.
        field: String,
        /// What is wrong, without the value.
        problem: String,
    },
    /// The evidence type is not configured here.
    #[error("no source is configured for evidence type `{evidence_type}`")]
    NotConfigured {
        /// Its id.
        evidence_type: String,
    },
}
