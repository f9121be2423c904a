// SPDX-License-Identifier: EUPL-1.2
//! What the rules speak about: areas, kinds of authorities, purposes, evidence types. Everything
//! has an id of plain letters, texts for citizens, and a limit.

use std::collections::{HashMap, HashSet};

use einmal_protocol::{
    commitment::SLOTS_MAX, cosignature::WitnessKey, evidence::EVIDENCE_MAX, request::is_id,
    wire::v1::Initiation,
};

use crate::{
    decide::{FieldDecision, Question},
    field_schema,
    names::hint,
    rules_document::{EvidenceType, Purpose, RulesDocument, Texts},
    rules_error::RulesError,
};

/// Bytes of a whole version.
pub const RULES_MAX: usize = 8 * 1024 * 1024;
/// Ten years.
const RETENTION_MAX: u32 = 3660;
const WITNESSES_MAX: usize = 32;
const AREAS_MAX: usize = 64;
const KINDS_MAX: usize = 1_000;
const PURPOSES_MAX: usize = 1_000;
/// Purposes above a purpose.
const PURPOSE_DEPTH_MAX: usize = 8;
const EVIDENCE_TYPES_MAX: usize = 2_000;
const FIELDS_MAX: usize = 200;
const TESTS_MAX: usize = 10_000;
const CITATIONS_MAX: usize = 32;
/// Bytes of one text or citation.
pub(crate) const TEXT_MAX: usize = 2_000;
/// The smallest padded evidence: a signed "nothing found" fits.
const EVIDENCE_MIN: u32 = 512;

/// Names of [`Initiation`] in rules.
pub const INITIATIONS: [&str; 2] = ["application", "statutory"];

impl Purpose {
    /// Whether evidence may be fetched for it on this initiative, and with the identification
    /// number if it is used.
    pub fn admits(&self, initiation: Initiation, idnr_used: bool) -> bool {
        let name = match initiation {
            Initiation::Application => "application",
            Initiation::Statutory => "statutory",
            Initiation::Unspecified => return false,
        };
        (self.initiations.is_empty() || self.initiations.iter().any(|one| one == name))
            && (self.idnr_ground.is_some() || !idnr_used)
    }

    /// Takes back what policies permit and the purpose does not admit; no policy stands for that.
    pub fn restrict(&self, question: &Question, fields: &mut [FieldDecision]) {
        if !self.admits(question.initiation, question.idnr_used) {
            for field in fields.iter_mut().filter(|field| field.permitted) {
                field.permitted = false;
                field.policies.clear();
            }
        }
    }
}

/// Refuses more of anything than there may be.
pub(crate) fn check_counts(document: &RulesDocument) -> Result<(), RulesError> {
    let fields = document.evidence_types.iter().map(|kind| kind.fields.len()).max().unwrap_or(0);
    for (what, count, limit) in [
        ("areas", document.areas.len(), AREAS_MAX),
        ("kinds of authorities", document.kinds.len(), KINDS_MAX),
        ("purposes", document.purposes.len(), PURPOSES_MAX),
        ("evidence types", document.evidence_types.len(), EVIDENCE_TYPES_MAX),
        ("fields of one evidence type", fields, FIELDS_MAX),
        ("tests", document.tests.len(), TESTS_MAX),
    ] {
        at_most(what, count, limit)?;
    }
    Ok(())
}

pub(crate) fn at_most(what: &str, count: usize, limit: usize) -> Result<(), RulesError> {
    if count <= limit {
        return Ok(());
    }
    Err(RulesError::TooMuch { what: what.to_owned(), count, limit })
}

fn id(id: &str) -> Result<(), String> {
    if is_id(id) {
        return Ok(());
    }
    // Two letters of two scripts look alike, and only one of them is the right one.
    let letters = "lower-case letters a to z, digits, dot, underscore and hyphen";
    Err(match id.chars().find(|c| !c.is_ascii()) {
        Some(c) => format!(
            "the id is malformed: U+{:04X} is another letter than it looks like; take {letters}",
            u32::from(c)
        ),
        None => format!("the id is malformed: take {letters}"),
    })
}

