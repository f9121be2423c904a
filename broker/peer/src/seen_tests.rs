// SPDX-License-Identifier: EUPL-1.2
//! What is remembered of checkpoints, and what is proven by it.
use einmal_protocol::{
    Digest,
    key::SigningKey,
    note::{Checkpoint, LedgerKey},
};

use super::*;

const LEDGER: &str = "einmal.example/l";

fn note(size: u64, root: &str) -> Checkpoint {
    let key = SigningKey::from_seed(&[7; 32]).unwrap();
    Checkpoint::sign(LEDGER, size, Digest::of(root.as_bytes()), &key).unwrap()
}

fn directory() -> Directory {
    let key = SigningKey::from_seed(&[7; 32]).unwrap().public().clone();
    let document = serde_json::json!({
        "version": 1, "issued_at_ms": 0, "expires_at_ms": 1, "lowest_rules_version": 1,
        "operators": [], "authorities": [], "registers": [], "auditors": [], "brokers": [],
        "keepers": [{ "id": "k", "name": "K", "keys": [einmal_policy::root::KeyText::from(&key)] }],
        "ledgers": [{
            "origin": LEDGER, "keeper": "k",
            "key": LedgerKey::new(LEDGER, key).unwrap().to_string(),
        }],
    });
    Directory::parse(document.to_string().as_bytes()).unwrap()
}

struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("einmal-seen-{}-{name}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn open(&self) -> Seen {
        Seen::open(&self.0.join("seen.json"), &directory()).unwrap()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[test]
fn one_after_another_leaves_one_and_at_one_moment_leaves_each_unproven_one() {
    let folder = Folder::new("order");
    let seen = folder.open();
    let sizes = |seen: &Seen| -> Vec<u64> {
        seen.to_hand_in(LEDGER).iter().map(Checkpoint::size).collect()
    };
    let one = note(1, "1");
    seen.advance(&one, None).unwrap();
    seen.advance(&note(4, "4"), Some(&one)).unwrap();
    assert_eq!(sizes(&seen), [4]);
    // Three answers to questions asked from 4, overtaking one another.
    let four = note(4, "4");
    for size in [7, 9, 6] {
        seen.advance(&note(size, &size.to_string()), Some(&four)).unwrap();
    }
    assert_eq!(sizes(&seen), [9, 7, 6]);
    // A stream goes on from its own: what it extends needs no check any more.
    seen.advance(&note(8, "8"), Some(&note(6, "6"))).unwrap();
    assert_eq!(sizes(&seen), [9, 7, 8]);
    // After a restart they are still to be handed in; what the keeper knows is let go.
    seen.save().unwrap();
    let seen = folder.open();
    seen.found_consistent(&note(7, "7"));
    seen.found_consistent(&note(9, "9"));
    assert_eq!(sizes(&seen), [9, 8], "the last one stays");
    seen.suspect(&note(20, "x"));
    assert_eq!(seen.last(LEDGER).unwrap().size(), 9, "nothing is asked from what is unproven");
    assert!(seen.is_pressing(LEDGER) && seen.check(LEDGER).is_ok());
    for size in 100..1000 {
        seen.suspect(&note(size, "flood"));
        seen.advance(&note(size, "true"), Some(&one)).unwrap();
    }
    assert_eq!(sizes(&seen).len(), 1 + LOOSE_MAX + SUSPECTS_MAX);
    assert_eq!(seen.last(LEDGER).unwrap().size(), 999);
    seen.suspect(&note(999, "other"));
    assert!(seen.check(LEDGER).is_err(), "nobody needs to be asked about this one");
}

#[test]
fn two_histories_are_kept_as_proof_and_end_all_trust_until_a_person_looked() {
    let folder = Folder::new("fork");
    let seen = folder.open();
    let (one, other) = (note(5, "one"), note(5, "other"));
    seen.advance(&note(3, "3"), None).unwrap();
    seen.advance(&one, Some(&note(3, "3"))).unwrap();
    seen.advance(&note(6, "6"), Some(&note(3, "3"))).unwrap();
    assert!(seen.check(LEDGER).is_ok());
    // It contradicts a loose one, in a smaller tree than the last.
    assert!(seen.advance(&other, Some(&note(3, "3"))).is_err());
    assert!(seen.advance(&note(7, "7"), Some(&note(6, "6"))).is_err(), "nothing is believed now");
    let again = folder.open();
    assert!(again.check(LEDGER).is_err(), "a restart alone mends nothing");
    let file = folder.0.join("forks.json");
    let forks: BTreeMap<String, Fork> =
        serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
    let fork = Fork { shown: other.note().to_owned(), other: one.note().to_owned() };
    assert_eq!(forks, BTreeMap::from([(LEDGER.to_owned(), fork)]));
    std::fs::remove_file(file).unwrap();
    assert!(folder.open().check(LEDGER).is_ok());
}

#[test]
fn ledgers_that_fork_at_one_moment_are_all_kept_in_the_file() {
    let folder = Folder::new("at-once");
    let key = SigningKey::from_seed(&[7; 32]).unwrap();
    let seen = folder.open();
    let origins: Vec<String> = (0..64).map(|number| format!("einmal.example/{number}")).collect();
    std::thread::scope(|scope| {
        for origin in &origins {
            let (seen, key) = (&seen, &key);
            let of = move |root: &str| {
                Checkpoint::sign(origin, 1, Digest::of(root.as_bytes()), key).unwrap()
            };
            scope.spawn(move || seen.mark_forked(&of("1"), &of("2")));
        }
    });
    let again = folder.open();
    for origin in &origins {
        assert!(again.check(origin).is_err(), "{origin} is believed again after a restart");
    }
}
