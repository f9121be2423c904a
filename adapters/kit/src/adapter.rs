// SPDX-License-Identifier: EUPL-1.2
//! Putting an adapter together: one process, any number of registers, a stream to every broker of
//! the directory, and no open port.

use std::{collections::HashMap, net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};

use einmal_peer::{
    Cards, Clock, HandIn, Seen, Tls, TrustStore,
    dial::{self, DialError, Target},
    expiry, figures,
    files::FileError,
    hand_in::HandedIn,
    random::NoRandomness,
    trust::{self, TrustStoreError},
};
use einmal_policy::{Root, Trust, root::RootError};
use einmal_protocol::{
    key::{KeyError, SigningKey},
    seal::SealError,
    wire::v1::Envelope,
};
use tokio::{sync::watch, task::JoinSet};
use tokio_util::sync::CancellationToken;
use tonic::Status;

use crate::{
    bulkhead::{Bulkhead, RegisterLimits, RegisterState, Threads},
    certificate,
    counted::{Count, Counts},
    figures::{Exchanges, Figures},
    journal::{self, Journal, JournalError, JournalSetup, JournalStatus},
    node::Node,
    register::Register,
    replay::{Orphans, Revealed},
    sealing::SealingKeys,
    spent::{Spent, Taken},
    streams::{self, Part},
};

/// Registers on one stream: what a broker takes.
const STREAM_REGISTERS_MAX: usize = 1024;
/// Registers of one adapter: 16 streams to each broker, of the 64 that an operator may have there.
pub const REGISTERS_MAX: usize = 16 * STREAM_REGISTERS_MAX;
/// Streams that have not ended so long after they were told to are cut.
const STOP: Duration = Duration::from_secs(20);

/// What an adapter needs beside its registers.
pub struct AdapterSetup {
    /// A broker to ask for rules and directory first: "https://host:port".
    pub broker: String,
    /// Own certificate and whom to believe; its files are read again when they change.
    pub tls: Tls,
    /// The pinned root.
    pub root: Envelope,
    /// Folder for trusted state, last checkpoints and sealing keys.
    pub state: PathBuf,
    /// The time.
    pub clock: Clock,
    /// Exchanges open at once on each stream.
    pub credits: u32,
    /// Other processes serve the same registers: sealing keys then come from a file that all of
    /// them began with.
    pub replicated: bool,
    /// Where figures are served, in plain HTTP; nowhere without.
    pub metrics: Option<SocketAddr>,
}

/// One register that this adapter speaks for.
pub struct RegisterSetup {
    /// Its id in the directory.
    pub id: String,
    /// Its identity key, named in the directory.
    pub identity: SigningKey,
    /// What looks people up.
    pub register: Arc<dyn Register>,
    /// What it may take of this adapter.
    pub limits: RegisterLimits,
    /// Where each exchange is journalled before its answer leaves; nothing where the register's
    /// own system does that.
    pub journal: Option<JournalSetup>,
}

/// What all exchanges of one adapter share.
pub(crate) struct Shared {
    pub(crate) clock: Clock,
    pub(crate) trust: Arc<TrustStore>,
    pub(crate) cards: Cards,
    pub(crate) seen: Arc<Seen>,
    pub(crate) revealed: Revealed,
    pub(crate) orphans: Orphans,
    pub(crate) nodes: HashMap<String, Arc<Node>>,
    pub(crate) credits: u32,
    /// The own certificate, as it was read last.
    pub(crate) tls: watch::Receiver<Tls>,
    /// The broker of the configuration.
    pub(crate) first_broker: String,
    pub(crate) trust_domain: String,
    pub(crate) streams: Count,
    pub(crate) exchanges: Count,
    pub(crate) unproven: Count,
    pub(crate) spent: Spent,
    pub(crate) told: Exchanges,
    _threads: Threads,
}

/// An adapter that runs.
pub struct Adapter {
    /// Where figures are, if they are served.
    pub metrics: Option<SocketAddr>,
    shared: Arc<Shared>,
    stop: CancellationToken,
    tasks: JoinSet<()>,
}

impl std::fmt::Debug for Adapter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut ids: Vec<&str> = self.shared.nodes.keys().map(String::as_str).collect();
        ids.sort_unstable();
        write!(f, "Adapter({ids:?})")
    }
}

