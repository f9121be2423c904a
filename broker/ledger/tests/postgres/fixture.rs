// SPDX-License-Identifier: EUPL-1.2
//! Ledgers as a store should have them, and the batches that make them grow.

use std::ops::Range;

use einmal_ledger::{
    PostgresOptions, PostgresStore,
    store::{Addition, Archive, Batch, Detail, Entry, Head, Slot, Store},
};
use einmal_protocol::{
    RequestId,
    leaf::{Leaf, LeafKind},
    merkle::{self, Edge},
};

pub(crate) const ORIGIN: &str = "einmal.example/l";
pub(crate) const DAY: u32 = 20_779;

pub(crate) async fn create(url: &str) -> PostgresStore {
    PostgresStore::create(PostgresOptions::new(url).unwrap(), ORIGIN).await.unwrap()
}

pub(crate) async fn open(url: &str) -> PostgresStore {
    PostgresStore::open(PostgresOptions::new(url).unwrap()).await.unwrap()
}

/// A ledger: its head, and what it takes to append to it.
#[derive(Clone, Debug)]
pub(crate) struct Model {
    pub(crate) head: Head,
    edge: Edge,
}

impl Model {
    pub(crate) fn new() -> Self {
        Self { head: Head::empty(ORIGIN), edge: Edge::default() }
    }

    /// The batch of these numbers' exchanges, and the ledger with it.
    pub(crate) fn with(&self, numbers: Range<u64>) -> (Batch, Self) {
        let entries: Vec<Addition> = numbers.map(exchange).collect();
        let mut edge = self.edge.clone();
        entries.iter().for_each(|entry| edge.push(entry.leaf.hash()));
        let head = Head { size: edge.size(), root: edge.root(), ..self.head.clone() };
        (Batch { next: head.clone(), entries, tiles: Vec::new() }, Self { head, edge })
    }

    /// Appends the next so many exchanges.
    pub(crate) async fn append(&mut self, store: &PostgresStore, count: u64) {
        let size = self.head.size;
        let (batch, next) = self.with(size..size + count);
        store.append(&self.head, &batch).await.unwrap();
        *self = next;
    }
}

pub(crate) fn exchange(number: u64) -> Addition {
    let body = format!("the body of {number}").into_bytes();
    let mut random = [0; 10];
    random[2..].copy_from_slice(&number.to_be_bytes());
    let id = RequestId::new(1_795_372_800_000, random);
    let slot = Slot::new("buergeramt-beispielstadt", id, LeafKind::Exchange).unwrap();
    Addition { slot, leaf: Leaf::new(LeafKind::Exchange, DAY, &body), body }
}

/// All entries, which must be those of the row, bodies and all.
pub(crate) async fn whole(store: &PostgresStore) -> (Head, Vec<Entry>) {
    let head = store.row().await.unwrap().head;
    let mut entries = Vec::new();
    loop {
        let more = store.entries(entries.len() as u64, 1000, Detail::Bodies).await.unwrap();
        if more.is_empty() {
            break;
        }
        entries.extend(more);
    }
    assert_eq!(entries.len() as u64, head.size);
    let leaves: Vec<_> = entries.iter().map(|entry| entry.leaf.to_bytes()).collect();
    assert_eq!(merkle::root(leaves.iter().map(|leaf| &leaf[..])), head.root);
    for entry in &entries {
        let body = entry.body.as_ref().unwrap();
        assert_eq!(Leaf::new(entry.leaf.kind, entry.leaf.day, body), entry.leaf);
    }
    let days = store.days().await.unwrap();
    assert_eq!(days.iter().map(|day| day.bodies).sum::<u64>(), head.size);
    (head, entries)
}