fn texts(texts: &Texts) -> Result<(), String> {
    for (language, text) in [("de", &texts.de), ("en", &texts.en), ("de_leicht", &texts.de_leicht)]
    {
        text_fits(text).map_err(|problem| format!("the text `{language}` {problem}"))?;
    }
    Ok(())
}

pub(crate) fn text_fits(text: &str) -> Result<(), String> {
    if text.trim().is_empty() {
        return Err("is missing: write what a citizen will read".to_owned());
    }
    if text.len() > TEXT_MAX {
        return Err(format!("is longer than {TEXT_MAX} bytes"));
    }
    Ok(())
}

/// Checks ids and texts, and that nothing is there twice.
fn distinct<'a>(
    all: impl Iterator<Item = (&'a String, &'a Texts)>,
    error: impl Fn(String, String) -> RulesError,
) -> Result<HashSet<&'a str>, RulesError> {
    let mut found = HashSet::new();
    for (one, said) in all {
        id(one).and_then(|()| texts(said)).map_err(|problem| error(one.clone(), problem))?;
        if !found.insert(one.as_str()) {
            return Err(error(one.clone(), "it is there twice".to_owned()));
        }
    }
    Ok(found)
}

pub(crate) fn check_evidence_types(
    document: &RulesDocument,
) -> Result<HashMap<String, EvidenceType>, RulesError> {
    let mut found = HashMap::new();
    for kind in &document.evidence_types {
        let bad = |problem: String| RulesError::EvidenceType { id: kind.id.clone(), problem };
        evidence_type(kind).map_err(bad)?;
        if found.insert(kind.id.clone(), kind.clone()).is_some() {
            return Err(bad("it is there twice".to_owned()));
        }
    }
    Ok(found)
}

fn evidence_type(kind: &EvidenceType) -> Result<(), String> {
    id(&kind.id)?;
    texts(&kind.texts)?;
    if kind.size < EVIDENCE_MIN || kind.size as usize > EVIDENCE_MAX {
        return Err("the size must be 512 bytes to 2 MiB".to_owned());
    }
    if kind.slots == 0 || kind.slots > SLOTS_MAX {
        return Err("there must be 1 to 32 slots".to_owned());
    }
    if kind.earliest_ms > 10_000 {
        return Err("the earliest answer may be at most 10,000 ms".to_owned());
    }
    let distinct: HashSet<&String> = kind.fields.iter().map(|field| &field.name).collect();
    let good = kind.fields.iter().all(|field| is_id(&field.name));
    if kind.fields.is_empty() || distinct.len() != kind.fields.len() || !good {
        return Err("fields must have good and distinct names".to_owned());
    }
    for field in &kind.fields {
        let checked = texts(&field.texts).and_then(|()| field_schema::check(&field.schema));
        checked.map_err(|problem| format!("field `{}`: {problem}", field.name))?;
    }
    Ok(())
}

/// Retention and witnesses.
pub(crate) fn check_ledger(document: &RulesDocument) -> Result<Vec<WitnessKey>, RulesError> {
    let bad = |problem: String| RulesError::Ledger(problem);
    if document.retention_days.is_some_and(|days| !(1..=RETENTION_MAX).contains(&days)) {
        return Err(bad(format!("retention_days is a number from 1 to {RETENTION_MAX}")));
    }
    let Some(named) = &document.witnesses else { return Ok(Vec::new()) };
    let keys: Vec<WitnessKey> = named
        .keys
        .iter()
        .map(|key| WitnessKey::parse(key).map_err(|error| bad(format!("witness `{key}`: {error}"))))
        .collect::<Result<_, _>>()?;
    let distinct: HashSet<&String> = named.keys.iter().collect();
    if distinct.len() != keys.len() || keys.len() > WITNESSES_MAX {
        return Err(bad(format!("at most {WITNESSES_MAX} different witnesses are named")));
    }
    if !(1..=keys.len()).contains(&(named.required as usize)) {
        return Err(bad("required is at least 1 and at most the number of witnesses".to_owned()));
    }
    Ok(keys)
}

