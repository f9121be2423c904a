// SPDX-License-Identifier: EUPL-1.2
//! Which questions the rules permit: for each register and evidence type an authority, a purpose
//! and the most fields that may be asked for, found by asking the rules themselves.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use einmal_policy::{
    Question, Rules,
    asking::{Asking, explain_as},
    rules_document::{EvidenceType, RulesDocument},
};
use einmal_protocol::{request::FIELDS_MAX, wire::v1::Initiation};

use crate::world::{DENIED, RegisterSpec, STRANGER, WorldError};

/// At most so many questions are tried where the rules' own tests permit none.
const TRIES_MAX: usize = 20_000;

/// A question that the rules permit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Choice {
    /// Who may ask.
    pub authority: String,
    /// What for.
    pub purpose: String,
    /// On whose initiative.
    pub initiation: Initiation,
    /// The permitted fields, sorted.
    pub fields: Vec<String>,
    /// The other fields of the evidence type.
    pub refused: Vec<String>,
    /// A purpose for which the same authority may not have these fields.
    pub other_purpose: Option<String>,
}

/// Who asks.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct AskerSpec {
    /// Its area.
    pub area: String,
    /// Its kind, if any.
    pub kind: Option<String>,
}

/// Register, evidence type, and whether the identification number is used.
pub type Asked = (String, String, bool);

/// All that may be asked.
#[derive(Clone, Debug, Default)]
pub struct Choices {
    /// The authorities by id.
    pub askers: BTreeMap<String, AskerSpec>,
    /// The permitted questions.
    pub found: HashMap<Asked, Choice>,
}

/// One way to ask.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Way {
    kind: Option<String>,
    area: String,
    register_area: String,
    purpose: String,
    statutory: bool,
}

/// Looks for permitted questions, and gives registers without an area one.
pub(crate) fn choose(
    document: &RulesDocument,
    registers: &mut [RegisterSpec],
) -> Result<Choices, WorldError> {
    let payload = serde_json::to_vec(document).map_err(|e| WorldError::Form(e.to_string()))?;
    let rules = Rules::parse(&payload)?;
    let mut choices = Choices::default();
    let area = document.areas.first().map(|area| area.id.clone()).unwrap_or_default();
    choices.askers.insert(STRANGER.to_owned(), AskerSpec { area: area.clone(), kind: None });
    for register in registers {
        let register_area =
            register.area.get_or_insert_with(|| likely_area(document, &register.evidence_types));
        for evidence_type in &register.evidence_types {
            let Some(kind) = rules.evidence_type(evidence_type) else { continue };
            for idnr_used in [false, true] {
                let found = best(&rules, (kind, register_area), idnr_used);
                let Some((way, fields)) = found else { continue };
                let authority = choices.asker(&way);
                let refused = |name: &String| !fields.contains(name);
                let names = kind.fields.iter().map(|field| field.name.clone());
                let choice = Choice {
                    authority,
                    purpose: way.purpose.clone(),
                    initiation: way.initiation(),
                    refused: names.filter(refused).collect(),
                    other_purpose: other_purpose(&rules, kind, &way, idnr_used, &fields),
                    fields,
                };
                let key = (register.id.clone(), evidence_type.clone(), idnr_used);
                choices.found.insert(key, choice);
            }
        }
    }
    // The same as one who may, so that only the deny list can be why it is refused.
    let twin = choices.askers.values().find(|asker| asker.kind.is_some()).cloned();
    let twin = twin.unwrap_or(AskerSpec { area, kind: None });
    choices.askers.insert(DENIED.to_owned(), twin);
    Ok(choices)
}

impl Choices {
    fn asker(&mut self, way: &Way) -> String {
        let spec = AskerSpec { area: way.area.clone(), kind: way.kind.clone() };
        let known = self.askers.iter().find(|(id, asker)| **asker == spec && *id != STRANGER);
        if let Some((id, _)) = known {
            return id.clone();
        }
        let id = format!("check-authority-{}", self.askers.len());
        self.askers.insert(id.clone(), spec);
        id
    }
}

