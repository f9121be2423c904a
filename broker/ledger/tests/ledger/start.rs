// SPDX-License-Identifier: EUPL-1.2
//! Starting: whatever is not this ledger, whole and newest, is refused.

use std::{path::Path, sync::atomic::Ordering};

use einmal_ledger::{
    DatabaseError, Ledger, LedgerConfig, OpenError, Witness as _, Witnesses, store::StoreError,
};
use einmal_protocol::{key::SigningKey, note::NoteError};

use crate::{
    fixture::{DAY, Folder, ORIGIN, bodies, exchange, fill, key, tamper, tamper_with_body},
    rig::Watcher,
};

pub(crate) async fn refusal(config: LedgerConfig) -> OpenError {
    match Ledger::open(config, key()).await {
        Ok(_) => panic!("the ledger started"),
        Err(error) => error,
    }
}

async fn closed_ledger(numbers: std::ops::Range<u64>) -> Folder {
    let folder = Folder::new();
    let ledger = Ledger::create(folder.config(), key()).await.unwrap();
    fill(&ledger, numbers).await;
    ledger.close().await;
    folder
}

pub(crate) fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for name in ["ledger.db", "ledger.db-wal", "memory"] {
        let _ = std::fs::remove_file(to.join(name));
        if from.join(name).exists() {
            std::fs::copy(from.join(name), to.join(name)).unwrap();
        }
    }
    std::fs::create_dir_all(to.join("ledger.db-bodies")).unwrap();
    for file in std::fs::read_dir(from.join("ledger.db-bodies")).unwrap() {
        let file = file.unwrap();
        std::fs::copy(file.path(), to.join("ledger.db-bodies").join(file.file_name())).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn creating_and_opening_are_not_confused() {
    let folder = Folder::new();
    let config = folder.config();
    assert_eq!(refusal(config.clone()).await, OpenError::Database(DatabaseError::Missing));
    assert!(!config.database.exists() && !config.memory.exists());
    std::fs::write(&config.database, "").unwrap();
    assert_eq!(refusal(config.clone()).await, OpenError::Database(DatabaseError::NotALedger));
    std::fs::remove_file(&config.database).unwrap();
    let ledger = Ledger::create(config.clone(), key()).await.unwrap();
    // Another process of the machine may join: it sees the same tree and shares the memory.
    Ledger::open(config.clone(), key()).await.unwrap().close().await;
    ledger.close().await;
    let again = |config| async { Ledger::create(config, key()).await.err().unwrap() };
    assert_eq!(again(config.clone()).await, OpenError::MemoryExists);
    let mut elsewhere = config.clone();
    elsewhere.memory = folder.0.join("memory-2");
    assert_eq!(again(elsewhere).await, OpenError::Database(DatabaseError::Exists));
    // An empty ledger may lose its memory: nothing was signed that counts.
    std::fs::remove_file(&config.memory).unwrap();
    Ledger::open(config, key()).await.unwrap().close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_closed_can_be_copied_at_once() {
    let folder = Folder::new();
    let config = folder.config();
    Ledger::create(config.clone(), key()).await.unwrap().close().await;
    for round in 0..20 {
        let ledger = Ledger::open(config.clone(), key()).await.unwrap();
        fill(&ledger, round * 4..round * 4 + 4).await;
        assert_eq!(ledger.entries(0, 1).await.unwrap().len(), 1);
        ledger.close().await;
        // The last connection moves the write-ahead log into the database and deletes it.
        assert!(!folder.0.join("ledger.db-wal").exists(), "a connection is still open");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn another_origin_or_key_is_refused() {
    let folder = closed_ledger(0..3).await;
    let mut config = folder.config();
    config.origin = "einmal.example/m".to_owned();
    let (found, configured) = (ORIGIN.to_owned(), config.origin.clone());
    assert_eq!(refusal(config).await, OpenError::OtherOrigin { found, configured });
    let stranger = SigningKey::from_seed(&[8; 32]).unwrap();
    let refused = Ledger::open(folder.config(), stranger).await.err().unwrap();
    assert_eq!(refused, OpenError::ForeignMemory(NoteError::Signature));
    for (batch_max, queue_max) in [(0, 1), (1025, 1), (1, 0)] {
        let config = LedgerConfig { batch_max, queue_max, ..folder.config() };
        assert!(matches!(refusal(config).await, OpenError::Config(_)));
    }
    Ledger::open(folder.config(), key()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_tampered_with_is_refused() {
    let folder = closed_ledger(0..600).await;
    for statement in [
        // The newest full tile, the growing one above.
        "UPDATE tile SET hashes = \
         CAST(substr(hashes, 1, 960) || substr(hashes, 1, 32) || substr(hashes, 993) AS BLOB) \
         WHERE number = 1",
        "UPDATE tile SET hashes = CAST(substr(hashes, 33) || substr(hashes, 33) AS BLOB) \
         WHERE number = 1 << 56",
        "UPDATE tile SET hashes = CAST(substr(hashes, 1, 32) AS BLOB) WHERE number = 1 << 56",
        "DELETE FROM tile WHERE number = 1",
        "DELETE FROM tile WHERE number = 1 << 56",
        "UPDATE ledger SET size = 599",
        "UPDATE ledger SET size = 512",
        "UPDATE ledger SET size = 601",
        "UPDATE ledger SET size = 0, root = zeroblob(32)",
        "UPDATE ledger SET root = zeroblob(32)",
        "DELETE FROM ledger",
        "DELETE FROM leaf WHERE position = 599",
        "DELETE FROM leaf WHERE position = 590",
        "UPDATE leaf SET bytes = (SELECT bytes FROM leaf WHERE position = 1) WHERE position = 598",
        "INSERT INTO leaf SELECT 600, bytes FROM leaf WHERE position = 1",
    ] {
        let copied = Folder::new();
        copy(&folder.0, &copied.0);
        tamper(&copied.config().database, statement).await;
        let refused = refusal(copied.config()).await;
        assert!(matches!(refused, OpenError::Store(StoreError::Broken(_))), "{statement}");
    }
    for position in [599, 590] {
        let copied = Folder::new();
        copy(&folder.0, &copied.0);
        tamper_with_body(&copied.config().database, position).await;
        let refused = refusal(copied.config()).await;
        assert!(matches!(refused, OpenError::Store(StoreError::Broken(_))), "body {position}");
    }
    for cut in [0, 100] {
        let copied = Folder::new();
        copy(&folder.0, &copied.0);
        let file = bodies(&copied.config().database, DAY);
        std::fs::File::options().write(true).open(file).unwrap().set_len(cut).unwrap();
        let refused = refusal(copied.config()).await;
        assert!(matches!(refused, OpenError::Store(StoreError::Broken(_))), "cut at {cut}");
    }
    Ledger::open(folder.config(), key()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restored_backup_is_refused() {
    let folder = closed_ledger(0..300).await;
    let backup = Folder::new();
    copy(&folder.0, &backup.0);
    let ledger = Ledger::open(folder.config(), key()).await.unwrap();
    ledger.append(exchange(300)).await.unwrap();
    ledger.close().await;
    let mut restored = backup.config();
    restored.memory = folder.config().memory;
    let refused = refusal(restored.clone()).await;
    assert_eq!(refused, OpenError::Behind { stored: 300, signed: 301 });
    assert!(refused.to_string().contains("close this ledger and begin a new origin"));
    // Nor is it enough that the restored one has grown past what was signed.
    let grown = Ledger::open(backup.config(), key()).await.unwrap();
    fill(&grown, 400..403).await;
    grown.close().await;
    assert_eq!(refusal(restored.clone()).await, OpenError::Forked { signed: 301 });
    restored.adopt_memory = true;
    assert_eq!(refusal(restored).await, OpenError::Forked { signed: 301 });
    // A memory that is smaller must still be of the same tree.
    let mut ahead = folder.config();
    ahead.memory = folder.0.join("older");
    let older = closed_ledger(1000..1300).await;
    std::fs::copy(older.config().memory, &ahead.memory).unwrap();
    assert_eq!(refusal(ahead).await, OpenError::Forked { signed: 300 });
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_ahead_of_its_memory_goes_on() {
    let folder = closed_ledger(0..10).await;
    let (memory, older) = (folder.config().memory, folder.0.join("older"));
    std::fs::copy(&memory, &older).unwrap();
    let ledger = Ledger::open(folder.config(), key()).await.unwrap();
    ledger.append(exchange(10)).await.unwrap();
    let left = ledger.checkpoint();
    ledger.close().await;
    std::fs::copy(&older, &memory).unwrap();
    let ledger = Ledger::open(folder.config(), key()).await.unwrap();
    assert_eq!(ledger.checkpoint(), left);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_memory_is_adopted_only_on_demand() {
    let folder = closed_ledger(0..5).await;
    let mut config = folder.config();
    for content in [None, Some(vec![0; 8192]), Some(b"torn".repeat(2048))] {
        match content {
            Some(content) => std::fs::write(&config.memory, content).unwrap(),
            None => std::fs::remove_file(&config.memory).unwrap(),
        }
        assert_eq!(refusal(config.clone()).await, OpenError::MemoryMissing { size: 5 });
    }
    config.adopt_memory = true;
    Ledger::open(config, key()).await.unwrap().close().await;
    Ledger::open(folder.config(), key()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn only_witnesses_who_must_know_the_newest_stand_in_for_a_lost_memory() {
    let folder = closed_ledger(0..5).await;
    let (knows, lags) = (Watcher::new(), Watcher::new());
    let mut config = folder.config();
    config.witnesses =
        Witnesses { all: vec![knows.clone() as _, lags.clone() as _], ..knows.alone() };
    let ledger = Ledger::open(config.clone(), key()).await.unwrap();
    ledger.append(exchange(5)).await.unwrap();
    // Let the other one finish too: nobody waited for it.
    while lags.newest("").await.unwrap().is_none() {
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    lags.gone.store(true, Ordering::SeqCst);
    ledger.close().await;
    let backup = Folder::new();
    copy(&folder.0, &backup.0);
    let ledger = Ledger::open(config.clone(), key()).await.unwrap();
    ledger.append(exchange(6)).await.unwrap();
    ledger.close().await;
    // A backup without its memory, and whoever cosigned what is missing in it does not answer.
    let mut restored = backup.config();
    restored.memory = backup.0.join("none");
    restored.witnesses = config.witnesses.clone();
    knows.gone.store(true, Ordering::SeqCst);
    lags.gone.store(false, Ordering::SeqCst);
    assert_eq!(refusal(restored.clone()).await, OpenError::MemoryMissing { size: 6 });
    // Nor does one whom nobody waits for know the newest.
    restored.witnesses.required = 0;
    assert_eq!(refusal(restored.clone()).await, OpenError::MemoryMissing { size: 6 });
    knows.gone.store(false, Ordering::SeqCst);
    restored.witnesses.required = 1;
    assert_eq!(refusal(restored).await, OpenError::Behind { stored: 6, signed: 7 });
    // Both together are enough for the whole one.
    std::fs::remove_file(&config.memory).unwrap();
    Ledger::open(config, key()).await.unwrap().close().await;
}
