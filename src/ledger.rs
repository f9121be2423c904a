// SPDX-License-Identifier: EUPL-1.2
//! `einmal ledger`

mod close;
mod forget;
pub mod replay;
mod show;

use std::{path::PathBuf, sync::Arc};

use einmal_broker::{
    BrokerConfig,
    config::{KeeperMemory, LedgerSection},
    open_ledger, serve,
};
use einmal_ledger::{Ledger, LedgerConfig, verify_store};
use einmal_peer::{Clock, Tls, files};
use einmal_protocol::{note::LedgerKey, tlog_proof::TlogProof};

use crate::{Exit, broker, foreign::Published};

/// Works on a broker's ledger. Where it lies stands in the broker's configuration file.
#[derive(clap::Args)]
pub struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(clap::Subcommand)]
enum What {
    /// Makes an empty ledger, once. The broker itself never makes one.
    Create(ConfigArgs),
    /// Derives everything anew: bodies, leaves, tiles, root, and the outside memory.
    Verify {
        #[command(flatten)]
        published: Published,
        #[command(flatten)]
        config: ConfigArgs,
        /// Print the result as one JSON object.
        #[arg(long)]
        json: bool,
    },
    /// Shows entries: index, day, kind, who asked whom for what. Persons and evidence are sealed.
    Show {
        #[command(flatten)]
        config: ConfigArgs,
        /// From this index on.
        #[arg(long, default_value_t = 0)]
        from: u64,
        /// At most so many.
        #[arg(long, default_value_t = 20)]
        count: usize,
    },
    /// Prints the ledger's public key as it stands in the directory: name+hash+key.
    Key(ConfigArgs),
    /// Writes the proof of one leaf, which any tool for C2SP logs can check: a `.tlog-proof` file.
    Proof {
        /// The leaf.
        index: u64,
        #[command(flatten)]
        config: ConfigArgs,
        /// Where it goes; left out: standard output.
        #[arg(long, short)]
        out: Option<PathBuf>,
    },
    Replay(replay::Args),
    Forget(forget::Args),
    Close(close::Args),
}

#[derive(clap::Args)]
struct ConfigArgs {
    /// The broker's configuration file.
    #[arg(long, default_value = "broker.toml")]
    config: PathBuf,
}

/// Runs it.
///
/// # Errors
/// Where the ledger does not hold, or cannot be used.
pub async fn run(args: Args) -> Result<(), Exit> {
    match args.what {
        What::Create(args) => {
            let section = broker::read(&args.config)?.ledger;
            let key = files::signing_key(&section.key)?;
            open_ledger::create(&section, key).await.map_err(Exit::failed)?;
            println!("{}: an empty ledger of {}", section.place(), section.origin);
            Ok(())
        }
        What::Verify { published, config, json } => match published.verify(json).await {
            Some(verified) => verified,
            None => verify_ledger(&config, json).await,
        },
        What::Show { config, from, count } => show::show(&config, from, count).await,
        What::Key(args) => {
            println!("{}", key_of(&broker::read(&args.config)?.ledger)?);
            Ok(())
        }
        What::Proof { index, config, out } => proof(&config, index, out).await,
        What::Replay(args) => replay::run(args).await,
        What::Forget(args) => forget::run(args).await,
        What::Close(args) => close::run(args).await,
    }
}

fn key_of(section: &LedgerSection) -> Result<LedgerKey, Exit> {
    let key = files::signing_key(&section.key)?;
    LedgerKey::new(&section.origin, key.public().clone()).map_err(Exit::usage)
}

/// Opens it, beside a broker that may be running.
async fn open(config: &BrokerConfig, required: usize) -> Result<Ledger, Exit> {
    let section = &config.ledger;
    let key = files::signing_key(&section.key)?;
    let settings = settings(config, required)?;
    open_ledger::open(section, &settings, key).await.map_err(Exit::failed)
}

/// With the keeper, where it is a memory: then it has to answer.
fn settings(config: &BrokerConfig, required: usize) -> Result<LedgerConfig, Exit> {
    let section = &config.ledger;
    let mut settings = open_ledger::settings(section, required).map_err(Exit::usage)?;
    if section.keeper_memory != KeeperMemory::Off {
        let tls = Tls::load(&config.tls).map_err(Exit::usage)?;
        let trust = serve::trust(config, Clock::system().now_ms()).map_err(Exit::usage)?;
        open_ledger::with_keeper(&mut settings, section, (&Arc::new(trust), &tls), false)
            .map_err(Exit::usage)?;
    }
    Ok(settings)
}

async fn verify_ledger(args: &ConfigArgs, json: bool) -> Result<(), Exit> {
    let section = broker::read(&args.config)?.ledger;
    let store = open_ledger::inspect(&section).await.map_err(Exit::failed)?;
    let report = verify_store(&*store, &key_of(&section)?, section.memory.as_deref())
        .await
        .map_err(Exit::failed)?;
    if json {
        let object = serde_json::json!({
            "size": report.size, "root": report.root.to_hex(), "bodies": report.bodies,
            "forgotten": report.forgotten, "tiles": report.tiles, "remembered": report.remembered,
        });
        println!("{object}");
    } else {
        println!(
            "{} holds: {} leaves, root {}, {} bodies fit their leaves, {} forgotten in time, {} \
             tiles, memory at {}",
            section.origin,
            report.size,
            report.root,
            report.bodies,
            report.forgotten,
            report.tiles,
            report.remembered.map_or_else(|| "nothing".to_owned(), |size| size.to_string())
        );
    }
    Ok(())
}

async fn proof(args: &ConfigArgs, index: u64, out: Option<PathBuf>) -> Result<(), Exit> {
    let ledger = open(&broker::read(&args.config)?, 0).await?;
    let checkpoint = ledger.checkpoint();
    let inclusion = ledger.inclusion(index, checkpoint.size()).await.map_err(Exit::failed)?;
    let entry = ledger.entries(index, 1).await.map_err(Exit::failed)?.pop();
    ledger.close().await;
    let leaf = entry.ok_or_else(|| Exit::failed("there is no such leaf"))?.leaf;
    let receipt = einmal_ledger::Logged { index, leaf, inclusion, checkpoint }.receipt(None);
    let text = TlogProof::of_receipt(&receipt).map_err(Exit::failed)?.to_string();
    match out {
        Some(path) => files::replace(&path, text.as_bytes()).map_err(Exit::from),
        None => {
            print!("{text}");
            Ok(())
        }
    }
}
