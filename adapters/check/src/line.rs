// SPDX-License-Identifier: EUPL-1.2
//! The stream of an adapter that attached, from the broker's side.

use std::{
    collections::{HashMap, VecDeque},
    time::Duration,
};

use einmal_protocol::wire::{
    register::v1::{
        AttachRequest, AttachResponse, Cancel, Hello, Logged, Open, Welcome,
        attach_request::Message as FromAdapter, attach_response::Message as ToAdapter,
    },
    v1::Receipt,
};
use tokio::{
    sync::mpsc,
    time::{Instant, timeout},
};
use tonic::{Status, Streaming};

/// Whatever is to come comes in this time, on a busy machine too.
pub const LONG: Duration = Duration::from_secs(20);
/// Words on other exchanges that are kept until somebody asks for them.
const KEPT_MAX: usize = 4_096;

/// The stream of an adapter that attached, from the broker's side.
pub struct Line {
    /// The adapter's first word.
    pub hello: Hello,
    /// When it attached.
    pub since: Instant,
    sender: mpsc::Sender<Result<AttachResponse, Status>>,
    requests: Streaming<AttachRequest>,
    /// Words on exchanges that nobody asked about yet.
    kept: HashMap<u64, VecDeque<FromAdapter>>,
    /// Credits that were given back and not asked about yet.
    credits: u32,
    ended: bool,
}

impl std::fmt::Debug for Line {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Line({:?})", self.hello.registers)
    }
}

/// What an adapter did with an exchange after its log step.
#[derive(Debug, PartialEq, Eq)]
pub enum After {
    /// It gave this, in these chunks.
    Revealed(Vec<Vec<u8>>),
    /// It began to give something, and did not end.
    Partly(Vec<Vec<u8>>),
    /// It said something else, which is no word on a log step.
    Other(&'static str),
    /// It ended the stream.
    Ended,
    /// Nothing.
    Silent,
}

/// The adapter's next word, if any.
#[derive(Debug)]
pub enum Word {
    /// This.
    Said(FromAdapter),
    /// It ended the stream.
    Ended,
    /// Nothing.
    Silent,
}

/// Which kind of message it is, for people. Never its content.
pub fn name_of(message: &FromAdapter) -> &'static str {
    match message {
        FromAdapter::Hello(_) => "a Hello",
        FromAdapter::Commit(_) => "a Commit",
        FromAdapter::Reveal(_) => "a Reveal",
        FromAdapter::Decline(_) => "a Decline",
        FromAdapter::Credit(_) => "a Credit",
        FromAdapter::Heartbeat(_) => "a Heartbeat",
        FromAdapter::Drain(_) => "a Drain",
    }
}

fn exchange_of(message: &FromAdapter) -> Option<u64> {
    match message {
        FromAdapter::Commit(commit) => Some(commit.exchange),
        FromAdapter::Reveal(reveal) => Some(reveal.exchange),
        FromAdapter::Decline(decline) => Some(decline.exchange),
        _ => None,
    }
}

impl Line {
    pub(crate) fn new(
        hello: Hello,
        sender: mpsc::Sender<Result<AttachResponse, Status>>,
        requests: Streaming<AttachRequest>,
    ) -> Self {
        let (kept, since) = (HashMap::new(), Instant::now());
        Self { hello, since, sender, requests, kept, credits: 0, ended: false }
    }

    /// Says what a broker of this ledger says.
    pub async fn welcome(&self, ledger: &str, chunk_bytes_max: u32) {
        let welcome = Welcome {
            ledger: ledger.to_owned(),
            broker_time_ms: 0,
            heartbeat_interval_ms: 15_000,
            chunk_bytes_max,
        };
        self.send(ToAdapter::Welcome(welcome)).await;
    }

    /// Sends a message.
    pub async fn send(&self, message: ToAdapter) {
        self.send_raw(AttachResponse { message: Some(message) }).await;
    }

    /// Sends what may be no message.
    pub async fn send_raw(&self, response: AttachResponse) {
        let _ = self.sender.send(Ok(response)).await;
    }

    /// Ends the stream with an error.
    pub async fn fail(&mut self, status: Status) {
        let _ = self.sender.send(Err(status)).await;
        self.close();
    }

    /// Opens an exchange.
    pub async fn open(&self, open: Open) {
        self.send(ToAdapter::Open(open)).await;
    }

    /// Says that an exchange was logged.
    pub async fn logged(&self, exchange: u64, receipt: impl Into<Option<Receipt>>) {
        self.send(ToAdapter::Logged(Logged { exchange, receipt: receipt.into() })).await;
    }

    /// Takes an exchange back.
    pub async fn cancel(&self, exchange: u64) {
        let reason = "CANCELLED".to_owned();
        self.send(ToAdapter::Cancel(Cancel { exchange, reason })).await;
    }

