// SPDX-License-Identifier: EUPL-1.2
//! Kills and injected faults over growing ledgers, as often as one likes: nothing that was answered
//! may be lost, and no id may stand twice.
//!
//! `faults kill --rounds 1000` kills processes that append, and PostgreSQL under them. `faults
//! faults --rounds 1000` has every step of a ledger fail in one process. Both end with exit code 1
//! where anything was lost, doubled or said wrongly, and print the seed that repeats a run's
//! choices.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that meets the unexpected must fail; clippy knows only functions marked as tests"
)]

mod books;
mod inject;
mod item;
mod kill;
mod life;
mod random;
mod report;
mod rounds;
mod site;
mod victim;
mod witness;

use std::{process::ExitCode, time::SystemTime};

use clap::{Args, Parser, Subcommand};

use crate::{report::Tally, site::Kind};

/// Kills and injected faults over growing ledgers.
#[derive(Parser)]
#[command(name = "faults")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Kill -9 what appends, and PostgreSQL.
    Kill(Run),
    /// Have every step of a ledger fail.
    Faults(Run),
    /// The process that is killed.
    #[command(hide = true)]
    Victim(victim::Orders),
}

#[derive(Args)]
struct Run {
    /// So many rounds over each store.
    #[arg(long, default_value_t = 100)]
    rounds: u64,
    /// Over these stores.
    #[arg(long, value_enum, value_delimiter = ',', default_value = "sqlite,postgres")]
    store: Vec<Kind>,
    /// Repeats the choices of an earlier run.
    #[arg(long)]
    seed: Option<u64>,
    /// Answer with one JSON object a store.
    #[arg(long)]
    json: bool,
}

#[tokio::main]
async fn main() -> ExitCode {
    match Arguments::parse().command {
        Command::Victim(orders) => victim::run(orders).await,
        Command::Kill(run) => {
            let mut tallies = Vec::new();
            for kind in &run.store {
                tallies.extend(kill::run(*kind, run.rounds, run.seed()).await);
            }
            run.report(&tallies)
        }
        Command::Faults(run) => {
            let mut tallies = Vec::new();
            for kind in &run.store {
                tallies.extend(rounds::run(*kind, run.rounds, run.seed()).await);
            }
            run.report(&tallies)
        }
    }
}

impl Run {
    fn seed(&self) -> u64 {
        let now = || SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
        self.seed.unwrap_or_else(|| now().subsec_nanos().into())
    }

    fn report(&self, tallies: &[Tally]) -> ExitCode {
        for tally in tallies {
            if self.json {
                println!("{}", tally.to_json());
            } else {
                println!("{}", tally.to_table());
            }
        }
        // A run over no store at all has shown nothing.
        let good = !tallies.is_empty() && tallies.iter().all(Tally::is_good);
        if good { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }
}
