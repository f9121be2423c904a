// SPDX-License-Identifier: EUPL-1.2
//! Who is not in the directory, or not for this, gets nothing from the real broker.

use std::{future::Future, net::SocketAddr, sync::Arc, time::Duration};

use einmal::{
    demo::plan::{KEEPER, LEDGER, TRUST_DOMAIN},
    pki::CertificateAuthority,
};
use einmal_client::ClientError;
use einmal_peer::{
    PeerRole, SpiffeId, Tls, TlsFiles,
    dial::{Target, channel},
};
use einmal_protocol::{
    Reason,
    wire::{
        directory::v1::{
            GetTrustRequest, PublishKeyCardRequest,
            directory_service_client::DirectoryServiceClient,
        },
        evidence::v1::{RequestEvidenceRequest, evidence_service_client::EvidenceServiceClient},
        ledger::v1::{TailEntriesRequest, ledger_service_client::LedgerServiceClient},
        register::v1::{
            AttachRequest, Hello, attach_request::Message, attach_response as to_adapter,
            register_service_client::RegisterServiceClient,
        },
        v1::Envelope,
    },
};
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, pem::PemObject},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use tonic::{Code, Status, transport::Channel};

use crate::world::World;

const REGISTER: &str = "meldebehoerde-bremen";

impl World {
    fn pki(&self, name: &str) -> TlsFiles {
        let pki = self.folder.path().join("pki");
        TlsFiles {
            certificate: pki.join(format!("{name}.pem")),
            key: pki.join(format!("{name}.key")),
            authorities: pki.join("ca.pem"),
            revocations: Vec::new(),
        }
    }

    fn address(&self) -> SocketAddr {
        self.house.broker.address
    }

    fn dial_with(&self, tls: Arc<ClientConfig>) -> Channel {
        let target = Target::broker(&format!("https://{}", self.address()), TRUST_DOMAIN);
        channel(&target, tls).unwrap()
    }

    fn dial_as(&self, name: &str) -> Channel {
        self.dial_with(Tls::load(&self.pki(name)).unwrap().client)
    }
}

fn reason<T>(answer: Result<T, Status>) -> (Code, Option<Reason>) {
    match answer {
        Ok(_) => panic!("served"),
        Err(status) => (status.code(), ClientError::from(status).reason()),
    }
}

const FORBIDDEN: (Code, Option<Reason>) =
    (Code::PermissionDenied, Some(Reason::OperatorMayNotCarry));
const NOBODY: (Code, Option<Reason>) = (Code::Unauthenticated, Some(Reason::NotAnOperator));

async fn ask(world: &World, channel: Channel) -> Result<(), Status> {
    let client = world.house.client().await.unwrap();
    let prepared = client.prepare(&[world.ask("wage-tax-data")]).await.unwrap().remove(0);
    let request = RequestEvidenceRequest {
        signed_request: prepared.signed_request,
        sealed_person: prepared.sealed_person,
        seen_size: 0,
    };
    let mut evidence = EvidenceServiceClient::new(channel);
    evidence.request_evidence(request).await.map(drop)
}

/// Attaches for a register and waits for the welcome.
async fn attach(channel: Channel, register: &str) -> Result<(), Status> {
    let hello = Hello { registers: vec![register.to_owned()], seen_size: 0, credits: 8 };
    let hello = AttachRequest { message: Some(Message::Hello(hello)) };
    let (sender, requests) = tokio::sync::mpsc::channel(1);
    sender.send(hello).await.unwrap();
    let requests = tokio_stream::wrappers::ReceiverStream::new(requests);
    let mut stream = RegisterServiceClient::new(channel).attach(requests).await?.into_inner();
    let welcome = stream.message().await?.and_then(|response| response.message);
    match welcome {
        Some(to_adapter::Message::Welcome(welcome)) => {
            assert_eq!(welcome.ledger, LEDGER);
            Ok(())
        }
        _ => Err(Status::internal("no welcome")),
    }
}

