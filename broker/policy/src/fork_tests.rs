// SPDX-License-Identifier: EUPL-1.2
//! No way around what was accepted: neither a chain of rules that one signer began further back,
//! nor roots that replaced keys signed.

use serde_json::json;

use super::{
    tests::{Edition, accept, accept_fresh, digest_of, pinned},
    *,
};
use crate::root::{
    KeyText, RoleKeys, RootDocument,
    tests::{document as root_document, key, sign},
};

fn policy(id: &str, effect: &str, condition: &str) -> String {
    format!(
        "@id(\"{id}\") @legal_basis(\"§ 1\") @text_de(\"Ja.\") @text_en(\"Yes.\") \
         {effect} (principal, action == Action::\"retrieve\", resource) {condition};"
    )
}

/// Rules after `before`, with these policies.
fn following(before: &Edition, policies: &str, change: &str) -> Edition {
    let mut next = before.next("rules");
    next.rules["policies"] = json!(policies);
    next.rules["change"] = json!(change);
    next
}

fn rules_signed(edition: &Edition, seeds: &[u8]) -> Envelope {
    sign(&edition.rules, payload_type::RULES, seeds)
}

/// Both signers took a grant back. One of them goes round that, from the rules before, over steps
/// that only narrow.
#[test]
fn one_signer_does_not_go_round_what_both_took_back() {
    let mut wide = Edition::first();
    let open = policy("go", "permit", "");
    wide.rules["policies"] = json!(open);
    let both = following(&wide, "", "narrows").signed();
    let state = accept_fresh(&both).unwrap();
    let mut detour = wide.signed();
    let mut last = wide.clone();
    let mut policies = open;
    for condition in ["idnr_used", "crosses_areas", "idnr_used == false"] {
        let when = format!("when {{ context.{condition} }}");
        policies += &policy(&format!("n{}", policies.len()), "forbid", &when);
        last = following(&last, &policies, "narrows");
        detour.rules.push(rules_signed(&last, &[21]));
    }
    let fork = || TrustError::Chain(ChainError::Fork { what: "rules", version: 2 });
    assert_eq!(accept(&detour, &state), Err(fork()));
    // What leads over it goes on.
    let stop = policy("stop", "forbid", "");
    let over = following(&following(&wide, "", "narrows"), &stop, "narrows");
    let mut straight = both;
    straight.rules.push(rules_signed(&over, &[21]));
    assert_eq!(accept(&straight, &state).map(|state| state.rules.unwrap().version), Ok(3));
}

/// Whoever narrows alone changes no word that a citizen reads of what goes on being permitted.
#[test]
fn one_signer_changes_no_words_of_policies() {
    let mut wide = Edition::first();
    wide.rules["policies"] = json!(policy("go", "permit", "") + &policy("also", "permit", ""));
    let narrowed = |policies: &str| {
        let mut documents = wide.signed();
        let next = following(&wide, policies, "narrows");
        documents.rules.push(rules_signed(&next, &[11]));
        accept_fresh(&documents).map(|_| ())
    };
    let go = policy("go", "permit", "when { context.idnr_used }");
    assert_eq!(narrowed(&go), Ok(()));
    assert_eq!(narrowed(&(go.clone() + &policy("stop", "forbid", ""))), Ok(()));
    for (from, to) in [("§ 1", "§ 2"), ("Ja.", "Nein."), ("Yes.", "No."), ("\"go\"", "\"went\"")]
    {
        assert_eq!(narrowed(&go.replace(from, to)), Err(TrustError::OneSigner), "{to}");
    }
}

/// The keys of root 1 were replaced, and then stolen: they make no other root 2 for whoever has
/// seen the real one, though the documents beside the state were lost.
#[test]
fn replaced_root_keys_do_not_go_round_the_root_that_replaced_them() {
    let next = |before: &RootDocument, seeds: &[u8], at| {
        let keys = seeds.iter().map(|seed| KeyText::from(key(*seed).public())).collect();
        let mut root = before.clone();
        root.version += 1;
        root.previous = Some(digest_of(before));
        root.issued_at_ms = at;
        root.roles.insert(Role::Root, RoleKeys { keys, threshold: 2 });
        root
    };
    let over = |roots: &[(&RootDocument, &[u8])]| {
        let roots = roots.iter().map(|(root, seeds)| sign(*root, payload_type::ROOT, seeds));
        Documents { roots: roots.collect(), ..Edition::first().signed() }
    };
    let second = next(&root_document(), &[4, 5], 0);
    let good = over(&[(&second, &[1, 2, 4, 5])]);
    let state = accept_fresh(&good).unwrap();
    let other = next(&root_document(), &[6, 7], 1);
    let third = next(&other, &[6, 7], 2);
    let stolen = over(&[(&other, &[1, 2, 6, 7]), (&third, &[6, 7])]);
    let fork = ChainError::Fork { what: "root", version: 2 };
    assert_eq!(accept(&stolen, &state), Err(fork.into()));
    let third = next(&second, &[4, 5], 2);
    let good = over(&[(&second, &[1, 2, 4, 5]), (&third, &[4, 5])]);
    assert_eq!(accept(&good, &state).map(|state| state.root.unwrap().version), Ok(3));
    assert!(Trust::accept(&pinned(), &stolen, (&TrustState::default(), None), 0).is_ok());
}
