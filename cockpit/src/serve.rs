// SPDX-License-Identifier: EUPL-1.2
//! Putting a cockpit together: the keeper follows the broker's ledger and publishes its key
//! cards; the pages ask the keeper.

use std::{net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};

use einmal_peer::{
    Clock, Tls, TlsFiles, TrustStore,
    cards::publish,
    dial::{self, DialError, Target},
    files::{self, FileError},
    trust::{self, TrustStoreError},
};
use einmal_policy::{Root, root::RootError};
use einmal_protocol::{
    note::LedgerKey,
    wire::ledger::v1::{TailEntriesRequest, ledger_service_client::LedgerServiceClient},
};
use serde::Deserialize;
use tokio::{net::TcpListener, task::JoinHandle};
use tokio_util::sync::CancellationToken;
use tonic::{Status, transport::Channel};

use crate::{
    keeper::{
        DayKeyFiles, Entry, Intake, Keeper, KeeperError, KeeperSettings, Participants,
        connect_in_process,
    },
    pages::{self, DemoLogin, DemoLoginError, DemoPerson, Pages},
    trusted::Trusted,
};

/// Entries with their bodies come in runs; the largest stays below this.
const RUN_MAX: usize = 64 * 1024 * 1024;
/// Rules and directory are asked for anew, and the key card is looked at, this often.
const RENEW: Duration = Duration::from_secs(60);

/// `cockpit.toml`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CockpitConfig {
    /// The keeper's id in the directory.
    pub keeper: String,
    /// A broker: "https://host:port".
    pub broker: String,
    /// Own certificate, `spiffe://<trust-domain>/cockpit/<keeper>`, and whom to believe.
    pub tls: TlsFiles,
    /// The pinned root.
    pub root: PathBuf,
    /// The keeper's identity key, which signs its key cards.
    pub identity: PathBuf,
    /// The ledger that it follows.
    pub ledger: String,
    /// The site's key, which wraps the day keys. On another disk, in no backup.
    pub site_key: PathBuf,
    /// Two folders for the day keys, on two disks, in no backup.
    pub day_keys: [PathBuf; 2],
    /// Folder for index and trusted state.
    pub state: PathBuf,
    /// Where the pages are served, in plain HTTP behind a TLS proxy.
    pub listen: SocketAddr,
    /// Cookies only over HTTPS. False only for trying things out on one machine.
    #[serde(default = "yes")]
    pub secure_cookies: bool,
    /// Invented persons who may log in, for demonstrations only.
    #[serde(default)]
    pub demo_persons: Vec<DemoPerson>,
}

fn yes() -> bool {
    true
}

/// A cockpit that runs.
pub struct Running {
    /// Where the pages are.
    pub address: SocketAddr,
    /// The keeper.
    pub keeper: Keeper,
    stop: CancellationToken,
    tasks: Vec<JoinHandle<()>>,
}

impl std::fmt::Debug for Running {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Running({})", self.address)
    }
}

/// Reads everything, fetches and verifies trust, publishes the key card, then opens the pages.
///
/// # Errors
/// Names the file, the document or the port.
pub async fn start(config: &CockpitConfig, clock: Clock) -> Result<Running, ServeError> {
    let root = files::envelope(&config.root)?;
    let trust_domain = Root::pinned(&root)?.document().trust_domain.clone();
    let tls = Tls::load(&config.tls)?;
    let target = Target { address: config.broker.clone(), trust_domain, broker: None };
    let channel = dial::channel(&target, tls.client)?;
    let documents = trust::fetch(channel.clone()).await.map_err(Box::new)?;
    let state = config.state.join("trust.json");
    let trust = Arc::new(TrustStore::open(root, documents, &state, clock.now_ms())?);
    let trusted = Arc::new(Trusted::open(Arc::clone(&trust), &config.state.join("archive"))?);
    let directory = Arc::clone(&trust.current().directory);
    let ledger = directory
        .ledger(&config.ledger)
        .filter(|ledger| ledger.entry.keeper == config.keeper)
        .ok_or_else(|| ServeError::NotItsLedger(config.ledger.clone()))?
        .key
        .clone();
    let keeper = open_keeper(config, &ledger, &trusted, &clock).await?;
    let card = keeper.card(clock.now_ms()).map_err(KeeperError::Days)?;
    publish(channel.clone(), card).await.map_err(Box::new)?;
    let listener = TcpListener::bind(config.listen)
        .await
        .map_err(|error| ServeError::Port { at: config.listen, problem: error.to_string() })?;
    let address = listener
        .local_addr()
        .map_err(|error| ServeError::Port { at: config.listen, problem: error.to_string() })?;
    let login = DemoLogin::new(config.demo_persons.clone())?;
    let pages = Pages {
        keeper: connect_in_process(keeper.clone()),
        vocabulary: Arc::clone(&trusted) as Arc<dyn pages::Vocabulary>,
        login: Arc::new(login),
        ledger,
        secure_cookies: config.secure_cookies,
        clock: clock.clone(),
    };
    let stop = CancellationToken::new();
    let stopped = stop.clone();
    let served = tokio::spawn(async move {
        if let Err(error) = pages::serve(listener, pages, stopped.cancelled_owned()).await {
            tracing::error!(%error, "the pages ended");
        }
    });
    let parts = Follower { keeper: keeper.clone(), trust, trusted, channel, clock };
    let following = tokio::spawn(follow(parts.clone(), stop.clone()));
    let renewing = tokio::spawn(renew(parts, stop.clone()));
    tracing::info!(%address, keeper = config.keeper, ledger = config.ledger, "serving pages");
    Ok(Running { address, keeper, stop, tasks: vec![served, following, renewing] })
}

