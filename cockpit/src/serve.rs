// SPDX-License-Identifier: EUPL-1.2
//! Putting a cockpit together: the keeper follows the broker's ledger and publishes its key
//! cards; the pages ask the keeper.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use einmal_peer::{
    Archive, Clock, Tls, TrustStore,
    cards::publish,
    dial::{self, DialError, Target},
    expiry,
    files::{self, FileError},
    trust::{self, TrustStoreError},
};
use einmal_policy::{Root, root::RootError};
use einmal_protocol::{
    note::LedgerKey,
    time::{day_of, day_to_iso},
    wire::ledger::v1::{TailEntriesRequest, ledger_service_client::LedgerServiceClient},
};
use tokio::{net::TcpListener, task::JoinHandle};
use tokio_util::sync::CancellationToken;
use tonic::{Status, transport::Channel};

use crate::{
    keeper::{
        Entry, ForgetError, Intake, Keeper, KeeperError, KeeperSettings, Participants,
        connect_in_process, take_checkpoints,
    },
    login::{DemoProvider, DemoProviderError, LoginConfig, LoginSetupError, Provider},
    pages::{self, Kern, KernError, Pages},
    trusted::Trusted,
};

/// Entries with their bodies come in runs; the largest stays below this.
const RUN_MAX: usize = 64 * 1024 * 1024;
/// Rules and directory are asked for anew, and the key card is looked at, this often.
const RENEW: Duration = Duration::from_secs(60);

pub use crate::config::CockpitConfig;

/// A cockpit that runs.
pub struct Running {
    /// Where the pages are.
    pub address: SocketAddr,
    /// Where checkpoints are handed in.
    pub checkpoints: Option<SocketAddr>,
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

/// What a cockpit is told by its broker, verified: shared by the server and by commands beside it.
pub struct Site {
    /// To the broker.
    pub channel: Channel,
    /// Rules and directory.
    pub trust: Arc<TrustStore>,
    /// Those of before, too.
    pub trusted: Arc<Trusted>,
    /// The ledger that is followed.
    pub ledger: LedgerKey,
    tls: Tls,
    trust_domain: String,
}

impl Site {
    /// Fetches and verifies trust.
    ///
    /// # Errors
    /// Names the file or the document.
    pub async fn open(config: &CockpitConfig, clock: &Clock) -> Result<Self, ServeError> {
        let root = files::envelope(&config.root)?;
        let trust_domain = Root::pinned(&root)?.document().trust_domain.clone();
        let tls = Tls::load(&config.tls)?;
        let target = Target::broker(&config.broker, &trust_domain);
        let channel = dial::channel(&target, Arc::clone(&tls.client))?;
        let documents = trust::fetch(channel.clone()).await.map_err(Box::new)?;
        let state = config.state.join("trust.json");
        let archive = Arc::new(Archive::open(&config.state.join("archive"))?);
        let now_ms = clock.now_ms();
        let trust = TrustStore::archiving(root, documents, &state, Arc::clone(&archive), now_ms)?;
        let trust = Arc::new(trust);
        let trusted = Arc::new(Trusted::open(Arc::clone(&trust), archive)?);
        let directory = Arc::clone(&trust.current().directory);
        let ledger = directory
            .ledger(&config.ledger)
            .filter(|ledger| ledger.entry.keeper == config.keeper)
            .ok_or_else(|| ServeError::NotItsLedger(config.ledger.clone()))?
            .key
            .clone();
        Ok(Self { channel, trust, trusted, ledger, tls, trust_domain })
    }

