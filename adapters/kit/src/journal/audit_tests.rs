// SPDX-License-Identifier: EUPL-1.2
//! Receipts against published ledgers, honest and not, over real HTTP.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use einmal_protocol::{key::SigningKey, leaf::LeafKind, merkle::Edge, wire::v1::Receipt};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};

use super::{
    super::{
        Journal,
        reading::Folder,
        tests::{Desk, exchange},
    },
    *,
};

const ORIGIN: &str = "ledger.example/1";
const MINUTE_MS: i64 = 60_000;

type Files = Arc<Mutex<BTreeMap<String, Vec<u8>>>>;

fn leaf(number: u32) -> Leaf {
    Leaf::new(LeafKind::Exchange, 20_000, &number.to_be_bytes())
}

fn leaves(count: u32) -> Vec<Leaf> {
    (0..count).map(leaf).collect()
}

fn signer() -> SigningKey {
    SigningKey::from_seed(&[5; 32]).unwrap()
}

/// The files of a ledger with these leaves.
fn publish(leaves: &[Leaf], files: &Files) {
    let mut all = BTreeMap::new();
    let mut level: Vec<Digest> = leaves.iter().map(Leaf::hash).collect();
    let mut number = 0;
    while !level.is_empty() {
        let mut next = Vec::new();
        for (index, tile) in level.chunks(256).enumerate() {
            let bytes = tile.iter().flat_map(|hash| hash.to_vec()).collect();
            let partial =
                if tile.len() < 256 { format!(".p/{}", tile.len()) } else { String::new() };
            all.insert(format!("/tile/{number}/{index:03}{partial}"), bytes);
            if tile.len() == 256 {
                let mut edge = Edge::default();
                let mut rows = tile.to_vec();
                while rows.len() > 1 {
                    rows = rows
                        .chunks(2)
                        .map(|two| einmal_protocol::merkle::node_hash(&two[0], &two[1]))
                        .collect();
                }
                edge.push(rows[0]);
                next.push(rows[0]);
            }
        }
        (level, number) = (next, number + 1);
    }
    let mut edge = Edge::default();
    leaves.iter().for_each(|leaf| edge.push(leaf.hash()));
    let note = Checkpoint::sign(ORIGIN, leaves.len() as u64, edge.root(), &signer()).unwrap();
    all.insert("/checkpoint".to_owned(), note.note().as_bytes().to_vec());
    *files.lock().unwrap() = all;
}

async fn serve(files: Files) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (mut tcp, _) = listener.accept().await.unwrap();
            let files = Arc::clone(&files);
            tokio::spawn(async move {
                let mut head = [0; 4096];
                while let Ok(read @ 1..) = tcp.read(&mut head).await {
                    let text = String::from_utf8_lossy(&head[..read]).into_owned();
                    let path = text.split(' ').nth(1).unwrap_or_default();
                    let found = files.lock().unwrap().get(path).cloned();
                    let status = if found.is_some() { "200 OK" } else { "404 Not Found" };
                    let body = found.unwrap_or_default();
                    let head =
                        format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\n\r\n", body.len());
                    tcp.write_all(&[head.as_bytes(), &body].concat()).await.unwrap();
                }
            });
        }
    });
    address
}

struct Scene {
    desk: Desk,
    journal: Journal,
    files: Files,
    source: Source,
}

impl Scene {
    async fn new(name: &str) -> Self {
        let desk = Desk::new(name);
        let journal = desk.open().unwrap();
        let files = Files::default();
        let address = serve(Arc::clone(&files)).await;
        let key = LedgerKey::new(ORIGIN, signer().public().clone()).unwrap();
        let source = Source { url: format!("http://{address}/"), key };
        Self { desk, journal, files, source }
    }

