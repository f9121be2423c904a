// SPDX-License-Identifier: EUPL-1.2
//! Putting a broker together, running it, and ending it without losing an exchange.

use std::{
    net::SocketAddr,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use axum::Router;
use einmal_ledger::{Ledger, OpenError};
use einmal_peer::{
    Archive, Cards, Clock, Tls, TrustStore, expiry,
    figures::{self, Later, Shown},
    files::{self, FileError},
    listen, reload,
    trust::{TRUST_MAX, TrustStoreError},
};
use einmal_policy::documents::Offer;
use einmal_protocol::{
    request::{SEALED_PERSON_MAX, SIGNED_REQUEST_MAX},
    wire::{
        DESCRIPTORS, directory::v1::directory_service_server::DirectoryServiceServer,
        evidence::v1::evidence_service_server::EvidenceServiceServer,
        ledger::v1::ledger_service_server::LedgerServiceServer,
        register::v1::register_service_server::RegisterServiceServer,
    },
};
use prometheus_client::registry::Registry;
use tokio::{
    net::TcpListener,
    sync::{Semaphore, mpsc},
    task::JoinHandle,
};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::server::NamedService;
use tonic_health::{ServingStatus, server::HealthReporter};

use crate::{
    Broker, BrokerConfig,
    admission::Admission,
    attachments::Attachments,
    authenticate::VerifiedBatches,
    forget,
    metrics::Metrics,
    open_ledger as opening,
    publishers::Publishers,
    services::{
        directory::DirectoryRoom, evidence::Evidence, ledger::LedgerRoom, register::RegisterRoom,
    },
    shared::{self, Shared},
    window::Window,
};

/// Keepers and auditors that read bodies at once.
const READERS_MAX: usize = 16;
/// A commitment is the longest message of an adapter.
const ATTACH_MAX: usize = 512 * 1024;
/// Public checkpoints change at most this often, so that they do not tell when somebody asked.
const PUBLISH: Duration = Duration::from_secs(60);

/// A broker that runs.
pub struct Running {
    /// The broker.
    pub broker: Arc<Broker>,
    /// Where it listens.
    pub address: SocketAddr,
    /// Where checkpoint and tiles are.
    pub public: Option<SocketAddr>,
    /// Where metrics are.
    pub metrics: Option<SocketAddr>,
    stop: CancellationToken,
    server: JoinHandle<Result<(), tonic::transport::Error>>,
}

impl std::fmt::Debug for Running {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Running({})", self.address)
    }
}

/// Reads everything, checks everything, then opens the ports.
///
/// # Errors
/// Names the file, the document, the ledger's contradiction or the port.
pub async fn start(config: &BrokerConfig, clock: Clock) -> Result<Running, ServeError> {
    let now_ms = clock.now_ms();
    let tls = Tls::load(&config.tls)?;
    let trust = Arc::new(trust(config, now_ms)?);
    let current = trust.current();
    let trust_domain = current.root.document().trust_domain.clone();
    let cards = Cards::open(&config.state.join("cards"), &current.directory, now_ms)?;
    let metrics = Metrics::default();
    let facts = (clock.clone(), metrics.shared.clone());
    let here = (config.ledger.origin.as_str(), tls.own.id.as_str());
    let shared = Shared::new(config.shared.as_ref(), here, &config.limits, facts);
    let shared = shared.map_err(ServeError::Shared)?;
    let ledger = open_ledger(config, &trust, &tls).await?;
    let broker = Arc::new(Broker {
        origin: config.ledger.origin.clone(),
        clock,
        trust,
        cards,
        ledger,
        attachments: Attachments::default(),
        window: Window::new(config.limits.window_ms, config.limits.window_bytes_max),
        verified: VerifiedBatches::default(),
        shared,
        admission: Arc::new(Admission::new(&config.limits)),
        in_flight: Arc::new(Semaphore::new(config.limits.in_flight_max)),
        readers: Arc::new(Semaphore::new(READERS_MAX)),
        publishers: Publishers::default(),
        draining: AtomicBool::new(false),
        limits: config.limits.clone(),
        metrics,
    });
    let stop = CancellationToken::new();
    let listener = bind(config.listen).await?;
    let address = listener.local_addr().map_err(|error| ServeError::port(config.listen, error))?;
    let public = match config.public {
        Some(at) => {
            let router = einmal_ledger::router(broker.ledger.clone(), PUBLISH);
            Some(plain(at, router, &stop).await?)
        }
        None => None,
    };
    let metrics = match config.metrics {
        Some(at) => {
            let watched = Watched { broker: Arc::clone(&broker), tls: tls.clone() };
            Some(plain(at, figures::router(vec![Arc::new(watched)]), &stop).await?)
        }
        None => None,
    };
    shared::begin(&broker, &tls, &stop);
    let (into, incoming) = mpsc::channel(64);
    let limits = (trust_domain, config.limits.bounds());
    tokio::spawn(listen::accept(listener, tls.clone(), limits, into, stop.clone()));
    tokio::spawn(reload::keep(tls.clone(), stop.clone()));
    tokio::spawn(expiry::daily(
        Arc::clone(&broker.trust),
        tls.clone(),
        broker.clock.clone(),
        stop.clone(),
    ));
    tokio::spawn(forget::daily(
        Arc::clone(&broker),
        format!("broker/{}", tls.own.id),
        stop.clone(),
    ));
    let server = tokio::spawn(grpc(Arc::clone(&broker), incoming, stop.clone()));
    tracing::info!(%address, ledger = broker.origin, size = broker.ledger.checkpoint().size(), "listening");
    Ok(Running { broker, address, public, metrics, stop, server })
}