/// Fetches and verifies trust, makes or reads sealing keys, and attaches to every broker of the
/// directory. Returns when the first trust is accepted; streams connect and reconnect by
/// themselves.
///
/// # Errors
/// Where the broker does not answer, the trust is not accepted, or a file cannot be used.
pub async fn start(
    setup: AdapterSetup,
    registers: Vec<RegisterSetup>,
) -> Result<Adapter, StartError> {
    let now_ms = setup.clock.now_ms();
    let trust_domain = Root::pinned(&setup.root)?.document().trust_domain.clone();
    let target = Target::broker(&setup.broker, &trust_domain);
    let channel = dial::channel(&target, Arc::clone(&setup.tls.client))?;
    let documents =
        trust::fetch(channel).await.map_err(|status| StartError::Broker(Box::new(status)))?;
    let state = setup.state.join("trust.json");
    let trust = Arc::new(TrustStore::open(setup.root, documents, &state, now_ms)?);
    let directory = Arc::clone(&trust.current().directory);
    let seen = Arc::new(Seen::open(&setup.state.join("seen.json"), &directory)?);
    // Kept, so that after a restart no broker can hand out an older card.
    let cards = Cards::open(&setup.state.join("cards"), &directory, now_ms)?;
    let limits = registers.iter().map(|register| register.limits.clone());
    let threads = Threads::new(limits, setup.credits).map_err(StartError::Threads)?;
    let clock = setup.clock;
    let mut nodes = HashMap::new();
    for RegisterSetup { id, identity, register, limits, journal } in registers {
        let entry =
            directory.register(&id).ok_or_else(|| StartError::NotInDirectory(id.clone()))?;
        if !entry.keys.contains(identity.public()) {
            return Err(StartError::OtherKey(id));
        }
        let sealing = (setup.replicated, now_ms);
        let sealing = SealingKeys::open(&setup.state, &id, &identity, sealing)?;
        let bulkhead = Bulkhead::new(&id, &limits, setup.credits, threads.handle());
        let journal = journal.map(|setup| Journal::open(&setup, &id, &clock)).transpose().map_err(
            |error| StartError::Journal { register: id.clone(), error: Box::new(error) },
        )?;
        let node = Node::new(id.clone(), (identity, register), (bulkhead, journal), sealing);
        nodes.insert(id, Arc::new(node));
    }
    let parts = parts(&nodes)?;
    let (tls, tls_held) = watch::channel(setup.tls);
    let shared = Arc::new(Shared {
        clock,
        trust,
        cards,
        seen,
        revealed: Revealed::default(),
        orphans: Orphans::default(),
        nodes,
        credits: setup.credits,
        tls: tls_held,
        first_broker: setup.broker,
        trust_domain,
        streams: Count::default(),
        exchanges: Count::default(),
        unproven: Count::default(),
        spent: Spent::default(),
        told: Exchanges::default(),
        _threads: threads,
    });
    let stop = CancellationToken::new();
    let metrics = match setup.metrics {
        Some(at) => Some(show(at, &shared, &stop).await?),
        None => None,
    };
    let mut tasks = JoinSet::new();
    tasks.spawn(certificate::follow(tls, stop.clone()));
    tasks.spawn(daily(Arc::clone(&shared), stop.clone()));
    tasks.spawn(journal::tend(Arc::clone(&shared), stop.clone()));
    tasks.spawn(streams::follow(Arc::clone(&shared), parts, stop.clone()));
    Ok(Adapter { metrics, shared, stop, tasks })
}

async fn show(
    at: SocketAddr,
    shared: &Arc<Shared>,
    stop: &CancellationToken,
) -> Result<SocketAddr, StartError> {
    let router = figures::router(vec![Arc::new(Figures::new(Arc::clone(shared)))]);
    let served = figures::serve(at, router, stop.clone()).await;
    served.map_err(|error| StartError::Port { at, error })
}

/// Registers by stream: a broker takes so many on one.
fn parts(nodes: &HashMap<String, Arc<Node>>) -> Result<Vec<Part>, StartError> {
    if nodes.is_empty() || nodes.len() > REGISTERS_MAX {
        return Err(StartError::HowMany(nodes.len()));
    }
    let mut all: Vec<Arc<Node>> = nodes.values().cloned().collect();
    all.sort_unstable_by(|one, other| one.id.cmp(&other.id));
    Ok(all.chunks(STREAM_REGISTERS_MAX).map(|part| Arc::new(part.to_vec())).collect())
}

/// What is done once a day, with the certificate that is held at the time.
async fn daily(shared: Arc<Shared>, stop: CancellationToken) {
    let mut tls = shared.tls.clone();
    while !stop.is_cancelled() {
        let held = tls.borrow_and_update().clone();
        let over = stop.child_token();
        let (trust, clock) = (Arc::clone(&shared.trust), shared.clock.clone());
        let warn = expiry::daily(Arc::clone(&trust), held.clone(), clock, over.clone());
        let hand_in = shared.hand_in(&held);
        let hand_in = hand_in.daily(Arc::clone(&shared.seen), trust, over.clone());
        let newer = async {
            tokio::select! {
                Ok(()) = tls.changed() => {}
                () = stop.cancelled() => {}
            }
            over.cancel();
        };
        tokio::join!(warn, hand_in, newer);
    }
}

