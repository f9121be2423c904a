// SPDX-License-Identifier: EUPL-1.2
//! What every store must do, as one function, so that each inhabitant of the contract is put
//! through the same.

use einmal_protocol::{
    RequestId,
    leaf::{Leaf, LeafKind},
};

use crate::{
    store::{Addition, AppendFault, Batch, Detail, Head, Slot, Store, StoreError, Taken, TileId},
    tree::Tree,
};

const DAY: u32 = 20_000;

/// A ledger as the store should have it.
#[derive(Clone)]
struct Model {
    head: Head,
    tree: Tree,
}

impl Model {
    fn new(origin: &str) -> Self {
        Self { head: Head::empty(origin), tree: Tree::default() }
    }

    /// The batch that appends these, and the ledger after it.
    fn with(&self, entries: Vec<Addition>) -> (Batch, Self) {
        let growth = self.tree.grow(entries.iter().map(|entry| entry.leaf.hash()));
        let head = Head {
            origin: self.head.origin.clone(),
            size: growth.tree.size(),
            root: growth.tree.root().unwrap(),
        };
        let tiles = growth.changed(self.head.size);
        let batch = Batch { next: head.clone(), entries, tiles };
        (batch, Self { head, tree: growth.tree })
    }

    async fn append(&mut self, store: &impl Store, entries: Vec<Addition>) {
        let (batch, next) = self.with(entries);
        assert_eq!(store.append(&self.head, &batch).await, Ok(()));
        *self = next;
    }

    /// The store has this ledger, all of it and nothing more.
    async fn is_in(&self, store: &impl Store) {
        assert_eq!(store.row().await.unwrap().head, self.head);
        assert_eq!(store.entries(self.head.size, 1, Detail::Leaves).await, Ok(vec![]));
        for (id, tile) in self.tree.partial_tiles().filter(|(id, _)| id.level > 0) {
            let stored = store.tiles(&[id]).await.unwrap();
            assert_eq!(stored, [Some(tile.to_bytes())], "{id}");
        }
    }
}

fn slot(number: u64, kind: LeafKind) -> Slot {
    Slot::new("authority", id(number), kind).unwrap()
}

fn id(number: u64) -> RequestId {
    RequestId::new(1_000_000 + number, [7; 10])
}

fn addition(number: u64, kind: LeafKind, day: u32) -> Addition {
    let body = vec![number as u8; 100 + number as usize % 50];
    Addition { slot: slot(number, kind), leaf: Leaf::new(kind, day, &body), body }
}

fn exchanges(numbers: std::ops::Range<u64>) -> Vec<Addition> {
    numbers.map(|number| addition(number, LeafKind::Exchange, DAY)).collect()
}

/// Puts a store through the contract. `open` opens the storage of that origin, made at its first
/// mention; several handles may lie on one.
pub(crate) async fn run<S: Store>(open: impl AsyncFn(&str) -> S) {
    grows(&open).await;
    refuses_what_does_not_fit(&open).await;
    one_of_two_wins(&open).await;
    answers_in_pieces(&open).await;
    forgets(&open).await;
    closes(&open).await;
}

async fn grows<S: Store>(open: &impl AsyncFn(&str) -> S) {
    let store = open("grows").await;
    let mut model = Model::new("grows");
    model.is_in(&store).await;
    assert_eq!(store.tiles(&[TileId { level: 0, index: 0 }]).await, Ok(vec![None]));
    let mut number = 0;
    for count in [1, 1, 37, 215, 1, 1, 300, 256] {
        model.append(&store, exchanges(number..number + count)).await;
        number += count;
        model.is_in(&store).await;
    }
    let other = open("grows").await;
    model.is_in(&other).await;
    let full = TileId { level: 0, index: 1 };
    let absent = TileId { level: 1, index: 1 };
    let tiles = other.tiles(&[absent, full]).await.unwrap();
    assert!(tiles[0].is_none());
    assert_eq!(tiles[1].as_ref().unwrap().len(), 8192);
    let asked = [slot(3, LeafKind::Use), slot(3, LeafKind::Refusal), slot(9999, LeafKind::Use)];
    let leaf = addition(3, LeafKind::Exchange, DAY).leaf;
    assert_eq!(other.taken(&asked).await, Ok(vec![None, Some(Taken { index: 3, leaf }), None]));
    assert_eq!(other.taken(&[]).await, Ok(vec![]));
    let many: Vec<Slot> = (0..400).map(|number| slot(number, LeafKind::Exchange)).collect();
    let taken = other.taken(&many).await.unwrap();
    assert!((0..).zip(taken).all(|(index, taken)| taken.unwrap().index == index));
}

