// SPDX-License-Identifier: EUPL-1.2
//! Adapters' streams with a register written in code: large answers in chunks, deadlines and
//! cancel, credits, faults, detach and attach again; and that fields nobody asked for stay home.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use einmal_adapter_kit::{
    Adapter, Answer, Found, Query, Register, RegisterFault, register::async_trait,
};
use einmal_client::ClientError;
use einmal_protocol::{
    Reason,
    person::PersonQuery,
    wire::v1::{Outcome, Subject},
};

use crate::world::{World, ask_of};

const OPERATOR: &str = "rechenzentrum-bund";

/// A whole custom adapter's register: what it does is switched by the test.
#[derive(Default)]
struct Scripted {
    wait_ms: AtomicU64,
    /// How many lookups were begun.
    begun: AtomicU64,
    fail: AtomicBool,
    letters: AtomicU64,
    dropped: Arc<AtomicBool>,
}

struct Dropped(Arc<AtomicBool>);

impl Drop for Dropped {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

#[async_trait]
impl Register for Scripted {
    async fn retrieve(&self, query: &Query) -> Result<Answer, RegisterFault> {
        let _dropped = Dropped(Arc::clone(&self.dropped));
        self.begun.fetch_add(1, Ordering::SeqCst);
        tokio::time::sleep(Duration::from_millis(self.wait_ms.load(Ordering::SeqCst))).await;
        if self.fail.load(Ordering::SeqCst) {
            let source_name = "scripted".to_owned();
            return Err(RegisterFault::Source { source_name, problem: "told to".to_owned() });
        }
        let letters = usize::try_from(self.letters.load(Ordering::SeqCst)).unwrap();
        let values = BTreeMap::from([
            ("tax_class".to_owned(), "x".repeat(letters.max(1)).into()),
            // Nobody asked for this, and no rule permits it.
            ("religion".to_owned(), "nobody's business".into()),
        ]);
        let subject: Subject = query.person.to_subject();
        Ok(Answer::Found(Found { subject, affected: Vec::new(), values, blocked: false }))
    }
}

/// A house in which one register is the scripted one.
struct Stage {
    world: World,
    register: Arc<Scripted>,
    adapter: Option<Adapter>,
}

impl Stage {
    async fn new(size: u32, exchange_ms: u64, credits: u32) -> Self {
        let limits = format!("exchange_ms = {exchange_ms}");
        let world = World::without(OPERATOR, &limits, ("wage-tax-data", size)).await;
        let mut stage = Self { world, register: Arc::default(), adapter: None };
        stage.attach(credits).await;
        stage
    }

