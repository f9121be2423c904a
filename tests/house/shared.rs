// SPDX-License-Identifier: EUPL-1.2
//! Two brokers on one PostgreSQL and one Redis are as one: retries, quotas and news are theirs
//! together. Without Redis, or with one that lies, nothing is safe that was not safe before, and
//! nothing is unsafe.

use std::time::{Duration, Instant};

use einmal::{
    broker,
    demo::{
        house::House,
        plan::{LEDGER, Plan, TRUST_DOMAIN},
    },
    doctor::{self, Level},
    pki::CertificateAuthority,
};
use einmal_broker::{Broker, BrokerConfig, Running};
use einmal_client::{Client, ClientError, Prepared};
use einmal_peer::{Clock, PeerRole, SpiffeId, files, trust};
use einmal_policy::{
    deny::DenyEntry,
    directory::{self, DirectoryDocument},
    documents::Offer,
};
use einmal_protocol::{
    Reason,
    envelope::payload_type,
    wire::{
        evidence::v1::{
            RequestEvidenceRequest, RequestEvidenceResponse,
            evidence_service_client::EvidenceServiceClient,
        },
        v1::Request,
    },
};
use einmal_test_servers::{Postgres, Redis, free_port};
use prost::Message;
use tonic::{Code, transport::Channel};
use tonic_types::StatusExt;

use crate::{
    deny::{denying, entry, publisher},
    refusals::{channel_to, forge, send},
    world::{Folder, World},
};

const OFFICE: &str = "elterngeldstelle-bremen";
/// An authority's quota: so many at once.
const BURST: usize = 40;

/// A house whose ledger has a second broker.
struct Two {
    world: World,
    second: Running,
    redis: Redis,
    /// Ended last.
    _postgres: Postgres,
}

impl Two {
    /// Nothing where a server is not installed.
    async fn start() -> Option<Self> {
        let (redis, postgres) = (Redis::start()?, Postgres::start()?);
        let (folder, clock) = (Folder::new(), Clock::system());
        let plan = Plan::create_in_postgres(folder.path(), &clock, &postgres.url()).await;
        let plan = plan.unwrap_or_else(|exit| panic!("{exit}"));
        let port = free_port();
        let id = "broker-2".to_owned();
        let spiffe = SpiffeId { trust_domain: TRUST_DOMAIN.into(), role: PeerRole::Broker, id };
        let pki = CertificateAuthority::open(&folder.path().join("pki")).unwrap();
        pki.issue(&spiffe, &spiffe.id, &["127.0.0.1".to_owned()]).unwrap();
        enter(&plan, port);
        let secret = folder.path().join("keys/shared-secret");
        files::replace_secret(&secret, b"0123456789abcdef0123456789abcdef").unwrap();
        let shared = format!(
            "\n[shared]\nredis = \"{}\"\nsecret_file = \"keys/shared-secret\"\n\
             [limits]\nauthority_per_second = 1\nauthority_burst = {BURST}\n",
            redis.url()
        );
        let first = std::fs::read_to_string(plan.config("broker")).unwrap() + &shared;
        let listen = first.lines().find(|line| line.starts_with("listen")).unwrap();
        let second = first
            .replace(listen, &format!("listen = \"127.0.0.1:{port}\""))
            .replace("pki/broker-1", "pki/broker-2")
            .replace("state = \"broker\"", "state = \"broker-2\"");
        std::fs::write(plan.config("broker"), first).unwrap();
        std::fs::write(plan.config("broker-2"), second).unwrap();
        let config = broker::read(&plan.config("broker-2")).unwrap_or_else(|exit| panic!("{exit}"));
        let second = einmal_broker::start(&config, clock.clone()).await.unwrap();
        let house = House::start(plan, clock).await.unwrap_or_else(|exit| panic!("{exit}"));
        let two = Self { world: World { house, folder }, second, redis, _postgres: postgres };
        let registers = &two.world.house.plan.registers;
        two.until("all are attached to both", |two| {
            registers.iter().all(|register| two.second.broker.attachments.has(&register.id))
        })
        .await;
        two.until_redis(true).await;
        Some(two)
    }

    fn brokers(&self) -> [&Broker; 2] {
        [&self.world.house.broker.broker, &self.second.broker]
    }

