// SPDX-License-Identifier: EUPL-1.2
//! Appending: one leaf per request, each answer proven, and the tree goes on after every stop.

use std::collections::BTreeSet;

use einmal_ledger::{AppendError, Ledger, ReadError, verify};
use einmal_protocol::{leaf::LeafKind, merkle, note::Checkpoint, receipt};

use crate::fixture::{DAY, Folder, Numbers, bodies, entry, exchange, fill, key, leaf, ledger_key};

#[tokio::test(flavor = "multi_thread")]
async fn many_writers_each_get_a_proof_and_no_position_twice() {
    let folder = Folder::new();
    let ledger = Ledger::create(folder.config(), key()).await.unwrap();
    let writers: Vec<_> = (0..64)
        .map(|writer| {
            let ledger = ledger.clone();
            tokio::spawn(async move { write(&ledger, writer).await })
        })
        .collect();
    let mut positions = BTreeSet::new();
    for writer in writers {
        for position in writer.await.unwrap() {
            assert!(positions.insert(position), "{position} was given twice");
        }
    }
    assert_eq!(positions, (0..64 * 50).collect());
    assert!(ledger.is_healthy());
    ledger.close().await;
    let config = folder.config();
    let report = verify(&config.database, &ledger_key(), Some(&config.memory)).await.unwrap();
    assert_eq!((report.size, report.bodies, report.remembered), (3200, 3200, Some(3200)));
}

