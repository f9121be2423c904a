// SPDX-License-Identifier: EUPL-1.2
//! Many questions at once, asked until the end, across all crashes.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use einmal::{
    demo::{application, plan::Plan, registers::questions},
    request,
};
use einmal_client::{Ask, Client, ClientError, Prepared, Received};
use einmal_peer::Clock;
use einmal_protocol::{Reason, RequestId, wire::v1::Use};
use tokio::{sync::watch, task::JoinSet};

use super::{random, truth::Given};

/// After a fault.
const PAUSE: Duration = Duration::from_millis(50);
/// How long the last questions may take.
const FINISH: Duration = Duration::from_secs(60);

/// Clients that ask and ask.
pub(super) struct Load {
    state: Arc<State>,
    workers: JoinSet<()>,
}

struct State {
    asks: Vec<Ask>,
    up: watch::Sender<bool>,
    received: watch::Sender<u64>,
    stop: AtomicBool,
    in_flight: AtomicUsize,
    seen: Mutex<Seen>,
}

/// What came of it all.
#[derive(Default)]
struct Seen {
    given: Vec<Given>,
    lost: Vec<RequestId>,
    wrong: Vec<String>,
    counts: BTreeMap<&'static str, usize>,
}

impl Load {
    pub(super) async fn start(plan: &Plan, clients: usize, at_once: usize) -> Self {
        let state = Arc::new(State {
            asks: questions(&plan.town).iter().map(application::ask).collect(),
            up: watch::Sender::new(true),
            received: watch::Sender::new(0),
            stop: AtomicBool::new(false),
            in_flight: AtomicUsize::new(0),
            seen: Mutex::default(),
        });
        let text = std::fs::read_to_string(plan.config("client")).unwrap();
        let mut workers = JoinSet::new();
        for number in 0..clients {
            // Each with a memory of its own, as if on machines of their own.
            let name = format!("client-{number}");
            let own = text.replace("state = \"client\"", &format!("state = \"{name}\""));
            assert_ne!(own, text);
            std::fs::write(plan.config(&name), own).unwrap();
            let client = request::connect(&plan.config(&name), Clock::system()).await;
            let client = Arc::new(client.unwrap_or_else(|exit| panic!("{exit}")));
            for _ in 0..at_once {
                let worker = Worker { state: Arc::clone(&state), client: Arc::clone(&client) };
                workers.spawn(worker.run());
            }
        }
        Self { state, workers }
    }

    /// Says whether the broker is there; nobody asks while it is not.
    pub(super) fn broker_is(&self, up: bool) {
        self.state.up.send_replace(up);
    }

    /// Waits for so many more evidences.
    pub(super) async fn received_more(&self, count: u64) {
        let mut received = self.state.received.subscribe();
        let wanted = *received.borrow() + count;
        received.wait_for(|received| *received >= wanted).await.expect("it lives");
    }

    pub(super) fn in_flight(&self) -> usize {
        self.state.in_flight.load(Ordering::Relaxed)
    }

    /// No new questions; those that were asked come to their end.
    pub(super) async fn finish(mut self) -> Self {
        self.state.stop.store(true, Ordering::Relaxed);
        let all = async {
            while let Some(ended) = self.workers.join_next().await {
                ended.expect("a worker ends well");
            }
        };
        tokio::time::timeout(FINISH, all).await.expect("every question comes to an end");
        self.wrong_is_nothing();
        self
    }

    pub(super) fn wrong_is_nothing(&self) {
        assert_eq!(self.state.seen().wrong, Vec::<String>::new());
    }

    /// All receipts that clients hold.
    pub(super) fn given(&self) -> Vec<Given> {
        self.state.seen().given.clone()
    }

    /// All requests of which the broker said that they were logged and their answers lost.
    pub(super) fn lost(&self) -> Vec<RequestId> {
        self.state.seen().lost.clone()
    }

    /// The largest checkpoint that anybody holds.
    pub(super) fn highest(&self) -> u64 {
        let seen = self.state.seen();
        seen.given.iter().map(|given| given.proven.checkpoint().size()).max().unwrap_or(0)
    }

    /// The figures so far.
    pub(super) fn told(&self) -> String {
        let mut text = format!("{} evidences", *self.state.received.borrow());
        for (what, count) in &self.state.seen().counts {
            let _ = write!(text, ", {what} {count}");
        }
        text
    }

