// SPDX-License-Identifier: EUPL-1.2
//! The two halves: a keeper with its doors, and pages that know a keeper's address.

use std::{net::SocketAddr, sync::Arc};

use einmal_peer::{
    Clock, PeerRole,
    cards::publish,
    dial::{self, Target},
    expiry,
    files::{self, FileError},
    reload,
};
use einmal_protocol::wire::cockpit::v1::keeper_service_client::KeeperServiceClient;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tonic::transport::Channel;

use super::{
    RENEW, ServeError, Tasks,
    follow::{Daily, Follower, follow, renew},
    site::Site,
};
use crate::{
    config::{KeeperConfig, PagesConfig},
    keeper::{self, Keeper, KeeperError, KeeperSettings, take_checkpoints},
    login::{DemoProvider, LoginConfig, Logins, Provider},
    pages::{self, Kern, Pages},
};

/// A keeper that runs.
pub struct RunningKeeper {
    /// The keeper.
    pub keeper: Keeper,
    /// Where pages ask.
    pub pages: Option<SocketAddr>,
    /// Where checkpoints are handed in.
    pub checkpoints: Option<SocketAddr>,
    tasks: Tasks,
}

/// Pages that are served.
pub struct RunningPages {
    /// Where.
    pub address: SocketAddr,
    tasks: Tasks,
}

fn port(at: SocketAddr) -> impl FnOnce(std::io::Error) -> ServeError {
    move |error| ServeError::Port { at, problem: error.to_string() }
}

/// Starts a keeper alone: it holds the day keys, follows the ledger, and answers the pages over
/// mTLS.
///
/// # Errors
/// Names the file, the document or the port.
pub async fn start_keeper(
    config: &KeeperConfig,
    clock: Clock,
) -> Result<RunningKeeper, ServeError> {
    if config.pages.is_none() {
        return Err(ServeError::NoDoor);
    }
    let site = Site::open(config, &clock).await?;
    keep(config, &site, &clock).await
}

/// Starts pages alone: they hold no day key, no identity key and no index, and ask their keeper.
///
/// # Errors
/// Names the file, the document or the port.
pub async fn start_pages(config: &PagesConfig, clock: Clock) -> Result<RunningPages, ServeError> {
    let site = Site::open(config, &clock).await?;
    let target = Target {
        address: config.keeper_address.clone(),
        trust_domain: site.trust_domain.clone(),
        role: PeerRole::Cockpit,
        id: Some(config.keeper.clone()),
    };
    let channel = dial::channel(&target, Arc::clone(&site.tls.client))?;
    let mut running = show(config, &site, keeper::client(channel), &clock).await?;
    let stop = running.tasks.stop.clone();
    let told =
        expiry::daily(Arc::clone(&site.trust), site.tls.clone(), clock.clone(), stop.clone());
    running.tasks.spawn(told);
    running.tasks.spawn(reload::keep(site.tls.clone(), stop.clone()));
    running.tasks.spawn(async move {
        loop {
            tokio::select! {
                () = tokio::time::sleep(RENEW) => {}
                () = stop.cancelled() => return,
            }
            match site.trust.poll(site.channel.clone(), clock.now_ms()).await {
                Ok(_) => site.trusted.note_directory(),
                Err(status) => {
                    tracing::warn!(problem = status.message(), "trust not renewed; trying again");
                }
            }
        }
    });
    Ok(running)
}

