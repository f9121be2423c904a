// SPDX-License-Identifier: EUPL-1.2
//! A stream to every broker of the current directory: those that appear are dialled, those that
//! left are let go, and a stream that has to go is replaced before it goes.

use std::{
    collections::{BTreeMap, HashMap},
    convert::Infallible,
    sync::Arc,
    time::Duration,
};

use einmal_peer::{
    PeerRole, Tls,
    cards::publish,
    dial::{self, Target},
    trust::POLL,
};
use tokio::{
    sync::watch,
    task::JoinSet,
    time::{Instant, sleep, timeout},
};
use tokio_util::sync::CancellationToken;
use tonic::{Code, Status, transport::Channel};

use crate::{
    adapter::Shared,
    attach::{Broker, Signals, attach},
    node::Node,
};

/// How often the directory is looked at.
const LOOK: Duration = Duration::from_secs(1);
/// Sealing keys are looked at this often.
const RENEW: Duration = Duration::from_secs(60);
/// A broker may take so long to take a card, and to take a stream in the place of another.
const PUBLISH: Duration = Duration::from_secs(30);
const REPLACE: Duration = Duration::from_secs(10);
/// After a stream that lasted, the next is tried at once; then after longer and longer.
const WAIT_MIN: Duration = Duration::from_millis(100);
const WAIT_MAX: Duration = Duration::from_secs(10);
/// A stream that lasted so long was a good one.
const LASTED: Duration = Duration::from_secs(1);

/// Registers that share a stream.
pub(crate) type Part = Arc<Vec<Arc<Node>>>;

/// Keeps the streams until it is stopped; then lets them end.
pub(crate) async fn follow(shared: Arc<Shared>, parts: Vec<Part>, stop: CancellationToken) {
    let mut held: HashMap<Broker, CancellationToken> = HashMap::new();
    let mut streams = JoinSet::new();
    let mut asked = Instant::now();
    while !stop.is_cancelled() {
        let trust = shared.trust.current();
        let brokers = trust.directory.document().brokers.iter().map(|broker| Broker {
            id: broker.id.clone(),
            address: broker.address.clone(),
            ledger: broker.ledger.clone(),
        });
        let wanted: Vec<Broker> = brokers.collect();
        held.retain(|broker, stop| {
            let stays = wanted.contains(broker);
            if !stays {
                tracing::info!(broker = broker.id, "it left the directory");
                stop.cancel();
            }
            stays
        });
        for broker in wanted {
            if held.contains_key(&broker) {
                continue;
            }
            let stop = stop.child_token();
            for part in &parts {
                let (shared, part) = (Arc::clone(&shared), Arc::clone(part));
                let (broker, stop) = (broker.clone(), stop.clone());
                streams.spawn(stay_attached(shared, broker, part, stop));
            }
            held.insert(broker, stop);
        }
        while streams.try_join_next().is_some() {}
        // All brokers of the directory that is held here may be gone.
        if shared.streams.now() == 0 && asked.elapsed() > POLL {
            ask_the_first(&shared, &stop).await;
            asked = Instant::now();
        }
        tokio::select! {
            () = sleep(LOOK) => {}
            () = stop.cancelled() => {}
        }
    }
    while streams.join_next().await.is_some() {}
}

/// Asks the broker of the configuration for newer trust.
async fn ask_the_first(shared: &Shared, stop: &CancellationToken) {
    let target = Target::broker(&shared.first_broker, &shared.trust_domain);
    let tls = Arc::clone(&shared.tls.borrow().client);
    let Ok(channel) = dial::channel(&target, tls) else { return };
    tokio::select! {
        // It may be one of those that are gone.
        _ = renew_trust(shared, &channel) => {}
        () = stop.cancelled() => {}
    }
}

/// A stream that serves.
struct Serving {
    signals: Signals,
    channel: Channel,
    /// Registers that were to be carried when it began.
    carried: Vec<String>,
    /// Those on it, with the versions of their cards that the broker took.
    cards: BTreeMap<String, u64>,
    since: Instant,
}

