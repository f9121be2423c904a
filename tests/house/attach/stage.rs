// SPDX-License-Identifier: EUPL-1.2
//! A house whose federal registers are written in code, by adapters that the test starts.

use std::{
    path::PathBuf,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use einmal_adapter_kit::{
    Adapter, AdapterSetup, Answer, Counts, Found, Query, Register, RegisterFault, RegisterLimits,
    RegisterSetup, register::async_trait,
};
use einmal_broker::{Broker, attachments::Attachment};
use einmal_client::{Client, ClientError, Received};
use einmal_policy::{directory::DirectoryDocument, documents::Offer};
use einmal_protocol::{Digest, Reason, envelope::payload_type};

use crate::world::{World, ask_of};

pub(crate) const OPERATOR: &str = "rechenzentrum-bund";
/// A register of that operator, and what it is asked for.
pub(crate) const TAX: (&str, &str) = ("bzst", "wage-tax-data");
pub(crate) const CHILD: (&str, &str) = ("familienkasse-bremen", "child-benefit-notice");
pub(crate) const LONG: Duration = Duration::from_secs(30);

/// What a register does when it is asked.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum How {
    Finds,
    Hangs,
    Blocks(Duration),
    Panics,
    Faults,
}

/// A register written in code.
pub(crate) struct Scripted {
    how: Mutex<How>,
    letters: AtomicUsize,
    asked: AtomicUsize,
}

impl Scripted {
    pub(crate) fn new(how: How) -> Arc<Self> {
        let (letters, asked) = (AtomicUsize::new(1), AtomicUsize::new(0));
        Arc::new(Self { how: Mutex::new(how), letters, asked })
    }

    pub(crate) fn now(&self, how: How) {
        *self.how.lock().unwrap() = how;
    }

    pub(crate) fn says(&self, letters: usize) {
        self.letters.store(letters, Ordering::SeqCst);
    }

    pub(crate) fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }
}

#[async_trait]
impl Register for Scripted {
    async fn retrieve(&self, query: &Query) -> Result<Answer, RegisterFault> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        let how = *self.how.lock().unwrap();
        match how {
            How::Finds => {}
            How::Hangs => std::future::pending().await,
            How::Blocks(time) => std::thread::sleep(time),
            How::Panics => panic!("somebody's name"),
            How::Faults => {
                let source_name = "scripted".to_owned();
                return Err(RegisterFault::Source { source_name, problem: "told to".to_owned() });
            }
        }
        let text = "x".repeat(self.letters.load(Ordering::SeqCst));
        let values = query.fields.iter().map(|field| (field.clone(), text.clone().into()));
        let (subject, values) = (query.person.to_subject(), values.collect());
        Ok(Answer::Found(Found { subject, affected: Vec::new(), values, blocked: false }))
    }
}

pub(crate) struct Stage {
    pub(crate) world: World,
}

/// An adapter to start.
#[derive(Clone)]
pub(crate) struct Cast {
    pub(crate) state: &'static str,
    pub(crate) credits: u32,
    pub(crate) replicated: bool,
    pub(crate) limits: RegisterLimits,
    /// Its registers.
    pub(crate) registers: Vec<(&'static str, Arc<Scripted>)>,
}

impl Cast {
    pub(crate) fn new(registers: &[((&'static str, &str), &Arc<Scripted>)]) -> Self {
        Self {
            state: "adapter-scripted",
            credits: 16,
            replicated: false,
            limits: RegisterLimits::default(),
            registers: registers.iter().map(|((id, _), one)| (*id, Arc::clone(one))).collect(),
        }
    }
}

impl Stage {
    /// `limits` goes into the broker's configuration; `size` is that of the tax office's evidence.
    pub(crate) async fn new(limits: &str, size: u32) -> Self {
        Self { world: World::without(OPERATOR, limits, (TAX.1, size)).await }
    }

    pub(crate) fn folder(&self) -> PathBuf {
        self.world.folder.path().to_owned()
    }

    pub(crate) fn broker(&self) -> &Arc<Broker> {
        &self.world.house.broker.broker
    }

    /// Starts an adapter, without waiting until it has attached.
    pub(crate) async fn begin(&self, cast: Cast) -> Adapter {
        let setup = self.world.adapter_setup(OPERATOR, cast.state, cast.credits);
        let setup = AdapterSetup { replicated: cast.replicated, ..setup };
        let registers = cast.registers.into_iter().map(|(id, register)| RegisterSetup {
            limits: cast.limits.clone(),
            ..self.world.register_setup(id, register)
        });
        einmal_adapter_kit::start(setup, registers.collect()).await.unwrap()
    }

    /// Starts an adapter and waits until it has attached.
    pub(crate) async fn attach(&self, cast: Cast) -> Adapter {
        let before = self.streams();
        let adapter = self.begin(cast).await;
        until("it attaches", || self.streams() > before).await;
        adapter
    }

    /// Streams of the scripted registers' operator.
    pub(crate) fn all(&self) -> Vec<Arc<Attachment>> {
        let streams = self.broker().attachments.streams();
        streams.into_iter().filter(|stream| stream.operator == OPERATOR).collect()
    }

    pub(crate) fn streams(&self) -> usize {
        self.all().len()
    }

    pub(crate) async fn client(&self) -> Client {
        self.world.house.client().await.unwrap_or_else(|exit| panic!("{exit}"))
    }

    pub(crate) fn size(&self) -> u64 {
        self.broker().ledger.checkpoint().size()
    }

    /// Asks one of the scripted registers.
    pub(crate) async fn ask(
        &self,
        client: &Client,
        (_, evidence_type): (&str, &str),
    ) -> Result<Received, ClientError> {
        client.ask(ask_of(&self.world.house, evidence_type)).await
    }

    /// The directory changed, signed, and taken by the broker.
    pub(crate) async fn change_directory(&self, change: impl FnOnce(&mut DirectoryDocument)) {
        let broker = self.broker();
        let trust = broker.trust.current();
        let signed = trust.signed_directory();
        let mut document = signed.document().clone();
        document.version += 1;
        document.previous = Some(signed.digest().to_hex());
        change(&mut document);
        let plan = &self.world.house.plan;
        let directory = plan.sign(payload_type::DIRECTORY, &document, &["register-authority"]);
        let directory = Some(directory.unwrap_or_else(|exit| panic!("{exit}")));
        let offer = Offer { directory, ..Offer::default() };
        let now_ms = self.world.clock().now_ms();
        assert!(broker.trust.renew(offer, now_ms).await.unwrap());
        assert_ne!(broker.trust.current().directory.digest(), Digest::of(b""));
    }

    pub(crate) async fn stop(self) {
        self.world.house.stop().await;
    }
}

pub(crate) fn reason(answer: &Result<Received, ClientError>) -> Option<Reason> {
    answer.as_ref().err().and_then(ClientError::reason)
}

/// Waits for something that has to come.
pub(crate) async fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let began = Instant::now();
    while !is_so() {
        assert!(began.elapsed() < LONG, "not in time: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Nothing is left over, on either side.
pub(crate) async fn until_idle(stage: &Stage, adapter: &Adapter, credits: u32) {
    let is_idle = || {
        let Counts { exchanges, unproven, lookups, .. } = adapter.counts();
        let broker = stage.all().iter().all(|one| one.exchanges() == 0 && one.credits() == credits);
        (exchanges, unproven, lookups) == (0, 0, 0) && broker
    };
    until("all that was open is over, and its credits are back", is_idle).await;
}
