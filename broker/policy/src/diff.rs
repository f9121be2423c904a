// SPDX-License-Identifier: EUPL-1.2
//! What a change of the rules means: who may get which field for which purpose and could not
//! before, and the reverse. Found by asking both versions every question that could come out
//! differently, and said in groups that a human reads.
//!
//! It explains a change. What a change may do is decided by [`crate::change`], which does not
//! depend on who is asked about.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use cedar_policy::{Effect, Policy};
use einmal_protocol::{Reason, wire::v1::Initiation};
use serde::Serialize;

use crate::{
    Rules,
    asking::{Asking, explain_as, speaks_of, speaks_to},
    change::{self, Change, meaning},
    decide::Question,
    diff_askers::Askers,
    diff_groups,
    diff_vocabulary::vocabulary,
    directory::Directory,
    rules_document::RulesDocument,
};

pub use crate::diff_askers::Who;

/// Questions to both versions, unless somebody wants more.
pub const QUESTIONS_MAX: u64 = 2_000_000;
/// An area that is not the asker's.
const ELSEWHERE: &str = "(another area)";
/// Initiation, crossing of areas, use of the number: three bits.
pub(crate) const CIRCUMSTANCES: u8 = 8;

/// Under which circumstances a question is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Circumstance {
    /// Whether nobody applied: the office asks because a law tells it to.
    pub statutory: bool,
    /// Whether authority and register lie in different areas.
    pub crosses_areas: bool,
    /// Whether the identification number is used.
    pub idnr_used: bool,
}

impl Circumstance {
    pub(crate) fn of(bit: u8) -> Self {
        Self { statutory: bit & 4 != 0, crosses_areas: bit & 2 != 0, idnr_used: bit & 1 != 0 }
    }
}

/// One difference, the same for all who are named.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Group {
    /// Whom it concerns, and everybody who is of these kinds and more.
    pub who: Vec<Who>,
    /// Of those, whom it does not concern, and nobody who is of these kinds and more.
    pub except: Vec<Who>,
    /// Evidence type.
    pub evidence_type: String,
    /// Its fields.
    pub fields: Vec<String>,
    /// For any of these purposes.
    pub purposes: Vec<String>,
    /// Under any of these circumstances.
    pub circumstances: Vec<Circumstance>,
}

/// The differences between two versions.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// The class that is signed.
    pub change: Change,
    /// Who may get what and could not before.
    pub granted: Vec<Group>,
    /// Who could get what and may not any more.
    pub withdrawn: Vec<Group>,
    /// What else differs, in plain words.
    pub vocabulary: Vec<String>,
    /// How many questions were put to both versions.
    pub questions: u64,
}

/// Too much to ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{questions} questions would have to be asked, more than the limit of {limit}: raise it")]
pub struct TooMany {
    /// So many.
    pub questions: u64,
    /// More than this.
    pub limit: u64,
}

/// One evidence type, its fields and purposes put together where no policy tells them apart.
pub(crate) struct Kind {
    pub(crate) id: String,
    pub(crate) fields: Vec<Class>,
    pub(crate) purposes: Vec<Class>,
}

/// Names that both versions treat alike.
pub(crate) struct Class {
    pub(crate) names: Vec<String>,
    /// Whether they are something else in the new version even where no policy differs.
    changed: bool,
}

/// Evidence type, class of field, class of purpose: places in the lists.
pub(crate) type Case = (usize, usize, usize);

