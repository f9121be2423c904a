// SPDX-License-Identifier: EUPL-1.2
//! What is opened: seals as noise, and the plain bytes behind a seal that is right.
#![no_main]

use std::sync::LazyLock;

use einmal_protocol::{
    Digest,
    entropy::Entropy,
    evidence, pad,
    person::{Person, idnr_is_valid, is_date},
    record,
    seal::{Aad, SealKind, SealingPrivateKey, recipient_of},
    wire::v1::{AccessRecord, AskedRecord, Kem, UseRecord},
};
use libfuzzer_sys::fuzz_target;

static KEYS: LazyLock<[SealingPrivateKey; 2]> = LazyLock::new(|| {
    [Kem::X25519, Kem::XWing]
        .map(|kem| SealingPrivateKey::generate(kem, Entropy::new([2; 32])).expect("a known KEM"))
});

fn read(plain: &[u8]) {
    if let Ok(person) = Person::from_plain(plain) {
        let subject = person.query.to_subject();
        assert!(is_date(&subject.birth_date));
        assert!(!person.query.uses_idnr() || idnr_is_valid(&subject.idnr));
    }
    let _ = record::parse::<AccessRecord>(plain);
    let _ = record::parse::<AskedRecord>(plain);
    let _ = record::parse::<UseRecord>(plain);
}

fuzz_target!(|bytes: &[u8]| {
    let aad = Aad::of_request(Digest::of(b"request"), 0);
    let _ = recipient_of(bytes);
    for key in KEYS.iter() {
        assert!(key.open(SealKind::Person, &aad, bytes).is_err());
        assert!(evidence::open(bytes, Digest::of(b"request"), key, &[]).is_err());
    }
    read(bytes);
    if let Ok(plain) = pad::pad([0; 32], bytes, 1024) {
        assert_eq!(pad::unpad(&plain), Ok(bytes));
        read(&plain);
    }
});
