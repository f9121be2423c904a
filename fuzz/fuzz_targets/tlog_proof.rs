// SPDX-License-Identifier: EUPL-1.2
//! Files of proofs: what is read is written the same, and behind a good signature only the true
//! leaf's proof holds.
#![no_main]

use std::sync::LazyLock;

use einmal_protocol::{
    Digest,
    key::SigningKey,
    leaf::{Leaf, LeafKind},
    merkle::{leaf_hash, node_hash},
    note::{Checkpoint, LedgerKey},
    tlog_proof::{HEADER, Quorum, TlogProof},
};
use libfuzzer_sys::fuzz_target;

static KEY: LazyLock<SigningKey> =
    LazyLock::new(|| SigningKey::from_seed(&[1; 32]).expect("a seed of 32 bytes"));
static LEDGER: LazyLock<LedgerKey> =
    LazyLock::new(|| LedgerKey::new("l", KEY.public().clone()).expect("a good origin"));
static NOTE: LazyLock<String> = LazyLock::new(|| {
    let root = node_hash(&leaf_hash(b"left"), &leaf_hash(b"right"));
    Checkpoint::sign("l", 2, root, &KEY).expect("a good origin").note().to_owned()
});

fn read(text: &str) {
    let Ok(proof) = TlogProof::parse(text) else { return };
    assert_eq!(proof.to_string(), text);
    if let Some(receipt) = proof.to_receipt() {
        assert_eq!(TlogProof::of_receipt(&receipt), Ok(proof.clone()));
    }
    let other = Leaf::new(LeafKind::Exchange, 1, b"never logged").hash();
    for hash in [other, Digest::of(b"")] {
        assert!(proof.verify(hash, &LEDGER, Quorum::default()).is_err());
    }
    let (left, right) = (leaf_hash(b"left"), leaf_hash(b"right"));
    let holds = |leaf| proof.verify(leaf, &LEDGER, Quorum::default()).is_ok();
    assert!(!(holds(left) && holds(right)));
}

fuzz_target!(|text: &str| {
    read(text);
    read(&format!("{HEADER}\n{text}\n\n{}", *NOTE));
    read(&format!("{HEADER}\nindex 0\n{text}"));
});