/// Finds the differences.
///
/// `progress` is told how many of how many questions are asked.
///
/// # Errors
/// Where there are more questions than `limit`.
pub fn diff(
    old: &Rules,
    new: &Rules,
    directory: Option<&Directory>,
    limit: u64,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<Difference, TooMany> {
    let askers = Askers::of(old, new, directory);
    let kinds = kinds(old, new);
    let plan = plan(old, new, &askers, &kinds);
    let total = plan.iter().map(|step| step.questions()).sum();
    if total > limit {
        return Err(TooMany { questions: total, limit });
    }
    let mut granted = vec![BTreeMap::new(); askers.all.len()];
    let mut withdrawn = granted.clone();
    let mut asked = 0;
    for step in &plan {
        let Some(kind) = kinds.get(step.kind) else { continue };
        for (case, (before, after)) in ask_both(old, new, &step.asker, kind, step) {
            for (found, mask) in
                [(&mut granted, after & !before), (&mut withdrawn, before & !after)]
            {
                if let Some(found) = found.get_mut(step.number).filter(|_| mask != 0) {
                    found.insert(case, mask);
                }
            }
        }
        asked += step.questions();
        progress(asked, total);
    }
    Ok(Difference {
        change: change::class(old, new),
        granted: diff_groups::group(&granted, &askers, &kinds),
        withdrawn: diff_groups::group(&withdrawn, &askers, &kinds),
        vocabulary: vocabulary(old, new),
        questions: total,
    })
}

/// One asker and evidence type that has to be asked about.
struct Step {
    number: usize,
    asker: Asking,
    kind: usize,
    /// Places of the purposes.
    purposes: Vec<usize>,
}

impl Step {
    fn questions(&self) -> u64 {
        self.purposes.len() as u64 * u64::from(CIRCUMSTANCES)
    }
}

/// Only where a policy differs that could speak, or field or purpose themselves do, an answer can
/// differ; and only where some permit could speak, it can be other than no.
fn plan(old: &Rules, new: &Rules, askers: &Askers, kinds: &[Kind]) -> Vec<Step> {
    let (before, after) = (by_meaning(old), by_meaning(new));
    let removed = before.iter().filter(|(text, _)| !after.contains_key(*text));
    let added = after.iter().filter(|(text, _)| !before.contains_key(*text));
    let differing: Vec<&Policy> = removed.chain(added).map(|(_, policy)| *policy).collect();
    let mut steps = Vec::new();
    for (place, kind) in kinds.iter().enumerate() {
        let speaking: Vec<&Policy> =
            differing.iter().copied().filter(|policy| speaks_of(policy, &kind.id)).collect();
        let permits = old.policies().iter().chain(new.policies());
        let permits = permits.filter(|policy| policy.effect() == Effect::Permit);
        let permits: Vec<&Policy> = permits.filter(|one| speaks_of(one, &kind.id)).collect();
        let fields_changed = kind.fields.iter().any(|class| class.changed);
        for (number, who) in askers.all.iter().enumerate() {
            let asker = who.asker();
            if !permits.iter().any(|policy| speaks_to(policy, &asker, &kind.id)) {
                continue;
            }
            let all =
                fields_changed || speaking.iter().any(|policy| speaks_to(policy, &asker, &kind.id));
            let purposes = kind.purposes.iter().enumerate();
            let purposes: Vec<usize> = purposes
                .filter(|(_, class)| all || class.changed)
                .map(|(purpose, _)| purpose)
                .collect();
            if !purposes.is_empty() {
                steps.push(Step { number, asker, kind: place, purposes });
            }
        }
    }
    steps
}

/// Policies by what they say; one that cannot be written down counts as unlike any other.
fn by_meaning(rules: &Rules) -> HashMap<String, &Policy> {
    let key = |policy: &Policy| {
        meaning(policy).unwrap_or_else(|| format!("{} in {}", policy.id(), rules.digest()))
    };
    rules.policies().iter().map(|policy| (key(policy), policy)).collect()
}

/// The evidence types of both versions.
fn kinds(old: &Rules, new: &Rules) -> Vec<Kind> {
    let all = |rules: &'_ Rules| {
        let types = &rules.document().evidence_types;
        types.iter().map(|kind| kind.id.clone()).collect::<Vec<_>>()
    };
    let ids: BTreeSet<String> = all(old).into_iter().chain(all(new)).collect();
    ids.into_iter()
        .map(|id| Kind {
            fields: field_classes(old, new, &id),
            purposes: purpose_classes(old, new, &id),
            id,
        })
        .collect()
}

/// Entities of one type that policies name which could speak about an evidence type.
fn named(rules: &Rules, evidence_type: &str, entity: &str) -> BTreeSet<String> {
    let speaking = rules.policies().iter().filter(|policy| speaks_of(policy, evidence_type));
    let literals = speaking.flat_map(Policy::entity_literals);
    literals
        .filter(|uid| uid.type_name().to_string() == entity)
        .map(|uid| uid.id().unescaped().to_owned())
        .collect()
}

fn field_classes(old: &Rules, new: &Rules, evidence_type: &str) -> Vec<Class> {
    let mut named_fields = named(old, evidence_type, "Field");
    named_fields.extend(named(new, evidence_type, "Field"));
    let special = |rules: &Rules| -> BTreeMap<String, bool> {
        let fields = rules.evidence_type(evidence_type).map(|kind| kind.fields.iter());
        let fields = fields.into_iter().flatten();
        fields.map(|field| (field.name.clone(), field.special_category)).collect()
    };
    let (before, after) = (special(old), special(new));
    let names: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
    let mut classes: BTreeMap<_, Class> = BTreeMap::new();
    for name in names {
        let (then, now) = (before.get(name), after.get(name));
        let alone =
            Some(name).filter(|_| named_fields.contains(&format!("{evidence_type}/{name}")));
        let class = classes.entry((then, now, alone));
        let class = class.or_insert(Class { names: Vec::new(), changed: then != now });
        class.names.push(name.clone());
    }
    classes.into_values().collect()
}

