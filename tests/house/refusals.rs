// SPDX-License-Identifier: EUPL-1.2
//! What may not is refused with its reason, and the refusal is a leaf once the signature was
//! good (PURPOSE-BOUND).

use std::{net::SocketAddr, sync::Arc};

use einmal_client::{Ask, ClientError, Prepared};
use einmal_peer::{
    Tls, TlsFiles,
    dial::{Target, channel},
    files,
};
use einmal_protocol::{
    Reason, RequestId, batch,
    envelope::payload_type,
    leaf::LeafKind,
    wire::{
        evidence::v1::{
            RequestEvidenceRequest, RequestEvidenceResponse,
            evidence_service_client::EvidenceServiceClient,
        },
        v1::{Body, Envelope, Initiation, RegisterRefusal, Request, SignedRequest, body},
    },
};
use prost::Message;
use tonic::transport::Channel;

use crate::world::World;

/// A raw connection as some operator, to send what no honest client would.
pub(crate) fn dial(world: &World, operator: &str) -> EvidenceServiceClient<Channel> {
    EvidenceServiceClient::new(channel_as(world, operator))
        .max_decoding_message_size(4 * 1024 * 1024)
}

/// A channel to the broker with the certificate of this name.
pub(crate) fn channel_as(world: &World, name: &str) -> Channel {
    channel_to(world, name, world.house.broker.address)
}

/// A channel to whoever listens there, with the certificate of this name.
pub(crate) fn channel_to(world: &World, name: &str, at: SocketAddr) -> Channel {
    let pki = world.folder.path().join("pki");
    let tls = Tls::load(&TlsFiles {
        certificate: pki.join(format!("{name}.pem")),
        key: pki.join(format!("{name}.key")),
        authorities: pki.join("ca.pem"),
        revocations: Vec::new(),
    })
    .unwrap();
    let address = format!("https://{at}");
    channel(&Target::broker(&address, "demo.einmal.example"), tls.client).unwrap()
}

/// The request changed, and signed again with the key of that name.
pub(crate) fn forge(
    world: &World,
    prepared: &Prepared,
    signer: &str,
    change: impl Fn(&mut Request),
) -> Vec<u8> {
    let signed = SignedRequest::decode(prepared.signed_request.as_slice()).unwrap();
    let mut request = Request::decode(signed.request.as_slice()).unwrap();
    change(&mut request);
    let key = files::signing_key(&world.folder.path().join(format!("keys/{signer}.key"))).unwrap();
    batch::sign(&request.authority.clone(), &[request.encode_to_vec()], &key).unwrap()[0]
        .encode_to_vec()
}

pub(crate) async fn send(
    evidence: &mut EvidenceServiceClient<Channel>,
    signed_request: Vec<u8>,
    prepared: &Prepared,
) -> Result<RequestEvidenceResponse, ClientError> {
    let request = RequestEvidenceRequest {
        signed_request,
        sealed_person: prepared.sealed_person.clone(),
        seen_size: 0,
    };
    Ok(evidence.request_evidence(request).await?.into_inner())
}

fn reason<T>(answer: Result<T, ClientError>) -> Option<Reason> {
    match answer {
        Ok(_) => None,
        Err(error) => Some(error.reason().unwrap_or_else(|| panic!("{error}"))),
    }
}

/// The kinds of the leaves from an index on.
async fn kinds(world: &World, from: u64) -> Vec<LeafKind> {
    let entries = world.house.broker.broker.ledger.entries(from, 100).await.unwrap();
    entries.iter().map(|entry| entry.leaf.kind).collect()
}

fn size(world: &World) -> u64 {
    world.house.broker.broker.ledger.checkpoint().size()
}

