// SPDX-License-Identifier: EUPL-1.2
//! What the differences say is what both versions answer, for every authority entered.

use proptest::{prelude::*, test_runner::TestRunner};
use serde_json::json;

use super::*;
use crate::{
    change::tests::{any_pair, directory, rules},
    decide::tests::{OPEN, parse, small},
    rules::SCHEMA,
};

fn differ(old: &Rules, new: &Rules, directory: &Directory) -> Difference {
    diff(old, new, Some(directory), QUESTIONS_MAX, &mut |_, _| ()).unwrap()
}

/// Whether groups say something of an authority.
fn says(groups: &[Group], who: &Who, kind: &str, field: &str, purpose: &str, bit: u8) -> bool {
    let meant = |all: &[Who]| {
        all.iter().any(|named| {
            named == who || named.covers(who) || (Who { area: None, ..who.clone() }) == *named
        })
    };
    let has = |all: &[String], name: &str| all.iter().any(|one| one == name);
    groups.iter().any(|group| {
        group.evidence_type == kind
            && has(&group.fields, field)
            && has(&group.purposes, purpose)
            && group.circumstances.contains(&Circumstance::of(bit))
            && meant(&group.who)
            && !meant(&group.except)
    })
}

/// Asks without any of the short cuts.
fn may(rules: &Rules, asker: &Asking, kind: &str, field: &str, purpose: &str, bit: u8) -> bool {
    let circumstance = Circumstance::of(bit);
    let question = Question {
        authority: asker.authority.clone(),
        register: String::new(),
        evidence_type: kind.to_owned(),
        fields: vec![field.to_owned()],
        purpose: purpose.to_owned(),
        initiation: match circumstance.statutory {
            true => Initiation::Statutory,
            false => Initiation::Application,
        },
        idnr_used: circumstance.idnr_used,
    };
    let area = if circumstance.crosses_areas { "elsewhere" } else { &asker.area };
    explain_as(rules, asker, area, &question)
        .is_ok_and(|answer| answer.fields.iter().all(|field| field.permitted))
}

#[test]
fn differences_are_what_both_versions_answer() {
    let directory = directory();
    let config = ProptestConfig { cases: 6, failure_persistence: None, ..Default::default() };
    let check = |(before, after): (Vec<String>, Vec<String>)| {
        let (old, new) = (rules(&before, 0), rules(&after, 50));
        let difference = differ(&old, &new, &directory);
        for entry in &directory.document().authorities {
            let named = before.iter().chain(&after).any(|policy| policy.contains(&entry.id));
            let looked = before.iter().chain(&after).any(|policy| policy.contains("area =="));
            let who = Who {
                authority: Some(entry.id.clone()).filter(|_| named),
                kinds: entry.kinds.clone(),
                area: Some(entry.area.clone()).filter(|_| looked),
            };
            let asker = Asking {
                authority: entry.id.clone(),
                area: entry.area.clone(),
                kinds: entry.kinds.clone(),
            };
            for (kind, field) in [("t0", "f0"), ("t0", "f1"), ("t1", "f0"), ("t1", "f1")] {
                for purpose in ["p0", "p1"] {
                    for bit in 0..CIRCUMSTANCES {
                        let ask = |rules| may(rules, &asker, kind, field, purpose, bit);
                        let says = |groups| says(groups, &who, kind, field, purpose, bit);
                        let (before, after) = (ask(&old), ask(&new));
                        let case = (&who, kind, field, purpose, bit);
                        prop_assert_eq!(says(&difference.granted), after && !before, "{:?}", case);
                        prop_assert_eq!(
                            says(&difference.withdrawn),
                            before && !after,
                            "{:?}",
                            case
                        );
                    }
                }
            }
        }
        if difference.change == Change::Narrows {
            prop_assert!(difference.granted.is_empty());
        }
        Ok(())
    };
    TestRunner::new(config).run(&any_pair(), check).unwrap();
}

fn with(policies: &str) -> Rules {
    parse(&small(policies)).unwrap()
}