fn purpose_classes(old: &Rules, new: &Rules, evidence_type: &str) -> Vec<Class> {
    let (named_old, named_new) =
        (named(old, evidence_type, "Purpose"), named(new, evidence_type, "Purpose"));
    let ids = |rules: &Rules| {
        let purposes = &rules.document().purposes;
        purposes.iter().map(|purpose| purpose.id.clone()).collect::<Vec<_>>()
    };
    let all: BTreeSet<String> = ids(old).into_iter().chain(ids(new)).collect();
    let mut classes: BTreeMap<_, Class> = BTreeMap::new();
    for id in all {
        // Absent where requests may not name it.
        let seen = |rules: &Rules, named: &BTreeSet<String>| {
            let purpose = rules.leaf_purpose(&id)?;
            let lineage = lineage(rules.document(), &id);
            let lineage = lineage.into_iter().filter(|id| named.contains(id)).collect::<Vec<_>>();
            Some((lineage, purpose.initiations.clone(), purpose.idnr_ground.is_some()))
        };
        let both: BTreeSet<String> = named_old.union(&named_new).cloned().collect();
        let (then, now) = (seen(old, &both), seen(new, &both));
        if then.is_some() || now.is_some() {
            let changed = then != now;
            let class = classes.entry((then, now));
            class.or_insert(Class { names: Vec::new(), changed }).names.push(id.clone());
        }
    }
    classes.into_values().collect()
}

/// A purpose and all that are broader.
fn lineage(document: &RulesDocument, id: &str) -> Vec<String> {
    let mut lineage = Vec::new();
    let mut next = Some(id);
    // Parents stand before their children, so this ends.
    while let Some(purpose) =
        next.and_then(|id| document.purposes.iter().find(|purpose| purpose.id == id))
    {
        lineage.push(purpose.id.clone());
        next = purpose.parent.as_deref();
    }
    lineage
}

/// What both versions answer, one bit a circumstance, where it differs.
fn ask_both(
    old: &Rules,
    new: &Rules,
    asker: &Asking,
    kind: &Kind,
    step: &Step,
) -> BTreeMap<Case, (u8, u8)> {
    let mut answers: BTreeMap<Case, (u8, u8)> = BTreeMap::new();
    for place in &step.purposes {
        let Some(purpose) = kind.purposes.get(*place).and_then(|class| class.names.first()) else {
            continue;
        };
        for bit in 0..CIRCUMSTANCES {
            let before = ask(old, asker, kind, purpose, Circumstance::of(bit));
            let after = ask(new, asker, kind, purpose, Circumstance::of(bit));
            for (field, (before, after)) in before.into_iter().zip(after).enumerate() {
                let masks = answers.entry((step.kind, field, *place)).or_default();
                masks.0 |= u8::from(before) << bit;
                masks.1 |= u8::from(after) << bit;
            }
        }
    }
    answers.retain(|_, (before, after)| before != after);
    answers
}

/// Whether each class of fields may be had.
fn ask(
    rules: &Rules,
    asker: &Asking,
    kind: &Kind,
    purpose: &str,
    circumstance: Circumstance,
) -> Vec<bool> {
    let names: Vec<&String> = kind.fields.iter().filter_map(|class| class.names.first()).collect();
    let held = |name: &str| {
        let kind = rules.evidence_type(&kind.id);
        kind.is_some_and(|kind| kind.fields.iter().any(|field| field.name == name))
    };
    let known: Vec<String> = names.iter().filter(|name| held(name)).copied().cloned().collect();
    let register_area = if circumstance.crosses_areas { ELSEWHERE } else { &asker.area };
    let mut question = Question {
        authority: asker.authority.clone(),
        register: String::new(),
        evidence_type: kind.id.clone(),
        fields: known.clone(),
        purpose: purpose.to_owned(),
        initiation: match circumstance.statutory {
            true => Initiation::Statutory,
            false => Initiation::Application,
        },
        idnr_used: circumstance.idnr_used,
    };
    let mut permitted: BTreeSet<String> = BTreeSet::new();
    match explain_as(rules, asker, register_area, &question) {
        Ok(answer) => {
            let fields = answer.fields.into_iter().filter(|field| field.permitted);
            permitted.extend(fields.map(|field| field.field));
        }
        // One field's error refuses all that are asked with it, and not those asked without it.
        Err(refused) if refused.reason == Reason::PolicyError => {
            for field in known {
                question.fields = vec![field.clone()];
                let answer = explain_as(rules, asker, register_area, &question);
                if answer.is_ok_and(|answer| answer.fields.iter().all(|field| field.permitted)) {
                    permitted.insert(field);
                }
            }
        }
        Err(_) => (),
    }
    names.into_iter().map(|name| permitted.contains(name)).collect()
}

#[cfg(test)]
#[path = "diff_tests.rs"]
mod tests;
