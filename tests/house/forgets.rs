// SPDX-License-Identifier: EUPL-1.2
//! FORGETS-ON-TIME, for the whole house: after the retention nothing that exists, backups and all
//! keys together, opens a record or links one to a person; and the tree still verifies. The same
//! procedure does open and link while the day's key is there, so it can fail.

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
use prost::Message;

use crate::world::Folder;
use thief::{Files, Thief, keys_of_days, tags_of};

const KEPT: u32 = 3;

/// A world whose rules keep records for three days.
async fn house(folder: &Path) -> House {
    let clock = Clock::system();
    let plan = Plan::create(folder, &clock).await.unwrap_or_else(|e| panic!("{e}"));
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
async fn exports(house: &House) -> Vec<ExportFile> {
    let mut keeper = connect_in_process(house.cockpit.keeper.clone());
    let mut exports = Vec::new();
    let town = &house.plan.town;
    for index in [town.applicant, town.partner, town.newborn, town.sibling] {
        let subject = town.person(index).map(application::subject);
        let list =
            ListRecordsRequest { subject: subject.clone(), page_size: 200, ..<_>::default() };
        for record in keeper.list_records(list).await.unwrap().into_inner().records {
            let request = ExportRecordRequest { subject: subject.clone(), index: record.index };
            let export = keeper.export_record(request).await.unwrap().into_inner().record.unwrap();
            exports.push(ExportFile::from_wire(export, String::new()).unwrap());
        }
    }
    exports
}

#[tokio::test(flavor = "multi_thread")]
async fn after_its_time_nobody_opens_or_links_anything_backups_included() {
    let folder = Folder::new();
    let house = house(folder.path()).await;
    let day = day_of(house.clock.now_ms());
    let client = Arc::new(house.client().await.unwrap());
    let lines = application::apply(&client, &house.plan.town, |_, _| ()).await.unwrap();
    assert!(lines.len() == 17 && lines.iter().all(|line| line.answer.is_ok()));
    let pinned = house.plan.root().unwrap();
    let size = house.broker.broker.ledger.checkpoint().size();
    let checked = application::check(&lines, &house.cockpit.keeper, size, &pinned).await.unwrap();
    assert_eq!(checked, (17, 17));
    client.save().unwrap();
    let exports = exports(&house).await;
    assert!(exports.len() >= 17);

    // What is backed up, and what never is: the day keys and the key of their files.
    let (keys, backup) = Files::below(folder.path()).part(&["cockpit/days-", "cockpit/site.key"]);
    let day_keys = keys_of_days(&keys);
    assert!(day_keys.contains_key(&day));
    let everybody = house.plan.town.people.iter().map(application::subject).collect::<Vec<_>>();
    let before = Thief::with(day_keys.values().cloned(), &backup, &keys);
    let (opened, sealed) = before.open_all(&backup, folder.path()).await;
    assert!(opened == sealed && sealed >= 3 * 17, "while the key is there: {opened} of {sealed}");
    let tags = tags_of(day_keys.values(), &everybody);
    assert!(backup.count(&tags) >= 5, "while the key is there, tags link");

    // Its time is over: four days later.
    house.clock.shift_ms((u64::from(KEPT + 1) * DAY_MS).cast_signed());
    let now_ms = house.clock.now_ms();
    let ids_before_ms = now_ms.saturating_sub(2 * DAY_MS);
    let ledger = &house.broker.broker.ledger;
    ledger.forget(day_of(now_ms) - KEPT, ids_before_ms).await.unwrap();
    let done = house.cockpit.keeper.forget().await.unwrap();
    assert!(done.before_day == day + 1 && done.key_days.contains(&day), "{done:?}");

    // Whoever steals everything that exists now, and all backups, has this.
    let now = Files::below(folder.path());
    let day_keys = keys_of_days(&now.clone().part(&["cockpit/days-", "cockpit/site.key"]).0);
    assert!(!day_keys.is_empty() && !day_keys.contains_key(&day));
    let after = Thief::with(day_keys.values().cloned(), &now, &backup);
    assert!(after.keys() > 30 + 10, "day keys, sealing keys, and every other secret tried as one");
    assert_eq!(after.open_all(&backup, folder.path()).await, (0, sealed));
    assert_eq!(after.open_all(&now, folder.path()).await, (0, 0), "no body is there any more");
    let links = tags_of(day_keys.values(), &everybody);
    assert_eq!((backup.count(&links), now.count(&links)), (0, 0));
    assert_eq!(now.count(&tags), 0, "nor is any old tag");
    assert!(backup.count(&tags) > 0, "they stand in the backup, and are noise");
    let canaries = house.plan.town.people.iter().flat_map(|person| {
        [
            person.idnr.clone(),
            person.full_name(),
            format!("{} {}", person.given_names, person.birth_name),
        ]
    });
    let canaries: Vec<Vec<u8>> = canaries.map(String::into_bytes).collect();
    let places = ["broker", "memory", "cockpit/state", "adapter-", "client"];
    for files in [&now, &backup] {
        let (states, rest) = files.clone().part(&places);
        let (configurations, states) = states.part_by(|path| path.ends_with(".toml"));
        assert_eq!(states.count(&canaries), 0, "somebody is named in the clear");
        assert!(rest.count(&canaries) + configurations.count(&canaries) > 100, "the search finds");
    }

    // The tree stands, and so does what people took home.
    for export in &exports {
        verify::verify(export, &pinned).unwrap();
    }
    for entry in ledger.entries(0, usize::try_from(size).unwrap()).await.unwrap() {
        assert!(entry.body.is_none() && entry.leaf.day == day);
    }
    let mut keeper = connect_in_process(house.cockpit.keeper.clone());
    let status = keeper.get_status(GetStatusRequest {}).await.unwrap().into_inner();
    assert!(status.complete_up_to >= size && status.alarms.is_empty(), "{:?}", status.alarms);
    house.stop().await;
}
