// SPDX-License-Identifier: EUPL-1.2
//! `verify` finds what was changed anywhere, not only at the end.

use einmal_ledger::{Ledger, SqliteStore, VerifyError, verify, verify_store};
use einmal_protocol::{key::SigningKey, note::LedgerKey};

use crate::{
    fixture::{DAY, Folder, ORIGIN, bodies, fill, key, ledger_key, tamper, tamper_with_body},
    rig::Rig,
};

#[tokio::test(flavor = "multi_thread")]
async fn a_change_anywhere_is_found() {
    for (statement, what) in [
        ("BODY", "the body of leaf 77 was changed"),
        ("FILE", "the body of leaf 0 is missing before its time"),
        (
            "UPDATE leaf SET bytes = (SELECT bytes FROM leaf WHERE position = 1) \
             WHERE position = 77",
            "tile 0/0 is not what the leaves give",
        ),
        ("DELETE FROM leaf WHERE position = 256", "leaf 256 is missing"),
        (
            "UPDATE tile SET hashes = zeroblob(8192) WHERE number = 0",
            "tile 0/0 is not what the leaves give",
        ),
        (
            "UPDATE tile SET hashes = zeroblob(64) WHERE number = 1 << 56",
            "tile 1/0 is not what the leaves give",
        ),
        (
            "UPDATE leaf SET bytes = CAST(substr(bytes, 1, 46) || x'7fffffff' AS BLOB) \
             WHERE position = 77",
            "longer than any body",
        ),
        ("UPDATE ledger SET root = zeroblob(32)", "the leaves do not give the stored root"),
    ] {
        let folder = Folder::new();
        let config = folder.config();
        let ledger = Ledger::create(config.clone(), key()).await.unwrap();
        fill(&ledger, 0..520).await;
        // While it runs as well as afterwards.
        let check = async || verify(&config.database, &ledger_key(), Some(&config.memory)).await;
        assert_eq!(check().await.unwrap().tiles, 3);
        ledger.close().await;
        let report = check().await.unwrap();
        assert_eq!((report.size, report.bodies, report.forgotten), (520, 520, 0));
        match statement {
            "BODY" => tamper_with_body(&config.database, 77).await,
            "FILE" => std::fs::remove_file(bodies(&config.database, DAY)).unwrap(),
            statement => tamper(&config.database, statement).await,
        }
        let error = check().await.unwrap_err().to_string();
        assert!(error.contains(what), "{statement}: {error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn another_s_memory_or_key_does_not_pass() {
    let (folder, other) = (Folder::new(), Folder::new());
    let (config, other) = (folder.config(), other.config());
    for (config, numbers) in [(&config, 0..5), (&other, 10..15)] {
        let ledger = Ledger::create(config.clone(), key()).await.unwrap();
        fill(&ledger, numbers).await;
        ledger.close().await;
    }
    let check = async |memory| verify(&config.database, &key_of(7), Some(memory)).await;
    assert_eq!(check(&config.memory).await.unwrap().remembered, Some(5));
    assert_eq!(check(&other.memory).await, Err(VerifyError::Forked { signed: 5 }));
    assert!(matches!(
        verify(&config.database, &key_of(8), Some(&config.memory)).await,
        Err(VerifyError::Checkpoint(_))
    ));
    let ledger = Ledger::open(other.clone(), key()).await.unwrap();
    fill(&ledger, 20..21).await;
    ledger.close().await;
    assert_eq!(check(&other.memory).await, Err(VerifyError::Behind { stored: 5, signed: 6 }));
}

fn key_of(seed: u8) -> LedgerKey {
    let key = SigningKey::from_seed(&[seed; 32]).unwrap();
    LedgerKey::new(ORIGIN, key.public().clone()).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_forgotten_meanwhile_is_not_taken_for_a_change() {
    let folder = Folder::new();
    let config = folder.config();
    let ledger = Ledger::create(config.clone(), key()).await.unwrap();
    fill(&ledger, 0..300).await;
    let rig = Rig::over(SqliteStore::open(config.database.as_path()).await.unwrap());
    *rig.after_row.lock().unwrap() = Some(Box::new(move || {
        let ledger = ledger.clone();
        Box::pin(async move {
            ledger.forget(DAY + 1, 0).await.unwrap();
            ledger.close().await;
        })
    }));
    let report = verify_store(&*rig, &ledger_key(), Some(&config.memory)).await.unwrap();
    assert_eq!((report.size, report.bodies, report.forgotten), (300, 0, 300));
}
