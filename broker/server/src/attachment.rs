// SPDX-License-Identifier: EUPL-1.2
//! One adapter's stream: many exchanges on it, told apart by id. Credits for back-pressure, no
//! register may take them all, cancel, and a clean end for everything in flight when it breaks.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU8, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
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

use crate::{exchange::Failure, outlier::Lately};

/// A stream may not have more exchanges open than this, whatever credits it gives: an eighth of
/// what a broker takes at once.
pub const CREDITS_MAX: u32 = 250;
/// A reveal is sent in chunks of at most this.
pub const CHUNK_MAX: usize = 64 * 1024;
/// A register's refusal is a few words and a signature.
const REFUSAL_MAX: usize = 4 * 1024;
/// Messages of one exchange that wait to be taken: a commitment and 2 MiB in chunks, and some.
const EXCHANGE_QUEUE: usize = 48;

/// Whoever was silent for so long has failed, although the caller gave up first. Those who give up
/// sooner cannot have anybody set aside.
const SILENT_MAX: Duration = Duration::from_secs(5);

/// One adapter's stream.
#[derive(Debug)]
pub struct Attachment {
    /// Who runs the adapter.
    pub operator: String,
    /// Which registers it speaks for.
    pub registers: Vec<Arc<str>>,
    sender: mpsc::Sender<Result<AttachResponse, Status>>,
    open: Mutex<Opened>,
    /// One of `Course`.
    course: AtomicU8,
    /// Size of the last checkpoint sent on this stream: the next must be proven from there.
    pub sent_size: AsyncMutex<u64>,
}

/// What is open on a stream.
#[derive(Debug)]
struct Opened {
    next: u64,
    credits: u32,
    exchanges: HashMap<u64, mpsc::Sender<from_adapter::Message>>,
    by_register: HashMap<Arc<str>, u32>,
    /// Those of its registers that failed lately.
    failing: HashMap<Arc<str>, Lately>,
}

/// How far a stream is from its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Course {
    /// It takes exchanges.
    Serving = 0,
    /// The adapter was told to attach anew. Until it has, it is asked where nobody else can be.
    Retiring = 1,
    /// Nothing new; what is open ends as usual.
    Draining = 2,
}

/// One exchange on a stream. Dropped before its end, it is cancelled on the other side.
pub struct OpenExchange {
    attachment: Arc<Attachment>,
    register: Arc<str>,
    id: u64,
    messages: mpsc::Receiver<from_adapter::Message>,
    /// Exchanges of this register, on all its streams.
    all: Arc<AtomicUsize>,
    began: Instant,
    /// Whether the adapter said anything.
    pub(crate) is_heard: bool,
    /// Whether what it said was good: an answer, or a refusal.
    is_good: bool,
    ended: bool,
}

impl Attachment {
    /// A new stream.
    pub fn new(
        operator: String,
        registers: Vec<String>,
        (credits, seen_size): (u32, u64),
        sender: mpsc::Sender<Result<AttachResponse, Status>>,
    ) -> Self {
        let open = Opened {
            next: 1,
            credits: credits.min(CREDITS_MAX),
            exchanges: HashMap::new(),
            by_register: HashMap::new(),
            failing: HashMap::new(),
        };
        Self {
            operator,
            registers: registers.into_iter().map(Arc::from).collect(),
            sender,
            open: Mutex::new(open),
            course: AtomicU8::new(Course::Serving as u8),
            sent_size: AsyncMutex::new(seen_size),
        }
    }

    fn opened(&self) -> MutexGuard<'_, Opened> {
        // What is changed under it is changed as a whole.
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Exchanges that are open on it.
    pub fn exchanges(&self) -> usize {
        self.opened().exchanges.len()
    }

    /// Exchanges that may be begun on it.
    pub fn credits(&self) -> u32 {
        self.opened().credits
    }

    /// Whether it failed at this register lately, so often that others are asked instead.
    pub(crate) fn is_aside(&self, register: &str, now: Instant) -> bool {
        self.opened().failing.get(register).is_some_and(|lately| lately.is_aside(now))
    }

    /// Whether it is on this course or further.
    pub(crate) fn is_at(&self, course: Course) -> bool {
        self.course.load(Ordering::Relaxed) >= course as u8
    }

