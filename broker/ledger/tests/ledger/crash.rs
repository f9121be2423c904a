// SPDX-License-Identifier: EUPL-1.2
//! What a crash must mean: one row for each line of the design's table. Lines of the broker, the
//! adapter and the cockpit name the tests that hold them; the others run here.

use std::{fs, path::Path, pin::Pin, sync::Arc};

use einmal_ledger::{AppendError, Ledger, OpenError, SqliteStore, store::StoreError, verify};
use einmal_protocol::receipt;

use crate::{
    distant::it_notices_a_restored_backup_alone,
    fixture::{Folder, ORIGIN, exchange, execute, fill, key, leaf, ledger_key, tamper},
    rig::{Fault, Rig, Watcher},
};

type Test = fn() -> Pin<Box<dyn Future<Output = ()> + Send>>;

/// Who shows it.
enum Shown {
    Here(Test),
    /// A file of the workspace, and a test in it.
    By(&'static str, &'static str),
}

use Shown::{By, Here};

/// The crash, the right behaviour, and where that is shown.
const TABLE: &[(&str, &str, &[Shown])] = &[
    (
        "before the commitment",
        "the same id may be sent again",
        &[By(
            "tests/house/streams.rs",
            "a_register_that_hangs_is_cancelled_and_the_same_id_may_ask_again",
        )],
    ),
    (
        "after the commitment, before append",
        "the adapter forgets in 30 s and counts an orphan; the same id again is fine",
        &[
            Here(|| Box::pin(nothing_was_appended())),
            By(
                "tests/house/adapter_attacks/streams.rs",
                "commitments_that_are_not_logged_raise_an_alarm_however_they_end",
            ),
        ],
    ),
    (
        "during COMMIT, outcome unknown",
        "take the row lock, read size and root: new → answer; old → try again; else exit",
        &[
            Here(|| Box::pin(the_outcome_is_unknown())),
            By("broker/ledger/tests/ledger/matrix.rs", "the_append_and_the_row_after_it"),
            By("broker/ledger/tests/postgres/cut.rs", "a_commit_without_an_answer_is_found_out"),
        ],
    ),
    (
        "after COMMIT, before the outside memory",
        "allowed at start (the memory is a lower bound); sign the same tree",
        &[Here(|| Box::pin(committed_and_not_remembered()))],
    ),
    (
        "after signing, before Logged",
        "ABORTED; the record says \"may have been released\"",
        &[
            Here(|| Box::pin(signed_and_not_answered())),
            By("tests/house/crash.rs", "kill_9_loses_nothing_and_doubles_nothing"),
        ],
    ),
    (
        "after Reveal, before the client",
        "retry cache, or ABORTED",
        &[
            By("tests/house/once.rs", "identical_bytes_get_the_identical_answer_and_one_leaf"),
            By("tests/house/once.rs", "after_a_restart_the_ledger_still_knows_every_id"),
        ],
    ),
    (
        "outside memory ahead of the database",
        "rollback: refuse; close the ledger",
        &[Here(|| Box::pin(the_memory_is_ahead()))],
    ),
    (
        "outside memory lost",
        "refuse unless another memory answers",
        &[Here(|| Box::pin(the_memory_is_lost()))],
    ),
    (
        "a backup restored where the keeper is the only memory",
        "rollback: refuse; close the ledger",
        &[
            Here(|| Box::pin(it_notices_a_restored_backup_alone())),
            By("tests/house/keeper_memory.rs", "the_keeper_alone_notices_a_restored_backup"),
        ],
    ),
    (
        "the keeper is needed as memory, and away",
        "nothing is answered until it is back; started without it, nothing is logged",
        &[
            By(
                "broker/ledger/tests/ledger/distant.rs",
                "away_at_start_nothing_is_logged_until_it_answers",
            ),
            By(
                "broker/ledger/tests/ledger/distant.rs",
                "away_later_nobody_is_answered_before_it_knows",
            ),
        ],
    ),
    (
        "asynchronous fail-over that lost commits",
        "the comparison fails: close the ledger",
        &[
            Here(|| Box::pin(commits_were_lost())),
            By(
                "broker/ledger/tests/postgres/standby.rs",
                "commits_that_a_fail_over_lost_are_noticed",
            ),
        ],
    ),
    (
        "disk nearly full (reserve reached)",
        "refuse new work while the last leaf can still be written; never half a batch",
        &[
            Here(|| Box::pin(the_reserve_is_reached())),
            By("broker/ledger/tests/ledger/disk.rs", "a_full_disk_refuses_and_never_writes_half"),
        ],
    ),
    (
        "keeper away for three days",
        "exchanges go on; \"complete up to\" stands still and says so",
        &[By("tests/house/citizen.rs", "a_cockpit_that_was_away_catches_up")],
    ),
    (
        "rules about to expire",
        "warn at 30, 10, 3 days",
        &[By("tests/house/refusals.rs", "expired_rules_refuse_everything_and_health_says_so")],
    ),
];

