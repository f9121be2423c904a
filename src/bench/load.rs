// SPDX-License-Identifier: EUPL-1.2
//! Load on a ledger, and what it came to.

use std::{
    sync::{
        OnceLock,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use einmal_ledger::{Ledger, NewEntry};
use einmal_peer::random;
use einmal_protocol::{RequestId, leaf::LeafKind, time::day_of};
use tokio::task::JoinSet;

use crate::Exit;

/// How long each of many took, in milliseconds, and in what time altogether.
#[derive(Clone, Debug, Default)]
pub(super) struct Waits {
    pub(super) each_ms: Vec<f64>,
    pub(super) seconds: f64,
    /// Entries that one wait stands for.
    pub(super) group: usize,
}

impl Waits {
    /// Adds another round.
    pub(super) fn add(&mut self, round: Self) {
        self.each_ms.extend(round.each_ms);
        self.seconds += round.seconds;
        self.group = round.group;
    }

    /// Entries a second.
    pub(super) fn per_second(&self) -> f64 {
        (self.each_ms.len() * self.group) as f64 / self.seconds.max(f64::MIN_POSITIVE)
    }

    /// The wait that this share of all stays below, in milliseconds.
    pub(super) fn quantile(&mut self, share: f64) -> f64 {
        self.each_ms.sort_by(f64::total_cmp);
        let at = (self.each_ms.len() as f64 * share) as usize;
        self.each_ms.get(at.min(self.each_ms.len().saturating_sub(1))).copied().unwrap_or(0.0)
    }
}

/// Lets so many writers append for a while, each waiting for its answer before the next.
pub(super) async fn append(
    ledger: &Ledger,
    writers: usize,
    body: usize,
    time: Duration,
) -> Result<Waits, Exit> {
    let began = Instant::now();
    let mut tasks = JoinSet::new();
    for _ in 0..writers {
        tasks.spawn(write(ledger.clone(), body, began, time));
    }
    let mut waits = Waits { group: 1, ..Waits::default() };
    while let Some(done) = tasks.join_next().await {
        waits.each_ms.extend(done.map_err(Exit::failed)??);
    }
    waits.seconds = began.elapsed().as_secs_f64();
    Ok(waits)
}

async fn write(
    ledger: Ledger,
    body: usize,
    began: Instant,
    time: Duration,
) -> Result<Vec<f64>, Exit> {
    let mut each = Vec::new();
    while began.elapsed() < time {
        let entry = entry(body)?;
        let before = Instant::now();
        ledger.append(entry).await.map_err(Exit::failed)?;
        each.push(before.elapsed().as_secs_f64() * 1e3);
    }
    Ok(each)
}

/// Appends so many, as fast as may be.
pub(super) async fn fill(ledger: &Ledger, count: u64, body: usize) -> Result<(), Exit> {
    const WRITERS: u64 = 2048;
    let mut tasks = JoinSet::new();
    for writer in 0..WRITERS {
        let ledger = ledger.clone();
        let share = count / WRITERS + u64::from(writer < count % WRITERS);
        tasks.spawn(async move {
            for _ in 0..share {
                ledger.append(entry(body)?).await.map_err(Exit::failed)?;
            }
            Ok::<_, Exit>(())
        });
    }
    while let Some(done) = tasks.join_next().await {
        done.map_err(Exit::failed)??;
    }
    Ok(())
}

/// An exchange that never was. Its id is cheap to make: that is the authority's work, not the
/// ledger's.
fn entry(length: usize) -> Result<NewEntry, Exit> {
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    static RUN: OnceLock<[u8; 2]> = OnceLock::new();
    let run = match RUN.get() {
        Some(run) => *run,
        None => *RUN.get_or_init({
            let run = random::bytes().map_err(Exit::failed)?;
            move || run
        }),
    };
    let now_ms = einmal_peer::Clock::system().now_ms();
    let number = NUMBER.fetch_add(1, Ordering::Relaxed).to_be_bytes();
    let mut random = [0; 10];
    for (to, from) in random.iter_mut().zip(run.iter().chain(&number)) {
        *to = *from;
    }
    let mut body = vec![7; length];
    for (to, from) in body.iter_mut().zip(number) {
        *to = from;
    }
    Ok(NewEntry {
        authority: "bench".to_owned(),
        id: RequestId::new(now_ms, random),
        kind: LeafKind::Exchange,
        day: day_of(now_ms),
        body,
    })
}
