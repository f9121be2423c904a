// SPDX-License-Identifier: EUPL-1.2
//! What is evaluated of the policies, and what is remembered, answers as all policies would.

use std::collections::{HashMap, HashSet};

use cedar_policy::{
    Authorizer, Context, Decision, Entities, Entity, EntityId, EntityTypeName, EntityUid,
    PolicySet, Request as CedarRequest, RestrictedExpression,
};
use einmal_protocol::{Reason, wire::v1::Initiation};
use proptest::{collection::vec, prelude::*, sample::subsequence};

use crate::{
    Directory, Rules,
    decide::{
        Asker, Explanation, FieldDecision, Question, Refused, explain,
        tests::{
            OPEN, OVERFLOW, directory, parse, parse_directory, small, small_directory,
            small_questions, texts,
        },
    },
};

/// A policy that may have any scope Cedar knows.
fn any_policy() -> impl Strategy<Value = String> {
    let principal = prop_oneof![
        Just("principal".to_owned()),
        Just("principal is Authority".to_owned()),
        (0..3).prop_map(|n| format!(r#"principal == Authority::"a{n}""#)),
        (0..3).prop_map(|n| format!(r#"principal in Authority::"a{n}""#)),
        (0..3).prop_map(|n| format!(r#"principal in AuthorityKind::"k{n}""#)),
        (0..3).prop_map(|n| format!(r#"principal is Authority in AuthorityKind::"k{n}""#)),
    ];
    let resource = prop_oneof![
        Just("resource".to_owned()),
        Just("resource is Field".to_owned()),
        (0..2, 0..2).prop_map(|(t, f)| format!(r#"resource == Field::"t{t}/f{f}""#)),
        (0..2, 0..2).prop_map(|(t, f)| format!(r#"resource in Field::"t{t}/f{f}""#)),
        (0..2).prop_map(|t| format!(r#"resource in EvidenceType::"t{t}""#)),
        (0..2).prop_map(|t| format!(r#"resource is Field in EvidenceType::"t{t}""#)),
    ];
    let condition = prop_oneof![
        4 => Just(String::new()),
        2 => Just(r#"when { context.purpose in Purpose::"p" }"#.to_owned()),
        3 => (0..2).prop_map(|n| format!(r#"when {{ context.purpose == Purpose::"p{n}" }}"#)),
        1 => Just(r#"unless { context.purpose == Purpose::"p0" }"#.to_owned()),
        1 => Just(r#"when { Purpose::"p1" in Purpose::"p" && context.idnr_used }"#.to_owned()),
        1 => Just("when { resource.special_category }".to_owned()),
        1 => Just("unless { context.crosses_areas }".to_owned()),
        1 => Just(r#"when { context.initiation == "statutory" || context.idnr_used }"#.to_owned()),
        1 => Just(r#"when { principal.area == "there" }"#.to_owned()),
        2 => (0..6).prop_map(|n| format!(r#"when {{ principal == Authority::"a{n}" }}"#)),
        1 => (0..6).prop_map(|n| {
            format!(r#"when {{ [Authority::"a{n}", Authority::"a9"].contains(principal) }}"#)
        }),
        1 => (0..6).prop_map(|n| format!(r#"when {{ Authority::"a{n}".area == principal.area }}"#)),
        1 => (0..6).prop_map(|n| {
            format!(r#"when {{ Authority::"a{n}" in AuthorityKind::"k0" }}"#)
        }),
        2 => (0..4).prop_map(|n| format!(r#"unless {{ principal in AuthorityKind::"k{n}" }}"#)),
        1 => Just(r#"when { Field::"t1/f1".special_category }"#.to_owned()),
        1 => Just(format!("when {{ {OVERFLOW} }}")),
        1 => Just(format!(r#"when {{ context.purpose == Purpose::"p1" && {OVERFLOW} }}"#)),
        1 => Just(format!(r#"when {{ {OVERFLOW} && context.purpose == Purpose::"p1" }}"#)),
        1 => Just(format!(
            r#"when {{ context.idnr_used }} when {{ context.purpose == Purpose::"p1" || {OVERFLOW} }}"#
        )),
    ];
    let effect = prop_oneof![3 => Just("permit"), 1 => Just("forbid")];
    (effect, principal, resource, condition).prop_map(|(effect, principal, resource, condition)| {
        format!("{effect} ({principal}, action, {resource}) {condition};")
    })
}

fn uid(kind: &str, id: &str) -> EntityUid {
    let name: EntityTypeName = kind.parse().unwrap();
    EntityUid::from_type_name_and_id(name, EntityId::new(id))
}

/// Every entity that the rules know, and the one who asks.
fn all_entities(rules: &Rules, asker: Asker<'_>, kind: &str) -> Entities {
    let text = |text: &str| RestrictedExpression::new_string(text.to_owned());
    let bare = |uid| Entity::new_no_attrs(uid, HashSet::new());
    let kinds: HashSet<_> = asker.kinds.iter().map(|kind| uid("AuthorityKind", kind)).collect();
    let mut entities: Vec<Entity> = kinds.iter().cloned().map(bare).collect();
    let area = HashMap::from([("area".to_owned(), text(asker.area))]);
    entities.push(Entity::new(uid("Authority", asker.authority), area, kinds).unwrap());
    entities.push(bare(uid("EvidenceType", kind)));
    for field in &rules.evidence_type(kind).unwrap().fields {
        let special = RestrictedExpression::new_bool(field.special_category);
        let attributes = HashMap::from([("special_category".to_owned(), special)]);
        let parents = HashSet::from([uid("EvidenceType", kind)]);
        let this = uid("Field", &format!("{kind}/{}", field.name));
        entities.push(Entity::new(this, attributes, parents).unwrap());
    }
    for purpose in &rules.document().purposes {
        let parents = purpose.parent.iter().map(|id| uid("Purpose", id)).collect();
        entities.push(Entity::new_no_attrs(uid("Purpose", &purpose.id), parents));
    }
    Entities::from_entities(entities, Some(rules.schema())).unwrap()
}

/// Every policy evaluated over every entity, none left out, nothing remembered.
fn explain_whole(
    rules: &Rules,
    directory: &Directory,
    question: &Question,
) -> Result<Explanation, Refused> {
    let authority = &directory.authority(&question.authority).unwrap().entry;
    let asker = Asker { authority: &authority.id, area: &authority.area, kinds: &authority.kinds };
    let crosses_areas = asker.area != directory.register(&question.register).unwrap().entry.area;
    let policies = PolicySet::from_policies(rules.policies().iter().cloned()).unwrap();
    let entities = all_entities(rules, asker, &question.evidence_type);
    let initiation = match question.initiation {
        Initiation::Application => "application",
        Initiation::Statutory => "statutory",
        Initiation::Unspecified => "unspecified",
    };
    let mut fields = Vec::new();
    for field in &question.fields {
        let purpose = RestrictedExpression::new_entity_uid(uid("Purpose", &question.purpose));
        let initiation = RestrictedExpression::new_string(initiation.to_owned());
        let context = [
            ("purpose".to_owned(), purpose),
            ("initiation".to_owned(), initiation),
            ("crosses_areas".to_owned(), RestrictedExpression::new_bool(crosses_areas)),
            ("idnr_used".to_owned(), RestrictedExpression::new_bool(question.idnr_used)),
        ];
        let request = CedarRequest::new(
            uid("Authority", asker.authority),
            uid("Action", "retrieve"),
            uid("Field", &format!("{}/{field}", question.evidence_type)),
            Context::from_pairs(context).unwrap(),
            Some(rules.schema()),
        );
        let response = Authorizer::new().is_authorized(&request.unwrap(), &policies, &entities);
        if response.diagnostics().errors().next().is_some() {
            return Err(Reason::PolicyError.into());
        }
        let mut policies: Vec<String> =
            response.diagnostics().reason().map(ToString::to_string).collect();
        policies.sort();
        let permitted = response.decision() == Decision::Allow;
        fields.push(FieldDecision { field: field.clone(), permitted, policies });
    }
    Ok(Explanation { crosses_areas, fields })
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 256, failure_persistence: None, ..ProptestConfig::default()
    })]

    #[test]
    fn slice_and_memory_equal_whole(
        policies in vec(any_policy(), 0..6),
        asked in subsequence(small_questions(), 1..24).prop_shuffle(),
    ) {
        let named: String = policies
            .iter()
            .enumerate()
            .map(|(n, policy)| format!("@id(\"n{n}\") @legal_basis(\"§ 1\") {policy}\n"))
            .collect();
        let mut document = small(&named);
        let mut more = document["kinds"][0].clone();
        more["id"] = "k3".into();
        document["kinds"].as_array_mut().unwrap().push(more);
        let (rules, directory) = (parse(&document).unwrap(), small_directory());
        // Made anew, from what is remembered of others, and remembered.
        for question in asked.iter().chain(&asked) {
            let sliced = explain(&rules, &directory, question);
            let whole = explain_whole(&rules, &directory, question);
            prop_assert_eq!(sliced, whole, "{:?} under {}", question, named);
        }
    }
}

/// Offices of one kind share what is remembered; one that a policy names stands alone.
#[test]
fn ten_thousand_offices_of_one_kind_share_what_is_remembered() {
    let named =
        OPEN.replace("open", "named").replace("principal,", "principal == Authority::\"a1\",");
    let rules = parse(&small(&format!("{OPEN}{named}"))).unwrap();
    let ids: Vec<String> = (0..10_000).map(|n| format!("a{n}")).collect();
    let offices: Vec<(&str, &str, &[&str])> =
        ids.iter().map(|id| (id.as_str(), "here", &["k0"][..])).collect();
    let directory = parse_directory(&directory(&offices, &[("r", "here", &["t0", "t1"])]));
    let mut asked = small_questions().remove(0);
    let both = texts(&["named", "open"]);
    for id in &ids {
        asked.authority.clone_from(id);
        let explained = explain(&rules, &directory, &asked).unwrap();
        let expected = if id == "a1" { &both[..] } else { &both[1..] };
        assert_eq!(explained.fields[0].policies, expected, "{id}");
    }
    assert_eq!((rules.memory().slices.count(), rules.memory().decisions.count()), (2, 2));
    // Rules with the same text begin with nothing remembered, tests of theirs or not.
    assert_eq!(parse(&small(OPEN)).unwrap().memory().slices.count(), 0);
}
