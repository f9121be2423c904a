// SPDX-License-Identifier: EUPL-1.2
//! The matrix of errors: each step of one batch fails, done or not done, and then all is read
//! again. Nothing answered is missing, nothing refused is there, and whoever could not know has
//! stopped.

use std::{
    fs,
    sync::{Arc, atomic::Ordering},
};

use einmal_ledger::{
    AppendError, Ledger, LedgerConfig, NewEntry, SqliteStore,
    store::{Store, StoreError},
    verify,
};
use einmal_protocol::{cosignature::cosignatures, receipt};

use crate::{
    fixture::{Folder, ORIGIN, exchange, fill, key, leaf, ledger_key},
    rig::{Fault, Mood, Rig, Watcher},
};

/// What must come of it.
#[derive(Clone, Debug)]
enum Expect {
    /// It is logged all the same.
    Progress,
    /// It was logged before, and that is said.
    Duplicate,
    /// Nothing was logged, and the next goes well.
    Refused(AppendError),
    /// Nobody can know: the ledger has stopped, for this reason.
    Stopped(&'static str),
}

use Expect::{Duplicate, Progress, Refused, Stopped};

fn away() -> StoreError {
    StoreError::Unavailable("as told".to_owned())
}

fn broken() -> StoreError {
    StoreError::Broken("as told".to_owned())
}

fn often(fault: &Fault) -> Vec<Fault> {
    vec![fault.clone(); 5]
}

/// A ledger of three leaves whose next steps can be told to fail.
struct Bench {
    folder: Folder,
    config: LedgerConfig,
    rig: Arc<Rig>,
    ledger: Ledger,
}

impl Bench {
    async fn new(witness: Option<&Arc<Watcher>>) -> Self {
        let folder = Folder::new();
        let mut config = folder.config();
        config.witnesses = witness.map(Watcher::alone).unwrap_or_default();
        let store = SqliteStore::create(config.database.as_path(), ORIGIN).await.unwrap();
        let rig = Rig::over(store);
        let ledger = Ledger::start(Arc::clone(&rig) as _, &config, key()).await.unwrap();
        fill(&ledger, 0..3).await;
        Self { folder, config, rig, ledger }
    }