#[tokio::test(flavor = "multi_thread")]
async fn every_crash_means_what_the_design_says() {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    for (crash, right, shown) in TABLE {
        println!("{crash}: {right}");
        for one in *shown {
            match one {
                Here(test) => test().await,
                By(file, name) => {
                    let text = fs::read_to_string(workspace.join(file)).unwrap();
                    assert!(text.contains(&format!("fn {name}()")), "{crash}: no {name} in {file}");
                }
            }
        }
    }
}

async fn three_leaves() -> (Folder, Ledger) {
    let folder = Folder::new();
    let ledger = Ledger::create(folder.config(), key()).await.unwrap();
    fill(&ledger, 0..3).await;
    (folder, ledger)
}

/// A ledger of three leaves over a store that fails as told.
async fn rigged() -> (Folder, Arc<Rig>, Ledger) {
    let folder = Folder::new();
    let config = folder.config();
    let store = SqliteStore::create(config.database.as_path(), ORIGIN).await.unwrap();
    let rig = Rig::over(store);
    let ledger = Ledger::start(Arc::clone(&rig) as _, &config, key()).await.unwrap();
    fill(&ledger, 0..3).await;
    (folder, rig, ledger)
}

fn away() -> StoreError {
    StoreError::Unavailable("as told".to_owned())
}

async fn opens(folder: &Folder) -> Ledger {
    Ledger::open(folder.config(), key()).await.unwrap()
}

async fn refusal(folder: &Folder) -> OpenError {
    Ledger::open(folder.config(), key()).await.err().expect("it must not start")
}

async fn nothing_was_appended() {
    let (folder, rig, ledger) = rigged().await;
    *rig.append.lock().unwrap() = vec![Fault::NotDone(away()); 5].into();
    assert_eq!(ledger.append(exchange(3)).await.unwrap_err(), AppendError::Busy);
    ledger.close().await;
    let ledger = opens(&folder).await;
    assert_eq!(ledger.find(&exchange(3).authority, exchange(3).id).await, Ok(None));
    assert_eq!(ledger.append(exchange(3)).await.unwrap().index, 3);
    ledger.close().await;
}

async fn the_outcome_is_unknown() {
    let (_folder, rig, ledger) = rigged().await;
    let size = |number| {
        let ledger = ledger.clone();
        async move { ledger.append(exchange(number)).await.map(|logged| logged.checkpoint.size()) }
    };
    rig.append.lock().unwrap().push_back(Fault::Done(away()));
    assert_eq!(size(3).await, Ok(4), "new: answered, and not written again");
    rig.append.lock().unwrap().push_back(Fault::Unknown(away()));
    assert_eq!(size(4).await, Ok(5), "old: tried again");
    rig.append.lock().unwrap().push_back(Fault::Done(away()));
    *rig.row.lock().unwrap() = vec![Fault::NotDone(away()); 5].into();
    let error = size(5).await.unwrap_err();
    assert!(matches!(error, AppendError::Stopped(_)), "else: stopped, {error}");
    ledger.clone().close().await;
}

async fn committed_and_not_remembered() {
    let (folder, rig, ledger) = rigged().await;
    let (memory, aside) = (folder.config().memory, folder.0.join("aside"));
    fs::copy(&memory, &aside).unwrap();
    let gone = memory.clone();
    *rig.after_append.lock().unwrap() = Some(Box::new(move || {
        fs::remove_file(&gone).unwrap();
        Box::pin(async {})
    }));
    let error = ledger.append(exchange(3)).await.unwrap_err();
    assert!(matches!(error, AppendError::Stopped(_)), "{error}");
    let stored = ledger.row().await.unwrap().head;
    assert_eq!((stored.size, ledger.checkpoint().size()), (4, 3));
    ledger.close().await;
    fs::rename(&aside, &memory).unwrap();
    let ledger = opens(&folder).await;
    let signed = ledger.checkpoint();
    assert_eq!((signed.size(), signed.root()), (stored.size, stored.root));
    let again = ledger.append(exchange(3)).await.unwrap_err();
    assert!(matches!(again, AppendError::Duplicate { index: 3, .. }), "{again}");
    ledger.close().await;
}

