// SPDX-License-Identifier: EUPL-1.2
//! The question file: invented persons who are in the register, or are not.

use std::collections::BTreeMap;

use einmal_protocol::{person::idnr_check_digit, wire::v1};
use serde::Deserialize;
use serde_json::Value;

use crate::{choice::Choice, world::World};

const TEXT_MAX: usize = 1024 * 1024;
const PERSONS_MAX: usize = 100;
/// A day on which nobody was born who is asked about.
const NOBODY_BORN: &str = "1901-01-01";

/// The question file.
#[derive(Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Questions {
    #[serde(default, rename = "person")]
    persons: Vec<PersonEntry>,
}

impl std::fmt::Debug for Questions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Questions({} persons)", self.persons.len())
    }
}

/// What the register must say of a person.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, PartialOrd, Ord)]
#[serde(rename_all = "lowercase")]
pub enum Expect {
    /// Exactly one fits.
    Found,
    /// Nobody fits.
    Nothing,
    /// The person is under a block.
    Blocked,
    /// More than one fits.
    Ambiguous,
}

impl Expect {
    /// In words.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Found => "found",
            Self::Nothing => "nothing",
            Self::Blocked => "blocked",
            Self::Ambiguous => "ambiguous",
        }
    }
}

/// A lawful way to name a person.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, PartialOrd, Ord)]
#[serde(rename_all = "lowercase")]
pub enum Way {
    /// Identification number and birth date.
    Idnr,
    /// Names and birth date.
    Names,
    /// Family name, residence and birth date.
    Residence,
}

impl Way {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Idnr, Self::Names, Self::Residence];

    /// In words.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Idnr => "idnr",
            Self::Names => "names",
            Self::Residence => "residence",
        }
    }
}

#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct PersonEntry {
    expect: Expect,
    /// Left out: every register that holds the evidence.
    register: Option<String>,
    /// Left out: all evidence types.
    #[serde(default)]
    evidence: Vec<String>,
    /// Left out: all that the keys below allow.
    #[serde(default)]
    ways: Vec<Way>,
    #[serde(default)]
    idnr: String,
    #[serde(default)]
    family_name: String,
    #[serde(default)]
    given_names: String,
    birth_date: String,
    #[serde(default)]
    postcode: String,
    #[serde(default)]
    place: String,
    /// By evidence type: fields that must be there.
    #[serde(default)]
    fields: BTreeMap<String, Vec<String>>,
    /// By evidence type: values of fields.
    #[serde(default)]
    values: BTreeMap<String, BTreeMap<String, Value>>,
}

/// One question: a person, a way, an evidence type of a register, and what must come.
#[derive(Clone)]
pub struct Target {
    /// Who is asked.
    pub register: String,
    /// For what.
    pub evidence_type: String,
    /// How the rules permit it.
    pub choice: Choice,
    /// About whom.
    pub person: v1::Person,
    /// In which way they are named.
    pub way: Way,
    /// What must come.
    pub expect: Expect,
    /// Fields that must be there.
    pub fields: Vec<String>,
    /// Values that must be there.
    pub values: BTreeMap<String, Value>,
}

impl std::fmt::Debug for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Target({self})")
    }
}

impl std::fmt::Display for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (expect, way) = (self.expect.as_str(), self.way.as_str());
        write!(f, "{} of {}, {expect} by {way}", self.evidence_type, self.register)
    }
}

/// Why a question file cannot be used. It quotes nothing of the file: persons stand in it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum QuestionsError {
    /// Malformed.
    #[error(
        "the question file is malformed near line {line}; compare it with deploy/config/check-question.toml"
    )]
    Form {
        /// Counted from 1.
        line: usize,
    },
    /// Too long, or too many persons.
    #[error("the question file is too long: at most {PERSONS_MAX} persons and 1 MiB")]
    TooLong,
    /// A person cannot be asked about.
    #[error("person {number} of the question file: {problem}")]
    Person {
        /// Counted from 1.
        number: usize,
        /// What is wrong, and what to write.
        problem: String,
    },
}

impl Questions {
    /// Reads a question file.
    ///
    /// # Errors
    /// Where it is malformed.
    pub fn parse(text: &str) -> Result<Self, QuestionsError> {
        if text.len() > TEXT_MAX {
            return Err(QuestionsError::TooLong);
        }
        let this: Self = toml::from_str(text).map_err(|error: toml::de::Error| {
            let start = error.span().map_or(0, |span| span.start);
            let before = text.bytes().take(start).filter(|byte| *byte == b'\n').count();
            QuestionsError::Form { line: before + 1 }
        })?;
        if this.persons.len() > PERSONS_MAX {
            return Err(QuestionsError::TooLong);
        }
        Ok(this)
    }

