// SPDX-License-Identifier: EUPL-1.2
//! The example rules, carried in the binary, so that the demo needs no files beside it.

use std::path::Path;

use einmal_peer::files;

use crate::Exit;

macro_rules! library {
    ($($file:literal),* $(,)?) => {
        &[$(($file, include_str!(concat!("../../deploy/rules/", $file)))),*]
    };
}

const FILES: &[(&str, &str)] = library![
    "areas.toml",
    "kinds.toml",
    "purposes.toml",
    "evidence-types.toml",
    "tests.toml",
    "policies/bafoeg.cedar",
    "policies/beeg.cedar",
    "policies/bkgg.cedar",
    "policies/guards.cedar",
    "policies/sgb-ix.cedar",
    "policies/stvg.cedar",
    "policies/uhvorschg.cedar",
    "policies/wogg.cedar",
];

/// Writes the example rules into a folder.
///
/// # Errors
/// Where files cannot be written.
pub fn write(folder: &Path) -> Result<(), Exit> {
    for (name, text) in FILES {
        files::replace(&folder.join(name), text.as_bytes())?;
    }
    Ok(())
}
