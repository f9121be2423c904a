// SPDX-License-Identifier: EUPL-1.2
//! One stream to one broker. Messages are taken in order; proofs are verified in order, because
//! each starts where the one before ended; exchanges run on tasks of their own.

use std::{collections::HashMap, sync::Arc, time::Duration};

use einmal_protocol::{
    leaf::Leaf,
    note::Checkpoint,
    receipt::{self, Proven, ReceiptError},
    wire::register::v1::{
        AttachRequest, AttachResponse, Credit, Drain, Heartbeat, Hello, Logged, Open, Welcome,
        attach_request as to_broker, attach_response as from_broker,
        register_service_client::RegisterServiceClient,
    },
};
use tokio::{
    sync::{mpsc, oneshot},
    task::AbortHandle,
};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::{Status, Streaming, transport::Channel};

use crate::{adapter::Shared, exchange};

const QUEUE: usize = 256;
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
    sender: mpsc::Sender<AttachRequest>,
    pending: mpsc::Sender<(u64, Pending)>,
    pub(crate) channel: Channel,
    pub(crate) broker: String,
    pub(crate) chunk_max: usize,
}

/// An exchange that has committed and waits for its proof.
pub(crate) struct Pending {
    pub(crate) leaf: Leaf,
    pub(crate) proven: oneshot::Sender<Proven>,
}

impl ToBroker {
    /// Sends a message; false where the stream is gone.
    pub(crate) async fn send(&self, message: to_broker::Message) -> bool {
        self.sender.send(AttachRequest { message: Some(message) }).await.is_ok()
    }

    /// Announces the leaf that must be proven for an exchange. To be called before the
    /// commitment is sent.
    pub(crate) async fn expect(&self, exchange: u64, pending: Pending) -> bool {
        self.pending.send((exchange, pending)).await.is_ok()
    }
}

/// One stream's state.
struct Stream {
    shared: Arc<Shared>,
    to_broker: ToBroker,
    ledger: String,
    /// What the next checkpoint must extend.
    last: Option<Checkpoint>,
    pending: HashMap<u64, Pending>,
    running: HashMap<u64, AbortHandle>,
}

/// Attaches and serves until the stream ends or the adapter is told to stop.
pub(crate) async fn attach(
    shared: &Arc<Shared>,
    channel: Channel,
    broker: &str,
    ledger: &str,
    stop: &CancellationToken,
) -> Result<(), Status> {
    let last = shared.seen.last(ledger);
    let (sender, requests) = mpsc::channel(QUEUE);
    let mut registers: Vec<String> = shared.nodes.keys().cloned().collect();
    registers.sort_unstable();
    let seen_size = last.as_ref().map_or(0, Checkpoint::size);
    let hello = Hello { registers, seen_size, credits: shared.credits };
    let first = AttachRequest { message: Some(to_broker::Message::Hello(hello)) };
    sender.send(first).await.map_err(|_| Status::internal("the queue is gone"))?;
    let (mut responses, welcome) = tokio::select! {
        greeted = tokio::time::timeout(SILENCE, greet(channel.clone(), requests)) => {
            greeted.map_err(|_| Status::deadline_exceeded("the broker is silent"))??
        }
        () = stop.cancelled() => return Ok(()),
    };
    if welcome.ledger != ledger {
        return Err(Status::failed_precondition("the broker writes another ledger"));
    }
    tracing::info!(broker, ledger, "attached");
    let (pending_sender, mut pending) = mpsc::channel(QUEUE);
    let chunk_max = usize::try_from(welcome.chunk_bytes_max).unwrap_or(CHUNK_MAX);
    let to_broker = ToBroker {
        sender,
        pending: pending_sender,
        channel,
        broker: broker.to_owned(),
        chunk_max: chunk_max.clamp(1024, CHUNK_MAX),
    };
    let mut stream = Stream {
        shared: Arc::clone(shared),
        to_broker,
        ledger: ledger.to_owned(),
        last,
        pending: HashMap::new(),
        running: HashMap::new(),
    };
    let (done_sender, mut done) = mpsc::channel(QUEUE);
    loop {
        tokio::select! {
            // Announcements first: a proof must find what it is for.
            biased;
            Some((exchange, waiting)) = pending.recv() => {
                stream.pending.insert(exchange, waiting);
            }
            Some(exchange) = done.recv() => stream.ended(exchange).await,
            () = stop.cancelled() => break,
            response = tokio::time::timeout(SILENCE, responses.message()) => {
                let response =
                    response.map_err(|_| Status::deadline_exceeded("the broker is silent"))??;
                let Some(response) = response else { break };
                stream.announced(&mut pending);
                if !stream.take(response.message, &done_sender).await? {
                    break;
                }
            }
        }
    }
    stream.drain(&mut responses, &mut pending, (&done_sender, &mut done)).await;
    Ok(())
}