    /// For how many days the rules say that records are kept.
    pub fn retention_days(&self) -> u32 {
        self.trust.current().rules.retention_days()
    }
}

/// Reads everything, fetches and verifies trust, forgets what is due, publishes the key card, then
/// opens the pages.
///
/// # Errors
/// Names the file, the document or the port.
pub async fn start(config: &CockpitConfig, clock: Clock) -> Result<Running, ServeError> {
    let site = Site::open(config, &clock).await?;
    let keeper = open_keeper(config, &site, &clock).await?;
    let mut forgetting = Daily::default();
    forgetting.look(&keeper, clock.now_ms()).await;
    let card = keeper.card(clock.now_ms()).map_err(KeeperError::Days)?;
    publish(site.channel.clone(), card).await.map_err(Box::new)?;
    let port =
        |at| move |error: std::io::Error| ServeError::Port { at, problem: error.to_string() };
    let listener = TcpListener::bind(config.listen).await.map_err(port(config.listen))?;
    let address = listener.local_addr().map_err(port(config.listen))?;
    let stop = CancellationToken::new();
    let mut tasks = Vec::new();
    let mut checkpoints = None;
    if let Some(at) = config.checkpoints {
        let identity = (Arc::clone(&site.tls.server), site.trust_domain.clone());
        let taken = take_checkpoints(keeper.clone(), at, identity, stop.clone()).await;
        let (address, served) = taken.map_err(port(at))?;
        checkpoints = Some(address);
        tasks.push(served);
    }
    let login = login_at(config, address, &clock, &stop).await?;
    let pages = Pages {
        keeper: connect_in_process(keeper.clone()),
        vocabulary: Arc::clone(&site.trusted) as Arc<dyn pages::Vocabulary>,
        login: Arc::new(Provider::new(&login, clock.clone())?),
        demo: config.login.is_none(),
        kern: config.kern.as_deref().map(Kern::open).transpose()?,
        ledger: site.ledger,
        secure_cookies: config.secure_cookies,
        clock: clock.clone(),
    };
    let stopped = stop.clone();
    tasks.push(tokio::spawn(async move {
        if let Err(error) = pages::serve(listener, pages, stopped.cancelled_owned()).await {
            tracing::error!(%error, "the pages ended");
        }
    }));
    let Site { trust, trusted, channel, tls, .. } = site;
    let told = expiry::daily(Arc::clone(&trust), tls.ends_at_ms, clock.clone(), stop.clone());
    tasks.push(tokio::spawn(told));
    let parts = Follower { keeper: keeper.clone(), trust, trusted, channel, clock };
    tasks.push(tokio::spawn(follow(parts.clone(), stop.clone())));
    tasks.push(tokio::spawn(renew(parts, forgetting, stop.clone())));
    tracing::info!(%address, keeper = config.keeper, ledger = config.ledger, "serving pages");
    Ok(Running { address, checkpoints, keeper, stop, tasks })
}

/// The configured provider, or the demo's own.
async fn login_at(
    config: &CockpitConfig,
    pages: SocketAddr,
    clock: &Clock,
    stop: &CancellationToken,
) -> Result<LoginConfig, ServeError> {
    match &config.login {
        Some(_) if !config.demo_persons.is_empty() => Err(ServeError::TwoLogins),
        Some(login) => Ok(login.clone()),
        None => {
            let (persons, url) = (config.demo_persons.clone(), format!("http://{pages}"));
            Ok(DemoProvider::start(persons, &url, clock.clone(), stop.clone()).await?)
        }
    }
}

async fn open_keeper(
    config: &CockpitConfig,
    site: &Site,
    clock: &Clock,
) -> Result<Keeper, ServeError> {
    std::fs::create_dir_all(&config.state).map_err(|error| FileError::new(&config.state, error))?;
    let settings = KeeperSettings {
        participant: config.keeper.clone(),
        identity: Arc::new(files::signing_key(&config.identity)?),
        files: config.day_key_files(),
        index: config.index(),
        ledger: site.ledger.clone(),
        retention_days: site.retention_days(),
    };
    let archive = Arc::clone(&site.trusted) as Arc<dyn crate::keeper::Archive>;
    Ok(Keeper::open(settings, archive, clock.clone()).await?)
}

/// Forgets once a day, and again where it failed.
#[derive(Default)]
struct Daily {
    done_on: Option<u32>,
}

impl Daily {
    async fn look(&mut self, keeper: &Keeper, now_ms: u64) {
        if let Err(error) = keeper.look_after(now_ms).await {
            tracing::error!(%error, "the keeper's index cannot be looked after");
        }
        if self.done_on == Some(day_of(now_ms)) {
            return;
        }
        match keeper.forget().await {
            Ok(done) if done.is_nothing() => self.done_on = Some(day_of(now_ms)),
            Ok(done) => {
                tracing::info!(
                    before = day_to_iso(done.before_day),
                    keys = done.key_days.len(),
                    "forgot"
                );
                self.done_on = Some(day_of(now_ms));
            }
            // It has its own alarm, and is not tried again before tomorrow or a restart.
            Err(error @ ForgetError::ClockRunsAhead) => {
                tracing::error!(%error, "alarm");
                self.done_on = Some(day_of(now_ms));
            }
            Err(error) => tracing::error!(%error, "not all is forgotten; trying again"),
        }
    }
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
        .tail_entries(TailEntriesRequest { from_index, reason: String::new() })
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

/// Keeps trust and key card fresh, and forgets.
async fn renew(parts: Follower, mut forgetting: Daily, stop: CancellationToken) {
    loop {
        tokio::select! {
            () = tokio::time::sleep(RENEW) => {}
            () = stop.cancelled() => return,
        }
        let now_ms = parts.clock.now_ms();
        parts.keeper.keep_for(parts.trust.current().rules.retention_days());
        forgetting.look(&parts.keeper, now_ms).await;
        let renewed = async {
            let polled = parts.trust.poll(parts.channel.clone(), now_ms).await;
            polled.map_err(|status| status.message().to_owned())?;
            parts.trusted.note_directory();
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
    Login(#[from] LoginSetupError),
    /// The demo's login.
    #[error(transparent)]
    DemoLogin(#[from] DemoProviderError),
    /// The design system.
    #[error(transparent)]
    Kern(#[from] KernError),
    /// A login that proves nothing beside one that does.
    #[error("`login` and `demo_persons` cannot both be configured: demo persons prove nothing")]
    TwoLogins,
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
