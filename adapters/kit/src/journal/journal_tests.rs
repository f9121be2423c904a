// SPDX-License-Identifier: EUPL-1.2
//! A journal from its beginning to its end: restarts, torn and changed files, a disk that fails,
//! keys that are missing, days that are over.

use std::fs;

use einmal_protocol::{
    time::DAY_MS,
    wire::v1::{Outcome, Receipt, Subject, SubjectRole},
};

use super::{
    frame::Reader,
    officer::{Officer, tests::key},
    reading::{self, Folder},
    *,
};

const START: u64 = 20_000 * DAY_MS + 1_000;
/// Whoever finds this in a file has found somebody.
const CANARY: &str = "Kanarienvogel";

pub(super) struct Desk {
    pub(super) folder: PathBuf,
    pub(super) officer: Officer,
    pub(super) clock: Clock,
    pub(super) setup: JournalSetup,
}

impl Drop for Desk {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
    }
}

impl Desk {
    pub(super) fn new(name: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("einmal-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&folder);
        let officer = Officer::new(&folder.join("officer"), key(3)).unwrap();
        officer.renew(4, 730, START).unwrap();
        let setup = JournalSetup { folder: folder.join("journal"), officer: officer.cards() };
        Self { folder, officer, clock: Clock::standing_at(START), setup }
    }

    pub(super) fn open(&self) -> Result<Journal, JournalError> {
        Journal::open(&self.setup, "residents", &self.clock)
    }

    pub(super) fn file(&self) -> PathBuf {
        frame::path_of(&self.setup.folder, 20_000)
    }

    pub(super) fn items(&self) -> Vec<What> {
        let mut all = Vec::new();
        Folder::new(&self.setup.folder).all(&mut |what| all.push(what)).unwrap();
        all
    }

    pub(super) fn person() -> Subject {
        Subject {
            birth_name: CANARY.to_owned(),
            given_names: "Ada".to_owned(),
            birth_date: "1990-02-03".to_owned(),
            birth_place: "Bremen".to_owned(),
            ..Subject::default()
        }
    }
}

/// An entry about the canary.
pub(super) fn exchange(journal: &Journal, number: u8) -> What {
    let one = Involved { subject: Some(Desk::person()), role: SubjectRole::Asked.into() };
    let records = Records {
        people: vec![one],
        outcome: Outcome::Found.into(),
        fields: vec!["address".to_owned()],
        case_reference: CANARY.to_owned(),
    };
    let request = Digest::of(&[number]);
    let (key_day, sealed) = journal.seal(&records, (request, 3)).unwrap();
    What::Exchange(Exchange {
        request_id: vec![number; 16],
        at_ms: journal.clock.now_ms(),
        authority: "family-office".to_owned(),
        purpose: "parental-allowance".to_owned(),
        request_digest: request.to_vec(),
        receipt: Some(Receipt { index: u64::from(number), ..Receipt::default() }),
        sealed,
        key_day,
        ..Exchange::default()
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_answered_is_there_after_a_restart_and_names_nobody() {
    let desk = Desk::new("journal-restart");
    let journal = Arc::new(desk.open().unwrap());
    journal.ready().unwrap();
    let mut waiting = tokio::task::JoinSet::new();
    for number in 0..40 {
        let (journal, what) = (Arc::clone(&journal), exchange(&journal, number));
        waiting.spawn(async move { journal.append(what).await });
    }
    assert!(waiting.join_all().await.into_iter().all(|durable| durable));
    assert!(matches!(desk.open(), Err(JournalError::InUse { .. })), "one writer at a time");
    journal.close().await;
    // The next day has a file of its own, chained to the one before.
    desk.clock.shift_ms(DAY_MS.cast_signed());
    let journal = desk.open().unwrap();
    assert!(journal.append(exchange(&journal, 40)).await);
    journal.close().await;
    assert_eq!(desk.items().len(), 41);
    assert_eq!(frame::days(&desk.setup.folder).unwrap(), [20_000, 20_001]);
    let before = fs::read(desk.file()).unwrap();
    let mut reader = Reader::open(&frame::path_of(&desk.setup.folder, 20_001)).unwrap();
    assert_eq!(reader.head().unwrap().unwrap().previous, before[before.len() - 32..]);
    for file in fs::read_dir(&desk.setup.folder).unwrap() {
        let bytes = fs::read(file.unwrap().path()).unwrap();
        assert!(!bytes.windows(CANARY.len()).any(|some| some == CANARY.as_bytes()));
    }
    // The officer finds all of it, by name and birth date.
    let wanted = Subject { birth_place: String::new(), ..Desk::person() };
    let key_of = |day| Ok::<_, BrokenJournal>(desk.officer.day_key(day).unwrap());
    let found = reading::find(&mut Folder::new(&desk.setup.folder), &wanted, key_of).unwrap();
    assert_eq!((found.entries.len(), found.read, found.unopened.len()), (41, 41, 0));
    assert!(!found.entries[0].certain && found.entries[0].result == "found");
    let other = Subject { birth_date: "1990-02-04".to_owned(), ..wanted };
    let found = reading::find(&mut Folder::new(&desk.setup.folder), &other, key_of).unwrap();
    assert_eq!((found.entries.len(), found.read), (0, 41));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_torn_end_is_cut_and_a_change_refuses_the_start() {
    let desk = Desk::new("journal-torn");
    let journal = desk.open().unwrap();
    for number in 0..3 {
        assert!(journal.append(exchange(&journal, number)).await);
    }
    journal.close().await;
    let whole = fs::read(desk.file()).unwrap();
    fs::write(desk.file(), &whole[..whole.len() - 5]).unwrap();
    let journal = desk.open().unwrap();
    assert_eq!(desk.items().len(), 2, "the third was never whole");
    assert!(desk.file().with_extension("torn").exists(), "and is kept beside");
    assert!(journal.append(exchange(&journal, 9)).await);
    journal.close().await;
    assert_eq!(desk.items().len(), 3);
    let mut changed = whole.clone();
    changed[whole.len() / 2] ^= 1;
    fs::write(desk.file(), &changed).unwrap();
    let refused = desk.open().err().unwrap().to_string();
    assert!(refused.contains("was changed at byte") && refused.contains("backup"), "{refused}");
    fs::write(desk.file(), &whole).unwrap();
    let other = Journal::open(&desk.setup, "another", &desk.clock);
    assert!(matches!(other, Err(JournalError::OtherRegister { .. })));
    desk.open().unwrap().close().await;
}

/// A disk without room, as the system says it.
#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_fails_lets_nothing_out_and_recovers() {
    let desk = Desk::new("journal-full");
    let journal = desk.open().unwrap();
    let full = [desk.file(), desk.setup.folder.join("journal.probe")];
    for path in &full {
        std::os::unix::fs::symlink("/dev/full", path).unwrap();
    }
    assert!(!journal.append(exchange(&journal, 1)).await);
    assert!(matches!(journal.ready(), Err(JournalError::Fails { .. })));
    assert!(journal.status().problem.unwrap().contains("No space left"));
    tokio::time::sleep(PROBE_EVERY + Duration::from_millis(200)).await;
    assert!(journal.ready().is_err(), "tried again, and still full");
    full.iter().for_each(|path| fs::remove_file(path).unwrap());
    let mut tries = 0;
    while journal.ready().is_err() {
        tokio::time::sleep(Duration::from_millis(100)).await;
        tries += 1;
        assert!(tries < 100, "it recovers by itself");
    }
    assert!(journal.append(exchange(&journal, 2)).await);
    journal.close().await;
    assert_eq!(desk.items().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_key_for_today_nothing_starts_and_nothing_goes_on() {
    let desk = Desk::new("journal-keys");
    let journal = desk.open().unwrap();
    desk.clock.shift_ms((3 * DAY_MS).cast_signed());
    journal.ready().unwrap();
    desk.clock.shift_ms(DAY_MS.cast_signed());
    assert!(matches!(journal.ready(), Err(JournalError::Cards(CardsError::NoKey { .. }))));
    // A newer file is taken without a restart.
    desk.officer.renew(4, 730, desk.clock.now_ms()).unwrap();
    journal.ready().unwrap();
    journal.close().await;
    // An older one is not, nor another officer's.
    let older = fs::read(desk.officer.cards()).unwrap();
    desk.officer.renew(5, 730, desk.clock.now_ms()).unwrap();
    desk.open().unwrap().close().await;
    fs::write(desk.officer.cards(), older).unwrap();
    assert!(matches!(desk.open(), Err(JournalError::Cards(CardsError::Older { .. }))));
    let other = Officer::new(&desk.folder.join("other"), key(4)).unwrap();
    other.renew(9, 730, desk.clock.now_ms()).unwrap();
    fs::copy(other.cards(), desk.officer.cards()).unwrap();
    assert!(matches!(desk.open(), Err(JournalError::Cards(CardsError::OtherOfficer { .. }))));
}

/// FORGETS-ON-TIME: with a copy of the journal from when the day was there, and with all keys that
/// are left, nothing of it opens; before, everything did.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_over_opens_nobody_any_more() {
    let desk = Desk::new("journal-forgets");
    let journal = desk.open().unwrap();
    assert!(journal.append(exchange(&journal, 1)).await);
    let backup = desk.folder.join("backup");
    fs::create_dir_all(&backup).unwrap();
    fs::copy(desk.file(), backup.join(desk.file().file_name().unwrap())).unwrap();
    let opened = || {
        let key_of = |day| Ok::<_, BrokenJournal>(desk.officer.day_key(day).unwrap());
        let found = reading::find(&mut Folder::new(&backup), &Desk::person(), key_of).unwrap();
        (found.entries.len(), found.unopened.len())
    };
    assert_eq!(opened(), (1, 0));
    desk.clock.shift_ms((3 * DAY_MS).cast_signed());
    let done = desk.officer.renew(4, 2, desk.clock.now_ms()).unwrap();
    assert_eq!(done.destroyed, [20_000]);
    journal.forget(20_001);
    assert!(!desk.file().exists());
    assert_eq!(opened(), (0, 1));
    // The journal goes on, in a file of its own.
    assert!(journal.append(exchange(&journal, 2)).await);
    journal.close().await;
    assert_eq!(desk.items().len(), 1);
}
