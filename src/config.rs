// SPDX-License-Identifier: EUPL-1.2
//! Configuration files: TOML, unknown keys refused, paths relative to the file.

use std::path::{Path, PathBuf};

use einmal_peer::files;
use serde::de::DeserializeOwned;

use crate::Exit;

/// Reads a configuration file.
///
/// # Errors
/// Where it is not there, or a key is unknown, missing or wrong, with the line.
pub fn read<T: DeserializeOwned>(path: &Path) -> Result<T, Exit> {
    let text = files::read_text(path)?;
    toml::from_str(&text).map_err(|error| Exit::usage(format!("{}: {error}", path.display())))
}

/// The folder that a configuration's paths are relative to.
pub fn folder_of(path: &Path) -> PathBuf {
    path.parent().map(Path::to_owned).unwrap_or_default()
}