/// Attaches, and attaches again after a break, waiting a little longer each time. A stream that
/// is to go is let go once there is another in its place.
async fn stay_attached(shared: Arc<Shared>, broker: Broker, part: Part, stop: CancellationToken) {
    let mut tls = shared.tls.clone();
    let mut streams = JoinSet::new();
    let mut serving: Option<Serving> = None;
    let mut wait = WAIT_MIN;
    while !stop.is_cancelled() {
        let certificate = tls.borrow_and_update().clone();
        let limit = if serving.is_some() { REPLACE } else { Duration::MAX };
        let known = serving.as_ref().map(|one| one.cards.clone()).unwrap_or_default();
        let attached = tokio::select! {
            attached = timeout(limit, begin(&shared, &broker, &part, (&certificate, known), &mut streams)) => {
                attached.unwrap_or_else(|_| Err(Status::deadline_exceeded("no stream in time")))
            }
            () = stop.cancelled() => break,
        };
        match attached {
            Ok(new) => {
                if let Some(before) = &serving {
                    before.signals.retire.cancel();
                }
                let one = serving.insert(new);
                tokio::select! {
                    () = until_it_has_to_go(&shared, one, &part, &mut tls) => {}
                    () = stop.cancelled() => break,
                }
                if one.since.elapsed() > LASTED {
                    wait = WAIT_MIN;
                }
                if let Err(error) = shared.seen.save() {
                    tracing::error!(%error, "the last checkpoint cannot be kept");
                }
            }
            Err(status) => {
                let (code, message) = (status.code(), status.message());
                tracing::warn!(broker = broker.id, ?code, message, "not attached");
                // Nothing new comes on one that the broker wants to go.
                if let Some(before) = serving.take_if(|one| one.signals.replace.is_cancelled()) {
                    before.signals.retire.cancel();
                }
            }
        }
        serving.take_if(|one| one.signals.over.is_cancelled());
        while streams.try_join_next().is_some() {}
        tokio::select! {
            () = sleep(jittered(wait)) => {}
            () = stop.cancelled() => {}
        }
        wait = (wait * 2).min(WAIT_MAX);
    }
    if let Some(one) = serving {
        one.signals.retire.cancel();
    }
    while streams.join_next().await.is_some() {}
}

/// Half to the whole of a time, so that many adapters do not come back at one moment.
fn jittered(time: Duration) -> Duration {
    let [jitter] = einmal_peer::random::bytes::<1>().unwrap_or([128]);
    time / 2 + time / 2 * u32::from(jitter) / 256
}

/// Dials, takes newer trust, hands in key cards that are not known there, attaches.
async fn begin(
    shared: &Arc<Shared>,
    broker: &Broker,
    part: &Part,
    (tls, known): (&Tls, BTreeMap<String, u64>),
    streams: &mut JoinSet<()>,
) -> Result<Serving, Status> {
    let target = Target {
        address: broker.address.clone(),
        trust_domain: shared.trust_domain.clone(),
        role: PeerRole::Broker,
        id: Some(broker.id.clone()),
    };
    let channel = dial::channel(&target, Arc::clone(&tls.client))
        .map_err(|error| Status::invalid_argument(error.to_string()))?;
    renew_trust(shared, &channel).await?;
    let carried = carried_ids(shared, part);
    // The broker has those of the stream that this one replaces.
    let mut cards = known;
    cards.retain(|id, _| carried.contains(id));
    publish_cards(shared, part, &channel, &mut cards).await?;
    if cards.is_empty() {
        return Err(Status::failed_precondition("there is no register to attach"));
    }
    let registers = cards.keys().cloned().collect();
    let stream = attach(shared, channel.clone(), broker, registers).await?;
    tracing::info!(broker = broker.id, ledger = broker.ledger, registers = cards.len(), "attached");
    let signals = Signals::default();
    let (serve, name) = (signals.clone(), broker.id.clone());
    streams.spawn(async move {
        let _over = serve.over.clone().drop_guard();
        match stream.serve(&serve).await {
            Ok(()) => tracing::info!(broker = name, "a stream ended"),
            Err(status) => {
                let (code, message) = (status.code(), status.message());
                tracing::warn!(broker = name, ?code, message, "a stream broke");
            }
        }
    });
    Ok(Serving { signals, channel, carried, cards, since: Instant::now() })
}

