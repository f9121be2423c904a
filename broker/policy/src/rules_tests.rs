// SPDX-License-Identifier: EUPL-1.2
//! Rules that are not sound are not loaded, and the message says why.

use serde_json::{Value, json};

use super::*;
use crate::decide::tests::{OPEN, parse, small, with};

#[test]
fn policies_that_are_not_sound_are_not_loaded() {
    let open = |head: &str| format!("{head} permit (principal, action, resource);");
    let when = |condition: &str| {
        let head = r#"@id("a") @legal_basis("§ 1") permit (principal, action, resource)"#;
        format!("{head} when {{ {condition} }};")
    };
    let cases = [
        (open(r#"@legal_basis("§ 1")"#), "without a good @id"),
        (open(r#"@id("Not An Id") @legal_basis("§ 1")"#), "without a good @id"),
        (format!("{OPEN}{OPEN}"), "duplicate"),
        (open(r#"@id("a")"#), "`a` has no @legal_basis"),
        (open(r#"@id("a") @legal_basis("")"#), "`a` has no @legal_basis"),
        (when("resource.shoe_size == 1"), "shoe_size"),
        (when("context.purpose == \"p0\""), "types"),
        // Warnings count: a policy that can never speak is a mistake.
        (when("false"), "impossible"),
        (
            r#"@id("a") @legal_basis("§ 2") @text_en("x")"#.to_owned()
                + " permit (principal, action, resource);",
            "@text_de is missing",
        ),
        (
            r#"@id("a") @legal_basis("§ 2") @text_de("x") @text_en(" ")"#.to_owned()
                + " permit (principal, action, resource);",
            "@text_en is missing",
        ),
        (
            OPEN.replace("principal,", "principal in AuthorityKind::\"k\","),
            "names AuthorityKind::\"k\", which the rules do not have: did you mean",
        ),
        (OPEN.replace("principal,", "principal == Authority::\"A 1\","), "an id is lower-case"),
        (when("context.initiation == \"aplication\""), "did you mean `application`?"),
        (when("\"hear\" != principal.area"), "did you mean `here`?"),
        (OPEN.replace("principal,", "principal == ?principal,"), "templates are not taken"),
        (OPEN.replace("principal,", "principal in Purpose::\"p\","), "applicable action"),
        // A misspelt guard would guard nothing.
        (when("context.purpose == Purpose::\"p2\""), "names Purpose::\"p2\""),
        (when("resource == Field::\"t0/f2\""), "names Field::\"t0/f2\""),
        (when("resource == Field::\"t0\""), "names Field::\"t0\""),
        (OPEN.replace("resource)", "resource in EvidenceType::\"t2\")"), "names EvidenceType"),
        ("permit (".to_owned(), "not accepted"),
    ];
    for (policies, expected) in cases {
        let error = parse(&small(&policies)).unwrap_err();
        assert!(matches!(error, RulesError::Policies(_)), "{policies}: {error}");
        assert!(error.to_string().contains(expected), "{policies}: {error}");
    }
    for (schema, expected) in [
        (format!("{SCHEMA} entity Bool;"), "shadow"),
        (SCHEMA.replace("entity Purpose", "entity Other"), "Purpose"),
    ] {
        let mut rules = small(OPEN);
        rules["schema"] = json!(schema);
        let error = parse(&rules).unwrap_err();
        assert!(matches!(error, RulesError::Schema(_)), "{error}");
        assert!(error.to_string().contains(expected), "{error}");
    }
}

#[test]
fn documents_that_are_not_sound_are_not_loaded() {
    let test = |key: &str, value: Value| {
        let mut test = json!({
            "name": "t", "authority_kind": "k0", "authority_area": "here",
            "register_area": "here", "evidence_type": "t0", "fields": ["f0"], "purpose": "p0",
            "initiation": "application", "idnr_used": false, "permitted": true,
        });
        test[key] = value;
        json!([test])
    };
    let cases = [
        ("/tests", test("permitted", json!(false)), "own test `t` fails: all fields"),
        ("/tests", test("fields", json!(["f9"])), "no such field"),
        ("/tests", test("purpose", json!("p")), "group of purposes"),
        ("/tests", test("evidence_type", json!("t9")), "no such evidence type"),
        ("/tests", test("register_area", json!("nowhere")), "no area `nowhere`"),
        ("/areas/0/id", json!("Over There"), "the id is malformed"),
        ("/tests", test("initiation", json!("whim")), "`whim` is no initiation"),
        ("/policies", json!(""), "own test `good` fails: refused: f0"),
        ("/evidence_types/0/id", json!("T 0"), "the id is malformed"),
        ("/evidence_types/0/size", json!(511), "512 bytes to 2 MiB"),
        ("/evidence_types/0/size", json!(2 * 1024 * 1024 + 1), "512 bytes to 2 MiB"),
        ("/evidence_types/0/slots", json!(0), "1 to 32 slots"),
        ("/evidence_types/0/slots", json!(33), "1 to 32 slots"),
        ("/evidence_types/0/earliest_ms", json!(10_001), "at most 10,000 ms"),
        ("/evidence_types/0/fields", json!([]), "good and distinct names"),
        ("/evidence_types/0/fields/1/name", json!("f0"), "good and distinct names"),
        ("/evidence_types/0/fields/1/name", json!("a/b"), "good and distinct names"),
        ("/evidence_types/1/id", json!("t0"), "`t0`: it is there twice"),
        ("/purposes/0/parent", json!("p1"), "`p`: its parent must stand before it"),
        ("/purposes/1/parent", json!("p0"), "`p0`: its parent must stand before it"),
        ("/purposes/1/parent", json!("nobody"), "`p0`: its parent must stand before it"),
        ("/purposes/2/id", json!("p0"), "`p0`: it is there twice"),
        ("/purposes/2/legal_basis", json!([]), "the legal basis missing"),
        ("/areas/1/id", json!("here"), "`here`: it is there twice"),
        ("/stray", json!(1), "unknown field `stray`"),
        ("/areas/0/stray", json!(1), "unknown field `stray`"),
        ("/purposes/0/texts/stray", json!(1), "unknown field `stray`"),
        ("/evidence_types/0/stray", json!(1), "unknown field `stray`"),
        ("/evidence_types/0/fields/0/stray", json!(1), "unknown field `stray`"),
        ("/tests/0/stray", json!(1), "unknown field `stray`"),
    ];
    let mut good = small(OPEN);
    good["tests"] = test("name", json!("good"));
    assert!(parse(&good).is_ok());
    for (pointer, value, expected) in cases {
        let error = parse(&with(&good, pointer, value)).unwrap_err().to_string();
        assert!(error.contains(expected), "{pointer}: {error}");
    }
    let bytes = serde_json::to_vec(&good).unwrap();
    assert!(Rules::parse(&bytes[..bytes.len() - 1]).is_err());
    assert!(Rules::parse(&[&bytes[..], b"{}"].concat()).is_err());
}

/// Where in the text, so that a tool can say the file, line and column.
#[test]
fn errors_in_policies_have_a_place() {
    for (policies, at) in [
        (OPEN.replace("resource);", "resource) when { context.purpos == 1 };"), "context.purpos"),
        (format!("{OPEN} }}"), "}"),
        (OPEN.replace("resource)", "resource in EvidenceType::\"t2\")"), "EvidenceType"),
        (OPEN.replace("@legal_basis(\"§ 1\")", ""), "@id"),
        (OPEN.replace("resource);", "resource) when { resource.size == 1 };"), "resource.size"),
    ] {
        let rules = small(&policies);
        let Err(RulesError::Policies(flaw)) = parse(&rules) else { panic!("{policies}") };
        let text = rules["policies"].as_str().unwrap();
        assert_eq!(flaw.at, text.find(at), "{flaw}: {text}");
    }
}

/// Cedar reads by recursion: a thousand brackets would end the process, not the reading.
#[test]
fn nesting_has_a_limit() {
    let load = |condition: &str| {
        let head = r#"@id("a") @legal_basis("§ 1") permit (principal, action, resource)"#;
        let policy = format!("{head} when {{ {condition} }};");
        // The second policy begins at depth 0 again.
        let again = policy.replace("\"a\"", "\"b\"");
        parse(&small(&format!("{policy}\n{again}"))).map(|_| ())
    };
    let nested = |open: &str, inner: &str, close: &str, count: usize| {
        format!("{}{inner}{}", open.repeat(count), close.repeat(count))
    };
    let flag = "context.idnr_used";
    let quiet = r#" || [context.initiation].contains("((((((((((((((((((\\") // (((((((((((((((((((
    "#;
    assert_eq!(load(&nested("(", flag, ")", 15)), Ok(()));
    assert_eq!(load(&format!("{flag}{quiet}")), Ok(()));
    assert_eq!(load(&format!("{}{flag}", "1 < 2 && ".repeat(20))), Ok(()));
    for deep in [
        nested("(", flag, ")", 16),
        nested("(", flag, ")", 100_000),
        format!("[{}].contains(1)", nested("[", "1", "]", 1_000)),
        nested("if context.idnr_used then ", flag, " else false", 3_000),
        format!(r#"context.initiation == "\\" && {}"#, nested("(", flag, ")", 1_000)),
        format!("true // \" \n && {}", nested("(", flag, ")", 1_000)),
        format!("true // \" \r && {}", nested("(", flag, ")", 1_000)),
    ] {
        let error = load(&deep).unwrap_err().to_string();
        assert!(error.contains("nest deeper"), "{error}");
    }
    for (open, close) in [("Set<", ">"), ("{ a: ", "}")] {
        let mut rules = small("");
        let kind = nested(open, "Long", close, 1_000);
        rules["schema"] = json!(format!("{SCHEMA}\ntype Deep = {kind};"));
        assert!(matches!(parse(&rules), Err(RulesError::Schema(_))));
    }
}
