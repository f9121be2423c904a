// SPDX-License-Identifier: EUPL-1.2
//! What a run came to.

use std::{collections::BTreeMap, time::Duration};

/// Words of losses that are shown; more are only counted.
const SHOWN: u64 = 20;

/// One store's run.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tally {
    pub(crate) command: &'static str,
    pub(crate) store: &'static str,
    pub(crate) seed: u64,
    pub(crate) rounds: u64,
    pub(crate) faults: BTreeMap<&'static str, u64>,
    pub(crate) leaves: u64,
    pub(crate) receipts: u64,
    pub(crate) duplicates: u64,
    pub(crate) unknown_written: u64,
    pub(crate) unknown_not_written: u64,
    /// Why ledgers stopped, which they may.
    pub(crate) stops: BTreeMap<&'static str, u64>,
    pub(crate) losses: u64,
    pub(crate) doubles: u64,
    /// Answers that were not true, and refusals and stops without a reason.
    pub(crate) wrong: u64,
    pub(crate) took: Duration,
}

impl Tally {
    pub(crate) fn new(command: &'static str, store: &'static str, seed: u64) -> Self {
        Self { command, store, seed, ..Self::default() }
    }

    pub(crate) fn fault(&mut self, kind: &'static str) {
        *self.faults.entry(kind).or_default() += 1;
    }

    pub(crate) fn loss(&mut self, what: &str) {
        self.losses += 1;
        self.show("LOST", what);
    }

    pub(crate) fn double(&mut self, what: &str) {
        self.doubles += 1;
        self.show("TWICE", what);
    }

    pub(crate) fn wrong(&mut self, what: &str) {
        self.wrong += 1;
        self.show("WRONG", what);
    }

    fn show(&self, word: &str, what: &str) {
        if self.losses + self.doubles + self.wrong <= SHOWN {
            let (store, seed, round) = (self.store, self.seed, self.rounds);
            eprintln!("{word}: {what} ({store}, seed {seed}, round {round})");
        }
    }

    pub(crate) fn is_good(&self) -> bool {
        self.losses + self.doubles + self.wrong == 0
    }

    pub(crate) fn to_json(&self) -> serde_json::Value {
        serde_json::json!({
            "command": self.command,
            "store": self.store,
            "seed": self.seed,
            "rounds": self.rounds,
            "faults": self.faults,
            "leaves": self.leaves,
            "receipts_checked": self.receipts,
            "duplicates_checked": self.duplicates,
            "unknown_written": self.unknown_written,
            "unknown_not_written": self.unknown_not_written,
            "stops": self.stops,
            "losses": self.losses,
            "double_ids": self.doubles,
            "wrong_answers": self.wrong,
            "seconds": self.took.as_secs(),
        })
    }

    /// A table of two columns.
    pub(crate) fn to_table(&self) -> String {
        let mut lines = vec![
            ("store", self.store.to_owned()),
            ("seed", self.seed.to_string()),
            ("rounds", self.rounds.to_string()),
            ("seconds", self.took.as_secs().to_string()),
            ("leaves", self.leaves.to_string()),
            ("receipts checked", self.receipts.to_string()),
            ("duplicates checked", self.duplicates.to_string()),
            ("unknown, written", self.unknown_written.to_string()),
            ("unknown, not written", self.unknown_not_written.to_string()),
            ("losses", self.losses.to_string()),
            ("double ids", self.doubles.to_string()),
            ("wrong answers", self.wrong.to_string()),
        ];
        let counts = |of: &BTreeMap<&'static str, u64>| -> Vec<_> {
            of.iter().map(|(kind, count)| format!("{count:>7} {kind}")).collect()
        };
        lines.extend(counts(&self.faults).into_iter().map(|line| ("fault", line)));
        lines.extend(counts(&self.stops).into_iter().map(|line| ("stopped, rightly", line)));
        lines.iter().map(|(name, value)| format!("{name:<21}{value}\n")).collect()
    }
}
