// SPDX-License-Identifier: EUPL-1.2
//! `einmal ledger close`: ends a ledger for the directory.

use std::path::PathBuf;

use einmal_broker::{BrokerConfig, open_ledger};
use einmal_ledger::{Need, OpenError, remembered};
use einmal_peer::files;
use einmal_protocol::note::Checkpoint;

use super::{ConfigArgs, key_of, settings};
use crate::{Exit, broker};

/// Ends a ledger for good and writes its last checkpoint, for the directory.
///
/// Where the database is whole, no broker appends to it any more. Where it is damaged, or older
/// than what was signed, the last checkpoint is the one in the memory (or that the keeper
/// knows): nothing that was answered
/// may seem not to have been. Afterwards the register authority enters it as `final_checkpoint`
/// of this ledger in the directory, `einmal ledger create` makes one of a new origin, and the
/// directory names that for the brokers.
#[derive(clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    config: ConfigArgs,
    /// Where the last checkpoint goes.
    #[arg(long, short)]
    out: PathBuf,
    /// Really end it: this cannot be undone.
    #[arg(long)]
    for_good: bool,
}

/// Runs it.
pub(super) async fn run(args: Args) -> Result<(), Exit> {
    let config = broker::read(&args.config.config)?;
    if !args.for_good {
        return Err(Exit::usage(format!(
            "this ends the ledger {} for good; if that is meant, say --for-good",
            config.ledger.origin
        )));
    }
    let (last, lost) = last_checkpoint(&config).await?;
    files::replace(&args.out, last.note().as_bytes())?;
    println!("{}: ended with {} leaves, root {}", last.origin(), last.size(), last.root());
    if let Some(problem) = lost {
        println!("the database cannot go on: {problem}");
        println!("what was signed beyond it, its keeper has: keep the keeper's files");
    }
    println!(
        "next: enter {} in the directory as the final_checkpoint of this ledger, choose a new \
         origin, key, database and memory, run `einmal ledger create`, and let the directory name \
         the new one",
        args.out.display()
    );
    Ok(())
}

/// The last checkpoint; and what is wrong with the database, where it is not that one's.
async fn last_checkpoint(config: &BrokerConfig) -> Result<(Checkpoint, Option<String>), Exit> {
    let section = &config.ledger;
    let key = files::signing_key(&section.key)?;
    let settings = settings(config, 0)?;
    match open_ledger::open(section, &settings, key).await {
        Ok(ledger) => {
            let last = ledger.end().await.map_err(Exit::failed)?;
            Ok((Checkpoint::clone(&last), None))
        }
        Err(
            error @ (OpenError::Closed { .. }
            | OpenError::Behind { .. }
            | OpenError::Forked { .. }
            | OpenError::Store(_)
            | OpenError::Database(_)),
        ) => {
            let mut known = Vec::new();
            if let Some(memory) = &section.memory {
                known.push(remembered(memory, &key_of(section)?).map_err(Exit::failed)?);
            }
            if let Some(keeper) = &settings.distant {
                match keeper.largest(&key_of(section)?).await {
                    Ok(held) => known.extend(held),
                    // Beside it there is a file that knows as much.
                    Err(fault) if keeper.need == Need::Told => println!("{fault}"),
                    Err(fault) => return Err(Exit::failed(fault)),
                }
            }
            let signed = known.into_iter().max_by_key(Checkpoint::size);
            let signed = signed.ok_or_else(|| Exit::failed("no memory knows what was signed"))?;
            let problem = match error {
                OpenError::Closed { .. } => None,
                error => Some(error.to_string()),
            };
            Ok((signed, problem))
        }
        Err(error) => Err(Exit::failed(error)),
    }
}
