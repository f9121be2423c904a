// SPDX-License-Identifier: EUPL-1.2
//! Disks that are really full, or that the kernel makes read-only under a running ledger. They are
//! small ones, mounted in a process of their own, whose mounts nobody else sees; where that is not
//! permitted (it takes root), the test says so and is skipped.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use einmal_ledger::{
    AppendError, Ledger, LedgerConfig, NewEntry, OpenError, VerifyError, store::StoreError, verify,
};

use einmal_protocol::receipt;

use crate::fixture::{Folder, ORIGIN, exchange, execute, fill, key, leaf, ledger_key};

const FOLDER: &str = "EINMAL_TEST_DISK";

/// A disk in memory, of two MiB.
const IN_MEMORY: &str = "mount -t tmpfs -o size=2m none disk";
/// A disk with a journal, in a file.
const IN_A_FILE: &str = "truncate -s 16M image && mkfs.ext4 -q image && mount -o loop image disk";

/// Runs one of the tests marked `ignored` where mounts are its own.
fn on_a_disk_of_its_own(mount: &str, test: &str) {
    let folder = Folder::new();
    fs::create_dir(folder.0.join("disk")).unwrap();
    let done = Command::new("unshare")
        .args(["--mount", "sh", "-c", &format!("cd \"$0\" && {mount} && exec \"$@\"")])
        .arg(&folder.0)
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", test, "--ignored", "--nocapture"])
        .env(FOLDER, &folder.0)
        .output();
    let said = |done: &std::process::Output| {
        let (out, err) = (&done.stdout, &done.stderr);
        format!("{}{}", String::from_utf8_lossy(out), String::from_utf8_lossy(err))
    };
    match done {
        // The test says so itself, for a filter that fits no test would pass as well.
        Ok(done) if said(&done).contains("ON-DISK: good") => {
            assert!(done.status.success(), "{}", said(&done));
        }
        Ok(done) if said(&done).contains("running ") => panic!("{}", said(&done)),
        Ok(done) => println!("skipped: no disk may be mounted here: {}", said(&done)),
        Err(error) => println!("skipped: no disk may be mounted here: {error}"),
    }
}

/// The folder on the usual disk, and the small disk in it; nothing where not started by the above.
fn folders() -> Option<(PathBuf, PathBuf)> {
    let folder = PathBuf::from(std::env::var_os(FOLDER)?);
    let disk = folder.join("disk");
    Some((folder, disk))
}

fn is_good() {
    println!("ON-DISK: good");
}

fn large(number: u64) -> NewEntry {
    let mut entry = exchange(number);
    entry.body = vec![u8::try_from(number % 251).unwrap(); 20_000];
    entry
}

/// Fills a disk until so many bytes are left.
fn fill_disk(disk: &Path, left: u64) -> PathBuf {
    let path = disk.join("ballast");
    let _absent = fs::remove_file(&path);
    let there = rustix::fs::statvfs(disk).unwrap();
    let free = there.f_bavail * there.f_frsize;
    fs::write(&path, vec![1; usize::try_from(free.saturating_sub(left)).unwrap()]).unwrap();
    path
}

fn run(command: &str, at: &Path) -> bool {
    Command::new("sh").args(["-c", command]).current_dir(at).status().unwrap().success()
}

/// All that was answered is there, and it goes on.
async fn is_whole(config: &LedgerConfig, logged: u64) {
    let ledger = Ledger::open(config.clone(), key()).await.unwrap();
    for number in 0..logged {
        let entry = exchange(number);
        let found = ledger.find(&entry.authority, entry.id).await.unwrap().unwrap();
        // The first three were appended at once.
        assert!(found.index == number || (number < 3 && found.index < 3));
    }
    let size = ledger.append(exchange(1_000_000)).await.unwrap().checkpoint.size();
    assert!(size > logged);
    ledger.close().await;
    let report = verify(&config.database, &ledger_key(), Some(&config.memory)).await.unwrap();
    assert_eq!((report.size, report.bodies), (size, size));
}

#[test]
fn a_full_disk_refuses_and_never_writes_half() {
    for test in ["the_database_s_disk_is_full", "the_memory_s_disk_is_full"] {
        on_a_disk_of_its_own(IN_MEMORY, &format!("disk::{test}"));
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "started by the test above, on a disk of its own"]
async fn the_database_s_disk_is_full() {
    let Some((folder, disk)) = folders() else { return };
    // Little by little, so that each step of an append meets the full disk once: the file of
    // bodies, the log, the database itself.
    for left in (0..=120).step_by(8) {
        let config = LedgerConfig::new(ORIGIN, disk.join("ledger.db"), folder.join("memory"));
        let ledger = Ledger::create(config.clone(), key()).await.unwrap();
        fill(&ledger, 0..3).await;
        let ballast = fill_disk(&disk, left * 1024);
        let mut logged = 3;
        let refused = loop {
            match ledger.append(large(logged)).await {
                Ok(_) => logged += 1,
                Err(error) => break error,
            }
        };
        assert_eq!(refused, AppendError::Full, "with {left} KiB left, after {logged} leaves");
        assert!(ledger.is_healthy() && !ledger.has_room());
        // Nothing is lost meanwhile, and what was answered can be read.
        assert_eq!(ledger.entries(0, 3).await.unwrap().len(), 3);
        // What a refused batch gave back may be enough for one more.
        match ledger.append(large(logged)).await {
            Ok(_) => logged += 1,
            Err(error) => assert_eq!(error, AppendError::Full),
        }
        // Somebody makes room: it goes on without being started anew.
        fs::remove_file(ballast).unwrap();
        assert_eq!(ledger.append(large(logged)).await.unwrap().index, logged, "{left} KiB left");
        ledger.close().await;
        is_whole(&config, logged + 1).await;
        fs::remove_file(&config.memory).unwrap();
        for file in fs::read_dir(&disk).unwrap() {
            let path = file.unwrap().path();
            if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) }.unwrap();
        }
    }
    is_good();
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "started by the test above, on a disk of its own"]
async fn the_memory_s_disk_is_full() {
    let Some((folder, disk)) = folders() else { return };
    let config = LedgerConfig::new(ORIGIN, folder.join("ledger.db"), disk.join("memory"));
    // No room for a memory: no ledger.
    let ballast = fill_disk(&disk, 0);
    let refused = Ledger::create(config.clone(), key()).await.err().unwrap();
    assert!(matches!(refused, OpenError::Memory(_)), "{refused}");
    fs::remove_file(ballast).unwrap();
    let _torn = fs::remove_file(&config.memory);
    let ledger = Ledger::open(config.clone(), key()).await.unwrap();
    // Once it is made, it needs no more room.
    fill_disk(&disk, 0);
    fill(&ledger, 0..3).await;
    ledger.close().await;
    is_whole(&config, 3).await;
    is_good();
}

