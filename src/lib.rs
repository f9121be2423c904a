// SPDX-License-Identifier: EUPL-1.2
//! The `einmal` command as a library: one file a subcommand.

pub mod adapter;
pub mod bench;
pub mod broker;
pub mod cockpit;
pub mod config;
pub mod connector;
pub mod demo;
pub mod deny;
pub mod doctor;
pub mod documents;
pub mod exit;
pub mod foreign;
pub mod health;
pub mod ledger;
pub mod logging;
pub mod online;
pub mod past;
pub mod pki;
pub mod publisher;
pub mod redecide;
pub mod request;
pub mod rules;
pub mod signer;
pub mod verify;
pub mod witness;

use clap::{Parser, Subcommand};

pub use exit::Exit;

/// Einmal, a once-only register broker: an authority fetches the evidence it needs from the
/// register that already holds it, and every person sees who asked what about them, and why.
///
/// Begin with `einmal demo`: it starts a whole world on this machine and fetches the 17 evidences
/// of one application for parental allowance.
#[derive(Parser)]
#[command(name = "einmal", version, subcommand_required = true, arg_required_else_help = true)]
#[command(after_help = "Exit codes: 0 done, 1 failed, 64 wrong usage or configuration, \
                        69 not reachable, 77 refused.")]
pub struct Command {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    Demo(demo::Args),
    Broker(broker::Args),
    Adapter(adapter::Args),
    Cockpit(cockpit::Args),
    Request(request::Args),
    Connector(connector::Args),
    Root(documents::RootArgs),
    Rules(rules::Args),
    Directory(documents::DirectoryArgs),
    Deny(deny::Args),
    Online(online::Args),
    Ledger(ledger::Args),
    Doctor(doctor::Args),
    Health(health::Args),
    Verify(verify::Args),
    Bench(bench::Args),
    Witness(witness::Args),
    Pki(pki::Args),
}

/// Runs a command.
///
/// # Errors
/// What to print and which code to exit with.
pub fn run(command: Command) -> Result<(), Exit> {
    match command.what {
        What::Demo(args) => block_on(demo::run(args)),
        What::Broker(args) => block_on(broker::run(args)),
        What::Adapter(args) => block_on(adapter::run(args)),
        What::Cockpit(args) => block_on(cockpit::run(args)),
        What::Request(args) => block_on(request::run(args)),
        What::Connector(args) => block_on(connector::run(args)),
        What::Root(args) => block_on(documents::run_root(args)),
        What::Rules(args) => block_on(rules::run(args)),
        What::Directory(args) => block_on(documents::run_directory(args)),
        What::Deny(args) => block_on(deny::run(args)),
        What::Online(args) => block_on(online::run(args)),
        What::Ledger(args) => block_on(ledger::run(args)),
        What::Doctor(args) => block_on(doctor::run(args)),
        What::Health(args) => block_on(health::run(args)),
        What::Verify(args) => verify::run(&args),
        What::Bench(args) => block_on(bench::run(args)),
        What::Witness(args) => block_on(witness::run(args)),
        What::Pki(args) => pki::run(args),
    }
}

fn block_on(task: impl Future<Output = Result<(), Exit>>) -> Result<(), Exit> {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(Exit::failed)?
        .block_on(task)
}

/// Waits for Ctrl-C or a request to terminate.
///
/// # Errors
/// Where the system gives no signals.
pub async fn told_to_stop() -> Result<(), Exit> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate()).map_err(Exit::failed)?;
    tokio::select! {
        interrupted = tokio::signal::ctrl_c() => interrupted.map_err(Exit::failed),
        _ = terminate.recv() => Ok(()),
    }
}