/// Dials, and takes the broker's first word.
async fn greet(
    channel: Channel,
    requests: mpsc::Receiver<AttachRequest>,
) -> Result<(Streaming<AttachResponse>, Welcome), Status> {
    let mut responses = RegisterServiceClient::new(channel)
        .max_decoding_message_size(MESSAGE_MAX)
        .attach(ReceiverStream::new(requests))
        .await?
        .into_inner();
    match responses.message().await?.and_then(|response| response.message) {
        Some(from_broker::Message::Welcome(welcome)) => Ok((responses, welcome)),
        _ => Err(Status::invalid_argument("the broker's first message is no welcome")),
    }
}

impl Stream {
    /// Takes one message; false where the broker is about to stop.
    async fn take(
        &mut self,
        message: Option<from_broker::Message>,
        done: &mpsc::Sender<u64>,
    ) -> Result<bool, Status> {
        match message {
            Some(from_broker::Message::Open(open)) => self.open(open, done)?,
            Some(from_broker::Message::Logged(logged)) => self.logged(logged)?,
            Some(from_broker::Message::Cancel(cancel)) => {
                if let Some(task) = self.running.get(&cancel.exchange) {
                    task.abort();
                }
                self.ended(cancel.exchange).await;
            }
            Some(from_broker::Message::Heartbeat(_)) => {
                let time_ms = self.shared.clock.now_ms();
                self.to_broker.send(to_broker::Message::Heartbeat(Heartbeat { time_ms })).await;
            }
            Some(from_broker::Message::Drain(_)) => return Ok(false),
            Some(from_broker::Message::Welcome(_)) | None => {
                return Err(Status::invalid_argument("the broker broke the protocol"));
            }
        }
        Ok(true)
    }

    /// Takes what was announced before a message is taken: the select may look away in between.
    fn announced(&mut self, pending: &mut mpsc::Receiver<(u64, Pending)>) {
        while let Ok((exchange, waiting)) = pending.try_recv() {
            self.pending.insert(exchange, waiting);
        }
    }

    fn open(&mut self, open: Open, done: &mpsc::Sender<u64>) -> Result<(), Status> {
        // Two under one id would count as one against the credit.
        if self.running.contains_key(&open.exchange) {
            return Err(Status::invalid_argument("the broker opened one exchange twice"));
        }
        // A broker that opens more than it has credit for is not served.
        if self.running.len() >= self.shared.credits as usize {
            tracing::warn!(broker = self.to_broker.broker, "opened beyond its credit");
            return Ok(());
        }
        let id = open.exchange;
        let (shared, to_broker, done) =
            (Arc::clone(&self.shared), self.to_broker.clone(), done.clone());
        // After its deadline the broker has given up: nothing is worth finishing then.
        let deadline = Duration::from_millis(u64::from(open.deadline_ms)).min(DEADLINE_MAX);
        let task = tokio::spawn(async move {
            let exchange = exchange::exchange(&shared, &to_broker, open);
            if tokio::time::timeout(deadline, exchange).await.is_err() {
                tracing::warn!(broker = to_broker.broker, "an exchange took too long");
            }
            let _ = done.send(id).await;
        });
        self.running.insert(id, task.abort_handle());
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
        let verified = match self.pending.remove(&logged.exchange) {
            Some(pending) => {
                receipt::verify(&receipt, pending.leaf, &ledger.key, seen).map(|proven| {
                    let checkpoint = proven.checkpoint().clone();
                    // The exchange may have been cancelled meanwhile.
                    let _ = pending.proven.send(proven);
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

    async fn ended(&mut self, exchange: u64) {
        self.pending.remove(&exchange);
        if self.running.remove(&exchange).is_some() {
            self.to_broker.send(to_broker::Message::Credit(Credit { exchanges: 1 })).await;
        }
    }

    /// Lets what is open end, for a while; then ends it.
    async fn drain(
        mut self,
        responses: &mut Streaming<AttachResponse>,
        pending: &mut mpsc::Receiver<(u64, Pending)>,
        (done_sender, done): (&mpsc::Sender<u64>, &mut mpsc::Receiver<u64>),
    ) {
        let finish = async {
            self.to_broker.send(to_broker::Message::Drain(Drain {})).await;
            while !self.running.is_empty() {
                tokio::select! {
                    biased;
                    Some((exchange, waiting)) = pending.recv() => {
                        self.pending.insert(exchange, waiting);
                    }
                    Some(exchange) = done.recv() => self.ended(exchange).await,
                    response = responses.message() => match response {
                        Ok(Some(response)) => {
                            self.announced(pending);
                            if self.take(response.message, done_sender).await.is_err() {
                                return;
                            }
                        }
                        _ => return,
                    },
                }
            }
        };
        let _ = tokio::time::timeout(DRAIN, finish).await;
        for task in self.running.values() {
            task.abort();
        }
        // Our side is closed first and the broker's awaited: a stream that is dropped is reset,
        // and with it goes what was revealed last.
        drop(self);
        let closed = async { while let Ok(Some(_)) = responses.message().await {} };
        let _ = tokio::time::timeout(CLOSE, closed).await;
    }
}
