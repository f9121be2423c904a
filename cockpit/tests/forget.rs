// SPDX-License-Identifier: EUPL-1.2
//! FORGETS-ON-TIME at the keeper: keys first, then rows, and nothing is left in any file.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that meets the unexpected must fail"
)]

mod house;

use std::{collections::BTreeSet, path::Path};

use einmal_cockpit::{
    finding::Finding,
    keeper::{Desk, ForgetError, Forgetting},
};
use einmal_protocol::{
    leaf::{LeafKind, body_bytes},
    receipt,
    time::{DAY_MS, day_of, day_to_iso},
    wire::{
        cockpit::v1::ExportRecordRequest,
        v1::{BodiesRead, Forgot, NoticeBody, Use, body, notice_body::What},
    },
};
use house::*;
use sqlx::{Row, SqlitePool};

const KEPT: u32 = 3;

async fn pool(house: &House) -> SqlitePool {
    let path = house.folder.join("index.sqlite");
    SqlitePool::connect(&format!("sqlite://{}", path.display())).await.unwrap()
}

/// What of one day must be found nowhere afterwards: whole tags, and pieces out of everything
/// that is longer.
async fn traces(house: &House, day: u32) -> Vec<Vec<u8>> {
    let pool = pool(house).await;
    let mut traces = Vec::new();
    for query in [
        "SELECT tag FROM records WHERE tag IS NOT NULL AND day = ?",
        "SELECT sealed FROM records WHERE day = ?",
        "SELECT u.sealed FROM uses u JOIN requests r ON r.leaf_index = u.exchange_index WHERE day = ?",
        "SELECT body FROM bodies WHERE day = ?",
        "SELECT id FROM requests WHERE day = ?",
        "SELECT digest FROM requests WHERE day = ?",
    ] {
        for row in sqlx::query(query).bind(i64::from(day)).fetch_all(&pool).await.unwrap() {
            let bytes: Vec<u8> = row.get(0);
            let step = (bytes.len() / 8).max(1);
            let pieces = (0..bytes.len()).step_by(step);
            traces.extend(pieces.filter_map(|at| Some(bytes.get(at..at + 16)?.to_vec())));
            if bytes.len() <= 32 {
                traces.push(bytes);
            }
        }
    }
    pool.close().await;
    traces
}

fn files_of(folder: &Path) -> Vec<Vec<u8>> {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let index = entries.filter(|path| path.to_string_lossy().contains("index.sqlite"));
    index.map(|path| std::fs::read(path).unwrap()).collect()
}

/// How many of the traces stand in the raw files.
fn left(house: &House, traces: &[Vec<u8>]) -> usize {
    let files = files_of(&house.folder);
    // By their first eight bytes, so that many traces are looked for in one pass; most places are
    // passed over by their first two.
    let mut begins = vec![false; 1 << 16];
    let two = |bytes: &[u8]| usize::from(u16::from_be_bytes([bytes[0], bytes[1]]));
    let mut by_start = std::collections::HashMap::<&[u8], Vec<&[u8]>>::new();
    for trace in traces {
        by_start.entry(&trace[..8]).or_default().push(trace);
        begins[two(trace)] = true;
    }
    let mut found = BTreeSet::new();
    for file in &files {
        for (at, window) in file.windows(8).enumerate().filter(|(_, window)| begins[two(window)]) {
            for trace in by_start.get(window).into_iter().flatten() {
                if file[at..].starts_with(trace) {
                    found.insert(*trace);
                }
            }
        }
    }
    found.len()
}

fn key_files(house: &House, day: u32) -> usize {
    let name = format!("{}.key", day_to_iso(day));
    ["one", "two"]
        .iter()
        .filter(|f| house.folder.join(f).join("day-keys").join(&name).exists())
        .count()
}

