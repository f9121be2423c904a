// SPDX-License-Identifier: EUPL-1.2
//! What is denied is refused at once at every broker and register, also by a register whose broker
//! knows nothing of it; who cannot know what is denied refuses; and a switch of rules drops no
//! request.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};

use einmal::{
    demo::house::House,
    publisher::{self, Publisher},
};
use einmal_client::{Client, ClientError};
use einmal_policy::{
    Change,
    deny::{DenyDocument, DenyEntry},
    documents::Offer,
    freshness::STALE_MS,
    rules_document::RulesDocument,
};
use einmal_protocol::{Digest, Reason, envelope::payload_type, wire::v1::Envelope};

use crate::{
    refusals::channel_as,
    replay::replayed,
    world::{World, ask_of},
};

const BOTH: [&str; 2] = ["register-authority", "data-protection-officer"];

pub(crate) async fn publisher(house: &House) -> Publisher {
    let config = publisher::read(&house.plan.config("publisher")).unwrap();
    Publisher::open(&config, house.clock.clone()).await.unwrap_or_else(|exit| panic!("{exit}"))
}

/// The next deny list, with these entries more.
pub(crate) fn denying(house: &House, publisher: &Publisher, entries: Vec<DenyEntry>) -> Envelope {
    let trust = publisher.trust.current();
    let held = trust.deny.as_ref().unwrap();
    let document = DenyDocument {
        version: held.document().version + 1,
        previous: Some(held.digest().to_hex()),
        issued_at_ms: house.clock.now_ms(),
        entries: [held.document().entries.clone(), entries].concat(),
    };
    house.plan.sign(payload_type::DENY, &document, &["emergency"]).unwrap_or_else(|e| panic!("{e}"))
}

pub(crate) async fn deny(house: &House, publisher: &Publisher, entry: DenyEntry) {
    let deny = Some(denying(house, publisher, vec![entry]));
    let told = publisher.publish(Offer { deny, ..Offer::default() }).await;
    let told = told.unwrap_or_else(|exit| panic!("{exit}"));
    assert!(told.len() == 1 && told.iter().all(|told| told.problem.is_none()));
}

pub(crate) fn entry(id: &str) -> DenyEntry {
    DenyEntry { id: id.to_owned(), reason: "a test".to_owned(), ..DenyEntry::default() }
}

