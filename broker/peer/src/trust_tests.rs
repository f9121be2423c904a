// SPDX-License-Identifier: EUPL-1.2
//! What was accepted is not lost: neither to another process in the same folder, nor to time; and
//! what nobody signed is not kept.

use einmal_policy::{
    Role,
    root::{KeyText, RoleKeys, RootDocument},
    rules::SCHEMA,
};
use einmal_protocol::{envelope::payload_type, key::SigningKey};
use serde_json::{Value, json};

use super::*;

fn sign(document: &impl serde::Serialize, kind: &str, seeds: &[u8]) -> Envelope {
    let key = |seed: &u8| SigningKey::from_seed(&[*seed; 32]).unwrap();
    let keys: Vec<SigningKey> = seeds.iter().map(key).collect();
    let keys: Vec<&SigningKey> = keys.iter().collect();
    Envelope::sign(kind, serde_json::to_vec(document).unwrap(), &keys).unwrap()
}

fn pinned(version: u64) -> Envelope {
    let role = |seed: u8| RoleKeys {
        keys: vec![KeyText::from(SigningKey::from_seed(&[seed; 32]).unwrap().public())],
        threshold: 1,
    };
    let root = RootDocument {
        version,
        previous: (version > 1).then(|| "of old".to_owned()),
        issued_at_ms: 0,
        expires_at_ms: 1_000,
        trust_domain: "einmal.example".into(),
        roles: [
            (Role::Root, role(1)),
            (Role::RegisterAuthority, role(2)),
            (Role::DataProtectionOfficer, role(3)),
            (Role::Emergency, role(4)),
            (Role::Online, role(5)),
        ]
        .into(),
    };
    sign(&root, payload_type::ROOT, &[1])
}

fn directory(version: u64, expires_at_ms: u64) -> Envelope {
    let mut document = json!({
        "version": version, "issued_at_ms": 0, "expires_at_ms": expires_at_ms,
        "lowest_rules_version": 1, "operators": [], "authorities": [], "registers": [],
        "keepers": [], "brokers": [], "ledgers": [],
    });
    if version > 1 {
        let before = directory(version - 1, 600);
        document["previous"] = json!(Digest::of(&before.payload).to_hex());
    }
    sign(&document, payload_type::DIRECTORY, &[2])
}

fn deny(version: u64, previous: Option<&Envelope>, entries: Value) -> Envelope {
    let previous = previous.map(|one| Digest::of(&one.payload).to_hex());
    let mut document = json!({ "version": version, "issued_at_ms": 0, "entries": entries });
    if let Some(previous) = previous {
        document["previous"] = json!(previous);
    }
    sign(&document, payload_type::DENY, &[4])
}

fn offer() -> Offer {
    let rules = json!({
        "version": 1, "issued_at_ms": 0, "expires_at_ms": 800, "schema": SCHEMA, "policies": "",
        "areas": [], "purposes": [], "evidence_types": [], "tests": [],
    });
    Offer {
        rules: vec![sign(&rules, payload_type::RULES, &[2, 3])],
        directory: Some(directory(1, 600)),
        deny: Some(deny(1, None, json!([{ "id": "one", "reason": "r", "everything": true }]))),
        ..Offer::default()
    }
}

fn state_file(name: &str) -> PathBuf {
    let folder = std::env::temp_dir().join(format!("einmal-trust-{name}-{}", std::process::id()));
    let _absent = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(&folder).unwrap();
    folder.join("trust.json")
}

#[test]
fn what_another_process_accepted_in_the_same_folder_is_not_rolled_back() {
    let file = state_file("two");
    let open = || TrustStore::open(pinned(1), offer(), &file, 0).unwrap();
    let (one, other) = (open(), open());
    let newer = Offer { directory: Some(directory(2, 600)), ..Offer::default() };
    assert!(one.take(&newer, 0).unwrap());
    // The other is told of something else, and nothing of that.
    let held = deny(1, None, json!([{ "id": "one", "reason": "r", "everything": true }]));
    let more = json!([
        { "id": "one", "reason": "r", "everything": true },
        { "id": "two", "reason": "r", "authority": "office" },
    ]);
    let list = Offer { deny: Some(deny(2, Some(&held), more)), ..Offer::default() };
    assert!(other.take(&list, 0).unwrap());
    assert_eq!(other.current().directory.document().version, 2);
    let state = stored(&file).unwrap().unwrap();
    assert_eq!([state.directory, state.deny].map(|one| one.unwrap().version), [2, 2]);
    let _gone = std::fs::remove_dir_all(file.parent().unwrap());
}

#[test]
fn one_signer_lifts_nothing_although_all_expired_meanwhile() {
    let file = state_file("late");
    drop(TrustStore::open(pinned(1), offer(), &file, 0).unwrap());
    let held = offer().deny.unwrap();
    let late = |entries: Value| {
        let deny = Some(deny(2, Some(&held), entries));
        let offer = Offer { directory: Some(directory(2, 900)), deny, ..offer() };
        TrustStore::inspect(&pinned(1), &offer, &file, 700).map(|_| ())
    };
    let lifted = late(json!([])).unwrap_err();
    assert!(lifted.to_string().contains("lifted"), "{lifted}");
    late(json!([{ "id": "one", "reason": "r", "everything": true }])).unwrap();
    let _gone = std::fs::remove_dir_all(file.parent().unwrap());
}

#[test]
fn roots_that_nobody_signed_are_neither_kept_nor_handed_on() {
    let file = state_file("junk");
    let store = TrustStore::open(pinned(3), offer(), &file, 0).unwrap();
    let mut junk: Value = serde_json::from_slice(&pinned(2).payload).unwrap();
    junk["trust_domain"] = json!("x".repeat(1_000));
    let junk = sign(&junk, payload_type::ROOT, &[]);
    assert!(!store.take(&Offer { roots: vec![junk; 3], ..Offer::default() }, 0).unwrap());
    assert_eq!(store.unknown(&[]).roots, []);
    let many = Offer { roots: vec![Envelope::default(); 2_000], ..Offer::default() };
    assert!(matches!(store.take(&many, 0), Err(TrustStoreError::TooMuch)));
    let _gone = std::fs::remove_dir_all(file.parent().unwrap());
}
