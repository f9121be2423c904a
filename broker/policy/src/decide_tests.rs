// SPDX-License-Identifier: EUPL-1.2
//! The decision under the deployed rules, under rules that fail, and slice against whole.

use std::{collections::HashMap, fs, path::PathBuf};

use einmal_protocol::key::SigningKey;
use proptest::{collection::vec, prelude::*, sample::subsequence};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::*;
use crate::{root::KeyText, rules::SCHEMA};

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../deploy/rules")
}

#[allow(clippy::disallowed_methods, reason = "the rules under test are files")]
fn read(path: PathBuf) -> String {
    fs::read_to_string(path).unwrap()
}

fn list<T: DeserializeOwned>(name: &str) -> Vec<T> {
    let text = read(folder().join(format!("{name}.toml")));
    let mut file: HashMap<String, Vec<T>> = toml::from_str(&text).unwrap();
    file.remove(&name.replace('-', "_")).unwrap()
}

pub(crate) fn deployed() -> Vec<u8> {
    let files = fs::read_dir(folder().join("policies")).unwrap();
    let mut paths: Vec<PathBuf> = files.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    let policies: String = paths.into_iter().map(read).collect();
    serde_json::to_vec(&json!({
        "version": 1,
        "issued_at_ms": 0,
        "expires_at_ms": 1_000,
        "schema": SCHEMA,
        "policies": policies,
        "areas": list::<Value>("areas"),
        "kinds": list::<Value>("kinds"),
        "purposes": list::<Value>("purposes"),
        "evidence_types": list::<Value>("evidence-types"),
        "tests": list::<Value>("tests"),
    }))
    .unwrap()
}

/// A directory of authorities (id, area, kinds) and registers (id, area, evidence types).
fn directory(authorities: &[(&str, &str, &[&str])], registers: &[(&str, &str, &[&str])]) -> Value {
    let keys = json!([KeyText::from(SigningKey::from_seed(&[1; 32]).unwrap().public())]);
    let authority = |(id, area, kinds): &(&str, &str, &[&str])| json!({ "id": id, "name": id, "area": area, "kinds": kinds, "keys": keys, "operators": [] });
    let register = |(id, area, held): &(&str, &str, &[&str])| {
        json!({
            "id": id, "name": id, "area": area, "evidence_types": held, "keys": keys,
            "operators": [],
        })
    };
    json!({
        "version": 1, "issued_at_ms": 0, "expires_at_ms": 1_000, "lowest_rules_version": 1,
        "operators": [], "keepers": [], "brokers": [], "ledgers": [],
        "authorities": authorities.iter().map(authority).collect::<Vec<_>>(),
        "registers": registers.iter().map(register).collect::<Vec<_>>(),
    })
}

fn parse_directory(document: &Value) -> Directory {
    Directory::parse(&serde_json::to_vec(document).unwrap()).unwrap()
}

pub(crate) fn offices() -> Directory {
    parse_directory(&directory(
        &[
            ("elterngeld", "labour-social", &["parental-allowance-office"]),
            ("familienkasse", "labour-social", &["family-benefits-office"]),
            ("familienkasse-innen", "interior", &["family-benefits-office"]),
            ("wohngeld", "labour-social", &["housing-benefit-office"]),
            ("lotterie", "labour-social", &["lottery-office"]),
        ],
        &[
            ("standesamt", "interior", &["birth-certificate", "never-defined"]),
            ("meldeamt", "interior", &["residence-registration"]),
            ("finanzamt", "economy-finance", &["wage-tax-data"]),
        ],
    ))
}

pub(crate) fn question() -> Question {
    Question {
        authority: "elterngeld".into(),
        register: "standesamt".into(),
        evidence_type: "birth-certificate".into(),
        fields: vec!["birth_date".into(), "given_names".into()],
        purpose: "parental-allowance".into(),
        initiation: Initiation::Application,
        idnr_used: true,
    }
}

fn texts(all: &[&str]) -> Vec<String> {
    all.iter().map(ToString::to_string).collect()
}

