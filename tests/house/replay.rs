// SPDX-License-Identifier: EUPL-1.2
//! Every decision in the ledger comes out again byte for byte: after a switch of rules, a denial
//! and a restart, from the archive alone. What was changed since is found (PURPOSE-BOUND,
//! SIGNED-ALL-THE-WAY).

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use einmal::{
    broker,
    demo::{house::House, plan::Plan},
    ledger::replay::{Replay, Report, past, replay},
};
use einmal_broker::{BrokerConfig, open_ledger, serve};
use einmal_client::Ask;
use einmal_ledger::{
    NewEntry,
    store::{Detail, Entry},
};
use einmal_peer::Clock;
use einmal_policy::{Change, deny::DenyEntry, documents::Offer, rules_document::RulesDocument};
use einmal_protocol::{
    Digest, Reason, RequestId,
    envelope::payload_type,
    leaf::{Leaf, LeafKind, body_bytes},
    permit::{Grants, Permit},
    time::{DAY_MS, day_of},
    wire::{
        directory::v1::GetTrustResponse,
        v1::{Body, ExchangeBody, RefusalBody, Use, body},
    },
};
use einmal_test_servers::Postgres;
use prost::Message;

use crate::{
    deny::{deny, entry, publisher},
    refusals::{dial, forge, send},
    world::{Folder, World, ask_of},
};

const BOTH: [&str; 2] = ["register-authority", "data-protection-officer"];

pub(crate) async fn replayed(config: &BrokerConfig, archives: &[PathBuf]) -> Report {
    let store = open_ledger::inspect(&config.ledger).await.unwrap();
    let past = past(config, archives).unwrap_or_else(|exit| panic!("{exit}"));
    replay(&*store, past, 0, None).await.unwrap_or_else(|exit| panic!("{exit}"))
}

/// The same rules again as their next version.
async fn switch_rules(house: &House) {
    let publisher = publisher(house).await;
    let documents = publisher.trust.documents();
    let last = &documents.rules.last().unwrap().payload;
    let mut rules: RulesDocument = serde_json::from_slice(last).unwrap();
    rules.version += 1;
    rules.previous = Some(Digest::of(last).to_hex());
    rules.change = Some(Change::TextOnly);
    let rules = house.plan.sign(payload_type::RULES, &rules, &BOTH).unwrap();
    let told = publisher.publish(Offer { rules: vec![rules], ..Offer::default() }).await;
    assert!(told.unwrap().iter().all(|told| told.problem.is_none()));
}

/// Two answers, two refusals by the rules.
async fn some_of_each(house: &House) {
    let client = house.client().await.unwrap();
    for kind in ["birth-certificate", "pay-data"] {
        client.ask(ask_of(house, kind)).await.unwrap_or_else(|error| panic!("{error}"));
    }
    let good = ask_of(house, "wage-tax-data");
    for (expected, ask) in [
        (Reason::NotPermitted, Ask { fields: vec!["religion".into()], ..good.clone() }),
        (Reason::UnknownPurpose, Ask { purpose: "curiosity".into(), ..good }),
    ] {
        let error = client.ask(ask).await.expect_err("must be refused");
        assert_eq!(error.reason(), Some(expected), "{error}");
    }
}

/// One of each that no rules decide: refused by the register, for a circumstance; a report of use.
async fn others(world: &World) {
    let client = world.house.client().await.unwrap();
    let received = client.ask(world.ask("pay-data")).await.unwrap();
    client.report_use(&received, Use::Used).await.unwrap();
    let prepared =
        client.prepare(&[world.ask("wage-tax-data"), world.ask("pay-data")]).await.unwrap();
    let lied = forge(world, &prepared[0], "elterngeldstelle-bremen", |request| {
        request.idnr_used = false;
    });
    let refused = send(&mut dial(world, "it-bremen"), lied, &prepared[0]).await.unwrap_err();
    assert_eq!(refused.reason(), Some(Reason::DeclaredNotReal));
    let bytes = prepared[1].signed_request.clone();
    let mut stranger = dial(world, "rechenzentrum-bund");
    let refused = send(&mut stranger, bytes, &prepared[1]).await.unwrap_err();
    assert_eq!(refused.reason(), Some(Reason::OperatorMayNotCarry));
}

