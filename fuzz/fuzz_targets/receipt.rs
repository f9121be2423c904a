// SPDX-License-Identifier: EUPL-1.2
//! Receipts, leaves, commitments: what a register and an authority read of a broker.
#![no_main]

use einmal_protocol::{
    Digest,
    commitment::Commitment,
    key::SigningKey,
    leaf::{LEAF_LENGTH, Leaf},
    merkle,
    note::{Checkpoint, LedgerKey},
    receipt,
    wire::v1::Receipt,
};
use libfuzzer_sys::fuzz_target;
use prost::Message;

fuzz_target!(|bytes: &[u8]| {
    let key = SigningKey::from_seed(&[1; 32]).expect("a seed of 32 bytes");
    assert!(Commitment::verify(bytes, &[key.public().clone()]).is_err());
    let Some((head, rest)) = bytes.split_first_chunk::<LEAF_LENGTH>() else { return };
    let Ok(leaf) = Leaf::parse(head) else { return };
    assert_eq!(leaf.to_bytes(), *head);
    let Ok(mut receipt) = Receipt::decode(rest) else { return };
    let ledger = LedgerKey::new("l", key.public().clone()).expect("a good origin");
    let sign = |size, root| Checkpoint::sign("l", size, root, &key).expect("a good origin");
    let seen = sign(5, Digest::of(b"seen"));
    let _ = receipt::verify(&receipt, leaf, &ledger, Some(&seen));
    // Behind a checkpoint that is signed, so that the paths are walked.
    receipt.leaf = leaf.to_bytes().to_vec();
    let size = receipt.consistency.as_ref().map_or(9, |consistency| consistency.from_size);
    receipt.checkpoint = sign(size, Digest::of(b"root")).note().to_owned();
    let _ = receipt::verify(&receipt, leaf, &ledger, None);
    let path: Vec<Digest> = receipt
        .inclusion
        .iter()
        .filter_map(|hash| Digest::try_from(hash.as_slice()).ok())
        .collect();
    let (old, new) = (receipt.index, size);
    let root = merkle::root_from_inclusion(leaf.hash(), old, new, &path);
    assert!(root.is_none() || old < new);
    assert!(!merkle::verify_consistency((old, leaf.hash()), (new, Digest::of(b"")), &path));
});
