// SPDX-License-Identifier: EUPL-1.2
//! `einmal connector`

use std::path::{Path, PathBuf};

use einmal_connector::{ConnectorConfig, ConnectorError, Running, connect, token};
use einmal_peer::Clock;

use crate::{
    Exit, config,
    logging::{self, LogForm},
    told_to_stop,
};

/// Runs a service on an authority's own host: its applications make plain local calls (REST, JSON),
/// and get evidence that was verified, with its source and its receipt.
///
/// docs/authorities.md leads from nothing to the first evidence.
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
    /// Makes a token for an application. Prints the token, which is the application's secret and
    /// shown this once, and its hash, which goes into the configuration.
    Token,
    /// Reads the configuration and connects for each authority, as `run` would, then ends.
    Check(ConfigArgs),
}

#[derive(clap::Args)]
struct ConfigArgs {
    /// Configuration file; paths in it are relative to it. deploy/config/connector.toml is a
    /// commented sample.
    #[arg(long, default_value = "connector.toml")]
    config: PathBuf,
}

/// Reads `connector.toml`.
///
/// # Errors
/// Where it cannot be used.
pub fn read(path: &Path) -> Result<ConnectorConfig, Exit> {
    let mut connector: ConnectorConfig = config::read(path)?;
    let folder = config::folder_of(path);
    connector.tls = connector.tls.within(&folder);
    for file in [&mut connector.root, &mut connector.state] {
        *file = folder.join(&*file);
    }
    for authority in &mut connector.authorities {
        authority.identity = folder.join(&authority.identity);
    }
    if let Some(socket) = connector.listen.strip_prefix("unix:") {
        connector.listen = format!("unix:{}", folder.join(socket).display());
    }
    Ok(connector)
}

/// Starts a connector from its configuration file.
///
/// # Errors
/// Where it cannot be used, or an authority cannot ask.
pub async fn start(path: &Path, clock: Clock) -> Result<Running, Exit> {
    Ok(einmal_connector::start(read(path)?, clock).await?)
}

/// Runs it.
///
/// # Errors
/// Where it does not start, or what it was to check does not hold.
pub async fn run(args: Args) -> Result<(), Exit> {
    match args.what {
        What::Run { config, log } => {
            logging::begin(log, "info");
            let running = start(&config.config, Clock::system()).await?;
            told_to_stop().await?;
            running.stop().await;
            Ok(())
        }
        What::Token => {
            let (token, hash) = token::new().map_err(Exit::failed)?;
            println!("token:        {token}\ntoken_sha256: {}", hash.to_hex());
            Ok(())
        }
        What::Check(config) => {
            logging::begin(LogForm::Text, "warn");
            let connector = read(&config.config)?;
            let clients = connect(&connector, &Clock::system()).await?;
            let mut authorities: Vec<_> = clients.into_iter().collect();
            authorities.sort_by(|one, two| one.0.cmp(&two.0));
            for (authority, client) in authorities {
                let trust = client.trust();
                let (rules, directory) = (trust.rules.document(), trust.directory.document());
                println!(
                    "{authority}: its key is in the directory; rules {}, directory {}, {} brokers",
                    rules.version,
                    directory.version,
                    directory.brokers.len()
                );
            }
            Ok(())
        }
    }
}

impl From<ConnectorError> for Exit {
    fn from(error: ConnectorError) -> Self {
        match error {
            ConnectorError::Client { authority, error } => {
                let exit = Self::from(*error);
                exit.about(&format!("the authority `{authority}`"))
            }
            ConnectorError::Port { .. } => Self::failed(error),
            error => Self::usage(error),
        }
    }
}
