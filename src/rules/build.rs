// SPDX-License-Identifier: EUPL-1.2
//! `einmal rules build`

use std::path::PathBuf;

use einmal_peer::{Clock, files};
use einmal_policy::{Change, Rules, change};
use einmal_protocol::{Digest, envelope::payload_type};

use crate::{
    Exit, documents,
    rules::load::{self, Edition},
};

/// Compiles a folder, runs its tests, and writes an envelope without signatures.
///
/// From version 2 on it says what the change does to the version before: `widens`, `narrows` or
/// `text only`. That is part of what is signed.
#[derive(clap::Args)]
#[command(after_help = "Example:\n  \
    einmal rules build deploy/rules --out rules.signed\n  \
    einmal rules build deploy/rules --out next.signed --version 2 --previous rules.signed")]
pub(super) struct Args {
    /// The folder.
    folder: PathBuf,
    /// Where the envelope goes.
    #[arg(long, short)]
    out: PathBuf,
    /// Strictly rising.
    #[arg(long, default_value_t = 1)]
    version: u64,
    /// The envelope of the version before; needed from version 2 on.
    #[arg(long)]
    previous: Option<PathBuf>,
    /// Refused after so many days.
    #[arg(long, default_value_t = 90)]
    days: u64,
}

/// Runs it.
///
/// # Errors
/// Names the file and line that is wrong.
pub(super) fn run(args: &Args) -> Result<(), Exit> {
    if (args.version > 1) != args.previous.is_some() {
        return Err(Exit::usage("--previous names the version before; version 1 has none"));
    }
    let old = match &args.previous {
        Some(path) => {
            let payload = files::envelope(path)?.payload;
            let rules = Rules::parse(&payload)
                .map_err(|error| Exit::usage(format!("{}: {error}", path.display())))?;
            Some((rules, Digest::of(&payload)))
        }
        None => None,
    };
    if let Some((old, _)) = &old
        && old.document().version + 1 != args.version
    {
        let next = old.document().version + 1;
        return Err(Exit::usage(format!("the version after the previous one is {next}")));
    }
    let issued_at_ms = Clock::system().now_ms();
    let mut folder = load::read(
        &args.folder,
        Edition {
            version: args.version,
            previous: old.as_ref().map(|(_, digest)| digest.to_hex()),
            issued_at_ms,
            expires_at_ms: issued_at_ms.saturating_add(args.days.saturating_mul(86_400_000)),
        },
    )?;
    // Compiled once to derive the class, which is then part of what is signed.
    folder.document.change = old.as_ref().map(|_| Change::Widens);
    let rules = folder.compile()?;
    if let Some((old, _)) = &old {
        let derived = change::class(old, &rules);
        println!("change from version {}: {derived}", old.document().version);
        folder.document.change = Some(derived);
    }
    println!("{} tests pass", folder.document.tests.len());
    documents::build(payload_type::RULES, &folder.document, &args.out)
}
