// SPDX-License-Identifier: EUPL-1.2
//! A change that is said to narrow never grants, whoever is entered in the directory.

use einmal_protocol::{key::SigningKey, wire::v1::Initiation};
use proptest::{collection::vec, prelude::*, sample::subsequence};
use serde_json::json;

use super::*;
use crate::{
    Directory, Question,
    decide::{
        explain,
        tests::{OPEN, parse, small, with},
    },
    root::KeyText,
};

const OVERFLOW: &str = "9223372036854775807 + 1 > 0";

/// Numbered policies, so that the same text may stand under two ids.
pub(crate) fn rules(policies: &[String], first_id: usize) -> Rules {
    let named: String = policies
        .iter()
        .enumerate()
        .map(|(n, policy)| format!("@id(\"n{}\") @legal_basis(\"§ 1\") {policy}\n", first_id + n))
        .collect();
    parse(&small(&named)).unwrap()
}

fn permit(condition: &str) -> String {
    format!("permit (principal, action, resource) {condition};")
}

/// One change of the document and its class.
type Case = (&'static str, serde_json::Value, Change);

#[test]
fn what_counts_and_what_does_not() {
    let cases: [Case; 22] = [
        ("/version", json!(1), Change::TextOnly),
        ("/expires_at_ms", json!(9_999), Change::TextOnly),
        ("/retention_days", json!(731), Change::TextOnly),
        ("/purposes/1/legal_basis", json!(["§ 2"]), Change::TextOnly),
        ("/purposes/1/texts/de", json!("Neu"), Change::TextOnly),
        ("/areas/0/texts/en", json!("New"), Change::TextOnly),
        ("/evidence_types/0/fields/0/texts/de_leicht", json!("Neu"), Change::TextOnly),
        (
            "/policies",
            small(&OPEN.replace("\"open\"", "\"other\""))["policies"].clone(),
            Change::TextOnly,
        ),
        ("/kinds/0/texts/en", json!("New"), Change::TextOnly),
        ("/purposes/1/idnr_ground", json!("§ 2"), Change::TextOnly),
        ("/purposes/1/idnr_ground", json!(null), Change::Widens),
        ("/purposes/1/initiations", json!(["application"]), Change::Widens),
        ("/kinds/2/id", json!("k3"), Change::Widens),
        ("/purposes/2/parent", json!(null), Change::Widens),
        ("/retention_days", json!(730), Change::Widens),
        ("/purposes/2/id", json!("p2"), Change::Widens),
        ("/areas/1/id", json!("elsewhere"), Change::Widens),
        ("/evidence_types/0/size", json!(513), Change::Widens),
        ("/evidence_types/0/earliest_ms", json!(1), Change::Widens),
        ("/evidence_types/0/fields/1/special_category", json!(false), Change::Widens),
        ("/evidence_types/0/fields/0/schema", json!({ "type": "integer" }), Change::Widens),
        ("/policies", json!(""), Change::Narrows),
    ];
    let good = small(OPEN);
    let old = parse(&good).unwrap();
    for (pointer, value, expected) in cases {
        let changed = with(&good, pointer, value);
        assert_eq!(class(&old, &parse(&changed).unwrap()), expected, "{pointer}");
    }
}

#[test]
fn permits_and_forbids_count_by_their_meaning() {
    let open = permit("");
    let asked = permit(r#"when { context.initiation == "application" }"#);
    let forbid = "forbid (principal, action, resource) when { context.idnr_used };".to_owned();
    let all = [&open, &asked, &forbid];
    let cases: [(&[&String], &[&String], Change); 10] = [
        (&all, &all, Change::TextOnly),
        // Said twice, or in another order and layout, it is the same.
        (&all, &[&forbid, &open, &asked, &open], Change::TextOnly),
        (&[&open], &[&open.replace(' ', "\n // so\n ")], Change::TextOnly),
        (&all, &[&asked, &forbid], Change::Narrows),
        (&[&open], &[&open, &forbid], Change::Narrows),
        (&[&open, &forbid], &[&open], Change::Widens),
        (&[&asked], &[&asked, &open], Change::Widens),
        (&[&open], &[&asked], Change::Narrows),
        (&[&asked], &[&open], Change::Widens),
        (&[], &[&forbid], Change::Narrows),
    ];
    let cloned = |all: &[&String]| all.iter().copied().cloned().collect::<Vec<_>>();
    for (old, new, expected) in cases {
        let (before, after) = (rules(&cloned(old), 0), rules(&cloned(new), 7));
        assert_eq!(class(&before, &after), expected, "{old:?} -> {new:?}");
    }
}

/// Stricter means: more clauses, or fewer entities in a list. Nothing else is understood.
#[test]
fn a_permit_that_became_stricter_narrows_and_a_forbid_widens() {
    let list = |fields: &[&str]| {
        let fields: Vec<String> = fields.iter().map(|f| format!("Field::\"t0/{f}\"")).collect();
        format!("resource in [{}]", fields.join(", "))
    };
    let (one, two) = (list(&["f0"]), list(&["f1", "f0"]));
    let policy = |effect: &str, condition: &str| {
        format!("{effect} (principal, action, resource) when {{ {condition} }};")
    };
    let asked = r#"context.initiation == "application""#;
    // The wide condition, the strict one, and whether that is seen.
    for (wide, strict, seen) in [
        (two.clone(), one.clone(), true),
        (format!("{two} && {asked}"), format!("{asked} && {one}"), true),
        (two.clone(), format!("{asked} && context.idnr_used && {two}"), true),
        (two.clone(), format!("{one} }} unless {{ {asked}"), true),
        (format!("{two} }} unless {{ {asked}"), format!("{one} }} unless {{ {asked}"), true),
        (one.clone(), two.clone(), false),
        (format!("{one} || {asked}"), one.clone(), false),
        (format!("!({one})"), format!("!({two})"), false),
        (format!("{two} }} unless {{ {two}"), format!("{two} }} unless {{ {one}"), false),
        (format!("{two} && {OVERFLOW}"), one.clone(), false),
        (format!("{two} && {OVERFLOW}"), format!("{one} && {OVERFLOW}"), false),
    ] {
        let expected = if seen { Change::Narrows } else { Change::Widens };
        let of = |effect, condition: &str| rules(&[policy(effect, condition)], 0);
        let case = format!("{wide} -> {strict}");
        assert_eq!(class(&of("permit", &wide), &of("permit", &strict)), expected, "{case}");
        assert_eq!(class(&of("forbid", &strict), &of("forbid", &wide)), expected, "{case}");
        if seen {
            assert_eq!(class(&of("permit", &strict), &of("permit", &wide)), Change::Widens);
            assert_eq!(class(&of("forbid", &wide), &of("forbid", &strict)), Change::Widens);
        }
    }
}

/// A permit that errors denies everything it reaches; without it another permit would allow.
#[test]
fn taking_away_a_permit_that_may_error_widens() {
    let long = vec!["context.idnr_used"; 100].join(" && ");
    for condition in [
        OVERFLOW,
        "if true then 1 * 3 > 2 else false",
        r#"decimal("1.5").lessThan(decimal("2.5"))"#,
        r#"Authority::"nobody".area == "here""#,
        long.as_str(),
    ] {
        let broken = permit(&format!("when {{ context.idnr_used || ({condition}) }}"));
        let (old, new) = ([permit(""), broken], [permit("")]);
        assert_eq!(class(&rules(&old, 0), &rules(&new, 0)), Change::Widens, "{condition}");
    }
    for condition in [
        r#"principal.area == "here" && !(context has idnr_used && context.crosses_areas)"#,
        r#"[resource].contains(Field::"t0/f0") || context.initiation like "app*""#,
        r#"if principal in AuthorityKind::"k0" then true else principal is Authority"#,
    ] {
        let good = permit(&format!("when {{ {condition} }}"));
        let (old, new) = ([permit(""), good], [permit("")]);
        assert_eq!(class(&rules(&old, 0), &rules(&new, 0)), Change::Narrows, "{condition}");
    }
}

#[test]
fn rules_must_say_what_they_do_to_the_version_before() {
    let old = parse(&small(OPEN)).unwrap();
    let mut document = small("");
    document["change"] = json!("narrows");
    assert!(parse(&document).unwrap_err().to_string().contains("`change`"));
    document["version"] = json!(2);
    assert_eq!(check(&old, &parse(&document).unwrap()), Ok(Change::Narrows));
    document["change"] = json!("text_only");
    let error = check(&old, &parse(&document).unwrap()).unwrap_err();
    assert!(error.to_string().contains("`text only`") && error.to_string().contains("`narrows`"));
    document.as_object_mut().unwrap().remove("change");
    assert!(parse(&document).unwrap_err().to_string().contains("`change`"));
}

/// Authorities with every combination of two kinds, in two areas.
pub(crate) fn directory() -> Directory {
    let keys = json!([KeyText::from(SigningKey::from_seed(&[1; 32]).unwrap().public())]);
    let mut authorities = Vec::new();
    for (name, kinds) in
        [("n", vec![]), ("k", vec!["k0"]), ("l", vec!["k1"]), ("b", vec!["k0", "k1"])]
    {
        for area in ["here", "there"] {
            authorities.push(json!({
                "id": format!("{name}-{area}"), "name": "x", "area": area, "kinds": kinds,
                "keys": keys, "operators": [],
            }));
        }
    }
    let document = json!({
        "version": 1, "issued_at_ms": 0, "expires_at_ms": 1_000, "lowest_rules_version": 1,
        "operators": [], "keepers": [], "brokers": [], "ledgers": [],
        "authorities": authorities,
        "registers": [{
            "id": "r", "name": "r", "area": "here", "evidence_types": ["t0", "t1"], "keys": keys,
            "operators": [],
        }],
    });
    Directory::parse(&serde_json::to_vec(&document).unwrap()).unwrap()
}

/// Every question about one or both fields.
fn questions(directory: &Directory) -> Vec<Question> {
    let mut all = Vec::new();
    for authority in &directory.document().authorities {
        for (evidence_type, purpose) in [("t0", "p0"), ("t0", "p1"), ("t1", "p0"), ("t1", "p1")] {
            for fields in [&["f0"][..], &["f1"], &["f0", "f1"]] {
                for idnr_used in [false, true] {
                    all.push(Question {
                        authority: authority.id.clone(),
                        register: "r".into(),
                        evidence_type: evidence_type.into(),
                        fields: fields.iter().map(ToString::to_string).collect(),
                        purpose: purpose.into(),
                        initiation: Initiation::Application,
                        idnr_used,
                    });
                }
            }
        }
    }
    all
}

fn any_policy() -> impl Strategy<Value = String> {
    let principal = prop_oneof![
        Just("principal".to_owned()),
        Just(r#"principal == Authority::"b-here""#.to_owned()),
        (0..2).prop_map(|n| format!(r#"principal in AuthorityKind::"k{n}""#)),
    ];
    let resource = prop_oneof![
        Just("resource".to_owned()),
        (0..2, 0..2).prop_map(|(t, f)| format!(r#"resource == Field::"t{t}/f{f}""#)),
        (0..2).prop_map(|t| format!(r#"resource in EvidenceType::"t{t}""#)),
    ];
    let condition = prop_oneof![
        3 => Just(String::new()),
        1 => Just(r#"when { context.purpose == Purpose::"p1" }"#.to_owned()),
        1 => Just("when { context.idnr_used }".to_owned()),
        1 => Just("unless { context.crosses_areas }".to_owned()),
        1 => Just(r#"when { principal.area == "here" }"#.to_owned()),
        1 => Just(r#"unless { principal in AuthorityKind::"k1" }"#.to_owned()),
        2 => Just(format!("when {{ context.idnr_used && {OVERFLOW} }}")),
    ];
    let fields = ["t0/f0", "t0/f1", "t1/f0", "t1/f1"].map(|id| format!("Field::\"{id}\""));
    let listed = subsequence(fields.to_vec(), 1..4);
    let condition = prop_oneof![
        2 => condition,
        2 => listed.prop_map(|list| format!("when {{ resource in [{}] }}", list.join(", "))),
    ];
    let effect = prop_oneof![3 => Just("permit"), 1 => Just("forbid")];
    (effect, principal, resource, condition).prop_map(|(effect, principal, resource, condition)| {
        format!("{effect} ({principal}, action, {resource}) {condition};")
    })
}

/// Makes a policy stricter or wider.
fn turn(policy: String, how: u8) -> String {
    match how {
        0 => policy.replacen("resource in [Field::\"t0/f0\", ", "resource in [", 1),
        1 => policy.replacen("resource in [", "resource in [Field::\"t0/f0\", ", 1),
        2 => policy.replacen(";", " when { !context.idnr_used };", 1),
        3 => policy.replacen(";", " unless { context.crosses_areas };", 1),
        4 => policy.replacen("when { context.idnr_used }", "", 1),
        _ => policy,
    }
}

/// Policies, some of them kept, turned or added.
pub(crate) fn any_pair() -> impl Strategy<Value = (Vec<String>, Vec<String>)> {
    vec(any_policy(), 1..6).prop_flat_map(|old| {
        let kept = subsequence(old.clone(), old.len().saturating_sub(2)..=old.len());
        let added = vec(any_policy(), 0..2);
        let turns = vec(0..16_u8, old.len());
        (Just(old), kept, added, turns).prop_map(|(old, kept, added, turns)| {
            let turned = kept.into_iter().zip(turns).map(|(policy, how)| turn(policy, how));
            let new = turned.chain(added).collect();
            (old, new)
        })
    })
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 48, failure_persistence: None, ..ProptestConfig::default()
    })]

    #[test]
    fn what_narrows_never_grants((old, new) in any_pair()) {
        let (old, new) = (rules(&old, 0), rules(&new, 50));
        let change = class(&old, &new);
        let directory = directory();
        let permits = |rules: &Rules, question: &Question| {
            explain(rules, &directory, question)
                .is_ok_and(|answer| answer.fields.iter().all(|field| field.permitted))
        };
        if change != Change::Widens {
            for question in questions(&directory) {
                let (before, after) = (permits(&old, &question), permits(&new, &question));
                prop_assert!(before || !after, "granted: {question:?}");
                prop_assert!(change == Change::Narrows || before == after, "differs: {question:?}");
            }
        }
    }
}