async fn tail(channel: Channel) -> Result<(), Status> {
    let request = TailEntriesRequest { from_index: 0, reason: String::new() };
    let mut stream = LedgerServiceClient::new(channel).tail_entries(request).await?.into_inner();
    stream.message().await.map(drop)
}

async fn publish(channel: Channel, card: &Envelope) -> Result<(), Status> {
    let request = PublishKeyCardRequest { card: Some(card.clone()) };
    DirectoryServiceClient::new(channel).publish_key_card(request).await.map(drop)
}

#[tokio::test(flavor = "multi_thread")]
async fn each_role_may_do_its_own_and_no_more() {
    let world = World::start().await;
    let issue = |role, id: &str| {
        let authority = CertificateAuthority::open(&world.folder.path().join("pki"));
        let id = SpiffeId { trust_domain: TRUST_DOMAIN.to_owned(), role, id: id.to_owned() };
        let name = format!("new-{}", role.as_str());
        authority.and_then(|authority| authority.issue(&id, &name, &[])).map_err(drop).unwrap();
        world.dial_as(&name)
    };
    // Certificates of the right authority, for nobody in the directory.
    let unknown = issue(PeerRole::Operator, "it-nirgends");
    let auditor = issue(PeerRole::Auditor, "pruefer");
    let namesake = issue(PeerRole::Cockpit, "it-bremen");
    let (office, municipal) = (world.dial_as("it-bremen"), world.dial_as("rechenzentrum-weser"));
    let (broker, cockpit) = (world.dial_as("broker-1"), world.dial_as(KEEPER));

    for nobody in [&unknown, &auditor, &namesake, &broker, &cockpit] {
        assert_eq!(reason(ask(&world, nobody.clone()).await), NOBODY);
        assert_eq!(reason(attach(nobody.clone(), REGISTER).await), NOBODY);
    }
    assert_eq!(reason(ask(&world, municipal.clone()).await), FORBIDDEN);
    assert_eq!(reason(attach(office.clone(), REGISTER).await), FORBIDDEN);
    assert_eq!(reason(attach(municipal.clone(), "bzst").await), FORBIDDEN);

    for other in [&office, &municipal, &broker, &unknown, &auditor, &namesake] {
        assert_eq!(reason(tail(other.clone()).await), FORBIDDEN);
    }
    let cards = world.house.broker.broker.cards.envelopes(&[REGISTER.into(), KEEPER.into()]);
    for other in [&office, &broker, &cockpit, &unknown, &auditor, &namesake] {
        assert_eq!(reason(publish(other.clone(), &cards[0]).await), FORBIDDEN);
    }
    for other in [&office, &municipal, &broker, &unknown, &auditor, &namesake] {
        assert_eq!(reason(publish(other.clone(), &cards[1]).await), FORBIDDEN);
    }
    // Its own operator, but a card that it cannot have signed.
    let mut tampered = cards[0].clone();
    tampered.signatures[0].signature[0] ^= 1;
    let malformed = (Code::InvalidArgument, Some(Reason::MalformedRequest));
    assert_eq!(reason(publish(municipal.clone(), &tampered).await), malformed);

    // And each may do its own.
    ask(&world, office).await.unwrap();
    attach(municipal.clone(), REGISTER).await.unwrap();
    publish(municipal, &cards[0]).await.unwrap();
    tail(cockpit).await.unwrap();
    world.house.stop().await;
}

