// SPDX-License-Identifier: EUPL-1.2
//! What rules speak about has good ids, texts, legal bases, schemas and limits.

use serde_json::{Value, json};

use crate::{
    Rules,
    decide::tests::{OPEN, parse, small, with},
    rules::RulesError,
};

fn assert_refused(pointer: &str, value: Value, expected: &str) {
    let error = parse(&with(&small(OPEN), pointer, value)).unwrap_err().to_string();
    assert!(error.contains(expected), "{pointer}: {error}");
}

#[test]
fn texts_legal_bases_and_kinds_are_there() {
    let test = json!([{
        "name": "t", "authority_kind": "k9", "authority_area": "here", "register_area": "here",
        "evidence_type": "t0", "fields": ["f0"], "purpose": "p0", "initiation": "application",
        "idnr_used": false, "permitted": true,
    }]);
    for (pointer, value, expected) in [
        ("/kinds/1/id", json!("k0"), "kind of authority `k0`: it is there twice"),
        ("/kinds/0/texts/en", json!(" "), "the text `en` is missing"),
        ("/tests", test, "no kind of authority `k9`: did you mean"),
        ("/areas/0/texts/de", json!(""), "the text `de` is missing"),
        ("/purposes/1/texts/de_leicht", json!(""), "the text `de_leicht` is missing"),
        ("/purposes/1/texts/de", json!("x".repeat(2_001)), "longer than 2000 bytes"),
        ("/purposes/1/legal_basis", json!([" "]), "legal basis missing, empty"),
        ("/purposes/1/idnr_ground", json!(""), "idnr_ground cites"),
        ("/purposes/1/initiations", json!(["whim"]), "initiations are application and"),
        ("/purposes/1/initiations", json!(["statutory", "statutory"]), "initiations are"),
        ("/purposes/1/parent", json!("pp"), "did you mean `p`?"),
    ] {
        assert_refused(pointer, value, expected);
    }
    let mut rules = small(&OPEN.replace("principal,", "principal in AuthorityKind::\"k0\","));
    rules["kinds"] = json!([]);
    assert!(parse(&rules).unwrap_err().to_string().contains("kinds.toml"));
}

/// Nobody checks them, so nobody may rely on them.
#[test]
fn keywords_of_json_schema_that_no_adapter_checks_are_refused() {
    let object = json!({ "type": "object", "properties": { "a": { "minimum": 1 } } });
    for (schema, expected) in [
        (json!({}), "field `f0`: `type` is one of"),
        (json!({ "type": "string", "pattern": "a" }), "`pattern` is not checked"),
        (json!({ "type": "string", "format": "email" }), "only be `date`"),
        (json!({ "type": "string", "items": { "type": "string" } }), "`items` is for type"),
        (json!({ "type": "string", "enum": [1] }), "`enum` lists"),
        (json!({ "type": "string", "enum": [] }), "`enum` lists"),
        (json!({ "type": "array", "items": object }), "in `a`: `minimum`"),
        (json!({ "type": "object", "required": ["b"], "properties": {} }), "`required` lists"),
    ] {
        assert_refused("/evidence_types/0/fields/0/schema", schema, expected);
    }
}

/// The first letter is Cyrillic: to a reader it is the same id.
#[test]
fn ids_that_only_look_alike_are_refused() {
    let (cyrillic, greek) = ("\u{0430}rea", "p\u{03bf}");
    for (pointer, id) in [
        ("/areas/0/id", cyrillic),
        ("/kinds/0/id", cyrillic),
        ("/purposes/2/id", greek),
        ("/evidence_types/0/id", cyrillic),
    ] {
        let mut rules = small("");
        *rules.pointer_mut(pointer).unwrap() = json!(id);
        let error = parse(&rules).unwrap_err().to_string();
        assert!(error.contains("is another letter than it looks like"), "{pointer}: {error}");
    }
    let mut rules = small("");
    *rules.pointer_mut("/evidence_types/0/fields/0/name").unwrap() = json!(cyrillic);
    assert!(parse(&rules).unwrap_err().to_string().contains("good and distinct names"));
    for policy in [
        OPEN.replace("\"open\"", "\"\u{043e}pen\""),
        OPEN.replace("principal,", "principal in AuthorityKind::\"\u{043a}0\","),
        OPEN.replace("principal,", "principal == Authority::\"\u{0430}0\","),
        OPEN.replace("resource)", "resource in EvidenceType::\"\u{0442}0\")"),
    ] {
        assert!(matches!(parse(&small(&policy)), Err(RulesError::Policies(_))), "{policy}");
    }
}

#[test]
fn a_file_a_hundred_times_too_large_is_refused() {
    // Never written, so it takes no memory.
    let large = vec![0; 100 * crate::vocabulary::RULES_MAX];
    let error = Rules::parse(&large).unwrap_err();
    assert!(matches!(error, RulesError::TooMuch { limit: crate::vocabulary::RULES_MAX, .. }));
    assert!(error.to_string().contains("at most 8388608 are taken"), "{error}");
}

#[test]
fn more_of_anything_than_there_may_be_is_refused() {
    let good = small(OPEN);
    for (list, limit) in [("areas", 64), ("kinds", 1_000), ("purposes", 1_000)] {
        let mut rules = good.clone();
        let one = rules[list][0].clone();
        rules[list] = Value::Array(vec![one; limit + 1]);
        let error = parse(&rules).unwrap_err().to_string();
        assert!(error.contains(&format!("at most {limit} are taken")), "{error}");
    }
    let mut rules = good;
    let field = rules["evidence_types"][0]["fields"][0].clone();
    rules["evidence_types"][0]["fields"] = Value::Array(vec![field; 201]);
    assert!(parse(&rules).unwrap_err().to_string().contains("fields of one evidence type: 201"));
}

#[test]
fn a_thousand_levels_are_refused() {
    let mut rules = small("");
    let purposes = (0..1_000).map(|n| {
        let mut purpose = rules["purposes"][0].clone();
        purpose["id"] = json!(format!("p{n}"));
        if n > 0 {
            purpose["parent"] = json!(format!("p{}", n - 1));
        }
        purpose
    });
    rules["purposes"] = purposes.collect();
    assert!(parse(&rules).unwrap_err().to_string().contains("`p9`: more than 8 purposes"));
    let deep = |levels: usize| {
        let (open, close) = (r#"{"type":"array","items":"#.repeat(levels), "}".repeat(levels));
        let text = serde_json::to_string(&small("")).unwrap();
        let string = r#"{"type":"string"}"#;
        Rules::parse(text.replace(string, &format!("{open}{string}{close}")).as_bytes())
    };
    assert!(deep(7).is_ok());
    assert!(deep(8).unwrap_err().to_string().contains("nests deeper than 8"));
    assert!(deep(1_000).unwrap_err().to_string().contains("recursion limit"));
}

#[test]
fn a_purpose_says_who_sets_it_going_and_whether_the_number_is_used() {
    use einmal_protocol::wire::v1::Initiation::{Application, Statutory, Unspecified};
    let mut purpose = parse(&small("")).unwrap().purpose("p0").unwrap().clone();
    assert!(purpose.admits(Application, true) && purpose.admits(Statutory, false));
    assert!(!purpose.admits(Unspecified, false));
    purpose.initiations = vec!["application".to_owned()];
    purpose.idnr_ground = None;
    assert!(purpose.admits(Application, false));
    assert!(!purpose.admits(Statutory, false) && !purpose.admits(Application, true));
}
