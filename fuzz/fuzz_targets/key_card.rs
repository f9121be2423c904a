// SPDX-License-Identifier: EUPL-1.2
//! Key cards, as noise and signed by a participant that is hostile.
#![no_main]

use einmal_policy::key_card::{KeyCard, participant_of};
use einmal_protocol::{
    envelope::payload_type,
    key::SigningKey,
    wire::v1::{Envelope, Kem},
};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let key = SigningKey::from_seed(&[1; 32]).expect("a seed of 32 bytes");
    let keys = [key.public().clone()];
    if let Ok(envelope) = Envelope::parse(bytes) {
        let _ = participant_of(&envelope);
        assert!(KeyCard::verify(&envelope, "standesamt", &keys, None, 0).is_err());
    }
    let signed = Envelope::sign(payload_type::KEY_CARD, bytes.to_vec(), &[&key]);
    let signed = signed.expect("an Ed25519 key signs");
    let Ok(participant) = participant_of(&signed) else { return };
    if let Ok(card) = KeyCard::verify(&signed, &participant, &keys, None, 0) {
        assert_eq!(card.participant(), participant);
        let before = card.accepted();
        assert!(KeyCard::verify(&signed, &participant, &keys, Some(before), 0).is_ok());
        let _ = card.key_at(Kem::XWing, u64::MAX);
    }
});