pub(crate) fn check_purposes(
    document: &RulesDocument,
) -> Result<HashMap<String, Purpose>, RulesError> {
    let mut found: HashMap<String, Purpose> = HashMap::new();
    let mut depths: HashMap<&str, usize> = HashMap::new();
    for purpose in &document.purposes {
        let bad = |problem: String| RulesError::Purpose { id: purpose.id.clone(), problem };
        id(&purpose.id).map_err(bad)?;
        // Parents stand before their children, so there is no circle.
        let depth = match &purpose.parent {
            Some(parent) => {
                depths.get(parent.as_str()).map(|depth| depth + 1).ok_or_else(|| {
                    let all = document.purposes.iter().map(|purpose| purpose.id.as_str());
                    bad(format!("its parent must stand before it: `{parent}`{}", hint(parent, all)))
                })?
            }
            None => 0,
        };
        if depth > PURPOSE_DEPTH_MAX {
            return Err(bad(format!("more than {PURPOSE_DEPTH_MAX} purposes are above it")));
        }
        depths.insert(&purpose.id, depth);
        texts(&purpose.texts).and_then(|()| citations(purpose)).map_err(bad)?;
        if found.insert(purpose.id.clone(), purpose.clone()).is_some() {
            return Err(bad("it is there twice".to_owned()));
        }
    }
    Ok(found)
}

fn citations(purpose: &Purpose) -> Result<(), String> {
    let fits = |citation: &String| !citation.trim().is_empty() && citation.len() <= TEXT_MAX;
    if purpose.legal_basis.is_empty()
        || purpose.legal_basis.len() > CITATIONS_MAX
        || !purpose.legal_basis.iter().all(fits)
    {
        return Err("the legal basis missing, empty or too long: cite the paragraphs".to_owned());
    }
    if purpose.idnr_ground.as_ref().is_some_and(|ground| !fits(ground)) {
        let problem = "idnr_ground cites the ground for using the identification number, or is \
                       left out";
        return Err(problem.to_owned());
    }
    let known = |name: &String| INITIATIONS.contains(&name.as_str());
    let distinct: HashSet<&String> = purpose.initiations.iter().collect();
    if distinct.len() != purpose.initiations.len() || !purpose.initiations.iter().all(known) {
        return Err(format!("initiations are {}", INITIATIONS.join(" and ")));
    }
    Ok(())
}

/// Areas and kinds of authorities, and that the tests name no others: what is misspelt would be
/// refused for the wrong reason.
pub(crate) fn check_areas_and_kinds(document: &RulesDocument) -> Result<(), RulesError> {
    let areas =
        distinct(document.areas.iter().map(|area| (&area.id, &area.texts)), |id, problem| {
            RulesError::Area { id, problem }
        })?;
    let kinds =
        distinct(document.kinds.iter().map(|kind| (&kind.id, &kind.texts)), |id, problem| {
            RulesError::AuthorityKind { id, problem }
        })?;
    for test in &document.tests {
        let bad = |problem: String| Err(RulesError::Test { name: test.name.clone(), problem });
        if test.name.len() > TEXT_MAX || test.fields.len() > FIELDS_MAX {
            return bad("its name or list of fields is too long".to_owned());
        }
        let named = [&test.authority_area, &test.register_area];
        if let Some(unknown) = named.into_iter().find(|area| !areas.contains(area.as_str())) {
            let near = hint(unknown, areas.iter().copied());
            return bad(format!("the rules have no area `{unknown}`{near}"));
        }
        let kind = &test.authority_kind;
        if !kinds.is_empty() && !kinds.contains(kind.as_str()) {
            let near = hint(kind, kinds.iter().copied());
            return bad(format!("the rules have no kind of authority `{kind}`{near}"));
        }
    }
    Ok(())
}

#[cfg(test)]
#[path = "vocabulary_tests.rs"]
mod tests;
