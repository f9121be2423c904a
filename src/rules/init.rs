// SPDX-License-Identifier: EUPL-1.2
//! `einmal rules init`

use std::path::{Path, PathBuf};

use einmal_peer::files;

use crate::Exit;

const TEMPLATE: &[(&str, &str)] = &[
    ("areas.toml", include_str!("template/areas.toml")),
    ("kinds.toml", include_str!("template/kinds.toml")),
    ("purposes.toml", include_str!("template/purposes.toml")),
    ("evidence-types.toml", include_str!("template/evidence-types.toml")),
    ("tests.toml", include_str!("template/tests.toml")),
    ("policies/guards.cedar", include_str!("template/policies/guards.cedar")),
    ("policies/wogg.cedar", include_str!("template/policies/wogg.cedar")),
];

/// Writes a small set of rules that builds and passes its tests, to begin with.
///
/// One kind of office, one purpose, one evidence type, one permit and two guards. An example, not
/// legal advice.
#[derive(clap::Args)]
#[command(after_help = "Example:\n  einmal rules init my-rules && einmal rules test my-rules")]
pub(super) struct Args {
    /// The folder; it is made, and must be empty if it is there.
    folder: PathBuf,
}

/// Runs it.
///
/// # Errors
/// Where the folder holds something, or cannot be written.
pub(super) fn run(args: &Args) -> Result<(), Exit> {
    write(&args.folder)?;
    let folder = args.folder.display();
    println!("{folder}: {} files. Next: einmal rules test {folder}", TEMPLATE.len());
    Ok(())
}

/// Writes the template into a new folder.
pub(super) fn write(folder: &Path) -> Result<(), Exit> {
    if std::fs::read_dir(folder).is_ok_and(|mut entries| entries.next().is_some()) {
        let folder = folder.display();
        return Err(Exit::usage(format!("{folder}: it is not empty; name a new folder")));
    }
    for (name, text) in TEMPLATE {
        files::replace(&folder.join(name), text.as_bytes())?;
    }
    Ok(())
}
