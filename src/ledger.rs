// SPDX-License-Identifier: EUPL-1.2
//! `einmal ledger`

use std::path::PathBuf;

use einmal_ledger::{
    Ledger, LedgerConfig, SqliteStore,
    store::{Archive, Detail},
    verify,
};
use einmal_peer::files;
use einmal_protocol::{
    leaf::LeafKind,
    note::LedgerKey,
    request::Unverified,
    time::day_to_iso,
    wire::v1::{Body, body},
};
use prost::Message;

use crate::{Exit, broker};

/// Works on a broker's ledger. Paths come from the broker's configuration file.
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
            let config = LedgerConfig::new(&section.origin, &section.database, &section.memory);
            Ledger::create(config, key).await.map_err(Exit::failed)?.close().await;
            println!("{}: an empty ledger of {}", section.database.display(), section.origin);
            Ok(())
        }
        What::Verify { config, json } => verify_ledger(&config, json).await,
        What::Show { config, from, count } => show(&config, from, count).await,
        What::Key(args) => {
            println!("{}", key_of(&args)?);
            Ok(())
        }
    }
}

fn key_of(args: &ConfigArgs) -> Result<LedgerKey, Exit> {
    let section = broker::read(&args.config)?.ledger;
    let key = files::signing_key(&section.key)?;
    LedgerKey::new(&section.origin, key.public().clone()).map_err(Exit::usage)
}

async fn verify_ledger(args: &ConfigArgs, json: bool) -> Result<(), Exit> {
    let section = broker::read(&args.config)?.ledger;
    let report = verify(&section.database, &key_of(args)?, Some(&section.memory))
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

async fn show(args: &ConfigArgs, from: u64, count: usize) -> Result<(), Exit> {
    let section = broker::read(&args.config)?.ledger;
    let store = SqliteStore::inspect(&section.database).await.map_err(Exit::failed)?;
    let entries =
        store.entries(from, count.min(10_000), Detail::Bodies).await.map_err(Exit::failed)?;
    for entry in entries {
        let what = entry.body.as_deref().map_or_else(|| "forgotten".to_owned(), describe);
        let kind = match entry.leaf.kind {
            LeafKind::Exchange => "exchange",
            LeafKind::Refusal => "refusal",
            LeafKind::Use => "use",
        };
        println!("{:>8}  {}  {kind:<8}  {what}", entry.index, day_to_iso(entry.leaf.day));
    }
    Ok(())
}

/// What a body says in the clear: parties, kinds and ids, never a person.
fn describe(bytes: &[u8]) -> String {
    let Some(kind) = Body::decode(bytes).ok().and_then(|body| body.kind) else {
        return "unreadable".to_owned();
    };
    let (signed, reason) = match kind {
        body::Kind::Exchange(exchange) => (exchange.signed_request, String::new()),
        body::Kind::Refusal(refusal) => (refusal.signed_request, format!("  {}", refusal.reason)),
        body::Kind::Use(_) => return "report of use, sealed".to_owned(),
    };
    match Unverified::parse(&signed) {
        Ok(found) => {
            let request = found.request;
            format!(
                "{}  {} asked {} for {} ({}){reason}",
                request.id,
                request.authority,
                request.register,
                request.evidence_type,
                request.purpose
            )
        }
        Err(_) => "unreadable".to_owned(),
    }
}
