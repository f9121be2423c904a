// SPDX-License-Identifier: EUPL-1.2
//! FORGETS-ON-TIME, for the whole house: after the retention nothing that exists, backups and all
//! keys together, opens a record or links one to a person; and the tree still verifies. The same
//! procedure does open and link while the day's key is there, so it can fail.

mod theft;
mod thief;

use std::{path::Path, sync::Arc};

use einmal::{
    demo::{application, house::House, plan::Plan},
    verify,
};
use einmal_cockpit::{export::ExportFile, keeper::connect_in_process};
use einmal_peer::{Clock, files};
use einmal_policy::rules_document::RulesDocument;
use einmal_protocol::{
    envelope::payload_type,
    time::{DAY_MS, day_of},
    wire::cockpit::v1::{ExportRecordRequest, GetStatusRequest, ListRecordsRequest},
};
use einmal_test_servers::Postgres;
use prost::Message;

use crate::world::Folder;
use theft::{Theft, bodies_of_postgres};
use thief::{Files, Thief, keys_of_days, tags_of};

const KEPT: u32 = 3;
/// What is backed up nowhere: the day keys and the key of their files.
const NEVER_IN_BACKUPS: [&str; 2] = ["cockpit/days-", "cockpit/site.key"];
/// Where nobody may be named in the clear.
const STATES: [&str; 6] = ["broker", "memory", "cockpit/state", "adapter-", "client", "postgres"];
/// Where the broker's store has its files.
const STORES: [&str; 2] = ["broker/", "postgres/"];
/// PostgreSQL's write-ahead log.
const LOG: &str = "postgres/data/pg_wal/";
/// A place in it, just before the day is forgotten.
const RESTORE_POINT: &str = "the day is still there";

/// A world whose rules keep records for three days; its ledger lies in PostgreSQL, or in SQLite.
async fn house(folder: &Path, server: Option<&Postgres>) -> House {
    let clock = Clock::system();
    let plan = match server {
        Some(server) => Plan::create_in_postgres(folder, &clock, &server.url()).await,
        None => Plan::create(folder, &clock).await,
    };
    let plan = plan.unwrap_or_else(|e| panic!("{e}"));
    let path = folder.join("trust/rules.signed");
    let mut rules: RulesDocument =
        serde_json::from_slice(&files::envelope(&path).unwrap().payload).unwrap();
    rules.retention_days = Some(KEPT);
    let signers = ["register-authority", "data-protection-officer"];
    let signed = plan.sign(payload_type::RULES, &rules, &signers);
    let signed = signed.unwrap_or_else(|e| panic!("{e}"));
    std::fs::write(path, signed.encode_to_vec()).unwrap();
    House::start(plan, clock).await.unwrap_or_else(|e| panic!("{e}"))
}

/// Every record of the family that is asked about, as they would take it home.
pub(crate) async fn exports(house: &House) -> Vec<ExportFile> {
    let mut keeper = connect_in_process(house.cockpit.keeper.clone());
    let mut exports = Vec::new();
    let town = &house.plan.town;
    for index in [town.applicant, town.partner, town.newborn, town.sibling] {
        let subject = town.person(index).map(application::subject);
        let login = application::demo_login();
        let list = ListRecordsRequest {
            subject: subject.clone(),
            page_size: 200,
            login: login.clone(),
            ..<_>::default()
        };
        for record in keeper.list_records(list).await.unwrap().into_inner().records {
            let (subject, login) = (subject.clone(), login.clone());
            let request = ExportRecordRequest { subject, index: record.index, login };
            let export = keeper.export_record(request).await.unwrap().into_inner().record.unwrap();
            exports.push(ExportFile::from_wire(export, String::new()).unwrap());
        }
    }
    exports
}

/// Seventeen documents are fetched and shown. Answers what the family takes home.
async fn live_a_day(house: &House) -> Vec<ExportFile> {
    let client = Arc::new(house.client().await.unwrap());
    let lines = application::apply(&client, &house.plan.town, |_, _| ()).await.unwrap();
    assert!(lines.len() == 17 && lines.iter().all(|line| line.answer.is_ok()));
    let pinned = house.plan.root().unwrap();
    let size = house.broker.broker.ledger.checkpoint().size();
    let checked = application::check(&lines, &house.cockpit.keeper, size, &pinned).await.unwrap();
    assert_eq!(checked, (17, 17));
    client.save().unwrap();
    let exports = exports(house).await;
    assert!(exports.len() >= 17);
    exports
}

/// Lets four days go by; then broker and keeper forget that day.
async fn forget(house: &House, day: u32) {
    house.clock.shift_ms((u64::from(KEPT + 1) * DAY_MS).cast_signed());
    let now_ms = house.clock.now_ms();
    let ids_before_ms = now_ms.saturating_sub(2 * DAY_MS);
    let ledger = &house.broker.broker.ledger;
    ledger.forget(day_of(now_ms) - KEPT, ids_before_ms).await.unwrap();
    let done = house.cockpit.keeper.forget().await.unwrap();
    assert!(done.before_day == day + 1 && done.key_days.contains(&day), "{done:?}");
}

