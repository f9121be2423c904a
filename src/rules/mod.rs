// SPDX-License-Identifier: EUPL-1.2
//! `einmal rules`

mod build;
mod diff;
mod explain;
mod init;
mod load;
mod place;
mod test;
#[cfg(test)]
mod tests;

use einmal_peer::{Clock, files};
use einmal_policy::{Role, Rules, chain::check_expiry};
use einmal_protocol::envelope::payload_type;

use crate::{
    Exit,
    documents::{self, PublishArgs, SignArgs, VerifyArgs},
};

pub(crate) use load::open;
pub use load::{Edition, read_folder};

/// Works on the rules: who may get which fields of which evidence for which purpose.
///
/// A folder holds areas.toml, kinds.toml, purposes.toml, evidence-types.toml, tests.toml,
/// policies/*.cedar and, if it likes, ledger.toml and schema.cedarschema; deploy/rules is an
/// example, and `init` writes a small one. `test` runs its cases, `explain` answers one question,
/// `diff` says what a change means, `build` compiles it; the register authority and the
/// data-protection officer each `sign`; `verify` checks both.
#[derive(clap::Args)]
#[command(after_help = "docs/rules.md leads from an empty folder to signed rules.")]
pub struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(clap::Subcommand)]
enum What {
    Init(init::Args),
    Test(test::Args),
    Explain(explain::Args),
    Diff(diff::Args),
    Build(build::Args),
    Sign(SignArgs),
    /// Verifies an envelope from the pinned root, compiles it and runs its tests.
    Verify(VerifyArgs),
    /// Gives signed rules to every broker of the directory. Effective at once, without a restart.
    Publish(PublishArgs),
}

/// Runs it.
///
/// # Errors
/// Where rules or signatures are not accepted.
pub async fn run(args: Args) -> Result<(), Exit> {
    match args.what {
        What::Init(args) => init::run(&args),
        What::Test(args) => test::run(&args),
        What::Explain(args) => explain::run(&args),
        What::Diff(args) => diff::run(&args),
        What::Build(args) => build::run(&args),
        What::Sign(args) => documents::sign(&args),
        What::Verify(args) => verify(&args),
        What::Publish(args) => documents::publish(&args).await,
    }
}

fn verify(args: &VerifyArgs) -> Result<(), Exit> {
    let envelope = files::envelope(args.envelope())?;
    let both = [Role::RegisterAuthority, Role::DataProtectionOfficer];
    args.check(&envelope, payload_type::RULES, &both)?;
    let rules = Rules::parse(&envelope.payload).map_err(Exit::refused)?;
    let document = rules.document();
    check_expiry("rules", document.expires_at_ms, Clock::system().now_ms())
        .map_err(Exit::refused)?;
    println!(
        "version {} of the rules is good: {} evidence types, {} purposes, {} tests pass",
        document.version,
        document.evidence_types.len(),
        document.purposes.len(),
        document.tests.len()
    );
    Ok(())
}
