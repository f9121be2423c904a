// SPDX-License-Identifier: EUPL-1.2
//! One stream to one broker. Messages are taken in order; proofs are verified in order, because
//! each starts where the one before ended; exchanges run on tasks of their own, and end with it.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use einmal_protocol::{
    Reason,
    leaf::Leaf,
    note::Checkpoint,
    receipt::{self, Proven, ReceiptError},
    wire::register::v1::{
        AttachResponse, Credit, Decline, Drain, Heartbeat, Hello, Logged, Open, Welcome,
        attach_request::Message as ToBrokerMessage, attach_response as from_broker,
        register_service_client::RegisterServiceClient,
    },
    wire::v1::Receipt,
};
use tokio::{
    sync::oneshot,
    task::{AbortHandle, Id, JoinError, JoinSet},
    time::{Instant, timeout, timeout_at},
};
use tokio_util::sync::CancellationToken;
use tonic::{Status, Streaming, transport::Channel};

use crate::{
    adapter::Shared,
    counted::Counted,
    exchange,
    outgoing::{Outgoing, Waiting, queues},
};

const MESSAGE_MAX: usize = 512 * 1024;
const CHUNK_MAX: usize = 64 * 1024;
/// A broker that is silent for so long is gone.
const SILENCE: Duration = Duration::from_secs(45);
/// No exchange is worked on for longer, whatever the broker says.
const DEADLINE_MAX: Duration = Duration::from_secs(60);
/// What is open at the end may take so long.
const DRAIN: Duration = Duration::from_secs(15);
/// After its last message a stream may take so long to be closed by the broker as well.
const CLOSE: Duration = Duration::from_secs(2);

/// The way from an exchange to the broker.
#[derive(Clone)]
pub(crate) struct ToBroker {
    outgoing: Outgoing,
    pending: Arc<Mutex<HashMap<u64, Pending>>>,
    pub(crate) channel: Channel,
    pub(crate) broker: String,
    chunk_max: usize,
}

/// An exchange that has committed and waits for its proof.
struct Pending {
    leaf: Leaf,
    proven: oneshot::Sender<(Proven, Receipt)>,
    _counted: Counted,
}

impl ToBroker {
    /// Sends a message; false where the stream is gone.
    pub(crate) async fn send(&self, message: ToBrokerMessage) -> bool {
        self.outgoing.send(message).await
    }

    /// Sends the sealed evidence; false where the stream is gone.
    pub(crate) async fn reveal(&self, exchange: u64, sealed_evidence: &[u8]) -> bool {
        self.outgoing.reveal(exchange, sealed_evidence, self.chunk_max).await
    }

    /// Announces the leaf that must be proven for an exchange. To be called before the
    /// commitment is sent.
    pub(crate) fn expect(
        &self,
        exchange: u64,
        leaf: Leaf,
        counted: Counted,
    ) -> oneshot::Receiver<(Proven, Receipt)> {
        let (sender, proven) = oneshot::channel();
        self.pending().insert(exchange, Pending { leaf, proven: sender, _counted: counted });
        proven
    }

    fn pending(&self) -> MutexGuard<'_, HashMap<u64, Pending>> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whom to attach to.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Broker {
    pub(crate) id: String,
    pub(crate) address: String,
    pub(crate) ledger: String,
}

/// One stream's state. Dropped, it ends what runs on it.
pub(crate) struct Stream {
    shared: Arc<Shared>,
    to_broker: ToBroker,
    responses: Streaming<AttachResponse>,
    ledger: String,
    /// What the next checkpoint must extend.
    last: Option<Checkpoint>,
    exchanges: JoinSet<()>,
    /// The exchange of each task.
    ids: HashMap<Id, u64>,
    running: HashMap<u64, AbortHandle>,
    /// Exchanges that ended and whose credit was not given back yet.
    owed: u32,
    heard: Instant,
    _counted: Counted,
}

/// How a stream is told to end, and how it asks for another in its place.
#[derive(Clone, Default)]
pub(crate) struct Signals {
    /// Nothing new: what is open ends as usual.
    pub(crate) retire: CancellationToken,
    /// The broker wants this stream to go.
    pub(crate) replace: CancellationToken,
    /// It has ended.
    pub(crate) over: CancellationToken,
}

