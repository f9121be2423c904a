// SPDX-License-Identifier: EUPL-1.2
//! Who could ask, as far as rules can tell: 11,000 authorities are a few dozen.

use std::collections::BTreeSet;

use cedar_policy::Policy;
use serde::Serialize;

use crate::{Rules, asking::Asking, change::meaning, directory::Directory};

/// Stands for an authority that no policy names.
const NOBODY: &str = "(any authority)";
/// Stands for an area that neither rules nor directory have.
const NOWHERE: &str = "(any other area)";

/// Authorities that the rules do not tell apart.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Who {
    /// One that a policy names; otherwise any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub authority: Option<String>,
    /// Its kinds, sorted; none: any authority.
    pub kinds: Vec<String>,
    /// Its area, where a policy looks at it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub area: Option<String>,
}

impl Who {
    /// Whether all that is said of these authorities in general is said of those too.
    pub fn covers(&self, other: &Self) -> bool {
        self != other
            && self.authority.is_none()
            && (self.area.is_none() || self.area == other.area)
            && self.kinds.iter().all(|kind| other.kinds.contains(kind))
    }

    pub(crate) fn asker(&self) -> Asking {
        Asking {
            authority: self.authority.clone().unwrap_or_else(|| NOBODY.to_owned()),
            area: self.area.clone().unwrap_or_else(|| NOWHERE.to_owned()),
            kinds: self.kinds.clone(),
        }
    }
}

/// All that have to be asked about.
pub(crate) struct Askers {
    pub(crate) all: Vec<Who>,
    /// Every area that was asked about, if policies look at it.
    pub(crate) areas: BTreeSet<String>,
}

impl Askers {
    pub(crate) fn of(old: &Rules, new: &Rules, directory: Option<&Directory>) -> Self {
        let authorities = directory.map(|directory| &directory.document().authorities);
        let entered = || authorities.into_iter().flatten();
        let policies = || old.policies().iter().chain(new.policies());
        let areas = if policies().any(looks_at_area) {
            let listed = [old, new].map(|rules| rules.document().areas.iter());
            let listed = listed.into_iter().flatten().map(|area| area.id.clone());
            let areas = listed.chain(entered().map(|entry| entry.area.clone()));
            areas.chain([NOWHERE.to_owned()]).collect()
        } else {
            BTreeSet::new()
        };
        let mut single = named(policies(), "AuthorityKind");
        for rules in [old, new] {
            single.extend(rules.document().kinds.iter().map(|kind| kind.id.clone()));
        }
        single.extend(entered().flat_map(|entry| entry.kinds.iter().cloned()));
        let mut found = BTreeSet::new();
        let everywhere = |who: Who, found: &mut BTreeSet<Who>| {
            if areas.is_empty() {
                found.insert(who.clone());
            }
            found.extend(areas.iter().map(|area| Who { area: Some(area.clone()), ..who.clone() }));
        };
        let of_kinds = |kinds: Vec<String>| Who { authority: None, kinds, area: None };
        everywhere(of_kinds(Vec::new()), &mut found);
        for kind in single {
            everywhere(of_kinds(vec![kind]), &mut found);
        }
        let by_name = named(policies(), "Authority");
        for entry in entered() {
            let kinds: BTreeSet<String> = entry.kinds.iter().cloned().collect();
            let kinds: Vec<String> = kinds.into_iter().collect();
            let area = Some(entry.area.clone()).filter(|_| !areas.is_empty());
            if by_name.contains(&entry.id) {
                let authority = Some(entry.id.clone());
                found.insert(Who { authority, kinds: kinds.clone(), area: area.clone() });
            }
            if kinds.len() > 1 {
                found.insert(Who { area, ..of_kinds(kinds) });
            }
        }
        for id in by_name {
            // Named, and not entered: nobody knows its kinds.
            if directory.is_none_or(|directory| directory.authority(&id).is_none()) {
                everywhere(Who { authority: Some(id), ..of_kinds(Vec::new()) }, &mut found);
            }
        }
        Self { all: found.into_iter().collect(), areas }
    }
}

fn named<'a>(policies: impl Iterator<Item = &'a Policy>, entity: &str) -> BTreeSet<String> {
    policies
        .flat_map(Policy::entity_literals)
        .filter(|uid| uid.type_name().to_string() == entity)
        .map(|uid| uid.id().unescaped().to_owned())
        .collect()
}

/// Looks too often rather than too seldom.
fn looks_at_area(policy: &Policy) -> bool {
    meaning(policy).is_none_or(|text| text.contains("\"area\""))
}