#[test]
fn what_all_of_a_kind_get_is_said_once() {
    let permit = r#"@id("a") @legal_basis("§ 1")
        permit (principal in AuthorityKind::"k0", action, resource in EvidenceType::"t0")
        when { context.purpose in Purpose::"p" && context.initiation == "application" };"#;
    let forbid = r#"@id("b") @legal_basis("§ 1")
        forbid (principal in AuthorityKind::"k1", action, resource == Field::"t0/f1");"#;
    let directory = directory();
    let difference = differ(&with(""), &with(&format!("{permit}{forbid}")), &directory);
    let kinds = |names: &[&str]| Who {
        authority: None,
        kinds: names.iter().map(ToString::to_string).collect(),
        area: None,
    };
    let asked: Vec<Circumstance> = (0..4).map(Circumstance::of).collect();
    let group = |field: &str, except: &[Who]| Group {
        who: vec![kinds(&["k0"])],
        except: except.to_vec(),
        evidence_type: "t0".to_owned(),
        fields: vec![field.to_owned()],
        purposes: vec!["p0".to_owned(), "p1".to_owned()],
        circumstances: asked.clone(),
    };
    let expected = vec![group("f0", &[]), group("f1", &[kinds(&["k0", "k1"])])];
    assert_eq!(difference.granted, expected);
    assert_eq!((difference.withdrawn, difference.change), (Vec::new(), Change::Widens));
}

#[test]
fn fields_purposes_and_types_that_come_or_go_are_differences() {
    let old = with(OPEN);
    let mut document = small(OPEN);
    document["purposes"][2]["id"] = json!("p9");
    document["evidence_types"][0]["fields"][1]["name"] = json!("f9");
    document["evidence_types"][1]["id"] = json!("t9");
    let difference = differ(&old, &parse(&document).unwrap(), &directory());
    let said = |groups: &[Group]| -> BTreeSet<(String, String, String)> {
        let mut all = BTreeSet::new();
        for group in groups {
            for field in &group.fields {
                for purpose in &group.purposes {
                    all.insert((group.evidence_type.clone(), field.clone(), purpose.clone()));
                }
            }
        }
        all
    };
    let triples = |all: &[(&str, &str, &str)]| -> BTreeSet<(String, String, String)> {
        all.iter().map(|(a, b, c)| (a.to_string(), b.to_string(), c.to_string())).collect()
    };
    let came = [
        ("t0", "f0", "p9"),
        ("t0", "f9", "p0"),
        ("t0", "f9", "p9"),
        ("t9", "f0", "p0"),
        ("t9", "f0", "p9"),
        ("t9", "f1", "p0"),
        ("t9", "f1", "p9"),
    ];
    assert_eq!(said(&difference.granted), triples(&came));
    assert_eq!(said(&difference.withdrawn).len(), 7);
}

/// 60 types, 400 policies, one of which is new: only what it reaches is asked.
#[test]
fn large_rules_stay_affordable_and_bounded() {
    let mut document = small("");
    let kind = document["evidence_types"][0].clone();
    let kinds: Vec<_> = (0..300)
        .map(|n| {
            let mut kind = kind.clone();
            kind["id"] = json!(format!("t{n}"));
            kind
        })
        .collect();
    document["evidence_types"] = json!(kinds);
    document["schema"] = json!(SCHEMA);
    let policies = |count: usize| -> String {
        let policy = |n: usize| {
            format!(
                "@id(\"n{n}\") @legal_basis(\"§ 1\") @text_de(\"so\") @text_en(\"so\") \
                 permit (principal in AuthorityKind::\"k{}\", \
                 action, resource in EvidenceType::\"t{}\") when {{ context.purpose == \
                 Purpose::\"p0\" }};\n",
                n / 60,
                n % 60
            )
        };
        (0..count).map(policy).collect()
    };
    let kinds = document["kinds"].as_array_mut().unwrap();
    kinds.extend((3..7).map(|n| {
        let texts = json!({ "de": "so", "en": "so", "de_leicht": "so" });
        json!({ "id": format!("k{n}"), "texts": texts })
    }));
    document["policies"] = json!(policies(399));
    let old = parse(&document).unwrap();
    document["policies"] = json!(policies(400));
    let new = parse(&document).unwrap();
    let difference = differ(&old, &new, &directory());
    assert_eq!(difference.questions, 16, "two classes of purposes, eight circumstances");
    assert_eq!(difference.granted.len(), 1);
    let refused = diff(&old, &new, None, 15, &mut |_, _| ()).unwrap_err();
    assert_eq!(refused, TooMany { questions: 16, limit: 15 });
}
