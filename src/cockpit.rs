// SPDX-License-Identifier: EUPL-1.2
//! `einmal cockpit`

use std::path::{Path, PathBuf};

use einmal_cockpit::serve::{CockpitConfig, Running, ServeError};
use einmal_peer::Clock;

use crate::{
    Exit, config,
    logging::{self, LogForm},
    told_to_stop,
};

/// Runs a cockpit: the keeper of access records, and the pages where citizens read them.
///
/// The configuration is a TOML file; deploy/config/cockpit.toml is a commented sample. The only
/// login there is so far is one for demonstrations, with invented persons.
#[derive(clap::Args)]
pub struct Args {
    /// Configuration file; paths in it are relative to it.
    #[arg(long, default_value = "cockpit.toml")]
    config: PathBuf,
    /// How log lines look.
    #[arg(long, value_enum, default_value_t)]
    log: LogForm,
}

/// Starts a cockpit from its configuration file.
///
/// # Errors
/// Where it cannot be used, or the broker does not answer.
pub async fn start(path: &Path, clock: Clock) -> Result<Running, Exit> {
    let mut cockpit: CockpitConfig = config::read(path)?;
    let folder = config::folder_of(path);
    cockpit.tls = config::tls_in(&folder, cockpit.tls);
    let [first, second] = &mut cockpit.day_keys;
    for file in [
        &mut cockpit.root,
        &mut cockpit.identity,
        &mut cockpit.site_key,
        &mut cockpit.state,
        first,
        second,
    ] {
        *file = folder.join(&*file);
    }
    einmal_cockpit::serve::start(&cockpit, clock).await.map_err(|error| match error {
        ServeError::Broker(_) => Exit::unavailable(error),
        ServeError::Port { .. } => Exit::failed(error),
        _ => Exit::usage(error),
    })
}

/// Runs it.
///
/// # Errors
/// Where the cockpit does not start.
pub async fn run(args: Args) -> Result<(), Exit> {
    logging::begin(args.log, "info");
    let running = start(&args.config, Clock::system()).await?;
    eprintln!("einmal: pages at http://{}/", running.address);
    told_to_stop().await?;
    running.stop().await;
    Ok(())
}
