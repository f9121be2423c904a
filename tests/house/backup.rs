// SPDX-License-Identifier: EUPL-1.2
//! A rehearsal of backup and restore, with the very commands of `deploy/backup`: taken beside a
//! house at work; an older one is whole, and refused all the same, for leaves were signed since; the
//! newest goes on; and what was exported before the loss holds without any of it.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::Arc,
};

use einmal::{
    broker, cockpit,
    demo::{
        application,
        house::House,
        plan::{LEDGER, Plan},
    },
    verify,
};
use einmal_broker::{BrokerConfig, ServeError, config::KeeperMemory, open_ledger};
use einmal_ledger::{OpenError, verify_store};
use einmal_peer::{Clock, files};
use einmal_protocol::note::LedgerKey;
use einmal_test_servers::Postgres;

use crate::{
    forgets::exports,
    world::{Folder, World, ask_of},
};

/// Runs a command; nothing where it is not installed.
fn run(program: &Path, arguments: &[&str]) -> Option<()> {
    let said = Command::new(program).args(arguments).output().ok()?;
    let (status, words) = (said.status, String::from_utf8_lossy(&said.stderr).into_owned());
    assert!(status.success(), "{} {arguments:?}: {status}: {words}", program.display());
    Some(())
}

fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/backup").join(name)
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// Where a ledger lies.
enum Store {
    Sqlite(PathBuf),
    Postgres(Box<Postgres>),
}

impl Store {
    fn back_up(&self, out: &Path) {
        match self {
            Self::Sqlite(database) => {
                run(&script("ledger-sqlite.sh"), &[text(database), text(out)]).unwrap();
            }
            Self::Postgres(server) => {
                let arguments = [&server.url(), "einmal", text(out)];
                run(&script("ledger-postgres.sh"), &arguments).unwrap();
            }
        }
    }

    /// The disk is lost.
    fn destroy(&self) {
        match self {
            Self::Sqlite(database) => {
                for ending in ["", "-wal", "-shm"] {
                    let _ = fs::remove_file(format!("{}{ending}", text(database)));
                }
                fs::remove_dir_all(format!("{}-bodies", text(database))).unwrap();
            }
            Self::Postgres(server) => drop(server.ask("DROP SCHEMA einmal CASCADE")),
        }
    }

    fn restore(&self, from: &Path) {
        match self {
            Self::Sqlite(database) => {
                fs::copy(from.join("ledger.sqlite"), database).unwrap();
                let (from, to) =
                    (from.join("ledger.sqlite-bodies"), format!("{}-bodies", text(database)));
                run(Path::new("cp"), &["-a", text(&from), &to]).unwrap();
            }
            Self::Postgres(server) => {
                let (url, file) =
                    (format!("--dbname={}", server.url()), from.join("ledger.pgdump"));
                let how = ["--exit-on-error", "--single-transaction", "--no-owner"];
                run(Path::new("pg_restore"), &[&how[..], &[&url, text(&file)]].concat()).unwrap();
            }
        }
    }
}

/// Everything that was copied holds, by itself.
async fn is_whole(config: &BrokerConfig) -> u64 {
    let key = files::signing_key(&config.ledger.key).unwrap();
    let key = LedgerKey::new(LEDGER, key.public().clone()).unwrap();
    let store = open_ledger::inspect(&config.ledger).await.unwrap();
    let report = verify_store(&*store, &key, None).await.unwrap();
    assert_eq!(report.bodies, report.size, "a leaf without its body");
    report.size
}

