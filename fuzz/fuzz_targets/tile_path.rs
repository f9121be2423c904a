// SPDX-License-Identifier: EUPL-1.2
//! Paths of tiles, which anybody on the internet asks for: each tile has one spelling.
#![no_main]

use einmal_ledger::TilePath;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    if let Some(path) = TilePath::parse(text) {
        assert_eq!(path.to_string(), text);
        assert!((1..=256).contains(&path.width) && path.level.is_none_or(|level| level < 64));
    }
});
