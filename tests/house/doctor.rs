// SPDX-License-Identifier: EUPL-1.2
//! `einmal doctor` finds nothing wrong with a house that runs, and names what is wrong with one
//! that does not.

use std::os::unix::fs::PermissionsExt;

use einmal::{
    demo::house::House,
    doctor::{Args, Finding, Level, examine},
};
use einmal_peer::Clock;
use einmal_policy::freshness::STALE_MS;

use crate::world::World;

const DAY_MS: i64 = 86_400_000;

fn args(house: &House) -> Args {
    let config = |name| vec![house.plan.config(name)];
    Args {
        broker: config("broker"),
        adapter: house.plan.adapters.clone(),
        cockpit: config("cockpit"),
        pages: Vec::new(),
        client: config("client"),
        publisher: config("publisher"),
        json: false,
    }
}

fn of(findings: &[Finding], level: Level) -> Vec<&str> {
    let found = findings.iter().filter(|finding| finding.level == level);
    found.map(|finding| finding.what.as_str()).collect()
}

/// So many checks of that level say this.
fn say(findings: &[Finding], level: Level, part: &str) -> usize {
    of(findings, level).iter().filter(|what| what.contains(part)).count()
}

fn later(days: i64) -> Clock {
    let clock = Clock::system();
    clock.shift_ms(days * DAY_MS);
    clock
}

#[tokio::test(flavor = "multi_thread")]
async fn a_doctor_finds_what_is_wrong_and_nothing_else() {
    let world = World::start().await;
    let house = &world.house;
    let all = args(house);
    let programs = 4 + house.plan.adapters.len();
    let well = examine(&all, &house.clock).await;
    assert_eq!(of(&well, Level::Fail), [""; 0]);
    // The demo has no revocation lists.
    let warned = of(&well, Level::Warn);
    assert!(warned.iter().all(|what| what.contains("revocation lists")), "{warned:?}");
    for (part, count) in [
        ("the configuration can be read", programs),
        ("answers and serves", programs),
        ("this clock and the broker's agree", programs),
        ("known to be the newest", programs),
        ("the authorities vouch for it", programs),
        ("the ledger's key is the one in the directory", 1),
        ("the outside memory knows", 1),
        ("MiB free for the ledger", 1),
        ("its sources open, and fit the rules", house.plan.registers.len()),
        ("rules and directory are in the archive", 2),
        ("the online key is one of the root's", 1),
    ] {
        assert_eq!(say(&well, Level::Ok, part), count, "{part}");
    }

    // What ends soon, what is over, and a clock that is wrong.
    let soon = examine(&all, &later(85)).await;
    assert_eq!(say(&soon, Level::Warn, "only 4 days left"), 3 * programs);
    assert_eq!(say(&soon, Level::Fail, "ahead of the broker's"), programs);
    let over = examine(&all, &later(91)).await;
    assert!(say(&over, Level::Fail, "expired") >= programs, "{over:?}");
    house.stop.cancel();
    let stale = Clock::system();
    stale.shift_ms(STALE_MS.cast_signed() + 1000);
    let stale = examine(&all, &stale).await;
    assert_eq!(say(&stale, Level::Fail, "not said to be the newest since"), programs);

    // Files of others, and a broker that is away.
    let folder = world.folder.path().to_owned();
    let open = std::fs::Permissions::from_mode(0o644);
    std::fs::set_permissions(folder.join("keys/ledger.key"), open).unwrap();
    std::fs::rename(folder.join("keys/online.key"), folder.join("keys/moved.key")).unwrap();
    std::fs::copy(folder.join("keys/emergency.key"), folder.join("keys/online.key")).unwrap();
    std::fs::remove_file(folder.join("keys/elterngeldstelle-bremen.key")).unwrap();
    let broken = examine(&all, &house.clock).await;
    assert_eq!(say(&broken, Level::Warn, "others may read"), 1, "{broken:?}");
    assert_eq!(say(&broken, Level::Fail, "the online key is not one of the root's"), 1);
    assert_eq!(say(&broken, Level::Fail, "elterngeldstelle-bremen.key"), 2);
    let clock = house.clock.clone();
    world.house.stop().await;
    std::fs::remove_file(folder.join("memory/ledger.checkpoint")).unwrap();
    let away = examine(&all, &clock).await;
    assert_eq!(say(&away, Level::Fail, "does not answer"), programs);
    assert_eq!(say(&away, Level::Fail, "the outside memory"), 1);
    std::fs::write(folder.join("broker.toml"), "listen = 1").unwrap();
    let unreadable = examine(&Args { broker: all.broker, ..Args::default() }, &clock).await;
    assert_eq!(of(&unreadable, Level::Fail).len(), 1, "{unreadable:?}");
}