async fn open_keeper(
    config: &CockpitConfig,
    ledger: &LedgerKey,
    trusted: &Arc<Trusted>,
    clock: &Clock,
) -> Result<Keeper, ServeError> {
    std::fs::create_dir_all(&config.state).map_err(|error| FileError::new(&config.state, error))?;
    let settings = KeeperSettings {
        participant: config.keeper.clone(),
        identity: Arc::new(files::signing_key(&config.identity)?),
        files: DayKeyFiles { site_key: config.site_key.clone(), folders: config.day_keys.clone() },
        index: config.state.join("index.sqlite"),
        ledger: ledger.clone(),
    };
    let archive = Arc::clone(trusted) as Arc<dyn crate::keeper::Archive>;
    Ok(Keeper::open(settings, archive, clock.clone()).await?)
}

#[derive(Clone)]
struct Follower {
    keeper: Keeper,
    trust: Arc<TrustStore>,
    trusted: Arc<Trusted>,
    channel: Channel,
    clock: Clock,
}

/// Follows the ledger, and follows it again after a break.
async fn follow(parts: Follower, stop: CancellationToken) {
    let mut wait = Duration::from_millis(200);
    while !stop.is_cancelled() {
        let participants = Arc::clone(&parts.trusted) as Arc<dyn Participants>;
        let intake = parts.keeper.intake(participants);
        let followed = tokio::select! {
            followed = tail(intake, parts.channel.clone(), &mut wait) => followed,
            () = stop.cancelled() => return,
        };
        if let Err(problem) = followed {
            tracing::warn!(problem, "the ledger is not followed; trying again");
        }
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            () = stop.cancelled() => {}
        }
        wait = (wait * 2).min(Duration::from_secs(10));
    }
}

async fn tail(mut intake: Intake, channel: Channel, wait: &mut Duration) -> Result<(), String> {
    let from_index = intake.size().await.map_err(|error| error.to_string())?;
    let mut stream = LedgerServiceClient::new(channel)
        .max_decoding_message_size(RUN_MAX)
        .tail_entries(TailEntriesRequest { from_index })
        .await
        .map_err(|status| status.message().to_owned())?
        .into_inner();
    let mut run = Vec::new();
    while let Some(response) =
        stream.message().await.map_err(|status| status.message().to_owned())?
    {
        run.extend(response.entries.into_iter().map(|entry| Entry {
            index: entry.index,
            leaf: entry.leaf,
            body: entry.body,
        }));
        if response.checkpoint.is_empty() {
            continue;
        }
        let taken = intake
            .take(std::mem::take(&mut run), &response.checkpoint)
            .await
            .map_err(|error| error.to_string())?;
        tracing::debug!(taken.size, "followed the ledger");
        *wait = Duration::from_millis(200);
    }
    Ok(())
}

/// Keeps trust and key card fresh.
async fn renew(parts: Follower, stop: CancellationToken) {
    loop {
        tokio::select! {
            () = tokio::time::sleep(RENEW) => {}
            () = stop.cancelled() => return,
        }
        let now_ms = parts.clock.now_ms();
        let renewed = async {
            let documents = trust::fetch(parts.channel.clone())
                .await
                .map_err(|status| status.message().to_owned())?;
            parts.trust.renew(documents, now_ms).map_err(|error| error.to_string())?;
            parts.trusted.keep().map_err(|error| error.to_string())?;
            let card = parts.keeper.card(now_ms).map_err(|error| error.to_string())?;
            publish(parts.channel.clone(), card).await.map_err(|status| status.message().to_owned())
        };
        let renewed: Result<u64, String> = renewed.await;
        if let Err(problem) = renewed {
            tracing::warn!(problem, "trust or key card not renewed; trying again");
        }
    }
}

impl Running {
    /// Ends.
    pub async fn stop(self) {
        self.stop.cancel();
        for mut task in self.tasks {
            if tokio::time::timeout(Duration::from_secs(2), &mut task).await.is_err() {
                task.abort();
            }
        }
    }
}

/// Why a cockpit does not start.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// A file.
    #[error(transparent)]
    File(#[from] FileError),
    /// The pinned root.
    #[error("the pinned root: {0}")]
    Root(#[from] RootError),
    /// Trust.
    #[error(transparent)]
    Trust(#[from] TrustStoreError),
    /// Not an address.
    #[error(transparent)]
    Dial(#[from] DialError),
    /// The broker.
    #[error("the broker does not answer or refuses: {}", .0.message())]
    Broker(#[from] Box<Status>),
    /// The keeper.
    #[error(transparent)]
    Keeper(#[from] KeeperError),
    /// The login.
    #[error(transparent)]
    Login(#[from] DemoLoginError),
    /// Another keeper's ledger.
    #[error("the directory names no ledger `{0}` whose keeper this is")]
    NotItsLedger(String),
    /// A port.
    #[error("cannot listen on {at}: {problem}")]
    Port {
        /// Which address.
        at: SocketAddr,
        /// What the system said.
        problem: String,
    },
}