impl Shared {
    fn hand_in(&self, tls: &Tls) -> HandIn {
        HandIn::new(Arc::clone(&tls.client), &self.trust_domain)
    }
}

impl Adapter {
    /// Hands in what this adapter saw of each ledger to its keeper, now. It is done by itself
    /// shortly after the start and once a day.
    pub async fn hand_in(&self) -> HandedIn {
        let hand_in = self.shared.hand_in(&self.shared.tls.borrow().clone());
        hand_in.now(&self.shared.seen, &self.shared.trust.current().directory).await
    }

    /// The rules, directory and deny list that it holds.
    pub fn trust(&self) -> Arc<Trust> {
        self.shared.trust.current()
    }

    /// What each register does at the moment, sorted by id.
    pub fn registers(&self) -> Vec<RegisterState> {
        let mut states: Vec<_> =
            self.shared.nodes.values().map(|node| node.bulkhead.state()).collect();
        states.sort_unstable_by(|one, other| one.register.cmp(&other.register));
        states
    }

    /// What is open at the moment.
    pub fn counts(&self) -> Counts {
        let Shared { streams, exchanges, unproven, nodes, .. } = &*self.shared;
        let lookups = nodes.values().map(|node| node.bulkhead.state().lookups).sum();
        Counts {
            streams: streams.now(),
            exchanges: exchanges.now(),
            unproven: unproven.now(),
            lookups,
        }
    }

    /// Where the time of its exchanges went, since its start.
    pub fn taken(&self) -> Vec<Taken> {
        self.shared.spent.taken()
    }

    /// Ends: tells the brokers, lets what is open end, closes the streams.
    pub async fn stop(mut self) {
        self.stop.cancel();
        let ended = async { while self.tasks.join_next().await.is_some() {} };
        if tokio::time::timeout(STOP, ended).await.is_err() {
            tracing::warn!("a broker keeps a stream open; it is cut");
            self.tasks.shutdown().await;
        }
        for journal in self.shared.nodes.values().filter_map(|node| node.journal.as_ref()) {
            journal.close().await;
        }
        if let Err(error) = self.shared.seen.save() {
            tracing::error!(%error, "the last checkpoint cannot be kept");
        }
    }

    /// Looks now for what the journals hold receipts for in the published ledgers. It is done by
    /// itself every hour. `at` names another place than the directory does, by a ledger's origin.
    pub async fn audit(
        &self,
        at: impl Fn(&str) -> Option<String>,
    ) -> Vec<(String, journal::audit::Audited)> {
        journal::audit_all_of(&self.shared, at).await
    }

    /// How the registers' journals are, by register.
    pub fn journals(&self) -> Vec<JournalStatus> {
        let journals = self.shared.nodes.values().filter_map(|node| node.journal.as_ref());
        let mut all: Vec<JournalStatus> = journals.map(Journal::status).collect();
        all.sort_by(|one, other| one.register.cmp(&other.register));
        all
    }
}

/// Why an adapter does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Not an address.
    #[error(transparent)]
    Dial(#[from] DialError),
    /// The broker.
    #[error("the broker does not answer: {}", .0.message())]
    Broker(Box<Status>),
    /// The pinned root.
    #[error("the pinned root: {0}")]
    Root(#[from] RootError),
    /// Trust.
    #[error(transparent)]
    Trust(#[from] TrustStoreError),
    /// A file.
    #[error(transparent)]
    File(#[from] FileError),
    /// Not entered.
    #[error("the directory has no register `{0}`; have the register authority enter it")]
    NotInDirectory(String),
    /// None, or too many.
    #[error("an adapter is for 1 to {REGISTERS_MAX} registers, not {0}; start several")]
    HowMany(usize),
    /// Another key.
    #[error("the identity key of `{0}` is not the one in the directory")]
    OtherKey(String),
    /// A port.
    #[error("cannot listen on {at}: {error}")]
    Port {
        /// Which address.
        at: SocketAddr,
        /// What the system said.
        error: std::io::Error,
    },
    /// No threads.
    #[error("the system gives no threads for lookups: {0}")]
    Threads(std::io::Error),
    /// No randomness.
    #[error(transparent)]
    Random(#[from] NoRandomness),
    /// A journal.
    #[error("the journal of `{register}`: {error}")]
    Journal {
        /// Whose.
        register: String,
        /// Why.
        error: Box<JournalError>,
    },
    /// A sealing key.
    #[error(transparent)]
    Seal(#[from] SealError),
    /// An identity key.
    #[error(transparent)]
    Key(#[from] KeyError),
}
