// SPDX-License-Identifier: EUPL-1.2
//! No document is trusted that lacks a signature, is over, goes back, forks or does not fit the
//! others (SIGNED-ALL-THE-WAY).

use serde_json::{Value, json};

use super::*;
use crate::{
    root::{
        KeyText, RoleKeys, RootDocument,
        tests::{document as root_document, key, sign},
    },
    rules::SCHEMA,
};

/// Signs for the register authority, and for the data-protection officer.
const BOTH: [u8; 2] = [11, 21];
const AUTHORITY: [u8; 1] = [11];

/// One set of documents before it is signed.
#[derive(Clone)]
pub(super) struct Edition {
    pub(super) roots: Vec<(RootDocument, Vec<u8>)>,
    pub(super) rules: Value,
    pub(super) directory: Value,
}

impl Edition {
    pub(super) fn first() -> Self {
        Self {
            roots: Vec::new(),
            rules: json!({
                "version": 1, "issued_at_ms": 0, "expires_at_ms": 800, "schema": SCHEMA,
                "policies": "", "areas": [], "purposes": [], "evidence_types": [], "tests": [],
            }),
            directory: json!({
                "version": 1, "issued_at_ms": 0, "expires_at_ms": 600, "lowest_rules_version": 1,
                "operators": [], "authorities": [], "registers": [], "keepers": [],
                "brokers": [], "ledgers": [],
            }),
        }
    }

    /// The next version of one document, chained to the one here.
    pub(super) fn next(&self, what: &str) -> Self {
        let mut next = self.clone();
        let (document, version) = match what {
            "rules" => (&mut next.rules, &self.rules),
            _ => (&mut next.directory, &self.directory),
        };
        document["previous"] = json!(digest_of(version));
        document["version"] = json!(version["version"].as_u64().unwrap() + 1);
        if what == "rules" {
            document["change"] = json!("text_only");
        }
        next
    }

    /// With a root 2 that changes what `change` changes.
    pub(super) fn with_root(&self, change: impl Fn(&mut RootDocument), seeds: &[u8]) -> Self {
        let mut root = root_document();
        root.version = 2;
        root.previous = Some(digest_of(&root_document()));
        change(&mut root);
        Self { roots: vec![(root, seeds.to_vec())], ..self.clone() }
    }

    pub(super) fn signed(&self) -> Documents {
        self.signed_by(&BOTH, &AUTHORITY)
    }

    pub(super) fn signed_by(&self, rules: &[u8], directory: &[u8]) -> Documents {
        Documents {
            roots: self
                .roots
                .iter()
                .map(|(root, seeds)| sign(root, payload_type::ROOT, seeds))
                .collect(),
            rules: vec![sign(&self.rules, payload_type::RULES, rules)],
            directory: sign(&self.directory, payload_type::DIRECTORY, directory),
            ..Documents::default()
        }
    }
}

pub(super) fn digest_of(document: &impl Serialize) -> String {
    Digest::of(&serde_json::to_vec(document).unwrap()).to_hex()
}

pub(super) fn pinned() -> Envelope {
    sign(&root_document(), payload_type::ROOT, &[1, 2])
}

pub(super) fn accept(documents: &Documents, state: &TrustState) -> Result<TrustState, TrustError> {
    Trust::accept(&pinned(), documents, (state, None), 0).map(|(_, state)| state)
}

/// By somebody who saw nothing before.
pub(super) fn accept_fresh(documents: &Documents) -> Result<TrustState, TrustError> {
    accept(documents, &TrustState::default())
}

fn under_signed(role: Role) -> RootError {
    RootError::UnderSigned { role, got: 0, threshold: 1 }
}

pub(super) fn rollback(what: &'static str, got: u64, accepted: u64) -> TrustError {
    ChainError::Rollback { what, got, accepted }.into()
}

