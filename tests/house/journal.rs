// SPDX-License-Identifier: EUPL-1.2
//! The registers' journals in the whole house: an exchange is in the journal before it is revealed,
//! its receipt is in the published ledger, its officer finds it, and nobody else reads anything.

use std::{
    io::Write,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::{Arc, Mutex},
};

use einmal::demo::application;
use einmal_adapter_kit::journal::{
    BrokenJournal, What,
    audit::Audited,
    officer::{KEY, Officer},
    reading::{self, Folder, Offline},
};
use einmal_peer::KeyFile;
use einmal_protocol::{
    time::{day_of, day_to_iso},
    wire::v1::Subject,
};

use tracing::Level;

use crate::{hearing::Hearing, world::World};

const TYPE: &str = "residence-registration";

/// All journals of the house, by register.
fn journals(world: &World) -> Vec<(String, PathBuf)> {
    let registers = &world.house.plan.registers;
    let of = |id: &str, operator: &str| {
        world.folder.path().join(format!("adapter-{operator}/journal/{id}"))
    };
    registers.iter().map(|one| (one.id.clone(), of(&one.id, &one.operator))).collect()
}

fn officer(world: &World) -> Officer {
    let folder = world.folder.path().join("officer");
    let key = KeyFile::read(&folder.join(KEY)).unwrap().open(None).unwrap();
    Officer::new(&folder, key).unwrap()
}

fn exchanges(folder: &Path) -> u64 {
    let mut count = 0;
    let mut take = |what| count += u64::from(matches!(what, What::Exchange(_)));
    Folder::new(folder).all(&mut take).unwrap();
    count
}

/// Every audit of the house, from the broker's own public address.
async fn audits(world: &World) -> Vec<(String, Audited)> {
    let url = format!("http://{}", world.house.broker.public.unwrap());
    let mut all = Vec::new();
    for adapter in &world.house.adapters {
        all.extend(adapter.audit(|_| Some(url.clone())).await);
    }
    all
}

fn canaries(world: &World) -> Vec<Vec<u8>> {
    let people = world.house.plan.town.people.iter();
    let canaries = people.flat_map(|person| {
        [person.idnr.clone(), format!("{} {}", person.given_names, person.birth_name)]
    });
    canaries.map(String::into_bytes).collect()
}

