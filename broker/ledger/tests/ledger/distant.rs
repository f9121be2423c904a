// SPDX-License-Identifier: EUPL-1.2
//! A memory on another machine: it notices a restored backup alone, nothing is answered before it
//! knows where it is needed, and one that lies, forgets or is away does no more than keep waiting.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use einmal_ledger::{
    AppendError, Distant, DistantFault, DistantMemory, Ledger, LedgerConfig, Need, OpenError,
    SqliteStore, store::Pending,
};
use einmal_protocol::{Digest, key::SigningKey, merkle, note::Checkpoint};

use crate::{
    fixture::{Folder, ORIGIN, exchange, fill, key, ledger_key},
    rig::Rig,
    start::{copy, refusal},
};

/// An honest keeper, but for what it is told to do.
#[derive(Default)]
pub(crate) struct Recaller {
    held: Mutex<Option<String>>,
    /// Does not answer.
    gone: AtomicBool,
    /// Answers only this, whatever it was told.
    always: Mutex<Option<String>>,
    told: AtomicU64,
}

impl Recaller {
    fn with(self: &Arc<Self>, config: LedgerConfig, need: Need) -> LedgerConfig {
        let memory = Arc::clone(self) as _;
        let patience = Duration::from_millis(500);
        let distant = Distant { memory, need, patience, start_without: true };
        LedgerConfig { distant: Some(distant), ..config }
    }

    /// The only memory: the file is not even made.
    pub(crate) fn alone(self: &Arc<Self>, folder: &Folder) -> LedgerConfig {
        self.with(folder.config(), Need::Alone)
    }

    fn size(&self) -> u64 {
        let held = self.held.lock().unwrap().clone();
        held.map_or(0, |note| Checkpoint::parse(&note, &ledger_key()).unwrap().size())
    }

    fn answer(&self) -> Result<(), DistantFault> {
        match self.gone.load(Ordering::SeqCst) {
            true => Err(DistantFault::Unavailable {
                name: self.name().to_owned(),
                problem: "as told".to_owned(),
            }),
            false => Ok(()),
        }
    }
}

impl DistantMemory for Recaller {
    fn name(&self) -> &str {
        "the keeper `k`"
    }

    fn largest(&self) -> Pending<'_, Option<String>, DistantFault> {
        Box::pin(async {
            self.answer()?;
            let always = self.always.lock().unwrap().clone();
            Ok(always.or(self.held.lock().unwrap().clone()))
        })
    }

    fn remember<'a>(
        &'a self,
        known: (u64, Digest),
        note: &'a str,
    ) -> Pending<'a, Option<String>, DistantFault> {
        Box::pin(async move {
            self.answer()?;
            self.told.fetch_add(1, Ordering::SeqCst);
            if let Some(always) = self.always.lock().unwrap().clone() {
                return Ok(Some(always));
            }
            let mut held = self.held.lock().unwrap();
            let parsed = held.as_ref().map(|held| Checkpoint::parse(held, &ledger_key()).unwrap());
            let parsed =
                parsed.map_or((0, merkle::empty_root()), |held| (held.size(), held.root()));
            if parsed == known {
                *held = Some(note.to_owned());
            }
            Ok(held.clone())
        })
    }
}

fn note(size: u64, root: &str) -> String {
    let signed = Checkpoint::sign(ORIGIN, size, Digest::of(root.as_bytes()), &key()).unwrap();
    signed.note().to_owned()
}

async fn open(config: LedgerConfig) -> Ledger {
    Ledger::open(config, key()).await.unwrap()
}