#[tokio::test(flavor = "multi_thread")]
async fn every_decision_comes_out_again_and_what_was_changed_does_not() {
    let world = World::start().await;
    some_of_each(&world.house).await;
    others(&world).await;
    switch_rules(&world.house).await;
    some_of_each(&world.house).await;
    let house = &world.house;
    let publisher = publisher(house).await;
    let evidence_type = Some("wage-tax-data".to_owned());
    deny(house, &publisher, DenyEntry { evidence_type, ..entry("stop-tax") }).await;
    let client = house.client().await.unwrap();
    let denied = client.ask(world.ask("wage-tax-data")).await.unwrap_err();
    assert_eq!(denied.reason(), Some(Reason::Denied));
    let World { house, folder } = world;
    let config = broker::read(&house.plan.config("broker")).unwrap();
    let first = replayed(&config, &[]).await;
    println!("{first:?}");
    first.outcome().unwrap_or_else(|exit| panic!("{exit}"));
    assert_eq!((first.same, first.denied, first.differ), (9, 1, 0));
    assert_eq!((first.by_register, first.by_circumstances, first.uses), (1, 1, 1));
    assert_eq!(first.replayed + first.not_replayable + first.uses, first.to);

    // The same from another start; then from a copy of the archive, as on another machine.
    let House { plan, broker, adapters, cockpit, clock, online, stop } = house;
    broker.stop().await;
    let broker = einmal_broker::start(&config, clock.clone()).await.unwrap();
    let house = House { plan, broker, adapters, cockpit, clock, online, stop };
    house.ready().await.unwrap();
    let client = house.client().await.unwrap();
    client.ask(ask_of(&house, "pay-data")).await.unwrap();
    house.stop().await;
    let copy = folder.path().join("copy");
    copy_folder(&serve::archive(&config), &copy);
    std::fs::rename(serve::archive(&config), folder.path().join("gone")).unwrap();
    let second = replayed(&config, std::slice::from_ref(&copy)).await;
    assert_eq!((second.same, second.denied, second.differ), (10, 1, 0));

    // The keeper, which also verifies, has kept the same rules and directories.
    let of_keeper = folder.path().join("cockpit/state/archive");
    let by_keeper = replayed(&config, &[of_keeper]).await;
    assert_eq!((by_keeper.differ, by_keeper.by_register), (0, 1), "{by_keeper:?}");

    documents_that_are_missing_or_exchanged_are_named(&config, &copy).await;
    bodies_that_were_changed_differ(&config, &copy).await;
}

/// The same over PostgreSQL as over SQLite, also where many are read at once.
#[tokio::test(flavor = "multi_thread")]
async fn decisions_come_out_again_from_postgres_too() {
    const COPIES: u64 = 1_500;
    let Some(server) = Postgres::start() else { return };
    for server in [Some(&server), None] {
        let (folder, clock) = (Folder::new(), Clock::system());
        let plan = match server {
            Some(server) => Plan::create_in_postgres(folder.path(), &clock, &server.url()).await,
            None => Plan::create(folder.path(), &clock).await,
        };
        let house = House::start(plan.unwrap_or_else(|e| panic!("{e}")), clock).await;
        let house = house.unwrap_or_else(|e| panic!("{e}"));
        some_of_each(&house).await;
        copies_of_an_exchange(&house, COPIES).await;
        let config = broker::read(&house.plan.config("broker")).unwrap();
        let began = std::time::Instant::now();
        let report = replayed(&config, &[]).await;
        let store = if server.is_some() { "postgres" } else { "sqlite" };
        let per_second = report.to as f64 / began.elapsed().as_secs_f64();
        println!("{store}: {} leaves, {per_second:.0} leaves/s", report.to);
        report.outcome().unwrap_or_else(|exit| panic!("{exit}"));
        assert_eq!((report.same, report.differ, report.to), (COPIES + 4, 0, COPIES + 4), "{store}");
        // Nothing is decided again without the documents of then.
        let none = folder.path().join("none");
        std::fs::create_dir(&none).unwrap();
        let report = replayed(&config, &[none]).await;
        assert_eq!((report.same, report.undecidable), (0, COPIES + 4), "{store}");
        assert!(report.outcome().is_err());
        house.stop().await;
    }
}

