// SPDX-License-Identifier: EUPL-1.2
//! What a crash of the broker must mean: a broker in a process of its own is killed with SIGKILL at
//! random points, under load, and started again on the same port and folder.
//!
//! After each kill, and at the end, the ledger is read from the bodies up (APPEND-ONLY): every
//! evidence that a client received and every exchange that an adapter revealed is in it
//! (NO-LOG-NO-DATA), every receipt and every checkpoint that was ever given still holds, and no id
//! has two leaves (ONCE). Whoever was in flight at the kill sends the identical bytes again and
//! gets an answer, or ANSWER_LOST where the exchange was logged.
//!
//! `EINMAL_CRASH_ROUNDS` says how many kills; `tests/crash` runs fifty.

mod load;
pub(crate) mod process;
mod register;
mod truth;
mod words;

use std::time::{Duration, Instant};

use einmal::{
    adapter, cockpit,
    demo::plan::{LEDGER, Plan},
    online::Online,
};
use einmal_adapter_kit::Adapter;
use einmal_cockpit::{keeper::connect_in_process, serve::Running};
use einmal_peer::{Clock, files};
use einmal_protocol::{note::LedgerKey, wire::cockpit::v1::GetStatusRequest};

use self::{load::Load, process::BrokerProcess, truth::Truth, words::Words};
use crate::world::Folder;

/// How many clients ask at once, each with so many questions in flight.
const CLIENTS: usize = 4;
const AT_ONCE: usize = 6;
/// Adapters come back after ten seconds at most; a load that does not move for longer is stuck.
const STUCK: Duration = Duration::from_secs(40);
/// How long the keeper may take to follow at the end.
const FOLLOW: Duration = Duration::from_secs(60);

/// Everybody but the broker.
struct Others {
    plan: Plan,
    adapters: Vec<Adapter>,
    cockpit: Running,
    key: LedgerKey,
}

/// What one round came to.
struct Round {
    up: Duration,
    in_flight: usize,
    truth: Truth,
    read: Duration,
}

#[test]
fn kill_9_loses_nothing_and_doubles_nothing() {
    let rounds = std::env::var("EINMAL_CRASH_ROUNDS")
        .map_or(3, |rounds| rounds.parse().expect("EINMAL_CRASH_ROUNDS is a number"));
    let words = Words::default();
    let heard = words.clone();
    // On threads of its own, so that only these adapters are heard.
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .on_thread_start(move || heard.listen())
        .build()
        .unwrap();
    // All on the runtime's threads, none on this one.
    runtime.block_on(runtime.spawn(crash(rounds, words))).unwrap();
}

async fn crash(rounds: usize, words: Words) {
    let began = Instant::now();
    let folder = Folder::new();
    let plan =
        Plan::create(folder.path(), &Clock::system()).await.unwrap_or_else(|e| panic!("{e}"));
    let mut broker = BrokerProcess::start(&process::built(), folder.path());
    broker.listening().await;
    let mut others = Others::start(plan).await;
    let load = Load::start(&others.plan, CLIENTS, AT_ONCE).await;
    let mut before = Truth::default();
    for number in 1..=rounds {
        // The first kill hits it at work, so that each run has questions in flight at one.
        let early = number > 1 && random(4) == 0;
        let round = others.round(&mut broker, (&load, early), &words, &before).await;
        eprintln!(
            "round {number:>3}: killed after {:>5} ms with {:>2} in flight; {:>6} leaves read in \
             {:>4} ms; {}",
            round.up.as_millis(),
            round.in_flight,
            round.truth.size(),
            round.read.as_millis(),
            load.told(),
        );
        before = round.truth;
        broker = broker.start_again();
        load.wrong_is_nothing();
        others.no_alarm().await;
    }
    broker.listening().await;
    load.broker_is(true);
    let load = load.finish().await;
    others.followed(load.highest()).await;
    broker.kill();
    let end = others.verified(&load, &words, &before).await;
    words.no_alarm();
    others.stop().await;
    eprintln!(
        "end: {rounds} kills under load in {} s; {} leaves; {}; adapters revealed {}, and forgot \
         {} commitments that were not logged; each receipt, checkpoint and leaf holds, the keeper \
         followed without alarm",
        began.elapsed().as_secs(),
        end.size(),
        load.told(),
        words.revealed().len(),
        words.orphans(),
    );
    load.did_its_work(rounds);
}

