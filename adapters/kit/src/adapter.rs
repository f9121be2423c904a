// SPDX-License-Identifier: EUPL-1.2
//! Putting an adapter together: one process, any number of registers, a stream to every broker of
//! the directory, and no open port.

use std::{
    collections::HashMap,
    path::PathBuf,
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use einmal_peer::{
    Cards, Clock, HandIn, PeerRole, Seen, Tls, TrustStore,
    cards::publish,
    dial::{self, DialError, Target},
    expiry,
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
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tonic::{Status, transport::Channel};

use crate::{
    attach,
    bulkhead::{Bulkhead, RegisterLimits, RegisterState, Threads},
    register::Register,
    replay::{Orphans, Revealed},
    sealing::SealingKeys,
};

/// Sealing keys are looked at this often, and newer trust is asked for each time between.
const RENEW: Duration = Duration::from_secs(60);
/// After a stream that lasted, the next is tried at once; then after longer and longer.
const WAIT_MIN: Duration = Duration::from_millis(100);
/// A broker may take so long to take a card.
const PUBLISH: Duration = Duration::from_secs(30);
/// Streams that have not ended so long after they were told to are cut.
const STOP: Duration = Duration::from_secs(20);

/// What an adapter needs beside its registers.
pub struct AdapterSetup {
    /// A broker to ask for rules and directory first: "https://host:port".
    pub broker: String,
    /// Own certificate and whom to believe.
    pub tls: Tls,
    /// The pinned root.
    pub root: Envelope,
    /// Folder for trusted state, last checkpoints and sealing keys.
    pub state: PathBuf,
    /// The time.
    pub clock: Clock,
    /// Exchanges open at once on each stream.
    pub credits: u32,
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
}

/// A register at work.
pub(crate) struct Node {
    pub(crate) id: String,
    pub(crate) identity: SigningKey,
    pub(crate) register: Arc<dyn Register>,
    pub(crate) bulkhead: Bulkhead,
    pub(crate) sealing: RwLock<SealingKeys>,
    /// The newest card, to be published.
    card: RwLock<Envelope>,
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
    _threads: Threads,
}

/// An adapter that runs.
pub struct Adapter {
    shared: Arc<Shared>,
    hand_in: HandIn,
    stop: CancellationToken,
    streams: JoinSet<()>,
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
    let mut nodes = HashMap::new();
    for RegisterSetup { id, identity, register, limits } in registers {
        let entry =
            directory.register(&id).ok_or_else(|| StartError::NotInDirectory(id.clone()))?;
        if !entry.keys.contains(identity.public()) {
            return Err(StartError::OtherKey(id));
        }
        let (sealing, card) = SealingKeys::open(&setup.state, &id, &identity, now_ms)?;
        let (sealing, card) = (RwLock::new(sealing), RwLock::new(card));
        let bulkhead = Bulkhead::new(&id, &limits, setup.credits, threads.handle());
        let node = Node { id: id.clone(), identity, register, bulkhead, sealing, card };
        nodes.insert(id, Arc::new(node));
    }
    let shared = Arc::new(Shared {
        clock: setup.clock,
        trust,
        cards,
        seen,
        revealed: Revealed::default(),
        orphans: Orphans::default(),
        nodes,
        credits: setup.credits,
        _threads: threads,
    });
    let stop = CancellationToken::new();
    let mut streams = JoinSet::new();
    let hand_in = HandIn::new(Arc::clone(&setup.tls.client), &trust_domain);
    let trust = Arc::clone(&shared.trust);
    streams.spawn(expiry::daily(trust, setup.tls.ends_at_ms, shared.clock.clone(), stop.clone()));
    let (seen, trust) = (Arc::clone(&shared.seen), Arc::clone(&shared.trust));
    streams.spawn(hand_in.clone().daily(seen, trust, stop.clone()));
    for broker in &directory.document().brokers {
        let target = Target {
            address: broker.address.clone(),
            trust_domain: trust_domain.clone(),
            role: PeerRole::Broker,
            id: Some(broker.id.clone()),
        };
        let channel = dial::channel(&target, Arc::clone(&setup.tls.client))?;
        let (shared, stop) = (Arc::clone(&shared), stop.clone());
        let (broker, ledger) = (broker.id.clone(), broker.ledger.clone());
        streams.spawn(async move {
            stay_attached(shared, channel, (broker, ledger), stop).await;
        });
    }
    Ok(Adapter { shared, hand_in, stop, streams })
}

/// Attaches, and attaches again after a break, waiting a little longer each time.
async fn stay_attached(
    shared: Arc<Shared>,
    channel: Channel,
    (broker, ledger): (String, String),
    stop: CancellationToken,
) {
    let mut wait = WAIT_MIN;
    while !stop.is_cancelled() {
        let began = std::time::Instant::now();
        let attached = async {
            tokio::select! {
                renewed = renew_trust(&shared, &channel) => renewed?,
                () = stop.cancelled() => return Ok(()),
            }
            tokio::select! {
                published = publish_cards(&shared, &channel) => published?,
                () = stop.cancelled() => return Ok(()),
            }
            tokio::select! {
                ended = attach::attach(&shared, channel.clone(), &broker, &ledger, &stop) => ended,
                ended = keep_fresh(&shared, &channel) => ended,
            }
        };
        match attached.await {
            Ok(()) => {
                tracing::info!(broker, "the stream ended");
                wait = WAIT_MIN;
            }
            Err(status) => {
                tracing::warn!(broker, code = ?status.code(), message = status.message(), "not attached");
            }
        }
        if let Err(error) = shared.seen.save() {
            tracing::error!(%error, "the last checkpoint cannot be kept");
        }
        if began.elapsed() > Duration::from_secs(1) {
            wait = WAIT_MIN;
        }
        // Half to the whole of the wait, so that many adapters do not come back at one moment.
        let [jitter] = einmal_peer::random::bytes::<1>().unwrap_or([128]);
        let this_time = wait / 2 + wait / 2 * u32::from(jitter) / 256;
        tokio::select! {
            () = tokio::time::sleep(this_time) => {}
            () = stop.cancelled() => {}
        }
        wait = (wait * 2).min(Duration::from_secs(10));
    }
}

/// Takes newer rules, directory and deny list, if the broker has them. What is not accepted leaves
/// the trust as it was.
async fn renew_trust(shared: &Shared, channel: &Channel) -> Result<(), Status> {
    shared.trust.poll(channel.clone(), shared.clock.now_ms()).await.map(|_| ())
}

async fn publish_cards(shared: &Shared, channel: &Channel) -> Result<(), Status> {
    for node in shared.nodes.values() {
        let card = node.card.read().unwrap_or_else(PoisonError::into_inner).clone();
        tokio::time::timeout(PUBLISH, publish(channel.clone(), card))
            .await
            .map_err(|_| Status::deadline_exceeded("the broker does not take a key card"))??;
    }
    Ok(())
}

/// Takes newer trust while a stream lasts, changes sealing keys in time and announces them. Ends
/// only where the broker fails: the stream is then begun anew.
async fn keep_fresh(shared: &Shared, channel: &Channel) -> Result<(), Status> {
    loop {
        let keys_are_due = tokio::time::Instant::now() + RENEW;
        while tokio::time::Instant::now() < keys_are_due {
            tokio::time::sleep(trust::POLL).await;
            renew_trust(shared, channel).await?;
        }
        let now_ms = shared.clock.now_ms();
        let mut changed = false;
        for node in shared.nodes.values() {
            match node.renew(now_ms) {
                Ok(renewed) => changed |= renewed,
                Err(error) => {
                    tracing::error!(register = node.id, %error, "sealing keys are not renewed");
                }
            }
        }
        if changed {
            publish_cards(shared, channel).await?;
        }
    }
}

impl Node {
    /// Makes and destroys sealing keys where it is time; whether there is a new card.
    fn renew(&self, now_ms: u64) -> Result<bool, StartError> {
        let mut sealing = self.sealing.write().unwrap_or_else(PoisonError::into_inner);
        let due = sealing.is_due(now_ms);
        if due {
            let card = sealing.renew(&self.identity, now_ms)?;
            *self.card.write().unwrap_or_else(PoisonError::into_inner) = card;
        }
        Ok(due)
    }
}

impl Adapter {
    /// Hands in what this adapter saw of each ledger to its keeper, now. It is done by itself
    /// shortly after the start and once a day.
    pub async fn hand_in(&self) -> HandedIn {
        self.hand_in.now(&self.shared.seen, &self.shared.trust.current().directory).await
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

    /// Ends: tells the brokers, lets what is open end, closes the streams.
    pub async fn stop(mut self) {
        self.stop.cancel();
        let ended = async { while self.streams.join_next().await.is_some() {} };
        if tokio::time::timeout(STOP, ended).await.is_err() {
            tracing::warn!("a broker keeps a stream open; it is cut");
            self.streams.shutdown().await;
        }
        if let Err(error) = self.shared.seen.save() {
            tracing::error!(%error, "the last checkpoint cannot be kept");
        }
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
    /// Another key.
    #[error("the identity key of `{0}` is not the one in the directory")]
    OtherKey(String),
    /// No threads.
    #[error("the system gives no threads for lookups: {0}")]
    Threads(std::io::Error),
    /// No randomness.
    #[error(transparent)]
    Random(#[from] NoRandomness),
    /// A sealing key.
    #[error(transparent)]
    Seal(#[from] SealError),
    /// An identity key.
    #[error(transparent)]
    Key(#[from] KeyError),
}
