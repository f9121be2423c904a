// SPDX-License-Identifier: EUPL-1.2
//! The deny list only narrows and cannot be withheld; rules that one role signed only narrow; a
//! thief's highest version is survived.

use serde_json::{Value, json};

use super::{
    tests::{Edition, accept, accept_fresh, digest_of, pinned, rollback},
    *,
};
use crate::{
    decide::tests::{deployed, offices, question},
    deny::{DenyDocument, DenyEntry},
    root::{
        KeyText, RoleKeys, RootDocument,
        tests::{key, sign},
    },
};

const EMERGENCY: [u8; 1] = [31];
const ONLINE: [u8; 1] = [41];
const BOTH: [u8; 2] = [11, 21];

fn list(version: u64, previous: Option<&Value>, entries: Value) -> Value {
    let mut list = json!({ "version": version, "issued_at_ms": 0, "entries": entries });
    if let Some(previous) = previous {
        list["previous"] = json!(digest_of(previous));
    }
    list
}

fn entry(id: &str, what: &str, value: Value) -> Value {
    json!({ "id": id, "reason": "a test", what: value })
}

fn with_deny(documents: &Documents, list: &Value, seeds: &[u8]) -> Documents {
    let deny = Some(sign(list, payload_type::DENY, seeds));
    Documents { deny, ..documents.clone() }
}

/// Says that these documents are the newest.
fn fresh(documents: &Documents, issued_at_ms: u64, seeds: &[u8]) -> Documents {
    let of = |envelope: &Envelope| {
        let document: Value = serde_json::from_slice(&envelope.payload).unwrap();
        let digest = Digest::of(&envelope.payload).to_hex();
        Accepted { version: document["version"].as_u64().unwrap(), digest }
    };
    let freshness = Freshness {
        issued_at_ms,
        rules: of(documents.rules.last().unwrap()),
        directory: of(&documents.directory),
        deny: of(documents.deny.as_ref().unwrap()),
    };
    let freshness = Some(sign(&freshness, payload_type::FRESHNESS, seeds));
    Documents { freshness, ..documents.clone() }
}

fn empty() -> Documents {
    with_deny(&Edition::first().signed(), &list(1, None, json!([])), &EMERGENCY)
}

#[test]
fn without_a_fresh_deny_list_nothing_is_decided() {
    let at = |documents: &Documents, now_ms| {
        let nothing = TrustState::default();
        let (trust, _) = Trust::accept(&pinned(), documents, (&nothing, None), 0).unwrap();
        trust.check_time(now_ms)
    };
    assert_eq!(at(&Edition::first().signed(), 0), Err(Reason::DenyListStale));
    assert_eq!(at(&empty(), 0), Err(Reason::DenyListStale));
    assert_eq!(at(&fresh(&empty(), 0, &ONLINE), 599), Ok(()));
    // The documents of these tests end at 600, so that freshness is looked at on its own.
    let (trust, state) = {
        let nothing = TrustState::default();
        let documents = fresh(&empty(), 0, &ONLINE);
        Trust::accept(&pinned(), &documents, (&nothing, None), 0).unwrap()
    };
    assert_eq!(trust.fresh_until_ms, STALE_MS_OF_DESIGN);
    let later = accept(&fresh(&empty(), 500, &ONLINE), &state).unwrap();
    assert_eq!(later.fresh_at_ms, 500);
    let older = accept(&fresh(&empty(), 499, &ONLINE), &later);
    assert_eq!(older, Err(FreshnessError::Older.into()));
    let ahead = accept_fresh(&fresh(&empty(), 2 * 60_000 + 1, &ONLINE));
    assert_eq!(ahead, Err(FreshnessError::Ahead.into()));
    for seeds in [&[31][..], &[11, 21], &[1, 2, 3], &[]] {
        let refused = accept_fresh(&fresh(&empty(), 0, seeds)).unwrap_err();
        assert!(
            matches!(refused, TrustError::Freshness(FreshnessError::Signature(_))),
            "{refused}"
        );
    }
}

const STALE_MS_OF_DESIGN: u64 = 3_600_000;

