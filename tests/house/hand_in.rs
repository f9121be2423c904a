// SPDX-License-Identifier: EUPL-1.2
//! No split view: what adapters and clients were shown reaches the keeper without the broker, a
//! contradiction is kept with its proof, and nothing more is done with such a ledger. And what
//! hostile operators hand in does no harm.

use std::{sync::Arc, time::Duration};

use einmal::demo::plan::{KEEPER, LEDGER, TRUST_DOMAIN};
use einmal_client::ClientError;
use einmal_cockpit::keeper::{Desk, SplitView, connect_in_process};
use einmal_peer::{
    PeerRole, Tls, TlsFiles,
    dial::{Target, channel},
    files,
};
use einmal_protocol::{
    Digest,
    digest::unhex,
    key::SigningKey,
    merkle,
    note::{Checkpoint, LedgerKey},
    wire::cockpit::v1::{
        GetStatusRequest, HandInRequest, HandInResponse, Verdict,
        checkpoint_service_client::CheckpointServiceClient,
    },
};
use tonic::{Code, Status, transport::Channel};

use crate::world::World;

pub(crate) struct Stage {
    pub(crate) world: World,
    pub(crate) key: SigningKey,
}

impl Stage {
    pub(crate) async fn start() -> Self {
        let world = World::start().await;
        let key = files::signing_key(&world.folder.path().join("keys/ledger.key")).unwrap();
        Self { world, key }
    }

    pub(crate) fn target(&self) -> Target {
        Target {
            address: format!("https://{}", self.world.house.cockpit.checkpoints.unwrap()),
            trust_domain: TRUST_DOMAIN.to_owned(),
            role: PeerRole::Cockpit,
            id: Some(KEEPER.to_owned()),
        }
    }

    pub(crate) fn dial(&self, name: &str, target: &Target) -> CheckpointServiceClient<Channel> {
        let pki = self.world.folder.path().join("pki");
        let tls = Tls::load(&TlsFiles {
            certificate: pki.join(format!("{name}.pem")),
            key: pki.join(format!("{name}.key")),
            authorities: pki.join("ca.pem"),
            revocations: Vec::new(),
        });
        CheckpointServiceClient::new(channel(target, tls.unwrap().client).unwrap())
    }

    pub(crate) async fn hand_in(&self, name: &str, note: &str) -> Result<HandInResponse, Status> {
        let request = HandInRequest { checkpoint: note.to_owned() };
        let answer = self.dial(name, &self.target()).hand_in(request).await?;
        Ok(answer.into_inner())
    }

    /// A tree that nobody has, signed by the ledger's own key.
    pub(crate) fn fork(&self, size: u64, root: &str) -> Checkpoint {
        Checkpoint::sign(LEDGER, size, Digest::of(root.as_bytes()), &self.key).unwrap()
    }

    pub(crate) async fn standing(&self) -> einmal_cockpit::keeper::desk::Standing {
        let index = self.world.folder.path().join("cockpit/state/index.sqlite");
        Desk::open(&index, LEDGER).await.unwrap().standing().await.unwrap()
    }

