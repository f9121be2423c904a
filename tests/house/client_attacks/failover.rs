// SPDX-License-Identifier: EUPL-1.2
//! A broker that stops, is busy, says nothing or is gone is left for the next of the directory,
//! which gets the identical bytes; a refusal is the answer, whoever gives it.

use std::time::{Duration, Instant};

use einmal::demo::plan::KEEPER;
use einmal_client::{Client, ClientError};
use einmal_protocol::{Reason, reason::DOMAIN, wire::v1::Outcome};
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};

use super::answers::connect;
use crate::{adapter_attacks::double::Double, world::World};

const TYPE: &str = "residence-registration";
const REGISTER: &str = "meldebehoerde-bremen";

fn status(code: Code, reason: Reason, retry: Option<Duration>) -> Status {
    let hop = [("hop".to_owned(), "broker".to_owned())];
    let mut details = ErrorDetails::with_error_info(reason.as_str(), DOMAIN, hop);
    if retry.is_some() {
        details.set_retry_info(retry);
    }
    Status::with_error_details(code, reason.message(), details)
}

/// Asks once, and tells which id was found where.
async fn found(client: &Client, double: &Double, world: &World) {
    let prepared = client.prepare(&[world.ask(TYPE)]).await.unwrap().remove(0);
    let received = client.send_within(&prepared, Duration::from_secs(3)).await.unwrap();
    assert_eq!((received.id, received.outcome), (prepared.id, Outcome::Found));
    for asked in double.asked() {
        assert_eq!(asked.signed_request, prepared.signed_request);
        assert_eq!(asked.sealed_person, prepared.sealed_person);
    }
    // The one that had it logged gives the same answer again.
    let again = client.send(&prepared).await.unwrap();
    assert_eq!(again.proven.index(), received.proven.index());
}

#[tokio::test(flavor = "multi_thread")]
async fn another_broker_gets_the_identical_bytes() {
    let world = World::start().await;
    let cards = world.house.broker.broker.cards.envelopes(&[KEEPER, REGISTER].map(str::to_owned));
    let listen = "127.0.0.1:0".parse().unwrap();
    let double = Double::start(&world.house.plan, listen, cards).await;
    // The double is the configured broker; the real one stands in the directory.
    let client = connect(&world, &double).await;
    let second = Duration::from_secs(1);
    for failure in [
        status(Code::Unavailable, Reason::Draining, None),
        status(Code::ResourceExhausted, Reason::BrokerBusy, Some(second)),
        Status::unavailable("gone"),
    ] {
        let client = connect(&world, &double).await;
        double.fail(Some(failure));
        let prepared = client.prepare(&[world.ask(TYPE)]).await.unwrap().remove(0);
        assert_eq!(client.send(&prepared).await.unwrap().outcome, Outcome::Found);
        let asked = double.asked();
        assert_eq!(asked.len(), 1);
        assert_eq!(asked[0].signed_request, prepared.signed_request);
        assert_eq!(asked[0].sealed_person, prepared.sealed_person);
        // It rests: the next question does not even reach it.
        found(&client, &double, &world).await;
    }
    // A refusal ends it: nobody shops around for a broker that says yes.
    let refusal = status(Code::PermissionDenied, Reason::NotPermitted, None);
    double.fail(Some(refusal));
    let prepared = client.prepare(&[world.ask(TYPE)]).await.unwrap().remove(0);
    let error = client.send_within(&prepared, second).await.unwrap_err();
    assert_eq!(error.reason(), Some(Reason::NotPermitted));
    double.fail(None);
    // One that says nothing leaves time for the other.
    double.hang(true);
    double.asked();
    found(&connect(&world, &double).await, &double, &world).await;
    double.hang(false);
    // Gone for good, and at the start too: what was accepted before names the other.
    let address = double.address;
    drop(double);
    while tokio::net::TcpStream::connect(address).await.is_ok() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let prepared = client.prepare(&[world.ask(TYPE)]).await.unwrap().remove(0);
    assert_eq!(client.send(&prepared).await.unwrap().outcome, Outcome::Found);
    // With nobody left, the deadline bounds all.
    world.house.stop().await;
    let began = Instant::now();
    let error = client.send_within(&prepared, second).await.unwrap_err();
    assert!(matches!(error, ClientError::Broker(_) | ClientError::Late), "{error:?}");
    assert!(began.elapsed() < 3 * second, "{:?}", began.elapsed());
}