#[test]
fn a_permit_names_policies_and_legal_basis_and_has_one_form() {
    let (payload, directory) = (deployed(), offices());
    let rules = Rules::parse(&payload).unwrap();
    let request = Digest::of(b"request");
    let permit = decide(&rules, &directory, &question(), request).unwrap();
    let policies = vec!["beeg-birth-certificate".to_owned()];
    let grant = |field: &str| FieldGrant { field: field.to_owned(), policies: policies.clone() };
    assert_eq!(permit.fields(), [grant("birth_date"), grant("given_names")]);
    assert!(permit.crosses_areas());
    assert_eq!(
        (permit.request_digest(), permit.rules_digest(), permit.directory_digest()),
        (request, Digest::of(&payload), directory.digest())
    );
    let text = rules.policy("beeg-birth-certificate").unwrap();
    assert!(text.permits && text.legal_basis.contains("§ 25 BEEG") && !text.text_de.is_empty());
    // From the remembered slice, and decided anew by another party with the same documents.
    let again = decide(&rules, &directory, &question(), request).unwrap();
    let elsewhere = Rules::parse(&payload).unwrap();
    let other = decide(&elsewhere, &offices(), &question(), request).unwrap();
    assert_eq!((permit.bytes(), permit.bytes()), (again.bytes(), other.bytes()));
    let else_asked = decide(&rules, &directory, &question(), Digest::of(b"another")).unwrap();
    assert_ne!(permit.bytes(), else_asked.bytes());
}

