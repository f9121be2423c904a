// SPDX-License-Identifier: EUPL-1.2
//! Checkpoints that are signed, with whatever the fuzzer puts into their text and under it; and
//! what a hostile witness answers.
#![no_main]

use std::sync::LazyLock;

use einmal_protocol::{
    Digest,
    cosignature::{Cosigner, WitnessKey, cosignatures, with_cosignatures},
    key::SigningKey,
    note::{Checkpoint, LedgerKey, claimed_origin},
};
use libfuzzer_sys::fuzz_target;

fn key(seed: u8) -> SigningKey {
    SigningKey::from_seed(&[seed; 32]).expect("a seed of 32 bytes")
}

static LEDGER: LazyLock<LedgerKey> =
    LazyLock::new(|| LedgerKey::new("l", key(1).public().clone()).expect("a good origin"));
static WITNESS: LazyLock<Cosigner> =
    LazyLock::new(|| Cosigner::new("w", key(2)).expect("a good name"));
static GOOD: LazyLock<Checkpoint> = LazyLock::new(|| {
    Checkpoint::sign("l", 17, Digest::of(b"root"), &key(1)).expect("a good origin")
});

fuzz_target!(|text: &str| {
    if let Ok(key) = WitnessKey::parse(text) {
        assert_eq!(WitnessKey::parse(&key.to_string()), Ok(key));
    }
    let witnesses = [WITNESS.public().clone()];
    let _ = claimed_origin(text);
    // Any text with extension lines, signed as a log would sign it: read, it is what it says.
    if let Ok(read) = Checkpoint::parse(text, &LEDGER) {
        assert_eq!((read.size(), read.root()), (17, Digest::of(b"root")));
    }
    // Lines from elsewhere under a good note: nothing but the witness's own line gets there.
    let line = WITNESS.cosign(&GOOD, 5).expect("a good time");
    if let Ok(under) = with_cosignatures(&GOOD, text, &witnesses) {
        assert!(under.note() == GOOD.note() || cosignatures(&under, &witnesses).len() == 1);
        assert_eq!(Checkpoint::parse(under.note(), &LEDGER), Ok(under));
    }
    if let Ok(read) = Checkpoint::parse(&format!("{}{line}{text}", GOOD.note()), &LEDGER) {
        assert_eq!(cosignatures(&read, &witnesses).len(), 1);
        let alone = read.alone(&LEDGER).expect("its own line");
        assert_eq!(alone, *GOOD);
        if let Ok(again) = with_cosignatures(&read, &line, &witnesses) {
            assert_eq!(cosignatures(&again, &witnesses).len(), 1);
        }
    }
});