impl Others {
    async fn start(plan: Plan) -> Self {
        let clock = Clock::system();
        // Once: a broker keeps across its restarts that its deny list is fresh.
        let online = Online::open(&plan.config("publisher"), clock.clone()).await;
        let told = online.unwrap_or_else(|exit| panic!("{exit}")).sign().await;
        assert!(told.unwrap_or_else(|exit| panic!("{exit}")).iter().all(|t| t.problem.is_none()));
        let cockpit = cockpit::start(&plan.config("cockpit"), clock.clone()).await;
        let cockpit = cockpit.unwrap_or_else(|exit| panic!("{exit}"));
        let mut adapters = Vec::new();
        for config in &plan.adapters {
            let adapter = adapter::start(config, clock.clone()).await;
            adapters.push(adapter.unwrap_or_else(|exit| panic!("{exit}")));
        }
        let key = files::signing_key(&plan.folder.join("keys/ledger.key")).unwrap();
        let key = LedgerKey::new(LEDGER, key.public().clone()).unwrap();
        Self { plan, adapters, cockpit, key }
    }

    /// Lets the broker work for a while, or only begin to (`early`), kills it, and reads what it
    /// leaves.
    async fn round(
        &mut self,
        broker: &mut BrokerProcess,
        (load, early): (&Load, bool),
        words: &Words,
        before: &Truth,
    ) -> Round {
        let began = Instant::now();
        if early {
            // Whatever it is doing: reading its ledger, opening ports, welcoming adapters.
            let listens = broker.until_listening_or(Duration::from_millis(random(400))).await;
            load.broker_is(listens);
            tokio::time::sleep(Duration::from_millis(random(200))).await;
        } else {
            broker.listening().await;
            load.broker_is(true);
            let enough = load.received_more(1 + random(120));
            tokio::time::timeout(STUCK, enough).await.expect("the load moves");
            tokio::time::sleep(Duration::from_micros(random(20_000))).await;
        }
        let in_flight = load.in_flight();
        load.broker_is(false);
        broker.kill();
        let (up, reading) = (began.elapsed(), Instant::now());
        let truth = self.verified(load, words, before).await;
        Round { up, in_flight, truth, read: reading.elapsed() }
    }

    /// Reads the dead broker's ledger, and holds everything against it that anybody was told.
    async fn verified(&self, load: &Load, words: &Words, before: &Truth) -> Truth {
        let database = self.plan.folder.join("broker/ledger.sqlite");
        let memory = self.plan.folder.join("memory/ledger.checkpoint");
        let report = einmal_ledger::verify(&database, &self.key, Some(&memory)).await;
        let report = report.expect("the ledger holds");
        let truth = Truth::read(&database).await;
        assert_eq!((report.size, report.root), (truth.size(), truth.root_at(truth.size())));
        truth.extends(before);
        for given in load.given() {
            truth.has(&given);
        }
        for (id, index) in words.revealed() {
            truth.has_exchange(id, index);
        }
        for id in load.lost() {
            truth.has_once(id);
        }
        for note in self.notes() {
            truth.is_of(&note, &self.key);
        }
        truth
    }

    /// All checkpoints that clients, adapters and the ledger itself keep in files.
    fn notes(&self) -> Vec<String> {
        let folders = std::fs::read_dir(&self.plan.folder).unwrap();
        let files = folders.map(|entry| entry.unwrap().path().join("seen.json"));
        let seen = files.filter_map(|file| std::fs::read(file).ok()).flat_map(|bytes| {
            let notes: std::collections::HashMap<String, serde_json::Value> =
                serde_json::from_slice(&bytes).expect("checkpoints by origin");
            let text = |note: &serde_json::Value| note.as_str().expect("a note").to_owned();
            notes.into_values().flat_map(move |of| {
                let loose = of["loose"].as_array().cloned().unwrap_or_default();
                std::iter::once(text(&of["last"])).chain(loose.iter().map(text)).collect::<Vec<_>>()
            })
        });
        seen.collect()
    }

    async fn no_alarm(&self) -> u64 {
        let mut keeper = connect_in_process(self.cockpit.keeper.clone());
        let status = keeper.get_status(GetStatusRequest {}).await.unwrap().into_inner();
        assert_eq!(status.alarms, Vec::<String>::new());
        status.complete_up_to
    }

    /// The keeper has all that anybody has a receipt for.
    async fn followed(&self, size: u64) {
        let follow = async {
            while self.no_alarm().await < size {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        tokio::time::timeout(FOLLOW, follow).await.expect("the keeper follows");
    }

    async fn stop(self) {
        for adapter in self.adapters {
            adapter.stop().await;
        }
        self.cockpit.stop().await;
    }
}

/// A number below another.
fn random(below: u64) -> u64 {
    u64::from_be_bytes(einmal_peer::random::bytes().unwrap()) % below
}
