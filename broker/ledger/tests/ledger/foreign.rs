// SPDX-License-Identifier: EUPL-1.2
//! Published logs, verified from their files: one that our own ledger serves, and one that another
//! implementation built (the crate ct-merkle); whole, pruned, and changed by one bit.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use axum::{
    body::{Body, to_bytes},
    http::Request,
};
use base64::{Engine, prelude::BASE64_STANDARD};
use ct_merkle::mem_backed_tree::MemoryBackedTree;
use einmal_ledger::{
    DirSource, ForeignError, ForeignReport, Ledger, TilePath, router, verify_tiles,
};
use einmal_protocol::{
    key::{Algorithm, PublicKey, SigningKey},
    note::{LedgerKey, NoteError},
};
use sha2::{Digest as _, Sha256};
use tower::ServiceExt;

use crate::fixture::{Folder, Numbers, fill, key, ledger_key};

type Files = BTreeMap<String, Vec<u8>>;

fn write(folder: &Path, files: &Files) {
    for (name, bytes) in files {
        let path = folder.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
    }
}

async fn verify(folder: &Path, key: &LedgerKey) -> Result<ForeignReport, ForeignError> {
    verify_tiles(Arc::new(DirSource::new(folder)), key, &mut |_, _| {}).await
}

/// The files that a log of this size must have, without the checkpoint.
fn names(size: u64) -> Vec<String> {
    let mut names = Vec::new();
    for level in [None, Some(0), Some(1), Some(2)] {
        let hashes = size >> (8 * u32::from(level.unwrap_or(0)));
        for index in 0..hashes.div_ceil(256) {
            let width = usize::try_from(hashes - index * 256).unwrap().min(256);
            names.push(format!("tile/{}", TilePath { level, index, width }));
        }
    }
    names
}

/// What our own ledger serves to the public.
async fn served(leaves: u64) -> Files {
    let folder = Folder::new();
    let ledger = Ledger::create(folder.config(), key()).await.unwrap();
    fill(&ledger, 0..leaves).await;
    let router = router(ledger.clone(), Duration::ZERO);
    let mut files = Files::new();
    for name in names(leaves).into_iter().chain(["checkpoint".to_owned()]) {
        let request = Request::get(format!("/{name}")).body(Body::empty()).unwrap();
        let response = router.clone().oneshot(request).await.unwrap();
        assert!(response.status().is_success(), "{name}");
        let bytes = to_bytes(response.into_body(), 1 << 20).await.unwrap();
        files.insert(name, bytes.to_vec());
    }
    ledger.close().await;
    files
}

/// A log of other people's making: entries of every length, tiles from the crate ct-merkle, and
/// the note by hand.
struct Theirs {
    files: Files,
    key: LedgerKey,
}

fn entry(index: u64) -> Vec<u8> {
    let length = usize::try_from(index * 7 % 61).unwrap();
    let mut entry = vec![u8::try_from(5 + index % 241).unwrap(); length];
    entry.extend_from_slice(&index.to_le_bytes()[..length.min(8)]);
    entry
}

fn root(entries: &[Vec<u8>]) -> [u8; 32] {
    let mut tree = MemoryBackedTree::<Sha256, &Vec<u8>>::new();
    entries.iter().for_each(|entry| tree.push(entry));
    (*tree.root().as_bytes()).into()
}