impl Way {
    fn initiation(&self) -> Initiation {
        if self.statutory { Initiation::Statutory } else { Initiation::Application }
    }

    /// The fields that may be asked for in this way.
    fn permitted(&self, rules: &Rules, kind: &EvidenceType, idnr_used: bool) -> Vec<String> {
        let asking = Asking {
            authority: "check-authority".to_owned(),
            area: self.area.clone(),
            kinds: self.kind.iter().cloned().collect(),
        };
        let question = Question {
            authority: asking.authority.clone(),
            register: "check".to_owned(),
            evidence_type: kind.id.clone(),
            fields: kind.fields.iter().map(|field| field.name.clone()).collect(),
            purpose: self.purpose.clone(),
            initiation: self.initiation(),
            idnr_used,
        };
        let explained = explain_as(rules, &asking, &self.register_area, &question);
        let fields = explained.map(|explained| explained.fields).unwrap_or_default();
        let permitted: BTreeSet<String> =
            fields.into_iter().filter(|field| field.permitted).map(|field| field.field).collect();
        permitted.into_iter().take(FIELDS_MAX).collect()
    }
}

/// The area for which the rules' tests permit most of these evidence types.
fn likely_area(document: &RulesDocument, evidence_types: &[String]) -> String {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for test in &document.tests {
        if test.permitted && evidence_types.contains(&test.evidence_type) {
            *counts.entry(&test.register_area).or_default() += 1;
        }
    }
    let most = counts.into_iter().max_by_key(|(_, count)| *count).map(|(area, _)| area.to_owned());
    most.or_else(|| document.areas.first().map(|area| area.id.clone())).unwrap_or_default()
}

fn best(
    rules: &Rules,
    (kind, register_area): (&EvidenceType, &str),
    idnr_used: bool,
) -> Option<(Way, Vec<String>)> {
    let document = rules.document();
    let register_area = register_area.to_owned();
    let tested = document.tests.iter().filter(|test| test.evidence_type == kind.id);
    let tested: BTreeSet<Way> = tested
        .filter(|test| test.permitted)
        .map(|test| Way {
            kind: Some(test.authority_kind.clone()),
            area: test.authority_area.clone(),
            register_area: register_area.clone(),
            purpose: test.purpose.clone(),
            statutory: test.initiation == "statutory",
        })
        .collect();
    let ask = |way: Way| {
        let fields = way.permitted(rules, kind, idnr_used);
        (!fields.is_empty()).then_some((way, fields))
    };
    let most = tested.into_iter().filter_map(ask).max_by_key(|(_, fields)| fields.len());
    most.or_else(|| every_way(document, &register_area).take(TRIES_MAX).find_map(ask))
}

/// All that could be asked, for rules without tests of this type.
fn every_way<'a>(
    document: &'a RulesDocument,
    register_area: &'a str,
) -> impl Iterator<Item = Way> + 'a {
    let areas = || document.areas.iter().map(|area| area.id.clone());
    document.purposes.iter().flat_map(move |purpose| {
        document.kinds.iter().flat_map(move |kind| {
            areas().flat_map(move |area| {
                [false, true].map(|statutory| Way {
                    kind: Some(kind.id.clone()),
                    area: area.clone(),
                    register_area: register_area.to_owned(),
                    purpose: purpose.id.clone(),
                    statutory,
                })
            })
        })
    })
}

fn other_purpose(
    rules: &Rules,
    kind: &EvidenceType,
    way: &Way,
    idnr_used: bool,
    fields: &[String],
) -> Option<String> {
    let purposes = rules.document().purposes.iter().map(|purpose| &purpose.id);
    let leaves = purposes.filter(|id| rules.leaf_purpose(id).is_some());
    leaves
        .filter(|id| **id != way.purpose)
        .find(|id| {
            let way = Way { purpose: (*id).clone(), ..way.clone() };
            let permitted = way.permitted(rules, kind, idnr_used);
            !fields.iter().all(|field| permitted.contains(field))
        })
        .cloned()
}
