// SPDX-License-Identifier: EUPL-1.2
//! Opening the ledger that a configuration names, with its witnesses and its keeper.

use std::{path::Path, sync::Arc, time::Duration};

use einmal_ledger::{
    Added, Distant, Ledger, LedgerConfig, Need, OpenError, PostgresOptions, PostgresStore,
    SqliteStore, Witness, WitnessFault, Witnesses,
    store::{Pending, Store},
};
use einmal_peer::{
    Tls, TrustStore, files,
    http::{HttpClient, HttpOptions},
};
use einmal_protocol::{Digest, cosignature::WitnessKey, key::SigningKey};
use einmal_witness::{WitnessAnswer, WitnessClient};

use crate::{
    config::{KeeperMemory, LedgerSection},
    keeper_memory,
};

/// A witness reached over HTTP.
struct Remote {
    key: WitnessKey,
    client: WitnessClient,
}

impl Witness for Remote {
    fn key(&self) -> &WitnessKey {
        &self.key
    }

    fn newest<'a>(&'a self, origin: &'a str) -> Pending<'a, Option<String>, WitnessFault> {
        Box::pin(async move {
            self.client.newest(origin).await.map_err(|error| self.silent(error.to_string()))
        })
    }

    fn add_checkpoint<'a>(
        &'a self,
        old_size: u64,
        proof: &'a [Digest],
        note: &'a str,
    ) -> Pending<'a, Added, WitnessFault> {
        Box::pin(async move {
            let answer = self.client.add_checkpoint(old_size, proof, note).await;
            match answer.map_err(|error| self.silent(error.to_string()))? {
                WitnessAnswer::Cosigned(lines) => Ok(Added::Cosigned(lines)),
                WitnessAnswer::Conflict { size } => Ok(Added::Has(size)),
                WitnessAnswer::Refused { status, text } => Err(WitnessFault::Refused {
                    name: self.key.name().to_owned(),
                    problem: format!("{status} {text}"),
                }),
            }
        })
    }
}

impl Remote {
    fn silent(&self, problem: String) -> WitnessFault {
        WitnessFault::Unavailable { name: self.key.name().to_owned(), problem }
    }
}

/// What a section says, as the ledger wants it. `required` cosignatures are waited for. Without
/// the keeper: see [`with_keeper`].
///
/// # Errors
/// Where a witness's key is none, fewer are named than are required, or there is no memory.
pub fn settings(section: &LedgerSection, required: usize) -> Result<LedgerConfig, String> {
    let database = section.database.clone().unwrap_or_default();
    let memory = match &section.memory {
        None if section.keeper_memory != KeeperMemory::Required => {
            return Err(
                "name a `memory` in [ledger], or set keeper_memory = \"required\"".to_owned()
            );
        }
        memory => memory.clone().unwrap_or_default(),
    };
    let mut config = LedgerConfig::new(&section.origin, database, memory);
    config.adopt_memory = section.adopt_memory;
    config.reserve_bytes = section.reserve_mib << 20;
    let patience = Duration::from_millis(section.witness_patience_ms);
    let http = HttpOptions { deadline: patience, ..HttpOptions::default() };
    let http = Arc::new(HttpClient::new(http));
    let mut all: Vec<Arc<dyn Witness>> = Vec::new();
    for named in &section.witnesses {
        let key = WitnessKey::parse(&named.key)
            .map_err(|error| format!("the witness key `{}`: {error}", named.key))?;
        all.push(Arc::new(Remote {
            key,
            client: WitnessClient::new(Arc::clone(&http), &named.url),
        }));
    }
    if all.len() < required {
        return Err(format!(
            "the rules ask for {required} cosignatures, but only {} witnesses are configured under \
             [[ledger.witnesses]]",
            all.len()
        ));
    }
    config.witnesses = Witnesses { all, required, patience };
    Ok(config)
}

