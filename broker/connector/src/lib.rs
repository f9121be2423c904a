// SPDX-License-Identifier: EUPL-1.2
//! The connector: a service on an authority's own host. An application that knows neither HPKE nor
//! ledgers makes a plain local call; the connector resolves, signs, seals, sends, verifies all and
//! opens.

mod desk;
mod forms;
mod problem;
mod routes;
mod serve;
pub mod settings;
pub mod token;

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
};

use einmal_client::{Client, ClientError, ClientSetup};
use einmal_peer::{
    Clock, Tls,
    files::{self, FileError},
};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

pub use problem::Problem;
pub use serve::Address;
pub use settings::ConnectorConfig;

/// A connector that runs.
pub struct Running {
    /// Where applications call.
    pub address: Address,
    desk: Arc<desk::Desk>,
    stop: CancellationToken,
    served: JoinHandle<()>,
}

impl std::fmt::Debug for Running {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Running({})", self.address)
    }
}

/// Reads everything, connects each authority's client, then opens the door.
///
/// # Errors
/// Names the key of the configuration, the file, the authority or the port.
pub async fn start(config: ConnectorConfig, clock: Clock) -> Result<Running, ConnectorError> {
    let address = Address::parse(&config.listen)
        .ok_or_else(|| ConnectorError::NotLocal(config.listen.clone()))?;
    let clients = connect(&config, &clock).await?;
    let port = address.to_string();
    let (door, address) = address
        .open()
        .await
        .map_err(|problem| ConnectorError::Port { at: port, problem: problem.to_string() })?;
    let limits = config.limits.clone();
    let desk = Arc::new(desk::Desk::new(clients, config.applications, limits.clone()));
    let stop = CancellationToken::new();
    let router = routes::router(Arc::clone(&desk));
    let served = tokio::spawn(serve::serve(door, router, limits, stop.clone()));
    tracing::info!(%address, "answering applications");
    Ok(Running { address, desk, stop, served })
}

/// Each authority's client; fails where one of them cannot ask.
///
/// # Errors
/// Names the file or the authority.
pub async fn connect(
    config: &ConnectorConfig,
    clock: &Clock,
) -> Result<HashMap<String, Arc<Client>>, ConnectorError> {
    check_names(config)?;
    let tls = Tls::load(&config.tls)?;
    let mut clients = HashMap::new();
    for authority in &config.authorities {
        let setup = ClientSetup {
            broker: config.broker.clone(),
            tls: tls.clone(),
            root: files::envelope(&config.root)?,
            state: config.state.join(&authority.id),
            clock: clock.clone(),
            authority: authority.id.clone(),
            identity: files::signing_key(&authority.identity)?,
        };
        let client = Client::connect(setup).await.map_err(|error| ConnectorError::Client {
            authority: authority.id.clone(),
            error: Box::new(error),
        })?;
        clients.insert(authority.id.clone(), Arc::new(client));
    }
    Ok(clients)
}

/// An application names authorities that are there, and no two have one name or token.
fn check_names(config: &ConnectorConfig) -> Result<(), ConnectorError> {
    let authorities: BTreeSet<&String> = config.authorities.iter().map(|a| &a.id).collect();
    let plain = |id: &String| !id.is_empty() && !id.contains(['/', '\\', '.']);
    if authorities.len() != config.authorities.len() || !authorities.iter().all(|id| plain(id)) {
        return Err(ConnectorError::Authorities);
    }
    for (number, application) in config.applications.iter().enumerate() {
        let id = application.id.clone();
        if let Some(unknown) = application.authorities.iter().find(|a| !authorities.contains(a)) {
            let authority = unknown.clone();
            return Err(ConnectorError::NoSuchAuthority { application: id, authority });
        }
        let before = config.applications.iter().take(number);
        let mut same =
            before.filter(|a| a.id == id || a.token_sha256.is(&application.token_sha256));
        if same.next().is_some() {
            return Err(ConnectorError::TwoApplications(id));
        }
    }
    Ok(())
}

impl Running {
    /// Ends, after open answers.
    pub async fn stop(self) {
        self.stop.cancel();
        let _ = self.served.await;
        self.desk.save();
    }
}

/// Why a connector does not start.
#[derive(Debug, thiserror::Error)]
pub enum ConnectorError {
    /// Where others could listen in.
    #[error("`listen = \"{0}\"`: write a loopback address with its port, or unix:<path>")]
    NotLocal(String),
    /// Ids of authorities.
    #[error("each authority stands once, under its id in the directory")]
    Authorities,
    /// An application may use what is not there.
    #[error("the application `{application}` names `{authority}`, which is no [[authorities]]")]
    NoSuchAuthority {
        /// Which application.
        application: String,
        /// What it names.
        authority: String,
    },
    /// One name or token twice.
    #[error("the application `{0}` has the name or the token of another")]
    TwoApplications(String),
    /// A file.
    #[error(transparent)]
    File(#[from] FileError),
    /// An authority that cannot ask.
    #[error("the authority `{authority}`: {error}")]
    Client {
        /// Which.
        authority: String,
        /// Why.
        error: Box<ClientError>,
    },
    /// A port or socket.
    #[error("cannot listen on {at}: {problem}")]
    Port {
        /// Where.
        at: String,
        /// What the system said.
        problem: String,
    },
}