    /// Whether nothing is open on it, and nothing will be.
    pub(crate) fn is_finished(&self) -> bool {
        self.is_at(Course::Draining) && self.exchanges() == 0
    }

    /// Tells the adapter that nothing new will come; once.
    pub(crate) fn tell_to_go(&self, course: Course) {
        if self.course.fetch_max(course as u8, Ordering::Relaxed) == Course::Serving as u8 {
            let message = Some(to_adapter::Message::Drain(Drain {}));
            // A full queue means a busy stream: its adapter learns it from the closed stream.
            let _ = self.sender.try_send(Ok(AttachResponse { message }));
        }
    }

    /// Ends what is in flight.
    pub(crate) fn close(&self) {
        self.course.fetch_max(Course::Draining as u8, Ordering::Relaxed);
        self.opened().exchanges.clear();
    }

    /// Begins an exchange, where there is credit and the register has not its share already: no
    /// more than are left for the others on this stream. So there is always something left.
    pub(crate) fn open(
        self: &Arc<Self>,
        register: &Arc<str>,
        all: &Arc<AtomicUsize>,
    ) -> Option<OpenExchange> {
        let mut opened = self.opened();
        // Under the lock: see `is_finished`.
        if self.is_at(Course::Draining) || self.sender.is_closed() {
            return None;
        }
        let own = opened.by_register.get(register).copied().unwrap_or_default();
        let is_alone = self.registers.len() == 1;
        if opened.credits == 0 || (!is_alone && own >= opened.credits) {
            return None;
        }
        opened.credits -= 1;
        *opened.by_register.entry(Arc::clone(register)).or_default() += 1;
        let id = opened.next;
        opened.next += 1;
        let (sender, messages) = mpsc::channel(EXCHANGE_QUEUE);
        opened.exchanges.insert(id, sender);
        drop(opened);
        let (register, all) = (Arc::clone(register), Arc::clone(all));
        all.fetch_add(1, Ordering::Relaxed);
        let attachment = Arc::clone(self);
        let (is_heard, is_good, ended) = (false, false, false);
        let began = Instant::now();
        Some(OpenExchange {
            attachment,
            register,
            id,
            messages,
            all,
            began,
            is_heard,
            is_good,
            ended,
        })
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
                let mut opened = self.opened();
                opened.credits = opened.credits.saturating_add(credit.exchanges).min(CREDITS_MAX);
                return Ok(());
            }
            Message::Heartbeat(_) => return Ok(()),
            Message::Drain(_) => {
                self.course.fetch_max(Course::Draining as u8, Ordering::Relaxed);
                return Ok(());
            }
            Message::Hello(_) => return Err(misbehaved("a second hello")),
        };
        match self.opened().exchanges.get(&id).map(|sender| sender.try_send(message)) {
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
        self.is_heard |= message.is_some();
        message.ok_or_else(|| Failure::fault(Reason::RegisterNotAttached))
    }

    /// What the adapter said was good. Whatever else becomes of the exchange is not its fault.
    pub fn is_good(&mut self) {
        self.is_good = true;
    }

    /// Nothing more is to come.
    pub fn end(mut self) {
        self.ended = true;
    }
}

impl Drop for OpenExchange {
    fn drop(&mut self) {
        self.all.fetch_sub(1, Ordering::Relaxed);
        let mut opened = self.attachment.opened();
        opened.exchanges.remove(&self.id);
        if self.is_good {
            opened.failing.remove(&self.register);
        } else if self.is_heard || self.began.elapsed() >= SILENT_MAX {
            let lately = opened.failing.entry(Arc::clone(&self.register)).or_default();
            if let Some(aside) = lately.failed(Instant::now()) {
                let (operator, register) = (&self.attachment.operator, &self.register);
                tracing::warn!(operator, %register, ?aside, "one of its replicas is set aside");
            }
        }
        if let Some(own) = opened.by_register.get_mut(&self.register) {
            *own -= 1;
            if *own == 0 {
                opened.by_register.remove(&self.register);
            }
        }
        drop(opened);
        if !self.ended {
            let cancel = Cancel { exchange: self.id, reason: "CANCELLED".to_owned() };
            let message = Some(to_adapter::Message::Cancel(cancel));
            let _ = self.attachment.sender.try_send(Ok(AttachResponse { message }));
        }
    }
}