    /// Appends one entry, compares what comes with what must, starts again, and verifies it all.
    async fn comes_to(self, name: &str, entry: NewEntry, expect: Expect) {
        let size = self.ledger.checkpoint().size();
        let answer = self.ledger.append(entry.clone()).await;
        match (&answer, &expect) {
            (Ok(logged), Progress) => {
                receipt::verify(&logged.receipt(None), leaf(&entry), &ledger_key(), None).unwrap();
            }
            (Err(AppendError::Duplicate { index, .. }), Duplicate) => assert!(*index < size),
            (Err(error), Refused(refusal)) => assert_eq!(error, refusal, "{name}"),
            (Err(AppendError::Stopped(why)), Stopped(reason)) => {
                assert!(why.contains(reason), "{name}: {why}");
                assert!(!self.ledger.is_healthy(), "{name}");
                assert_eq!(self.ledger.checkpoint().size(), size, "{name}: signed nevertheless");
            }
            (answer, expect) => panic!("{name}: {answer:?} is not {expect:?}"),
        }
        self.rig.heal();
        let more = self.ledger.append(exchange(50)).await;
        match (&expect, more) {
            (Stopped(_), Err(AppendError::Stopped(_))) => {}
            (Progress | Duplicate | Refused(_), Ok(_)) => {}
            (expect, more) => panic!("{name}: {expect:?}, and then {more:?}"),
        }
        let Self { folder, config, ledger, .. } = self;
        ledger.close().await;
        reloads(name, &config, entry, &answer.map(|logged| logged.index)).await;
        drop(folder);
    }
}

/// Starts again: what was answered is there, what was refused is not, and the id tells which.
async fn reloads(
    name: &str,
    config: &LedgerConfig,
    entry: NewEntry,
    answer: &Result<u64, AppendError>,
) {
    let ledger =
        Ledger::open(config.clone(), key()).await.unwrap_or_else(|e| panic!("{name}: {e}"));
    let again = ledger.append(entry.clone()).await;
    match (answer, again) {
        (
            Ok(index) | Err(AppendError::Duplicate { index, .. }),
            Err(AppendError::Duplicate { index: found, .. }),
        ) => assert_eq!(*index, found, "{name}"),
        // It may have been written: then its leaf is there, whole.
        (Err(AppendError::Stopped(_)), Ok(_) | Err(AppendError::Duplicate { .. }))
        | (Err(AppendError::Busy | AppendError::Full), Ok(_)) => {}
        (answer, again) => panic!("{name}: {answer:?}, and when asked again {again:?}"),
    }
    let found = ledger.find(&entry.authority, entry.id).await.unwrap().unwrap();
    assert_eq!(found.body_digest, leaf(&entry).body, "{name}");
    let size = ledger.append(exchange(60)).await.unwrap().checkpoint.size();
    ledger.close().await;
    let report = verify(&config.database, &ledger_key(), Some(&config.memory)).await.unwrap();
    assert_eq!((report.size, report.remembered), (size, Some(size)), "{name}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_append_and_the_row_after_it() {
    let not_done = |error| Fault::NotDone(error);
    let (unknown, done) = (Fault::Unknown, Fault::Done);
    let row = |count| vec![Fault::NotDone(away()); count];
    let full = || StoreError::Full;
    let lost = "whether the last batch was written cannot be found out";
    for (name, append, row, expect) in [
        ("fails once, not done", vec![not_done(away())], row(0), Progress),
        ("fails always, not done", often(&not_done(away())), row(0), Refused(AppendError::Busy)),
        ("full", vec![not_done(full())], row(0), Refused(AppendError::Full)),
        ("damaged, not done", vec![not_done(broken())], row(0), Stopped("damaged: as told")),
        ("unknown, not done", vec![unknown(away())], row(0), Progress),
        ("unknown, done", vec![done(away())], row(0), Progress),
        ("unknown always, not done", often(&unknown(away())), row(0), Refused(AppendError::Busy)),
        ("unknown, full, not done", often(&unknown(full())), row(0), Refused(AppendError::Full)),
        ("unknown, full, done", vec![done(full())], row(0), Progress),
        ("sync failed, not done", vec![unknown(broken())], row(0), Stopped("damaged: as told")),
        ("sync failed, done", vec![done(broken())], row(0), Stopped("damaged: as told")),
        ("unknown, not done; row fails", vec![unknown(away())], row(1), Progress),
        ("unknown, done; row fails", vec![done(away())], row(4), Progress),
        ("unknown, not done; no row", vec![unknown(away())], row(5), Stopped(lost)),
        ("unknown, done; no row", vec![done(away())], row(5), Stopped(lost)),
        (
            "unknown, done; row damaged",
            vec![done(away())],
            vec![not_done(broken())],
            Stopped("damaged: as told"),
        ),
    ] {
        let bench = Bench::new(None).await;
        *bench.rig.append.lock().unwrap() = append.into();
        *bench.rig.row.lock().unwrap() = row.into();
        bench.comes_to(name, exchange(3), expect).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_question_for_ids_that_are_taken() {
    for (name, taken, expect) in [
        ("fails once", vec![Fault::NotDone(away())], Duplicate),
        ("asked, but not heard", vec![Fault::Done(away())], Duplicate),
        ("fails often", often(&Fault::NotDone(away())), Duplicate),
        ("damaged", vec![Fault::NotDone(broken())], Stopped("damaged: as told")),
        ("answers for others", vec![Fault::Short], Stopped("for other ids than asked")),
    ] {
        let bench = Bench::new(None).await;
        *bench.rig.taken.lock().unwrap() = taken.into();
        bench.comes_to(name, exchange(1), expect).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn ids_that_are_never_told_hold_nobody_up() {
    let bench = Bench::new(None).await;
    *bench.rig.taken.lock().unwrap() = vec![Fault::NotDone(away()); 100_000].into();
    let began = std::time::Instant::now();
    // One whose id is taken, and one in the same batch.
    let (taken, other) =
        tokio::join!(bench.ledger.append(exchange(1)), bench.ledger.append(exchange(3)));
    assert_eq!(taken.unwrap_err(), AppendError::Busy);
    assert!(matches!(other, Ok(_) | Err(AppendError::Busy)), "{other:?}");
    assert!(began.elapsed() < std::time::Duration::from_secs(8), "{:?}", began.elapsed());
    bench.rig.heal();
    bench.comes_to("told again", exchange(1), Duplicate).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_entry_is_proven_though_others_append_and_a_read_fails() {
    // Which of the reads behind the commit fails, and how often.
    for (before, times) in (0..5).map(|before| (before, 2)) {
        let bench = Bench::new(None).await;
        let (config, rig) = (bench.config.clone(), Arc::clone(&bench.rig));
        *bench.rig.after_append.lock().unwrap() = Some(Box::new(move || {
            let (config, rig) = (config.clone(), Arc::clone(&rig));
            Box::pin(async move {
                // Too many to be read one by one, so that their tiles are not at hand.
                let other = Ledger::open(config, key()).await.unwrap();
                fill(&other, 1_000..3_100).await;
                fill(&other, 3_100..5_200).await;
                other.close().await;
                let mut tiles = vec![Fault::None; before];
                tiles.extend(vec![Fault::NotDone(away()); times]);
                *rig.tiles.lock().unwrap() = tiles.into();
            })
        }));
        bench.rig.generation.fetch_add(1, Ordering::SeqCst);
        let logged = bench.ledger.append(exchange(3)).await;
        let logged = logged.unwrap_or_else(|error| panic!("{before} {times}: {error}"));
        assert_eq!((logged.index, logged.checkpoint.size()), (3, 4_204));
        let of = leaf(&exchange(3));
        receipt::verify(&logged.receipt(None), of, &ledger_key(), None).unwrap();
        bench.ledger.close().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_end_with_an_unknown_outcome_is_found_out() {
    for close in [Fault::NotDone(away()), Fault::Unknown(away()), Fault::Done(away())] {
        let bench = Bench::new(None).await;
        bench.rig.close.lock().unwrap().push_back(close);
        let last = bench.ledger.end().await.unwrap();
        assert_eq!(last.size(), 3);
        assert!(!bench.ledger.is_healthy());
        bench.ledger.close().await;
        let refused = Ledger::open(bench.config.clone(), key()).await.err().unwrap();
        assert_eq!(refused, einmal_ledger::OpenError::Closed { size: 3 });
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_memory() {
    // Deleted before it was written: the database is ahead of what was put back.
    let bench = Bench::new(None).await;
    let (memory, aside) = (bench.config.memory.clone(), bench.folder.0.join("aside"));
    fs::copy(&memory, &aside).unwrap();
    fs::remove_file(&memory).unwrap();
    let back = (aside.clone(), memory.clone());
    stops_and_puts_back(bench, back).await;

    // Written, and reported failed: another of this machine has written it just before.
    let bench = Bench::new(None).await;
    let (memory, aside) = (bench.config.memory.clone(), bench.folder.0.join("aside"));
    let (config, to) = (bench.config.clone(), aside.clone());
    *bench.rig.after_append.lock().unwrap() = Some(Box::new(move || {
        let (config, to) = (config.clone(), to.clone());
        Box::pin(async move {
            Ledger::open(config.clone(), key()).await.unwrap().close().await;
            fs::copy(&config.memory, &to).unwrap();
            fs::remove_file(&config.memory).unwrap();
        })
    }));
    let back = (aside, memory);
    stops_and_puts_back(bench, back).await;
}

async fn stops_and_puts_back(bench: Bench, (from, to): (std::path::PathBuf, std::path::PathBuf)) {
    let error = bench.ledger.append(exchange(3)).await.unwrap_err();
    let deleted = matches!(&error, AppendError::Stopped(why) if why.contains("was deleted"));
    assert!(deleted, "{error}");
    assert_eq!(bench.ledger.checkpoint().size(), 3, "nothing was shown that no memory knows");
    let (folder, config) = (bench.folder, bench.config);
    bench.ledger.close().await;
    fs::rename(from, to).unwrap();
    // It was written, and whoever asks again is told so.
    reloads("memory", &config, exchange(3), &Err(error)).await;
    drop(folder);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_witness() {
    for (mood, expect) in [
        (Mood::Away, Progress),
        (Mood::Silent, Progress),
        (Mood::Slow, Progress),
        (Mood::Babbles, Progress),
        // A word without a note signed by the ledger does not stop it.
        (Mood::Has(1 << 40), Progress),
        (Mood::Has(2), Progress),
    ] {
        let watcher = Watcher::new();
        let bench = Bench::new(Some(&watcher)).await;
        watcher.moods.lock().unwrap().push_back(mood);
        bench.comes_to(&format!("{mood:?}"), exchange(3), expect).await;
    }
    // Without its word nothing that asks for it is revealed; with the next batch it comes again.
    for mood in [Mood::Away, Mood::Silent, Mood::Slow, Mood::Babbles] {
        let watcher = Watcher::new();
        let bench = Bench::new(Some(&watcher)).await;
        watcher.moods.lock().unwrap().push_back(mood);
        let keys = [einmal_ledger::Witness::key(&*watcher).clone()];
        for (number, cosigned) in [(3, 0), (4, 1), (5, 1)] {
            if number == 4 {
                tokio::time::sleep(std::time::Duration::from_millis(400)).await;
            }
            let logged = bench.ledger.append(exchange(number)).await.unwrap();
            let got = cosignatures(&logged.checkpoint, &keys).len();
            assert_eq!(got, cosigned, "{mood:?}, leaf {number}");
        }
        bench.ledger.close().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_row_that_moves() {
    // Another broker appends just before; then what it wrote cannot be read.
    for (name, entries, expect) in [
        ("read", vec![], Progress),
        ("fails once", vec![Fault::NotDone(away())], Progress),
        // Nothing was signed on it, so there is nothing that it could not take back.
        ("never read", often(&Fault::NotDone(away())), Refused(AppendError::Busy)),
        ("damaged", vec![Fault::NotDone(broken())], Stopped("damaged: as told")),
    ] {
        let bench = Bench::new(None).await;
        let other = Ledger::open(bench.config.clone(), key()).await.unwrap();
        other.append(exchange(40)).await.unwrap();
        *bench.rig.entries.lock().unwrap() = entries.into();
        bench.comes_to(name, exchange(3), expect).await;
        other.close().await;
    }
}

/// Another broker of this machine, which appends one and remembers it in the memory of both.
fn meanwhile(config: LedgerConfig, number: u64) -> crate::rig::Hook {
    Box::new(move || {
        let config = config.clone();
        Box::pin(async move {
            let other = Ledger::open(config, key()).await.unwrap();
            other.append(exchange(number)).await.unwrap();
            other.close().await;
        })
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_starts_while_another_appends_is_not_taken_for_an_old_backup() {
    for witness in [None, Some(Watcher::new())] {
        let bench = Bench::new(witness.as_ref()).await;
        let mut config = bench.config.clone();
        // The row is read, and then the ledger grows.
        let store = SqliteStore::open(config.database.as_path()).await.unwrap();
        let rig = Rig::over(store);
        *rig.after_row.lock().unwrap() = Some(meanwhile(config.clone(), 20));
        if witness.is_some() {
            // On another machine only the witness is shared.
            config.memory = bench.folder.0.join("other");
        }
        let ledger = Ledger::start(rig, &config, key()).await.unwrap();
        assert_eq!(ledger.append(exchange(21)).await.unwrap().index, 4);
        ledger.close().await;
        bench.comes_to("the first", exchange(3), Progress).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reconnect_while_another_appends_is_not_taken_for_lost_commits() {
    for witness in [None, Some(Watcher::new())] {
        let bench = Bench::new(witness.as_ref()).await;
        let mut config = bench.config.clone();
        if witness.is_some() {
            config.memory = bench.folder.0.join("other");
        }
        // Ours is committed over a new connection, and then the ledger grows.
        *bench.rig.after_append.lock().unwrap() = Some(meanwhile(config, 20));
        bench.rig.generation.fetch_add(1, Ordering::SeqCst);
        bench.comes_to("reconnected", exchange(3), Progress).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_another_process_forgot_is_not_taken_again_before_that_is_known_here() {
    let folder = Folder::new();
    let mut config = folder.config();
    config.follow = std::time::Duration::from_secs(3600);
    let ledger = Ledger::create(config.clone(), key()).await.unwrap();
    fill(&ledger, 0..3).await;
    // The command line forgets beside a running broker.
    let beside = SqliteStore::open(config.database.as_path()).await.unwrap();
    beside.forget(0, exchange(1).id.issued_at_ms() + 1).await.unwrap();
    let mut late = exchange(4);
    late.id = einmal_protocol::RequestId::new(exchange(1).id.issued_at_ms() + 1, [4; 10]);
    let (again, late) = tokio::join!(ledger.append(exchange(1)), ledger.append(late));
    assert_eq!(again.unwrap_err(), AppendError::TooOld);
    assert_eq!(late.unwrap().index, 3);
    ledger.close().await;
}
