// SPDX-License-Identifier: EUPL-1.2
//! `einmal bench ledger --leaves`: whether cost grows with the ledger.

use std::time::{Duration, Instant};

use einmal_ledger::Ledger;

use super::{
    LedgerArgs,
    ledger::thousandths,
    load::{self, Waits},
    stage::Stage,
};
use crate::Exit;

/// Proofs that are made at each size, each of a leaf in another tile, as far as there are tiles.
const PROOFS: u64 = 380;
/// Bytes of the bodies that only fill.
const FILLER: usize = 16;
const WRITERS: usize = 64;
/// How long the disk may write what filling left.
const SETTLE: Duration = Duration::from_secs(20);

/// One ledger of some size, and what it came to.
struct Sized {
    leaves: u64,
    ledger: Ledger,
    open_ms: f64,
    proof_us: f64,
    waits: Waits,
}

/// Runs it: fills one ledger for each size, then measures them in turns.
pub(super) async fn run(args: &LedgerArgs) -> Result<(), Exit> {
    let stage = Stage::new(args)?;
    let rounds = args.rounds.clamp(1, 100);
    let time = Duration::from_millis(args.seconds.clamp(1, 3600) * 1000 / rounds);
    let mut sizes = args.leaves.clone();
    sizes.sort_unstable();
    if !args.json {
        println!("store        leaves  entries/s    p50 ms    p99 ms  proof us  open ms");
    }
    for store in args.stores.iter().filter(|store| *store != "raw") {
        let mut ledgers = Vec::new();
        for &leaves in &sizes {
            if !args.json {
                eprintln!("{store}: filling to {leaves} leaves");
            }
            ledgers.extend(filled(&stage, store, leaves).await?);
        }
        // What filling left to write must not be measured with the first round.
        tokio::time::sleep(SETTLE).await;
        for _ in 0..rounds {
            for sized in &mut ledgers {
                sized.proof_us += proofs(&sized.ledger, sized.leaves).await? / rounds as f64;
                let round = load::append(&sized.ledger, WRITERS, args.body, time).await?;
                sized.waits.add(round);
            }
        }
        for sized in ledgers {
            show(store, sized, args).await;
        }
    }
    Ok(())
}

/// A ledger of that many leaves, opened anew; nothing where there is no such store.
async fn filled(stage: &Stage, store: &str, leaves: u64) -> Result<Option<Sized>, Exit> {
    let name = format!("growth_{leaves}");
    let Some(ledger) = stage.ledger(store, &name).await? else { return Ok(None) };
    load::fill(&ledger, leaves, FILLER).await?;
    ledger.close().await;
    let began = Instant::now();
    let ledger = stage.reopen(store, &name).await?;
    let open_ms = began.elapsed().as_secs_f64() * 1e3;
    Ok(Some(Sized { leaves, ledger, open_ms, proof_us: 0.0, waits: Waits::default() }))
}

async fn show(store: &str, sized: Sized, args: &LedgerArgs) {
    let Sized { leaves, ledger, open_ms, proof_us, mut waits } = sized;
    ledger.close().await;
    let (rate, p50, p99) = (waits.per_second(), waits.quantile(0.5), waits.quantile(0.99));
    if args.json {
        let row = serde_json::json!({
            "store": store, "leaves": leaves, "writers": WRITERS, "entries_per_s": rate.round(),
            "p50_ms": thousandths(p50), "p99_ms": thousandths(p99),
            "proof_us": proof_us.round(), "open_ms": open_ms.round(), "body_bytes": args.body,
        });
        println!("{row}");
    } else {
        println!(
            "{store:8}  {leaves:9}  {rate:9.0}  {p50:8.3}  {p99:8.3}  {proof_us:8.0}  \
             {open_ms:7.0}"
        );
    }
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
