// SPDX-License-Identifier: EUPL-1.2
//! News of rules, directory and deny list. What is announced is only who has some: the documents
//! are fetched from that broker over mTLS and verified from the root, so Redis can tell no lie that
//! counts. Whoever hears nothing asks every five seconds all the same.

use std::{collections::HashMap, sync::Arc, time::Duration};

use einmal_peer::{
    PeerRole,
    dial::{self, Target},
    trust::POLL,
};
use einmal_policy::directory;
use redis::aio::PubSub;
use rustls::ClientConfig;
use tokio::sync::{Notify, mpsc};
use tokio_stream::StreamExt;
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};

use super::{
    link::{Away, CONNECT, Link},
    names::{Kind, Names},
};
use crate::Broker;

/// A neighbour is asked at most ten times a second, however often it is announced.
const GAP: Duration = Duration::from_millis(100);
/// How often it is looked whether news still come, and who the neighbours are.
const LOOK: Duration = Duration::from_secs(2);

/// Tells and hears news.
#[derive(Clone)]
pub(super) struct News {
    pub(super) link: Arc<Link>,
    pub(super) names: Arc<Names>,
    /// The id of this broker.
    pub(super) own: String,
}

impl News {
    fn channel(&self) -> String {
        self.names.name(Kind::News, &[])
    }

    /// Tells that this broker has newer documents.
    pub(super) async fn announce(&self) -> Result<(), Away> {
        let channel = self.channel();
        let sealed = self.names.seal(&channel, self.own.as_bytes()).ok_or(Away)?;
        let mut publish = redis::cmd("PUBLISH");
        publish.arg(&channel).arg(sealed.as_slice());
        self.link.ask::<u64>(&publish).await.map(|_| ())
    }

    /// Hears who has newer documents, until told to stop.
    pub(super) async fn listen(self, into: mpsc::Sender<String>, stop: CancellationToken) {
        loop {
            let heard = async {
                if let Ok(listener) = self.link.listener().await {
                    self.hear(listener, &into).await;
                }
            };
            tokio::select! {
                () = heard => {}
                () = stop.cancelled() => return,
            }
            tokio::select! {
                () = tokio::time::sleep(LOOK / 2) => {}
                () = stop.cancelled() => return,
            }
        }
    }

    /// Hears until the connection is of no use any more.
    async fn hear(&self, mut listener: PubSub, into: &mpsc::Sender<String>) {
        let channel = self.channel();
        let subscribed = tokio::time::timeout(CONNECT, listener.subscribe(&channel)).await;
        if !matches!(subscribed, Ok(Ok(()))) {
            return;
        }
        let (mut sink, mut messages) = listener.split();
        loop {
            let message = match tokio::time::timeout(LOOK, messages.next()).await {
                Ok(Some(message)) => message,
                Ok(None) => return,
                // Nothing new; or nobody there.
                Err(_) => match tokio::time::timeout(CONNECT, sink.ping::<redis::Value>()).await {
                    Ok(Ok(_)) => continue,
                    _ => return,
                },
            };
            let opened = self.names.open(&channel, message.get_payload_bytes().to_vec());
            match opened.and_then(|bytes| String::from_utf8(bytes).ok()) {
                // Whoever is slow to ask hears the next one.
                Some(broker) => drop(into.try_send(broker)),
                None => self.link.metrics.count("hear", "unbelievable"),
            }
        }
    }
}

/// Another broker of the ledger, asked for newer documents every few seconds, or at once.
struct Neighbour {
    address: String,
    now: Arc<Notify>,
    _task: AbortOnDropHandle<()>,
}

/// How neighbours are dialled.
pub(super) struct Dialler {
    pub(super) own: String,
    pub(super) trust_domain: String,
    pub(super) tls: Arc<ClientConfig>,
}

impl Dialler {
    fn neighbour(&self, broker: &Arc<Broker>, of: &directory::Broker) -> Option<Neighbour> {
        let target = Target {
            address: of.address.clone(),
            trust_domain: self.trust_domain.clone(),
            role: PeerRole::Broker,
            id: Some(of.id.clone()),
        };
        let channel = dial::channel(&target, Arc::clone(&self.tls));
        let channel = channel.inspect_err(|error| tracing::warn!(%error, broker = of.id)).ok()?;
        let (now, broker, id) = (Arc::new(Notify::new()), Arc::clone(broker), of.id.clone());
        let told = Arc::clone(&now);
        let task = tokio::spawn(async move {
            loop {
                let asked = broker.trust.poll(channel.clone(), broker.clock.now_ms()).await;
                match asked {
                    Ok(true) => tracing::info!(from = id, "newer documents"),
                    Ok(false) => {}
                    Err(error) => tracing::debug!(from = id, code = ?error.code(), "no documents"),
                }
                tokio::time::sleep(GAP).await;
                drop(tokio::time::timeout(POLL, told.notified()).await);
            }
        });
        let task = AbortOnDropHandle::new(task);
        Some(Neighbour { address: of.address.clone(), now, _task: task })
    }
}

/// Follows the other brokers that the directory names for this ledger, until told to stop.
pub(super) async fn follow(
    broker: Arc<Broker>,
    dialler: Dialler,
    mut heard: mpsc::Receiver<String>,
    stop: CancellationToken,
) {
    let mut neighbours: HashMap<String, Neighbour> = HashMap::new();
    loop {
        let trust = broker.trust.current();
        let named = trust.directory.document().brokers.iter();
        let others: Vec<&directory::Broker> = named
            .filter(|other| other.ledger == broker.origin && other.id != dialler.own)
            .collect();
        neighbours.retain(|id, known| {
            others.iter().any(|other| other.id == *id && other.address == known.address)
        });
        for other in others {
            if !neighbours.contains_key(&other.id)
                && let Some(neighbour) = dialler.neighbour(&broker, other)
            {
                neighbours.insert(other.id.clone(), neighbour);
            }
        }
        tokio::select! {
            id = heard.recv() => {
                if let Some(neighbour) = id.and_then(|id| neighbours.get(&id)) {
                    neighbour.now.notify_one();
                }
            }
            () = tokio::time::sleep(LOOK) => {}
            () = stop.cancelled() => return,
        }
    }
}