    /// A test of crashes that hit nothing would prove nothing.
    pub(super) fn did_its_work(&self, kills: usize) {
        let received = *self.state.received.borrow();
        assert!(received >= kills as u64, "{received} evidences");
        let retried = self.state.seen().counts.get(RETRIED).copied().unwrap_or_default();
        assert!(retried > 0, "no question was in flight at any kill");
    }
}

const RETRIED: &str = "in flight at a kill";

impl State {
    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn count(&self, what: &'static str) {
        *self.seen().counts.entry(what).or_default() += 1;
    }

    fn wrong(&self, what: String) {
        self.seen().wrong.push(what);
    }

    async fn broker_is_up(&self) {
        self.up.subscribe().wait_for(|up| *up).await.expect("it lives");
    }
}

struct Worker {
    state: Arc<State>,
    client: Arc<Client>,
}

impl Worker {
    async fn run(self) {
        while !self.state.stop.load(Ordering::Relaxed) {
            self.state.broker_is_up().await;
            // Alone, or several under one signature.
            let count = if random(4) == 0 { 3 } else { 1 };
            let asks: Vec<Ask> = (0..count).map(|_| self.question()).collect();
            self.ask(&asks).await;
        }
    }

    fn question(&self) -> Ask {
        let number = random(self.state.asks.len() as u64);
        self.state.asks[usize::try_from(number).unwrap()].clone()
    }

    /// Asks, until each question has come to its end. One whose answer was lost is asked again
    /// under a new id.
    async fn ask(&self, asks: &[Ask]) {
        let prepared = loop {
            match self.client.prepare(asks).await {
                Ok(prepared) => break prepared,
                // A key card had to be fetched, and the broker was gone.
                Err(_) => tokio::time::sleep(PAUSE).await,
            }
        };
        for (prepared, ask) in prepared.into_iter().zip(asks) {
            if !self.conclude(&prepared).await {
                let again = Ask { retry_of: Some(prepared.id), ..ask.clone() };
                self.state.count("asked again");
                Box::pin(self.ask(&[again])).await;
            }
        }
    }

    /// Sends the identical bytes until there is an answer, or none can be had any more: then
    /// false.
    async fn conclude(&self, prepared: &Prepared) -> bool {
        let mut broken = false;
        loop {
            self.state.in_flight.fetch_add(1, Ordering::Relaxed);
            let answer = self.client.send(prepared).await;
            self.state.in_flight.fetch_sub(1, Ordering::Relaxed);
            match answer {
                Ok(received) => {
                    if broken {
                        self.state.count("… then answered");
                    }
                    self.received(prepared, &received).await;
                    return true;
                }
                Err(ClientError::Broker(_)) => {
                    if !broken {
                        self.state.count(RETRIED);
                    }
                    broken = true;
                    self.state.broker_is_up().await;
                }
                Err(error) => match error.reason() {
                    Some(Reason::AnswerLost) => {
                        self.state.count(if broken {
                            "… then lost"
                        } else {
                            "lost without a kill"
                        });
                        self.state.seen().lost.push(prepared.id);
                        return false;
                    }
                    Some(reason) if !reason.is_refusal() => self.state.count(reason.as_str()),
                    _ => {
                        let when = if broken { "sent again after a kill" } else { "sent" };
                        self.state.wrong(format!("{} {when}: {error}", prepared.id));
                        return true;
                    }
                },
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Keeps the receipt; sometimes says that it was used; sometimes asks the same again.
    async fn received(&self, prepared: &Prepared, received: &Received) {
        let given = Given { id: received.id, proven: received.proven.clone() };
        self.state.seen().given.push(given);
        self.state.received.send_modify(|received| *received += 1);
        match random(8) {
            0 | 1 => {
                if let Ok(proven) = self.client.report_use(received, Use::Used).await {
                    self.state.count("uses");
                    self.state.seen().given.push(Given { id: received.id, proven });
                }
            }
            2 => match self.client.send(prepared).await {
                Ok(again) => {
                    self.state.count("same again");
                    let same = again.proven.index() == received.proven.index()
                        && again.proven.leaf() == received.proven.leaf()
                        && again.values == received.values;
                    if !same {
                        self.state.wrong(format!("{}: another answer", prepared.id));
                    }
                }
                Err(ClientError::Broker(_)) => {}
                Err(error) if error.reason() == Some(Reason::AnswerLost) => {
                    self.state.count("same again, lost by a kill");
                }
                Err(error) if error.reason().is_some_and(|reason| !reason.is_refusal()) => {}
                Err(error) => self.state.wrong(format!("{} again: {error}", prepared.id)),
            },
            _ => {}
        }
    }
}
