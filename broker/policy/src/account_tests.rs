// SPDX-License-Identifier: EUPL-1.2
//! The account names every policy that spoke, and agrees with the decision.

use super::*;
use crate::decide::tests::{parse, small};

const POLICIES: &str = r#"
    @id("to-k0") @legal_basis("§ 1")
    permit (principal in AuthorityKind::"k0", action, resource in EvidenceType::"t0")
    when { context.purpose == Purpose::"p0" && context.initiation == "application" };
    @id("again") @legal_basis("§ 1")
    permit (principal in AuthorityKind::"k0", action, resource == Field::"t0/f0")
    when { context.purpose == Purpose::"p0" };
    @id("no-number") @legal_basis("§ 1")
    forbid (principal, action, resource) when { context.idnr_used && context.crosses_areas };
    @id("special") @legal_basis("§ 1")
    forbid (principal, action, resource)
    when { resource.special_category && context.initiation == "statutory" };
    @id("fails") @legal_basis("§ 1")
    forbid (principal in AuthorityKind::"k2", action, resource)
    when { 9223372036854775807 + 1 > 0 };
"#;

fn ask(kinds: &[&str], change: impl Fn(&mut Question)) -> Account {
    let rules = parse(&small(POLICIES)).unwrap();
    let asker = Asking {
        authority: "a".to_owned(),
        area: "here".to_owned(),
        kinds: kinds.iter().map(ToString::to_string).collect(),
    };
    let mut question = Question {
        authority: "a".to_owned(),
        register: "r".to_owned(),
        evidence_type: "t0".to_owned(),
        fields: vec!["f0".to_owned(), "f1".to_owned()],
        purpose: "p0".to_owned(),
        initiation: Initiation::Application,
        idnr_used: true,
    };
    change(&mut question);
    let account = account(&rules, &asker, "there", &question).unwrap();
    let decision = explain_as(&rules, &asker, "there", &question);
    let permitted = decision.is_ok_and(|said| said.fields.iter().all(|field| field.permitted));
    assert_eq!(account.permitted, permitted, "the account agrees with the decision");
    account
}

fn ids(voices: &[Voice]) -> Vec<&str> {
    voices.iter().map(|voice| voice.policy.as_str()).collect()
}

#[test]
fn a_permit_that_is_outweighed_is_named_too() {
    let account = ask(&["k0"], |_| ());
    let field = &account.fields[0];
    assert_eq!(
        (ids(&field.permits), ids(&field.forbids)),
        (vec!["to-k0", "again"], vec!["no-number"])
    );
    assert!(!field.permitted && field.would_be_permitted.is_empty() && account.crosses_areas);
    assert_eq!(field.permits[0].text_de, "so");
    let account = ask(&["k0"], |question| question.idnr_used = false);
    assert!(account.permitted && account.fields[0].forbids.is_empty());
}

#[test]
fn where_nothing_permits_the_nearest_question_is_named() {
    let account = ask(&["k0"], |question| {
        question.idnr_used = false;
        question.initiation = Initiation::Statutory;
        question.fields = vec!["f1".to_owned()];
    });
    let field = &account.fields[0];
    assert_eq!(field.would_be_permitted, [Otherwise::Initiation("application".to_owned())]);
    assert_eq!(
        (ids(&field.forbids), account.also_permitted),
        (vec!["special"], vec!["f0".to_owned()])
    );
    let account = ask(&["k1"], |question| question.idnr_used = false);
    assert_eq!(account.fields[0].would_be_permitted, [Otherwise::Kind("k0".to_owned())]);
    let account = ask(&["k0"], |question| {
        question.idnr_used = false;
        question.purpose = "p1".to_owned();
    });
    assert_eq!(account.fields[0].would_be_permitted, [Otherwise::Purpose("p0".to_owned())]);
}

#[test]
fn a_policy_that_fails_is_named() {
    let account = ask(&["k0", "k2"], |question| question.idnr_used = false);
    assert_eq!(ids(&account.fields[0].fails), ["fails"]);
    assert_eq!(ids(&account.fields[0].permits), ["to-k0", "again"]);
}
