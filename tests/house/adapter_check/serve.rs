// SPDX-License-Identifier: EUPL-1.2
//! One stream of the adapter that links none of the kit.

use std::{collections::HashMap, sync::Arc, time::Duration};

use einmal_protocol::{
    RequestId,
    leaf::Leaf,
    note::Checkpoint,
    receipt::{self, ReceiptError},
    wire::register::v1::{
        AttachRequest, Commit, Credit, Heartbeat, Hello, Logged, Reveal,
        attach_request::Message as ToBroker, attach_response::Message as FromBroker,
        register_service_client::RegisterServiceClient,
    },
};
use tokio::{sync::mpsc, time::Instant};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, transport::Channel};

use super::{
    answer::{self, Committed},
    broken::{Flaw, Node},
};

const CREDITS: u32 = 8;

/// An exchange that waits for its proof.
struct Pending {
    committed: Committed,
    until: Instant,
}

struct Stream<'n> {
    node: &'n Arc<Node>,
    sender: mpsc::Sender<AttachRequest>,
    ledger: String,
    chunk_max: usize,
    /// Those that look up, and those that wait.
    open: HashMap<u64, Option<Pending>>,
}

/// What a lookup ended with.
type Done = (u64, Duration, Result<Committed, ToBroker>);

pub(crate) async fn attach(node: &Arc<Node>, channel: Channel, ledger: &str) -> Result<(), Status> {
    let (sender, requests) = mpsc::channel(256);
    let seen_size = node.seen.lock().unwrap().get(ledger).map_or(0, Checkpoint::size);
    let registers = vec![node.register.clone()];
    let hello = ToBroker::Hello(Hello { registers, seen_size, credits: CREDITS });
    let _ = sender.send(AttachRequest { message: Some(hello) }).await;
    let mut client = RegisterServiceClient::new(channel.clone());
    let mut responses = client.attach(ReceiverStream::new(requests)).await?.into_inner();
    let first = responses.message().await?.and_then(|first| first.message);
    let Some(FromBroker::Welcome(welcome)) = first else {
        return Err(Status::invalid_argument("no welcome"));
    };
    if welcome.ledger != ledger {
        return Err(Status::failed_precondition("another ledger"));
    }
    let chunk_max = match node.has(Flaw::ChunksAreLarge) {
        true => usize::MAX,
        false => welcome.chunk_bytes_max as usize,
    };
    let ledger = ledger.to_owned();
    let mut stream = Stream { node, sender, ledger, chunk_max, open: HashMap::new() };
    let (done_sender, mut done) = mpsc::channel::<Done>(256);
    let mut drains = false;
    while !(drains && stream.open.is_empty()) {
        tokio::select! {
            Some(done) = done.recv() => stream.done(done).await,
            response = responses.message() => match response?.map(|response| response.message) {
                None => return Ok(()),
                Some(Some(FromBroker::Drain(_))) => drains = true,
                Some(message) => stream.take(message, &channel, &done_sender).await?,
            },
        }
    }
    // Our side first: a stream that is dropped is reset, and with it goes what was said last.
    drop(stream);
    let closed = async { while let Ok(Some(_)) = responses.message().await {} };
    let _ = tokio::time::timeout(Duration::from_secs(2), closed).await;
    Ok(())
}

