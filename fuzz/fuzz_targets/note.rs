// SPDX-License-Identifier: EUPL-1.2
//! Checkpoints and ledger keys, which come from files, answers and the network.
#![no_main]

use einmal_protocol::{
    key::SigningKey,
    note::{Checkpoint, LedgerKey},
};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    if let Ok(key) = LedgerKey::parse(text) {
        assert_eq!(LedgerKey::parse(&key.to_string()), Ok(key));
    }
    let key = SigningKey::from_seed(&[1; 32]).expect("a seed of 32 bytes");
    let ledger = LedgerKey::new("l", key.public().clone()).expect("a good origin");
    // Nobody guesses a signature, so nothing may be accepted.
    assert!(Checkpoint::parse(text, &ledger).is_err());
    assert!(Checkpoint::parse(&format!("l\n{text}\n\n— l {text}\n"), &ledger).is_err());
    // Lines of witnesses, behind a signature that is good.
    let digest = einmal_protocol::Digest::of(b"root");
    let good = Checkpoint::sign("l", 17, digest, &key).expect("a good origin");
    if let Ok(read) = Checkpoint::parse(&format!("{}{text}", good.note()), &ledger) {
        assert_eq!((read.size(), read.root()), (17, digest));
    }
});
