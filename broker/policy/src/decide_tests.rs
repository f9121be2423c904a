// SPDX-License-Identifier: EUPL-1.2
//! The decision under the deployed rules, and under rules that fail.

use std::{collections::HashMap, fs, path::PathBuf};

use einmal_protocol::key::SigningKey;
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
pub(crate) fn directory(
    authorities: &[(&str, &str, &[&str])],
    registers: &[(&str, &str, &[&str])],
) -> Value {
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

pub(crate) fn parse_directory(document: &Value) -> Directory {
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

pub(crate) fn texts(all: &[&str]) -> Vec<String> {
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

/// A document with another value at a JSON pointer, whether there was one or not.
pub(crate) fn with(document: &Value, pointer: &str, value: Value) -> Value {
    let mut changed = document.clone();
    let (parent, key) = pointer.rsplit_once('/').unwrap();
    match changed.pointer_mut(pointer) {
        Some(place) => *place = value,
        None => changed.pointer_mut(parent).unwrap()[key] = value,
    }
    changed
}

pub(crate) fn parse(rules: &Value) -> Result<Rules, RulesError> {
    Rules::parse(&serde_json::to_vec(rules).unwrap())
}

pub(crate) fn small_directory() -> Directory {
    parse_directory(&directory(
        &[
            ("a0", "here", &["k0"]),
            ("a1", "there", &["k0", "k1"]),
            ("a2", "there", &[]),
            // Each like another but for one thing: what is remembered of one may be the other's.
            ("a3", "here", &["k0"]),
            ("a4", "there", &["k0"]),
            ("a5", "there", &["k1", "k0", "k3"]),
        ],
        &[("r", "here", &["t0", "t1"])],
    ))
}

/// Questions of the small rules. The first is an ordinary one.
pub(crate) fn small_questions() -> Vec<Question> {
    let mut all = Vec::new();
    for authority in ["a0", "a1", "a2", "a3", "a4", "a5"] {
        for (evidence_type, fields) in [("t0", ["f0", "f1"]), ("t1", ["f1", "f0"])] {
            for (number, purpose) in ["p0", "p1"].into_iter().enumerate() {
                for initiation in [Initiation::Application, Initiation::Statutory] {
                    for idnr_used in [false, true] {
                        all.push(Question {
                            authority: authority.into(),
                            register: "r".into(),
                            evidence_type: evidence_type.into(),
                            fields: texts(fields.get(usize::from(idnr_used) * number..).unwrap()),
                            purpose: purpose.into(),
                            initiation,
                            idnr_used,
                        });
                    }
                }
            }
        }
    }
    all
}

pub(crate) const OPEN: &str =
    r#"@id("open") @legal_basis("§ 1") permit (principal, action, resource);"#;
pub(crate) const OVERFLOW: &str = "9223372036854775807 + 1 > 0";

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
