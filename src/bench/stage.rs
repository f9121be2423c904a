// SPDX-License-Identifier: EUPL-1.2
//! Empty stores to measure, and a temporary folder that goes with them.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use einmal_ledger::{
    Ledger, LedgerConfig, PostgresOptions, PostgresStore, SqliteStore, store::Store,
};
use einmal_peer::random;
use einmal_protocol::key::SigningKey;
use einmal_test_servers::Postgres;

use super::LedgerArgs;
use crate::Exit;

/// A new folder in this one, or among the temporary ones.
///
/// # Errors
/// Where it cannot be made.
pub(super) fn folder(above: Option<&Path>) -> Result<PathBuf, Exit> {
    let [a, b, c, d] = random::bytes().map_err(Exit::failed)?;
    let name = format!("einmal-bench-{:08x}", u32::from_be_bytes([a, b, c, d]));
    let folder = above.map_or_else(std::env::temp_dir, Path::to_owned).join(name);
    std::fs::create_dir_all(&folder).map_err(Exit::failed)?;
    Ok(folder)
}

/// Memory of a process that is in use, in KiB; 0 where the system does not say. "self" is this one.
pub(super) fn resident_kib(process: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or_default();
    line.trim().trim_end_matches(" kB").parse().unwrap_or_default()
}

/// A folder on the disk that is measured, and a server where one was started.
pub(super) struct Stage {
    pub(super) folder: PathBuf,
    postgres: Option<String>,
    _server: Option<Postgres>,
}

impl Stage {
    /// Makes the folder, and starts PostgreSQL where it is wanted and none was named.
    pub(super) fn new(args: &LedgerArgs) -> Result<Self, Exit> {
        let folder = folder(args.folder.as_deref())?;
        let wanted = args.stores.iter().any(|store| store == "postgres");
        let server = match (&args.postgres, wanted) {
            (None, true) => Postgres::start(),
            _ => None,
        };
        let postgres = args.postgres.clone().or_else(|| server.as_ref().map(Postgres::url));
        if wanted && postgres.is_none() {
            eprintln!("PostgreSQL is not installed: left out");
        }
        Ok(Self { folder, postgres, _server: server })
    }

    /// An empty ledger on a store of this kind; nothing where there is none.
    pub(super) async fn ledger(&self, store: &str, name: &str) -> Result<Option<Ledger>, Exit> {
        let config = self.config(store, name);
        let made: Arc<dyn Store> = match (store, &self.postgres) {
            ("sqlite", _) => {
                let made = SqliteStore::create(config.database.as_path(), &config.origin).await;
                Arc::new(made.map_err(Exit::failed)?)
            }
            ("postgres", Some(url)) => {
                let made = PostgresStore::create(options(url, name)?, &config.origin).await;
                Arc::new(made.map_err(Exit::failed)?)
            }
            ("postgres", None) => return Ok(None),
            (other, _) => {
                return Err(Exit::usage(format!(
                    "`{other}` is no store; say raw, sqlite or postgres"
                )));
            }
        };
        let key = SigningKey::from_seed(&[1; 32]).map_err(Exit::failed)?;
        Ledger::start(made, &config, key).await.map(Some).map_err(Exit::failed)
    }

    /// Opens it again.
    pub(super) async fn reopen(&self, store: &str, name: &str) -> Result<Ledger, Exit> {
        let config = self.config(store, name);
        let opened: Arc<dyn Store> = match (store, &self.postgres) {
            ("postgres", Some(url)) => {
                let opened = PostgresStore::open(options(url, name)?).await;
                Arc::new(opened.map_err(Exit::failed)?)
            }
            _ => {
                let opened = SqliteStore::open(config.database.as_path()).await;
                Arc::new(opened.map_err(Exit::failed)?)
            }
        };
        let key = SigningKey::from_seed(&[1; 32]).map_err(Exit::failed)?;
        Ledger::start(opened, &config, key).await.map_err(Exit::failed)
    }

    fn config(&self, store: &str, name: &str) -> LedgerConfig {
        let at = |ending: &str| self.folder.join(format!("{store}-{name}.{ending}"));
        let mut config = LedgerConfig::new("bench.example/ledger", at("db"), at("memory"));
        config.batch_max = LedgerConfig::BATCH_LIMIT;
        config
    }
}

fn options(url: &str, name: &str) -> Result<PostgresOptions, Exit> {
    let options = PostgresOptions::new(url).map_err(Exit::usage)?;
    options.schema(&format!("bench_{name}")).map_err(Exit::usage)
}

impl Drop for Stage {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.folder) {
            eprintln!("{} could not be deleted: {error}", self.folder.display());
        }
    }
}