#[test]
fn an_old_deny_list_rules_or_directory_cannot_be_served_as_the_newest() {
    let first = list(1, None, json!([]));
    let second = list(2, Some(&first), json!([entry("stop", "everything", json!(true))]));
    let old = with_deny(&Edition::first().signed(), &first, &EMERGENCY);
    let new = with_deny(&Edition::first().signed(), &second, &EMERGENCY);
    let withheld = |documents: Documents| match accept_fresh(&documents) {
        Err(TrustError::Freshness(FreshnessError::Withheld { what, got: 1, newest: 2 })) => what,
        other => panic!("{other:?}"),
    };
    let word = |newest: &Documents| fresh(newest, 0, &ONLINE).freshness;
    // The broker hands out the online key's newest word with older documents.
    assert_eq!(withheld(Documents { freshness: word(&new), ..old.clone() }), "deny list");
    for what in ["rules", "directory"] {
        let newer = with_deny(&Edition::first().next(what).signed(), &first, &EMERGENCY);
        assert_eq!(withheld(Documents { freshness: word(&newer), ..old.clone() }), what);
    }
    // Documents that are newer than the word count at once.
    assert!(accept_fresh(&Documents { freshness: word(&old), ..new.clone() }).is_ok());
    // And for whoever saw the newer list, the older is gone.
    let state = accept_fresh(&fresh(&new, 0, &ONLINE)).unwrap();
    assert_eq!(
        accept(&fresh(&old, 0, &ONLINE), &state),
        Err(TrustError::Deny(DenyError::Chain(ChainError::Rollback {
            what: "deny list",
            got: 1,
            accepted: 2
        })))
    );
    // Nor does leaving it out help: then nothing is decided.
    let none = Documents { deny: None, ..old };
    let (trust, kept) = Trust::accept(&pinned(), &none, (&state, None), 0).unwrap();
    assert_eq!(trust.check_time(0), Err(Reason::DenyListStale));
    assert_eq!(kept.deny, state.deny);
}

#[test]
fn only_who_signs_rules_lifts_an_entry() {
    let first = list(1, None, json!([entry("one", "authority", json!("office"))]));
    let held = with_deny(&Edition::first().signed(), &first, &EMERGENCY);
    let nothing = TrustState::default();
    let (trust, state) = Trust::accept(&pinned(), &held, (&nothing, None), 0).unwrap();
    let next = |entries: Value, seeds: &[u8]| {
        let list = list(2, Some(&first), entries);
        let documents = with_deny(&held, &list, seeds);
        Trust::accept(&pinned(), &documents, (&state, Some(&trust)), 0).map(|_| ())
    };
    let lifted = || Err(TrustError::Deny(DenyError::Lifted { id: "one".into() }));
    assert_eq!(next(json!([]), &EMERGENCY), lifted());
    // Made narrower in what it forbids is lifted, too.
    let weaker =
        json!([{ "id": "one", "reason": "a test", "authority": "office", "purpose": "p" }]);
    assert_eq!(next(weaker, &EMERGENCY), lifted());
    assert_eq!(next(json!([]), &BOTH), Ok(()));
    for one in [&[11][..], &[21], &[41], &[1, 2, 3], &[99], &[]] {
        let refused = next(json!([]), one).unwrap_err();
        assert!(matches!(refused, TrustError::Deny(DenyError::Signature(_))), "{one:?}: {refused}");
    }
    let more = json!([
        entry("one", "authority", json!("office")),
        entry("two", "purpose", json!("census")),
    ]);
    assert_eq!(next(more, &EMERGENCY), Ok(()));
}

#[test]
fn a_deny_list_has_no_words_to_widen_with() {
    let parse = |entries: Value| {
        let bytes = serde_json::to_vec(&list(1, None, entries)).unwrap();
        DenyList::parse(&bytes).map(|_| ())
    };
    let with = |key: &str, value: Value| {
        let mut entry = entry("one", "authority", json!("office"));
        entry[key] = value;
        parse(json!([entry]))
    };
    assert_eq!(with("purpose", json!("census")), Ok(()));
    for (key, value) in [
        ("permit", json!(true)),
        ("effect", json!("permit")),
        ("unless", json!({})),
        ("until_ms", json!(5)),
    ] {
        assert!(matches!(with(key, value), Err(DenyError::Form(_))), "{key}");
    }
    let malformed = |entries: Value| match parse(entries) {
        Err(DenyError::Entry { problem, .. }) => problem,
        other => panic!("{other:?}"),
    };
    assert!(malformed(json!([{ "id": "one", "reason": "r" }])).contains("nothing"));
    assert!(malformed(json!([entry("Оne", "authority", json!("a"))])).contains("malformed"));
    assert!(malformed(json!([entry("one", "field", json!("a"))])).contains("evidence type"));
    let mut both = entry("one", "authority", json!("a"));
    both["everything"] = json!(true);
    assert!(malformed(json!([both])).contains("alone"));
    let same = entry("one", "authority", json!("a"));
    assert!(malformed(json!([same, same])).contains("twice"));
    let many: Vec<Value> =
        (0..1_001).map(|n| entry(&format!("e{n}"), "authority", json!("a"))).collect();
    assert!(matches!(parse(json!(many)), Err(DenyError::Form(_))));
}

