// SPDX-License-Identifier: EUPL-1.2
//! Who logs in. For now there is one way, for demonstrations only; OpenID Connect with level of
//! assurance "high" takes its place.

use std::collections::BTreeMap;

use einmal_protocol::{
    person::{idnr_is_valid, is_date},
    wire::v1::Subject,
};

/// A way to log in. The contract: a subject comes back only where it is proven that the caller is
/// that person, whole enough that records can be found by it (identification number, and birth
/// identity where it is known).
pub trait Login: Send + Sync {
    /// The person, or nothing where the login failed. Must take the same time either way.
    fn person(&self, idnr: &str, birth_date: &str) -> Option<Subject>;
    /// Persons that the login page offers. Not empty only where this is a demonstration, which
    /// the pages then say in a banner.
    fn demo_persons(&self) -> &[DemoPerson];
}

/// An invented person for demonstrations.
#[derive(Clone, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DemoPerson {
    /// Eleven digits with a right check digit.
    pub idnr: String,
    /// Name at birth.
    pub birth_name: String,
    /// Given names.
    pub given_names: String,
    /// YYYY-MM-DD.
    pub birth_date: String,
    /// Place of birth.
    pub birth_place: String,
}

impl std::fmt::Debug for DemoPerson {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("DemoPerson(redacted)")
    }
}

/// Lets in whoever knows the number and birth date of an invented person. Proves nothing.
pub struct DemoLogin {
    persons: Vec<DemoPerson>,
    by_number: BTreeMap<String, usize>,
}

impl DemoLogin {
    /// Takes the invented persons.
    ///
    /// # Errors
    /// Where there are none, or one has a wrong number or date.
    pub fn new(persons: Vec<DemoPerson>) -> Result<Self, DemoLoginError> {
        if persons.is_empty() {
            return Err(DemoLoginError::Nobody);
        }
        let mut by_number = BTreeMap::new();
        for (position, person) in persons.iter().enumerate() {
            let good = idnr_is_valid(&person.idnr) && is_date(&person.birth_date);
            if !good || by_number.insert(person.idnr.clone(), position).is_some() {
                return Err(DemoLoginError::Person { number: position + 1 });
            }
        }
        Ok(Self { persons, by_number })
    }
}

impl Login for DemoLogin {
    fn person(&self, idnr: &str, birth_date: &str) -> Option<Subject> {
        let person = self.persons.get(*self.by_number.get(idnr)?)?;
        (person.birth_date == birth_date).then(|| Subject {
            idnr: person.idnr.clone(),
            birth_name: person.birth_name.clone(),
            given_names: person.given_names.clone(),
            birth_date: person.birth_date.clone(),
            birth_place: person.birth_place.clone(),
        })
    }

    fn demo_persons(&self) -> &[DemoPerson] {
        &self.persons
    }
}

/// Why demo persons are not accepted.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum DemoLoginError {
    /// None.
    #[error("the demo login needs at least one person")]
    Nobody,
    /// Malformed or there twice.
    #[error("demo person {number} has a wrong number or birth date, or is there twice")]
    Person {
        /// Counted from 1.
        number: usize,
    },
}
