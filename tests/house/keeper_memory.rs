// SPDX-License-Identifier: EUPL-1.2
//! The keeper as the ledger's only memory: over mTLS, it alone notices a restored backup; while it
//! is away nothing is logged, and a keeper and a broker that were both off start again together.

use std::{fs, path::Path, time::Duration};

use einmal::{
    broker, cockpit,
    demo::{application, house::House, plan::LEDGER, registers},
};
use einmal_broker::{BrokerConfig, ServeError};
use einmal_ledger::OpenError;
use einmal_protocol::{
    Digest, Reason,
    key::SigningKey,
    merkle,
    note::{Checkpoint, LedgerKey},
    wire::cockpit::v1::{GetLargestRequest, RememberRequest},
};
use tonic::{Code, Status};

use crate::{
    hand_in::Stage,
    world::{World, ask_of},
};

/// The demo's broker.
const BROKER: &str = "broker-1";

/// The same broker without a file: the keeper is the memory.
async fn with_keeper_alone(house: House) -> (House, BrokerConfig) {
    let House { plan, broker, adapters, cockpit, clock, online, stop } = house;
    broker.stop().await;
    let path = plan.config("broker");
    let text = fs::read_to_string(&path).unwrap();
    let file = "memory = \"memory/ledger.checkpoint\"\n";
    assert!(text.contains(file));
    fs::write(&path, text.replace(file, "keeper_memory = \"required\"\n")).unwrap();
    fs::remove_dir_all(path.parent().unwrap().join("memory")).unwrap();
    let config = broker::read(&path).unwrap();
    assert_eq!(config.ledger.memory, None);
    let broker = einmal_broker::start(&config, clock.clone()).await.unwrap();
    let house = House { plan, broker, adapters, cockpit, clock, online, stop };
    house.ready().await.unwrap();
    (house, config)
}

async fn ask(house: &House) {
    let client = house.client().await.unwrap();
    client.ask(ask_of(house, "pay-data")).await.unwrap_or_else(|error| panic!("{error}"));
}