/// The first exchange as a body of many leaves.
async fn copies_of_an_exchange(house: &House, count: u64) {
    let ledger = &house.broker.broker.ledger;
    let entries = ledger.entries(0, 100).await.unwrap();
    let exchange = entries.iter().find(|entry| entry.leaf.kind == LeafKind::Exchange).unwrap();
    let mut copies = tokio::task::JoinSet::new();
    for number in 0..count {
        let mut random = [0; 10];
        random[2..].copy_from_slice(&number.to_be_bytes());
        let copy = NewEntry {
            authority: "copies".to_owned(),
            id: RequestId::new(house.clock.now_ms(), random),
            kind: LeafKind::Exchange,
            day: exchange.leaf.day,
            body: exchange.body.clone().unwrap(),
        };
        let ledger = ledger.clone();
        copies.spawn(async move { ledger.append(copy).await.unwrap() });
    }
    copies.join_all().await;
}

async fn documents_that_are_missing_or_exchanged_are_named(config: &BrokerConfig, copy: &Path) {
    let archived = |ending: &str| {
        let files = std::fs::read_dir(copy).unwrap().map(|file| file.unwrap().path());
        files.filter(|path| path.extension().is_some_and(|e| e == ending)).collect::<Vec<_>>()
    };
    let rules = archived("rules");
    assert_eq!(rules.len(), 2);
    let (one, other) = (std::fs::read(&rules[0]).unwrap(), std::fs::read(&rules[1]).unwrap());
    let mut unsigned = GetTrustResponse::decode(one.as_slice()).unwrap();
    unsigned.rules[0].signatures.clear();
    let cases = [
        (Some(other), "another document than its name says"),
        (Some(unsigned.encode_to_vec()), "signed by 0"),
        (None, "no archive has it"),
    ];
    for (content, problem) in cases {
        match content {
            Some(content) => std::fs::write(&rules[0], content).unwrap(),
            None => std::fs::remove_file(&rules[0]).unwrap(),
        }
        let report = replayed(config, &[copy.to_owned()]).await;
        assert!(report.outcome().is_err());
        let [missing] = report.missing_documents.as_slice() else { panic!("{report:?}") };
        assert!(missing.kind == "rules" && missing.problem.contains(problem), "{report:?}");
        assert!(rules[0].to_str().unwrap().contains(&missing.digest));
        assert!(missing.bodies == report.undecidable && missing.bodies >= 4, "{report:?}");
        assert_eq!(report.differ, 0);
    }
    std::fs::write(&rules[0], one).unwrap();
    let deny = archived("deny");
    assert_eq!(deny.len(), 2);
    for list in deny {
        let bytes = std::fs::read(&list).unwrap();
        std::fs::remove_file(&list).unwrap();
        let report = replayed(config, &[copy.to_owned()]).await;
        let unknown = String::from_utf8_lossy(&bytes).contains("stop-tax");
        assert_eq!(report.by_unknown_deny_list, u64::from(unknown), "{report:?}");
        std::fs::write(&list, bytes).unwrap();
    }
}

/// The leaf of a changed body, so that nothing but the decision speaks against it.
fn entry_of(kind: body::Kind, entry: &Entry, day: u32) -> Entry {
    let leaf_kind = match kind {
        body::Kind::Exchange(_) => LeafKind::Exchange,
        _ => LeafKind::Refusal,
    };
    let body = body_bytes(kind);
    Entry { index: entry.index, leaf: Leaf::new(leaf_kind, day, &body), body: Some(body) }
}

/// What would stand there had the broker refused what it permitted.
fn refused_instead(exchange: &ExchangeBody, permit: &Permit, day: u32) -> RefusalBody {
    RefusalBody {
        signed_request: exchange.signed_request.clone(),
        reason: Reason::NotPermitted.as_str().to_owned(),
        fields: Vec::new(),
        rules_digest: permit.rules_digest().to_vec(),
        directory_digest: permit.directory_digest().to_vec(),
        refused_at_ms: u64::from(day) * DAY_MS,
        register_refusal: Vec::new(),
    }
}