/// Verifies the documents that a configuration names, from the pinned root.
///
/// # Errors
/// Names the file or document.
pub fn trust(config: &BrokerConfig, now_ms: u64) -> Result<TrustStore, ServeError> {
    let (offer, state) = (offer(config)?, state(config));
    let archive = Arc::new(Archive::open(&archive(config))?);
    Ok(TrustStore::archiving(files::envelope(&config.root)?, offer, &state, archive, now_ms)?)
}

/// The documents that a configuration names. Not verified.
///
/// # Errors
/// Names the file that is none.
pub fn offer(config: &BrokerConfig) -> Result<Offer, FileError> {
    let read = |path: &PathBuf| files::envelope(path);
    Ok(Offer {
        roots: config.newer_roots.iter().map(read).collect::<Result<_, _>>()?,
        rules: config.rules.iter().map(read).collect::<Result<_, _>>()?,
        directory: Some(read(&config.directory)?),
        deny: config.deny.as_ref().map(read).transpose()?,
        freshness: None,
    })
}

/// Where a broker remembers what it accepted last.
pub fn state(config: &BrokerConfig) -> PathBuf {
    config.state.join("trust.json")
}

/// Where a broker keeps every document that it ever accepted.
pub fn archive(config: &BrokerConfig) -> PathBuf {
    config.state.join("archive")
}

async fn open_ledger(
    config: &BrokerConfig,
    trust: &Arc<TrustStore>,
    tls: &Tls,
) -> Result<Ledger, ServeError> {
    let (section, store) = (&config.ledger, trust);
    let trust = store.current();
    let known = trust.directory.ledger(&section.origin).ok_or_else(|| {
        ServeError::Ledger(format!("the directory has no ledger `{}`", section.origin))
    })?;
    if known.entry.final_checkpoint.is_some() {
        return Err(ServeError::Ledger(format!("the ledger `{}` is closed", section.origin)));
    }
    let key = files::signing_key(&section.key)?;
    let named = einmal_protocol::note::LedgerKey::new(&section.origin, key.public().clone());
    if named.as_ref() != Ok(&known.key) {
        return Err(ServeError::Ledger(
            "the ledger's key is not the one in the directory".to_owned(),
        ));
    }
    let required = trust.rules.quorum().required;
    let mut settings = opening::settings(section, required).map_err(ServeError::Ledger)?;
    // Without the broker's documents a keeper cannot start either.
    opening::with_keeper(&mut settings, section, (store, tls), true).map_err(ServeError::Ledger)?;
    Ok(opening::open(section, &settings, key).await?)
}

async fn bind(at: SocketAddr) -> Result<TcpListener, ServeError> {
    TcpListener::bind(at).await.map_err(|error| ServeError::port(at, error))
}

async fn plain(
    at: SocketAddr,
    router: Router,
    stop: &CancellationToken,
) -> Result<SocketAddr, ServeError> {
    figures::serve(at, router, stop.clone()).await.map_err(|error| ServeError::port(at, error))
}

/// A broker as its operator watches it.
struct Watched {
    broker: Arc<Broker>,
    tls: Tls,
}

impl Shown for Watched {
    fn look(&self) -> Later<'_, Result<(), &'static str>> {
        let Self { broker, tls } = self;
        Box::pin(async move {
            broker.metrics.ledger_size.set(broker.ledger.checkpoint().size());
            broker.metrics.admission(broker.admission.figures());
            let held = (&*broker.trust.current(), tls.ends_at_ms());
            broker.metrics.expire(broker.clock.now_ms(), held)?;
            if broker.draining.load(Ordering::Relaxed) {
                return Err("it is about to end");
            }
            broker.ledger.is_healthy().then_some(()).ok_or("the ledger takes nothing")
        })
    }

