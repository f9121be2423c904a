// SPDX-License-Identifier: EUPL-1.2
//! What makes a decision quick: of thousands of policies only those are evaluated that could
//! speak about a question, and what they said is remembered.
//!
//! What is remembered is found by everything of the question that these policies can read, and by
//! nothing else, so that ten thousand offices of one kind share it. A policy sees an asker's id
//! and kinds only by comparing them with ids that it names; Cedar makes no id from a text. So an
//! id that no policy names is the same to all of them as any other such id.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use cedar_policy::{
    Context, Entities, Entity, EntityId, EntityTypeName, EntityUid, Policy,
    Request as CedarRequest, RestrictedExpression, Schema,
};
use cedar_policy_core::ast::{self, EntityUIDEntry};
use einmal_protocol::wire::v1::Initiation;

use crate::{
    decide::{Asker, FieldDecision, PolicyFailure, Question},
    evaluate::{Asked, Left, Prepared, Purposes},
    rules_document::{EvidenceType, Purpose, RulesDocument},
    scope::{concerns, evidence_type_of},
};

/// The types of the schema that the decision itself names, and its one action.
#[derive(Debug)]
struct Names {
    authority: EntityTypeName,
    authority_kind: EntityTypeName,
    evidence_type: EntityTypeName,
    field: EntityTypeName,
    purpose: EntityTypeName,
    retrieve: EntityUid,
}

/// The policies by evidence type, prepared once for one version of the rules.
#[derive(Debug)]
pub(crate) struct Index {
    names: Names,
    groups: HashMap<String, Group>,
    /// Each with the one above it.
    purposes: HashMap<String, Option<String>>,
    /// In the order of the rules.
    policies: Vec<Indexed>,
}

/// A policy, and what decides whether it could speak and what it can see.
#[derive(Debug)]
struct Indexed {
    prepared: Arc<Prepared>,
    /// The purposes that it names.
    purposes: Vec<String>,
}

/// The policies that could speak about one evidence type, and what they name.
#[derive(Debug, Default)]
pub(crate) struct Group {
    policies: Vec<usize>,
    authorities: HashSet<String>,
    kinds: HashSet<String>,
}

impl Index {
    /// Prepares rules, and sees that purposes and evidence types are what the schema says.
    pub(crate) fn new(
        document: &RulesDocument,
        schema: &Schema,
        policies: &[Policy],
    ) -> Result<Self, PolicyFailure> {
        let names = Names {
            authority: name("Authority")?,
            authority_kind: name("AuthorityKind")?,
            evidence_type: name("EvidenceType")?,
            field: name("Field")?,
            purpose: name("Purpose")?,
            retrieve: uid(&name("Action")?, "retrieve"),
        };
        let mut groups: HashMap<String, Group> = document
            .evidence_types
            .iter()
            .map(|kind| (kind.id.clone(), Group::default()))
            .collect();
        for (number, policy) in policies.iter().enumerate() {
            let literals = policy.entity_literals();
            match evidence_type_of(policy) {
                Some(only) => {
                    if let Some(group) = groups.get_mut(&only) {
                        group.add(number, &literals, &names);
                    }
                }
                None => groups.values_mut().for_each(|group| group.add(number, &literals, &names)),
            }
        }
        let mut entities = Vec::new();
        for kind in &document.evidence_types {
            names.describe(kind, &mut entities)?;
        }
        for purpose in &document.purposes {
            entities.push(names.purpose(&purpose.id, purpose.parent.as_deref()));
        }
        Entities::from_entities(entities, Some(schema)).map_err(PolicyFailure::new)?;
        let parent = |purpose: &Purpose| (purpose.id.clone(), purpose.parent.clone());
        let purposes = document.purposes.iter().map(parent).collect();
        let policies = policies.iter().map(|policy| names.index(policy)).collect();
        Ok(Self { names, groups, purposes, policies })
    }

    /// The policies about an evidence type.
    pub(crate) fn group(&self, evidence_type: &str) -> Option<&Group> {
        self.groups.get(evidence_type)
    }

    /// A purpose and those above it.
    fn upwards<'a>(&'a self, purpose: &'a str) -> impl Iterator<Item = &'a str> {
        let above = |id: &&'a str| self.purposes.get(*id).and_then(Option::as_deref);
        std::iter::successors(Some(purpose), above)
    }

    /// Whether a policy could speak about a purpose.
    fn speaks_about(&self, policy: &Indexed, purpose: &str) -> bool {
        match policy.prepared.purposes() {
            Purposes::Only(only) => only == purpose,
            Purposes::Under(top) => self.upwards(purpose).any(|id| id == top),
            Purposes::Any => true,
        }
    }
}

impl Group {
    fn add(&mut self, number: usize, literals: &[EntityUid], names: &Names) {
        self.policies.push(number);
        for literal in literals {
            let named = match literal.type_name() {
                kind if *kind == names.authority => &mut self.authorities,
                kind if *kind == names.authority_kind => &mut self.kinds,
                _ => continue,
            };
            named.insert(literal.id().unescaped().to_owned());
        }
    }
}

