// SPDX-License-Identifier: EUPL-1.2
//! What else differs between two versions: what can be asked for, and how it is kept.

use std::collections::BTreeMap;

use crate::{
    Rules,
    rules_document::{EvidenceType, Purpose},
};

/// In plain words, one sentence each.
pub(crate) fn vocabulary(old: &Rules, new: &Rules) -> Vec<String> {
    let mut said = Vec::new();
    let (before, after) = (old.document(), new.document());
    came_and_went(
        "the area",
        keyed(&before.areas, |a| &a.id),
        keyed(&after.areas, |a| &a.id),
        &mut said,
    );
    came_and_went(
        "the kind of authority",
        keyed(&before.kinds, |k| &k.id),
        keyed(&after.kinds, |k| &k.id),
        &mut said,
    );
    let purposes = (keyed(&before.purposes, |p| &p.id), keyed(&after.purposes, |p| &p.id));
    for (id, then, now) in came_and_went("the purpose", purposes.0, purposes.1, &mut said) {
        purpose(id, then, now, &mut said);
    }
    let kinds = (keyed(&before.evidence_types, |k| &k.id), keyed(&after.evidence_types, |k| &k.id));
    for (id, then, now) in came_and_went("the evidence type", kinds.0, kinds.1, &mut said) {
        evidence_type(id, then, now, &mut said);
    }
    changed("retention in days", &old.retention_days(), &new.retention_days(), &mut said);
    if before.witnesses != after.witnesses {
        let of = |witnesses: &Option<crate::rules_document::Witnesses>| match witnesses {
            Some(named) => format!("{} of {}", named.required, named.keys.len()),
            None => "none".to_owned(),
        };
        let (then, now) = (of(&before.witnesses), of(&after.witnesses));
        said.push(format!("witnesses: {now}, before {then}"));
    }
    if before.schema != after.schema {
        said.push("the Cedar schema is another one".to_owned());
    }
    said
}

fn keyed<'a, T>(all: &'a [T], id: impl Fn(&'a T) -> &'a String) -> BTreeMap<&'a str, &'a T> {
    all.iter().map(|one| (id(one).as_str(), one)).collect()
}

/// Says what came and went, and gives back what stayed.
fn came_and_went<'a, T>(
    what: &str,
    before: BTreeMap<&'a str, &'a T>,
    after: BTreeMap<&'a str, &'a T>,
    said: &mut Vec<String>,
) -> Vec<(&'a str, &'a T, &'a T)> {
    let gone = before.keys().filter(|id| !after.contains_key(*id));
    said.extend(gone.map(|id| format!("{what} `{id}` is gone")));
    let new = after.keys().filter(|id| !before.contains_key(*id));
    said.extend(new.map(|id| format!("{what} `{id}` is new")));
    before.iter().filter_map(|(id, then)| after.get(id).map(|now| (*id, *then, *now))).collect()
}

fn changed<T: PartialEq + std::fmt::Display>(
    what: &str,
    then: &T,
    now: &T,
    said: &mut Vec<String>,
) {
    if then != now {
        said.push(format!("{what}: {now}, before {then}"));
    }
}

fn purpose(id: &str, then: &Purpose, now: &Purpose, said: &mut Vec<String>) {
    let parent = |purpose: &Purpose| purpose.parent.clone().unwrap_or_else(|| "none".to_owned());
    changed(&format!("broader purpose of `{id}`"), &parent(then), &parent(now), said);
    let who = |purpose: &Purpose| match purpose.initiations.is_empty() {
        true => "application, statutory".to_owned(),
        false => purpose.initiations.join(", "),
    };
    changed(&format!("who sets `{id}` going"), &who(then), &who(now), said);
    let ground = |purpose: &Purpose| purpose.idnr_ground.clone().unwrap_or("none".to_owned());
    let what = format!("ground for the identification number in `{id}`");
    changed(&what, &ground(then), &ground(now), said);
}

fn evidence_type(id: &str, then: &EvidenceType, now: &EvidenceType, said: &mut Vec<String>) {
    changed(&format!("padded size of `{id}` in bytes"), &then.size, &now.size, said);
    changed(&format!("record slots of `{id}`"), &then.slots, &now.slots, said);
    let what = format!("earliest answer of `{id}` in milliseconds");
    changed(&what, &then.earliest_ms, &now.earliest_ms, said);
    let fields = (keyed(&then.fields, |f| &f.name), keyed(&now.fields, |f| &f.name));
    let what = format!("in `{id}` the field");
    for (name, then, now) in came_and_went(&what, fields.0, fields.1, said) {
        let what = format!("`{id}/{name}` is of a special category");
        changed(&what, &then.special_category, &now.special_category, said);
        changed(&format!("JSON Schema of `{id}/{name}`"), &then.schema, &now.schema, said);
    }
}
