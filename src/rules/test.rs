// SPDX-License-Identifier: EUPL-1.2
//! `einmal rules test`

use std::path::PathBuf;

use einmal_policy::decide::run_test;

use crate::{
    Exit,
    rules::load::{self, Edition},
};

/// Runs the rules' own cases, one line each, and fails if one comes out otherwise than it says.
#[derive(clap::Args)]
#[command(after_help = "Example:\n  einmal rules test deploy/rules")]
pub(super) struct Args {
    /// The folder.
    folder: PathBuf,
    /// Print failures only.
    #[arg(long, short)]
    quiet: bool,
}

/// Runs it.
///
/// # Errors
/// Where the rules are not sound, or a case fails.
pub(super) fn run(args: &Args) -> Result<(), Exit> {
    let folder = load::read(&args.folder, Edition { version: 1, ..Edition::default() })?;
    let rules = folder.compile_untested()?;
    let mut failed = 0_usize;
    for test in &folder.document.tests {
        match run_test(&rules, test) {
            Ok(()) if args.quiet => (),
            Ok(()) => println!("ok      {}", test.name),
            Err(error) => {
                failed += 1;
                println!("FAILED  {}\n        {}", test.name, folder.explain(&error));
            }
        }
    }
    let all = folder.document.tests.len();
    for kind in &folder.document.evidence_types {
        for (permitted, word) in [(true, "permitted"), (false, "refused")] {
            let tests = &folder.document.tests;
            if !tests
                .iter()
                .any(|test| test.evidence_type == kind.id && test.permitted == permitted)
            {
                println!("note    no case in which `{}` is {word}", kind.id);
            }
        }
    }
    match failed {
        0 => {
            println!("{all} cases, all as they say");
            Ok(())
        }
        _ => Err(Exit::failed(format!("{failed} of {all} cases fail"))),
    }
}