#[test]
fn rules_need_authority_and_officer() {
    let first = Edition::first();
    assert!(accept_fresh(&first.signed()).is_ok());
    let rules_by = |seeds: &[u8]| accept_fresh(&first.signed_by(seeds, &AUTHORITY)).err();
    let lacks = |role| Some(TrustError::RulesSignature(under_signed(role)));
    assert_eq!(rules_by(&[11]), lacks(Role::DataProtectionOfficer));
    assert_eq!(rules_by(&[11, 12]), lacks(Role::DataProtectionOfficer));
    assert_eq!(rules_by(&[11, 11]), lacks(Role::DataProtectionOfficer));
    assert_eq!(rules_by(&[21]), lacks(Role::RegisterAuthority));
    assert_eq!(rules_by(&[1, 2, 3, 31, 41]), lacks(Role::RegisterAuthority));
    assert_eq!(rules_by(&[]), lacks(Role::RegisterAuthority));
    let flooded = first.signed_by(&[[99; 15].as_slice(), &BOTH].concat(), &AUTHORITY);
    assert!(matches!(accept_fresh(&flooded), Err(TrustError::RulesSignature(_))));
}

#[test]
fn the_directory_needs_the_authority_and_nobody_else_will_do() {
    let first = Edition::first();
    for seeds in [&[21][..], &[1, 2, 3], &[31], &[41], &[99], &[]] {
        assert_eq!(
            accept_fresh(&first.signed_by(&BOTH, seeds)).err(),
            Some(TrustError::DirectorySignature(under_signed(Role::RegisterAuthority))),
            "{seeds:?}"
        );
    }
}

#[test]
fn one_key_twice_is_one_signature() {
    let mut strict = root_document();
    strict.roles.get_mut(&Role::RegisterAuthority).unwrap().threshold = 2;
    let pinned = sign(&strict, payload_type::ROOT, &[1, 2]);
    let accept = |documents: &Documents| {
        Trust::accept(&pinned, documents, (&TrustState::default(), None), 0).map(|_| ())
    };
    let first = Edition::first();
    assert_eq!(accept(&first.signed_by(&[11, 12, 21], &[12, 11])), Ok(()));
    let short = RootError::UnderSigned { role: Role::RegisterAuthority, got: 1, threshold: 2 };
    assert_eq!(
        accept(&first.signed_by(&[11, 11, 21], &[11, 12])),
        Err(TrustError::RulesSignature(short))
    );
    // Nor where the second copy hides its key's id.
    let mut documents = first.signed_by(&[11, 12, 21], &[11, 11]);
    documents.directory.signatures[1].key_id.clear();
    assert!(matches!(
        accept(&documents),
        Err(TrustError::DirectorySignature(RootError::UnderSigned { got: 1, .. }))
    ));
}

#[test]
fn one_changed_byte_is_refused() {
    let good = Edition::first().signed();
    for at in (0..good.rules[0].payload.len()).step_by(7) {
        let mut documents = good.clone();
        documents.rules[0].payload[at] ^= 1;
        assert!(matches!(accept_fresh(&documents), Err(TrustError::RulesSignature(_))), "{at}");
    }
    for at in (0..good.directory.payload.len()).step_by(7) {
        let mut documents = good.clone();
        documents.directory.payload[at] ^= 1;
        let refused = accept_fresh(&documents);
        assert!(matches!(refused, Err(TrustError::DirectorySignature(_))), "{at}");
    }
    let mut root = pinned();
    root.payload[20] ^= 1;
    assert!(matches!(
        Trust::accept(&root, &good, (&TrustState::default(), None), 0),
        Err(TrustError::Root(_))
    ));
}