#[test]
fn a_disk_that_becomes_read_only_stops_it() {
    for test in ["the_database_s_disk_becomes_read_only", "the_memory_s_disk_becomes_read_only"] {
        on_a_disk_of_its_own(IN_A_FILE, &format!("disk::{test}"));
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "started by the test above, on a disk of its own"]
async fn the_database_s_disk_becomes_read_only() {
    let Some((folder, disk)) = folders() else { return };
    let config = LedgerConfig::new(ORIGIN, disk.join("ledger.db"), folder.join("memory"));
    becomes_read_only(&config, &folder).await;
    is_good();
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "started by the test above, on a disk of its own"]
async fn the_memory_s_disk_becomes_read_only() {
    let Some((folder, disk)) = folders() else { return };
    let config = LedgerConfig::new(ORIGIN, folder.join("ledger.db"), disk.join("memory"));
    becomes_read_only(&config, &folder).await;
    is_good();
}

/// As a kernel does with a disk that fails: read-only, under whoever has files open.
async fn becomes_read_only(config: &LedgerConfig, folder: &Path) {
    let ledger = Ledger::create(config.clone(), key()).await.unwrap();
    fill(&ledger, 0..3).await;
    let before = ledger.checkpoint();
    assert!(run("mount -o remount,abort disk", folder));
    let error = ledger.append(exchange(3)).await.unwrap_err();
    assert!(matches!(error, AppendError::Stopped(_)), "{error}");
    println!("{error}");
    assert!(!ledger.is_healthy());
    assert_eq!(ledger.checkpoint(), before, "nothing more was signed");
    ledger.close().await;
    let refused = Ledger::open(config.clone(), key()).await.err().unwrap();
    println!("{refused}");
    // The disk was mended; files are closed a little after the handles on them are gone.
    let mend = "for i in 1 2 3 4 5 6 7 8 9; do umount disk 2>/dev/null && break; sleep 0.2; done; \
        e2fsck -p image >/dev/null; [ $? -lt 4 ] && mount -o loop image disk";
    assert!(run(mend, folder));
    is_whole(config, 3).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_that_rots_is_found() {
    let folder = Folder::new();
    let config = folder.config();
    let ledger = Ledger::create(config.clone(), key()).await.unwrap();
    fill(&ledger, 0..2_000).await;
    ledger.close().await;
    execute(&config.database, "PRAGMA wal_checkpoint(TRUNCATE)").await;
    let whole = fs::read(&config.database).unwrap();
    let pages = whole.len() / 4096;
    assert!(pages > 50, "{pages}");
    let mut found = 0;
    for page in (1..pages).step_by(7) {
        let mut rotten = whole.clone();
        rotten[page * 4096..][..4096].iter_mut().for_each(|byte| *byte ^= 0x55);
        fs::write(&config.database, rotten).unwrap();
        let verified = verify(&config.database, &ledger_key(), Some(&config.memory)).await;
        let opened = Ledger::open(config.clone(), key()).await;
        match (&verified, &opened) {
            // Ids are in no tree: a page of theirs is no leaf's, tile's or row's.
            (Ok(report), _) => assert_eq!(report.bodies, 2_000),
            (Err(error), _) => {
                found += 1;
                let names = matches!(
                    error,
                    VerifyError::Store(StoreError::Broken(_))
                        | VerifyError::Broken(_)
                        | VerifyError::Database(_)
                );
                assert!(names, "page {page}: {error}");
            }
        }
        if let Ok(ledger) = opened {
            // It may answer, for what it then needs is whole; or stop. It never answers wrongly.
            match ledger.append(exchange(5_000)).await {
                Ok(logged) => {
                    assert_eq!(logged.index, 2_000);
                    receipt::verify(
                        &logged.receipt(None),
                        leaf(&exchange(5_000)),
                        &ledger_key(),
                        None,
                    )
                    .unwrap();
                }
                Err(error) => assert!(matches!(error, AppendError::Stopped(_)), "{error}"),
            }
            ledger.close().await;
        }
        for file in ["ledger.db-wal", "ledger.db-shm", "memory"] {
            let _absent = fs::remove_file(folder.0.join(file));
        }
        fs::write(&config.database, &whole).unwrap();
        let mut adopts = config.clone();
        adopts.adopt_memory = true;
        Ledger::open(adopts, key()).await.unwrap().close().await;
    }
    assert!(found > 3, "{found} of {pages} pages");
}