async fn signed_and_not_answered() {
    let (folder, ledger) = three_leaves().await;
    // Whoever asked is gone when the answer comes.
    drop(tokio::time::timeout(std::time::Duration::ZERO, ledger.append(exchange(3))).await);
    ledger.close().await;
    let ledger = opens(&folder).await;
    let entry = exchange(3);
    let found = ledger.find(&entry.authority, entry.id).await.unwrap();
    let again = ledger.append(entry.clone()).await;
    match found {
        Some(found) => {
            assert_eq!(found.body_digest, leaf(&entry).body);
            let index = found.index;
            assert!(matches!(again, Err(AppendError::Duplicate { index: at, .. }) if at == index));
        }
        None => drop(again.unwrap()),
    }
    ledger.close().await;
}

async fn the_memory_is_ahead() {
    let (folder, ledger) = three_leaves().await;
    ledger.close().await;
    let backup = Folder::new();
    let copy = format!("VACUUM INTO '{}'", backup.config().database.display());
    execute(&folder.config().database, String::leak(copy)).await;
    let bodies = backup.0.join("ledger.db-bodies");
    fs::create_dir(&bodies).unwrap();
    for file in fs::read_dir(folder.0.join("ledger.db-bodies")).unwrap() {
        let file = file.unwrap();
        fs::copy(file.path(), bodies.join(file.file_name())).unwrap();
    }
    let ledger = opens(&folder).await;
    fill(&ledger, 3..5).await;
    ledger.close().await;
    let mut restored = backup.config();
    restored.memory = folder.config().memory;
    let refused = Ledger::open(restored, key()).await.err().unwrap();
    assert_eq!(refused, OpenError::Behind { stored: 3, signed: 5 });
    assert!(refused.to_string().contains("close this ledger and begin a new origin"));
}

async fn the_memory_is_lost() {
    let folder = Folder::new();
    let watcher = Watcher::new();
    let mut config = folder.config();
    config.witnesses = watcher.alone();
    let ledger = Ledger::create(config.clone(), key()).await.unwrap();
    fill(&ledger, 0..3).await;
    ledger.close().await;
    fs::remove_file(&config.memory).unwrap();
    assert_eq!(refusal(&folder).await, OpenError::MemoryMissing { size: 3 });
    // Another memory answers.
    let ledger = Ledger::start(
        Arc::new(SqliteStore::open(config.database.as_path()).await.unwrap()),
        &config,
        key(),
    )
    .await
    .unwrap();
    assert_eq!(ledger.append(exchange(3)).await.unwrap().index, 3);
    ledger.close().await;
    assert_eq!(opens(&folder).await.checkpoint().size(), 4, "the memory was made anew");
}

async fn commits_were_lost() {
    let (folder, ledger) = three_leaves().await;
    let old = ledger.row().await.unwrap().head;
    fill(&ledger, 3..5).await;
    let database = folder.config().database;
    tamper(&database, "DELETE FROM leaf WHERE position >= 3").await;
    tamper(&database, "DELETE FROM slot WHERE position >= 3").await;
    let back = format!("UPDATE ledger SET size = 3, root = x'{}'", old.root.to_hex());
    tamper(&database, String::leak(back)).await;
    let error = ledger.append(exchange(5)).await.unwrap_err();
    assert!(matches!(&error, AppendError::Stopped(why) if why.contains("new origin")), "{error}");
    ledger.close().await;
    assert_eq!(refusal(&folder).await, OpenError::Behind { stored: 3, signed: 5 });
}

async fn the_reserve_is_reached() {
    let (folder, ledger) = three_leaves().await;
    assert!(ledger.has_room());
    ledger.close().await;
    let mut config = folder.config();
    config.reserve_bytes = u64::MAX;
    let ledger = Ledger::open(config.clone(), key()).await.unwrap();
    assert!(!ledger.has_room());
    let logged = ledger.append(exchange(3)).await.unwrap();
    receipt::verify(&logged.receipt(None), leaf(&exchange(3)), &ledger_key(), None).unwrap();
    ledger.close().await;
    let report = verify(&config.database, &ledger_key(), Some(&config.memory)).await.unwrap();
    assert_eq!(report.size, 4);
}