impl Stream<'_> {
    async fn send(&self, message: ToBroker) {
        let _ = self.sender.send(AttachRequest { message: Some(message) }).await;
    }

    async fn ended(&mut self, exchange: u64) {
        if self.open.remove(&exchange).is_some() && !self.node.has(Flaw::GivesNoCreditBack) {
            self.send(ToBroker::Credit(Credit { exchanges: 1 })).await;
        }
    }

    async fn take(
        &mut self,
        message: Option<FromBroker>,
        channel: &Channel,
        done: &mpsc::Sender<Done>,
    ) -> Result<(), Status> {
        match message {
            Some(FromBroker::Open(open)) => {
                if self.open.contains_key(&open.exchange) {
                    return Err(Status::invalid_argument("opened twice"));
                }
                let too_many = self.open.len() >= CREDITS as usize;
                if too_many && !self.node.has(Flaw::TakesTooMany) {
                    return Ok(());
                }
                self.open.insert(open.exchange, None);
                let (node, done, channel) = (Arc::clone(self.node), done.clone(), channel.clone());
                tokio::spawn(async move {
                    let (id, lasts) = (open.exchange, u64::from(open.deadline_ms));
                    let committed = answer::commit(&node, &channel, open).await;
                    let _ = done.send((id, Duration::from_millis(lasts), committed)).await;
                });
            }
            Some(FromBroker::Logged(logged)) => self.logged(logged).await?,
            Some(FromBroker::Cancel(cancel)) => {
                if !self.node.has(Flaw::IgnoresCancel) {
                    self.ended(cancel.exchange).await;
                }
            }
            Some(FromBroker::Heartbeat(_)) => {
                if !self.node.has(Flaw::IsDeaf) {
                    self.send(ToBroker::Heartbeat(Heartbeat { time_ms: 1 })).await;
                }
            }
            _ => return Err(Status::invalid_argument("no word of a broker")),
        }
        Ok(())
    }

    /// A lookup ended.
    async fn done(&mut self, (id, lasts, committed): Done) {
        if !self.open.contains_key(&id) {
            return;
        }
        let committed = match committed {
            Ok(committed) => committed,
            Err(decline) => {
                self.send(decline).await;
                return self.ended(id).await;
            }
        };
        let commitment = committed.envelope.clone();
        let until = Instant::now() + lasts;
        self.open.insert(id, Some(Pending { committed, until }));
        self.send(ToBroker::Commit(Commit { exchange: id, commitment })).await;
        if self.node.has(Flaw::RevealsWithoutProof) {
            self.reveal(id).await;
        }
    }

    async fn logged(&mut self, logged: Logged) -> Result<(), Status> {
        let id = logged.exchange;
        let Some(receipt) = logged.receipt else {
            return Err(Status::data_loss("no receipt"));
        };
        let pending = self.open.get(&id).and_then(Option::as_ref);
        let leaf: Option<Leaf> = pending.map(|pending| pending.committed.leaf);
        let is_late = pending.is_some_and(|pending| pending.until < Instant::now());
        let trust = self.node.current();
        let key = trust.directory.ledger(&self.ledger).unwrap().key.clone();
        let mut seen = self.node.seen.lock().unwrap().get(&self.ledger).cloned();
        if self.node.has(Flaw::ForgetsHistory) {
            seen = None;
        }
        let verified = match leaf {
            Some(leaf) => receipt::verify(&receipt, leaf, &key, seen.as_ref()).map(|proven| {
                let checkpoint = proven.checkpoint().clone();
                (checkpoint, proven.witnessed(trust.rules.quorum()).is_ok())
            }),
            None => receipt::verify_checkpoint(&receipt, &key, seen.as_ref())
                .map(|checkpoint| (checkpoint, false)),
        };
        let is_witnessed = match verified {
            Ok((checkpoint, is_witnessed)) => {
                self.node.seen.lock().unwrap().insert(self.ledger.clone(), checkpoint);
                is_witnessed || self.node.has(Flaw::CountsNoWitness)
            }
            Err(_) if self.node.has(Flaw::BelievesAnyProof) => true,
            Err(error) => {
                if let ReceiptError::Inconsistent { seen, got } = error
                    && seen == got
                {
                    self.node.forked.lock().unwrap().insert(self.ledger.clone());
                }
                return Err(Status::data_loss("a proof does not hold"));
            }
        };
        if leaf.is_none() {
            return Ok(());
        }
        if is_witnessed && (!is_late || self.node.has(Flaw::IgnoresDeadline)) {
            self.reveal(id).await;
        }
        self.ended(id).await;
        Ok(())
    }

    async fn reveal(&mut self, exchange: u64) {
        let Some(Some(pending)) = self.open.get(&exchange) else { return };
        let Committed { question, id, sealed_evidence, .. } = &pending.committed;
        let id: &RequestId = id;
        let is_new = self.node.revealed.lock().unwrap().insert(id.as_bytes().to_vec());
        let is_denied = self.node.current().not_denied(question).is_err()
            && !self.node.has(Flaw::IgnoresTheDenyList);
        let is_forked = self.node.forked.lock().unwrap().contains(&self.ledger);
        if is_denied || is_forked || !(is_new || self.node.has(Flaw::AnswersTwice)) {
            return;
        }
        let chunks: Vec<&[u8]> = sealed_evidence.chunks(self.chunk_max).collect();
        for (number, chunk) in chunks.iter().enumerate() {
            let (chunk, last) = (chunk.to_vec(), number + 1 == chunks.len());
            self.send(ToBroker::Reveal(Reveal { exchange, chunk, last })).await;
        }
    }
}