/// Takes newer rules, directory and deny list, if the broker has them. What is not accepted leaves
/// the trust as it was.
async fn renew_trust(shared: &Shared, channel: &Channel) -> Result<(), Status> {
    shared.trust.poll(channel.clone(), shared.clock.now_ms()).await.map(|_| ())
}

/// Those of a part that this adapter's operator may carry for.
fn carried<'p>(shared: &Shared, part: &'p Part) -> impl Iterator<Item = &'p Arc<Node>> {
    let trust = shared.trust.current();
    let operator = shared.tls.borrow().own.id.clone();
    part.iter().filter(move |node| trust.directory.may_carry_for_register(&operator, &node.id))
}

fn carried_ids(shared: &Shared, part: &Part) -> Vec<String> {
    carried(shared, part).map(|node| node.id.clone()).collect()
}

/// Hands in the cards that the broker does not have yet. A register whose card it refuses is left
/// out, and no other.
async fn publish_cards(
    shared: &Shared,
    part: &Part,
    channel: &Channel,
    published: &mut BTreeMap<String, u64>,
) -> Result<(), Status> {
    for node in carried(shared, part) {
        let (version, card) = node.card();
        if published.get(&node.id) == Some(&version) {
            continue;
        }
        let taken = timeout(PUBLISH, publish(channel.clone(), card)).await;
        let taken =
            taken.map_err(|_| Status::deadline_exceeded("the broker does not take a key card"))?;
        match taken {
            Ok(_) => {
                published.insert(node.id.clone(), version);
            }
            Err(status) if is_about_the_card(&status) => {
                published.remove(&node.id);
                tracing::error!(
                    register = node.id,
                    problem = status.message(),
                    "alarm: not attached: its key card is refused. If it has replicas, their \
                     sealing keys must come from one file"
                );
            }
            Err(status) => return Err(status),
        }
    }
    Ok(())
}

fn is_about_the_card(status: &Status) -> bool {
    matches!(
        status.code(),
        Code::InvalidArgument | Code::PermissionDenied | Code::FailedPrecondition
    )
}

/// Waits until a stream is over or has to go: there is a newer certificate, the broker wants it,
/// other registers are to be carried, or the broker fails.
async fn until_it_has_to_go(
    shared: &Arc<Shared>,
    one: &mut Serving,
    part: &Part,
    tls: &mut watch::Receiver<Tls>,
) {
    let Signals { replace, over, .. } = one.signals.clone();
    tokio::select! {
        () = over.cancelled() => {}
        () = replace.cancelled() => {}
        Ok(()) = tls.changed() => {}
        Err(status) = keep_fresh(shared, one, part) => {
            let (code, message) = (status.code(), status.message());
            tracing::warn!(?code, message, "a stream is to be replaced");
        }
    }
}

/// Takes newer trust while a stream lasts, changes sealing keys in time and announces them. Ends
/// only with the reason why the stream has to go.
async fn keep_fresh(
    shared: &Arc<Shared>,
    one: &mut Serving,
    part: &Part,
) -> Result<Infallible, Status> {
    let others = || Status::failed_precondition("other registers are to be attached");
    loop {
        let keys_are_due = Instant::now() + RENEW;
        while Instant::now() < keys_are_due {
            sleep(POLL).await;
            renew_trust(shared, &one.channel).await?;
            if carried_ids(shared, part) != one.carried {
                return Err(others());
            }
        }
        renew_keys(shared, part).await;
        let before = one.cards.len();
        publish_cards(shared, part, &one.channel, &mut one.cards).await?;
        if one.cards.len() != before {
            return Err(others());
        }
    }
}

/// Away from the event loop: files are written.
async fn renew_keys(shared: &Shared, part: &Part) {
    let (part, now_ms) = (Arc::clone(part), shared.clock.now_ms());
    let renewed = tokio::task::spawn_blocking(move || {
        for node in part.iter() {
            if let Err(error) = node.renew(now_ms) {
                tracing::error!(register = node.id, %error, "sealing keys are not renewed");
            }
        }
    });
    let _ = renewed.await;
}