/// PURPOSE-BOUND: one question, changed in one way.
type Change = fn(&mut Question);
/// A field that is refused, and the policies that forbid it.
type Forbidden = (&'static str, &'static [&'static str]);

#[test]
fn what_does_not_exist_is_refused_by_name() {
    let (rules, directory) = (Rules::parse(&deployed()).unwrap(), offices());
    let cases: [(Change, Reason); 11] = [
        (|q| q.authority = "niemand".into(), Reason::UnknownAuthority),
        // A register is no authority.
        (|q| q.authority = "standesamt".into(), Reason::UnknownAuthority),
        (|q| q.register = "nirgends".into(), Reason::UnknownRegister),
        (|q| q.register = "elterngeld".into(), Reason::UnknownRegister),
        (|q| q.register = "meldeamt".into(), Reason::NotHeldByRegister),
        (|q| q.evidence_type = "never-defined".into(), Reason::UnknownEvidenceType),
        (|q| q.fields = texts(&["birth_date", "shoe_size"]), Reason::UnknownField),
        (|q| q.fields = texts(&["birth-certificate/birth_date"]), Reason::UnknownField),
        (|q| q.fields.clear(), Reason::UnknownField),
        (|q| q.purpose = "curiosity".into(), Reason::UnknownPurpose),
        // A group of purposes.
        (|q| q.purpose = "family-benefits".into(), Reason::UnknownPurpose),
    ];
    for (number, (change, reason)) in cases.into_iter().enumerate() {
        let mut asked = question();
        change(&mut asked);
        let refused = decide(&rules, &directory, &asked, Digest::of(b"")).unwrap_err();
        assert_eq!(refused, Refused::from(reason), "case {number}: {asked:?}");
    }
}

/// Asks for residence data on the office's own initiative.
fn review(question: &mut Question) {
    question.authority = "familienkasse".into();
    question.register = "meldeamt".into();
    question.evidence_type = "residence-registration".into();
    question.fields = texts(&["place", "street"]);
    question.purpose = "child-benefit".into();
    question.initiation = Initiation::Statutory;
    question.idnr_used = false;
}

#[test]
fn what_is_not_permitted_names_each_field_and_policy() {
    const RELIGION: &str = "guard-health-and-religion-in-family-benefits";
    const SPECIAL: &str = "guard-special-categories";
    const IDNR: &str = "guard-identification-number-across-areas";
    let (rules, directory) = (Rules::parse(&deployed()).unwrap(), offices());
    let cases: [(Change, &[Forbidden]); 10] = [
        // Another purpose of another office.
        (|q| q.purpose = "child-benefit".into(), &[("birth_date", &[]), ("given_names", &[])]),
        // A field that no policy lists refuses, and it alone is named.
        (|q| q.fields.push("birth_time".into()), &[("birth_time", &[])]),
        // Nobody applied, and the number is not used: no policy speaks.
        (
            |q| (q.initiation, q.idnr_used) = (Initiation::Statutory, false),
            &[("birth_date", &[]), ("given_names", &[])],
        ),
        (
            |q| q.initiation = Initiation::Statutory,
            &[("birth_date", &[IDNR]), ("given_names", &[IDNR])],
        ),
        (
            |q| (q.initiation, q.idnr_used) = (Initiation::Unspecified, false),
            &[("birth_date", &[]), ("given_names", &[])],
        ),
        (|q| q.authority = "wohngeld".into(), &[("birth_date", &[]), ("given_names", &[])]),
        (|q| q.authority = "lotterie".into(), &[("birth_date", &[]), ("given_names", &[])]),
        // The same question that is permitted below, with the identification number.
        (
            |q| {
                review(q);
                q.idnr_used = true;
            },
            &[("place", &[IDNR]), ("street", &[IDNR])],
        ),
        // Two guards speak, in order.
        (
            |q| {
                review(q);
                q.fields = texts(&["place", "religion"]);
            },
            &[("religion", &[RELIGION, SPECIAL])],
        ),
        (
            |q| {
                (q.register, q.evidence_type) = ("finanzamt".into(), "wage-tax-data".into());
                q.fields = texts(&["church_tax_liable", "religion"]);
            },
            &[("religion", &[RELIGION])],
        ),
    ];
    for (number, (change, expected)) in cases.into_iter().enumerate() {
        let mut asked = question();
        change(&mut asked);
        let fields = expected
            .iter()
            .map(|(field, policies)| FieldRefusal {
                field: (*field).to_owned(),
                policies: texts(policies),
            })
            .collect();
        let expected = Refused { reason: Reason::NotPermitted, fields };
        let got = decide(&rules, &directory, &asked, Digest::of(b""));
        assert_eq!(got, Err(expected), "case {number}: {asked:?}");
    }
}

#[test]
fn the_number_crosses_no_areas_unasked() {
    let (rules, directory) = (Rules::parse(&deployed()).unwrap(), offices());
    let crosses = |change: Change| {
        let mut asked = question();
        review(&mut asked);
        change(&mut asked);
        decide(&rules, &directory, &asked, Digest::of(b"")).map(|permit| permit.crosses_areas())
    };
    assert_eq!(crosses(|_| ()), Ok(true));
    assert_eq!(
        crosses(|q| (q.authority, q.idnr_used) = ("familienkasse-innen".into(), true)),
        Ok(false)
    );
    assert!(crosses(|q| q.idnr_used = true).is_err());
    assert_eq!(
        crosses(|q| (q.initiation, q.idnr_used) = (Initiation::Application, true)),
        Ok(true)
    );
}

/// Small rules: authorities `a0..a2` and types `t0`, `t1`, each with fields `f0`, `f1`.
pub(crate) fn small(policies: &str) -> Value {
    let texts = json!({ "de": "so", "en": "so", "de_leicht": "so" });
    let policies = policies.replace(
        "@legal_basis(\"§ 1\")",
        "@legal_basis(\"§ 1\") @text_de(\"so\") @text_en(\"so\")",
    );
    let kinds = ["k0", "k1", "k2"].map(|id| json!({ "id": id, "texts": texts }));
    let field = |name: &str, special: bool| {
        json!({
            "name": name, "texts": texts, "schema": { "type": "string" },
            "special_category": special,
        })
    };
    let kind = |id: &str| {
        json!({
            "id": id, "texts": texts, "size": 512, "slots": 1, "earliest_ms": 0,
            "fields": [field("f0", false), field("f1", true)],
        })
    };
    let purpose = |id: &str, parent: Option<&str>| {
        let mut purpose = json!({
            "id": id, "legal_basis": ["§ 1"], "idnr_ground": "§ 1", "texts": texts,
        });
        if let Some(parent) = parent {
            purpose["parent"] = json!(parent);
        }
        purpose
    };
    json!({
        "version": 1, "issued_at_ms": 0, "expires_at_ms": 1_000,
        "schema": SCHEMA, "policies": policies, "kinds": kinds,
        "areas": [{ "id": "here", "texts": texts }, { "id": "there", "texts": texts }],
        "purposes": [purpose("p", None), purpose("p0", Some("p")), purpose("p1", Some("p"))],
        "evidence_types": [kind("t0"), kind("t1")],
        "tests": [],
    })
}

pub(crate) fn parse(rules: &Value) -> Result<Rules, RulesError> {
    Rules::parse(&serde_json::to_vec(rules).unwrap())
}

fn small_directory() -> Directory {
    parse_directory(&directory(
        &[("a0", "here", &["k0"]), ("a1", "there", &["k0", "k1"]), ("a2", "there", &[])],
        &[("r", "here", &["t0", "t1"])],
    ))
}

/// All questions that the small rules know.
fn small_questions() -> Vec<Question> {
    let mut all = Vec::new();
    for authority in ["a0", "a1", "a2"] {
        for evidence_type in ["t0", "t1"] {
            for purpose in ["p0", "p1"] {
                all.push(Question {
                    authority: authority.into(),
                    register: "r".into(),
                    evidence_type: evidence_type.into(),
                    fields: texts(&["f0", "f1"]),
                    purpose: purpose.into(),
                    initiation: Initiation::Application,
                    idnr_used: false,
                });
            }
        }
    }
    all
}

pub(crate) const OPEN: &str =
    r#"@id("open") @legal_basis("§ 1") permit (principal, action, resource);"#;
const OVERFLOW: &str = "9223372036854775807 + 1 > 0";

#[test]
fn a_policy_that_cannot_be_evaluated_denies() {
    let broken = |effect: &str, scope: &str, condition: &str| {
        let policy =
            format!(r#"@id("broken") @legal_basis("§ 1") {effect} ({scope}) {condition};"#);
        parse(&small(&format!("{OPEN}{policy}"))).unwrap()
    };
    let decide = |rules: &Rules| {
        decide(rules, &small_directory(), &small_questions()[0], Digest::of(b""))
            .map_err(|refused| refused.reason)
    };
    let everywhere = "principal, action, resource";
    let when = format!("when {{ {OVERFLOW} }}");
    assert!(decide(&parse(&small(OPEN)).unwrap()).is_ok());
    assert_eq!(decide(&broken("permit", everywhere, &when)), Err(Reason::PolicyError));
    // Cedar alone would skip this one and let the data out.
    assert_eq!(decide(&broken("forbid", everywhere, &when)), Err(Reason::PolicyError));
    let unless = format!("unless {{ {OVERFLOW} }}");
    assert_eq!(decide(&broken("forbid", everywhere, &unless)), Err(Reason::PolicyError));
    // One field's error refuses the others too.
    let one = format!("when {{ resource.special_category && {OVERFLOW} }}");
    assert_eq!(decide(&broken("forbid", everywhere, &one)), Err(Reason::PolicyError));
    // A policy about others is not evaluated.
    let others = r#"principal == Authority::"a2", action, resource"#;
    assert!(decide(&broken("forbid", others, &when)).is_ok());
}

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
        2 => Just(r#"when { context.purpose == Purpose::"p1" }"#.to_owned()),
        1 => Just("when { resource.special_category }".to_owned()),
        1 => Just("unless { context.crosses_areas }".to_owned()),
        1 => Just(format!("when {{ {OVERFLOW} }}")),
    ];
    let effect = prop_oneof![3 => Just("permit"), 1 => Just("forbid")];
    (effect, principal, resource, condition).prop_map(|(effect, principal, resource, condition)| {
        format!("{effect} ({principal}, action, {resource}) {condition};")
    })
}

/// Every policy evaluated, none left out.
fn explain_whole(
    rules: &Rules,
    directory: &Directory,
    question: &Question,
) -> Result<Explanation, Refused> {
    let authority = &directory.authority(&question.authority).unwrap().entry;
    let asker = Asker {
        authority: authority.id.clone(),
        area: authority.area.clone(),
        kinds: authority.kinds.clone(),
    };
    let crosses_areas = asker.area != directory.register(&question.register).unwrap().entry.area;
    let kind = rules.evidence_type(&question.evidence_type).unwrap();
    let whole = Slice::new(rules, &asker, kind, rules.policies().iter().cloned()).unwrap();
    let decide = |field: &String| whole.decide(rules, &asker, kind, field, question, crosses_areas);
    let fields = question.fields.iter().map(decide).collect::<Result<_, _>>();
    Ok(Explanation { crosses_areas, fields: fields.map_err(|_| Reason::PolicyError)? })
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 64, failure_persistence: None, ..ProptestConfig::default()
    })]

    #[test]
    fn slice_equals_whole(
        policies in vec(any_policy(), 0..6),
        asked in subsequence(small_questions(), 1..6),
    ) {
        let named: String = policies
            .iter()
            .enumerate()
            .map(|(n, policy)| format!("@id(\"n{n}\") @legal_basis(\"§ 1\") {policy}\n"))
            .collect();
        let (rules, directory) = (parse(&small(&named)).unwrap(), small_directory());
        for question in asked.iter().chain(&asked) {
            let sliced = explain(&rules, &directory, question);
            prop_assert_eq!(sliced, explain_whole(&rules, &directory, question), "{}", named);
        }
    }
}