impl Names {
    fn index(&self, policy: &Policy) -> Indexed {
        let literals = policy.entity_literals().into_iter();
        let purposes = literals
            .filter(|literal| *literal.type_name() == self.purpose)
            .map(|literal| literal.id().unescaped().to_owned())
            .collect();
        let prepared = Arc::new(Prepared::new(policy, &self.purpose.to_string()));
        Indexed { prepared, purposes }
    }

    /// An evidence type with its fields, in order.
    fn describe(
        &self,
        kind: &EvidenceType,
        entities: &mut Vec<Entity>,
    ) -> Result<Vec<EntityUid>, PolicyFailure> {
        let whole = uid(&self.evidence_type, &kind.id);
        entities.push(Entity::new_no_attrs(whole.clone(), HashSet::new()));
        let mut fields = Vec::new();
        for field in &kind.fields {
            let this = uid(&self.field, &format!("{}/{}", kind.id, field.name));
            let special = RestrictedExpression::new_bool(field.special_category);
            let attributes = HashMap::from([("special_category".to_owned(), special)]);
            let entity = Entity::new(this.clone(), attributes, HashSet::from([whole.clone()]));
            entities.push(entity.map_err(PolicyFailure::new)?);
            fields.push(this);
        }
        Ok(fields)
    }

    fn purpose(&self, id: &str, parent: Option<&str>) -> Entity {
        let parents = parent.iter().map(|id| uid(&self.purpose, id)).collect();
        Entity::new_no_attrs(uid(&self.purpose, id), parents)
    }
}

/// Everything of a question that policies can read, as bytes: each text after its length, so that
/// different questions never have the same.
pub(crate) struct Key {
    bytes: Vec<u8>,
    slice: usize,
}

impl Key {
    pub(crate) fn new(
        group: &Group,
        asker: Asker<'_>,
        question: &Question,
        crosses_areas: bool,
    ) -> Self {
        let mut key = Self { bytes: Vec::with_capacity(256), slice: 0 };
        key.text(&question.evidence_type);
        key.text(&question.purpose);
        key.text(asker.area);
        // No id is empty.
        let named = group.authorities.contains(asker.authority);
        key.text(if named { asker.authority } else { "" });
        for kind in asker.kinds.iter().filter(|kind| group.kinds.contains(*kind)) {
            key.text(kind);
        }
        key.slice = key.bytes.len();
        // No text is so long.
        key.bytes.extend([0xff; 8]);
        for field in &question.fields {
            key.text(field);
        }
        key.bytes.extend((question.initiation as i32).to_be_bytes());
        key.bytes.extend([u8::from(crosses_areas), u8::from(question.idnr_used)]);
        key
    }

    fn text(&mut self, text: &str) {
        self.bytes.extend((text.len() as u64).to_be_bytes());
        self.bytes.extend(text.as_bytes());
    }

    /// Finds the slice.
    pub(crate) fn of_slice(&self) -> &[u8] {
        self.bytes.get(..self.slice).unwrap_or_default()
    }

    /// Finds the decision.
    pub(crate) fn of_decision(&self) -> &[u8] {
        &self.bytes
    }
}

/// The part of the rules that can speak about one kind of asker, evidence type and purpose.
#[derive(Debug)]
pub(crate) struct Slice {
    policies: Vec<Left>,
    entities: Entities,
    asker: EntityUIDEntry,
    retrieve: EntityUIDEntry,
    fields: Vec<(String, EntityUIDEntry)>,
    /// By [`context_number`].
    contexts: Vec<ast::Context>,
}

