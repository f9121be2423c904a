// SPDX-License-Identifier: EUPL-1.2
//! Checks of a broker's ledger. `einmal ledger verify` looks at every leaf; this looks at the ends.

use einmal_broker::{config::LedgerSection, open_ledger};
use einmal_ledger::{remembered, store::Store};
use einmal_policy::Trust;
use einmal_protocol::{key::SigningKey, note::LedgerKey};

use super::Chart;

/// Room below so many times the reserve is worth a word.
const ROOM_WARN: u64 = 4;

/// Key, memory, database and room.
pub(super) async fn look(
    chart: &mut Chart,
    section: &LedgerSection,
    key: Option<&SigningKey>,
    trust: Option<&Trust>,
) {
    let named = key.map(|key| LedgerKey::new(&section.origin, key.public().clone()));
    let named = named.and_then(|named| chart.value(named, "mend the ledger's origin"));
    if let (Some(trust), Some(named)) = (trust, &named) {
        match trust.directory.ledger(&section.origin) {
            None => chart.fail(
                format!("the directory has no ledger {}", section.origin),
                "have the register authority enter it",
            ),
            Some(known) if known.key != *named => chart.fail(
                "the ledger's key is not the one in the directory".to_owned(),
                "use the right key, or have the register authority enter this one",
            ),
            Some(_) => chart.ok("the ledger's key is the one in the directory".to_owned()),
        }
        let required = trust.rules.quorum().required;
        let settings = open_ledger::settings(section, required);
        if chart.value(settings, "name witnesses under [[ledger.witnesses]]").is_some() {
            let count = section.witnesses.len();
            chart.ok(format!("{count} witnesses named, {required} required by the rules"));
        }
    }
    // The memory first: it is written after the database, so it is never ahead of what follows.
    let memory = section.memory.as_ref().zip(named);
    let memory = memory.map(|(memory, named)| remembered(memory, &named));
    let stored = open_ledger::inspect(section).await;
    let stored = stored.map_err(|error| format!("the ledger cannot be opened: {error}"));
    let create = "`einmal ledger create` makes one, once; otherwise find the one that was";
    let Some(store) = chart.value(stored, create) else { return };
    let row = store.row().await.map_err(|error| format!("the ledger cannot be read: {error}"));
    let Some(row) = chart.value(row, "look at the database") else { return };
    let size = row.head.size;
    chart.ok(format!("the ledger {} can be read: {size} leaves", section.place()));
    if row.head.origin != section.origin {
        chart.fail(
            format!("the database is of the ledger {}", row.head.origin),
            "name the right database",
        );
    }
    if row.closed {
        chart.fail("the ledger is closed: nothing can be logged", "begin a new origin");
    }
    let verify = "stop the broker, and find out with `einmal ledger verify` what was restored or \
                  changed";
    match memory {
        None => (),
        Some(Err(error)) => chart.fail(format!("the outside memory: {error}"), verify),
        Some(Ok(signed)) if signed.size() > size => chart.fail(
            format!("{} leaves were signed, but the database has {size}", signed.size()),
            verify,
        ),
        Some(Ok(signed)) if signed.size() == size && signed.root() != row.head.root => {
            chart.fail("the tree that was signed last is not the one stored", verify);
        }
        Some(Ok(signed)) => chart.ok(format!(
            "the outside memory knows {} leaves, and does not contradict",
            signed.size()
        )),
    }
    room(chart, section, &*store);
}

fn room(chart: &mut Chart, section: &LedgerSection, store: &dyn Store) {
    let Some(free) = store.free_bytes() else {
        chart.warn(
            "how much room the ledger has cannot be seen from here",
            "watch the database server's disk",
        );
        return;
    };
    let free_mib = free >> 20;
    let text = format!("{free_mib} MiB free for the ledger, {} in reserve", section.reserve_mib);
    if free_mib < section.reserve_mib {
        chart.fail(format!("{text}: nothing new is begun"), "make room on that disk");
    } else if free_mib < section.reserve_mib.saturating_mul(ROOM_WARN) {
        chart.warn(text, "make room on that disk soon");
    } else {
        chart.ok(text);
    }
}
