// SPDX-License-Identifier: EUPL-1.2
//! What a broker reads of a stranger: a signed request, as noise and inside a batch that is right.
#![no_main]

use einmal_protocol::{
    batch,
    key::SigningKey,
    permit::Permit,
    request::{SIGNED_REQUEST_MAX, Unverified},
    wire::v1::Envelope,
};
use libfuzzer_sys::fuzz_target;
use prost::Message;

fuzz_target!(|bytes: &[u8]| {
    let key = SigningKey::from_seed(&[1; 32]).expect("a seed of 32 bytes");
    let keys = [key.public().clone()];
    if let Ok(read) = Unverified::parse(bytes) {
        assert!(bytes.len() <= SIGNED_REQUEST_MAX && !read.request.fields.is_empty());
        let _ = read.membership.verify(&keys);
        let _ = read.request.check_time(u64::MAX);
    }
    // The same bytes as the request of a hostile but well-signed authority.
    let signed = batch::sign("amt", &[bytes.to_vec()], &key).expect("a batch of one");
    for member in signed {
        if let Ok(read) = Unverified::parse(&member.encode_to_vec()) {
            assert_eq!(read.request.authority, "amt");
            assert!(read.membership.verify(&keys).is_ok());
        }
    }
    let _ = Envelope::parse(bytes).map(|envelope| envelope.verified("t", &keys).is_ok());
    if let Ok(permit) = Permit::parse(bytes) {
        assert_eq!(permit.bytes(), bytes);
    }
});