/// Appends 50 entries, each receipt consistent with the one before; duplicates are refused.
async fn write(ledger: &Ledger, writer: u64) -> Vec<u64> {
    let mut seen: Option<Checkpoint> = None;
    let mut positions = Vec::new();
    for number in writer * 50..writer * 50 + 50 {
        let kind = [LeafKind::Exchange, LeafKind::Refusal][number as usize % 2];
        let entry = entry(number, kind);
        let logged = ledger.append(entry.clone()).await.unwrap();
        let consistency = match &seen {
            Some(seen) => {
                let (from, to) = (seen.size(), logged.checkpoint.size());
                Some((from, ledger.consistency(from, to).await.unwrap()))
            }
            None => None,
        };
        let receipt = logged.receipt(consistency);
        let proven = receipt::verify(&receipt, leaf(&entry), &ledger_key(), seen.as_ref()).unwrap();
        assert_eq!(proven.index(), logged.index);
        seen = Some(proven.checkpoint().clone());
        positions.push(logged.index);
        let again = ledger.append(entry).await.unwrap_err();
        assert_eq!(again, AppendError::Duplicate { index: logged.index, kind });
    }
    positions
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_has_one_leaf_even_within_one_batch() {
    let folder = Folder::new();
    let ledger = Ledger::create(folder.config(), key()).await.unwrap();
    for number in 0..20 {
        let racers: Vec<_> = (0..12)
            .map(|racer| {
                let ledger = ledger.clone();
                let kind = [LeafKind::Exchange, LeafKind::Refusal, LeafKind::Use][racer % 3];
                tokio::spawn(async move { (kind, ledger.append(entry(number, kind)).await) })
            })
            .collect();
        let (mut request, mut report, mut refused) = (Vec::new(), Vec::new(), Vec::new());
        for racer in racers {
            match racer.await.unwrap() {
                (LeafKind::Use, Ok(logged)) => report.push((logged.index, LeafKind::Use)),
                (kind, Ok(logged)) => request.push((logged.index, kind)),
                (_, Err(AppendError::Duplicate { index, kind })) => refused.push((index, kind)),
                (_, Err(error)) => panic!("{error}"),
            }
        }
        assert_eq!((request.len(), report.len(), refused.len()), (1, 1, 10));
        assert!(refused.iter().all(|leaf| request.contains(leaf) || report.contains(leaf)));
        let entry = exchange(number);
        let found = ledger.find(&entry.authority, entry.id).await.unwrap().unwrap();
        assert_eq!((found.index, found.kind), request[0]);
        assert_eq!(ledger.find("another", entry.id).await, Ok(None));
    }
    assert_eq!(ledger.checkpoint().size(), 40);
}

#[tokio::test(flavor = "multi_thread")]
async fn it_goes_on_across_tile_borders() {
    let folder = Folder::new();
    let ledger = Ledger::create(folder.config(), key()).await.unwrap();
    let mut seen = vec![(0, ledger.checkpoint())];
    ledger.close().await;
    for size in [1, 255, 256, 257, 511, 513, 600] {
        let ledger = Ledger::open(folder.config(), key()).await.unwrap();
        assert_eq!(ledger.checkpoint(), seen.last().unwrap().1, "signed as it was left");
        fill(&ledger, seen.last().unwrap().0..size).await;
        seen.push((size, ledger.checkpoint()));
        assert_eq!(ledger.checkpoint().size(), size);
        ledger.close().await;
    }
    // Nothing of this is in the cache of the ledger that now opens.
    let ledger = Ledger::open(folder.config(), key()).await.unwrap();
    for (old, before) in &seen {
        for (new, after) in seen.iter().filter(|(new, _)| new >= old) {
            let path = ledger.consistency(*old, *new).await.unwrap();
            let (before, after) = ((*old, before.root()), (*new, after.root()));
            assert!(merkle::verify_consistency(before, after, &path), "{old} to {new}");
        }
    }
    let entries = ledger.entries(0, 1000).await.unwrap();
    assert_eq!(entries.len(), 600);
    let mut numbers = Numbers(11);
    for _ in 0..300 {
        let (size, checkpoint) = &seen[1 + numbers.below(7) as usize];
        let index = numbers.below(*size);
        let path = ledger.inclusion(index, *size).await.unwrap();
        let hash = entries[index as usize].leaf.hash();
        let root = merkle::root_from_inclusion(hash, index, *size, &path);
        assert_eq!(root, Some(checkpoint.root()), "{index} in {size}");
    }
    assert_eq!(ledger.consistency(600, 601).await, Err(ReadError::OutOfRange { size: 600 }));
    assert_eq!(ledger.consistency(7, 6).await, Err(ReadError::OutOfRange { size: 600 }));
    assert_eq!(ledger.inclusion(5, 5).await, Err(ReadError::OutOfRange { size: 600 }));
}

#[tokio::test(flavor = "multi_thread")]
async fn too_much_is_refused_and_closing_loses_nothing() {
    let folder = Folder::new();
    let mut config = folder.config();
    (config.queue_max, config.batch_max) = (8, 4);
    let ledger = Ledger::create(config, key()).await.unwrap();
    let mut checkpoints = ledger.watch();
    let mut long = exchange(0);
    long.body = vec![0; (1 << 20) + 1];
    assert_eq!(ledger.append(long).await.unwrap_err(), AppendError::TooLarge);
    let mut long = exchange(0);
    long.authority = "a".repeat(201);
    assert_eq!(ledger.append(long).await.unwrap_err(), AppendError::TooLarge);
    let waiting: Vec<_> = (0..200)
        .map(|number| {
            let ledger = ledger.clone();
            tokio::spawn(async move { ledger.append(exchange(number)).await })
        })
        .collect();
    checkpoints.changed().await.unwrap();
    ledger.clone().close().await;
    let (mut logged, mut busy, mut stopped) = (0, 0, 0);
    for one in waiting {
        match one.await.unwrap() {
            Ok(_) => logged += 1,
            Err(AppendError::Busy) => busy += 1,
            Err(AppendError::Stopped(why)) => {
                assert_eq!(why, "the ledger was closed");
                stopped += 1;
            }
            Err(error) => panic!("{error}"),
        }
    }
    assert!(logged > 0 && busy > 0, "{logged} logged, {busy} busy, {stopped} stopped");
    assert_eq!(ledger.checkpoint().size(), logged);
    assert!(!ledger.is_healthy());
    let late = ledger.append(exchange(999)).await.unwrap_err();
    assert_eq!(late, AppendError::Stopped("the ledger was closed".to_owned()));
    let again = Ledger::open(folder.config(), key()).await.unwrap();
    assert_eq!(again.checkpoint().size(), logged);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_forgotten_is_gone_and_the_tree_stands() {
    let folder = Folder::new();
    let ledger = Ledger::create(folder.config(), key()).await.unwrap();
    let secret = "nobody may read this after two years";
    for (number, day) in [(0, DAY), (1, DAY + 1)] {
        let mut entry = exchange(number);
        (entry.day, entry.body) = (day, format!("{secret} {number}").into_bytes());
        ledger.append(entry).await.unwrap();
    }
    assert_eq!(ledger.forget(DAY + 1, 0).await, Ok(1));
    let kept: Vec<_> =
        ledger.entries(0, 9).await.unwrap().into_iter().map(|entry| entry.body).collect();
    assert_eq!(kept, [None, Some(format!("{secret} 1").into_bytes())]);
    // Not in the file either, nor in the log beside it.
    let config = folder.config();
    let mut disk = std::fs::read(&config.database).unwrap();
    disk.extend(std::fs::read(config.database.with_extension("db-wal")).unwrap());
    assert!(!bodies(&config.database, DAY).exists());
    disk.extend(std::fs::read(bodies(&config.database, DAY + 1)).unwrap());
    let holds = |text: &str| disk.windows(text.len()).any(|bytes| bytes == text.as_bytes());
    assert!(!holds(&format!("{secret} 0")));
    assert!(holds(&format!("{secret} 1")));
    ledger.close().await;
    let report = verify(&config.database, &ledger_key(), Some(&config.memory)).await.unwrap();
    assert_eq!((report.bodies, report.forgotten), (1, 1));
    Ledger::open(config, key()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_close_that_is_given_up_and_asked_for_again_still_logs_what_has_queued() {
    let folder = Folder::new();
    let mut config = folder.config();
    config.batch_max = 1;
    let ledger = Ledger::create(config, key()).await.unwrap();
    let waiting: Vec<_> = (0..200)
        .map(|number| {
            let ledger = ledger.clone();
            tokio::spawn(async move { ledger.append(exchange(number)).await })
        })
        .collect();
    while ledger.checkpoint().size() == 0 {
        tokio::task::yield_now().await;
    }
    let given_up = tokio::time::timeout(std::time::Duration::ZERO, ledger.clone().close()).await;
    assert!(given_up.is_err());
    ledger.clone().close().await;
    let mut logged = 0;
    for one in waiting {
        match one.await.unwrap() {
            Ok(_) => logged += 1,
            // Whoever came when it was closed already.
            Err(error) => assert!(matches!(error, AppendError::Stopped(_)), "{error}"),
        }
    }
    assert_eq!(ledger.checkpoint().size(), logged);
}