async fn not_connected<T>(name: &str, call: impl Future<Output = Result<T, Status>>) {
    let answer = tokio::time::timeout(Duration::from_secs(10), call).await;
    let Err(status) = answer.unwrap_or_else(|_| panic!("{name}: no answer")) else {
        panic!("{name}: served")
    };
    // The connection's own end, which each version of the transport names otherwise; no word of
    // the broker.
    let cut = [Code::Unavailable, Code::Unknown, Code::Cancelled].contains(&status.code());
    assert!(cut && ClientError::from(status.clone()).reason().is_none(), "{name}: {status}");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_not_of_this_trust_domain_is_not_even_connected() {
    let world = World::start().await;
    let trust = async |tls: Arc<ClientConfig>| {
        DirectoryServiceClient::new(world.dial_with(tls))
            .get_trust(GetTrustRequest::default())
            .await
    };
    let id = |trust_domain: &str| SpiffeId {
        trust_domain: trust_domain.to_owned(),
        role: PeerRole::Operator,
        id: "it-bremen".to_owned(),
    };
    let own = CertificateAuthority::open(&world.folder.path().join("pki")).map_err(drop).unwrap();
    let other = world.folder.path().join("other-pki");
    let other = CertificateAuthority::create(&other).map_err(drop).unwrap();
    // The same authority, another trust domain; the same name, another authority.
    let elsewhere = own.issue(&id("other.example"), "elsewhere", &[]).map_err(drop).unwrap();
    let mut forged = other.issue(&id(TRUST_DOMAIN), "forged", &[]).map_err(drop).unwrap();
    forged.authorities = world.pki("it-bremen").authorities;
    for (name, files) in [("another trust domain", elsewhere), ("another authority", forged)] {
        not_connected(name, trust(Tls::load(&files).unwrap().client)).await;
    }
    // No certificate at all.
    let mut roots = RootCertStore::empty();
    let authority = world.folder.path().join("pki/ca.pem");
    roots.add(CertificateDer::from_pem_file(authority).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut anonymous = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    anonymous.alpn_protocols = vec![b"h2".to_vec()];
    not_connected("no certificate", trust(Arc::new(anonymous))).await;
    // An older TLS gets a fatal alert, "protocol version" (70), and nothing else.
    let mut tcp = TcpStream::connect(world.address()).await.unwrap();
    tcp.write_all(&hello_of_tls_1_2()).await.unwrap();
    let mut answer = Vec::new();
    let read = tokio::time::timeout(Duration::from_secs(10), tcp.read_to_end(&mut answer));
    let _ = read.await.expect("an answer");
    assert_eq!(answer.len(), 7, "{answer:?}");
    assert_eq!((answer[0], answer[5], answer[6]), (21, 2, 70), "{answer:?}");
    // The way is open for those who may.
    trust(Tls::load(&world.pki("it-bremen")).unwrap().client).await.unwrap();
    world.house.stop().await;
}

/// A first message of TLS 1.2, as RFC 5246 has it: no extension offers a newer version.
fn hello_of_tls_1_2() -> Vec<u8> {
    let suites: &[u8] = &[0xc0, 0x2b, 0xc0, 0x2f, 0xc0, 0x2c, 0xc0, 0x30];
    let extensions: &[&[u8]] = &[
        // Curves x25519 and P-256; signatures ECDSA P-256 and Ed25519.
        &[0x00, 0x0a, 0x00, 0x06, 0x00, 0x04, 0x00, 0x1d, 0x00, 0x17],
        &[0x00, 0x0d, 0x00, 0x06, 0x00, 0x04, 0x04, 0x03, 0x08, 0x07],
        &[0x00, 0x0b, 0x00, 0x02, 0x01, 0x00],
        &[0x00, 0x17, 0x00, 0x00],
    ];
    let extensions = extensions.concat();
    let length = |bytes: &[u8]| u16::try_from(bytes.len()).unwrap().to_be_bytes();
    let hello = [
        &[0x03, 0x03][..],
        &[7; 32],
        &[0],
        &length(suites),
        suites,
        &[1, 0],
        &length(&extensions),
        &extensions,
    ]
    .concat();
    let handshake = [&[1, 0][..], &length(&hello), &hello].concat();
    [&[0x16, 0x03, 0x01][..], &length(&handshake), &handshake].concat()
}
