// SPDX-License-Identifier: EUPL-1.2
//! How many durable appends a second, and how long each waits. Measure on the disk that counts:
//! `cargo run --release -p einmal-ledger --example append_rate -- <folder>`.

use std::{error::Error, path::Path, time::Instant};

use einmal_ledger::{Ledger, LedgerConfig, NewEntry};
use einmal_protocol::{RequestId, key::SigningKey, leaf::LeafKind};

const SECONDS: f64 = 5.0;

type Failure = Box<dyn Error + Send + Sync>;

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let folder = std::env::args().nth(1).ok_or("name a folder on the disk to measure")?;
    println!("writers  body bytes  appends/s  p50 ms  p99 ms  entries/commit");
    for body in [1024, 8192] {
        for writers in [1, 8, 64, 256] {
            let folder = Path::new(&folder).join(format!("rate-{writers}-{body}"));
            std::fs::create_dir_all(&folder)?;
            measure(&folder, writers, body).await?;
            std::fs::remove_dir_all(&folder)?;
        }
    }
    Ok(())
}

async fn measure(folder: &Path, writers: u64, body: usize) -> Result<(), Failure> {
    let config = LedgerConfig::new("rate.example/l", folder.join("db"), folder.join("memory"));
    let ledger = Ledger::create(config, SigningKey::from_seed(&[1; 32])?).await?;
    let mut checkpoints = ledger.watch();
    let commits = tokio::spawn(async move {
        let mut sizes = std::collections::BTreeSet::new();
        while checkpoints.changed().await.is_ok() {
            sizes.insert(checkpoints.borrow_and_update().size());
        }
        sizes.len()
    });
    let start = Instant::now();
    let tasks: Vec<_> = (0..writers)
        .map(|writer| tokio::spawn(write(ledger.clone(), writer, body, start)))
        .collect();
    let mut waits = Vec::new();
    for task in tasks {
        waits.extend(task.await??);
    }
    let seconds = start.elapsed().as_secs_f64();
    ledger.close().await;
    let commits = commits.await?.max(1);
    waits.sort_by(f64::total_cmp);
    let share = |of: f64| waits.get((waits.len() as f64 * of) as usize).copied().unwrap_or(0.0);
    println!(
        "{writers:7}  {body:10}  {:9.0}  {:6.2}  {:6.2}  {:14.1}",
        waits.len() as f64 / seconds,
        share(0.5) * 1e3,
        share(0.99) * 1e3,
        waits.len() as f64 / commits as f64,
    );
    Ok(())
}

async fn write(
    ledger: Ledger,
    writer: u64,
    length: usize,
    start: Instant,
) -> Result<Vec<f64>, Failure> {
    let mut waits = Vec::new();
    for number in 0u32.. {
        let before = start.elapsed().as_secs_f64();
        if before > SECONDS {
            break;
        }
        let [.., a, b] = writer.to_be_bytes();
        let [c, d, e, f] = number.to_be_bytes();
        let entry = NewEntry {
            authority: "rate".to_owned(),
            id: RequestId::new(
                1_795_372_800_000 + (before * 1e3) as u64,
                [a, b, c, d, e, f, 0, 0, 0, 0],
            ),
            kind: LeafKind::Exchange,
            day: 20_779,
            body: [a, b, c, d, e, f].into_iter().cycle().take(length).collect(),
        };
        ledger.append(entry).await?;
        waits.push(start.elapsed().as_secs_f64() - before);
    }
    Ok(waits)
}
