// SPDX-License-Identifier: EUPL-1.2
//! Legal hold: one record outlives its day for the officer alone, the ledger says so, and it has
//! an end (FORGETS-ON-TIME, IDNrG § 9 (3)).

use einmal::{demo::plan::LEDGER, verify};
use einmal_cockpit::{
    export::ExportFile,
    keeper::{
        Desk, Forgetting, HoldError, Holds,
        hold::{Office, Wish},
    },
    serve::{CockpitConfig, Site},
};
use einmal_peer::random;
use einmal_protocol::{
    seal::{SealingPrivateKey, SealingPublicKey},
    time::{DAY_MS, day_of},
    wire::v1::Kem,
};

use crate::world::World;

struct Stage {
    world: World,
    config: CockpitConfig,
    site: Site,
    holds: Holds,
}

impl Stage {
    async fn start() -> Self {
        let world = World::start().await;
        let client = world.house.client().await.unwrap();
        client.ask(world.ask("pay-data")).await.unwrap();
        let keeper = &world.house.cockpit.keeper;
        while keeper.size().await.unwrap() == 0 {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
        let path = world.house.plan.config("cockpit");
        let config = einmal::cockpit::read(&path).unwrap_or_else(|exit| panic!("{exit}"));
        let site = Site::open(&config, &world.clock()).await.unwrap();
        let holds = Holds::open(&config.index(), LEDGER).await.unwrap();
        Self { world, config, site, holds }
    }

    fn today(&self) -> u32 {
        day_of(self.world.clock().now_ms())
    }

    async fn hold(
        &self,
        officer: &SealingPublicKey,
        (index, until_day, reason): (u64, u32, &str),
    ) -> Result<u64, HoldError> {
        let files = self.config.day_key_files();
        let office = Office {
            channel: self.site.channel.clone(),
            ledger: &self.site.ledger,
            keeper: &self.config.keeper,
            archive: self.site.trusted.as_ref(),
            files: &files,
            today: self.today(),
        };
        let wish = Wish { index, slot: None, officer, reason, until_day };
        Ok(self.holds.hold(office, wish).await?.notice_index)
    }

    async fn forget(&self) {
        let (index, files) = (self.config.index(), self.config.day_key_files());
        let beside = Forgetting::beside(&index, LEDGER, files, self.world.clock()).await.unwrap();
        beside.run(3, true).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_held_record_outlives_its_day_for_the_officer_alone_and_ends() {
    let stage = Stage::start().await;
    let key = || SealingPrivateKey::generate(Kem::XWing, random::entropy().unwrap()).unwrap();
    let (officer, other) = (key(), key());
    let (public, today) = (officer.public(), stage.today());
    for (wish, expected) in [
        ((0, today + 30, ""), "reason"),
        ((0, today + 30, "two\nlines"), "reason"),
        ((0, today, "Az. 7"), "end"),
        ((0, today + 3_700, "Az. 7"), "end"),
        ((9, today + 30, "Az. 7"), "no such record"),
    ] {
        let refused = stage.hold(public, wish).await.unwrap_err();
        assert!(refused.to_string().contains(expected), "{refused}");
    }
    let size = stage.world.house.broker.broker.ledger.checkpoint().size();
    let notice = stage.hold(public, (0, today + 30, "Az. 7 K 12/26")).await.unwrap();
    assert_eq!(notice, size, "nothing that was refused was written down");

    stage.world.house.clock.shift_ms((5 * DAY_MS).cast_signed());
    stage.forget().await;
    let held = stage.holds.list().await.unwrap();
    assert_eq!((held.len(), held[0].index, held[0].notice_index), (1, 0, notice));
    let export = stage.holds.open_copy(0, None, &officer).await.unwrap();
    let file = ExportFile::from_wire(export, String::new()).unwrap();
    let file = ExportFile::parse(&file.to_json().unwrap()).unwrap();
    verify::verify(&file, &stage.world.house.plan.root().unwrap()).unwrap();
    assert!(stage.holds.open_copy(0, None, &other).await.is_err());
    // The day is over for everybody else.
    let late = stage.hold(other.public(), (0, today + 60, "too late")).await.unwrap_err();
    assert!(matches!(late, HoldError::NoRecord | HoldError::Forgotten), "{late}");

    stage.world.house.clock.shift_ms((26 * DAY_MS).cast_signed());
    stage.forget().await;
    assert!(stage.holds.list().await.unwrap().is_empty());
    assert!(stage.holds.open_copy(0, None, &officer).await.is_err());
    stage.world.house.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hold_is_listed_for_everybody_who_reads_the_ledger() {
    let stage = Stage::start().await;
    let officer = SealingPrivateKey::generate(Kem::XWing, random::entropy().unwrap()).unwrap();
    let until = stage.today() + 30;
    let notice = stage.hold(officer.public(), (0, until, "Az. 7 K 12/26")).await.unwrap();
    let desk = Desk::open(&stage.config.index(), LEDGER).await.unwrap();
    let listed = async {
        loop {
            let notices = desk.standing().await.unwrap().notices;
            if let Some(found) = notices.into_iter().find(|found| found.index == notice) {
                return found;
            }
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    };
    let listed = tokio::time::timeout(std::time::Duration::from_secs(15), listed).await.unwrap();
    assert_eq!((listed.what.as_str(), listed.from_index), ("hold", 0));
    assert_eq!(
        (listed.by.as_str(), listed.reason.as_str()),
        ("cockpit/datenschutzcockpit", "Az. 7 K 12/26")
    );
    stage.world.house.stop().await;
}