impl Slice {
    pub(crate) fn new(
        index: &Index,
        schema: &Schema,
        asker: Asker<'_>,
        kind: &EvidenceType,
        purpose: &str,
    ) -> Result<Self, PolicyFailure> {
        let names = &index.names;
        let Some(group) = index.group(&kind.id) else { return Err(PolicyFailure::new(&kind.id)) };
        let reaching: Vec<&Indexed> = group
            .policies
            .iter()
            .filter_map(|number| index.policies.get(*number))
            .filter(|policy| index.speaks_about(policy, purpose))
            .filter(|policy| concerns(policy.prepared.policy(), asker))
            .collect();

        let this = uid(&names.authority, asker.authority);
        // A kind that no policy names makes no difference, and askers with it share this.
        let kinds: HashSet<EntityUid> = asker
            .kinds
            .iter()
            .filter(|kind| group.kinds.contains(*kind))
            .map(|kind| uid(&names.authority_kind, kind))
            .collect();
        let without = |uid: &EntityUid| Entity::new_no_attrs(uid.clone(), HashSet::new());
        let mut entities: Vec<Entity> = kinds.iter().map(without).collect();
        let area = HashMap::from([("area".to_owned(), string(asker.area))]);
        entities.push(Entity::new(this.clone(), area, kinds).map_err(PolicyFailure::new)?);
        let uids = names.describe(kind, &mut entities)?;
        // Purposes that are neither asked for nor named, nor above those, are out of sight.
        let mut seen = HashSet::new();
        let named = reaching.iter().flat_map(|policy| &policy.purposes).map(String::as_str);
        for named in named.chain([purpose]) {
            for id in index.upwards(named).take_while(|id| seen.insert(*id)) {
                let parent = index.purposes.get(id).and_then(Option::as_deref);
                entities.push(names.purpose(id, parent));
            }
        }
        let entities =
            Entities::from_entities(entities, Some(schema)).map_err(PolicyFailure::new)?;
        let contexts = contexts(&uid(&names.purpose, purpose))?;
        // Whether a request is what the schema says depends on types and ids, which do not change
        // within a slice, and not on texts and flags; so it is seen to here, once.
        for field in &uids {
            let context = contexts.first().cloned().unwrap_or_else(Context::empty);
            let (asker, retrieve) = (this.clone(), names.retrieve.clone());
            CedarRequest::new(asker, retrieve, field.clone(), context, Some(schema))
                .map_err(PolicyFailure::new)?;
        }
        let fields = kind.fields.iter().zip(&uids);
        let mut slice = Self {
            policies: Vec::new(),
            entities,
            asker: entry(&this),
            retrieve: entry(&names.retrieve),
            fields: fields.map(|(field, uid)| (field.name.clone(), entry(uid))).collect(),
            contexts: contexts.iter().map(|context| context.as_ref().clone()).collect(),
        };
        let mut left = Vec::with_capacity(reaching.len());
        let asked: Vec<Asked<'_>> = slice.contexts.iter().map(|one| slice.asked(one)).collect();
        let fields: Vec<&EntityUIDEntry> = slice.fields.iter().map(|(_, field)| field).collect();
        for policy in reaching {
            let Some(any) = asked.first() else { break };
            if let Some(mut of) = any.left_of(&policy.prepared, fields.iter().copied())? {
                of.settle(&asked, &fields);
                left.push(of);
            }
        }
        slice.policies = left;
        Ok(slice)
    }

    fn asked<'a>(&'a self, context: &'a ast::Context) -> Asked<'a> {
        let Self { asker, retrieve: action, entities, .. } = self;
        Asked { asker, action, context, entities }
    }

    /// Every field of a question.
    pub(crate) fn decide(
        &self,
        question: &Question,
        crosses_areas: bool,
    ) -> Result<Vec<FieldDecision>, PolicyFailure> {
        let number = context_number(question.initiation, crosses_areas, question.idnr_used);
        let context =
            self.contexts.get(number).ok_or_else(|| PolicyFailure::new("no such context"))?;
        let decide = |field: &String| self.decide_field(field, (number, context));
        question.fields.iter().map(decide).collect()
    }

    fn decide_field(
        &self,
        field: &str,
        (number, context): (usize, &ast::Context),
    ) -> Result<FieldDecision, PolicyFailure> {
        let (place, (_, resource)) = self
            .fields
            .iter()
            .enumerate()
            .find(|(_, (name, _))| name == field)
            .ok_or_else(|| PolicyFailure::new("the evidence type has no such field"))?;
        let (permitted, policies) =
            self.asked(context).decide(resource, (place, number), &self.policies)?;
        Ok(FieldDecision { field: field.to_owned(), permitted, policies })
    }
}

/// Which of a slice's contexts it is.
fn context_number(initiation: Initiation, crosses_areas: bool, idnr_used: bool) -> usize {
    let initiation = match initiation {
        Initiation::Application => 0,
        Initiation::Statutory => 1,
        Initiation::Unspecified => 2,
    };
    initiation * 4 + usize::from(crosses_areas) * 2 + usize::from(idnr_used)
}

/// All contexts of one purpose, in the order of [`context_number`].
fn contexts(purpose: &EntityUid) -> Result<Vec<Context>, PolicyFailure> {
    let mut all = Vec::with_capacity(12);
    for initiation in ["application", "statutory", "unspecified"] {
        for (crosses_areas, idnr_used) in
            [(false, false), (false, true), (true, false), (true, true)]
        {
            let pairs = [
                ("purpose".to_owned(), RestrictedExpression::new_entity_uid(purpose.clone())),
                ("initiation".to_owned(), string(initiation)),
                ("crosses_areas".to_owned(), RestrictedExpression::new_bool(crosses_areas)),
                ("idnr_used".to_owned(), RestrictedExpression::new_bool(idnr_used)),
            ];
            all.push(Context::from_pairs(pairs).map_err(PolicyFailure::new)?);
        }
    }
    Ok(all)
}

fn name(text: &str) -> Result<EntityTypeName, PolicyFailure> {
    text.parse().map_err(PolicyFailure::new)
}

fn uid(kind: &EntityTypeName, id: &str) -> EntityUid {
    EntityUid::from_type_name_and_id(kind.clone(), EntityId::new(id))
}

fn entry(uid: &EntityUid) -> EntityUIDEntry {
    EntityUIDEntry::known(uid.as_ref().clone(), None)
}

fn string(text: &str) -> RestrictedExpression {
    RestrictedExpression::new_string(text.to_owned())
}

#[cfg(test)]
#[path = "slice_tests.rs"]
mod tests;