#[test]
fn no_document_passes_for_another() {
    let first = Edition::first();
    let good = first.signed();
    let refused = |rules: Envelope, directory: Envelope| {
        accept_fresh(&Documents { rules: vec![rules], directory, ..Documents::default() })
            .unwrap_err()
    };
    // Rules in an envelope of type directory, in both places.
    let disguised = sign(&first.rules, payload_type::DIRECTORY, &BOTH);
    assert!(matches!(
        refused(disguised.clone(), good.directory.clone()),
        TrustError::RulesSignature(RootError::Envelope(_))
    ));
    assert!(matches!(
        refused(good.rules[0].clone(), disguised.clone()),
        TrustError::Directory(DirectoryError::Form(_))
    ));
    // The label put right afterwards is not what was signed.
    let relabelled = Envelope { payload_type: payload_type::RULES.to_owned(), ..disguised };
    assert_eq!(
        refused(relabelled, good.directory.clone()),
        TrustError::RulesSignature(under_signed(Role::RegisterAuthority))
    );
    assert!(matches!(
        refused(good.rules[0].clone(), good.rules[0].clone()),
        TrustError::DirectorySignature(RootError::Envelope(_))
    ));
}

#[test]
fn nothing_is_trusted_after_its_end() {
    let documents = Edition::first().signed();
    let at = |now| Trust::accept(&pinned(), &documents, (&TrustState::default(), None), now);
    let (trust, _) = at(599).unwrap();
    let over = |error: TrustError| match error {
        TrustError::Chain(ChainError::Expired { what, .. })
        | TrustError::Root(RootError::Chain(ChainError::Expired { what, .. })) => what,
        other => panic!("{other}"),
    };
    assert_eq!(over(at(600).unwrap_err()), "directory");
    assert_eq!(over(at(800).unwrap_err()), "rules");
    assert_eq!(over(at(1_000).unwrap_err()), "root");
    // What was accepted in time ends too; before that, what is missing is a fresh deny list.
    assert_eq!(trust.check_time(599), Err(Reason::DenyListStale));
    for now in [600, 800, 1_000, u64::MAX] {
        assert_eq!(trust.check_time(now), Err(Reason::RulesExpired));
    }
}

#[test]
fn rules_and_directory_neither_go_back_nor_fork() {
    let first = Edition::first();
    for what in ["rules", "directory"] {
        let second = first.next(what);
        // Through its stored form, as after a restart.
        let state = accept_fresh(&second.signed()).unwrap();
        let state: TrustState =
            serde_json::from_slice(&serde_json::to_vec(&state).unwrap()).unwrap();
        assert_eq!(accept(&second.signed(), &state), Ok(state.clone()));
        assert_eq!(accept(&first.signed(), &state), Err(rollback(what, 1, 2)));
        let fork = |edition: &Edition| {
            let mut fork = edition.clone();
            let document = if what == "rules" { &mut fork.rules } else { &mut fork.directory };
            document["issued_at_ms"] = json!(7);
            fork
        };
        assert_eq!(
            accept(&fork(&second).signed(), &state),
            Err(ChainError::Fork { what, version: 2 }.into())
        );
        // A third that follows the fork does not follow what was accepted.
        assert_eq!(
            accept(&fork(&second).next(what).signed(), &state),
            Err(ChainError::Previous { what, version: 3 }.into())
        );
        let third = accept(&second.next(what).signed(), &state).unwrap();
        assert_eq!(accept(&second.signed(), &third), Err(rollback(what, 2, 3)));
    }
}

#[test]
fn old_rules_do_not_mix_with_a_newer_directory() {
    let mut mixed = Edition::first().next("directory");
    mixed.directory["lowest_rules_version"] = json!(2);
    assert_eq!(accept_fresh(&mixed.signed()), Err(rollback("rules", 1, 2)));
    assert!(accept_fresh(&mixed.next("rules").signed()).is_ok());
}

