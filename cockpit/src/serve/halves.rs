// SPDX-License-Identifier: EUPL-1.2
//! The two halves: a keeper with its doors, and pages that know a keeper's address.

use std::{net::SocketAddr, sync::Arc};

use einmal_peer::{
    Clock, PeerRole,
    cards::publish,
    dial::{self, Target},
    expiry,
    figures::{self, Shown},
    files::{self, FileError},
    reload,
};
use einmal_protocol::wire::cockpit::v1::keeper_service_client::KeeperServiceClient;
use tokio::net::TcpListener;
use tonic::transport::Channel;

use super::{
    RENEW, ServeError, Tasks,
    follow::{Daily, Follower, follow, renew, spread},
    site::Site,
};
use crate::{
    config::{CockpitConfig, KeeperConfig, PagesConfig},
    keeper::{self, Keeper, KeeperError, KeeperSettings, take_checkpoints},
    login::{DemoProvider, LoginConfig, LoginSetupError, Logins, Provider},
    pages::{self, App, Figures, Kern, Pages},
};

/// A keeper that runs.
pub struct RunningKeeper {
    /// The keeper.
    pub keeper: Keeper,
    /// Where pages ask.
    pub pages: Option<SocketAddr>,
    /// Where checkpoints are handed in.
    pub checkpoints: Option<SocketAddr>,
    /// Where figures are.
    pub metrics: Option<SocketAddr>,
    pub(super) shown: Arc<dyn Shown>,
    pub(super) tasks: Tasks,
}

/// Pages that are served.
pub struct RunningPages {
    /// Where.
    pub address: SocketAddr,
    /// Where figures are.
    pub metrics: Option<SocketAddr>,
    pub(super) app: Arc<App>,
    pub(super) tasks: Tasks,
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
    let provider = config.login.as_ref().map(|login| Provider::new(login, clock.clone()));
    let logins = Logins { demo: false, oidc: provider.transpose()?.map(Arc::new) };
    let mut running = keep(config, &site, logins, &clock).await?;
    if let Some(at) = config.metrics {
        let shown = vec![Arc::clone(&running.shown)];
        running.metrics = Some(show_figures(at, shown, &running.tasks).await?);
    }
    Ok(running)
}

/// Serves the figures of one half, or of both.
pub(super) async fn show_figures(
    at: SocketAddr,
    shown: Vec<Arc<dyn Shown>>,
    tasks: &Tasks,
) -> Result<SocketAddr, ServeError> {
    figures::serve(at, figures::router(shown), tasks.stop.clone()).await.map_err(port(at))
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
    let provider = Arc::new(Provider::new(&config.login, clock.clone())?);
    let front = Front::open(config.listen).await?;
    let mut running =
        front.show(config, &site, (keeper::client(channel), provider, false), &clock)?;
    if let Some(at) = config.metrics {
        let own = Some((Arc::clone(&site.trust), site.tls.clone()));
        let shown: Arc<dyn Shown> = Arc::new(Figures::new(Arc::clone(&running.app), own));
        running.metrics = Some(show_figures(at, vec![shown], &running.tasks).await?);
    }
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
    logins: Logins,
    clock: &Clock,
) -> Result<RunningKeeper, ServeError> {
    let keeper = open_keeper(config, site, logins, clock).await?;
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
    let shown = keeper::Figures::new(keeper.clone(), Arc::clone(&trust), site.tls.clone());
    let shown = Arc::new(shown);
    let (channel, clock) = (site.channel.clone(), clock.clone());
    let ledger = config.ledger.clone();
    let parts = Follower { keeper: keeper.clone(), trust, trusted, channel, clock, ledger };
    tasks.spawn(follow(parts.clone(), stop.clone()));
    tasks.spawn(spread(parts.clone(), identity(), stop.clone()));
    tasks.spawn(renew(parts, forgetting, stop));
    tracing::info!(keeper = config.keeper, ledger = config.ledger, "following the ledger");
    Ok(RunningKeeper { keeper, pages, checkpoints, metrics: None, shown, tasks })
}

async fn open_keeper(
    config: &KeeperConfig,
    site: &Site,
    logins: Logins,
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
        logins,
    };
    let archive = Arc::clone(&site.trusted) as Arc<dyn keeper::Archive>;
    Ok(Keeper::open(settings, archive, clock.clone()).await?)
}

/// Where citizens come, before anybody answers there: a demonstration's provider must know it.
pub(super) struct Front {
    listener: TcpListener,
    address: SocketAddr,
    tasks: Tasks,
}

impl Front {
    pub(super) async fn open(listen: SocketAddr) -> Result<Self, ServeError> {
        let listener = TcpListener::bind(listen).await.map_err(port(listen))?;
        let address = listener.local_addr().map_err(port(listen))?;
        Ok(Self { listener, address, tasks: Tasks::default() })
    }

    /// The configured provider, or a demonstration's own, which it starts.
    pub(super) async fn login(
        &self,
        config: &CockpitConfig,
        clock: &Clock,
    ) -> Result<LoginConfig, ServeError> {
        match &config.login {
            Some(_) if !config.demo_persons.is_empty() => Err(ServeError::TwoLogins),
            Some(login) => Ok(login.clone()),
            None => {
                let (persons, url) =
                    (config.demo_persons.clone(), format!("http://{}", self.address));
                let stop = self.tasks.stop.clone();
                Ok(DemoProvider::start(persons, &url, clock.clone(), stop).await?)
            }
        }
    }

    /// The pages' half.
    pub(super) fn show(
        mut self,
        config: &PagesConfig,
        site: &Site,
        (keeper, login, demo): (KeeperServiceClient<Channel>, Arc<Provider>, bool),
        clock: &Clock,
    ) -> Result<RunningPages, ServeError> {
        if config.login.public_url.is_none() {
            return Err(LoginSetupError::Url("public_url").into());
        }
        let pages = Pages {
            keeper,
            vocabulary: Arc::clone(&site.trusted) as Arc<dyn pages::Vocabulary>,
            login,
            demo,
            kern: config.kern.as_deref().map(Kern::open).transpose()?,
            ledger: site.ledger.clone(),
            secure_cookies: config.secure_cookies,
            clock: clock.clone(),
        };
        let app = Arc::new(App::new(pages));
        let served = Arc::clone(&app);
        let (stopped, listener, address) = (self.tasks.stop.clone(), self.listener, self.address);
        self.tasks.spawn(async move {
            if let Err(error) = pages::serve_app(listener, served, stopped.cancelled_owned()).await
            {
                tracing::error!(%error, "the pages ended");
            }
        });
        tracing::info!(%address, keeper = config.keeper, ledger = config.ledger, "serving pages");
        Ok(RunningPages { address, metrics: None, app, tasks: self.tasks })
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
