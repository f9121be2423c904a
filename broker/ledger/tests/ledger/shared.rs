// SPDX-License-Identifier: EUPL-1.2
//! Several brokers on one ledger: one tree, one leaf for each id, and what one of them could not
//! know stops it.

use std::collections::BTreeSet;

use einmal_ledger::{AppendError, Ledger, OpenError, verify};
use einmal_protocol::{leaf::LeafKind, receipt};

use crate::fixture::{DAY, Folder, bodies, entry, exchange, fill, key, leaf, ledger_key, tamper};

#[tokio::test(flavor = "multi_thread")]
async fn many_brokers_write_one_tree() {
    let folder = Folder::new();
    let first = Ledger::create(folder.config(), key()).await.unwrap();
    let mut ledgers = vec![first];
    for _ in 0..3 {
        // Each with a memory of its own, as on different machines; the first shares none either.
        let mut config = folder.config();
        config.memory = folder.0.join(format!("memory-{}", ledgers.len()));
        ledgers.push(Ledger::open(config, key()).await.unwrap());
    }
    let mut tasks = Vec::new();
    for number in 0..400u64 {
        // Every id is sent to two brokers at once.
        for ledger in [&ledgers[number as usize % 4], &ledgers[(number as usize + 1) % 4]] {
            let ledger = ledger.clone();
            tasks
                .push(tokio::spawn(async move { (number, ledger.append(exchange(number)).await) }));
        }
    }
    let (mut logged, mut twice) = (BTreeSet::new(), 0);
    for task in tasks {
        let (number, result) = task.await.unwrap();
        match result {
            Ok(entry) => {
                let of = leaf(&exchange(number));
                receipt::verify(&entry.receipt(None), of, &ledger_key(), None).unwrap();
                assert!(logged.insert(entry.index), "{} was given twice", entry.index);
            }
            Err(AppendError::Duplicate { .. }) => twice += 1,
            Err(error) => panic!("{error}"),
        }
    }
    assert_eq!((logged.len(), twice), (400, 400));
    for ledger in &ledgers {
        ledger.refresh().await;
        assert_eq!(ledger.checkpoint(), ledgers[0].checkpoint());
        assert!(ledger.is_healthy());
        // Whoever wrote it, each broker finds it and proves it.
        let number = exchange(123);
        let found = ledger.find(&number.authority, number.id).await.unwrap().unwrap();
        ledger.inclusion(found.index, 400).await.unwrap();
    }
    for ledger in ledgers {
        ledger.close().await;
    }
    let config = folder.config();
    assert_eq!(verify(&config.database, &ledger_key(), None).await.unwrap().size, 400);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_was_idle_shows_what_others_wrote() {
    let folder = Folder::new();
    let writes = Ledger::create(folder.config(), key()).await.unwrap();
    let mut config = folder.config();
    let idle = Ledger::open(config.clone(), key()).await.unwrap();
    config.follow = std::time::Duration::from_secs(3600);
    let asleep = Ledger::open(config, key()).await.unwrap();
    let mut checkpoints = idle.watch();
    fill(&writes, 0..300).await;
    checkpoints.wait_for(|checkpoint| checkpoint.size() == 300).await.unwrap();
    for from in [300, 2_900] {
        fill(&writes, from..from + 2_600).await;
    }
    checkpoints.wait_for(|checkpoint| checkpoint.size() == 5_500).await.unwrap();
    // More than are read one by one.
    assert_eq!(asleep.checkpoint().size(), 0);
    asleep.refresh().await;
    assert_eq!(asleep.checkpoint(), idle.checkpoint());
    asleep.close().await;
    assert_eq!(idle.entries(5_499, 1).await.unwrap().len(), 1);
    idle.consistency(17, 5_500).await.unwrap();
    writes.close().await;
    idle.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_forgotten_is_not_taken_again() {
    let folder = Folder::new();
    let (one, other) = (
        Ledger::create(folder.config(), key()).await.unwrap(),
        Ledger::open(folder.config(), key()).await.unwrap(),
    );
    let old = exchange(0);
    one.append(old.clone()).await.unwrap();
    let issued_ms = old.id.issued_at_ms();
    assert_eq!(other.forget(DAY, issued_ms + 1).await, Ok(0));
    one.refresh().await;
    // Its slot is gone, so only the horizon can tell that it was used: the clock may jump back.
    for ledger in [&one, &other] {
        assert_eq!(ledger.append(old.clone()).await.unwrap_err(), AppendError::TooOld);
    }
    let mut late = entry(1, LeafKind::Use);
    late.id = einmal_protocol::RequestId::new(issued_ms + 1, [9; 10]);
    late.day = DAY - 1;
    assert_eq!(one.append(late.clone()).await.unwrap_err(), AppendError::TooOld);
    late.day = DAY;
    one.append(late).await.unwrap();
    one.close().await;
    other.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_ended_ledger_takes_nothing_more() {
    let folder = Folder::new();
    let config = folder.config();
    let ledger = Ledger::create(config.clone(), key()).await.unwrap();
    let other = Ledger::open(config.clone(), key()).await.unwrap();
    fill(&ledger, 0..10).await;
    let last = ledger.end().await.unwrap();
    assert_eq!(last.size(), 10);
    for ledger in [ledger, other] {
        let error = ledger.append(exchange(10)).await.unwrap_err();
        assert!(matches!(&error, AppendError::Stopped(why) if why.contains("closed")), "{error}");
        assert!(!ledger.is_healthy());
    }
    let refused = Ledger::open(config.clone(), key()).await.err().unwrap();
    assert_eq!(refused, OpenError::Closed { size: 10 });
    assert_eq!(
        verify(&config.database, &ledger_key(), Some(&config.memory)).await.unwrap().size,
        10
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn files_that_vanish_under_a_running_ledger_stop_it() {
    for what in [
        "database",
        "log",
        "bodies",
        "memory",
        "moved memory",
        "swapped memory",
        "emptied memory",
        "cut bodies",
        "swapped database",
    ] {
        let folder = Folder::new();
        let config = folder.config();
        let ledger = Ledger::create(config.clone(), key()).await.unwrap();
        fill(&ledger, 0..20).await;
        let before = ledger.checkpoint();
        let file = bodies(&config.database, DAY);
        match what {
            "database" => std::fs::remove_file(&config.database).unwrap(),
            "log" => std::fs::remove_file(config.database.with_extension("db-wal")).unwrap(),
            "bodies" => std::fs::remove_file(&file).unwrap(),
            "memory" => std::fs::remove_file(&config.memory).unwrap(),
            "moved memory" => {
                std::fs::rename(&config.memory, folder.0.join("elsewhere")).unwrap();
            }
            "swapped memory" => {
                let copy = folder.0.join("copy");
                std::fs::copy(&config.memory, &copy).unwrap();
                std::fs::rename(&copy, &config.memory).unwrap();
            }
            "emptied memory" => std::fs::write(&config.memory, "").unwrap(),
            "cut bodies" => {
                std::fs::File::options().write(true).open(&file).unwrap().set_len(3).unwrap();
            }
            _ => {
                let copy = folder.0.join("copy");
                std::fs::copy(&config.database, &copy).unwrap();
                std::fs::rename(&copy, &config.database).unwrap();
            }
        }
        let error = ledger.append(exchange(20)).await.unwrap_err();
        assert!(matches!(error, AppendError::Stopped(_)), "{what}: {error}");
        assert!(!ledger.is_healthy(), "{what}");
        assert_eq!(ledger.checkpoint(), before, "{what}: nothing more was signed");
        ledger.close().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_that_goes_back_stops_whoever_knew_more() {
    let folder = Folder::new();
    let config = folder.config();
    let ledger = Ledger::create(config.clone(), key()).await.unwrap();
    fill(&ledger, 0..5).await;
    let old = ledger.row().await.unwrap().head;
    fill(&ledger, 5..8).await;
    // As after a fail-over that lost commits.
    tamper(&config.database, "DELETE FROM leaf WHERE position >= 5").await;
    tamper(&config.database, "DELETE FROM slot WHERE position >= 5").await;
    let root: String = old.root.to_hex();
    let back = format!("UPDATE ledger SET size = 5, root = x'{root}'");
    tamper(&config.database, String::leak(back)).await;
    let error = ledger.append(exchange(9)).await.unwrap_err();
    let why = error.to_string();
    assert!(why.contains("5 leaves, but 8 were known") && why.contains("new origin"), "{why}");
    ledger.close().await;
    let refused = Ledger::open(config, key()).await.err().unwrap();
    assert_eq!(refused, OpenError::Behind { stored: 5, signed: 8 });
}

#[tokio::test(flavor = "multi_thread")]
async fn two_copies_of_a_database_under_one_memory_do_not_both_go_on() {
    // How many leaves each of two brokers appends, one after the other: the copy then has fewer
    // leaves, more, or as many as the original.
    for (original, copied) in [(3, 1), (1, 3), (2, 2)] {
        let folder = Folder::new();
        let config = folder.config();
        let ledger = Ledger::create(config.clone(), key()).await.unwrap();
        fill(&ledger, 0..5).await;
        ledger.close().await;
        let mut copy = config.clone();
        copy.database = folder.0.join("copy.db");
        std::fs::copy(&config.database, &copy.database).unwrap();
        let (from, to) = (bodies(&config.database, DAY), bodies(&copy.database, DAY));
        std::fs::create_dir(to.parent().unwrap()).unwrap();
        std::fs::copy(from, to).unwrap();
        let one = Ledger::open(config, key()).await.unwrap();
        let other = Ledger::open(copy, key()).await.unwrap();
        for number in 0..original {
            one.append(exchange(10 + number)).await.unwrap();
        }
        // One batch, so that no two sizes need be equal.
        let batch: Vec<_> = (0..copied)
            .map(|number| {
                let other = other.clone();
                tokio::spawn(async move { other.append(exchange(20 + number)).await })
            })
            .collect();
        for answer in batch {
            let answer = answer.await.unwrap();
            assert!(
                matches!(answer, Err(AppendError::Stopped(_))),
                "{original} {copied}: {answer:?}"
            );
        }
        assert_eq!(other.checkpoint().size(), 5, "no second tree was signed");
        assert!(one.is_healthy());
        one.append(exchange(30)).await.unwrap();
        one.close().await;
        other.close().await;
    }
}
