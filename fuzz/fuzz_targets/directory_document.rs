// SPDX-License-Identifier: EUPL-1.2
//! Directories, and roots that were signed by nobody.
#![no_main]

use einmal_policy::{Directory, Root};
use einmal_protocol::{
    envelope::payload_type,
    wire::v1::{Envelope, Signature},
};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(directory) = Directory::parse(bytes) {
        for authority in &directory.document().authorities {
            assert!(directory.authority(&authority.id).is_some_and(|found| !found.keys.is_empty()));
        }
        let _ = directory.registers_of("t", "05").count();
    }
    let root = Envelope {
        payload_type: payload_type::ROOT.to_owned(),
        payload: bytes.to_vec(),
        signatures: vec![Signature { key_id: String::new(), signature: vec![0; 64] }],
    };
    let _ = Root::pinned(&root);
});