/// Trust over the rules and directory of the decision's tests.
fn deciding(entries: Value) -> Trust {
    let nothing = TrustState::default();
    let documents = with_deny(&Edition::first().signed(), &list(1, None, entries), &EMERGENCY);
    let (mut trust, _) = Trust::accept(&pinned(), &documents, (&nothing, None), 0).unwrap();
    trust.rules = Arc::new(Rules::parse(&deployed()).unwrap());
    trust.whole_directory = Arc::new(offices());
    trust.directory = Arc::clone(&trust.whole_directory);
    trust.leave_out(None);
    trust
}

#[test]
fn each_kind_of_entry_forbids_what_it_names_and_nothing_else() {
    let question = question();
    let decide = |entries: Value| deciding(entries).decide(&question, Digest::of(b"request"));
    assert!(decide(json!([])).is_ok());
    let broader =
        deciding(json!([])).rules.with_broader(&question.purpose).pop().map(str::to_owned);
    let kinds = deciding(json!([])).directory.authority(&question.authority).unwrap().clone();
    let field = question.fields[0].clone();
    for (what, value) in [
        ("authority", json!(question.authority)),
        ("authority_kind", json!(kinds.entry.kinds[0])),
        ("register", json!(question.register)),
        ("evidence_type", json!(question.evidence_type)),
        ("purpose", json!(question.purpose)),
        ("purpose", json!(broader)),
        ("everything", json!(true)),
    ] {
        let refused = decide(json!([entry("stop", what, value)])).unwrap_err();
        assert_eq!(refused.reason, Reason::Denied, "{what}");
        assert_eq!(refused.fields.len(), question.fields.len());
        assert!(refused.fields.iter().all(|field| field.policies == ["deny:stop"]));
        if what != "everything" {
            assert!(decide(json!([entry("stop", what, json!("another"))])).is_ok(), "{what}");
        }
    }
    let both = |name: &str| {
        let mut one = entry("stop", "evidence_type", json!(question.evidence_type));
        one["field"] = json!(name);
        decide(json!([one]))
    };
    assert_eq!(both(&field).unwrap_err().fields.len(), 1);
    assert!(both("another").is_ok());
    // All that an entry names must fit.
    let mut narrow = entry("stop", "authority", json!(question.authority));
    narrow["purpose"] = json!("another");
    assert!(decide(json!([narrow])).is_ok());
}

#[test]
fn denied_keys_and_operators_are_taken_out_of_the_directory() {
    let bad = KeyText::from(key(7).public());
    let mut edition = Edition::first();
    edition.directory["operators"] = json!([{ "id": "it", "name": "IT" }]);
    edition.directory["authorities"] = json!([{
        "id": "office", "name": "", "area": "here", "kinds": [], "operators": ["it"],
        "keys": [bad, KeyText::from(key(8).public())],
    }]);
    let trust = |entries: Value| {
        let nothing = TrustState::default();
        let documents = with_deny(&edition.signed(), &list(1, None, entries), &EMERGENCY);
        Trust::accept(&pinned(), &documents, (&nothing, None), 0).unwrap().0
    };
    let whole = trust(json!([]));
    let denied =
        trust(json!(
            [entry("key", "key", json!(bad)), entry("operator", "operator", json!("it")),]
        ));
    let keys = |directory: &Directory| directory.authority("office").unwrap().keys.len();
    assert!(whole.directory.may_carry_for_authority("it", "office"));
    assert!(!denied.directory.may_carry_for_authority("it", "office"));
    assert!(!denied.directory.has_operator("it"));
    assert_eq!((keys(&whole.directory), keys(&denied.directory)), (2, 1));
    // What was signed before is still verified with what was signed then.
    assert_eq!(keys(denied.signed_directory()), 2);
    // The permit names what was signed, so both ends still agree.
    assert_eq!(denied.directory.digest(), whole.directory.digest());
}

/// Rules that follow the first by one more policy.
fn followed_by(first: &Edition, policy: &str, change: &str) -> Edition {
    let mut next = first.next("rules");
    next.rules["policies"] = json!(policy);
    next.rules["change"] = json!(change);
    next
}

const FORBID: &str = "@id(\"stop\") @legal_basis(\"§ 1\") @text_de(\"Nein.\") @text_en(\"No.\") \
    forbid (principal, action == Action::\"retrieve\", resource);";
