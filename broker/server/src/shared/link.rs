// SPDX-License-Identifier: EUPL-1.2
//! The way to Redis. Each operation has one short deadline; after a few faults in a row nobody asks
//! any more, until a task of its own has found that it works again. So Redis can cost a request a
//! moment, but neither its answer nor its time.

use std::{
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use einmal_peer::{files, random};
use redis::{
    AsyncConnectionConfig, Client, ClientTlsConfig, Cmd, ConnectionAddr, ConnectionInfo,
    FromRedisValue, IntoConnectionInfo, RedisConnectionInfo, RedisError, TlsCertificates, TlsMode,
    aio::{MultiplexedConnection, PubSub},
    cluster::ClusterClient,
    cluster_async::ClusterConnection,
    sentinel::{SentinelClient, SentinelClientBuilder, SentinelServerType},
};
use tokio::sync::{Mutex, Notify};
use tokio_util::sync::CancellationToken;

use super::{
    names::{Kind, Names},
    section::{Mode, SharedSection},
};
use crate::metrics::SharedMetrics;

/// How long connecting may take.
pub(super) const CONNECT: Duration = Duration::from_secs(2);
/// After so many faults in a row nobody asks any more.
const FAULTS_MAX: u32 = 3;
/// How often it is looked whether it still works.
const LOOK: Duration = Duration::from_secs(1);
/// Pauses between tries to connect grow up to this.
const PAUSE_MAX: Duration = Duration::from_secs(2);
const PAUSE_MIN: Duration = Duration::from_millis(100);

/// Redis does not answer, or not usefully; the link has said why.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("Redis is away")]
pub struct Away;

/// Where Redis is.
enum Server {
    Single(Box<Client>),
    Sentinel(Box<Mutex<SentinelClient>>),
    /// And its nodes one by one, to hear news from any of them.
    Cluster(Box<ClusterClient>, Vec<Client>),
}

#[derive(Clone)]
enum Connection {
    One(MultiplexedConnection),
    Cluster(ClusterConnection),
}

/// The way to Redis.
pub(super) struct Link {
    server: Server,
    deadline: Duration,
    held: RwLock<Option<Connection>>,
    faults: AtomicU32,
    broken: Notify,
    pub(super) metrics: SharedMetrics,
}

impl Link {
    /// Reads what the section names; does not connect yet.
    pub(super) fn new(section: &SharedSection, metrics: SharedMetrics) -> Result<Self, String> {
        Ok(Self {
            server: server(section)?,
            deadline: Duration::from_millis(section.deadline_ms.clamp(1, 5_000)),
            held: RwLock::default(),
            faults: AtomicU32::new(0),
            broken: Notify::new(),
            metrics,
        })
    }

    /// Asks, if it works at the moment.
    pub(super) async fn ask<T: FromRedisValue>(&self, command: &Cmd) -> Result<T, Away> {
        let held = self.held.read().unwrap_or_else(PoisonError::into_inner).clone();
        let Some(mut connection) = held else { return Err(Away) };
        let answer = async {
            match &mut connection {
                Connection::One(one) => command.query_async(one).await,
                Connection::Cluster(cluster) => command.query_async(cluster).await,
            }
        };
        match tokio::time::timeout(self.deadline, answer).await {
            Ok(Ok(value)) => {
                self.faults.store(0, Ordering::Relaxed);
                Ok(value)
            }
            Ok(Err(error)) => Err(self.fault(&said(&error))),
            Err(_) => Err(self.fault("it took too long")),
        }
    }

    fn fault(&self, problem: &str) -> Away {
        if self.faults.fetch_add(1, Ordering::Relaxed) + 1 >= FAULTS_MAX {
            self.let_go(problem);
        }
        Away
    }

    /// Asks no more, until it is found to work again.
    pub(super) fn let_go(&self, problem: &str) {
        let held = self.held.write().unwrap_or_else(PoisonError::into_inner).take();
        if held.is_some() {
            self.metrics.up.set(0);
            tracing::warn!(problem, "Redis is away: quotas are counted here, at a share");
            self.broken.notify_one();
        }
    }

    /// Whether it works at the moment.
    pub(super) fn is_up(&self) -> bool {
        self.held.read().unwrap_or_else(PoisonError::into_inner).is_some()
    }

    /// Keeps a connection that works, until told to stop.
    pub(super) async fn keep(self: Arc<Self>, names: Arc<Names>, stop: CancellationToken) {
        let mut pause = PAUSE_MIN;
        let mut said_why = false;
        loop {
            if self.is_up() {
                tokio::select! {
                    () = tokio::time::sleep(LOOK) => {
                        if let Err(problem) = self.probe(&names).await {
                            self.let_go(&problem);
                        }
                    }
                    () = self.broken.notified() => {}
                    () = stop.cancelled() => return,
                }
                continue;
            }
            let tried = tokio::select! {
                tried = self.connect(&names) => tried,
                () = stop.cancelled() => return,
            };
            match tried {
                Ok(()) => {
                    tracing::info!("Redis is there");
                    (pause, said_why) = (PAUSE_MIN, false);
                    continue;
                }
                Err(problem) if !said_why => {
                    tracing::warn!(problem, "Redis cannot be used; it is tried again");
                    said_why = true;
                }
                Err(_) => {}
            }
            // Brokers that lost it together do not come back together.
            let [dice] = random::bytes::<1>().unwrap_or([128]);
            let jittered = pause / 2 + pause / 2 * u32::from(dice) / 256;
            pause = (pause * 2).min(PAUSE_MAX);
            tokio::select! {
                () = tokio::time::sleep(jittered) => {}
                () = stop.cancelled() => return,
            }
        }
    }

    /// Connects, and looks whether what is written can be read. Nobody uses it before.
    pub(super) async fn connect(&self, names: &Names) -> Result<(), String> {
        let connected = tokio::time::timeout(CONNECT, self.open()).await;
        let connected = connected.map_err(|_| "it does not answer".to_owned())?;
        let mut connection = connected.map_err(|error| said(&error))?;
        probe(&mut connection, names, CONNECT).await?;
        self.faults.store(0, Ordering::Relaxed);
        *self.held.write().unwrap_or_else(PoisonError::into_inner) = Some(connection);
        self.metrics.up.set(1);
        Ok(())
    }

    async fn probe(&self, names: &Names) -> Result<(), String> {
        let held = self.held.read().unwrap_or_else(PoisonError::into_inner).clone();
        let Some(mut connection) = held else { return Ok(()) };
        probe(&mut connection, names, self.deadline.max(LOOK / 2)).await
    }

    async fn open(&self) -> Result<Connection, RedisError> {
        // The deadline is ours.
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(CONNECT))
            .set_response_timeout(None)
            .set_pipeline_buffer_size(1_024);
        match &self.server {
            Server::Single(client) => {
                let one = client.get_multiplexed_async_connection_with_config(&config).await?;
                Ok(Connection::One(one))
            }
            Server::Sentinel(client) => {
                let mut client = client.lock().await;
                let one = client.get_async_connection_with_config(&config).await?;
                Ok(Connection::One(one))
            }
            Server::Cluster(client, _) => {
                Ok(Connection::Cluster(client.get_async_connection().await?))
            }
        }
    }

    /// A connection on which news are heard.
    pub(super) async fn listener(&self) -> Result<PubSub, String> {
        let one = async |client: &Client| {
            let connected = tokio::time::timeout(CONNECT, client.get_async_pubsub()).await;
            let connected = connected.map_err(|_| "it does not answer".to_owned())?;
            connected.map_err(|error| said(&error))
        };
        match &self.server {
            Server::Single(client) => one(client).await,
            Server::Sentinel(sentinel) => {
                let client = async { sentinel.lock().await.async_get_client().await };
                let client = tokio::time::timeout(CONNECT, client).await;
                let client = client.map_err(|_| "no Sentinel answers".to_owned())?;
                one(&client.map_err(|error| said(&error))?).await
            }
            Server::Cluster(_, nodes) => {
                let mut problem = "no node is named".to_owned();
                for node in nodes {
                    match one(node).await {
                        Ok(listener) => return Ok(listener),
                        Err(error) => problem = error,
                    }
                }
                Err(problem)
            }
        }
    }
}

