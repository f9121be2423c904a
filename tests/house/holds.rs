// SPDX-License-Identifier: EUPL-1.2
//! Legal hold: one record outlives its day for the officer alone, the ledger says so, and it has
//! an end (FORGETS-ON-TIME, IDNrG § 9 (3)).

use einmal::{demo::plan::LEDGER, verify};
use einmal_cockpit::{
    export::ExportFile,
    keeper::{
        Desk, Forgetting, HoldError, Holds,
        hold::{Office, Wish},
        officer::{LookError, Officer},
    },
    serve::{KeeperConfig, Site},
};
use einmal_peer::random;
use einmal_protocol::{
    seal::{SealingPrivateKey, SealingPublicKey},
    time::{DAY_MS, day_of},
    wire::v1::{Kem, Look},
};

use crate::world::World;

struct Stage {
    world: World,
    config: KeeperConfig,
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
        let config = einmal::cockpit::read_keeper(&path).unwrap_or_else(|exit| panic!("{exit}"));
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

#[tokio::test(flavor = "multi_thread")]
async fn an_officer_s_look_is_a_leaf_first_and_counts_name_nobody() {
    let stage = Stage::start().await;
    let client = stage.world.house.client().await.unwrap();
    for _ in 0..11 {
        client.ask(stage.world.ask("pay-data")).await.unwrap();
    }
    let keeper = &stage.world.house.cockpit.keeper;
    while keeper.size().await.unwrap() < 12 {
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    let officer = Officer::open(&stage.config.index(), LEDGER).await.unwrap();
    let files = stage.config.day_key_files();
    let office = || Office {
        channel: stage.site.channel.clone(),
        ledger: &stage.site.ledger,
        keeper: &stage.config.keeper,
        archive: stage.site.trusted.as_ref(),
        files: &files,
        today: stage.today(),
    };
    let today = stage.today();
    let look = |reason: &str| Look { from_day: today - 29, to_day: today, reason: reason.into() };
    let before = stage.world.house.broker.broker.ledger.checkpoint().size();
    let refused = officer.look(office(), look("two\nlines")).await;
    assert!(matches!(refused, Err(LookError::Reason)));
    let long = Look { from_day: today - 92, ..look("too long") };
    assert!(matches!(officer.look(office(), long).await, Err(LookError::Days)));
    assert_eq!(stage.world.house.broker.broker.ledger.checkpoint().size(), before);

    let overview = officer.look(office(), look("Jahresbericht")).await.unwrap();
    assert_eq!((overview.notice_index, overview.total), (before, Some(12)));
    assert_eq!(overview.authorities[0].count, Some(12));
    let json = serde_json::to_string(&overview).unwrap();
    let town = &stage.world.house.plan.town;
    let person = town.person(town.applicant).unwrap();
    for secret in [&person.idnr, &person.birth_date, &person.birth_name] {
        assert!(!json.contains(secret.as_str()), "{json}");
    }
    // Everybody who reads the ledger sees that it was looked at, and why.
    while keeper.size().await.unwrap() <= before {
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    let desk = Desk::open(&stage.config.index(), LEDGER).await.unwrap();
    let notices = desk.standing().await.unwrap().notices;
    assert!(notices.iter().any(|notice| {
        notice.index == before && notice.what == "look" && notice.reason == "Jahresbericht"
    }));
    stage.world.house.stop().await;
}
