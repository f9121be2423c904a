// SPDX-License-Identifier: EUPL-1.2
//! Putting a cockpit together: the keeper follows the broker's ledger and publishes its key
//! cards; the pages ask the keeper. Both in one process, or each in its own.

mod follow;
mod halves;
mod site;

use std::{net::SocketAddr, sync::Arc, time::Duration};

use einmal_peer::{
    Clock, dial::DialError, figures::Shown, files::FileError, trust::TrustStoreError,
};
use einmal_policy::root::RootError;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tonic::Status;

use self::halves::Front;
pub use self::{
    halves::{RunningKeeper, RunningPages, start_keeper, start_pages},
    site::Site,
};
pub use crate::config::{CockpitConfig, KeeperConfig, PagesConfig, Place};
use crate::{
    keeper::{Keeper, KeeperError, connect_in_process},
    login::{DemoProviderError, LoginSetupError, Logins, Provider},
    pages::{Figures, KernError},
};

/// Rules and directory are asked for anew, and the key card is looked at, this often.
const RENEW: Duration = Duration::from_secs(60);

/// A cockpit that runs, keeper and pages in one process.
pub struct Running {
    /// Where the pages are.
    pub address: SocketAddr,
    /// Where checkpoints are handed in.
    pub checkpoints: Option<SocketAddr>,
    /// Where figures of both halves are.
    pub metrics: Option<SocketAddr>,
    /// The keeper.
    pub keeper: Keeper,
    halves: (RunningKeeper, RunningPages),
}

impl std::fmt::Debug for Running {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Running({})", self.address)
    }
}

/// Reads everything, fetches and verifies trust, forgets what is due, publishes the key card, then
/// opens the pages: keeper and pages in one process.
///
/// # Errors
/// Names the file, the document or the port.
pub async fn start(config: &CockpitConfig, clock: Clock) -> Result<Running, ServeError> {
    let site = Site::open(config, &clock).await?;
    let front = Front::open(config.listen).await?;
    let login = front.login(config, &clock).await?;
    let pages = config.pages(login);
    let provider = Arc::new(Provider::new(&pages.login, clock.clone())?);
    // A demonstration logs in as in earnest, at a provider of its own; who runs it may also ask the
    // keeper without, from within this process.
    let demo = config.login.is_none();
    let logins = Logins { demo, oidc: Some(Arc::clone(&provider)) };
    let keeper = halves::keep(&config.keeper(), &site, logins, &clock).await?;
    let client = connect_in_process(keeper.keeper.clone());
    let pages = front.show(&pages, &site, (client, provider, demo), &clock)?;
    let shown: Vec<Arc<dyn Shown>> =
        vec![Arc::clone(&keeper.shown), Arc::new(Figures::new(Arc::clone(&pages.app), None))];
    let metrics = match config.metrics {
        Some(at) => Some(halves::show_figures(at, shown, &keeper.tasks).await?),
        None => None,
    };
    Ok(Running {
        metrics,
        address: pages.address,
        checkpoints: keeper.checkpoints,
        keeper: keeper.keeper.clone(),
        halves: (keeper, pages),
    })
}

impl Running {
    /// Ends, the pages first.
    pub async fn stop(self) {
        let (keeper, pages) = self.halves;
        pages.stop().await;
        keeper.stop().await;
    }
}

/// What runs beside, until told to stop.
#[derive(Default)]
struct Tasks {
    stop: CancellationToken,
    handles: Vec<JoinHandle<()>>,
}

impl Tasks {
    fn spawn(&mut self, task: impl Future<Output = ()> + Send + 'static) {
        self.handles.push(tokio::spawn(task));
    }

    async fn end(self) {
        self.stop.cancel();
        for mut task in self.handles {
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
    #[error("`login` and `demo_persons` cannot both be configured: demo logins prove nothing")]
    TwoLogins,
    /// Another keeper's ledger.
    #[error("the directory names no ledger `{0}` whose keeper this is")]
    NotItsLedger(String),
    /// A keeper of its own that no pages can ask.
    #[error("the keeper's configuration has no [pages]: say where pages ask, and which may")]
    NoDoor,
    /// A port.
    #[error("cannot listen on {at}: {problem}")]
    Port {
        /// Which address.
        at: SocketAddr,
        /// What the system said.
        problem: String,
    },
}