const PERMIT: &str = "@id(\"go\") @legal_basis(\"§ 1\") @text_de(\"Ja.\") @text_en(\"Yes.\") \
    permit (principal, action == Action::\"retrieve\", resource);";

#[test]
fn granting_needs_both_signers_and_narrowing_one() {
    let first = Edition::first();
    let base = first.signed();
    let chain = |next: &Edition, seeds: &[u8]| {
        let mut documents = base.clone();
        documents.rules.push(sign(&next.rules, payload_type::RULES, seeds));
        accept_fresh(&documents).map(|state| state.rules.unwrap().version)
    };
    let narrows = followed_by(&first, FORBID, "narrows");
    assert_eq!(chain(&narrows, &[11]), Ok(2));
    assert_eq!(chain(&narrows, &[21]), Ok(2));
    assert_eq!(chain(&narrows, &BOTH), Ok(2));
    for none in [&[31][..], &[41], &[1, 2, 3], &[99], &[]] {
        assert!(matches!(chain(&narrows, none), Err(TrustError::RulesSignature(_))), "{none:?}");
    }
    let widens = followed_by(&first, PERMIT, "widens");
    assert_eq!(chain(&widens, &[11]), Err(TrustError::OneSigner));
    assert_eq!(chain(&widens, &[21]), Err(TrustError::OneSigner));
    assert_eq!(chain(&widens, &BOTH), Ok(2));
    // What the rules say of themselves is derived again, whoever signed.
    let lies = followed_by(&first, PERMIT, "narrows");
    for seeds in [&[21][..], &BOTH] {
        assert_eq!(
            chain(&lies, seeds),
            Err(TrustError::Change(ChangeError {
                declared: Some(Change::Narrows),
                derived: Change::Widens
            }))
        );
    }
    // Alone nobody makes rules live longer.
    let mut longer = narrows.clone();
    longer.rules["expires_at_ms"] = json!(801);
    assert_eq!(chain(&longer, &[21]), Err(TrustError::OneSigner));
    // Nor are rules that one signed a beginning.
    let alone =
        Documents { rules: vec![sign(&narrows.rules, payload_type::RULES, &[11])], ..base.clone() };
    assert!(matches!(accept_fresh(&alone), Err(TrustError::RulesSignature(_))));
    // Nor do they follow others than they name.
    let mut stray = narrows.clone();
    stray.rules["previous"] = json!(digest_of(&"other"));
    assert!(matches!(chain(&stray, &[11]), Err(TrustError::Chain(ChainError::Previous { .. }))));
    // Whoever holds the version before derives it too, without the chain.
    let nothing = TrustState::default();
    let (held, state) = Trust::accept(&pinned(), &base, (&nothing, None), 0).unwrap();
    let refused = Trust::accept(&pinned(), &lies.signed(), (&state, Some(&held)), 0).unwrap_err();
    assert!(matches!(refused, TrustError::Change(_)), "{refused}");
}

#[test]
fn a_thief_s_highest_version_is_survived_once_all_keys_of_the_role_are_replaced() {
    let first = Edition::first();
    let mut stolen = first.clone();
    stolen.directory["version"] = json!(u64::MAX);
    stolen.directory["previous"] = json!("skipped");
    let last = list(u64::MAX, None, json!([]));
    let mut last = last;
    last["previous"] = json!("skipped");
    let documents = with_deny(&stolen.signed(), &last, &EMERGENCY);
    let state = accept_fresh(&documents).unwrap();
    let good = first.next("directory");
    let deny = list(2, Some(&list(1, None, json!([]))), json!([]));
    assert!(matches!(accept(&good.signed(), &state), Err(TrustError::Chain(_))));
    let replace = |role: Role, seeds: &[u8], root: &mut RootDocument| {
        let keys = seeds.iter().map(|seed| KeyText::from(key(*seed).public())).collect();
        root.roles.insert(role, RoleKeys { keys, threshold: 1 });
    };
    // Keys 11 and 12 could sign; while 12 stays, so do the versions that it signed.
    let one = good.with_root(|root| replace(Role::RegisterAuthority, &[12, 13], root), &[1, 2]);
    assert_eq!(
        accept(&one.signed_by(&[13, 21], &[13]), &state),
        Err(rollback("directory", 2, u64::MAX))
    );
    let all = good.with_root(
        |root| {
            replace(Role::RegisterAuthority, &[13, 14], root);
            replace(Role::Emergency, &[33], root);
        },
        &[1, 2],
    );
    let recovered = with_deny(&all.signed_by(&[13, 21], &[13]), &deny, &[33]);
    let after = accept(&recovered, &state).unwrap();
    assert_eq!(after.directory.as_ref().map(|found| found.version), Some(2));
    assert_eq!(after.deny.as_ref().map(|found| found.version), Some(2));
    // And from there on nothing goes back.
    let back = with_deny(
        &first
            .with_root(
                |root| {
                    replace(Role::RegisterAuthority, &[13, 14], root);
                    replace(Role::Emergency, &[33], root);
                },
                &[1, 2],
            )
            .signed_by(&[13, 21], &[13]),
        &deny,
        &[33],
    );
    assert_eq!(accept(&back, &after), Err(rollback("directory", 1, 2)));
}