fn nobody_is_named(house: &House, files: &Files) {
    let canaries = house.plan.town.people.iter().flat_map(|person| {
        [
            person.idnr.clone(),
            person.full_name(),
            format!("{} {}", person.given_names, person.birth_name),
        ]
    });
    let canaries: Vec<Vec<u8>> = canaries.map(String::into_bytes).collect();
    let (states, rest) = files.clone().part(&STATES);
    let (configurations, states) = states.part_by(|path| path.ends_with(".toml"));
    assert_eq!(states.count(&canaries), 0, "somebody is named in the clear");
    assert!(rest.count(&canaries) + configurations.count(&canaries) > 100, "the search finds");
}

/// The tree stands, and so does what people took home.
async fn all_still_verifies(house: &House, exports: &[ExportFile], size: u64, day: u32) {
    let pinned = house.plan.root().unwrap();
    for export in exports {
        verify::verify(export, &pinned).unwrap();
    }
    let ledger = &house.broker.broker.ledger;
    for entry in ledger.entries(0, usize::try_from(size).unwrap()).await.unwrap() {
        assert!(entry.body.is_none() && entry.leaf.day == day);
    }
    let mut keeper = connect_in_process(house.cockpit.keeper.clone());
    let status = keeper.get_status(GetStatusRequest {}).await.unwrap().into_inner();
    assert!(status.complete_up_to >= size && status.alarms.is_empty(), "{:?}", status.alarms);
}

/// What PostgreSQL has dropped is gone from its tables, but for a while its write-ahead log still
/// holds each byte of it: with that log and an older backup all bodies come back. This is why keys
/// are destroyed, and not only rows: what comes back are the bodies that the thief could not open.
async fn the_log_brings_back_only_noise(then: &Theft, now: &Theft, mut older: Postgres) {
    let pieces = then.pieces();
    let log = now.files.clone().part(&[LOG]).0;
    assert!(log.count(&pieces) > pieces.len() / 2, "the log has most pieces of seals");
    older.replay(now.server.as_ref().unwrap(), RESTORE_POINT);
    let bodies = bodies_of_postgres(&older).await;
    assert!(bodies == then.of_ledger, "an older backup and today's log are all bodies");
}

async fn nobody_opens_or_links_anything(server: Option<&Postgres>) {
    let folder = Folder::new();
    let house = house(folder.path(), server).await;
    let older = server.map(Postgres::copy);
    let day = day_of(house.clock.now_ms());
    let exports = live_a_day(&house).await;
    let size = house.broker.broker.ledger.checkpoint().size();

    let then = Theft::of(folder.path(), server).await;
    let (keys, backup) = then.files.clone().part(&NEVER_IN_BACKUPS);
    let day_keys = keys_of_days(&keys);
    assert!(day_keys.contains_key(&day));
    let everybody = house.plan.town.people.iter().map(application::subject).collect::<Vec<_>>();
    let before = Thief::with(day_keys.values().cloned(), &backup, &keys);
    assert!(then.of_keeper == then.of_ledger, "both have all bodies");
    let (opened, sealed) = before.open_all(&then.of_ledger);
    assert!(opened == sealed && sealed >= 3 * 17, "while the key is there: {opened} of {sealed}");
    let tags = tags_of(day_keys.values(), &everybody);
    assert!(backup.count(&tags) >= 5, "while the key is there, tags link");
    let (store, pieces) = (backup.clone().part(&STORES).0.part(&[LOG]).1, then.pieces());
    assert!(store.count(&pieces) > pieces.len() / 2, "seals are found in raw files");

    if let Some(server) = server {
        server.ask(&format!("SELECT pg_create_restore_point('{RESTORE_POINT}')"));
    }
    forget(&house, day).await;

    // Whoever steals everything that exists now, and all backups, has this.
    let now = Theft::of(folder.path(), server).await;
    let day_keys = keys_of_days(&now.files.clone().part(&NEVER_IN_BACKUPS).0);
    assert!(!day_keys.is_empty() && !day_keys.contains_key(&day));
    let after = Thief::with(day_keys.values().cloned(), &now.files, &backup);
    assert!(after.keys() > 30 + 10, "day keys, sealing keys, and every other secret tried as one");
    assert_eq!(after.open_all(&then.of_ledger), (0, sealed));
    assert!(now.of_keeper.is_empty() && now.of_ledger.is_empty(), "no body is there any more");
    let all_but_the_log = now.files.clone().part(&[LOG]).1;
    assert_eq!(all_but_the_log.count(&pieces), 0, "nor any piece of a seal");
    let links = tags_of(day_keys.values(), &everybody);
    assert_eq!((backup.count(&links), now.files.count(&links)), (0, 0));
    assert_eq!(now.files.count(&tags), 0, "nor is any old tag");
    assert!(backup.count(&tags) > 0, "they stand in the backup, and are noise");
    nobody_is_named(&house, &now.files);
    nobody_is_named(&house, &backup);
    if let Some(older) = older {
        the_log_brings_back_only_noise(&then, &now, older).await;
    }
    all_still_verifies(&house, &exports, size, day).await;
    house.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn after_its_time_nobody_opens_or_links_anything_backups_included() {
    nobody_opens_or_links_anything(None).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nor_with_all_files_of_postgres() {
    // As operators with standbys have it: old log stays for a while.
    let Some(server) = Postgres::start_with(&[("wal_keep_size", "1GB")]) else { return };
    nobody_opens_or_links_anything(Some(&server)).await;
}