    /// The adapter's next message; nothing where it ended the stream.
    async fn message(&mut self) -> Option<FromAdapter> {
        let message = match self.ended {
            true => None,
            false => self.requests.message().await.ok().flatten(),
        };
        self.ended = message.is_none();
        // An empty message is no word, and ends what can be said on this stream.
        message.and_then(|request| request.message)
    }

    /// The adapter's next word on any exchange, or its drain.
    pub async fn next_word(&mut self, wait: Duration) -> Word {
        if let Some(said) = self.kept.values_mut().find_map(VecDeque::pop_front) {
            return Word::Said(said);
        }
        let word = async {
            loop {
                match self.message().await {
                    Some(FromAdapter::Heartbeat(_)) => {}
                    Some(FromAdapter::Credit(credit)) => self.credits += credit.exchanges,
                    Some(said) => return Word::Said(said),
                    None => return Word::Ended,
                }
            }
        };
        timeout(wait, word).await.unwrap_or(Word::Silent)
    }

    /// The adapter's next word on exchanges; nothing where it says none for long, or ended.
    pub async fn next(&mut self) -> Option<FromAdapter> {
        match self.next_word(LONG).await {
            Word::Said(said) => Some(said),
            Word::Ended | Word::Silent => None,
        }
    }

    /// The adapter's next word on one exchange; those on others are kept.
    pub async fn word_on(&mut self, exchange: u64, wait: Duration) -> Word {
        if let Some(said) = self.kept.get_mut(&exchange).and_then(VecDeque::pop_front) {
            return Word::Said(said);
        }
        let word = async {
            loop {
                match self.message().await {
                    Some(FromAdapter::Credit(credit)) => self.credits += credit.exchanges,
                    Some(said) => match exchange_of(&said) {
                        Some(of) if of == exchange => return Word::Said(said),
                        Some(of) if self.kept.len() < KEPT_MAX => {
                            self.kept.entry(of).or_default().push_back(said);
                        }
                        _ => {}
                    },
                    None => return Word::Ended,
                }
            }
        };
        timeout(wait, word).await.unwrap_or(Word::Silent)
    }

    /// What comes for an exchange after its log step, if anything does in that time.
    pub async fn after(&mut self, exchange: u64, wait: Duration) -> After {
        let until = Instant::now() + wait;
        let mut chunks = Vec::new();
        loop {
            let ended = match self.word_on(exchange, until - Instant::now()).await {
                Word::Said(FromAdapter::Reveal(reveal)) => {
                    chunks.push(reveal.chunk);
                    if reveal.last {
                        return After::Revealed(chunks);
                    }
                    continue;
                }
                Word::Said(other) => return After::Other(name_of(&other)),
                Word::Ended => true,
                Word::Silent => false,
            };
            return match (chunks.is_empty(), ended) {
                (false, _) => After::Partly(chunks),
                (true, true) => After::Ended,
                (true, false) => After::Silent,
            };
        }
    }

    /// Whether the adapter gives so many credits back in that time.
    pub async fn credits(&mut self, count: u32, wait: Duration) -> bool {
        let until = Instant::now() + wait;
        while self.credits < count {
            match timeout(until - Instant::now(), self.message()).await {
                Ok(Some(FromAdapter::Credit(credit))) => self.credits += credit.exchanges,
                Ok(Some(said)) => {
                    if let Some(of) = exchange_of(&said) {
                        self.kept.entry(of).or_default().push_back(said);
                    }
                }
                Ok(None) | Err(_) => return false,
            }
        }
        self.credits -= count;
        true
    }

    /// Forgets credits and words that nobody asked about; whether evidence was among them.
    pub fn forget(&mut self) -> bool {
        self.credits = 0;
        let mut words = self.kept.drain().flat_map(|(_, words)| words);
        words.any(|word| matches!(word, FromAdapter::Reveal(_)))
    }

    /// Whether the adapter answers a heartbeat in that time.
    pub async fn heartbeat(&mut self, wait: Duration) -> bool {
        use einmal_protocol::wire::register::v1::Heartbeat;
        self.send(ToAdapter::Heartbeat(Heartbeat { time_ms: 1 })).await;
        let beat = async {
            loop {
                match self.message().await {
                    Some(FromAdapter::Heartbeat(_)) => return true,
                    Some(FromAdapter::Credit(credit)) => self.credits += credit.exchanges,
                    Some(_) => {}
                    None => return false,
                }
            }
        };
        timeout(wait, beat).await.unwrap_or(false)
    }

    /// Ends the stream from this side as well.
    pub fn close(&mut self) {
        self.sender = mpsc::channel(1).0;
    }

    /// Whether the adapter has ended the stream, as far as is known.
    pub fn has_ended(&self) -> bool {
        self.ended
    }

    /// Waits until the adapter has ended the stream; true unless it goes on. Whether anything was
    /// revealed meanwhile is for [`Line::after`].
    pub async fn ends(&mut self, wait: Duration) -> bool {
        let end = async { while self.message().await.is_some() {} };
        timeout(wait, end).await.is_ok()
    }
}