/// Writes something and reads it again: a server that only takes, or only gives, is of no use.
async fn probe(
    connection: &mut Connection,
    names: &Names,
    patience: Duration,
) -> Result<(), String> {
    let mark = random::bytes::<16>().map_err(|error| error.to_string())?;
    let name = names.name(Kind::Probe, &[&mark]);
    let mut set = redis::cmd("SET");
    set.arg(&name).arg(mark.as_slice()).arg("PX").arg(5_000);
    let mut get = redis::cmd("GET");
    get.arg(&name);
    let both = async {
        match connection {
            Connection::One(one) => {
                set.query_async::<()>(one).await?;
                get.query_async::<Vec<u8>>(one).await
            }
            Connection::Cluster(cluster) => {
                set.query_async::<()>(cluster).await?;
                get.query_async::<Vec<u8>>(cluster).await
            }
        }
    };
    match tokio::time::timeout(patience, both).await {
        Err(_) => Err("it took too long".to_owned()),
        Ok(Err(error)) => Err(said(&error)),
        Ok(Ok(read)) if read == mark => Ok(()),
        Ok(Ok(_)) => Err("what was written is not what is read".to_owned()),
    }
}

/// What an error is, without the keys and values that a server may repeat in it.
fn said(error: &RedisError) -> String {
    match error.code() {
        Some(code) => format!("it answers {code}"),
        None => format!("{:?}", error.kind()),
    }
}