/// Attaches for some registers.
pub(crate) async fn attach(
    shared: &Arc<Shared>,
    channel: Channel,
    broker: &Broker,
    registers: Vec<String>,
) -> Result<Stream, Status> {
    let last = shared.seen.last(&broker.ledger);
    let seen_size = last.as_ref().map_or(0, Checkpoint::size);
    let hello = Hello { registers, seen_size, credits: shared.credits };
    let (outgoing, waiting) = queues();
    outgoing.send(ToBrokerMessage::Hello(hello)).await;
    let (responses, welcome) = timeout(SILENCE, greet(channel.clone(), waiting))
        .await
        .map_err(|_| Status::deadline_exceeded("the broker is silent"))??;
    if welcome.ledger != broker.ledger {
        return Err(Status::failed_precondition("the broker writes another ledger"));
    }
    let chunk_max = usize::try_from(welcome.chunk_bytes_max).unwrap_or(CHUNK_MAX);
    let to_broker = ToBroker {
        outgoing,
        pending: Arc::default(),
        channel,
        broker: broker.id.clone(),
        chunk_max: chunk_max.clamp(1024, CHUNK_MAX),
    };
    Ok(Stream {
        shared: Arc::clone(shared),
        to_broker,
        responses,
        ledger: broker.ledger.clone(),
        last,
        exchanges: JoinSet::new(),
        ids: HashMap::new(),
        running: HashMap::new(),
        owed: 0,
        heard: Instant::now(),
        _counted: shared.streams.one(),
    })
}

/// Dials, and takes the broker's first word.
async fn greet(
    channel: Channel,
    requests: Waiting,
) -> Result<(Streaming<AttachResponse>, Welcome), Status> {
    let mut responses = RegisterServiceClient::new(channel)
        .max_decoding_message_size(MESSAGE_MAX)
        .attach(requests)
        .await?
        .into_inner();
    match responses.message().await?.and_then(|response| response.message) {
        Some(from_broker::Message::Welcome(welcome)) => Ok((responses, welcome)),
        _ => Err(Status::invalid_argument("the broker's first message is no welcome")),
    }
}

impl Stream {
    /// Serves until the broker ends the stream, or it is told to go.
    pub(crate) async fn serve(mut self, signals: &Signals) -> Result<(), Status> {
        loop {
            tokio::select! {
                biased;
                () = signals.retire.cancelled() => break,
                more = self.next(&signals.replace) => if !more? { break },
            }
        }
        self.drain(&signals.replace).await;
        Ok(())
    }

    /// Does the next thing there is to do; false where the broker closed the stream.
    async fn next(&mut self, replace: &CancellationToken) -> Result<bool, Status> {
        let outgoing = self.to_broker.outgoing.clone();
        tokio::select! {
            biased;
            Some(ended) = self.exchanges.join_next_with_id() => self.ended(ended),
            // Not sent at once: a broker that does not read must not stop us from reading.
            Some(place) = outgoing.reserve(), if self.owed > 0 => {
                let credit = Credit { exchanges: std::mem::take(&mut self.owed) };
                let message = Some(ToBrokerMessage::Credit(credit));
                place.send(einmal_protocol::wire::register::v1::AttachRequest { message });
            }
            response = timeout_at(self.heard + SILENCE, self.responses.message()) => {
                let response =
                    response.map_err(|_| Status::deadline_exceeded("the broker is silent"))??;
                let Some(response) = response else { return Ok(false) };
                self.heard = Instant::now();
                self.take(response.message, replace)?;
            }
        }
        Ok(true)
    }

    fn take(
        &mut self,
        message: Option<from_broker::Message>,
        replace: &CancellationToken,
    ) -> Result<(), Status> {
        match message {
            Some(from_broker::Message::Open(open)) => self.open(open)?,
            Some(from_broker::Message::Logged(logged)) => self.logged(logged)?,
            Some(from_broker::Message::Cancel(cancel)) => {
                if let Some(task) = self.running.get(&cancel.exchange) {
                    task.abort();
                }
                self.to_broker.pending().remove(&cancel.exchange);
            }
            Some(from_broker::Message::Heartbeat(_)) => {
                let time_ms = self.shared.clock.now_ms();
                // Where the queue is full, what is in it is a sign of life.
                self.to_broker.outgoing.try_send(ToBrokerMessage::Heartbeat(Heartbeat { time_ms }));
            }
            Some(from_broker::Message::Drain(_)) => replace.cancel(),
            Some(from_broker::Message::Welcome(_)) | None => {
                return Err(Status::invalid_argument("the broker broke the protocol"));
            }
        }
        Ok(())
    }

