// SPDX-License-Identifier: EUPL-1.2
//! Adapters that dialled in: one stream each, many exchanges on it, told apart by id. Credits for
//! back-pressure, cancel, and a clean end for everything in flight when a stream breaks.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, PoisonError, RwLock,
        atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering},
    },
};

use einmal_protocol::{
    Reason,
    commitment::COMMITMENT_MAX,
    wire::register::v1::{
        AttachRequest, AttachResponse, Cancel, Drain, Logged, Open, attach_request as from_adapter,
        attach_response as to_adapter,
    },
};
use tokio::sync::{Mutex as AsyncMutex, mpsc};
use tonic::Status;

use crate::exchange::Failure;

/// Registers on one stream.
pub const REGISTERS_MAX: usize = 1024;
/// Streams of one operator.
pub const STREAMS_MAX: usize = 64;
/// A stream may not have more exchanges open than this, whatever credits it gives: an eighth of
/// what a broker takes at once, so that one register that hangs does not stop the others.
pub const CREDITS_MAX: u32 = 250;
/// A reveal is sent in chunks of at most this.
pub const CHUNK_MAX: usize = 64 * 1024;
/// A register's refusal is a few words and a signature.
const REFUSAL_MAX: usize = 4 * 1024;
/// Messages of one exchange that wait to be taken: a commitment and 2 MiB in chunks, and some.
const EXCHANGE_QUEUE: usize = 48;

/// All attached adapters, by register.
#[derive(Debug, Default)]
pub struct Attachments {
    by_register: RwLock<HashMap<String, Vec<Arc<Attachment>>>>,
    turn: AtomicU64,
}

/// One adapter's stream.
#[derive(Debug)]
pub struct Attachment {
    /// Who runs the adapter.
    pub operator: String,
    /// Which registers it speaks for.
    pub registers: Vec<String>,
    sender: mpsc::Sender<Result<AttachResponse, Status>>,
    exchanges: Mutex<HashMap<u64, mpsc::Sender<from_adapter::Message>>>,
    next: AtomicU64,
    credits: AtomicU32,
    draining: AtomicBool,
    /// Size of the last checkpoint sent on this stream: the next must be proven from there.
    pub sent_size: AsyncMutex<u64>,
}

/// One exchange on a stream. Dropped before its end, it is cancelled on the other side.
pub struct OpenExchange {
    attachment: Arc<Attachment>,
    id: u64,
    messages: mpsc::Receiver<from_adapter::Message>,
    ended: bool,
}

impl Attachments {
    /// Takes a new stream for its registers.
    pub fn add(&self, attachment: &Arc<Attachment>) {
        let mut by_register = self.by_register.write().unwrap_or_else(PoisonError::into_inner);
        for register in &attachment.registers {
            by_register.entry(register.clone()).or_default().push(Arc::clone(attachment));
        }
    }

    /// Lets a stream go; what is in flight on it ends.
    pub fn remove(&self, attachment: &Arc<Attachment>) {
        let mut by_register = self.by_register.write().unwrap_or_else(PoisonError::into_inner);
        for register in &attachment.registers {
            if let Some(streams) = by_register.get_mut(register) {
                streams.retain(|other| !Arc::ptr_eq(other, attachment));
                if streams.is_empty() {
                    by_register.remove(register);
                }
            }
        }
        drop(by_register);
        attachment.exchanges.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// How many streams an operator has.
    pub fn streams_of(&self, operator: &str) -> usize {
        let by_register = self.by_register.read().unwrap_or_else(PoisonError::into_inner);
        let mut streams: Vec<*const Attachment> = by_register
            .values()
            .flatten()
            .filter(|attachment| attachment.operator == operator)
            .map(Arc::as_ptr)
            .collect();
        streams.sort_unstable();
        streams.dedup();
        streams.len()
    }

    /// Whether any adapter speaks for a register.
    pub fn has(&self, register: &str) -> bool {
        let by_register = self.by_register.read().unwrap_or_else(PoisonError::into_inner);
        by_register.contains_key(register)
    }

    /// Opens an exchange at a register, on the stream whose turn it is among those with credit
    /// whose operator may still carry for the register.
    ///
    /// # Errors
    /// Where nobody is attached or nobody has credit.
    pub fn open(
        &self,
        register: &str,
        may_carry: impl Fn(&str) -> bool,
    ) -> Result<OpenExchange, Failure> {
        let by_register = self.by_register.read().unwrap_or_else(PoisonError::into_inner);
        let not_attached = || Failure::fault(Reason::RegisterNotAttached);
        let attached = by_register.get(register).ok_or_else(not_attached)?;
        let streams: Vec<&Arc<Attachment>> =
            attached.iter().filter(|attachment| may_carry(&attachment.operator)).collect();
        if streams.is_empty() {
            return Err(not_attached());
        }
        let count = streams.len();
        let turn = usize::try_from(self.turn.fetch_add(1, Ordering::Relaxed) % count as u64);
        let turn = turn.unwrap_or_default();
        streams
            .iter()
            .cycle()
            .skip(turn)
            .take(count)
            .find_map(|attachment| attachment.open())
            .ok_or_else(|| Failure::fault(Reason::RegisterBusy))
    }

    /// Tells every adapter that nothing new will come.
    pub fn drain(&self) {
        let by_register = self.by_register.read().unwrap_or_else(PoisonError::into_inner);
        for attachment in by_register.values().flatten() {
            if !attachment.draining.swap(true, Ordering::Relaxed) {
                let message = to_adapter::Message::Drain(Drain {});
                let response = AttachResponse { message: Some(message) };
                // A full queue means a busy stream: its adapter learns it from the closed stream.
                let _ = attachment.sender.try_send(Ok(response));
            }
        }
    }
}

impl Attachment {
    /// A new stream.
    pub fn new(
        operator: String,
        registers: Vec<String>,
        (credits, seen_size): (u32, u64),
        sender: mpsc::Sender<Result<AttachResponse, Status>>,
    ) -> Self {
        Self {
            operator,
            registers,
            sender,
            exchanges: Mutex::default(),
            next: AtomicU64::new(1),
            credits: AtomicU32::new(credits.min(CREDITS_MAX)),
            draining: AtomicBool::new(false),
            sent_size: AsyncMutex::new(seen_size),
        }
    }