/// Adds the ledger's keeper, where the section says that it is a memory. Where it is needed and
/// away at start, `start_without` says that the ledger starts, and logs nothing until it answers.
///
/// # Errors
/// Where the directory says not where it is.
pub fn with_keeper(
    config: &mut LedgerConfig,
    section: &LedgerSection,
    (trust, tls): (&Arc<TrustStore>, &Tls),
    start_without: bool,
) -> Result<(), String> {
    let need = match (section.keeper_memory, &section.memory) {
        (KeeperMemory::Off, _) => return Ok(()),
        (KeeperMemory::Told, _) => Need::Told,
        (KeeperMemory::Required, Some(_)) => Need::Required,
        (KeeperMemory::Required, None) => Need::Alone,
    };
    let memory = keeper_memory::KeeperMemory::new(&section.origin, Arc::clone(trust), tls)?;
    let patience = Duration::from_millis(section.keeper_patience_ms);
    config.distant = Some(Distant { memory: Arc::new(memory), need, patience, start_without });
    Ok(())
}

/// A database, as its section names it.
enum Named<'a> {
    Sqlite(&'a Path),
    Postgres(Box<PostgresOptions>),
}

fn named(section: &LedgerSection) -> Result<Named<'_>, OpenError> {
    match (&section.database, &section.postgres) {
        (Some(path), None) => Ok(Named::Sqlite(path)),
        (None, Some(postgres)) => {
            let options = PostgresOptions::new(&postgres.url)?.schema(&postgres.schema)?;
            let options = options.pooler(postgres.pooler);
            let Some(file) = &postgres.password_file else {
                return Ok(Named::Postgres(Box::new(options)));
            };
            let password = files::read_text(file);
            let password = password.map_err(|error| {
                tracing::error!(%error, "the database's password");
                OpenError::Config("the file with the database's password cannot be read")
            })?;
            let options = options.password(password.trim_end_matches(['\r', '\n']));
            Ok(Named::Postgres(Box::new(options)))
        }
        _ => Err(OpenError::Config("name either `database` or `postgres`, and not both")),
    }
}

/// The store that a section names.
///
/// # Errors
/// Where it cannot be opened.
pub async fn store(section: &LedgerSection) -> Result<Arc<dyn Store>, OpenError> {
    Ok(match named(section)? {
        Named::Sqlite(path) => Arc::new(SqliteStore::open(path).await?),
        Named::Postgres(options) => Arc::new(PostgresStore::open(*options).await?),
    })
}

/// The store that a section names, only to be read.
///
/// # Errors
/// Where it cannot be opened.
pub async fn inspect(section: &LedgerSection) -> Result<Arc<dyn Store>, OpenError> {
    Ok(match named(section)? {
        Named::Sqlite(path) => Arc::new(SqliteStore::inspect(path).await?),
        Named::Postgres(options) => Arc::new(PostgresStore::inspect(*options).await?),
    })
}

/// Makes an empty ledger and its memory. Its keeper is not asked: where it is the only memory, it
/// is when the broker starts.
///
/// # Errors
/// Where there is one already.
pub async fn create(section: &LedgerSection, key: SigningKey) -> Result<(), OpenError> {
    if section.memory.as_ref().is_some_and(|memory| memory.exists()) {
        return Err(OpenError::MemoryExists);
    }
    let config = settings(section, 0);
    let config = config.map_err(|_| OpenError::Config("a witness's key or the memory is none"))?;
    let store: Arc<dyn Store> = match named(section)? {
        Named::Sqlite(path) => Arc::new(SqliteStore::create(path, &section.origin).await?),
        Named::Postgres(options) => {
            Arc::new(PostgresStore::create(*options, &section.origin).await?)
        }
    };
    match section.memory {
        Some(_) => Ledger::start(store, &config, key).await?.close().await,
        None => store.disconnect().await,
    }
    Ok(())
}

/// Opens it.
///
/// # Errors
/// Where the ledger does not start.
pub async fn open(
    section: &LedgerSection,
    config: &LedgerConfig,
    key: SigningKey,
) -> Result<Ledger, OpenError> {
    Ledger::start(store(section).await?, config, key).await
}
