// SPDX-License-Identifier: EUPL-1.2
//! `einmal bench ledger --leaves`: whether cost grows with the ledger.

use std::time::{Duration, Instant};

use einmal_ledger::Ledger;

use super::{LedgerArgs, ledger::thousandths, load, stage::Stage};
use crate::Exit;

/// Proofs that are made at each size, each of a leaf in another tile, as far as there are tiles.
const PROOFS: u64 = 380;
/// Bytes of the bodies that only fill.
const FILLER: usize = 16;
const WRITERS: usize = 64;

/// Runs it.
pub(super) async fn run(args: &LedgerArgs) -> Result<(), Exit> {
    let stage = Stage::new(args)?;
    let time = Duration::from_secs(args.seconds.clamp(1, 3600));
    let mut sizes = args.leaves.clone();
    sizes.sort_unstable();
    if !args.json {
        println!("store        leaves  entries/s    p50 ms    p99 ms  proof us  open ms");
    }
    for store in args.stores.iter().filter(|store| *store != "raw") {
        let Some(mut ledger) = stage.ledger(store, "growth").await? else { continue };
        for &leaves in &sizes {
            let missing = leaves.saturating_sub(ledger.checkpoint().size());
            if !args.json && missing > 100_000 {
                eprintln!("{store}: filling to {leaves} leaves");
            }
            load::fill(&ledger, missing, FILLER).await?;
            ledger.close().await;
            let began = Instant::now();
            ledger = stage.reopen(store, "growth").await?;
            let open_ms = began.elapsed().as_secs_f64() * 1e3;
            let proof_us = proofs(&ledger, leaves).await?;
            let mut waits = load::append(&ledger, WRITERS, args.body, time).await?;
            let (rate, p50, p99) = (waits.per_second(), waits.quantile(0.5), waits.quantile(0.99));
            if args.json {
                let row = serde_json::json!({
                    "store": store, "leaves": leaves, "writers": WRITERS,
                    "entries_per_s": rate.round(), "p50_ms": thousandths(p50),
                    "p99_ms": thousandths(p99), "proof_us": proof_us.round(),
                    "open_ms": open_ms.round(), "body_bytes": args.body,
                });
                println!("{row}");
            } else {
                println!(
                    "{store:8}  {leaves:9}  {rate:9.0}  {p50:8.3}  {p99:8.3}  {proof_us:8.0}  \
                     {open_ms:7.0}"
                );
            }
        }
        ledger.close().await;
    }
    Ok(())
}

/// Microseconds for one inclusion proof of an old leaf, whose tile has to be read. The tiles above
/// are at hand, as in any ledger that has run for a while.
async fn proofs(ledger: &Ledger, leaves: u64) -> Result<f64, Exit> {
    let size = ledger.checkpoint().size();
    let step = leaves.max(1).div_ceil(PROOFS);
    for tile in (0..leaves).step_by(1 << 16) {
        ledger.inclusion(tile, size).await.map_err(Exit::failed)?;
    }
    let began = Instant::now();
    let mut count = 0u32;
    for index in (0..leaves).step_by(usize::try_from(step).unwrap_or(1)) {
        ledger.inclusion(index, size).await.map_err(Exit::failed)?;
        count += 1;
    }
    Ok(began.elapsed().as_secs_f64() * 1e6 / f64::from(count.max(1)))
}