/// Some days of life: many exchanges on the first, a few on each that follows.
async fn live(first: usize, days: u64) -> House {
    let mut house = House::build().await;
    house.keeper.keep_for(KEPT);
    for number in 0..first {
        let made = house.make(&Ask::about(&if number % 2 == 0 { canary() } else { other() }));
        house.log_made(&made);
        house.report(&made, Use::Used, 1);
    }
    house.refusal(&Ask::about(&canary()), "NOT_PERMITTED");
    house.catch_up().await.unwrap();
    for day in 1..=days {
        house.clock.shift_ms(DAY_MS.cast_signed());
        for _ in 0..10 {
            house.exchange(&Ask { at_ms: NOW + day * DAY_MS, ..Ask::about(&canary()) });
        }
        house.catch_up().await.unwrap();
    }
    house
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_of_a_day_that_is_over_is_in_any_file() {
    let mut house = live(60, 3).await;
    let day = day_of(NOW);
    let mut client = house.client();
    let request = ExportRecordRequest { subject: Some(canary()), index: 0, login: demo() };
    let export = client.export_record(request.clone()).await.unwrap().into_inner().record.unwrap();
    assert_eq!(house.keeper.forget().await.unwrap().before_day, day, "not yet");
    assert_eq!(house.records(&canary()).await.len(), 30 + 1 + 30);
    let old = traces(&house, day).await;
    assert!(old.len() > 1000 && left(&house, &old) == old.iter().collect::<BTreeSet<_>>().len());
    let kept = traces(&house, day + 1).await;
    assert_eq!(key_files(&house, day), 2);

    house.clock.shift_ms(DAY_MS.cast_signed());
    let done = house.keeper.forget().await.unwrap();
    assert_eq!((done.before_day, done.key_days), (day + 1, BTreeSet::from([day])));
    let [records, uses, bodies, ..] = done.rows.map(|(_, count)| count);
    assert!(records >= 61 && uses == 60 && bodies == 121, "{:?}", done.rows);
    assert_eq!(key_files(&house, day), 0);
    assert_eq!(left(&house, &old), 0, "traces are left in the index's files");
    assert!(left(&house, &kept) > 100, "the search can find what is kept");
    assert_eq!(house.records(&canary()).await.len(), 30);
    assert!(client.export_record(request).await.is_err());
    assert!(house.keeper.forget().await.unwrap().is_nothing());

    // The tree stands: old proofs verify, and the ledger goes on.
    let wire = export.receipt.unwrap();
    let leaf = einmal_protocol::leaf::Leaf::parse(&wire.leaf).unwrap();
    receipt::verify(&wire, leaf, &ledger_key(), None).unwrap();
    house.exchange(&Ask { at_ms: NOW + 4 * DAY_MS, ..Ask::about(&canary()) });
    house.catch_up().await.unwrap();
    assert!(house.alarms().await.is_empty(), "{:?}", house.alarms().await);

    // Shown again by the ledger, it is not taken again.
    house.reopen().await;
    house.catch_up().await.unwrap();
    assert_eq!(left(&house, &old), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_in_between_is_finished_at_the_next_start() {
    let mut house = live(3, 2).await;
    let day = day_of(NOW);
    let old = traces(&house, day).await;
    let copy = std::fs::read(house.folder.join(format!("one/day-keys/{}.key", day_to_iso(day))));
    // It had written down what to forget, and no more.
    let pool = pool(&house).await;
    sqlx::query("UPDATE horizon SET before_day = ?")
        .bind(i64::from(day + 1))
        .execute(&pool)
        .await
        .unwrap();
    pool.close().await;
    house.reopen().await;
    assert_eq!((key_files(&house, day), left(&house, &old)), (0, 0));
    // A key that somebody put back from a copy, or that a crash left half written, goes too.
    for ending in ["key", "new"] {
        let path = house.folder.join(format!("two/day-keys/{}.{ending}", day_to_iso(day)));
        std::fs::write(path, copy.as_ref().unwrap()).unwrap();
    }
    house.reopen().await;
    let names = std::fs::read_dir(house.folder.join("two/day-keys")).unwrap();
    let names: Vec<_> = names.map(|entry| entry.unwrap().file_name()).collect();
    let of_day = |name: &&std::ffi::OsString| name.to_string_lossy().starts_with(&day_to_iso(day));
    assert_eq!(names.iter().filter(of_day).count(), 0);
    assert_eq!(house.records(&canary()).await.len(), 20);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_runs_ahead_forgets_nothing_by_itself() {
    let house = live(2, 1).await;
    house.clock.shift_ms((36 * DAY_MS).cast_signed());
    assert!(matches!(house.keeper.forget().await, Err(ForgetError::ClockRunsAhead)));
    assert!(house.alarms().await[0].contains("--even-if-clock-runs-ahead"));
    assert_eq!((key_files(&house, day_of(NOW)), house.records(&canary()).await.len()), (2, 0));
    assert!(left(&house, &traces(&house, day_of(NOW)).await) > 10);

    // Whoever has looked at the clock can say so, beside the running keeper.
    let index = house.folder.join("index.sqlite");
    let beside = Forgetting::beside(&index, LEDGER, files(&house.folder), house.clock.clone());
    let beside = beside.await.unwrap();
    let due = beside.due(KEPT).await.unwrap();
    // With the keys that were made ahead and never used.
    assert!(due.clock_runs_ahead && due.key_days.len() == 32, "{due:?}");
    assert_eq!(key_files(&house, day_of(NOW)), 2, "to look is not to do");
    assert_eq!(beside.run(KEPT, true).await.unwrap(), due);
    assert_eq!(key_files(&house, day_of(NOW)), 0);
    // The running keeper drops the keys from its memory with its next look.
    assert_eq!(house.keeper.oldest_key_day(), Some(day_of(NOW)));
    house.keeper.look_after(house.clock.now_ms()).await.unwrap();
    assert_eq!(house.keeper.oldest_key_day(), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn notices_are_listed_and_forgetting_too_early_is_an_alarm() {
    let mut house = House::build().await;
    let day = day_of(NOW);
    let notice = |what| {
        body_bytes(body::Kind::Notice(NoticeBody {
            by: "auditor/a".into(),
            at_ms: NOW,
            what: Some(what),
        }))
    };
    let read = BodiesRead { from_index: 1, to_index: 9, reason: "sample\nof March".into() };
    house.log(LeafKind::Notice, day, notice(What::BodiesRead(read)));
    let forgot = |before_day| What::Forgot(Forgot { before_day, bodies: 7, retention_days: 731 });
    house.log(LeafKind::Notice, day, notice(forgot(day - 731)));
    house.catch_up().await.unwrap();
    assert!(house.alarms().await.is_empty());
    house.log(LeafKind::Notice, day, notice(forgot(day - 730)));
    house.catch_up().await.unwrap();
    let alarms = house.alarms().await;
    assert!(alarms.len() == 1 && alarms[0].ends_with(Finding::ForgotEarly.text()), "{alarms:?}");
    let desk = Desk::open(&house.folder.join("index.sqlite"), LEDGER).await.unwrap();
    let notices = desk.standing().await.unwrap().notices;
    assert_eq!(notices.len(), 3);
    assert_eq!((notices[2].what.as_str(), notices[2].reason.as_str()), ("read", "sample of March"));
    assert_eq!((notices[2].from_index, notices[2].to_index), (1, 9));
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_gets_an_access_forgotten_by_an_old_date() {
    let mut house = House::build().await;
    house.exchange(&Ask::about(&canary()));
    let mut backdated = house.make(&Ask::about(&canary()));
    backdated.day -= 2;
    house.log_made(&backdated);
    house.catch_up().await.unwrap();
    let alarms = house.alarms().await;
    assert!(alarms.iter().any(|alarm| alarm.ends_with(Finding::Backdated.text())), "{alarms:?}");
}
