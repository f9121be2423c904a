// SPDX-License-Identifier: EUPL-1.2
//! Where a ledger lies: a folder, and for PostgreSQL a server of its own.

use std::{
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
};

use clap::ValueEnum;
use einmal_ledger::{
    DatabaseError, Ledger, LedgerConfig, OpenError, PostgresOptions, PostgresStore, SqliteStore,
    store::Store,
};
use einmal_protocol::{key::SigningKey, note::LedgerKey};
use einmal_test_servers::Postgres;

pub(crate) const ORIGIN: &str = "einmal.example/faults";

/// A kind of store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Kind {
    Sqlite,
    Postgres,
}

impl Kind {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Sqlite => "sqlite",
            Self::Postgres => "postgres",
        }
    }
}

pub(crate) fn key() -> SigningKey {
    SigningKey::from_seed(&[7; 32]).unwrap()
}

pub(crate) fn ledger_key() -> LedgerKey {
    LedgerKey::new(ORIGIN, key().public().clone()).unwrap()
}

/// How a process finds a ledger.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    pub(crate) kind: Kind,
    pub(crate) folder: PathBuf,
    pub(crate) url: String,
}

impl Place {
    pub(crate) fn config(&self, memory: &str) -> LedgerConfig {
        LedgerConfig::new(ORIGIN, self.database(), self.folder.join(memory))
    }

    fn database(&self) -> PathBuf {
        self.folder.join("ledger.db")
    }

    pub(crate) async fn store(&self) -> Result<Arc<dyn Store>, DatabaseError> {
        Ok(match self.kind {
            Kind::Sqlite => Arc::new(SqliteStore::open(self.database().as_path()).await?),
            Kind::Postgres => Arc::new(PostgresStore::open(options(&self.url)).await?),
        })
    }

    /// Opens the ledger with this memory, which is made where it is missing, as on a new machine.
    pub(crate) async fn open(&self, memory: &str) -> Result<Ledger, OpenError> {
        let mut config = self.config(memory);
        config.adopt_memory = !config.memory.exists();
        Ledger::start(self.store().await?, &config, key()).await
    }
}

fn options(url: &str) -> PostgresOptions {
    PostgresOptions::new(url).unwrap()
}

/// A new ledger. Dropped, its server is ended and its folder deleted.
pub(crate) struct Site {
    pub(crate) place: Place,
    pub(crate) server: Option<Postgres>,
}

impl Site {
    /// Makes one; nothing where its server is not installed.
    pub(crate) async fn new(kind: Kind) -> Option<Self> {
        // A commit takes a little longer, so that it is often what a kill meets.
        let slow = [("commit_delay", "1000"), ("commit_siblings", "0")];
        let server = match kind {
            Kind::Sqlite => None,
            Kind::Postgres => Some(Postgres::start_with(&slow)?),
        };
        let folder = folder();
        let url = server.as_ref().map(Postgres::url).unwrap_or_default();
        let place = Place { kind, folder, url };
        match kind {
            Kind::Sqlite => SqliteStore::create(place.database().as_path(), ORIGIN).await.map(drop),
            Kind::Postgres => PostgresStore::create(options(&place.url), ORIGIN).await.map(drop),
        }
        .unwrap();
        Some(Self { place, server })
    }

    pub(crate) fn folder(&self) -> &Path {
        &self.place.folder
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        // SQLite's threads close their files a little after the handles on them are gone.
        for _ in 0..50 {
            if std::fs::remove_dir_all(self.folder()).is_ok() {
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
    }
}

fn folder() -> PathBuf {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    let path = std::env::temp_dir().join(format!("einmal-faults-{}-{count}", std::process::id()));
    std::fs::create_dir_all(&path).unwrap();
    path
}