/// Reads files, and builds what connects later.
fn server(section: &SharedSection) -> Result<Server, String> {
    let info = credentials(section)?;
    let certificates = certificates(section)?;
    let nodes = section.redis.iter().map(|url| node(url, &info)).collect::<Result<Vec<_>, _>>()?;
    let encrypted = nodes.iter().filter(|node| is_encrypted(node)).count();
    if encrypted != 0 && encrypted != nodes.len() {
        return Err("name all servers as rediss:// or none".to_owned());
    }
    if encrypted == 0 && certificates.is_some() {
        return Err("certificates are of no use to redis://; write rediss://".to_owned());
    }
    let certificates = certificates.filter(|_| encrypted > 0);
    let bad = |error: RedisError| format!("Redis cannot be used: {}", said(&error));
    let client = |node: &ConnectionInfo| match &certificates {
        Some(certificates) => Client::build_with_tls(node.clone(), certificates.clone()),
        None => Client::open(node.clone()),
    };
    match section.mode {
        Mode::Single => match nodes.as_slice() {
            [one] => client(one).map(|client| Server::Single(Box::new(client))).map_err(bad),
            _ => Err("`redis` names one server, unless `mode` says what several are".to_owned()),
        },
        Mode::Sentinel => {
            let service = section.service.as_ref();
            let service = service.ok_or("name the `service` that the Sentinels know")?;
            let sentinels = nodes.iter().map(|node| node.addr().clone());
            let built = sentinel(sentinels, service, &info, (encrypted > 0, certificates.as_ref()));
            built.map(|client| Server::Sentinel(Box::new(Mutex::new(client)))).map_err(bad)
        }
        Mode::Cluster => {
            let each = nodes.iter().map(client).collect::<Result<Vec<_>, _>>().map_err(bad)?;
            let mut builder = ClusterClient::builder(nodes).retries(1).connection_timeout(CONNECT);
            if let Some(certificates) = certificates {
                builder = builder.certs(certificates);
            }
            builder.build().map(|client| Server::Cluster(Box::new(client), each)).map_err(bad)
        }
    }
}

