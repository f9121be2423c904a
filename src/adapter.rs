// SPDX-License-Identifier: EUPL-1.2
//! `einmal adapter`: one file a subcommand.

pub mod audit;
pub mod check;
pub mod init;
pub mod officer;
pub mod report;
pub mod run;
pub mod trial;

pub(crate) use run::open;
pub use run::{read, start};

use crate::Exit;

/// Runs an adapter in front of registers, or checks one.
///
/// Without a subcommand it runs, so these two are the same:
///
///   einmal adapter --config adapter.toml
///   einmal adapter run --config adapter.toml
#[derive(clap::Args)]
#[command(verbatim_doc_comment, args_conflicts_with_subcommands = true)]
pub struct Args {
    #[command(subcommand)]
    what: Option<What>,
    #[command(flatten)]
    run: run::Args,
}

#[derive(clap::Subcommand)]
enum What {
    Run(run::Args),
    Init(init::Args),
    Check(Box<check::Args>),
    Audit(audit::Args),
    Officer(officer::Args),
    Report(Box<report::Args>),
    Try(Box<trial::Args>),
}

/// Runs it.
///
/// # Errors
/// As the subcommand.
pub async fn run(args: Args) -> Result<(), Exit> {
    match args.what {
        None => run::run(args.run).await,
        Some(What::Run(args)) => run::run(args).await,
        Some(What::Init(args)) => init::run(args).await,
        Some(What::Check(args)) => check::run(*args).await,
        Some(What::Audit(args)) => audit::run(args).await,
        Some(What::Officer(args)) => officer::run(args),
        Some(What::Report(args)) => report::run(*args).await,
        Some(What::Try(args)) => trial::run(*args).await,
    }
}
