// SPDX-License-Identifier: EUPL-1.2
//! What anybody may send to a witness.
#![no_main]

use einmal_protocol::note::claimed_origin;
use einmal_witness::{AddCheckpoint, PROOF_MAX};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Ok(request) = AddCheckpoint::parse(bytes) else { return };
    assert!(request.proof.len() <= PROOF_MAX && claimed_origin(&request.note).is_ok());
    assert_eq!(request.to_string().as_bytes(), bytes);
});