    async fn until(&self, what: &str, is_so: impl Fn(&Self) -> bool) -> Duration {
        let began = Instant::now();
        while !is_so(self) {
            assert!(began.elapsed() < Duration::from_secs(20), "not in time: {what}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        began.elapsed()
    }

    /// Both brokers say so to the operator.
    async fn until_redis(&self, up: bool) -> Duration {
        let says = format!("einmal_broker_shared_up {}", u8::from(up));
        let both = |two: &Self| two.brokers().iter().all(|one| one.metrics.text().contains(&says));
        self.until("both know whether Redis is there", both).await
    }

    /// Connections of an operator to both brokers.
    fn dial(&self, operator: &str) -> [EvidenceServiceClient<Channel>; 2] {
        [self.world.house.broker.address, self.second.address].map(|at| {
            EvidenceServiceClient::new(channel_to(&self.world, operator, at))
                .max_decoding_message_size(4 * 1024 * 1024)
        })
    }

    async fn prepare(&self, client: &Client) -> Prepared {
        client.prepare(&[self.world.ask("pay-data")]).await.unwrap().remove(0)
    }

    /// How many both brokers grant to one authority, asked in turns.
    async fn granted(&self, authority: &str) -> usize {
        let mut granted = 0;
        for turn in 0..BURST * 2 {
            let one = self.brokers()[turn % 2];
            granted += usize::from(one.shared.admit(authority, "register").await.is_ok());
        }
        granted
    }

    async fn examine(&self, level: Level, part: &str) -> bool {
        let broker = vec![self.world.house.plan.config("broker-2")];
        let args = doctor::Args { broker, ..doctor::Args::default() };
        let found = doctor::examine(&args, &self.world.house.clock).await;
        found.iter().any(|one| one.level == level && one.what.contains(part))
    }
}

/// The second broker in the directory of the start.
fn enter(plan: &Plan, port: u16) {
    let file = plan.config("broker").with_file_name("trust").join("directory.signed");
    let payload = files::envelope(&file).unwrap().payload;
    let mut document: DirectoryDocument = serde_json::from_slice(&payload).unwrap();
    document.brokers.push(directory::Broker {
        id: "broker-2".to_owned(),
        name: "Broker 2".to_owned(),
        address: format!("https://127.0.0.1:{port}"),
        ledger: LEDGER.to_owned(),
    });
    let signed = plan.sign(payload_type::DIRECTORY, &document, &["register-authority"]);
    let signed = signed.unwrap_or_else(|exit| panic!("{exit}"));
    std::fs::write(file, signed.encode_to_vec()).unwrap();
}

fn reason(answer: Result<RequestEvidenceResponse, ClientError>) -> Option<Reason> {
    answer.err().map(|error| error.reason().unwrap_or_else(|| panic!("{error}")))
}

/// Brokers are restarted one after the other, and no question fails: the identical bytes go to the
/// other one.
#[tokio::test(flavor = "multi_thread")]
async fn a_rolling_restart_fails_no_question() {
    let Some(two) = Two::start().await else { return };
    let first = two.world.house.client().await.unwrap();
    let plan = &two.world.house.plan;
    let text = std::fs::read_to_string(plan.config("client")).unwrap();
    let of = |running: &Running| format!("https://{}", running.address);
    let text = text
        .replace(&of(&two.world.house.broker), &of(&two.second))
        .replace("state = \"client\"", "state = \"client-2\"");
    std::fs::write(plan.config("client-2"), text).unwrap();
    let second = einmal::request::connect(&plan.config("client-2"), two.world.clock()).await;
    let second = std::sync::Arc::new(second.unwrap_or_else(|exit| panic!("{exit}")));
    let ask = || two.world.ask("pay-data");

    let draining = &two.world.house.broker.broker.draining;
    draining.store(true, std::sync::atomic::Ordering::Relaxed);
    let answer = first.ask(ask()).await.unwrap();
    assert!(two.second.broker.metrics.text().contains("einmal_broker_exchange_seconds_count 1"));
    first.report_use(&answer, einmal_protocol::wire::v1::Use::Used).await.unwrap();
    draining.store(false, std::sync::atomic::Ordering::Relaxed);

    second.ask(ask()).await.unwrap();
    let mut asking = tokio::task::JoinSet::new();
    for number in 0..12 {
        let (second, ask) = (std::sync::Arc::clone(&second), ask());
        asking.spawn(async move {
            tokio::time::sleep(Duration::from_millis(number * 10)).await;
            second.ask(ask).await
        });
    }
    let Two { world, second: stopped, redis, _postgres } = two;
    stopped.stop().await;
    while let Some(asked) = asking.join_next().await {
        asked.unwrap().unwrap();
    }
    second.ask(world.ask("pay-data")).await.unwrap();
    world.house.stop().await;
    drop((redis, _postgres));
}

#[tokio::test(flavor = "multi_thread")]
async fn two_brokers_with_one_redis_are_as_one() {
    let Some(two) = Two::start().await else { return };
    let client = two.world.house.client().await.unwrap();
    let [mut one, mut other] = two.dial("it-bremen");
    let ledger = two.second.broker.ledger.clone();

    // The identical answer from the other broker, one leaf; at once too, in either order.
    let prepared = two.prepare(&client).await;
    let bytes = || prepared.signed_request.clone();
    let size = ledger.checkpoint().size();
    let (here, there) =
        tokio::join!(send(&mut one, bytes(), &prepared), send(&mut other, bytes(), &prepared));
    let answer = here.unwrap().encode_to_vec();
    assert_eq!(there.unwrap().encode_to_vec(), answer);
    for again in [&mut other, &mut one] {
        assert_eq!(send(again, bytes(), &prepared).await.unwrap().encode_to_vec(), answer);
    }
    ledger.refresh().await;
    assert_eq!(ledger.checkpoint().size(), size + 1);
    // Whoever has seen more of the ledger gets the same entry, proven from there.
    let newer = RequestEvidenceRequest {
        signed_request: bytes(),
        sealed_person: prepared.sealed_person.clone(),
        seen_size: size + 1,
    };
    let newer = other.request_evidence(newer).await.unwrap().into_inner();
    let first = RequestEvidenceResponse::decode(answer.as_slice()).unwrap();
    assert_eq!(newer.sealed_evidence, first.sealed_evidence);
    assert_eq!(newer.receipt.unwrap().index, first.receipt.unwrap().index);
    // An operator that may not carry for the authority gets nothing, nor do changed bytes.
    for mut stranger in two.dial("rechenzentrum-bund") {
        let refused = reason(send(&mut stranger, bytes(), &prepared).await);
        assert_eq!(refused, Some(Reason::OperatorMayNotCarry));
    }
    let change = |request: &mut Request| request.fields = vec!["employer".into()];
    let changed = forge(&two.world, &prepared, OFFICE, change);
    for to in [&mut one, &mut other] {
        let refused = reason(send(to, changed.clone(), &prepared).await);
        assert_eq!(refused, Some(Reason::IdReused));
    }

    // What one broker is told, the other knows at once; and gives no answer again that is denied.
    let publisher = publisher(&two.world.house).await;
    let denied = DenyEntry { evidence_type: Some("pay-data".to_owned()), ..entry("stop-pay") };
    let deny = Some(denying(&two.world.house, &publisher, vec![denied]));
    let offer = Offer { deny, ..Offer::default() };
    let to_one = channel_to(&two.world, "it-bremen", two.world.house.broker.address);
    trust::publish(to_one, offer).await.unwrap();
    let heard = |two: &Two| {
        let trust = two.second.broker.trust.current();
        trust.deny.as_ref().is_some_and(|deny| deny.document().version == 2)
    };
    let took = two.until("the other has heard of it", heard).await;
    println!("the other broker had the deny list after {took:?}");
    assert!(took < trust::POLL / 2, "sooner than it would have asked: {took:?}");
    for to in [&mut one, &mut other] {
        assert_eq!(reason(send(to, bytes(), &prepared).await), Some(Reason::Denied));
    }
    two.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn quotas_are_shared_and_redis_may_be_lost_lie_and_come_back() {
    let Some(mut two) = Two::start().await else { return };
    let client = two.world.house.client().await.unwrap();
    let [mut one, mut other] = two.dial("it-bremen");

    // Both together grant what one would, and say when to come again.
    let granted = two.granted(OFFICE).await;
    assert!((BURST..=BURST + 2).contains(&granted), "{granted}");
    let prepared = two.prepare(&client).await;
    let request = RequestEvidenceRequest {
        signed_request: prepared.signed_request.clone(),
        sealed_person: prepared.sealed_person.clone(),
        seen_size: 0,
    };
    let busy = other.request_evidence(request).await.unwrap_err();
    assert_eq!(busy.code(), Code::ResourceExhausted);
    let wait = busy.get_details_retry_info().unwrap().retry_delay.unwrap();
    assert!(wait <= Duration::from_secs(2), "{wait:?}");
    two.redis.ask(&["FLUSHALL"]);

    // It lies: neither answer is given, and neither request is answered twice.
    let (mine, alike) = (two.prepare(&client).await, two.prepare(&client).await);
    for prepared in [&mine, &alike] {
        send(&mut one, prepared.signed_request.clone(), prepared).await.unwrap();
    }
    let keys = two.redis.ask(&["KEYS", "*:request:*"]);
    let keys: Vec<&str> = keys.lines().collect();
    assert_eq!(keys.len(), 2);
    two.redis.ask(&["RENAME", keys[0], "aside"]);
    two.redis.ask(&["RENAME", keys[1], keys[0]]);
    two.redis.ask(&["SET", keys[1], "garbage"]);
    two.second.broker.ledger.refresh().await;
    let size = two.second.broker.ledger.checkpoint().size();
    for prepared in [&mine, &alike] {
        let again = send(&mut other, prepared.signed_request.clone(), prepared).await;
        assert_eq!(reason(again), Some(Reason::AnswerLost));
    }
    let text = two.second.broker.metrics.text();
    assert!(text.contains("operation=\"claim\",result=\"unbelievable\"} 2"), "{text}");

    // It hangs: exchanges go on, a deadline or two later; then nobody waits for it.
    two.redis.pause();
    for _ in 0..3 {
        let prepared = two.prepare(&client).await;
        for to in [&mut one, &mut other] {
            let came = reason(send(to, prepared.signed_request.clone(), &prepared).await);
            assert!(matches!(came, None | Some(Reason::AnswerLost)), "{came:?}");
        }
    }
    two.until_redis(false).await;
    two.redis.resume();
    two.until_redis(true).await;

    // It is gone, and so is all that it held: the ledger alone says what counts.
    let kept = two.prepare(&client).await;
    send(&mut one, kept.signed_request.clone(), &kept).await.unwrap();
    two.redis.kill();
    two.until_redis(false).await;
    let again = reason(send(&mut other, kept.signed_request.clone(), &kept).await);
    assert_eq!(again, Some(Reason::AnswerLost));
    let changed =
        forge(&two.world, &kept, OFFICE, |request| request.fields = vec!["employer".into()]);
    let refused = reason(send(&mut other, changed, &kept).await);
    assert_eq!(refused, Some(Reason::IdReused));
    let granted = two.granted("another office").await;
    assert!((BURST..=BURST + 2).contains(&granted), "a share each: {granted}");
    assert!(two.examine(Level::Warn, "Redis cannot be used").await);

    // And back: they are as one again.
    two.redis.restart();
    let took = two.until_redis(true).await;
    println!("Redis was found again after {took:?}");
    assert!(two.examine(Level::Ok, "Redis takes what is written").await);
    let prepared = two.prepare(&client).await;
    let answer = send(&mut one, prepared.signed_request.clone(), &prepared).await.unwrap();
    let again = send(&mut other, prepared.signed_request.clone(), &prepared).await.unwrap();
    assert_eq!(answer.encode_to_vec(), again.encode_to_vec());
    // Each exchange since is one leaf, whatever Redis did: three, one and one.
    let ledger = &two.second.broker.ledger;
    ledger.refresh().await;
    assert_eq!(ledger.checkpoint().size(), size + 5);
    two.stop().await;
}

#[test]
fn the_sample_shows_every_key() {
    let sample = concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy/config/broker.toml");
    let text = std::fs::read_to_string(sample).unwrap();
    let (before, section) = text.split_once("# [shared]\n").unwrap();
    let (section, after) = section.split_once("\n\n").unwrap();
    let section: Vec<&str> = section.lines().map(|line| &line[2..]).collect();
    let config = |section: &str| {
        toml::from_str::<BrokerConfig>(&format!("{before}[shared]\n{section}\n\n{after}"))
    };
    let shared = config(&section.join("\n")).unwrap().shared.unwrap();
    assert_eq!(shared.redis, ["rediss://redis.example.org:6380"]);
    let error = config(&format!("{}\nredi = 1", section.join("\n"))).unwrap_err();
    assert!(error.to_string().contains("redi"), "{error}");
}

impl Two {
    async fn stop(self) {
        self.second.stop().await;
        self.world.house.stop().await;
    }
}