    async fn attach(&mut self, credits: u32) {
        let setup = self.world.adapter_setup(OPERATOR, "adapter-scripted", credits);
        let register = Arc::clone(&self.register) as Arc<dyn Register>;
        let register = self.world.register_setup("bzst", register);
        let adapter = einmal_adapter_kit::start(setup, vec![register]).await.unwrap();
        self.adapter = Some(adapter);
        let attachments = &self.world.house.broker.broker.attachments;
        while !attachments.has("bzst") {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    async fn ask(&self) -> Result<einmal_client::Received, ClientError> {
        let client = self.world.house.client().await.unwrap_or_else(|exit| panic!("{exit}"));
        let mut ask = ask_of(&self.world.house, "wage-tax-data");
        ask.fields = vec!["tax_class".to_owned()];
        client.ask(ask).await
    }

    fn size(&self) -> u64 {
        self.world.house.broker.broker.ledger.checkpoint().size()
    }

    async fn stop(self) {
        if let Some(adapter) = self.adapter {
            adapter.stop().await;
        }
        self.world.house.stop().await;
    }
}

fn reason<T>(answer: Result<T, ClientError>) -> Option<Reason> {
    answer.err().and_then(|error| error.reason())
}

#[tokio::test(flavor = "multi_thread")]
async fn only_permitted_fields_leave_whatever_the_register_says() {
    let stage = Stage::new(2048, 15_000, 8).await;
    let received = stage.ask().await.unwrap();
    assert_eq!(received.values.keys().collect::<Vec<_>>(), ["tax_class"]);
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_check_digit_is_refused_before_anybody_looks() {
    let stage = Stage::new(2048, 15_000, 8).await;
    let client = stage.world.house.client().await.unwrap_or_else(|exit| panic!("{exit}"));
    let right = ask_of(&stage.world.house, "wage-tax-data");
    let PersonQuery::Idnr { idnr, birth_date } = &right.person.query else { panic!() };
    let (payload, digit) = idnr.split_at(10);
    let digit = digit.parse::<u8>().unwrap();
    for wrong in (0..10).filter(|other| *other != digit) {
        let mut ask = right.clone();
        let idnr = format!("{payload}{wrong}");
        ask.person.query = PersonQuery::Idnr { idnr, birth_date: birth_date.clone() };
        assert_eq!(reason(client.ask(ask).await), Some(Reason::BadCheckDigit), "{wrong}");
    }
    assert_eq!(stage.register.begun.load(Ordering::SeqCst), 0);
    stage.ask().await.unwrap();
    assert_eq!(stage.register.begun.load(Ordering::SeqCst), 1);
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_mebibytes_arrive_whole_and_delay_nobody() {
    let stage = Stage::new(2 * 1024 * 1024, 15_000, 8).await;
    let letters = 2 * 1024 * 1024 - 4096;
    stage.register.letters.store(letters, Ordering::SeqCst);
    let client = stage.world.house.client().await.unwrap_or_else(|exit| panic!("{exit}"));
    let small = ask_of(&stage.world.house, "birth-certificate");
    let alone = Instant::now();
    client.ask(small.clone()).await.unwrap();
    let alone = alone.elapsed();
    let beside = async {
        let began = Instant::now();
        client.ask(small).await.unwrap();
        began.elapsed()
    };
    let (large, beside) = tokio::join!(stage.ask(), beside);
    let large = large.unwrap();
    assert_eq!(large.outcome, Outcome::Found);
    assert_eq!(large.values["tax_class"].as_str().unwrap().len() as u64, letters);
    assert!(beside < alone * 10 + Duration::from_secs(1), "{beside:?} against {alone:?}");
    // Longer than its type's size: said inside the seal alone, for a fault would tell the broker
    // that something was found. It is logged like every other answer.
    stage.register.letters.store(letters + 8192, Ordering::SeqCst);
    let before = stage.size();
    let unfit = stage.ask().await.unwrap();
    assert_eq!((unfit.outcome, unfit.values.len()), (Outcome::NotTransmitted, 0));
    assert_eq!(stage.size(), before + 1);
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_register_that_hangs_is_cancelled_and_the_same_id_may_ask_again() {
    let stage = Stage::new(2048, 1_500, 8).await;
    let client = stage.world.house.client().await.unwrap_or_else(|exit| panic!("{exit}"));
    let mut ask = ask_of(&stage.world.house, "wage-tax-data");
    ask.fields = vec!["tax_class".to_owned()];
    let prepared = client.prepare(&[ask]).await.unwrap().remove(0);
    stage.register.wait_ms.store(60_000, Ordering::SeqCst);
    let before = stage.size();
    assert_eq!(reason(client.send(&prepared).await), Some(Reason::DeadlineExceeded));
    assert_eq!(stage.size(), before, "nothing was committed, so nothing is logged");
    let cancelled = async {
        while !stage.register.dropped.load(Ordering::SeqCst) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(5), cancelled).await.expect("the lookup is dropped");
    // So it is, at once, where the caller hangs up.
    stage.register.dropped.store(false, Ordering::SeqCst);
    let begun = stage.register.begun.load(Ordering::SeqCst);
    let asked = async {
        while stage.register.begun.load(Ordering::SeqCst) == begun {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::select! {
        answer = client.send(&prepared) => panic!("{:?}", reason(answer)),
        () = asked => {}
    }
    let cancelled = async {
        while !stage.register.dropped.load(Ordering::SeqCst) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(1), cancelled).await.expect("hanging up cancels");
    stage.register.wait_ms.store(0, Ordering::SeqCst);
    assert!(client.send(&prepared).await.is_ok(), "before the commitment the id is not used up");
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn faults_credits_and_absence_have_their_reasons() {
    let mut stage = Stage::new(2048, 15_000, 1).await;
    let before = stage.size();
    stage.register.fail.store(true, Ordering::SeqCst);
    assert_eq!(reason(stage.ask().await), Some(Reason::RegisterFault));
    stage.register.fail.store(false, Ordering::SeqCst);
    assert_eq!(stage.size(), before);

    // One credit: who asks while another is looked up is told to come back.
    stage.register.wait_ms.store(5_000, Ordering::SeqCst);
    let begun = stage.register.begun.load(Ordering::SeqCst);
    let second = async {
        while stage.register.begun.load(Ordering::SeqCst) == begun {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        stage.ask().await
    };
    let (one, two) = tokio::join!(stage.ask(), second);
    assert_eq!((reason(one), reason(two)), (None, Some(Reason::RegisterBusy)));
    stage.register.wait_ms.store(0, Ordering::SeqCst);

    stage.adapter.take().unwrap().stop().await;
    let attachments = &stage.world.house.broker.broker.attachments;
    while attachments.has("bzst") {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(reason(stage.ask().await), Some(Reason::RegisterNotAttached));
    stage.attach(8).await;
    assert!(stage.ask().await.is_ok(), "attached again, with the keys and checkpoints it kept");
    stage.stop().await;
}