    fn registry(&self) -> &Registry {
        self.broker.metrics.registry()
    }
}

fn name_of<S: NamedService>(_: &S) -> &'static str {
    S::NAME
}

async fn grpc(
    broker: Arc<Broker>,
    incoming: mpsc::Receiver<std::io::Result<listen::PeerStream>>,
    stop: CancellationToken,
) -> Result<(), tonic::transport::Error> {
    let (health, health_service) = tonic_health::server::health_reporter();
    let evidence = EvidenceServiceServer::new(Evidence(Arc::clone(&broker)))
        .max_decoding_message_size(SIGNED_REQUEST_MAX + SEALED_PERSON_MAX + 1024);
    let register = RegisterServiceServer::new(RegisterRoom(Arc::clone(&broker)))
        .max_decoding_message_size(ATTACH_MAX);
    let ledger = LedgerServiceServer::new(LedgerRoom(Arc::clone(&broker)));
    let directory = DirectoryServiceServer::new(DirectoryRoom(Arc::clone(&broker)))
        .max_decoding_message_size(TRUST_MAX)
        .max_encoding_message_size(TRUST_MAX);
    let reflection = || {
        tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(DESCRIPTORS)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
            // Only what is served here: the descriptors hold the keeper's service too.
            .with_service_name(name_of(&health_service))
            .with_service_name(name_of(&evidence))
            .with_service_name(name_of(&register))
            .with_service_name(name_of(&ledger))
            .with_service_name(name_of(&directory))
    };
    let (v1, v1alpha) = (reflection().build_v1().ok(), reflection().build_v1alpha().ok());
    tokio::spawn(watch(Arc::clone(&broker), health, stop.clone()));
    broker
        .limits
        .bounds()
        .server()
        .initial_stream_window_size(1024 * 1024)
        .initial_connection_window_size(8 * 1024 * 1024)
        .add_service(health_service)
        .add_optional_service(v1)
        .add_optional_service(v1alpha)
        .add_service(evidence)
        .add_service(register)
        .add_service(ledger)
        .add_service(directory)
        .serve_with_incoming_shutdown(ReceiverStream::new(incoming), async move {
            stop.cancelled().await;
        })
        .await
}

/// Keeps the health status true, and the window small.
async fn watch(broker: Arc<Broker>, health: HealthReporter, stop: CancellationToken) {
    let mut tick = tokio::time::interval(Duration::from_secs(1));
    loop {
        let fit = broker.ledger.is_healthy()
            && broker.trust.current().check_time(broker.clock.now_ms()).is_ok();
        let status = if fit { ServingStatus::Serving } else { ServingStatus::NotServing };
        for service in
            ["", "einmal.evidence.v1.EvidenceService", "einmal.register.v1.RegisterService"]
        {
            health.set_service_status(service, status).await;
        }
        broker.window.sweep(broker.clock.now_ms());
        tokio::select! {
            _ = tick.tick() => {}
            () = stop.cancelled() => {
                health.set_service_status("", ServingStatus::NotServing).await;
                return;
            }
        }
    }
}

impl Running {
    /// Takes nothing new, lets what is in flight end, closes the ledger.
    pub async fn stop(self) {
        self.broker.draining.store(true, Ordering::Relaxed);
        self.broker.attachments.drain();
        let limit = self.broker.limits.exchange();
        let all = u32::try_from(self.broker.limits.in_flight_max).unwrap_or(u32::MAX);
        let idle = Arc::clone(&self.broker.in_flight);
        // All places free: nothing is in flight, and nothing can begin any more.
        let _ended = tokio::time::timeout(limit, idle.acquire_many_owned(all)).await;
        self.stop.cancel();
        // Streams of adapters are long: they are cut after a moment.
        let mut server = self.server;
        if tokio::time::timeout(Duration::from_secs(1), &mut server).await.is_err() {
            server.abort();
        }
        self.broker.ledger.clone().close().await;
        tracing::info!("stopped");
    }
}

/// Why a broker does not start.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// A file.
    #[error(transparent)]
    File(#[from] FileError),
    /// Rules or directory.
    #[error(transparent)]
    Trust(#[from] TrustStoreError),
    /// The ledger contradicts what is known of it.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// What it is to share.
    #[error("[shared]: {0}")]
    Shared(String),
    /// The ledger is not the directory's.
    #[error("{0}")]
    Ledger(String),
    /// A port.
    #[error("cannot listen on {at}: {problem}; is another broker running?")]
    Port {
        /// Which address.
        at: SocketAddr,
        /// What the system said.
        problem: String,
    },
}

impl ServeError {
    fn port(at: SocketAddr, error: std::io::Error) -> Self {
        Self::Port { at, problem: error.to_string() }
    }
}
