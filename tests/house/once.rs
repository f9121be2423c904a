// SPDX-License-Identifier: EUPL-1.2
//! ONCE: identical bytes get the identical answer, other bytes under a known id are refused, and
//! another authority's same id does not matter.

use einmal::{broker, demo::house::House};
use einmal_protocol::{Reason, wire::v1::Request};
use prost::Message;

use crate::{
    refusals::{dial, forge, send},
    world::World,
};

#[tokio::test(flavor = "multi_thread")]
async fn identical_bytes_get_the_identical_answer_and_one_leaf() {
    let world = World::start().await;
    let client = world.house.client().await.unwrap();
    let prepared = client.prepare(&[world.ask("pay-data")]).await.unwrap().remove(0);
    let ledger = world.house.broker.broker.ledger.clone();
    let before = ledger.checkpoint().size();
    let (mut one, mut two) = (dial(&world, "it-bremen"), dial(&world, "it-bremen"));
    let bytes = prepared.signed_request.clone();
    // Two at once, and one after.
    let (first, second) = tokio::join!(
        send(&mut one, bytes.clone(), &prepared),
        send(&mut two, bytes.clone(), &prepared)
    );
    let third = send(&mut one, bytes, &prepared).await.unwrap();
    let (first, second) = (first.unwrap(), second.unwrap());
    assert_eq!(first.encode_to_vec(), second.encode_to_vec());
    assert_eq!(first.encode_to_vec(), third.encode_to_vec());
    assert_eq!(ledger.checkpoint().size(), before + 1);
    // It still opens and verifies.
    assert!(!client.send(&prepared).await.unwrap().values.is_empty());
    world.house.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn other_bytes_are_refused_and_another_authority_s_same_id_is_its_own() {
    let world = World::start().await;
    let client = world.house.client().await.unwrap();
    let prepared = client.prepare(&[world.ask("pay-data")]).await.unwrap().remove(0);
    assert!(client.send(&prepared).await.is_ok());
    let mut evidence = dial(&world, "it-bremen");
    let other = |request: &mut Request| request.fields = vec!["employer".into()];
    let signed = forge(&world, &prepared, "elterngeldstelle-bremen", other);
    let refused = send(&mut evidence, signed, &prepared).await.unwrap_err();
    assert_eq!(refused.reason(), Some(Reason::IdReused));
    let signed = forge(&world, &prepared, "wohngeldstelle-bremen", |request| {
        request.authority = "wohngeldstelle-bremen".into();
    });
    let refused = send(&mut evidence, signed, &prepared).await.unwrap_err();
    assert_eq!(refused.reason(), Some(Reason::NotPermitted), "decided on its own merits");
    world.house.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_restart_the_ledger_still_knows_every_id() {
    let World { house, folder } = World::start().await;
    let ask = crate::world::ask_of(&house, "pay-data");
    let client = house.client().await.unwrap();
    let prepared = client.prepare(&[ask]).await.unwrap().remove(0);
    let received = client.send(&prepared).await.unwrap();
    let House { plan, broker, adapters, cockpit, clock, online, stop } = house;
    broker.stop().await;
    let config = broker::read(&plan.config("broker")).unwrap();
    let broker = einmal_broker::start(&config, clock.clone()).await.unwrap();
    let house = House { plan, broker, adapters, cockpit, clock, online, stop };
    house.ready().await.unwrap();
    let world = World { house, folder };
    let mut evidence = dial(&world, "it-bremen");
    let again = send(&mut evidence, prepared.signed_request.clone(), &prepared).await;
    let lost = again.unwrap_err().reason();
    // The register remembers that it revealed it, or the ledger that it was logged: in no case a
    // second access.
    assert!(matches!(lost, Some(Reason::AnswerLost | Reason::Replayed)), "{lost:?}");
    let size = world.house.broker.broker.ledger.checkpoint().size();
    assert_eq!(size, received.proven.checkpoint().size(), "no second leaf");
    let other = |request: &mut Request| request.fields = vec!["employer".into()];
    let signed = forge(&world, &prepared, "elterngeldstelle-bremen", other);
    let refused = send(&mut evidence, signed, &prepared).await.unwrap_err().reason();
    assert!(matches!(refused, Some(Reason::IdReused | Reason::Replayed)), "{refused:?}");
    world.house.stop().await;
}