#[tokio::test(flavor = "multi_thread")]
async fn each_refusal_has_its_reason_and_is_a_leaf() {
    let world = World::start().await;
    let client = world.house.client().await.unwrap();
    let other = world.house.other_client().await.unwrap();
    let good = world.ask("wage-tax-data");
    let cases: Vec<(Reason, bool, Ask)> = vec![
        (Reason::NotPermitted, false, Ask { purpose: "child-benefit".into(), ..good.clone() }),
        (Reason::UnknownPurpose, false, Ask { purpose: "family-benefits".into(), ..good.clone() }),
        (Reason::UnknownPurpose, false, Ask { purpose: "curiosity".into(), ..good.clone() }),
        (Reason::NotPermitted, false, Ask { fields: vec!["religion".into()], ..good.clone() }),
        (Reason::UnknownField, false, Ask { fields: vec!["shoe_size".into()], ..good.clone() }),
        (Reason::NotPermitted, false, Ask { initiation: Initiation::Statutory, ..good.clone() }),
        (Reason::NotHeldByRegister, false, Ask { evidence_type: "no-such".into(), ..good.clone() }),
        (Reason::NotPermitted, true, good.clone()),
    ];
    for (expected, by_other, ask) in cases {
        let before = size(&world);
        let asker = if by_other { &other } else { &client };
        let error = asker.ask(ask).await.expect_err("must be refused");
        assert_eq!(error.reason(), Some(expected), "{error}");
        assert_eq!(kinds(&world, before).await, [LeafKind::Refusal], "{expected}");
        if let ClientError::Ended { hop, fields, .. } = &error
            && expected == Reason::NotPermitted
        {
            assert!(hop == "broker" && !fields.is_empty(), "{error:?}");
        }
    }
    // And the same question, put rightly, is answered.
    let before = size(&world);
    assert!(client.ask(good).await.is_ok());
    assert_eq!(kinds(&world, before).await, [LeafKind::Exchange]);
    world.house.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn strangers_and_wrong_signatures_leave_no_leaf() {
    let world = World::start().await;
    let client = world.house.client().await.unwrap();
    let prepared = client.prepare(&[world.ask("wage-tax-data")]).await.unwrap().remove(0);
    let mut evidence = dial(&world, "it-bremen");
    let unknown = forge(&world, &prepared, "elterngeldstelle-bremen", |request| {
        request.authority = "amt-fuer-neugier".into();
    });
    let forged = forge(&world, &prepared, "wohngeldstelle-bremen", |_| ());
    let mut tampered = prepared.signed_request.clone();
    tampered[40] ^= 1;
    let before = size(&world);
    assert_eq!(
        reason(send(&mut evidence, unknown, &prepared).await),
        Some(Reason::UnknownAuthority)
    );
    assert_eq!(reason(send(&mut evidence, forged, &prepared).await), Some(Reason::BadSignature));
    assert!(matches!(
        reason(send(&mut evidence, tampered, &prepared).await),
        Some(Reason::BadSignature | Reason::MalformedRequest)
    ));
    assert_eq!(
        reason(send(&mut evidence, vec![9; 100], &prepared).await),
        Some(Reason::MalformedRequest)
    );
    assert_eq!(size(&world), before, "none of these may be logged");
    world.house.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_who_may_not_carry_is_refused_and_logged() {
    let world = World::start().await;
    let client = world.house.client().await.unwrap();
    let prepared = client.prepare(&[world.ask("wage-tax-data")]).await.unwrap().remove(0);
    let before = size(&world);
    let mut stranger = dial(&world, "rechenzentrum-bund");
    let answer = send(&mut stranger, prepared.signed_request.clone(), &prepared).await;
    assert_eq!(reason(answer), Some(Reason::OperatorMayNotCarry));
    let mut broker = dial(&world, "broker-1");
    let answer = send(&mut broker, prepared.signed_request.clone(), &prepared).await;
    assert_eq!(reason(answer), Some(Reason::NotAnOperator));
    assert_eq!(kinds(&world, before).await, [LeafKind::Refusal]);
    world.house.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn clocks_may_differ_by_two_minutes_and_no_more() {
    let world = World::start().await;
    let client = world.house.client().await.unwrap();
    let prepared = client.prepare(&[world.ask("wage-tax-data")]).await.unwrap().remove(0);
    let mut evidence = dial(&world, "it-bremen");
    let now_ms = world.clock().now_ms();
    let cases = [
        (130_000, Some(Reason::ClockSkew)),
        (-310_000, Some(Reason::RequestExpired)),
        // Within the limits the time is accepted; the seal is bound to another id, so the
        // register refuses to open the person.
        (110_000, Some(Reason::PersonNotOpened)),
        (-290_000, Some(Reason::PersonNotOpened)),
    ];
    for (case, (offset_ms, expected)) in (1..).zip(cases) {
        let issued = now_ms.checked_add_signed(offset_ms).unwrap();
        let forged = forge(&world, &prepared, "elterngeldstelle-bremen", |request| {
            request.id = RequestId::new(issued, [case; 10]).as_bytes().to_vec();
        });
        let before = size(&world);
        let answer = send(&mut evidence, forged, &prepared).await;
        if let Err(ClientError::Ended { message, reason: Reason::ClockSkew, .. }) = &answer {
            assert_eq!(message.matches("202").count(), 2, "names both times: {message}");
        }
        assert_eq!(reason(answer), expected, "{offset_ms} ms");
        assert_eq!(kinds(&world, before).await, [LeafKind::Refusal]);
    }
    world.house.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn expired_rules_refuse_everything_and_health_says_so() {
    let world = World::start().await;
    let client = Arc::new(world.house.client().await.unwrap());
    let prepared = client.prepare(&[world.ask("wage-tax-data")]).await.unwrap().remove(0);
    let mut evidence = dial(&world, "it-bremen");
    world.clock().shift_ms(91 * 86_400_000);
    let now_ms = world.clock().now_ms();
    let late = forge(&world, &prepared, "elterngeldstelle-bremen", |request| {
        request.id = RequestId::new(now_ms, [7; 10]).as_bytes().to_vec();
    });
    let before = size(&world);
    assert_eq!(reason(send(&mut evidence, late, &prepared).await), Some(Reason::RulesExpired));
    assert_eq!(kinds(&world, before).await, [LeafKind::Refusal]);
    world.house.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn register_s_own_refusals_come_through_signed_and_logged() {
    let world = World::start().await;
    let client = world.house.client().await.unwrap();
    let prepared = client.prepare(&[world.ask("wage-tax-data")]).await.unwrap().remove(0);
    let mut evidence = dial(&world, "it-bremen");
    // Declared is not real: the person holds a number, the request says it is not used.
    let lied = forge(&world, &prepared, "elterngeldstelle-bremen", |request| {
        request.idnr_used = false;
    });
    let before = size(&world);
    assert_eq!(reason(send(&mut evidence, lied, &prepared).await), Some(Reason::DeclaredNotReal));
    let entries = world.house.broker.broker.ledger.entries(before, 10).await.unwrap();
    let body = Body::decode(entries[0].body.as_deref().unwrap()).unwrap();
    let Some(body::Kind::Refusal(logged)) = body.kind else { panic!("no refusal") };
    let envelope = Envelope::decode(logged.register_refusal.as_slice()).unwrap();
    let trust = world.house.broker.broker.trust.current();
    let keys = &trust.directory.register("bzst").unwrap().keys;
    let payload = envelope.verified(payload_type::REFUSAL, keys).unwrap();
    assert_eq!(RegisterRefusal::decode(payload).unwrap().reason, "DECLARED_NOT_REAL");
    world.house.stop().await;
}
