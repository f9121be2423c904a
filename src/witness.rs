// SPDX-License-Identifier: EUPL-1.2
//! `einmal witness`

use std::path::{Path, PathBuf};

use einmal_peer::{Clock, files};
use einmal_protocol::cosignature::WitnessKey;
use einmal_witness::{StartError, WitnessConfig, start};

use crate::{
    Exit, config,
    logging::{self, LogForm},
    told_to_stop,
};

/// Runs a witness: it cosigns checkpoints of ledgers that only grow (c2sp.org/tlog-witness), so
/// that no ledger can show different trees to different people.
///
/// A witness is worth something where somebody else runs it than the ledger. It holds no personal
/// data and needs no certificate; put a TLS proxy before it.
#[derive(clap::Args)]
pub struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(clap::Subcommand)]
enum What {
    /// Runs it until it is told to stop.
    Run {
        #[command(flatten)]
        config: ConfigArgs,
        /// How log lines look.
        #[arg(long, value_enum, default_value_t)]
        log: LogForm,
    },
    /// Prints the witness's public key, for those who are to count it: name+hash+key.
    Key(ConfigArgs),
}

#[derive(clap::Args)]
struct ConfigArgs {
    /// Configuration file; paths in it are relative to it. deploy/config/witness.toml is a
    /// commented sample.
    #[arg(long, default_value = "witness.toml")]
    config: PathBuf,
}

/// Reads `witness.toml`.
///
/// # Errors
/// Where it cannot be used.
pub fn read(path: &Path) -> Result<WitnessConfig, Exit> {
    let mut witness: WitnessConfig = config::read(path)?;
    let folder = config::folder_of(path);
    for file in [&mut witness.key, &mut witness.state] {
        *file = folder.join(&*file);
    }
    Ok(witness)
}

/// Runs it.
///
/// # Errors
/// Where the witness does not start.
pub async fn run(args: Args) -> Result<(), Exit> {
    match args.what {
        What::Run { config, log } => {
            logging::begin(log, "info");
            let running = start(&read(&config.config)?, Clock::system()).await.map_err(exit)?;
            told_to_stop().await?;
            running.stop().await;
            Ok(())
        }
        What::Key(args) => {
            let witness = read(&args.config)?;
            let key = files::signing_key(&witness.key)?;
            let key = WitnessKey::new(&witness.name, key.public().clone()).map_err(Exit::usage)?;
            println!("{key}");
            Ok(())
        }
    }
}

fn exit(error: StartError) -> Exit {
    match error {
        StartError::Port { .. } | StartError::State(_) => Exit::failed(error),
        _ => Exit::usage(error),
    }
}