async fn reason(client: &Client, house: &House, evidence_type: &str) -> Option<Reason> {
    client.ask(ask_of(house, evidence_type)).await.err().and_then(|error| error.reason())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_denied_is_refused_at_every_broker_and_register_in_under_ten_seconds() {
    let world = World::start().await;
    let house = &world.house;
    let (client, publisher) = (house.client().await.unwrap(), publisher(house).await);
    let prepared = client.prepare(&[world.ask("wage-tax-data")]).await.unwrap().remove(0);
    client.send(&prepared).await.unwrap();
    let began = Instant::now();
    let tax = Some("wage-tax-data".to_owned());
    deny(house, &publisher, DenyEntry { evidence_type: tax, ..entry("stop-tax") }).await;
    // At the broker when it has answered; and an answer that it still holds is not given again.
    assert_eq!(reason(&client, house, "wage-tax-data").await, Some(Reason::Denied));
    let again = client.send(&prepared).await.unwrap_err();
    assert_eq!(again.reason(), Some(Reason::Denied), "{again}");
    let ClientError::Ended { policies, .. } = &again else { panic!("{again}") };
    assert_eq!(policies, &["deny:stop-tax"]);
    assert_eq!(reason(&client, house, "birth-certificate").await, None);
    // At each register, which hears of it without being asked.
    for adapter in &house.adapters {
        while adapter.trust().deny.as_ref().is_none_or(|deny| deny.document().version < 2) {
            assert!(began.elapsed() < Duration::from_secs(10), "{adapter:?} has not heard of it");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
    println!("denied at broker and {} adapters in {:?}", house.adapters.len(), began.elapsed());
    world.house.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_denied_a_key_or_an_operator_is_nobody() {
    let world = World::start().await;
    let house = &world.house;
    let (client, publisher) = (house.client().await.unwrap(), publisher(house).await);
    assert_eq!(reason(&client, house, "birth-certificate").await, None);
    // The operator of the registry's adapter; its stream stays, and is not used.
    let trust = publisher.trust.current();
    let register = house.plan.registers.iter().find(|register| {
        trust.directory.registers_of("birth-certificate", "04011000").any(|r| r.id == register.id)
    });
    let operator = Some(register.unwrap().operator.clone());
    deny(house, &publisher, DenyEntry { operator, ..entry("stop-operator") }).await;
    let refused = reason(&client, house, "birth-certificate").await;
    assert_eq!(refused, Some(Reason::RegisterNotAttached));
    // The authority's own key, also for what it signed before and was answered.
    let prepared = client.prepare(&[world.ask("wage-tax-data")]).await.unwrap().remove(0);
    client.send(&prepared).await.unwrap();
    let office = trust.directory.authority("elterngeldstelle-bremen").unwrap();
    let key = Some(office.entry.keys[0].clone());
    deny(house, &publisher, DenyEntry { key, ..entry("stop-key") }).await;
    let refused = reason(&client, house, "pay-data").await;
    assert_eq!(refused, Some(Reason::BadSignature));
    let again = client.send(&prepared).await.unwrap_err();
    assert_eq!(again.reason(), Some(Reason::BadSignature), "{again}");
    world.house.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_cannot_know_what_is_denied_refuses() {
    let world = World::start().await;
    let house = &world.house;
    let client = house.client().await.unwrap();
    house.stop.cancel();
    house.clock.shift_ms(STALE_MS.cast_signed());
    assert_eq!(reason(&client, house, "pay-data").await, Some(Reason::DenyListStale));
    house.online.sign().await.unwrap_or_else(|exit| panic!("{exit}"));
    // The adapter had not heard of it either, and asks.
    assert_eq!(reason(&client, house, "pay-data").await, None);
    world.house.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_does_not_count_is_not_taken_from_anybody() {
    let world = World::start().await;
    let house = &world.house;
    let publisher = publisher(house).await;
    let channel = channel_as(&world, "it-bremen");
    let refused = |offer: Offer| {
        let channel = channel.clone();
        async move { einmal_peer::trust::publish(channel, offer).await.unwrap_err() }
    };
    let good = denying(house, &publisher, Vec::new());
    let mut forged = good.clone();
    forged.signatures.clear();
    let status = refused(Offer { deny: Some(forged), ..Offer::default() }).await;
    assert_eq!(status.code(), tonic::Code::FailedPrecondition, "{status}");
    assert!(status.message().contains("deny list"), "{status}");
    // Nothing of an offer counts where one part does not.
    let mut rules: RulesDocument =
        serde_json::from_slice(&publisher.trust.documents().rules.last().unwrap().payload).unwrap();
    rules.version = 2;
    let bad = house.plan.sign(payload_type::RULES, &rules, &BOTH).unwrap();
    refused(Offer { deny: Some(good), rules: vec![bad], ..Offer::default() }).await;
    let held = house.broker.broker.trust.current();
    assert_eq!(held.deny.as_ref().unwrap().document().version, 1);
    world.house.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_switch_of_rules_drops_no_request() {
    let world = World::start().await;
    let house = &world.house;
    let publisher = publisher(house).await;
    let client = Arc::new(house.client().await.unwrap());
    let (stop, answered) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU32::new(0)));
    let asks: Vec<_> = ["wage-tax-data", "birth-certificate", "pay-data"]
        .map(|kind| ask_of(house, kind))
        .into_iter()
        .map(|ask| {
            let (client, stop, answered) =
                (Arc::clone(&client), Arc::clone(&stop), Arc::clone(&answered));
            tokio::spawn(async move {
                while !stop.load(Ordering::Relaxed) {
                    client.ask(ask.clone()).await.unwrap_or_else(|error| panic!("{error}"));
                    answered.fetch_add(1, Ordering::Relaxed);
                }
            })
        })
        .collect();
    for version in 2..6 {
        tokio::time::sleep(Duration::from_millis(400)).await;
        let documents = publisher.trust.documents();
        let last = &documents.rules.last().unwrap().payload;
        let mut rules: RulesDocument = serde_json::from_slice(last).unwrap();
        rules.version = version;
        rules.previous = Some(Digest::of(last).to_hex());
        rules.change = Some(Change::TextOnly);
        let rules = house.plan.sign(payload_type::RULES, &rules, &BOTH).unwrap();
        let told = publisher.publish(Offer { rules: vec![rules], ..Offer::default() }).await;
        assert!(told.unwrap().iter().all(|told| told.problem.is_none()));
    }
    tokio::time::sleep(Duration::from_millis(400)).await;
    stop.store(true, Ordering::Relaxed);
    for ask in asks {
        ask.await.unwrap();
    }
    let answered = answered.load(Ordering::Relaxed);
    println!("{answered} answered while the rules were switched four times");
    assert!(answered > 20, "{answered}");
    assert_eq!(house.broker.broker.trust.current().rules.document().version, 5);
    world.house.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn all_keys_are_replaced_while_it_runs() {
    let world = World::start().await;
    let house = &world.house;
    let (client, publisher) = (house.client().await.unwrap(), publisher(house).await);
    assert_eq!(reason(&client, house, "pay-data").await, None);
    let key = |name: &str| {
        let file = house.plan.folder.join(format!("keys/{name}.key"));
        einmal::pki::identity_key(&file).unwrap_or_else(|exit| panic!("{exit}"))
    };
    let sign = |kind, document: &serde_json::Value, signers: &[&str]| {
        house.plan.sign(kind, document, signers).unwrap_or_else(|exit| panic!("{exit}"))
    };
    let next = |envelope: &Envelope| {
        let mut document: serde_json::Value = serde_json::from_slice(&envelope.payload).unwrap();
        document["version"] = (document["version"].as_u64().unwrap() + 1).into();
        document["previous"] = Digest::of(&envelope.payload).to_hex().into();
        document
    };
    let mut root = next(publisher.trust.pinned());
    for role in ["register_authority", "data_protection_officer", "emergency", "online"] {
        root["roles"][role]["keys"] = serde_json::json!([key(&format!("new-{role}"))]);
    }
    let documents = publisher.trust.documents();
    let mut rules = next(documents.rules.last().unwrap());
    rules["change"] = "text_only".into();
    let signers = ["new-register_authority", "new-data_protection_officer"];
    let offer = Offer {
        roots: vec![sign(payload_type::ROOT, &root, &["root-1", "root-3"])],
        rules: vec![sign(payload_type::RULES, &rules, &signers)],
        directory: Some(sign(payload_type::DIRECTORY, &next(&documents.directory), &signers[..1])),
        deny: Some(sign(
            payload_type::DENY,
            &next(documents.deny.as_ref().unwrap()),
            &["new-emergency"],
        )),
        freshness: None,
    };
    // The root alone would leave rules and directory without a signature that counts.
    let alone = Offer { roots: offer.roots.clone(), ..Offer::default() };
    assert!(publisher.publish(alone).await.is_err());
    let told = publisher.publish(offer).await.unwrap_or_else(|exit| panic!("{exit}"));
    assert!(told.iter().all(|told| told.problem.is_none()));
    assert_eq!(reason(&client, house, "pay-data").await, Some(Reason::DenyListStale));
    // The old online key says nothing that counts any more; the new one does.
    let told = house.online.sign().await.unwrap_or_default();
    assert!(told.iter().all(|told| told.problem.is_some()));
    assert_eq!(reason(&client, house, "pay-data").await, Some(Reason::DenyListStale));
    let config = house.plan.folder.join("publisher-2.toml");
    let text = std::fs::read_to_string(house.plan.config("publisher")).unwrap();
    std::fs::write(&config, text.replace("keys/online.key", "keys/new-online.key")).unwrap();
    let online = einmal::online::Online::open(&config, house.clock.clone()).await;
    online.unwrap_or_else(|exit| panic!("{exit}")).sign().await.unwrap();
    assert_eq!(reason(&client, house, "pay-data").await, None);
    // What was decided under the old keys comes out again, under the root of its time.
    let broker = einmal::broker::read(&house.plan.config("broker")).unwrap();
    let report = replayed(&broker, &[]).await;
    assert_eq!((report.same, report.differ, report.undecidable), (2, 0, 0), "{report:?}");
    world.house.stop().await;
}