/// What was signed must be read for years: these bytes stay.
#[test]
fn signed_forms_have_these_bytes() {
    let entry = DenyEntry {
        id: "stop".into(),
        reason: "a test".into(),
        authority: Some("office".into()),
        ..DenyEntry::default()
    };
    let list = DenyDocument {
        version: 2,
        previous: Some("ab".into()),
        issued_at_ms: 7,
        entries: vec![entry],
    };
    let golden = r#"{"version":2,"previous":"ab","issued_at_ms":7,"entries":[{"id":"stop","reason":"a test","authority":"office"}]}"#;
    assert_eq!(serde_json::to_string(&list).unwrap(), golden);
    assert_eq!(DenyList::parse(golden.as_bytes()).unwrap().document(), &list);
    let of = |version| Accepted { version, digest: "cd".into() };
    let fresh = Freshness { issued_at_ms: 7, rules: of(1), directory: of(2), deny: of(3) };
    let golden = r#"{"issued_at_ms":7,"rules":{"version":1,"digest":"cd"},"directory":{"version":2,"digest":"cd"},"deny":{"version":3,"digest":"cd"}}"#;
    assert_eq!(serde_json::to_string(&fresh).unwrap(), golden);
    // And each has a type of its own, so that none passes for another.
    assert_eq!(payload_type::DENY, "application/vnd.einmal.deny.v1+json");
    assert_eq!(payload_type::FRESHNESS, "application/vnd.einmal.freshness.v1+json");
}

#[test]
fn no_signature_of_another_type_counts() {
    let documents = fresh(&empty(), 0, &ONLINE);
    let deny = documents.deny.clone().unwrap();
    let directory = &documents.directory;
    for kind in [payload_type::RULES, payload_type::FRESHNESS, "", "application/json"] {
        let relabelled = Envelope { payload_type: kind.to_owned(), ..deny.clone() };
        let relabelled = Documents { deny: Some(relabelled), ..documents.clone() };
        assert!(matches!(accept_fresh(&relabelled), Err(TrustError::Deny(_))), "{kind}");
    }
    let other = Documents { deny: Some(directory.clone()), ..documents.clone() };
    assert!(matches!(accept_fresh(&other), Err(TrustError::Deny(DenyError::Signature(_)))));
    // Signed over the same document in other bytes.
    let mut spaced = deny.clone();
    spaced.payload.insert(1, b' ');
    let spaced = Documents { deny: Some(spaced), ..documents };
    assert!(matches!(accept_fresh(&spaced), Err(TrustError::Deny(DenyError::Signature(_)))));
}

/// Documents and directory of different worlds do not mix, whatever their versions.
#[test]
fn worlds_do_not_mix() {
    let ours = fresh(&empty(), 0, &ONLINE);
    let state = accept_fresh(&ours).unwrap();
    let foreign = |seeds: &[u8]| {
        sign(&list(2, Some(&list(1, None, json!([]))), json!([])), payload_type::DENY, seeds)
    };
    let mixed = Documents { deny: Some(foreign(&[77])), ..ours.clone() };
    assert!(matches!(accept(&mixed, &state), Err(TrustError::Deny(DenyError::Signature(_)))));
    // Another list of the same version, by the right key.
    let mut other = list(1, None, json!([]));
    other["issued_at_ms"] = json!(9);
    let fork = with_deny(&ours, &other, &EMERGENCY);
    assert!(matches!(
        accept(&fork, &state),
        Err(TrustError::Deny(DenyError::Chain(ChainError::Fork { .. })))
    ));
    // Or named by the online key, though another one is at hand.
    assert!(matches!(
        accept_fresh(&fork),
        Err(TrustError::Freshness(FreshnessError::Chain(ChainError::Fork { .. })))
    ));
}
