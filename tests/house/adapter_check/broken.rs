// SPDX-License-Identifier: EUPL-1.2
//! An adapter that links none of the kit, with a switch for each thing that one can do wrong.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex},
    time::Duration,
};

use einmal::adapter::check::{Stand, folder::Paths};
use einmal_peer::{
    Cards, Clock, PeerRole, Tls, TrustStore, cards,
    dial::{self, Target},
    files, random, trust,
};
use einmal_policy::Trust;
use einmal_protocol::{
    envelope::payload_type,
    key::SigningKey,
    note::Checkpoint,
    seal::SealingPrivateKey,
    wire::v1::{Envelope, Kem, KeyCard, SealingKey},
};
use prost::Message;
use tokio::task::JoinSet;
use tonic::transport::Channel;

/// What is wrong with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flaw {
    Nothing,
    RevealsWithoutProof,
    BelievesAnyProof,
    ForgetsHistory,
    CountsNoWitness,
    IgnoresCancel,
    IgnoresDeadline,
    IgnoresSignature,
    IgnoresTime,
    BelievesThePermit,
    IgnoresCheckDigit,
    TakesAnyQuery,
    BelievesTheDeclaration,
    AnswersTwice,
    IgnoresTheDenyList,
    FoundIsLonger,
    FoundIsSlower,
    IsEarly,
    SendsMore,
    TakesTheFirst,
    RecordsNobody,
    TakesTooMany,
    GivesNoCreditBack,
    IsDeaf,
    LeavesForGood,
    ChunksAreLarge,
    HasNoCard,
}

/// What all streams share.
pub(crate) struct Node {
    pub(crate) flaw: Flaw,
    pub(crate) register: String,
    pub(crate) identity: SigningKey,
    pub(crate) sealing: SealingPrivateKey,
    pub(crate) trust: Arc<TrustStore>,
    pub(crate) cards: Cards,
    pub(crate) revealed: Mutex<HashSet<Vec<u8>>>,
    pub(crate) seen: Mutex<HashMap<String, Checkpoint>>,
    pub(crate) forked: Mutex<HashSet<String>>,
}

impl Node {
    pub(crate) fn has(&self, flaw: Flaw) -> bool {
        self.flaw == flaw
    }

    /// The trust that counts now.
    pub(crate) fn current(&self) -> Arc<Trust> {
        self.trust.current()
    }
}

/// Starts one in the world of a check; it ends with the set.
pub(crate) async fn start(stand: &Stand, register: &str, flaw: Flaw) -> JoinSet<()> {
    let paths: &Paths = &stand.paths;
    let tls = Tls::load(&paths.tls).unwrap();
    let root = files::envelope(&paths.root).unwrap();
    let domain = einmal_adapter_check::world::TRUST_DOMAIN;
    let target = Target::broker(&stand.addresses[0], domain);
    let first = dial::channel(&target, Arc::clone(&tls.client)).unwrap();
    let offer = trust::fetch(first.clone()).await.unwrap();
    let now_ms = Clock::system().now_ms();
    let state = paths.state.join("trust.json");
    let trust = Arc::new(TrustStore::open(root, offer, &state, now_ms).unwrap());
    let directory = Arc::clone(&trust.current().directory);
    let cards = Cards::open(&paths.state.join("cards"), &directory, now_ms).unwrap();
    let node = Arc::new(Node {
        flaw,
        register: register.to_owned(),
        identity: files::signing_key(&paths.identity(register)).unwrap(),
        sealing: SealingPrivateKey::generate(Kem::XWing, random::entropy().unwrap()).unwrap(),
        trust,
        cards,
        revealed: Mutex::default(),
        seen: Mutex::default(),
        forked: Mutex::default(),
    });
    let mut tasks = JoinSet::new();
    for broker in &directory.document().brokers {
        let target = Target {
            address: broker.address.clone(),
            trust_domain: domain.to_owned(),
            role: PeerRole::Broker,
            id: Some(broker.id.clone()),
        };
        let channel = dial::channel(&target, Arc::clone(&tls.client)).unwrap();
        let (node, ledger) = (Arc::clone(&node), broker.ledger.clone());
        tasks.spawn(async move {
            publish(&node, &channel).await;
            loop {
                let ended = super::serve::attach(&node, channel.clone(), &ledger).await;
                if ended.is_err() && node.has(Flaw::LeavesForGood) {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        });
    }
    tasks.spawn(async move {
        while !node.has(Flaw::IgnoresTheDenyList) {
            let _ = node.trust.poll(first.clone(), Clock::system().now_ms()).await;
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
    });
    tasks
}

async fn publish(node: &Node, channel: &Channel) {
    let now_ms = Clock::system().now_ms();
    let stale = u64::from(node.has(Flaw::HasNoCard)) * 3_600_000;
    let card = KeyCard {
        participant: node.register.clone(),
        version: 1,
        previous_digest: Vec::new(),
        issued_at_ms: now_ms,
        expires_at_ms: now_ms + 7_200_000,
        keys: vec![SealingKey {
            kem: Kem::XWing.into(),
            public_key: node.sealing.public().bytes().to_vec(),
            not_before_ms: now_ms - 60_000,
            not_after_ms: now_ms + 3_600_000 - stale,
        }],
    };
    let card = Envelope::sign(payload_type::KEY_CARD, card.encode_to_vec(), &[&node.identity]);
    cards::publish(channel.clone(), card.unwrap()).await.unwrap();
}