async fn soon(what: &str, mut done: impl FnMut() -> bool) {
    for _ in 0..500 {
        if done() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("not in time: {what}");
}

/// Five leaves, and a keeper who knows of them.
async fn known() -> (Folder, Arc<Recaller>) {
    let (folder, keeper) = (Folder::new(), Arc::new(Recaller::default()));
    let ledger = Ledger::create(keeper.alone(&folder), key()).await.unwrap();
    fill(&ledger, 0..5).await;
    assert_eq!(keeper.size(), 5, "before anything was answered");
    assert!(!folder.config().memory.exists());
    ledger.close().await;
    (folder, keeper)
}

/// For the table of crashes.
pub(crate) async fn it_notices_a_restored_backup_alone() {
    let (folder, keeper) = known().await;
    let backup = Folder::new();
    copy(&folder.0, &backup.0);
    let ledger = open(keeper.alone(&folder)).await;
    fill(&ledger, 5..7).await;
    ledger.close().await;
    let refused = refusal(keeper.alone(&backup)).await;
    assert_eq!(refused, OpenError::Behind { stored: 5, signed: 7 });
    assert!(refused.to_string().contains("close this ledger and begin a new origin"));
    // One that was written to meanwhile is no better, as long or longer.
    let another = Arc::new(Recaller::default());
    *another.held.lock().unwrap() = Some(ledger_of_five(&backup).await);
    for last in [6, 8] {
        let ledger = open(another.alone(&backup)).await;
        while ledger.checkpoint().size() <= last {
            let number = 100 + ledger.checkpoint().size();
            ledger.append(exchange(number)).await.unwrap();
        }
        ledger.close().await;
        assert_eq!(refusal(keeper.alone(&backup)).await, OpenError::Forked { signed: 7 });
    }
    open(keeper.alone(&folder)).await.close().await;
}

/// The checkpoint of what lies there.
async fn ledger_of_five(folder: &Folder) -> String {
    let adopted = LedgerConfig { adopt_memory: true, ..folder.config() };
    let ledger = open(adopted).await;
    let note = ledger.checkpoint().note().to_owned();
    ledger.close().await;
    note
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_is_noticed_without_any_file() {
    it_notices_a_restored_backup_alone().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn away_at_start_nothing_is_logged_until_it_answers() {
    let (folder, keeper) = known().await;
    let backup = Folder::new();
    copy(&folder.0, &backup.0);
    keeper.gone.store(true, Ordering::SeqCst);
    let mut strict = keeper.alone(&folder);
    strict.distant.as_mut().unwrap().start_without = false;
    assert!(matches!(refusal(strict).await, OpenError::Silent(_)));
    let ledger = open(keeper.alone(&folder)).await;
    assert!(!ledger.is_healthy());
    assert_eq!(ledger.append(exchange(5)).await.unwrap_err(), AppendError::Busy);
    ledger.refresh().await;
    keeper.gone.store(false, Ordering::SeqCst);
    soon("it goes on", || ledger.is_healthy()).await;
    assert_eq!(ledger.append(exchange(5)).await.unwrap().index, 5);
    ledger.close().await;

    // What it says when it is back counts.
    keeper.gone.store(true, Ordering::SeqCst);
    let restored = open(keeper.alone(&backup)).await;
    keeper.gone.store(false, Ordering::SeqCst);
    let stopped = async || match restored.append(exchange(9)).await.unwrap_err() {
        AppendError::Stopped(why) => Some(why),
        error => {
            assert_eq!(error, AppendError::Busy);
            None
        }
    };
    let mut why = None;
    while why.is_none() {
        why = stopped().await;
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let why = why.unwrap();
    assert!(why.contains("knows of 6 leaves, but the database has 5"), "{why}");
    assert_eq!(restored.row().await.unwrap().head.size, 5, "nothing was written");
    restored.close().await;
    // And one that has lost everything is not one that confirms anything.
    *keeper.held.lock().unwrap() = None;
    assert_eq!(refusal(keeper.alone(&folder)).await, OpenError::MemoryMissing { size: 6 });
    keeper.gone.store(true, Ordering::SeqCst);
    let ledger = open(keeper.alone(&folder)).await;
    keeper.gone.store(false, Ordering::SeqCst);
    let why = async || ledger.append(exchange(6)).await.unwrap_err();
    soon("it stops", || !ledger.is_healthy()).await;
    while why().await == AppendError::Busy {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert!(why().await.to_string().contains("adopt_memory"));
    ledger.close().await;
    let adopts = LedgerConfig { adopt_memory: true, ..keeper.alone(&folder) };
    open(adopts).await.close().await;
    assert_eq!(keeper.size(), 6);
}

#[tokio::test(flavor = "multi_thread")]
async fn away_later_nobody_is_answered_before_it_knows() {
    let (folder, keeper) = known().await;
    let ledger = open(keeper.alone(&folder)).await;
    keeper.gone.store(true, Ordering::SeqCst);
    let waits = tokio::spawn({
        let ledger = ledger.clone();
        async move { ledger.append(exchange(5)).await }
    });
    soon("it waits", || !ledger.is_healthy()).await;
    assert_eq!(ledger.append(exchange(6)).await.unwrap_err(), AppendError::Busy);
    assert!(!waits.is_finished());
    assert_eq!((ledger.checkpoint().size(), keeper.size()), (5, 5), "durable, and not shown");
    keeper.gone.store(false, Ordering::SeqCst);
    assert_eq!(waits.await.unwrap().unwrap().index, 5);
    assert!(ledger.is_healthy());
    assert_eq!(keeper.size(), 6);

    // Closed meanwhile: as after a crash between commit and memory, the same tree is signed.
    keeper.gone.store(true, Ordering::SeqCst);
    let waits = tokio::spawn({
        let ledger = ledger.clone();
        async move { ledger.append(exchange(6)).await }
    });
    soon("it waits", || !ledger.is_healthy()).await;
    ledger.close().await;
    let why = waits.await.unwrap().unwrap_err();
    assert!(matches!(&why, AppendError::Stopped(why) if why.contains("waited")), "{why}");
    keeper.gone.store(false, Ordering::SeqCst);
    let ledger = open(keeper.alone(&folder)).await;
    assert_eq!((ledger.checkpoint().size(), keeper.size()), (7, 7));
    let again = ledger.append(exchange(6)).await.unwrap_err();
    assert!(matches!(again, AppendError::Duplicate { index: 6, .. }), "{again}");
    ledger.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_lies_or_forgets_keeps_waiting_and_no_more() {
    let (folder, keeper) = known().await;
    let old = keeper.held.lock().unwrap().clone();
    let ledger = open(keeper.alone(&folder)).await;
    fill(&ledger, 5..8).await;
    // Restored from a backup of its own: it is told anew. It said so in an alarm.
    for (number, lost) in [(8, old.clone()), (9, None)] {
        *keeper.held.lock().unwrap() = lost;
        assert_eq!(ledger.append(exchange(number)).await.unwrap().index, number);
        assert_eq!(keeper.size(), number + 1);
    }
    // One that only ever shows the old one, or what nobody signed.
    let stranger = SigningKey::from_seed(&[8; 32]).unwrap();
    let foreign = Checkpoint::sign(ORIGIN, 99, Digest::of(b"x"), &stranger).unwrap();
    let lies = [old.unwrap(), foreign.note().to_owned(), "garbage".to_owned()];
    for (number, lie) in (10..).zip(lies) {
        *keeper.always.lock().unwrap() = Some(lie);
        let told = keeper.told.load(Ordering::SeqCst);
        let mut append = Box::pin(ledger.append(exchange(number)));
        let early = tokio::time::timeout(Duration::from_millis(300), &mut append).await;
        assert!(early.is_err() && !ledger.is_healthy());
        let tries = keeper.told.load(Ordering::SeqCst) - told;
        assert!((2..10).contains(&tries), "{tries} questions, with growing pauses");
        *keeper.always.lock().unwrap() = None;
        assert_eq!(append.await.unwrap().index, number);
    }
    // A word alone stops nothing, the ledger's own signature does.
    *keeper.always.lock().unwrap() = Some(note(13, "another tree"));
    let stopped = ledger.append(exchange(13)).await.unwrap_err();
    assert!(
        matches!(&stopped, AppendError::Stopped(why) if why.contains("holds another tree")),
        "{stopped}"
    );
    ledger.close().await;
    assert_eq!(refusal(keeper.alone(&folder)).await, OpenError::Forked { signed: 13 });
}

#[tokio::test(flavor = "multi_thread")]
async fn beside_a_file_it_stands_in_where_it_must_know_and_is_never_waited_for_where_not() {
    let (folder, keeper) = (Folder::new(), Arc::new(Recaller::default()));
    let backup = Folder::new();
    let both = |folder: &Folder| keeper.with(folder.config(), Need::Required);
    let told = |folder: &Folder| keeper.with(folder.config(), Need::Told);
    let ledger = Ledger::create(both(&folder), key()).await.unwrap();
    fill(&ledger, 0..3).await;
    assert_eq!(keeper.size(), 3);
    ledger.close().await;
    std::fs::remove_file(folder.config().memory).unwrap();
    // It may lag behind where nobody waits for it.
    assert_eq!(refusal(told(&folder)).await, OpenError::MemoryMissing { size: 3 });
    open(both(&folder)).await.close().await;
    // A keeper that knows nothing yet is told: the file knows.
    *keeper.held.lock().unwrap() = None;
    open(both(&folder)).await.close().await;
    assert_eq!(keeper.size(), 3);
    copy(&folder.0, &backup.0);

    keeper.gone.store(true, Ordering::SeqCst);
    let ledger = open(told(&folder)).await;
    assert!(ledger.is_healthy());
    fill(&ledger, 3..5).await;
    ledger.close().await;
    keeper.gone.store(false, Ordering::SeqCst);
    let ledger = open(told(&folder)).await;
    fill(&ledger, 5..7).await;
    soon("it is told", || keeper.size() == 7).await;
    // The backup, with the file that was restored with it.
    let refused = refusal(told(&backup)).await;
    assert_eq!(refused, OpenError::Behind { stored: 3, signed: 7 });
    // Of a running ledger too.
    *keeper.held.lock().unwrap() = Some(note(20, "signed elsewhere"));
    ledger.append(exchange(7)).await.unwrap();
    soon("it stops", || !ledger.is_healthy()).await;
    let why = ledger.append(exchange(8)).await.unwrap_err().to_string();
    assert!(why.contains("knows of 20 leaves, but the database has 8"), "{why}");
    ledger.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn brokers_of_one_ledger_share_it_and_of_two_do_not() {
    let (folder, keeper) = known().await;
    let copied = Folder::new();
    copy(&folder.0, &copied.0);
    let (one, other) = (open(keeper.alone(&folder)).await, open(keeper.alone(&folder)).await);
    let elsewhere = open(keeper.alone(&copied)).await;
    let both = tokio::join!(
        async {
            for number in 5..40 {
                one.append(exchange(number)).await.unwrap();
            }
        },
        async {
            for number in 40..75 {
                other.append(exchange(number)).await.unwrap();
            }
        }
    );
    assert_eq!((both, keeper.size()), (((), ()), 75));
    let error = elsewhere.append(exchange(99)).await.unwrap_err();
    assert!(
        matches!(&error, AppendError::Stopped(why) if why.contains("knows of 75 leaves")),
        "{error}"
    );
    one.close().await;
    other.close().await;
    elsewhere.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_reconnect_it_is_asked_before_anything_is_signed() {
    let (folder, keeper) = known().await;
    let config = keeper.alone(&folder);
    let rig = Rig::over(SqliteStore::open(config.database.as_path()).await.unwrap());
    let ledger = Ledger::start(Arc::clone(&rig) as _, &config, key()).await.unwrap();
    rig.generation.fetch_add(1, Ordering::SeqCst);
    ledger.append(exchange(5)).await.unwrap();
    // Others signed more, and what is connected to now has lost it.
    *keeper.held.lock().unwrap() = Some(note(50, "of others"));
    let told = keeper.told.load(Ordering::SeqCst);
    rig.generation.fetch_add(1, Ordering::SeqCst);
    let error = ledger.append(exchange(6)).await.unwrap_err();
    assert!(
        matches!(&error, AppendError::Stopped(why) if why.contains("knows of 50 leaves")),
        "{error}"
    );
    assert_eq!(keeper.told.load(Ordering::SeqCst), told, "asked, not told");
    ledger.close().await;
}