    /// Some leaves more, and the keeper has them.
    pub(crate) async fn grow(&self) -> u64 {
        let house = &self.world.house;
        let client = house.client().await.unwrap();
        client.ask(self.world.ask("pay-data")).await.unwrap();
        client.save().unwrap();
        let size = house.broker.broker.ledger.checkpoint().size();
        let follow = async {
            // What waited is compared right after the entries are taken.
            while self.standing().await.complete_up_to < size || self.standing().await.waiting > 0 {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(15), follow).await.expect("the keeper follows");
        size
    }
}

/// As somebody would who has only these notes and the ledger's public key.
fn proves_a_fork(fork: &SplitView, key: &LedgerKey) -> bool {
    let digest = |text: &String| Digest::try_from(unhex(text).unwrap().as_slice()).unwrap();
    let shown = Checkpoint::parse(&fork.shown, key).unwrap();
    let kept = Checkpoint::parse(&fork.kept, key).unwrap();
    let (own, path) = (digest(&fork.own_root), fork.consistency.iter().map(digest));
    let path: Vec<Digest> = path.collect();
    shown.size() == fork.size
        && own != shown.root()
        && merkle::verify_consistency((fork.size, own), (kept.size(), kept.root()), &path)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_seen_reaches_the_keeper_and_forks_are_kept_with_their_proof() {
    let stage = Stage::start().await;
    stage.grow().await;
    let size = stage.grow().await;
    let client = stage.world.house.client().await.unwrap();
    let handed_in = client.hand_in().await;
    assert_eq!((handed_in.consistent, handed_in.failed), (1, 0), "{handed_in:?}");
    let mut consistent = 0;
    for adapter in &stage.world.house.adapters {
        let handed_in = adapter.hand_in().await;
        assert_eq!(handed_in.forked + handed_in.failed, 0, "{handed_in:?}");
        consistent += handed_in.consistent;
    }
    assert!(consistent >= 1, "an adapter revealed something");

    // Somebody was shown another tree: of this size, of a smaller one, and of one still to come.
    for (size, expected) in
        [(size, Verdict::Forked), (size - 1, Verdict::Forked), (size + 1, Verdict::Ahead)]
    {
        let answer = stage.hand_in("it-bremen", stage.fork(size, "fork").note()).await.unwrap();
        assert_eq!(answer.verdict(), expected, "{size}");
    }
    assert_eq!((stage.standing().await.forks.len(), stage.standing().await.waiting), (2, 1));
    stage.grow().await;
    let standing = stage.standing().await;
    assert_eq!((standing.forks.len(), standing.waiting), (3, 0), "compared when it got there");
    let key = LedgerKey::new(LEDGER, stage.key.public().clone()).unwrap();
    for fork in &standing.forks {
        assert!(proves_a_fork(fork, &key), "{fork:?}");
        let honest = SplitView { shown: fork.kept.clone(), ..fork.clone() };
        assert!(!proves_a_fork(&honest, &key));
    }
    let mut keeper = connect_in_process(stage.world.house.cockpit.keeper.clone());
    let status = keeper.get_status(GetStatusRequest {}).await.unwrap().into_inner();
    assert_eq!(status.forks.len(), 3);
    assert!(status.alarms.iter().any(|alarm| alarm.contains("contradicts")), "{:?}", status.alarms);
    stage.world.house.stop().await;
}

/// A client that was shown another history learns of it from the keeper, keeps both notes, and
/// asks nothing more of this ledger, after a restart either.
#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_was_shown_a_fork_stops() {
    let stage = Stage::start().await;
    let size = stage.grow().await;
    let state = stage.world.folder.path().join("client");
    let shown = stage.fork(size, "shown to this client alone");
    let seen = serde_json::json!({ LEDGER: { "last": shown.note() } });
    std::fs::write(state.join("seen.json"), seen.to_string()).unwrap();
    let client = stage.world.house.client().await.unwrap();
    assert_eq!(client.hand_in().await.forked, 1);
    for _ in 0..2 {
        let client = stage.world.house.client().await.unwrap();
        let error = client.ask(stage.world.ask("pay-data")).await.unwrap_err();
        assert!(matches!(error, ClientError::Forked(_)), "{error}");
        assert!(error.to_string().contains("forks.json"));
    }
    let proof = std::fs::read_to_string(state.join("forks.json")).unwrap();
    let kept = stage.standing().await.checkpoint;
    for note in [shown.note(), &kept] {
        assert!(proof.contains(note.lines().nth(2).unwrap()), "{proof}");
    }
    stage.world.house.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn garbage_and_floods_push_out_nobody_else_s() {
    let stage = Stage::start().await;
    let size = stage.grow().await;
    let stranger = SigningKey::from_seed(&[9; 32]).unwrap();
    let root = Digest::of(b"root");
    let good = stage.fork(size, "fork");
    let hostile = [
        String::new(),
        "garbage".to_owned(),
        "\n\n".to_owned(),
        good.note().replacen(&format!("\n{size}\n"), "\n0\n", 1),
        Checkpoint::sign("demo.einmal.example/other", 1, root, &stage.key).unwrap().note().into(),
        Checkpoint::sign(LEDGER, size, root, &stranger).unwrap().note().to_owned(),
        stage.fork(u64::MAX, "past all numbers").note().to_owned(),
        format!("{}{}", good.note(), "— w AAAA\n".repeat(6_000)),
        "a".repeat(70 * 1024),
    ];
    for note in hostile {
        let refused = stage.hand_in("it-bremen", &note).await.unwrap_err();
        let refusals = [Code::InvalidArgument, Code::OutOfRange, Code::ResourceExhausted];
        assert!(refusals.contains(&refused.code()), "{refused:?}");
    }
    let standing = stage.standing().await;
    assert!(standing.alarms.is_empty() && standing.forks.is_empty() && standing.waiting == 0);

    // The proof of an honest operator is not pushed out by a flood of another.
    stage.hand_in("rechenzentrum-weser", stage.fork(size + 1, "fork").note()).await.unwrap();
    let mut flood = stage.dial("it-bremen", &stage.target());
    for number in 0..100 {
        let checkpoint = stage.fork(size + 1, &format!("flood {number}")).note().to_owned();
        let answer = flood.hand_in(HandInRequest { checkpoint }).await.unwrap().into_inner();
        assert_eq!(answer.verdict(), Verdict::Ahead);
    }
    let standing = stage.standing().await;
    assert_eq!(standing.waiting, 32 + 1);
    assert!(standing.alarms.iter().any(|alarm| alarm.contains("dropped")), "{:?}", standing.alarms);
    stage.grow().await;
    let forks = stage.standing().await.forks;
    assert!(forks.iter().any(|fork| fork.shown == stage.fork(size + 1, "fork").note()));

    // Nobody takes another for the keeper, nor the keeper for a broker.
    let keeper = stage.target();
    let other = Target { id: Some("another".to_owned()), ..keeper.clone() };
    let broker = Target::broker(&keeper.address, TRUST_DOMAIN);
    for target in [other, broker] {
        let request = HandInRequest { checkpoint: stage.fork(1, "x").note().to_owned() };
        assert!(stage.dial("it-bremen", &target).hand_in(request).await.is_err());
    }
    // One that waits for an hour is an alarm: the ledger may have stopped for this keeper alone.
    stage.hand_in("it-bremen", stage.fork(size + 1000, "never").note()).await.unwrap();
    let keeper = &stage.world.house.cockpit.keeper;
    let later = Arc::new(stage.world.clock()).now_ms() + 3_700_000;
    keeper.look_after(later).await.unwrap();
    let alarms = stage.standing().await.alarms;
    assert!(alarms.iter().any(|alarm| alarm.contains("after an hour")), "{alarms:?}");
    stage.world.house.stop().await;
}
