// SPDX-License-Identifier: EUPL-1.2
//! The broker's configuration file. Unknown keys are refused; everything is read before a port
//! is opened.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use einmal_peer::{TlsFiles, listen::Bounds};
use serde::{Deserialize, Deserializer};

use crate::shared::SharedSection;

/// Requests of one connection at once.
const STREAMS_MAX: u32 = 1_000;

/// `broker.toml`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BrokerConfig {
    /// Where authorities and adapters dial, over mTLS.
    pub listen: SocketAddr,
    /// Where checkpoint and tiles are served to anybody, in plain HTTP; left out: nowhere.
    #[serde(default)]
    pub public: Option<SocketAddr>,
    /// Where metrics are served, in plain HTTP; keep it on loopback. Left out: nowhere.
    #[serde(default)]
    pub metrics: Option<SocketAddr>,
    /// Own certificate and whom to believe.
    pub tls: TlsFiles,
    /// The pinned root, a signed envelope.
    pub root: PathBuf,
    /// Newer roots in order, if any.
    #[serde(default)]
    pub newer_roots: Vec<PathBuf>,
    /// The signed rules: those that both roles signed and, if any, those that only narrow them, in
    /// order. Newer ones that were published since count instead.
    #[serde(deserialize_with = "one_or_more")]
    pub rules: Vec<PathBuf>,
    /// The signed directory; a newer one that was published since counts instead.
    pub directory: PathBuf,
    /// The signed deny list to begin with; left out: until one is published, all is refused.
    #[serde(default)]
    pub deny: Option<PathBuf>,
    /// Folder for trusted state and key cards.
    pub state: PathBuf,
    /// The ledger.
    pub ledger: LedgerSection,
    /// The Redis that all brokers of the ledger share; left out: none.
    #[serde(default)]
    pub shared: Option<SharedSection>,
    /// Limits; all have defaults.
    #[serde(default)]
    pub limits: Limits,
}

/// One path or URL, or a list of them.
pub(crate) fn one_or_more<'de, D, T>(from: D) -> Result<Vec<T>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Named<T> {
        One(T),
        More(Vec<T>),
    }
    Ok(match Named::deserialize(from)? {
        Named::One(one) => vec![one],
        Named::More(more) => more,
    })
}

/// `[ledger]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LedgerSection {
    /// Its origin, as in the directory.
    pub origin: String,
    /// Its private key, PKCS#8.
    pub key: PathBuf,
    /// Its SQLite database. It must exist: `einmal ledger create` makes one. This or `postgres`.
    #[serde(default)]
    pub database: Option<PathBuf>,
    /// Or a PostgreSQL database, for several brokers on one ledger.
    #[serde(default)]
    pub postgres: Option<PostgresSection>,
    /// Memory of the largest signed checkpoint; on another disk than the database. It may be left
    /// out where `keeper_memory` is "required".
    #[serde(default)]
    pub memory: Option<PathBuf>,
    /// Whether the ledger's keeper remembers it too.
    #[serde(default)]
    pub keeper_memory: KeeperMemory,
    /// How long the keeper is waited for, in milliseconds, before it counts as away.
    #[serde(default = "keeper_patience_ms")]
    pub keeper_patience_ms: u64,
    /// Start although the memory is missing. Only after it was really lost.
    #[serde(default)]
    pub adopt_memory: bool,
    /// With less room than this on the database's disk, nothing new is begun.
    #[serde(default = "reserve_mib")]
    pub reserve_mib: u64,
    /// Who cosigns its checkpoints.
    #[serde(default)]
    pub witnesses: Vec<WitnessSection>,
    /// How long witnesses are waited for, in milliseconds, where the rules ask for cosignatures.
    #[serde(default = "witness_patience_ms")]
    pub witness_patience_ms: u64,
}

impl LedgerSection {
    /// Where it lies, for people.
    pub fn place(&self) -> String {
        match &self.database {
            Some(path) => path.display().to_string(),
            None => {
                let schema = self.postgres.as_ref().map_or("", |section| section.schema.as_str());
                format!("PostgreSQL schema {schema}")
            }
        }
    }
}

/// What the ledger's keeper is to the ledger.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum KeeperMemory {
    /// It is not asked.
    #[default]
    Off,
    /// It is asked at start and told what is signed; nobody waits for it.
    Told,
    /// Nothing is answered that it does not know. While it is away, nothing is logged.
    Required,
}