fn copy(from: &Path, to: &Path) {
    let _ = fs::remove_dir_all(to);
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        match entry.path().is_dir() {
            true => copy(&entry.path(), &target),
            false => drop(fs::copy(entry.path(), target).unwrap()),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_keeper_alone_notices_a_restored_backup() {
    let World { house, folder } = World::start().await;
    ask(&house).await;
    let (house, config) = with_keeper_alone(house).await;
    ask(&house).await;
    let House { plan, broker, adapters, cockpit, clock, online, stop } = house;
    let database = config.ledger.database.clone().unwrap();
    let (lies_in, backup) = (database.parent().unwrap(), folder.path().join("backup"));
    broker.stop().await;
    copy(lies_in, &backup);
    let broker = einmal_broker::start(&config, clock.clone()).await.unwrap();
    let before = broker.broker.ledger.checkpoint().size();
    let house = House { plan, broker, adapters, cockpit, clock, online, stop };
    house.ready().await.unwrap();
    ask(&house).await;
    let House { plan, broker, adapters, cockpit, clock, online, stop } = house;
    let after = broker.broker.ledger.checkpoint().size();
    assert!(after > before);
    broker.stop().await;
    let whole = folder.path().join("whole");
    copy(lies_in, &whole);
    copy(&backup, lies_in);
    let refused = einmal_broker::start(&config, clock.clone()).await.err().unwrap();
    let message = refused.to_string();
    let expected = OpenError::Behind { stored: before, signed: after };
    assert!(matches!(refused, ServeError::Open(error) if error == expected), "{message}");
    assert!(message.contains("close this ledger and begin a new origin"), "{message}");
    copy(&whole, lies_in);
    let broker = einmal_broker::start(&config, clock.clone()).await.unwrap();
    let house = House { plan, broker, adapters, cockpit, clock, online, stop };
    house.ready().await.unwrap();
    ask(&house).await;
    house.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn while_the_keeper_is_away_nothing_is_logged_and_both_start_again() {
    let World { house, folder: _folder } = World::start().await;
    let (house, config) = with_keeper_alone(house).await;
    ask(&house).await;
    let House { plan, broker, adapters, cockpit, clock, online, stop } = house;
    cockpit.stop().await;
    let size = broker.broker.ledger.checkpoint().size();
    // Whoever asks first waits for the keeper until the exchange's time is over.
    let client = einmal::request::connect(&plan.config("client"), clock.clone()).await.unwrap();
    let questions = registers::questions(&plan.town);
    let (first, again) = (application::ask(&questions[0]), application::ask(&questions[1]));
    let asks = tokio::spawn(async move { client.ask(first).await });
    while broker.broker.ledger.is_healthy() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let client = einmal::request::connect(&plan.config("client"), clock.clone()).await.unwrap();
    let error = client.ask(again).await.unwrap_err();
    assert_eq!(error.reason(), Some(Reason::LedgerUnavailable), "{error}");
    assert!(asks.await.unwrap().is_err(), "not answered without the keeper");
    assert_eq!(broker.broker.ledger.checkpoint().size(), size);

    // Both off: the broker starts and serves the documents without which no keeper starts.
    broker.stop().await;
    let broker = einmal_broker::start(&config, clock.clone()).await.unwrap();
    assert!(!broker.broker.ledger.is_healthy());
    let cockpit = cockpit::start(&plan.config("cockpit"), clock.clone()).await.unwrap();
    let back = async {
        while !broker.broker.ledger.is_healthy() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), back).await.expect("it goes on");
    let house = House { plan, broker, adapters, cockpit, clock, online, stop };
    house.ready().await.unwrap();
    ask(&house).await;
    house.stop().await;
}

impl Stage {
    async fn remember(
        &self,
        by: &str,
        note: &str,
        known: (u64, Vec<u8>),
    ) -> Result<String, Status> {
        let (known_size, known_root) = known;
        let request = RememberRequest { checkpoint: note.to_owned(), known_size, known_root };
        Ok(self.dial(by, &self.target()).remember(request).await?.into_inner().checkpoint)
    }

    async fn largest(&self) -> String {
        let mut keeper = self.dial("it-bremen", &self.target());
        keeper.get_largest(GetLargestRequest {}).await.unwrap().into_inner().checkpoint
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_keeper_remembers_for_brokers_only_and_only_what_follows_what_it_knows() {
    let stage = Stage::start().await;
    let size = stage.grow().await;
    let key = LedgerKey::new(LEDGER, stage.key.public().clone()).unwrap();
    let held = Checkpoint::parse(&stage.largest().await, &key).unwrap();
    assert_eq!(held.size(), size, "what it followed counts too");
    let known = (held.size(), held.root().to_vec());
    let next = stage.fork(size + 1, "next");
    let denied = stage.remember("it-bremen", next.note(), known.clone()).await.unwrap_err();
    assert_eq!(denied.code(), Code::PermissionDenied);
    let stranger = SigningKey::from_seed(&[9; 32]).unwrap();
    let foreign = Checkpoint::sign(LEDGER, size + 1, held.root(), &stranger).unwrap();
    for (note, root) in
        [(foreign.note(), known.1.clone()), (next.note(), vec![1; 31]), ("", vec![])]
    {
        let refused = stage.remember(BROKER, note, (known.0, root)).await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument);
    }
    // Who knows another, or nothing, is told what there is; so is who knows it and has less.
    let nothing = (0, merkle::empty_root().to_vec());
    let other = (size, Digest::of(b"another").to_vec());
    for (note, known) in [
        (next.note(), nothing),
        (next.note(), other),
        (stage.fork(size - 1, "less").note(), known.clone()),
        (stage.fork(size, "another").note(), known.clone()),
    ] {
        assert_eq!(stage.remember(BROKER, note, known).await.unwrap(), held.note());
    }
    assert!(stage.standing().await.forks.is_empty());
    assert_eq!(stage.remember(BROKER, next.note(), known).await.unwrap(), next.note());
    assert_eq!(stage.largest().await, next.note());
    // Once the keeper has come so far, what brokers had it remember is compared with its own tree.
    stage.grow().await;
    let keeper = &stage.world.house.cockpit.keeper;
    keeper.look_after(stage.world.clock().now_ms()).await.unwrap();
    let forks = stage.standing().await.forks;
    assert!(forks.iter().any(|fork| fork.shown == next.note()), "{forks:?}");
    // What an operator was shown beyond it is known too.
    let beyond = stage.fork(size + 99, "beyond");
    stage.hand_in("it-bremen", beyond.note()).await.unwrap();
    assert_eq!(stage.largest().await, beyond.note());
    stage.world.house.stop().await;
}
