// SPDX-License-Identifier: EUPL-1.2
//! The public half, byte for byte as C2SP tlog-tiles has it.

use std::time::Duration;

use axum::{
    Router,
    body::{Body, to_bytes},
    http::{Request, StatusCode, header},
};
use einmal_ledger::{Ledger, Witnesses, router};
use einmal_protocol::{
    Digest,
    merkle::{Edge, node_hash},
    note::Checkpoint,
};
use tower::ServiceExt;

use crate::{
    fixture::{Folder, exchange, fill, key, ledger_key},
    rig::{Mood, Watcher},
};

struct Answer {
    status: StatusCode,
    kind: String,
    cache: String,
    bytes: Vec<u8>,
}

async fn fetch(router: &Router, path: &str) -> Answer {
    let request = Request::get(path).body(Body::empty()).unwrap();
    let response = router.clone().oneshot(request).await.unwrap();
    let value =
        |name| response.headers().get(name).map_or("", |value| value.to_str().unwrap()).to_owned();
    let (kind, cache) = (value(header::CONTENT_TYPE), value(header::CACHE_CONTROL));
    let status = response.status();
    let bytes = to_bytes(response.into_body(), 1 << 20).await.unwrap().to_vec();
    Answer { status, kind, cache, bytes }
}

async fn public_size(router: &Router) -> u64 {
    let answer = fetch(router, "/checkpoint").await;
    let note = String::from_utf8(answer.bytes).unwrap();
    Checkpoint::parse(&note, &ledger_key()).unwrap().size()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stranger_can_rebuild_the_tree_from_tiles_alone() {
    let folder = Folder::new();
    let ledger = Ledger::create(folder.config(), key()).await.unwrap();
    fill(&ledger, 0..600).await;
    ledger.close().await;
    let ledger = Ledger::open(folder.config(), key()).await.unwrap();
    let router = router(ledger, Duration::from_secs(60));
    let answer = fetch(&router, "/checkpoint").await;
    assert_eq!(answer.kind, "text/plain; charset=utf-8");
    assert_eq!(answer.cache, "public, max-age=5");
    let note = String::from_utf8(answer.bytes).unwrap();
    let checkpoint = Checkpoint::parse(&note, &ledger_key()).unwrap();

    let mut edge = Edge::default();
    let mut level_one = Vec::new();
    for (bundle, tile) in [
        ("/tile/entries/000", "/tile/0/000"),
        ("/tile/entries/001", "/tile/0/001"),
        ("/tile/entries/002.p/88", "/tile/0/002.p/88"),
    ] {
        let entries = fetch(&router, bundle).await;
        assert_eq!((entries.status, &*entries.kind), (StatusCode::OK, "application/octet-stream"));
        assert!(entries.cache.ends_with("immutable"));
        let mut hashes = Vec::new();
        for entry in entries.bytes.chunks(40) {
            assert_eq!(&entry[..2], [0, 38]);
            let hash = einmal_protocol::merkle::leaf_hash(&entry[2..]);
            hashes.push(hash);
            edge.push(hash);
        }
        let tile = fetch(&router, tile).await;
        let bytes: Vec<u8> = hashes.iter().flat_map(|hash| hash.to_vec()).collect();
        assert!(tile.status == StatusCode::OK && tile.bytes == bytes);
        if hashes.len() == 256 {
            level_one.push(perfect_root(&hashes));
        }
    }
    assert_eq!((edge.size(), edge.root()), (checkpoint.size(), checkpoint.root()));
    let tile = fetch(&router, "/tile/1/000.p/2").await;
    assert_eq!(tile.bytes, level_one.iter().flat_map(|hash| hash.to_vec()).collect::<Vec<_>>());
    let prefix = fetch(&router, "/tile/0/001.p/3").await;
    assert_eq!(prefix.bytes, fetch(&router, "/tile/0/001").await.bytes[..96]);
}

fn perfect_root(hashes: &[Digest]) -> Digest {
    match hashes {
        [one] => *one,
        _ => {
            let (left, right) = hashes.split_at(hashes.len() / 2);
            node_hash(&perfect_root(left), &perfect_root(right))
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_public_checkpoint_does_not_cover_is_not_there() {
    let folder = Folder::new();
    let ledger = Ledger::create(folder.config(), key()).await.unwrap();
    fill(&ledger, 0..300).await;
    let prompt = router(ledger.clone(), Duration::ZERO);
    let router = router(ledger.clone(), Duration::from_secs(3600));
    // More is logged, but the public will see it only when the interval has passed.
    fill(&ledger, 300..520).await;
    assert_eq!(public_size(&router).await, 300, "at once, and then not for a while");
    for path in [
        "/tile/0/001",
        "/tile/0/001.p/45",
        "/tile/0/002.p/1",
        "/tile/1/000.p/2",
        "/tile/1/000",
        "/tile/entries/001",
        "/tile/entries/001.p/45",
        "/tile/0/000.p/256",
        "/tile/0/000.p/0",
        "/tile/0/0",
        "/tile/0/x000/001",
        "/tile/0/x001/x234/067",
        "/tile/64/000",
        "/tile/8/000.p/1",
        "/tile/entries/",
        "/tile/",
        "/tile",
        "/",
    ] {
        let answer = fetch(&router, path).await;
        assert_eq!(answer.status, StatusCode::NOT_FOUND, "{path}");
        assert!(answer.cache.is_empty() || answer.cache == "no-store", "{path}");
    }
    for path in ["/tile/0/001.p/44", "/tile/0/000", "/tile/1/000.p/1", "/tile/entries/001.p/44"] {
        assert_eq!(fetch(&router, path).await.status, StatusCode::OK, "{path}");
    }
    assert_eq!(public_size(&prompt).await, 520, "its interval is over at once");
    assert_eq!(fetch(&prompt, "/tile/0/001").await.status, StatusCode::OK);
    ledger.append(exchange(9999)).await.unwrap();
    assert_eq!(public_size(&prompt).await, 521);
    assert_eq!(public_size(&router).await, 300);
    let post = Request::post("/checkpoint").body(Body::empty()).unwrap();
    let answer = router.oneshot(post).await.unwrap();
    assert_eq!(answer.status(), StatusCode::METHOD_NOT_ALLOWED);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tile_that_was_changed_is_not_served() {
    let folder = Folder::new();
    let ledger = Ledger::create(folder.config(), key()).await.unwrap();
    fill(&ledger, 0..600).await;
    ledger.close().await;
    crate::fixture::tamper(
        &folder.config().database,
        "UPDATE tile SET hashes = \
         CAST(substr(hashes, 1, 960) || substr(hashes, 1, 32) || substr(hashes, 993) AS BLOB) \
         WHERE number = 0",
    )
    .await;
    // Only the newest tiles are read at start; this one is found out when it is asked for.
    let ledger = Ledger::open(folder.config(), key()).await.unwrap();
    assert!(ledger.inclusion(5, 600).await.is_err());
    assert!(ledger.inclusion(300, 600).await.is_ok());
    let router = router(ledger, Duration::from_secs(60));
    assert_eq!(fetch(&router, "/tile/0/000").await.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(fetch(&router, "/tile/0/001").await.status, StatusCode::OK);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_public_checkpoint_never_goes_back() {
    let watcher = Watcher::new();
    let folder = Folder::new();
    let mut config = folder.config();
    // Nobody waits for this witness, and it is slow.
    config.witnesses = Witnesses { required: 0, ..watcher.alone() };
    watcher.moods.lock().unwrap().extend([Mood::Slow; 4]);
    let ledger = Ledger::create(config, key()).await.unwrap();
    let (mut last, began) = (0, std::time::Instant::now());
    let mut number = 0;
    while began.elapsed() < Duration::from_millis(2600) {
        fill(&ledger, number..number + 1).await;
        number += 1;
        for _ in 0..4 {
            let size = ledger.public_checkpoint().size();
            assert!(size >= last, "from {last} back to {size}");
            last = size;
            tokio::time::sleep(Duration::from_millis(3)).await;
        }
    }
    assert!(last > 0, "and it does go on");
    ledger.close().await;
}
