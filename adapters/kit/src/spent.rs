// SPDX-License-Identifier: EUPL-1.2
//! Where the time of exchanges goes at a register, summed up since the start. Always counted: it
//! costs two looks at the clock for each phase. `einmal bench adapter` reads it.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, Instant},
};

/// A phase of an exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Signature, permit, deciding again, opening the person.
    Verify,
    /// What the register itself takes, waiting for its source included.
    Lookup,
    /// Sealing the evidence, which is signed within, and the access records.
    Seal,
    /// Signing the commitment.
    Sign,
    /// Sealing the entry of the register's journal.
    Journal,
    /// Waiting until that entry is on the disk.
    Disk,
}

/// How long a phase took, of all exchanges so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Taken {
    /// The phase.
    pub phase: Phase,
    /// How often it was done.
    pub times: u64,
    /// How long all of them took together. Other exchanges may have run meanwhile.
    pub total: Duration,
}

/// Sums of one phase.
#[derive(Debug, Default)]
struct Sum {
    times: AtomicU64,
    nanos: AtomicU64,
}

/// Sums of all phases.
#[derive(Debug, Default)]
pub(crate) struct Spent {
    verify: Sum,
    lookup: Sum,
    seal: Sum,
    sign: Sum,
    journal: Sum,
    disk: Sum,
}

impl Phase {
    /// All, in the order of an exchange.
    pub const ALL: [Self; 6] =
        [Self::Verify, Self::Lookup, Self::Seal, Self::Sign, Self::Journal, Self::Disk];

    /// In a table.
    pub fn name(self) -> &'static str {
        match self {
            Self::Verify => "verify",
            Self::Lookup => "lookup",
            Self::Seal => "seal",
            Self::Sign => "sign",
            Self::Journal => "journal",
            Self::Disk => "disk",
        }
    }
}

impl Spent {
    /// Does it, and counts how long it took.
    pub(crate) fn on<T>(&self, phase: Phase, work: impl FnOnce() -> T) -> T {
        let began = Instant::now();
        let done = work();
        self.add(phase, began);
        done
    }

    /// Awaits it, and counts how long it took. What is cancelled is not counted.
    pub(crate) async fn until<T>(&self, phase: Phase, work: impl Future<Output = T>) -> T {
        let began = Instant::now();
        let done = work.await;
        self.add(phase, began);
        done
    }

    /// What all of it took so far.
    pub(crate) fn taken(&self) -> Vec<Taken> {
        let of = |phase| {
            let Sum { times, nanos } = self.sum(phase);
            let total = Duration::from_nanos(nanos.load(Ordering::Relaxed));
            Taken { phase, times: times.load(Ordering::Relaxed), total }
        };
        Phase::ALL.into_iter().map(of).collect()
    }

    fn add(&self, phase: Phase, began: Instant) {
        let sum = self.sum(phase);
        let nanos = u64::try_from(began.elapsed().as_nanos()).unwrap_or(u64::MAX);
        sum.nanos.fetch_add(nanos, Ordering::Relaxed);
        sum.times.fetch_add(1, Ordering::Relaxed);
    }

    fn sum(&self, phase: Phase) -> &Sum {
        match phase {
            Phase::Verify => &self.verify,
            Phase::Lookup => &self.lookup,
            Phase::Seal => &self.seal,
            Phase::Sign => &self.sign,
            Phase::Journal => &self.journal,
            Phase::Disk => &self.disk,
        }
    }
}