fn keeper_patience_ms() -> u64 {
    2_000
}

fn reserve_mib() -> u64 {
    256
}

fn witness_patience_ms() -> u64 {
    2_000
}

/// `[ledger.postgres]`
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PostgresSection {
    /// "postgres://user@host:port/database"; certificates are verified unless it is this machine.
    pub url: String,
    /// A file with the password, where one is needed: then it stands neither here nor in the URL.
    #[serde(default)]
    pub password_file: Option<PathBuf>,
    /// The schema that holds the ledger's tables.
    #[serde(default = "schema")]
    pub schema: String,
    /// Whether it is reached through a pooler in transaction mode, such as PgBouncer.
    #[serde(default)]
    pub pooler: bool,
}

impl std::fmt::Debug for PostgresSection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The URL may hold a password.
        write!(f, "PostgresSection(schema {})", self.schema)
    }
}

fn schema() -> String {
    "einmal".to_owned()
}

/// `[[ledger.witnesses]]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WitnessSection {
    /// The URL before `/add-checkpoint`.
    pub url: String,
    /// Its key, `name+hash+key`, as `einmal witness key` prints it.
    pub key: String,
}

/// `[limits]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Exchanges in flight at once.
    pub in_flight_max: usize,
    /// While the broker's own part of an exchange takes no longer than this many milliseconds, it
    /// begins more at once; where it takes longer, and longer than it used to, fewer.
    pub own_ms: u32,
    /// Requests that wait for a place at once.
    pub queue_max: usize,
    /// And for so many milliseconds at most.
    pub queue_ms: u64,
    /// Connections at once.
    pub connections_max: usize,
    /// Of them with one certificate's name.
    pub caller_connections_max: usize,
    /// Of them from one address.
    pub address_connections_max: usize,
    /// An exchange ends after this many milliseconds.
    pub exchange_ms: u64,
    /// Identical retries are answered for this many milliseconds.
    pub window_ms: u64,
    /// Bytes of answers kept for identical retries.
    pub window_bytes_max: usize,
    /// Refusals of one authority that are logged in a minute; more are only counted.
    pub refusals_per_minute: u32,
    /// Requests of one authority in a second, at all brokers together; 0: no quota.
    pub authority_per_second: u32,
    /// And so many at once.
    pub authority_burst: u32,
    /// Requests to one register in a second, at all brokers together; 0: no quota.
    pub register_per_second: u32,
    /// And so many at once.
    pub register_burst: u32,
    /// A heartbeat on each adapter's stream after this many milliseconds.
    pub heartbeat_ms: u32,
    /// A ping on each connection after this many milliseconds; who does not answer within half of
    /// that is cut.
    pub ping_ms: u64,
    /// A connection is told to go after this many seconds, so that a revocation bites.
    pub connection_age_s: u64,
    /// And cut this many seconds later.
    pub connection_grace_s: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            in_flight_max: 2_000,
            own_ms: 20,
            queue_max: 1_000,
            queue_ms: 200,
            connections_max: 10_000,
            caller_connections_max: 512,
            address_connections_max: 1_024,
            exchange_ms: 15_000,
            window_ms: 5 * 60_000,
            window_bytes_max: 256 * 1024 * 1024,
            refusals_per_minute: 600,
            authority_per_second: 0,
            authority_burst: 100,
            register_per_second: 0,
            register_burst: 100,
            heartbeat_ms: 10_000,
            ping_ms: 20_000,
            connection_age_s: 3_600,
            connection_grace_s: 60,
        }
    }
}

impl Limits {
    /// Bounds of connections and of HTTP/2 on them.
    pub fn bounds(&self) -> Bounds {
        Bounds {
            connections: self.connections_max,
            of_caller: self.caller_connections_max,
            of_address: self.address_connections_max,
            streams: STREAMS_MAX,
            ping_every: Duration::from_millis(self.ping_ms),
            age: Duration::from_secs(self.connection_age_s),
            grace: Duration::from_secs(self.connection_grace_s),
        }
    }

    /// How long an exchange may take.
    pub fn exchange(&self) -> Duration {
        Duration::from_millis(self.exchange_ms)
    }
}