async fn refuses_what_does_not_fit<S: Store>(open: &impl AsyncFn(&str) -> S) {
    let store = open("refuses").await;
    let mut model = Model::new("refuses");
    model.append(&store, exchanges(0..5)).await;
    let (batch, _) = model.with(exchanges(5..8));
    let others = [
        Head { size: 4, ..model.head.clone() },
        Head { root: model.head.root.as_bytes().map(|byte| !byte).into(), ..model.head.clone() },
        Head { origin: "another".to_owned(), ..model.head.clone() },
    ];
    for expected in others {
        let found = model.head.clone();
        assert_eq!(store.append(&expected, &batch).await, Err(AppendFault::Moved { found }));
        model.is_in(&store).await;
    }
    // The last of the batch has a slot that is taken; an exchange and a refusal share one.
    let mut entries = exchanges(5..8);
    entries.push(addition(2, LeafKind::Refusal, DAY));
    let (batch, _) = model.with(entries);
    assert_eq!(store.append(&model.head, &batch).await, Err(AppendFault::SlotTaken));
    model.is_in(&store).await;
    // Nor may one batch have an id twice.
    let (batch, _) = model.with([exchanges(5..8), exchanges(6..7)].concat());
    assert_eq!(store.append(&model.head, &batch).await, Err(AppendFault::SlotTaken));
    model.is_in(&store).await;
    assert_eq!(store.taken(&[slot(5, LeafKind::Exchange)]).await, Ok(vec![None]));
    // The same authority's report of use has its own, and another authority's id is another.
    let mut stranger = addition(2, LeafKind::Exchange, DAY);
    stranger.slot = Slot::new("authority2", id(2), LeafKind::Exchange).unwrap();
    model.append(&store, vec![addition(2, LeafKind::Use, DAY), stranger]).await;
    model.is_in(&store).await;
}

async fn one_of_two_wins<S: Store>(open: &impl AsyncFn(&str) -> S) {
    let (one, two) = (open("race").await, open("race").await);
    let mut model = Model::new("race");
    for round in 0..20 {
        let (left, after_left) = model.with(exchanges(round * 10..round * 10 + 3));
        let (right, after_right) = model.with(exchanges(round * 10 + 5..round * 10 + 7));
        let (left, right) =
            tokio::join!(one.append(&model.head, &left), two.append(&model.head, &right));
        let (winner, fault) = match (left, right) {
            (Ok(()), Err(fault)) => (after_left, fault),
            (Err(fault), Ok(())) => (after_right, fault),
            other => panic!("not one winner: {other:?}"),
        };
        assert_eq!(fault, AppendFault::Moved { found: winner.head.clone() });
        model = winner;
        model.is_in(&one).await;
        model.is_in(&two).await;
    }
}

async fn answers_in_pieces<S: Store>(open: &impl AsyncFn(&str) -> S) {
    let store = open("pieces").await;
    let mut model = Model::new("pieces");
    let mut entries = exchanges(0..20);
    for entry in &mut entries[10..] {
        entry.body = vec![entry.body[0]; 1 << 20];
        entry.leaf = Leaf::new(LeafKind::Exchange, DAY, &entry.body);
    }
    model.append(&store, entries.clone()).await;
    let leaves = store.entries(3, 100, Detail::Leaves).await.unwrap();
    assert!(leaves.iter().all(|entry| entry.body.is_none()));
    assert_eq!(leaves.len(), 17);
    assert_eq!(store.entries(3, 2, Detail::Bodies).await.unwrap().len(), 2);
    let mut got = Vec::new();
    loop {
        let piece = store.entries(got.len() as u64, 100, Detail::Bodies).await.unwrap();
        let bytes: usize = piece.iter().map(|entry| entry.body.as_ref().unwrap().len()).sum();
        assert!(bytes <= 5 << 20, "an answer of {bytes} bytes");
        if piece.is_empty() {
            break;
        }
        got.extend(piece);
    }
    assert_eq!(got.len(), 20);
    for (index, (got, entry)) in got.into_iter().zip(entries).enumerate() {
        assert_eq!((got.index, got.leaf), (index as u64, entry.leaf));
        assert!(got.body == Some(entry.body), "body {index}");
    }
}

