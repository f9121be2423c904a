// SPDX-License-Identifier: EUPL-1.2
//! `einmal broker`

use std::path::{Path, PathBuf};

use einmal_broker::{BrokerConfig, ServeError, start};
use einmal_peer::Clock;

use crate::{
    Exit, config,
    logging::{self, LogForm},
    told_to_stop,
};

/// Runs a broker: it decides, routes and logs what it cannot read.
///
/// The configuration is a TOML file; deploy/config/broker.toml is a commented sample. The ledger's
/// database must exist: `einmal ledger create` makes one.
#[derive(clap::Args)]
pub struct Args {
    /// Configuration file; paths in it are relative to it.
    #[arg(long, default_value = "broker.toml")]
    config: PathBuf,
    /// How log lines look.
    #[arg(long, value_enum, default_value_t)]
    log: LogForm,
}

/// Reads `broker.toml`.
///
/// # Errors
/// Where it cannot be used.
pub fn read(path: &Path) -> Result<BrokerConfig, Exit> {
    let mut broker: BrokerConfig = config::read(path)?;
    let folder = config::folder_of(path);
    broker.tls = broker.tls.within(&folder);
    for file in [&mut broker.root, &mut broker.directory, &mut broker.state] {
        *file = folder.join(&*file);
    }
    for file in broker.newer_roots.iter_mut().chain(&mut broker.rules).chain(&mut broker.deny) {
        *file = folder.join(&*file);
    }
    let ledger = &mut broker.ledger;
    let files = ledger.memory.iter_mut().chain(&mut ledger.database);
    for file in files.chain([&mut ledger.key]) {
        *file = folder.join(&*file);
    }
    if let Some(postgres) = &mut ledger.postgres
        && let Some(file) = &mut postgres.password_file
    {
        *file = folder.join(&*file);
    }
    broker.shared = broker.shared.map(|shared| shared.within(&folder));
    Ok(broker)
}

/// Runs it.
///
/// # Errors
/// Where the broker does not start.
pub async fn run(args: Args) -> Result<(), Exit> {
    logging::begin(args.log, "info");
    let running = start(&read(&args.config)?, Clock::system()).await.map_err(exit)?;
    told_to_stop().await?;
    running.stop().await;
    Ok(())
}

fn exit(error: ServeError) -> Exit {
    match error {
        ServeError::File(_) | ServeError::Trust(_) | ServeError::Shared(_) => Exit::usage(error),
        ServeError::Open(_) | ServeError::Ledger(_) | ServeError::Port { .. } => {
            Exit::failed(error)
        }
    }
}
