// SPDX-License-Identifier: EUPL-1.2
//! `einmal bench ledger`: every store and every number of writers, in turns.

use std::{
    collections::BTreeMap,
    fs::File,
    io::Write,
    path::Path,
    time::{Duration, Instant},
};

use einmal_ledger::Ledger;

use super::{
    LedgerArgs,
    load::{self, Waits},
    stage::Stage,
};
use crate::Exit;

/// Runs it.
pub(super) async fn run(args: &LedgerArgs) -> Result<(), Exit> {
    let rounds = args.rounds.clamp(1, 100);
    let time = Duration::from_millis(args.seconds.clamp(1, 3600) * 1000 / rounds);
    let stage = Stage::new(args)?;
    let mut ledgers: BTreeMap<&str, Ledger> = BTreeMap::new();
    for store in args.stores.iter().filter(|store| *store != "raw") {
        if let Some(ledger) = stage.ledger(store, "appends").await? {
            ledgers.insert(store, ledger);
        }
    }
    let raw = args.stores.iter().any(|store| store == "raw");
    let mut rows: BTreeMap<(String, usize), Waits> = BTreeMap::new();
    for round in 1..=rounds {
        for &writers in &args.writers {
            if !args.json {
                eprintln!("round {round} of {rounds}, {writers} writers");
            }
            if raw {
                let waits = raw_appends(&stage.folder, writers, args.body, time)?;
                rows.entry(("raw".to_owned(), writers)).or_default().add(waits);
            }
            for (store, ledger) in &ledgers {
                let waits = load::append(ledger, writers, args.body, time).await?;
                rows.entry(((*store).to_owned(), writers)).or_default().add(waits);
            }
        }
    }
    for ledger in ledgers.into_values() {
        ledger.close().await;
    }
    if !args.json {
        println!("store     writers  entries/s    p50 ms    p99 ms");
    }
    for ((store, writers), mut waits) in rows {
        let (rate, p50, p99) = (waits.per_second(), waits.quantile(0.5), waits.quantile(0.99));
        if args.json {
            let row = serde_json::json!({
                "store": store, "writers": writers, "entries_per_s": rate.round(),
                "p50_ms": thousandths(p50), "p99_ms": thousandths(p99), "body_bytes": args.body,
            });
            println!("{row}");
        } else {
            println!("{store:8}  {writers:7}  {rate:9.0}  {p50:8.3}  {p99:8.3}");
        }
    }
    Ok(())
}

pub(super) fn thousandths(value: f64) -> f64 {
    (value * 1e3).round() / 1e3
}

/// The disk's own limit: one thread appends what all writers would wait for, and syncs.
fn raw_appends(folder: &Path, writers: usize, body: usize, time: Duration) -> Result<Waits, Exit> {
    let path = folder.join("raw");
    let mut file = File::create(&path).map_err(Exit::failed)?;
    let bytes = vec![7u8; body * writers];
    let mut waits = Waits { group: writers, ..Waits::default() };
    let began = Instant::now();
    while began.elapsed() < time {
        let before = Instant::now();
        file.write_all(&bytes).and_then(|()| file.sync_data()).map_err(Exit::failed)?;
        waits.each_ms.push(before.elapsed().as_secs_f64() * 1e3);
    }
    waits.seconds = began.elapsed().as_secs_f64();
    std::fs::remove_file(&path).map_err(Exit::failed)?;
    Ok(waits)
}