fn names_nobody(what: &str, bytes: &[u8], canaries: &[Vec<u8>]) {
    for canary in canaries {
        let found = bytes.windows(canary.len()).any(|some| some == canary.as_slice());
        assert!(!found, "{what} names somebody");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_exchange_is_journalled_audited_and_found_by_its_officer() {
    // All lines of the process, of other tests too, which is more to look through.
    let log = Arc::new(Mutex::new(Vec::new()));
    let taken = Arc::clone(&log);
    let hearing =
        Hearing::all(Level::INFO, move |line| taken.lock().unwrap().extend_from_slice(line));
    let world = World::start().await;
    let client = Arc::new(world.house.client().await.unwrap());
    let lines = application::apply(&client, &world.house.plan.town, |_, _| ()).await.unwrap();
    assert!(lines.len() == 17 && lines.iter().all(|line| line.answer.is_ok()));
    let all = journals(&world);
    assert_eq!(all.iter().map(|(_, folder)| exchanges(folder)).sum::<u64>(), 17);

    // The public tree comes up to a minute later than the receipts.
    let mut audited = audits(&world).await;
    for _ in 0..400 {
        if audited.iter().all(|(_, one)| !one.waiting) {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(200)).await;
        audited = audits(&world).await;
    }
    assert!(audited.len() == all.len() && audited.iter().all(|(_, one)| one.is_good()));
    assert_eq!(audited.iter().map(|(_, one)| one.checked).sum::<u64>(), 17);

    let officer = officer(&world);
    let key_of = |day| Ok::<_, BrokenJournal>(officer.day_key(day).unwrap());
    let town = &world.house.plan.town;
    let (mut found, mut of_stranger) = (0, 0);
    for (_, folder) in &all {
        let of = |person: &Subject| {
            reading::find(&mut Folder::new(folder), person, key_of).unwrap().entries
        };
        let entries = of(&application::subject(town.person(town.applicant).unwrap()));
        for entry in &entries {
            assert_eq!(reading::check(&entry.exchange, None), Offline::Holds);
            assert!(!entry.withheld && !entry.exchange.legal_basis.is_empty());
        }
        found += entries.len();
        let nobody = Subject { idnr: "02476291358".to_owned(), ..Subject::default() };
        of_stranger += of(&nobody).len();
    }
    assert!(found > 5 && of_stranger == 0, "{found}");
    the_command_reports(&world, &all);

    let canaries = canaries(&world);
    for (_, folder) in &all {
        for file in std::fs::read_dir(folder).unwrap() {
            let path = file.unwrap().path();
            names_nobody(&path.display().to_string(), &std::fs::read(&path).unwrap(), &canaries);
        }
    }
    world.house.stop().await;
    drop(hearing);
    let log = log.lock().unwrap();
    assert!(log.len() > 5_000, "the log was not heard");
    names_nobody("the log", &log, &canaries);
}

/// `einmal adapter report`, as the officer uses it, where the command was built.
fn the_command_reports(world: &World, all: &[(String, PathBuf)]) {
    let binary = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let target =
        std::env::var("CARGO_TARGET_DIR").map_or_else(|_| binary.join("target"), PathBuf::from);
    let binary = target.join("debug/einmal");
    if !binary.exists() {
        println!("skipped: the command is not built");
        return;
    }
    let town = &world.house.plan.town;
    let person = town.person(town.applicant).unwrap();
    let mut command = Command::new(binary);
    command.args(["adapter", "report", "--json", "--person", "-", "--keys"]);
    command.arg(world.folder.path().join("officer"));
    for (_, folder) in all {
        command.arg("--journal").arg(folder);
    }
    let mut running = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let text = format!("idnr = \"{}\"\n", person.idnr);
    running.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let output = running.wait_with_output().unwrap();
    assert!(output.status.success());
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(report["entries"].as_array().unwrap().len() > 5);
    assert_eq!(
        (report["read"].as_u64(), report["receipts_that_fail"].as_u64()),
        (Some(17), Some(0))
    );
    for (_, folder) in all {
        let notes = std::fs::read_to_string(folder.join("reports.log")).unwrap();
        assert!(notes.contains("about a person") && notes.lines().count() == 1);
    }
}

/// No journal, no data: where it cannot be written nothing is revealed, and the ledger shows no
/// exchange without an answer; when there is room again, it goes on by itself.
#[tokio::test(flavor = "multi_thread")]
async fn no_journal_no_data() {
    let world = World::start().await;
    let client = world.house.client().await.unwrap();
    let ask = || world.ask(TYPE);
    let day = day_to_iso(day_of(world.clock().now_ms()));
    let all = journals(&world);
    let files = all.iter().flat_map(|(_, folder)| {
        [folder.join(format!("{day}.journal")), folder.join("journal.probe")]
    });
    let full: Vec<PathBuf> = files.collect();
    for path in &full {
        std::os::unix::fs::symlink("/dev/full", path).unwrap();
    }
    // The first finds it out after the log step; the next are declined before anything is logged.
    assert!(client.ask(ask()).await.is_err());
    let size = world.house.broker.broker.ledger.checkpoint().size();
    assert!(client.ask(ask()).await.is_err());
    assert_eq!(world.house.broker.broker.ledger.checkpoint().size(), size);
    let problems: Vec<_> =
        world.house.adapters.iter().flat_map(|a| a.journals()).filter_map(|j| j.problem).collect();
    assert!(problems.len() == 1 && problems[0].contains("No space left"), "{problems:?}");
    full.iter().for_each(|path| std::fs::remove_file(path).unwrap());
    let mut tries = 0;
    while client.ask(ask()).await.is_err() {
        tokio::time::sleep(std::time::Duration::from_millis(200)).await;
        tries += 1;
        assert!(tries < 50, "it recovers by itself");
    }
    assert_eq!(all.iter().map(|(_, folder)| exchanges(folder)).sum::<u64>(), 1);
    world.house.stop().await;
}