    fn open(&mut self, open: Open) -> Result<(), Status> {
        // Two under one id would count as one against the credit.
        if self.running.contains_key(&open.exchange) {
            return Err(Status::invalid_argument("the broker opened one exchange twice"));
        }
        // A broker that opens more than it has credit for is not served.
        if self.running.len() + self.owed as usize >= self.shared.credits as usize {
            tracing::warn!(broker = self.to_broker.broker, "opened beyond its credit");
            return Ok(());
        }
        let id = open.exchange;
        let (shared, to_broker) = (Arc::clone(&self.shared), self.to_broker.clone());
        let counted = self.shared.exchanges.one();
        // After its deadline the broker has given up: nothing is worth finishing then.
        let deadline = Duration::from_millis(u64::from(open.deadline_ms)).min(DEADLINE_MAX);
        let task = self.exchanges.spawn(async move {
            let _counted = counted;
            let exchange = exchange::exchange(&shared, &to_broker, open);
            if timeout(deadline, exchange).await.is_err() {
                tracing::warn!(broker = to_broker.broker, "an exchange took too long");
            }
        });
        self.ids.insert(task.id(), id);
        self.running.insert(id, task);
        Ok(())
    }

    /// Verifies a proof, in the order of the stream (NO-LOG-NO-DATA). One that does not hold ends
    /// the stream: nothing after it could be believed either.
    fn logged(&mut self, logged: Logged) -> Result<(), Status> {
        let Some(receipt) = logged.receipt else {
            return Err(Status::invalid_argument("a log step without a receipt"));
        };
        let trust = self.shared.trust.current();
        let ledger = trust
            .directory
            .ledger(&self.ledger)
            .ok_or_else(|| Status::failed_precondition("the ledger left the directory"))?;
        let seen = self.last.as_ref();
        let pending = self.to_broker.pending().remove(&logged.exchange);
        let verified = match pending {
            Some(pending) => {
                receipt::verify(&receipt, pending.leaf, &ledger.key, seen).map(|proven| {
                    let checkpoint = proven.checkpoint().clone();
                    // The exchange may have been cancelled meanwhile.
                    let _ = pending.proven.send((proven, receipt.clone()));
                    checkpoint
                })
            }
            None => receipt::verify_checkpoint(&receipt, &ledger.key, seen),
        };
        let checkpoint = verified.map_err(|error| {
            // If it is of the ledger's own key, it may be of another history: the keeper is asked.
            if let ReceiptError::NoConsistency { .. } | ReceiptError::Inconsistent { .. } = error
                && let Ok(suspect) = Checkpoint::parse(&receipt.checkpoint, &ledger.key)
            {
                self.shared.seen.suspect(&suspect);
            }
            self.alarm(&error)
        })?;
        let advanced = self.shared.seen.advance(&checkpoint, seen);
        advanced.map_err(|error| Status::data_loss(error.to_string()))?;
        self.last = Some(checkpoint);
        Ok(())
    }

    fn alarm(&self, error: &ReceiptError) -> Status {
        tracing::error!(broker = self.to_broker.broker, %error, "alarm: a proof does not hold");
        Status::data_loss("a proof does not hold")
    }

    /// An exchange is over, however it ended: its place is free again.
    fn ended(&mut self, ended: Result<(Id, ()), JoinError>) {
        let (task, panicked) = match &ended {
            Ok((task, ())) => (*task, false),
            Err(error) => (error.id(), error.is_panic()),
        };
        let Some(exchange) = self.ids.remove(&task) else { return };
        self.running.remove(&exchange);
        self.to_broker.pending().remove(&exchange);
        self.owed = self.owed.saturating_add(1);
        if panicked {
            tracing::error!("alarm: an exchange panicked");
            let fault = Reason::RegisterFault.as_str().to_owned();
            let decline = Decline { exchange, refusal: Vec::new(), fault };
            self.to_broker.outgoing.try_send(ToBrokerMessage::Decline(decline));
        }
    }

    /// Lets what is open end, for a while; then ends it.
    async fn drain(mut self, replace: &CancellationToken) {
        let finish = async {
            self.to_broker.send(ToBrokerMessage::Drain(Drain {})).await;
            // What crossed our word on its way is served as well: the broker closes the stream
            // when nothing is open any more. One that does not is not waited for for long.
            loop {
                let patience = if self.running.is_empty() { CLOSE } else { DRAIN };
                match timeout(patience, self.next(replace)).await {
                    Ok(Ok(true)) => {}
                    _ => return,
                }
            }
        };
        let _ = timeout(DRAIN, finish).await;
        // Our side is closed first and the broker's awaited: a stream that is dropped is reset,
        // and with it goes what was revealed last.
        let Self { mut responses, mut exchanges, to_broker, .. } = self;
        exchanges.abort_all();
        while exchanges.join_next().await.is_some() {}
        drop(to_broker);
        let closed = async { while let Ok(Some(_)) = responses.message().await {} };
        let _ = timeout(CLOSE, closed).await;
    }
}
