// SPDX-License-Identifier: EUPL-1.2
//! The ledger as others read it, and who must have seen it: ranges for auditors, each of whose
//! looks is a leaf; witnesses without whose word nothing is revealed.

use einmal::{
    broker,
    demo::{
        house::House,
        plan::{LEDGER, Plan, TRUST_DOMAIN},
    },
    pki::CertificateAuthority,
};
use einmal_client::Client;
use einmal_peer::{Clock, PeerRole, SpiffeId, Tls, TlsFiles, dial, files};
use einmal_policy::{
    directory::{DirectoryDocument, Operator},
    rules_document::{RulesDocument, Witnesses},
};
use einmal_protocol::{
    cosignature::{WitnessKey, cosignatures},
    envelope::payload_type,
    leaf::LeafKind,
    note::{Checkpoint, LedgerKey},
    wire::{
        ledger::v1::{
            ReadEntriesRequest, RecordHoldRequest, TailEntriesRequest,
            ledger_service_client::LedgerServiceClient,
        },
        v1::{Body, Hold, body, notice_body::What},
    },
};
use einmal_witness::{LogConfig, WitnessConfig};
use prost::Message;
use tonic::{Code, Status, transport::Channel};

use crate::world::{Folder, ask_of};

const EVIDENCE: &str = "wage-tax-data";

/// Changes one of the plan's signed documents before anything is started.
fn change<T: serde::de::DeserializeOwned + serde::Serialize>(
    plan: &Plan,
    (name, kind): (&str, &str),
    signers: &[&str],
    edit: impl FnOnce(&mut T),
) {
    let path = plan.folder.join(format!("trust/{name}.signed"));
    let envelope = files::envelope(&path).unwrap();
    let mut document: T = serde_json::from_slice(&envelope.payload).unwrap();
    edit(&mut document);
    let signed = plan.sign(kind, &document, signers).unwrap_or_else(|exit| panic!("{exit}"));
    std::fs::write(path, signed.encode_to_vec()).unwrap();
}

/// A channel to the broker as somebody of this role.
fn dial_as(house: &House, role: PeerRole, id: &str) -> Channel {
    let pki = house.plan.folder.join("pki");
    let name = format!("as-{}-{id}", role.as_str());
    let authority = CertificateAuthority::open(&pki).unwrap_or_else(|exit| panic!("{exit}"));
    let spiffe = SpiffeId { trust_domain: TRUST_DOMAIN.to_owned(), role, id: id.to_owned() };
    authority.issue(&spiffe, &name, &[]).unwrap_or_else(|exit| panic!("{exit}"));
    let tls = Tls::load(&TlsFiles {
        certificate: pki.join(format!("{name}.pem")),
        key: pki.join(format!("{name}.key")),
        authorities: pki.join("ca.pem"),
        revocations: Vec::new(),
    });
    let address = format!("https://{}", house.broker.address);
    dial::channel(&dial::Target::broker(&address, TRUST_DOMAIN), tls.unwrap().client).unwrap()
}

async fn fetch(house: &House, client: &Client) -> Result<u64, String> {
    let got = client.ask(ask_of(house, EVIDENCE)).await;
    got.map(|got| got.proven.index()).map_err(|error| format!("{error:?} {error}"))
}

/// What was done with the ledger itself, newest last.
async fn notices(house: &House) -> Vec<(String, What)> {
    let entries = house.broker.broker.ledger.entries(0, 1000).await.unwrap();
    let notices = entries.into_iter().filter(|entry| entry.leaf.kind == LeafKind::Notice);
    notices
        .map(|entry| match Body::decode(entry.body.unwrap().as_slice()).unwrap().kind {
            Some(body::Kind::Notice(notice)) => (notice.by, notice.what.unwrap()),
            _ => panic!("not a notice"),
        })
        .collect()
}