async fn bodies_that_were_changed_differ(config: &BrokerConfig, copy: &Path) {
    let store = open_ledger::inspect(&config.ledger).await.unwrap();
    let entries = store.entries(0, 100, Detail::Bodies).await.unwrap();
    let kind = |entry: &Entry| Body::decode(entry.body.as_deref().unwrap()).unwrap().kind.unwrap();
    let exchanges = entries.iter().filter_map(|entry| match kind(entry) {
        body::Kind::Exchange(exchange) => Some((entry, exchange)),
        _ => None,
    });
    let exchanges: Vec<_> = exchanges.collect();
    let refusals = entries.iter().filter_map(|entry| match kind(entry) {
        body::Kind::Refusal(refusal) => Some((entry, refusal)),
        _ => None,
    });
    let refused = |reason: Reason| {
        let found = refusals.clone().find(|(_, refusal)| refusal.reason == reason.as_str());
        found.expect("was refused")
    };
    let ((first, exchange), (_, last)) = (exchanges[0].clone(), exchanges.last().unwrap().clone());
    let permit = Permit::parse(&exchange.permit).unwrap();
    let later = Permit::parse(&last.permit).unwrap();
    let permitted = |rules, fields: Vec<_>, crosses| {
        let mut changed = exchange.clone();
        let digest = permit.request_digest();
        let directory = permit.directory_digest();
        let grants = Arc::new(Grants::new(fields, crosses));
        changed.permit = Permit::new(digest, rules, directory, grants).bytes().to_vec();
        entry_of(body::Kind::Exchange(changed), first, first.leaf.day)
    };
    let (rules, fields) = (permit.rules_digest(), permit.fields().to_vec());
    let mut longer = exchange.clone();
    // An unknown field at the end changes no meaning, but the bytes.
    longer.permit.extend([0x98, 0x06, 0x01]);
    let mut stranger = exchange.clone();
    stranger.signed_request.clone_from(&last.signed_request);
    let never = refused_instead(&exchange, &permit, first.leaf.day);
    let (of_rules, mut other_policy) = refused(Reason::NotPermitted);
    other_policy.fields[0].policies.push("another".to_owned());
    let (of_register, mut unsigned) = refused(Reason::DeclaredNotReal);
    let at = unsigned.register_refusal.len() - 1;
    unsigned.register_refusal[at] ^= 1;
    let (_, moved) = refused(Reason::NotPermitted);
    let day = day_of(moved.refused_at_ms);
    let cases = [
        (permitted(rules, fields[1..].to_vec(), permit.crosses_areas()), "comes out differently"),
        (permitted(rules, fields.clone(), !permit.crosses_areas()), "comes out differently"),
        // The same, decided under the rules after: but the register did not commit to that.
        (permitted(later.rules_digest(), fields, permit.crosses_areas()), "commitment"),
        (entry_of(body::Kind::Exchange(longer), first, first.leaf.day), "comes out differently"),
        (entry_of(body::Kind::Exchange(stranger), first, first.leaf.day), "decided again"),
        (entry_of(body::Kind::Refusal(never), first, first.leaf.day), "it is not refused"),
        (entry_of(body::Kind::Refusal(other_policy), of_rules, day), "other fields or policies"),
        (entry_of(body::Kind::Refusal(unsigned), of_register, day), "not signed by the register"),
        (entry_of(body::Kind::Refusal(moved), of_rules, day + 1), "another body"),
        (Entry { body: None, ..first.clone() }, "gone before its time"),
    ];
    let past = || past(config, &[copy.to_owned()]).unwrap_or_else(|exit| panic!("{exit}"));
    for (entry, problem) in cases {
        let mut replay = Replay::new(&config.ledger.origin, past());
        replay.take(std::slice::from_ref(&entry));
        let report = replay.finish(0);
        let [differs] = report.differences.as_slice() else { panic!("{problem}: {report:?}") };
        assert!(differs.problem.contains(problem), "`{problem}` not in: {}", differs.problem);
        assert!(differs.index == entry.index && report.outcome().is_err());
    }
    // Forgotten in its time is no difference; another ledger's is one.
    let mut replay = Replay::new(&config.ledger.origin, past());
    replay.take(&[Entry { body: None, ..first.clone() }]);
    let report = replay.finish(first.leaf.day + 1);
    assert!(report.forgotten == 1 && report.outcome().is_ok(), "{report:?}");
    let mut replay = Replay::new("other.example/ledger", past());
    replay.take(std::slice::from_ref(first));
    assert_eq!(replay.finish(0).differ, 1);
}

fn copy_folder(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for file in std::fs::read_dir(from).unwrap() {
        let file = file.unwrap();
        std::fs::copy(file.path(), to.join(file.file_name())).unwrap();
    }
}