/// One server. Who logs in stands in files, not in a URL.
fn node(url: &str, info: &RedisConnectionInfo) -> Result<ConnectionInfo, String> {
    let bad = || "write each server as rediss://host:port, without user, path or fragment";
    let (scheme, rest) = url.split_once("://").ok_or_else(bad)?;
    if !matches!(scheme, "redis" | "rediss") || rest.contains(['@', '/', '?', '#']) {
        return Err(bad().to_owned());
    }
    let node = url.into_connection_info().map_err(|_| bad())?;
    Ok(node.set_redis_settings(info.clone()))
}

fn is_encrypted(node: &ConnectionInfo) -> bool {
    matches!(node.addr(), ConnectionAddr::TcpTls { .. })
}

fn credentials(section: &SharedSection) -> Result<RedisConnectionInfo, String> {
    let mut info = RedisConnectionInfo::default().set_skip_set_lib_name();
    if let Some(user) = &section.user {
        info = info.set_username(user);
    }
    if let Some(file) = &section.password_file {
        let password = files::secret(file).map_err(|error| error.to_string())?;
        info = info.set_password(password.as_str());
    }
    Ok(info)
}

fn certificates(section: &SharedSection) -> Result<Option<TlsCertificates>, String> {
    let pem = |file: &std::path::PathBuf| {
        files::read(file).map(|bytes| bytes.to_vec()).map_err(|error| error.to_string())
    };
    let client_tls = match (&section.certificate, &section.key) {
        (None, None) => None,
        (Some(certificate), Some(key)) => {
            files::check_mode(key).map_err(|error| error.to_string())?;
            Some(ClientTlsConfig { client_cert: pem(certificate)?, client_key: pem(key)? })
        }
        _ => return Err("name both `certificate` and `key` in [shared], or neither".to_owned()),
    };
    let root_cert = section.authorities.as_ref().map(pem).transpose()?;
    let any = client_tls.is_some() || root_cert.is_some();
    Ok(any.then_some(TlsCertificates { client_tls, root_cert }))
}

/// Sentinels and the servers that they name speak TLS, or none of them does. The password is the
/// servers'.
fn sentinel(
    sentinels: impl Iterator<Item = ConnectionAddr>,
    service: &str,
    info: &RedisConnectionInfo,
    (encrypted, certificates): (bool, Option<&TlsCertificates>),
) -> Result<SentinelClient, RedisError> {
    let mut builder = SentinelClientBuilder::new(sentinels, service, SentinelServerType::Master)?;
    if let Some(user) = info.username() {
        builder = builder.set_client_to_redis_username(user);
    }
    if let Some(password) = info.password() {
        builder = builder.set_client_to_redis_password(password);
    }
    if encrypted {
        builder = builder.set_client_to_redis_tls_mode(TlsMode::Secure);
    }
    if let Some(certificates) = certificates {
        builder = builder
            .set_client_to_redis_certificates(certificates.clone())
            .set_client_to_sentinel_certificates(certificates.clone());
    }
    builder.build()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_are_named_without_anything_secret_or_insecure() {
        let info = RedisConnectionInfo::default();
        for good in ["redis://127.0.0.1:6379", "rediss://redis.example.org:6380"] {
            assert!(node(good, &info).is_ok(), "{good}");
        }
        for bad in [
            "redis.example.org:6379",
            "http://redis.example.org:6379",
            "rediss://user:word@redis.example.org:6379",
            "rediss://redis.example.org:6379/#insecure",
            "rediss://redis.example.org:6379#insecure",
            "redis://redis.example.org:6379/1",
            "redis+unix:///run/redis",
        ] {
            let problem = node(bad, &info).unwrap_err();
            assert!(!problem.contains("word"), "{problem}");
        }
    }
}