    /// An entry with a receipt for this leaf at this position.
    async fn journalled(&self, number: u8, index: u64) {
        let What::Exchange(mut one) = exchange(&self.journal, number) else { panic!() };
        one.ledger = ORIGIN.to_owned();
        let leaf = leaf(u32::try_from(index).unwrap()).to_bytes().to_vec();
        one.receipt = Some(Receipt { index, leaf, ..Receipt::default() });
        assert!(self.journal.append(What::Exchange(one)).await);
    }

    async fn audit(&self) -> Result<Audited, AuditError> {
        let mut published = Published::fetch(&self.source).await?;
        let folder = &self.desk.setup.folder;
        audit(folder, &mut published, &self.source.key, self.desk.clock.now_ms()).await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn all_new_entries_are_looked_for_once_and_some_again() {
    let scene = Scene::new("audit-good").await;
    // Nobody answers: nothing is lost.
    scene.journalled(1, 0).await;
    assert!(matches!(scene.audit().await, Err(AuditError::Published(_))));
    publish(&leaves(700), &scene.files);
    for (number, index) in [(2, 255), (3, 256), (4, 699)] {
        scene.journalled(number, index).await;
    }
    let first = scene.audit().await.unwrap();
    assert!(first.is_good() && (first.new, first.checked, first.sampled) == (4, 4, 4), "{first:?}");
    // It grew, and what is not yet published waits.
    publish(&leaves(1000), &scene.files);
    scene.journalled(5, 900).await;
    scene.journalled(6, 1000).await;
    let second = scene.audit().await.unwrap();
    assert!(second.is_good() && second.waiting && second.new == 1, "{second:?}");
    publish(&leaves(5_000), &scene.files);
    let third = scene.audit().await.unwrap();
    assert!(third.is_good() && !third.waiting && third.checked == 6, "{third:?}");
    // Another history of the same key is noticed, whatever tiles it serves.
    let mut other = leaves(5_001);
    other[3] = leaf(99_999);
    publish(&other, &scene.files);
    let forked = scene.audit().await.unwrap();
    assert!(!forked.is_good() && forked.alarms.len() == 1, "{forked:?}");
    scene.journal.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ledger_that_lost_a_leaf_is_an_alarm_until_it_is_there_again() {
    let scene = Scene::new("audit-lost").await;
    let mut lost = leaves(300);
    lost[7] = leaf(12_345);
    publish(&lost, &scene.files);
    scene.journalled(1, 6).await;
    scene.journalled(2, 7).await;
    scene.journalled(3, 300).await;
    let audited = scene.audit().await.unwrap();
    assert_eq!((audited.missing.len(), audited.missing[0].index), (1, 7));
    assert!(audited.waiting && audited.alarms.is_empty());
    // It stands in the report's file, and a restart forgets nothing.
    let again = scene.audit().await.unwrap();
    assert_eq!((again.missing.len(), again.new), (1, 0));
    assert_eq!(last(&scene.desk.setup.folder).unwrap()[0].2, again.missing);
    // What is never published is missing after an hour.
    scene.desk.clock.shift_ms(61 * MINUTE_MS);
    let late = scene.audit().await.unwrap();
    assert_eq!(late.missing.iter().map(|one| one.index).collect::<Vec<_>>(), [7, 300]);
    let text = serde_json::to_string(&late).unwrap();
    assert!(!text.contains("Kanarienvogel"));
    scene.journal.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn entries_that_were_taken_away_are_noticed() {
    let scene = Scene::new("audit-shorter").await;
    publish(&leaves(10), &scene.files);
    scene.journalled(1, 1).await;
    let short = std::fs::read(scene.desk.file()).unwrap();
    scene.journalled(2, 2).await;
    assert!(scene.audit().await.unwrap().is_good());
    scene.journal.close().await;
    std::fs::write(scene.desk.file(), short).unwrap();
    assert!(matches!(scene.audit().await, Err(AuditError::Shorter { .. })));
    let mut count = 0;
    Folder::new(&scene.desk.setup.folder).all(&mut |_| count += 1).unwrap();
    assert_eq!(count, 1, "the chain alone cannot tell");
}