async fn follows(house: &House, size: u64) {
    while house.cockpit.keeper.size().await.unwrap() < size {
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
}

async fn rehearse(house: House, folder: &Path, store: &Store) {
    let client = house.client().await.unwrap();
    client.ask(ask_of(&house, "pay-data")).await.unwrap();
    let client = Arc::new(client);
    let early = folder.join("early");
    // Beside a broker at work.
    let all = application::apply(&client, &house.plan.town, |_, _| ());
    let (lines, ()) = tokio::join!(all, async {
        tokio::task::block_in_place(|| store.back_up(&early));
    });
    let lines = lines.unwrap();
    assert!(lines.iter().all(|line| line.answer.is_ok()));
    let pinned = house.plan.root().unwrap();
    let signed = house.broker.broker.ledger.checkpoint().size();
    follows(&house, signed).await;
    let taken_home = exports(&house).await;
    let config = broker::read(&house.plan.config("broker")).unwrap_or_else(|e| panic!("{e}"));
    let keepers =
        cockpit::read_keeper(&house.plan.config("cockpit")).unwrap_or_else(|e| panic!("{e}"));
    let index = folder.join("keeper");
    run(&script("keeper.sh"), &[text(&keepers.state), text(&index)]).unwrap();

    let House { plan, broker, adapters, cockpit, clock, online, stop } = house;
    let signed = signed.max(broker.broker.ledger.checkpoint().size());
    broker.stop().await;
    let late = folder.join("late");
    store.back_up(&late);

    // The older one: whole, good for reading, and refused by who remembers more.
    store.destroy();
    store.restore(&early);
    let stored = is_whole(&config).await;
    assert!(stored < signed, "the backup was taken before the end");
    let refused = einmal_broker::start(&config, clock.clone()).await.err().unwrap();
    let behind = OpenError::Behind { stored, signed };
    assert!(matches!(&refused, ServeError::Open(error) if *error == behind), "{refused}");
    // Of the records that it lacks there is proof still, without ledger, index and keeper.
    let lost = taken_home.iter().find(|export| export.receipt.index >= stored).unwrap();
    assert_eq!(verify::verify(lost, &pinned).unwrap().proven.index(), lost.receipt.index);

    // The newest: nothing is missing, so it goes on.
    store.destroy();
    store.restore(&late);
    assert_eq!(is_whole(&config).await, signed);
    let broker = einmal_broker::start(&config, clock.clone()).await.unwrap();
    // The keeper's disk is lost too, but not those of its keys.
    cockpit.stop().await;
    fs::remove_dir_all(&keepers.state).unwrap();
    run(Path::new("cp"), &["-a", text(&index), text(&keepers.state)]).unwrap();
    let cockpit = cockpit::start(&plan.config("cockpit"), clock.clone()).await.unwrap();
    let house = House { plan, broker, adapters, cockpit, clock, online, stop };
    house.ready().await.unwrap();
    let client = house.client().await.unwrap();
    client.ask(ask_of(&house, "pay-data")).await.unwrap();
    let size = house.broker.broker.ledger.checkpoint().size();
    follows(&house, size).await;
    let again = exports(&house).await;
    assert!(again.len() > taken_home.len());
    // One is enough: each takes a while, for it reads all rules anew.
    verify::verify(again.last().unwrap(), &pinned).unwrap();
    no_day_key_is_in(&[&early, &late, &index], &keepers.day_keys[0]);
    house.stop().await;
}

/// No backup holds what a file of the day keys, or any part of one, holds.
fn no_day_key_is_in(backups: &[&Path], day_keys: &Path) {
    let mut keys = Vec::new();
    files_below(day_keys, &mut keys);
    let key = keys.iter().find(|path| path.extension().is_some_and(|ending| ending == "key"));
    let key = fs::read(key.unwrap()).unwrap();
    let part = &key[key.len() - 32..];
    let mut copied = Vec::new();
    backups.iter().for_each(|folder| files_below(folder, &mut copied));
    assert!(copied.len() > 4, "{copied:?}");
    for path in copied {
        let bytes = fs::read(&path).unwrap();
        assert!(!bytes.windows(32).any(|window| window == part), "{}", path.display());
    }
}

fn files_below(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { files_below(&path, found) } else { found.push(path) }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_of_sqlite_is_rehearsed_and_an_older_one_is_refused() {
    if run(Path::new("sqlite3"), &["-version"]).is_none() {
        println!("skipped: sqlite3 is not installed");
        return;
    }
    let World { house, folder } = World::start().await;
    let config = broker::read(&house.plan.config("broker")).unwrap_or_else(|e| panic!("{e}"));
    let store = Store::Sqlite(config.ledger.database.clone().unwrap());
    rehearse(house, folder.path(), &store).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_of_postgres_is_rehearsed_and_the_keeper_refuses_it_as_well() {
    let tools = ["sqlite3", "pg_dump", "pg_restore"];
    let server = Postgres::start().filter(|_| {
        let flag = |tool: &&str| if *tool == "sqlite3" { "-version" } else { "--version" };
        tools.iter().all(|tool| run(Path::new(tool), &[flag(tool)]).is_some())
    });
    let Some(server) = server else {
        println!("skipped: PostgreSQL or sqlite3 is not installed");
        return;
    };
    let (folder, clock) = (Folder::new(), Clock::system());
    let plan = Plan::create_in_postgres(folder.path(), &clock, &server.url()).await;
    let plan = plan.unwrap_or_else(|exit| panic!("{exit}"));
    // The keeper is the only memory.
    let path = plan.config("broker");
    let config = fs::read_to_string(&path).unwrap();
    let file = "memory = \"memory/ledger.checkpoint\"\n";
    assert!(config.contains(file));
    fs::write(&path, config.replace(file, "keeper_memory = \"required\"\n")).unwrap();
    let read = broker::read(&path).unwrap_or_else(|exit| panic!("{exit}"));
    assert_eq!((read.ledger.memory, read.ledger.keeper_memory), (None, KeeperMemory::Required));
    let house = House::start(plan, clock).await.unwrap_or_else(|exit| panic!("{exit}"));
    rehearse(house, folder.path(), &Store::Postgres(Box::new(server))).await;
}