fn theirs(size: u64) -> Theirs {
    let name = "protokoll-köln.example/2026";
    let signing = SigningKey::from_seed(&[3; 32]).unwrap();
    let entries: Vec<Vec<u8>> = (0..size).map(entry).collect();
    let mut files = Files::new();
    for level in 0..=2u32 {
        let span = 256usize.pow(level);
        let hashes: Vec<[u8; 32]> = entries.chunks_exact(span).map(root).collect();
        for (index, tile) in (0..).zip(hashes.chunks(256)) {
            let path = TilePath { level: Some(level as u8), index, width: tile.len() };
            files.insert(format!("tile/{path}"), tile.concat());
        }
    }
    for (index, bundle) in (0..).zip(entries.chunks(256)) {
        let path = TilePath { level: None, index, width: bundle.len() };
        let bytes = bundle
            .iter()
            .flat_map(|entry| [&(entry.len() as u16).to_be_bytes()[..], entry].concat())
            .collect();
        files.insert(format!("tile/{path}"), bytes);
    }
    let text = format!("{name}\n{size}\n{}\nextension\n", BASE64_STANDARD.encode(root(&entries)));
    let public = signing.public().bytes();
    let id = Sha256::digest([name.as_bytes(), b"\n\x01", public].concat());
    let signature = [&id[..4], &signing.sign(text.as_bytes()).unwrap()].concat();
    let note = format!("{text}\n— {name} {}\n", BASE64_STANDARD.encode(&signature));
    files.insert("checkpoint".to_owned(), note.into_bytes());
    let public = PublicKey::new(Algorithm::Ed25519, public).unwrap();
    Theirs { files, key: LedgerKey::new(name, public).unwrap() }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_our_ledger_serves_holds_for_a_stranger() {
    let files = served(600).await;
    let folder = Folder::new();
    write(&folder.0, &files);
    let report = verify(&folder.0, &ledger_key()).await.unwrap();
    assert_eq!((report.entries, report.entries_from, report.own_leaves), (600, 0, 600));
    assert_eq!((report.tiles, report.pruned, report.checkpoint.size()), (4, 0, 600));
    let empty = served(0).await;
    write(&folder.0, &empty);
    assert_eq!(verify(&folder.0, &ledger_key()).await.unwrap().entries, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_of_seventy_thousand_entries_by_another_program() {
    let log = theirs(70_000);
    assert!(log.files.contains_key("tile/2/000.p/1") && log.files.contains_key("tile/1/001.p/17"));
    let folder = Folder::new();
    write(&folder.0, &log.files);
    let mut heard = Vec::new();
    let source = Arc::new(DirSource::new(&folder.0));
    let report =
        verify_tiles(source, &log.key, &mut |done, of| heard.push((done, of))).await.unwrap();
    assert_eq!((report.entries, report.entries_from, report.own_leaves), (70_000, 0, 0));
    assert_eq!(report.tiles, 274 + 2 + 1);
    assert_eq!((heard.len(), heard.last()), (274, Some(&(70_000, 70_000))));
    let mut numbers = Numbers(11);
    for name in
        ["tile/2/000.p/1", "tile/1/001.p/17", "tile/1/000", "tile/0/272", "tile/entries/200"]
    {
        let mut bytes = log.files[name].clone();
        let place = usize::try_from(numbers.below(bytes.len() as u64)).unwrap();
        bytes[place] ^= 1;
        std::fs::write(folder.0.join(name), &bytes).unwrap();
        assert!(verify(&folder.0, &log.key).await.is_err(), "{name} at {place}");
        std::fs::write(folder.0.join(name), &log.files[name]).unwrap();
    }
    // Partial ones may go once the full one is there; here that is one of a larger tree.
    let larger = theirs(70_656);
    for name in ["tile/0/273", "tile/entries/273"] {
        std::fs::write(folder.0.join(name), &larger.files[name]).unwrap();
        std::fs::remove_dir_all(folder.0.join(format!("{name}.p"))).unwrap();
    }
    assert_eq!(verify(&folder.0, &log.key).await.unwrap().entries, 70_000);
    // A hole is no pruning.
    std::fs::remove_file(folder.0.join("tile/entries/100")).unwrap();
    let hole = ForeignError::Missing { path: "tile/entries/100".to_owned() };
    assert_eq!(verify(&folder.0, &log.key).await, Err(hole));
}

#[tokio::test(flavor = "multi_thread")]
async fn pruned_logs_and_logs_without_entries_are_told_as_such() {
    let log = theirs(70_000);
    let folder = Folder::new();
    write(&folder.0, &log.files);
    let gone = |name: String| std::fs::remove_file(folder.0.join(name)).unwrap();
    let path = |level, index| format!("tile/{}", TilePath { level, index, width: 256 });
    // Minimum index 66,000: bundles and tiles that end below it.
    (0..257).for_each(|index| gone(path(None, index)));
    let report = verify(&folder.0, &log.key).await.unwrap();
    assert_eq!((report.entries_from, report.entries), (257 * 256, 70_000 - 257 * 256));
    assert_eq!((report.pruned, report.tiles), (0, 277));
    (0..257).for_each(|index| gone(path(Some(0), index)));
    gone(path(Some(1), 0));
    let report = verify(&folder.0, &log.key).await.unwrap();
    assert_eq!((report.pruned, report.entries_from), (257 * 256, 257 * 256));
    // The hash that stands for what is pruned is under the signature too.
    let top = folder.0.join("tile/2/000.p/1");
    let mut bytes = std::fs::read(&top).unwrap();
    bytes[5] ^= 1;
    std::fs::write(&top, &bytes).unwrap();
    assert!(verify(&folder.0, &log.key).await.is_err());
    std::fs::write(&top, &log.files["tile/2/000.p/1"]).unwrap();
    // A tile that is not at the beginning cannot be pruned.
    gone(path(Some(0), 260));
    gone(path(None, 260));
    let hole = ForeignError::Missing { path: path(Some(0), 260) };
    assert_eq!(verify(&folder.0, &log.key).await, Err(hole));

    let bare = Folder::new();
    let tiles: Files =
        log.files.into_iter().filter(|(name, _)| !name.contains("entries")).collect();
    write(&bare.0, &tiles);
    let report = verify(&bare.0, &log.key).await.unwrap();
    assert_eq!((report.entries, report.entries_from, report.tiles), (0, 70_000, 277));
}

/// In a small log, one bit of each file at many places, bytes more and less, and a file missing.
#[tokio::test(flavor = "multi_thread")]
async fn every_change_of_any_file_is_refused() {
    for (files, key) in [(served(300).await, ledger_key()), {
        let log = theirs(700);
        (log.files, log.key)
    }] {
        let folder = Folder::new();
        write(&folder.0, &files);
        let mut numbers = Numbers(7);
        verify(&folder.0, &key).await.unwrap();
        for (name, good) in &files {
            let path: PathBuf = folder.0.join(name);
            let mut wrong: Vec<Vec<u8>> = (0..12)
                .map(|_| {
                    let mut bytes = good.clone();
                    let place = usize::try_from(numbers.below(good.len() as u64)).unwrap();
                    bytes[place] ^= 1 << numbers.below(8);
                    bytes
                })
                .collect();
            wrong.push(Vec::new());
            wrong.push(good[..good.len() - 1].to_vec());
            wrong.push([good, &b"\0"[..]].concat());
            wrong.push([good, &good[..32.min(good.len())]].concat());
            for bytes in wrong {
                std::fs::write(&path, &bytes).unwrap();
                assert!(verify(&folder.0, &key).await.is_err(), "{name}");
            }
            std::fs::remove_file(&path).unwrap();
            let report = verify(&folder.0, &key).await;
            // Without its first bundle a log counts as pruned up to there.
            let pruned = report.as_ref().is_ok_and(|report| report.entries_from == 256);
            assert!(report.is_err() || (name == "tile/entries/000" && pruned), "{name}");
            std::fs::write(&path, good).unwrap();
        }
        verify(&folder.0, &key).await.unwrap();
    }
}

#[tokio::test]
async fn another_log_s_key_is_refused() {
    let log = theirs(3);
    let folder = Folder::new();
    write(&folder.0, &log.files);
    let other = ForeignError::Checkpoint(NoteError::OtherLedger {
        got: "protokoll-köln.example/2026".to_owned(),
    });
    assert_eq!(verify(&folder.0, &ledger_key()).await, Err(other));
    let nothing = ForeignError::Missing { path: "checkpoint".to_owned() };
    assert_eq!(verify(&folder.0.join("nowhere"), &log.key).await, Err(nothing));
}
