// SPDX-License-Identifier: EUPL-1.2
//! Rules whose signers made a mistake, or worse: the document, and Cedar text inside a good one.
#![no_main]

use einmal_policy::{Rules, rules::SCHEMA};
use libfuzzer_sys::fuzz_target;

/// A JSON string, without a JSON library.
fn quoted(text: &str) -> String {
    let escape = |c: char| match c {
        '"' | '\\' => format!("\\{c}"),
        c if c.is_control() => format!("\\u{:04x}", u32::from(c)),
        c => c.to_string(),
    };
    format!("\"{}\"", text.chars().map(escape).collect::<String>())
}

fuzz_target!(|bytes: &[u8]| {
    let _ = Rules::parse(bytes);
    let Ok(policies) = std::str::from_utf8(bytes) else { return };
    let document = format!(
        r#"{{"version":1,"issued_at_ms":0,"expires_at_ms":1,"areas":[],"purposes":[],
        "evidence_types":[],"tests":[],"schema":{},"policies":{}}}"#,
        quoted(SCHEMA),
        quoted(policies)
    );
    let _ = Rules::parse(document.as_bytes());
});