    fn open(self: &Arc<Self>) -> Option<OpenExchange> {
        if self.draining.load(Ordering::Relaxed) || self.sender.is_closed() {
            return None;
        }
        let take = |credits: u32| credits.checked_sub(1);
        self.credits.fetch_update(Ordering::AcqRel, Ordering::Acquire, take).ok()?;
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let (sender, messages) = mpsc::channel(EXCHANGE_QUEUE);
        self.exchanges.lock().unwrap_or_else(PoisonError::into_inner).insert(id, sender);
        Some(OpenExchange { attachment: Arc::clone(self), id, messages, ended: false })
    }

    /// Takes a message from the adapter to the exchange it belongs to. Messages of exchanges that
    /// are over are dropped: the adapter could not know yet.
    ///
    /// # Errors
    /// Where the adapter breaks the protocol; its stream is then ended.
    pub fn take(&self, request: AttachRequest) -> Result<(), Status> {
        use from_adapter::Message;
        let message = request.message.ok_or_else(|| misbehaved("an empty message"))?;
        let (length, limit) = match &message {
            Message::Commit(commit) => (commit.commitment.len(), COMMITMENT_MAX),
            Message::Reveal(reveal) => (reveal.chunk.len(), CHUNK_MAX),
            Message::Decline(decline) => (decline.refusal.len(), REFUSAL_MAX),
            _ => (0, 0),
        };
        if length > limit {
            return Err(misbehaved("a message longer than its kind may be"));
        }
        let id = match &message {
            Message::Commit(commit) => commit.exchange,
            Message::Reveal(reveal) => reveal.exchange,
            Message::Decline(decline) => decline.exchange,
            Message::Credit(credit) => {
                let add =
                    |credits: u32| Some(credits.saturating_add(credit.exchanges).min(CREDITS_MAX));
                let _ = self.credits.fetch_update(Ordering::AcqRel, Ordering::Acquire, add);
                return Ok(());
            }
            Message::Heartbeat(_) => return Ok(()),
            Message::Drain(_) => {
                self.draining.store(true, Ordering::Relaxed);
                return Ok(());
            }
            Message::Hello(_) => return Err(misbehaved("a second hello")),
        };
        let exchanges = self.exchanges.lock().unwrap_or_else(PoisonError::into_inner);
        match exchanges.get(&id).map(|sender| sender.try_send(message)) {
            Some(Err(mpsc::error::TrySendError::Full(_))) => {
                Err(misbehaved("more messages for one exchange than it may have"))
            }
            _ => Ok(()),
        }
    }

    async fn send(&self, message: to_adapter::Message) -> Result<(), Failure> {
        self.sender
            .send(Ok(AttachResponse { message: Some(message) }))
            .await
            .map_err(|_| Failure::fault(Reason::RegisterNotAttached))
    }
}

fn misbehaved(what: &str) -> Status {
    Status::invalid_argument(format!("the adapter sent {what}"))
}

impl OpenExchange {
    /// The stream it runs on.
    pub fn attachment(&self) -> &Attachment {
        &self.attachment
    }

    /// Sends the question.
    ///
    /// # Errors
    /// Where the stream broke.
    pub async fn ask(&self, open: Open) -> Result<(), Failure> {
        let open = Open { exchange: self.id, ..open };
        self.attachment.send(to_adapter::Message::Open(open)).await
    }

    /// Sends the proof.
    ///
    /// # Errors
    /// Where the stream broke.
    pub async fn prove(&self, logged: Logged) -> Result<(), Failure> {
        let logged = Logged { exchange: self.id, ..logged };
        self.attachment.send(to_adapter::Message::Logged(logged)).await
    }

    /// The adapter's next message.
    ///
    /// # Errors
    /// Where the stream broke.
    pub async fn next(&mut self) -> Result<from_adapter::Message, Failure> {
        let message = self.messages.recv().await;
        message.ok_or_else(|| Failure::fault(Reason::RegisterNotAttached))
    }

    /// Nothing more is to come.
    pub fn end(mut self) {
        self.ended = true;
    }
}

impl Drop for OpenExchange {
    fn drop(&mut self) {
        let mut exchanges =
            self.attachment.exchanges.lock().unwrap_or_else(PoisonError::into_inner);
        exchanges.remove(&self.id);
        drop(exchanges);
        if !self.ended {
            let cancel = Cancel { exchange: self.id, reason: "CANCELLED".to_owned() };
            let message = Some(to_adapter::Message::Cancel(cancel));
            let _ = self.attachment.sender.try_send(Ok(AttachResponse { message }));
        }
    }
}