    /// All questions that the file and the rules allow, and in words what they do not allow.
    ///
    /// # Errors
    /// Names the person that cannot be asked about at all.
    pub fn targets(&self, world: &World) -> Result<(Vec<Target>, Vec<String>), QuestionsError> {
        let (mut targets, mut left_out) = (Vec::new(), Vec::new());
        for (number, person) in (1..).zip(&self.persons) {
            let bad = |problem: String| QuestionsError::Person { number, problem };
            person.check(world).map_err(bad)?;
            for register in &world.trust.directory.document().registers {
                if person.register.as_ref().is_some_and(|id| *id != register.id) {
                    continue;
                }
                for evidence_type in &register.evidence_types {
                    if !person.evidence.is_empty() && !person.evidence.contains(evidence_type) {
                        continue;
                    }
                    for way in person.ways() {
                        let of = (register.id.as_str(), evidence_type.as_str());
                        match person.target(world, of, way) {
                            Some(target) => targets.push(target),
                            None => left_out.push(format!(
                                "{evidence_type} of {} by {}: the rules permit nobody any field",
                                register.id,
                                way.as_str()
                            )),
                        }
                    }
                }
            }
        }
        left_out.dedup();
        Ok((targets, left_out))
    }
}

impl PersonEntry {
    fn has(&self, way: Way) -> bool {
        match way {
            Way::Idnr => !self.idnr.is_empty(),
            Way::Names => !self.family_name.is_empty() && !self.given_names.is_empty(),
            Way::Residence => {
                let parts = [&self.family_name, &self.postcode, &self.place];
                parts.iter().all(|part| !part.is_empty())
            }
        }
    }

    fn ways(&self) -> impl Iterator<Item = Way> {
        let wanted = |way: &Way| self.ways.is_empty() || self.ways.contains(way);
        Way::ALL.into_iter().filter(wanted).filter(|way| self.has(*way))
    }

    fn check(&self, world: &World) -> Result<(), String> {
        if self.ways().next().is_none() {
            return Err("it can be asked for in no lawful way; give idnr, or family_name and \
                        given_names, or family_name, postcode and place"
                .to_owned());
        }
        for way in self.ways() {
            einmal_protocol::person::Person::from_wire(self.named(way))
                .map_err(|error| format!("by {}: {error}", way.as_str()))?;
        }
        let directory = world.trust.directory.document();
        let holds = |id: &String| directory.registers.iter().any(|r| r.evidence_types.contains(id));
        if let Some(id) = self
            .register
            .as_ref()
            .filter(|id| !directory.registers.iter().any(|register| register.id == **id))
        {
            return Err(format!("there is no register `{id}` here"));
        }
        let named = self.evidence.iter().chain(self.fields.keys()).chain(self.values.keys());
        if let Some(id) = named.into_iter().find(|id| !holds(id)) {
            return Err(format!("no register here holds the evidence type `{id}`"));
        }
        Ok(())
    }

    fn named(&self, way: Way) -> v1::Person {
        let text = |text: &String, ways: &[Way]| {
            if ways.contains(&way) { text.clone() } else { String::new() }
        };
        v1::Person {
            idnr: text(&self.idnr, &[Way::Idnr]),
            family_name: text(&self.family_name, &[Way::Names, Way::Residence]),
            given_names: text(&self.given_names, &[Way::Names]),
            birth_date: self.birth_date.clone(),
            postcode: text(&self.postcode, &[Way::Residence]),
            place: text(&self.place, &[Way::Residence]),
            case_reference: CASE_REFERENCE.to_owned(),
            clerk: String::new(),
        }
    }

    fn target(&self, world: &World, (register, kind): (&str, &str), way: Way) -> Option<Target> {
        Some(Target {
            register: register.to_owned(),
            evidence_type: kind.to_owned(),
            choice: world.choice(register, kind, way == Way::Idnr)?.clone(),
            person: self.named(way),
            way,
            expect: self.expect,
            fields: self.fields.get(kind).cloned().unwrap_or_default(),
            values: self.values.get(kind).cloned().unwrap_or_default(),
        })
    }
}

/// The file number of all requests.
pub(crate) const CASE_REFERENCE: &str = "EINMAL-CHECK";

/// A question about somebody who does not exist.
pub(crate) fn about_nobody(
    world: &World,
    (register, evidence_type): (&str, &str),
    way: Way,
) -> Option<Target> {
    let random = einmal_peer::random::bytes::<10>().ok()?;
    let digits: Vec<u32> = random.iter().map(|byte| u32::from(byte % 9) + 1).collect();
    let name: String = random.iter().map(|byte| char::from(b'a' + byte % 26)).collect();
    let entry = PersonEntry {
        expect: Expect::Nothing,
        register: None,
        evidence: Vec::new(),
        ways: vec![way],
        idnr: digits
            .iter()
            .chain([&idnr_check_digit(&digits)])
            .filter_map(|digit| char::from_digit(*digit, 10))
            .collect(),
        family_name: format!("Niemand-{name}"),
        given_names: "Niemand".to_owned(),
        birth_date: NOBODY_BORN.to_owned(),
        postcode: "00000".to_owned(),
        place: "Nirgendwo".to_owned(),
        fields: BTreeMap::new(),
        values: BTreeMap::new(),
    };
    entry.target(world, (register, evidence_type), way)
}