async fn forgets<S: Store>(open: &impl AsyncFn(&str) -> S) {
    let store = open("forgets").await;
    let mut model = Model::new("forgets");
    let days = [DAY, DAY + 1, DAY, DAY + 2];
    let entries = (0..).zip(days).map(|(number, day)| addition(number, LeafKind::Exchange, day));
    model.append(&store, entries.collect()).await;
    let days = store.days().await.unwrap();
    let counts: Vec<_> = days.iter().map(|day| (day.day, day.bodies)).collect();
    assert_eq!(counts, [(DAY, 2), (DAY + 1, 1), (DAY + 2, 1)]);
    assert!(days.iter().all(|day| day.bytes >= 100), "{days:?}");
    assert_eq!(store.forget(DAY + 1, 1_000_002).await, Ok(2));
    let left: Vec<_> = store.days().await.unwrap().iter().map(|day| day.day).collect();
    assert_eq!(left, [DAY + 1, DAY + 2]);
    model.is_in(&store).await;
    let row = store.row().await.unwrap();
    assert_eq!((row.bodies_from, row.ids_from_ms), (DAY + 1, 1_000_002));
    let entries = store.entries(0, 10, Detail::Bodies).await.unwrap();
    let kept: Vec<bool> = entries.iter().map(|entry| entry.body.is_some()).collect();
    assert_eq!(kept, [false, true, false, true]);
    let slots: Vec<Slot> = (0..4).map(|number| slot(number, LeafKind::Exchange)).collect();
    let taken = store.taken(&slots).await.unwrap();
    let kept: Vec<bool> = taken.iter().map(Option::is_some).collect();
    assert_eq!(kept, [false, false, true, true]);
    // The horizon never moves back, and the ledger goes on.
    assert_eq!(store.forget(DAY, 0).await, Ok(0));
    let row = store.row().await.unwrap();
    assert_eq!((row.bodies_from, row.ids_from_ms), (DAY + 1, 1_000_002));
    // What was forgotten may have been taken, whatever whoever appends knows of that.
    let (batch, _) = model.with(vec![
        addition(10, LeafKind::Exchange, DAY + 2),
        addition(1, LeafKind::Exchange, DAY + 2),
    ]);
    assert_eq!(store.append(&model.head, &batch).await, Err(AppendFault::SlotTaken));
    model.is_in(&store).await;
    model.append(&store, exchanges(10..12)).await;
    model.is_in(&store).await;
}

async fn closes<S: Store>(open: &impl AsyncFn(&str) -> S) {
    let (store, other) = (open("closes").await, open("closes").await);
    let mut model = Model::new("closes");
    model.append(&store, exchanges(0..3)).await;
    let old = Head { size: 2, ..model.head.clone() };
    let found = model.head.clone();
    assert_eq!(store.close(&old).await, Err(AppendFault::Moved { found }));
    assert!(!store.row().await.unwrap().closed);
    assert_eq!(store.close(&model.head).await, Ok(()));
    assert_eq!(store.close(&model.head).await, Ok(()));
    let (batch, _) = model.with(exchanges(3..4));
    assert_eq!(other.append(&model.head, &batch).await, Err(AppendFault::Closed));
    assert!(other.row().await.unwrap().closed);
    model.is_in(&other).await;
    store.disconnect().await;
    assert!(matches!(store.row().await, Err(StoreError::Unavailable(_))));
    let append = store.append(&model.head, &batch).await;
    assert!(matches!(append, Err(AppendFault::NotDone(StoreError::Unavailable(_)))), "{append:?}");
    assert!(matches!(store.entries(0, 1, Detail::Bodies).await, Err(StoreError::Unavailable(_))));
    model.is_in(&other).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sqlite_keeps_the_contract() {
    use crate::sqlite::SqliteStore;
    let folder = std::env::temp_dir().join(format!("einmal-conformance-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    run(async |origin| {
        let path = folder.join(origin);
        if path.exists() {
            SqliteStore::open(path.as_path()).await.unwrap()
        } else {
            SqliteStore::create(path.as_path(), origin).await.unwrap()
        }
    })
    .await;
    std::fs::remove_dir_all(&folder).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn postgres_keeps_the_contract() {
    let Some(server) = einmal_test_servers::Postgres::start() else { return };
    in_postgres(&server.url(), false).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn postgres_behind_a_pooler_keeps_the_contract() {
    let Some(server) = einmal_test_servers::Postgres::start() else { return };
    let Some(pooler) = einmal_test_servers::PgBouncer::start(&server, 3) else { return };
    in_postgres(&server.url_at(pooler.port()), true).await;
}

async fn in_postgres(url: &str, pooler: bool) {
    use crate::{
        postgres::{PostgresOptions, PostgresStore},
        sqlite::DatabaseError,
    };
    run(async |origin| {
        let options = PostgresOptions::new(url).unwrap().schema(origin).unwrap().pooler(pooler);
        match PostgresStore::create(options.clone(), origin).await {
            Err(DatabaseError::Exists) => PostgresStore::open(options).await.unwrap(),
            made => made.unwrap(),
        }
    })
    .await;
}
