// SPDX-License-Identifier: EUPL-1.2
//! The questions fit the example rules, and the registers answer them.

use std::collections::{BTreeMap, BTreeSet};

use einmal_adapter_kit::register::{Answer, Query, Register};
use einmal_adapters::{ConfiguredRegister, SourcesConfig};
use einmal_policy::rules_document::EvidenceType;

use super::*;
use crate::demo::people::{Person, town};

#[derive(serde::Deserialize)]
struct EvidenceTypes {
    evidence_types: Vec<EvidenceType>,
}

fn evidence_types() -> Vec<EvidenceType> {
    let text = include_str!("../../../deploy/rules/evidence-types.toml");
    toml::from_str::<EvidenceTypes>(text).unwrap().evidence_types
}

/// A folder that is gone after the test.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        Self(std::env::temp_dir().join(format!("einmal-{name}-{}", std::process::id())))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _gone = std::fs::remove_dir_all(&self.0);
    }
}

async fn open(folder: &Path, town: &Town) -> BTreeMap<String, ConfiguredRegister> {
    let types = evidence_types();
    let mut open = BTreeMap::new();
    for register in create(folder, town).await.unwrap() {
        let text = std::fs::read_to_string(&register.config).unwrap();
        let config = SourcesConfig::parse(&text).unwrap_or_else(|e| panic!("{}: {e}", register.id));
        let configured = ConfiguredRegister::open(&config, folder, &types).await;
        let configured = configured.unwrap_or_else(|e| panic!("{}: {e:?}", register.id));
        assert!(configured.bad_lines().is_empty(), "{}", register.id);
        open.insert(register.id, configured);
    }
    open
}

fn query(evidence_type: &str, fields: &[&str], person: PersonQuery) -> Query {
    let fields = fields.iter().map(|&field| field.to_owned()).collect();
    Query { person, evidence_type: evidence_type.to_owned(), fields }
}

#[test]
fn the_questions_are_what_the_rules_permit() {
    let policies = include_str!("../../../deploy/rules/policies/beeg.cedar");
    let permitted: BTreeSet<(&str, &str)> = policies
        .split("Field::\"")
        .skip(1)
        .filter_map(|rest| rest.split('"').next()?.split_once('/'))
        .collect();
    let questions = questions(&town());
    let asked: BTreeSet<(&str, &str)> = questions
        .iter()
        .flat_map(|asked| asked.fields.iter().map(|field| (asked.evidence_type, *field)))
        .collect();
    assert_eq!(asked, permitted);
    assert!(questions.iter().all(|question| question.fields.is_sorted()));
    let types = evidence_types();
    assert!(types.iter().map(|t| t.id.as_str()).eq(questions.iter().map(|q| q.evidence_type)));
}

#[tokio::test]
async fn all_seventeen_are_found() {
    let folder = Folder::new("seventeen");
    let town = town();
    let registers = open(&folder.0, &town).await;
    let types = evidence_types();
    for (question, kind) in questions(&town).into_iter().zip(types) {
        let register = &registers[question.register];
        let asked = query(question.evidence_type, question.fields, question.person);
        let Answer::Found(found) = register.retrieve(&asked).await.unwrap() else {
            panic!("{} is not found", question.evidence_type)
        };
        assert!(!found.blocked, "{}", question.evidence_type);
        assert!(found.affected.len() < kind.slots as usize, "{}", question.evidence_type);
        for field in question.fields {
            assert!(found.values.contains_key(*field), "{}: {field}", question.evidence_type);
        }
        let length = |field: &str| found.values.get(field).and_then(|v| v.as_array()).map(Vec::len);
        assert!(matches!(length("months"), None | Some(12)));
        assert!(matches!(length("adults_in_household"), None | Some(2)));
        // Signature, names and padding need some room as well.
        let size: usize =
            found.values.iter().map(|(key, value)| key.len() + value.to_string().len() + 8).sum();
        assert!(size + 400 < kind.size as usize, "{}: {size}", question.evidence_type);
    }
}

/// The same way of naming a person, for somebody else.
fn alike(query: &PersonQuery, person: &Person) -> PersonQuery {
    match query {
        PersonQuery::Idnr { .. } => person.by_idnr(),
        PersonQuery::Names { .. } => person.by_names(),
        PersonQuery::Residence { .. } => person.by_residence(),
    }
}

#[tokio::test]
async fn the_whole_town_can_be_asked_about() {
    let folder = Folder::new("town");
    let town = town();
    let registers = open(&folder.0, &town).await;
    let (mut found, mut blocked) = (0, 0);
    let mut ambiguous = Vec::new();
    for (index, person) in town.people.iter().enumerate() {
        for question in questions(&town) {
            let form = alike(&question.person, person);
            let asked = query(question.evidence_type, question.fields, form);
            match registers[question.register].retrieve(&asked).await.unwrap() {
                Answer::Found(answer) => {
                    found += 1;
                    blocked += usize::from(answer.blocked);
                    let partner = person.partner.and_then(|partner| town.person(partner));
                    let may_be = person.blocked || partner.is_some_and(|partner| partner.blocked);
                    assert!(may_be || !answer.blocked, "{}", question.evidence_type);
                }
                Answer::Ambiguous => ambiguous.push((index, question.evidence_type)),
                Answer::Nothing => {}
            }
        }
    }
    assert!(found > 800 && blocked > 5, "{found} found, {blocked} blocked");
    let (one, other) = town.alike;
    let expected = [(one, "residence-registration"), (other, "residence-registration")];
    assert_eq!(ambiguous, expected);
}
