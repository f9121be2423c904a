// SPDX-License-Identifier: EUPL-1.2
//! Leaves: 38 bytes or refused, and written as they were read.
#![no_main]

use einmal_protocol::{
    leaf::{LEAF_LENGTH, Leaf},
    merkle::leaf_hash,
};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(leaf) = Leaf::parse(bytes) {
        assert_eq!(bytes.len(), LEAF_LENGTH);
        assert_eq!(leaf.to_bytes().as_slice(), bytes);
        assert_eq!(leaf.hash(), leaf_hash(bytes));
    }
});