/// The keeper's half.
pub(super) async fn keep(
    config: &KeeperConfig,
    site: &Site,
    clock: &Clock,
) -> Result<RunningKeeper, ServeError> {
    let keeper = open_keeper(config, site, clock).await?;
    let mut forgetting = Daily::default();
    forgetting.look(&keeper, clock.now_ms()).await;
    let card = keeper.card(clock.now_ms()).map_err(KeeperError::Days)?;
    publish(site.channel.clone(), card).await.map_err(Box::new)?;
    let mut tasks = Tasks::default();
    let stop = tasks.stop.clone();
    let identity = || (site.tls.clone(), site.trust_domain.clone());
    tasks.spawn(reload::keep(site.tls.clone(), stop.clone()));
    let mut checkpoints = None;
    if let Some(at) = config.checkpoints {
        let taken = take_checkpoints(keeper.clone(), at, identity(), stop.clone()).await;
        let (address, served) = taken.map_err(port(at))?;
        checkpoints = Some(address);
        tasks.handles.push(served);
    }
    let mut pages = None;
    if let Some(door) = &config.pages {
        let opened =
            keeper::answer_pages(keeper.clone(), door.clone(), identity(), stop.clone()).await;
        let (address, served) = opened.map_err(port(door.listen))?;
        pages = Some(address);
        tasks.handles.push(served);
    }
    let (trust, trusted) = (Arc::clone(&site.trust), Arc::clone(&site.trusted));
    tasks.spawn(expiry::daily(Arc::clone(&trust), site.tls.clone(), clock.clone(), stop.clone()));
    let (channel, clock) = (site.channel.clone(), clock.clone());
    let parts = Follower { keeper: keeper.clone(), trust, trusted, channel, clock };
    tasks.spawn(follow(parts.clone(), stop.clone()));
    tasks.spawn(renew(parts, forgetting, stop));
    tracing::info!(keeper = config.keeper, ledger = config.ledger, "following the ledger");
    Ok(RunningKeeper { keeper, pages, checkpoints, tasks })
}

async fn open_keeper(
    config: &KeeperConfig,
    site: &Site,
    clock: &Clock,
) -> Result<Keeper, ServeError> {
    if config.login.is_some() && config.demo_logins {
        return Err(ServeError::TwoLogins("demo_logins"));
    }
    let provider = config.login.as_ref().map(|login| Provider::new(login, clock.clone()));
    std::fs::create_dir_all(&config.state).map_err(|error| FileError::new(&config.state, error))?;
    let settings = KeeperSettings {
        participant: config.keeper.clone(),
        identity: Arc::new(files::signing_key(&config.identity)?),
        files: config.day_key_files(),
        index: config.index(),
        ledger: site.ledger.clone(),
        retention_days: site.retention_days(),
        logins: Logins { demo: config.demo_logins, oidc: provider.transpose()?.map(Arc::new) },
    };
    let archive = Arc::clone(&site.trusted) as Arc<dyn keeper::Archive>;
    Ok(Keeper::open(settings, archive, clock.clone()).await?)
}

/// The pages' half.
pub(super) async fn show(
    config: &PagesConfig,
    site: &Site,
    keeper: KeeperServiceClient<Channel>,
    clock: &Clock,
) -> Result<RunningPages, ServeError> {
    let listener = TcpListener::bind(config.listen).await.map_err(port(config.listen))?;
    let address = listener.local_addr().map_err(port(config.listen))?;
    let mut tasks = Tasks::default();
    let login = login_at(config, address, clock, &tasks.stop).await?;
    let pages = Pages {
        keeper,
        vocabulary: Arc::clone(&site.trusted) as Arc<dyn pages::Vocabulary>,
        login: Arc::new(Provider::new(&login, clock.clone())?),
        demo: config.login.is_none(),
        kern: config.kern.as_deref().map(Kern::open).transpose()?,
        ledger: site.ledger.clone(),
        secure_cookies: config.secure_cookies,
        clock: clock.clone(),
    };
    let stopped = tasks.stop.clone();
    tasks.spawn(async move {
        if let Err(error) = pages::serve(listener, pages, stopped.cancelled_owned()).await {
            tracing::error!(%error, "the pages ended");
        }
    });
    tracing::info!(%address, keeper = config.keeper, ledger = config.ledger, "serving pages");
    Ok(RunningPages { address, tasks })
}

/// The configured provider, or the demo's own.
async fn login_at(
    config: &PagesConfig,
    pages: SocketAddr,
    clock: &Clock,
    stop: &CancellationToken,
) -> Result<LoginConfig, ServeError> {
    match &config.login {
        Some(_) if !config.demo_persons.is_empty() => Err(ServeError::TwoLogins("demo_persons")),
        Some(login) => Ok(login.clone()),
        None => {
            let (persons, url) = (config.demo_persons.clone(), format!("http://{pages}"));
            Ok(DemoProvider::start(persons, &url, clock.clone(), stop.clone()).await?)
        }
    }
}

impl RunningKeeper {
    /// Ends.
    pub async fn stop(self) {
        self.tasks.end().await;
    }
}

impl RunningPages {
    /// Ends.
    pub async fn stop(self) {
        self.tasks.end().await;
    }
}