async fn read(channel: &Channel, from: u64, count: u64, why: &str) -> Result<Vec<u64>, Status> {
    let request = ReadEntriesRequest { from_index: from, count, reason: why.to_owned() };
    let answer = LedgerServiceClient::new(channel.clone()).read_entries(request).await?;
    let (mut stream, mut indices) = (answer.into_inner(), Vec::new());
    while let Some(run) = stream.message().await? {
        assert!(!run.checkpoint.is_empty() && run.entries.iter().all(|e| !e.body.is_empty()));
        indices.extend(run.entries.iter().map(|entry| entry.index));
    }
    Ok(indices)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_auditor_s_look_is_a_leaf() {
    let (folder, clock) = (Folder::new(), Clock::system());
    let plan = Plan::create(folder.path(), &clock).await.unwrap_or_else(|exit| panic!("{exit}"));
    change(&plan, ("directory", payload_type::DIRECTORY), &["register-authority"], |it| {
        let it: &mut DirectoryDocument = it;
        it.auditors.push(Operator { id: "pruefer".to_owned(), name: "Rechnungshof".to_owned() });
    });
    let house = House::start(plan, clock).await.unwrap_or_else(|exit| panic!("{exit}"));
    let client = house.client().await.unwrap_or_else(|exit| panic!("{exit}"));
    for _ in 0..3 {
        fetch(&house, &client).await.unwrap();
    }
    let auditor = dial_as(&house, PeerRole::Auditor, "pruefer");
    assert_eq!(read(&auditor, 1, 2, "Stichprobe 2026/4").await.unwrap(), [1, 2]);
    // The range ends where the ledger ended when it was asked for: its own leaf is not in it.
    assert_eq!(read(&auditor, 2, 1_000_000, "Stichprobe 2026/5").await.unwrap(), [2, 3]);
    let looks = notices(&house).await;
    let ranges: Vec<_> = looks
        .iter()
        .map(|(by, what)| match what {
            What::BodiesRead(read) => (by.as_str(), read.from_index, read.to_index),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(ranges, [("auditor/pruefer", 1, 3), ("auditor/pruefer", 2, 4)]);
    assert!(matches!(&looks[0].1, What::BodiesRead(read) if read.reason == "Stichprobe 2026/4"));
    // Without a reason nothing is read; nor beyond the end; nor by others.
    let long = "x".repeat(501);
    for bad in ["", "  ", "two\nlines", &long] {
        let status = read(&auditor, 0, 1, bad).await.unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument, "{bad}");
    }
    let code = async |from, count| read(&auditor, from, count, "why").await.unwrap_err().code();
    assert_eq!(code(0, 0).await, Code::InvalidArgument);
    assert_eq!(code(0, 1_000_001).await, Code::InvalidArgument);
    assert_eq!(code(99, 1).await, Code::OutOfRange);
    let stranger = dial_as(&house, PeerRole::Auditor, "fremder");
    let status = read(&stranger, 0, 1, "why").await.unwrap_err();
    assert_eq!(status.code(), Code::PermissionDenied);
    assert_eq!(notices(&house).await.len(), 2, "what was refused is no look");
    // A live tail is a look too, and goes on from there.
    let request = TailEntriesRequest { from_index: 5, reason: "Dauerprüfung".to_owned() };
    let tail = LedgerServiceClient::new(auditor.clone()).tail_entries(request).await.unwrap();
    let mut tail = tail.into_inner();
    let first = tail.message().await.unwrap().unwrap();
    assert_eq!(first.entries.first().map(|entry| entry.index), Some(5));
    let index = fetch(&house, &client).await.unwrap();
    let next = tail.message().await.unwrap().unwrap();
    assert_eq!(next.entries.first().map(|entry| entry.index), Some(index));
    // An auditor cannot speak for the keeper.
    let hold = Hold { index: 0, until_day: 30_000, ..Hold::default() };
    let request = RecordHoldRequest { hold: Some(hold) };
    let status = LedgerServiceClient::new(auditor).record_hold(request).await.unwrap_err();
    assert_eq!(status.code(), Code::PermissionDenied);
    house.stop().await;
}

async fn witness(folder: &Folder, name: &str, ledger: &str) -> einmal_witness::Running {
    let key = folder.path().join(format!("keys/{name}.key"));
    if !key.exists() {
        einmal::pki::identity_key(&key).unwrap_or_else(|exit| panic!("{exit}"));
    }
    let log = LogConfig { vkey: ledger.to_owned(), comment: String::new() };
    let config = WitnessConfig {
        listen: "127.0.0.1:0".parse().unwrap(),
        name: format!("witness.example/{name}"),
        key,
        state: folder.path().join(format!("state-{name}")),
        logs: vec![log],
    };
    einmal_witness::start(&config, Clock::system()).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_revealed_without_the_witnesses_that_the_rules_ask_for() {
    let (folder, clock) = (Folder::new(), Clock::system());
    let plan = Plan::create(folder.path(), &clock).await.unwrap_or_else(|exit| panic!("{exit}"));
    let config = broker::read(&plan.config("broker")).unwrap_or_else(|exit| panic!("{exit}"));
    let key = files::signing_key(&config.ledger.key).unwrap();
    let ledger = LedgerKey::new(LEDGER, key.public().clone()).unwrap();
    let one = witness(&folder, "one", &ledger.to_string()).await;
    let two = witness(&folder, "two", &ledger.to_string()).await;
    let keys: Vec<WitnessKey> = vec![one.key.clone(), two.key.clone()];
    let named = keys.iter().map(ToString::to_string).collect();
    let signers = ["register-authority", "data-protection-officer"];
    change(&plan, ("rules", payload_type::RULES), &signers, |rules: &mut RulesDocument| {
        rules.witnesses = Some(Witnesses { required: 2, keys: named });
    });
    // More are asked for than are configured: the broker does not start.
    let refused = einmal_broker::start(&config, clock.clone()).await.err().unwrap().to_string();
    assert!(refused.contains("2 cosignatures") && refused.contains("[[ledger.witnesses]]"));
    let file = plan.config("broker");
    let mut text = std::fs::read_to_string(&file).unwrap();
    text += "witness_patience_ms = 800\n";
    for running in [&one, &two] {
        let (address, key) = (running.address, &running.key);
        text += &format!("[[ledger.witnesses]]\nurl = \"http://{address}\"\nkey = \"{key}\"\n");
    }
    std::fs::write(file, text).unwrap();
    let house = House::start(plan, clock).await.unwrap_or_else(|exit| panic!("{exit}"));
    let client = house.client().await.unwrap_or_else(|exit| panic!("{exit}"));
    fetch(&house, &client).await.unwrap();
    let checkpoint: &Checkpoint = &house.broker.broker.ledger.checkpoint();
    assert_eq!(cosignatures(checkpoint, &keys).len(), 2);
    // One is away: it is logged, and not revealed.
    two.stop().await;
    let size = house.broker.broker.ledger.checkpoint().size();
    let lost = fetch(&house, &client).await.unwrap_err();
    assert!(lost.contains("ANSWER_LOST") || lost.contains("may have been"), "{lost}");
    assert_eq!(house.broker.broker.ledger.checkpoint().size(), size + 1);
    house.stop().await;
    one.stop().await;
}
