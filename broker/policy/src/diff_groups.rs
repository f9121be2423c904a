// SPDX-License-Identifier: EUPL-1.2
//! Differences put together: what all of a kind get is said once, and not again for each
//! combination of kinds.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    diff::{CIRCUMSTANCES, Case, Circumstance, Class, Group, Kind},
    diff_askers::{Askers, Who},
};

/// For each asker the circumstances of each case, one bit each.
type Found = [BTreeMap<Case, u8>];

/// A bit of a case holds for an asker exactly where a group with it names them, or names a wider
/// circle and excepts neither them nor a circle in which they are.
pub(crate) fn group(found: &Found, askers: &Askers, kinds: &[Kind]) -> Vec<Group> {
    let mask = |asker: usize, case: &Case| {
        found.get(asker).and_then(|cases| cases.get(case)).copied().unwrap_or(0)
    };
    let kin = kin(askers);
    let mut by_asker: BTreeMap<_, BTreeSet<usize>> = BTreeMap::new();
    for (asker, (cases, kin)) in found.iter().zip(&kin).enumerate() {
        for (case, own) in cases {
            // Said of a wider circle, unless that one or one between the two is excepted there.
            let counts = |wide: &usize| {
                let between = |middle: &&usize| {
                    let who = (askers.all.get(*wide), askers.all.get(**middle));
                    who.0.zip(who.1).is_some_and(|(wide, middle)| wide.covers(middle))
                };
                let all = mask(*wide, case);
                let mut circles = kin.wider.iter().filter(between);
                all & !own == 0 && circles.all(|middle| all & !mask(*middle, case) == 0)
            };
            let said = kin.wider.iter().filter(|wide| counts(wide));
            let said = said.fold(0, |all, wide| all | mask(*wide, case));
            let rest = own & !said;
            if rest == 0 {
                continue;
            }
            let others = kin.narrower.iter().copied();
            let except: Vec<usize> =
                others.filter(|other| rest & !mask(*other, case) != 0).collect();
            let (kind, field, purpose) = *case;
            let fields = by_asker.entry((asker, kind, purpose, rest, except)).or_default();
            fields.insert(field);
        }
    }
    let mut by_fields: BTreeMap<_, BTreeSet<usize>> = BTreeMap::new();
    for ((asker, kind, purpose, mask, except), fields) in by_asker {
        by_fields.entry((kind, purpose, mask, except, fields)).or_default().insert(asker);
    }
    let mut by_purposes: BTreeMap<_, BTreeSet<usize>> = BTreeMap::new();
    for ((kind, purpose, mask, except, fields), who) in by_fields {
        by_purposes.entry((who, kind, fields, mask, except)).or_default().insert(purpose);
    }
    let name = |(key, purposes)| {
        let (who, kind, fields, mask, except): (_, usize, BTreeSet<usize>, u8, Vec<usize>) = key;
        let kind = kinds.get(kind)?;
        Some(Group {
            who: people(who, askers),
            except: people(except, askers),
            evidence_type: kind.id.clone(),
            fields: names(&fields, &kind.fields),
            purposes: names(&purposes, &kind.purposes),
            circumstances: (0..CIRCUMSTANCES)
                .filter(|bit| mask >> bit & 1 == 1)
                .map(Circumstance::of)
                .collect(),
        })
    };
    by_purposes.into_iter().filter_map(name).collect()
}

/// Who is more general and who more special than an asker.
#[derive(Default)]
struct Kin {
    wider: Vec<usize>,
    narrower: Vec<usize>,
}

fn kin(askers: &Askers) -> Vec<Kin> {
    let mut kin: Vec<Kin> = askers.all.iter().map(|_| Kin::default()).collect();
    // Single authorities cover nobody, and there may be thousands of them.
    let general = askers.all.iter().enumerate().filter(|(_, who)| who.authority.is_none());
    for (wide, who) in general {
        for (narrow, other) in askers.all.iter().enumerate() {
            if who.covers(other) {
                if let Some(kin) = kin.get_mut(wide) {
                    kin.narrower.push(narrow);
                }
                if let Some(kin) = kin.get_mut(narrow) {
                    kin.wider.push(wide);
                }
            }
        }
    }
    kin
}

fn names(places: &BTreeSet<usize>, classes: &[Class]) -> Vec<String> {
    let classes = places.iter().filter_map(|place| classes.get(*place));
    let mut names: Vec<String> = classes.flat_map(|class| class.names.iter().cloned()).collect();
    names.sort_unstable();
    names
}

/// Those who are there in every area are there whatever their area.
fn people(places: impl IntoIterator<Item = usize>, askers: &Askers) -> Vec<Who> {
    let mut all: BTreeSet<Who> =
        places.into_iter().filter_map(|place| askers.all.get(place).cloned()).collect();
    let mut areas: BTreeMap<Who, usize> = BTreeMap::new();
    for who in all.iter().filter(|who| who.area.is_some()) {
        *areas.entry(Who { area: None, ..who.clone() }).or_default() += 1;
    }
    for (who, _) in areas.into_iter().filter(|(_, count)| *count == askers.areas.len()) {
        all.retain(|other| (&other.authority, &other.kinds) != (&who.authority, &who.kinds));
        all.insert(who);
    }
    all.into_iter().collect()
}