#[test]
fn a_root_that_rotates_a_key_ends_the_old_one() {
    let first = Edition::first();
    let state = accept_fresh(&first.signed()).unwrap();
    let rotate = |root: &mut RootDocument| {
        let keys = vec![KeyText::from(key(13).public())];
        root.roles.insert(Role::RegisterAuthority, RoleKeys { keys, threshold: 1 });
    };
    let rotated = first.with_root(rotate, &[1, 2]);
    let lacks = || under_signed(Role::RegisterAuthority);
    let old = TrustError::RulesSignature(lacks());
    assert_eq!(accept(&rotated.signed(), &state), Err(old));
    assert_eq!(
        accept(&rotated.signed_by(&[13, 21], &AUTHORITY), &state),
        Err(TrustError::DirectorySignature(lacks()))
    );
    let state = accept(&rotated.signed_by(&[13, 21], &[13]), &state).unwrap();
    // Leaving the new root out is no way back to the old key, nor is another root 2.
    assert_eq!(accept(&first.signed(), &state), Err(rollback("root", 1, 2)));
    let other = first.with_root(|root| root.issued_at_ms = 7, &[1, 2]);
    let fork = ChainError::Fork { what: "root", version: 2 };
    assert_eq!(accept(&other.signed(), &state), Err(fork.into()));
    let unsigned = first.with_root(rotate, &[1]).signed_by(&[13, 21], &[13]);
    assert!(matches!(
        accept_fresh(&unsigned),
        Err(TrustError::Root(RootError::UnderSigned { role: Role::Root, got: 1, .. }))
    ));
    let moved = first.with_root(|root| root.trust_domain = "other.example".into(), &[1, 2]);
    assert_eq!(accept_fresh(&moved.signed()), Err(RootError::TrustDomain.into()));
}

#[test]
fn the_past_counts_signatures_and_not_the_clock() {
    let documents = Edition::first().signed();
    let past = Trust::of_the_past(&pinned(), &documents).unwrap();
    assert!(past.check_time(5_000).is_err());
    assert!(
        past.is_of(
            Digest::of(&documents.rules[0].payload),
            Digest::of(&documents.directory.payload)
        )
    );
    assert!(!past.is_of(past.directory.digest(), past.rules.digest()));
    let unsigned = Edition::first().signed_by(&[11], &AUTHORITY);
    assert!(Trust::of_the_past(&pinned(), &unsigned).is_err());
}

#[test]
fn the_past_was_signed_under_the_root_of_its_time() {
    let rotate = |root: &mut RootDocument| {
        let keys = vec![KeyText::from(key(13).public())];
        root.roles.insert(Role::RegisterAuthority, RoleKeys { keys, threshold: 1 });
    };
    let rotated = Edition::first().with_root(rotate, &[1, 2]);
    let version = |documents: &Documents| {
        Trust::of_the_past(&pinned(), documents).map(|past| past.root.document().version)
    };
    assert!(accept_fresh(&rotated.signed()).is_err());
    assert_eq!(version(&rotated.signed()), Ok(1));
    assert_eq!(version(&rotated.signed_by(&[13, 21], &[13])), Ok(2));
    // All of it under one root: a key of then and a key of now do not vouch for each other.
    let lacks = || under_signed(Role::RegisterAuthority);
    assert_eq!(
        version(&rotated.signed_by(&[13, 21], &AUTHORITY)),
        Err(TrustError::DirectorySignature(lacks()))
    );
    assert_eq!(version(&rotated.signed_by(&BOTH, &[13])), Err(TrustError::RulesSignature(lacks())));
    // And a root that nobody signed ends the walk.
    assert!(version(&Edition::first().with_root(rotate, &[1]).signed()).is_err());
}

#[test]
fn one_id_has_one_holder_of_key_cards() {
    let entered = |keeper: &str| {
        let mut edition = Edition::first();
        let keys = json!([KeyText::from(key(1).public())]);
        edition.directory["registers"] = json!([{
            "id": "standesamt", "name": "", "area": "here", "evidence_types": [], "keys": keys,
            "operators": [],
        }]);
        edition.directory["keepers"] = json!([{ "id": keeper, "name": "", "keys": keys }]);
        accept_fresh(&edition.signed()).map(|_| ())
    };
    assert_eq!(entered("keeper"), Ok(()));
    let twice = DirectoryError::Twice { id: "standesamt".into() };
    assert_eq!(entered("standesamt"), Err(twice.into()));
}
