// SPDX-License-Identifier: EUPL-1.2
//! What stands in the ledger, read from its database and computed anew.

use std::{collections::HashMap, path::Path};

use einmal_ledger::{
    SqliteStore,
    store::{Archive, Detail},
};
use einmal_protocol::{
    Digest, RequestId,
    leaf::{Leaf, LeafKind},
    merkle::Edge,
    note::{Checkpoint, LedgerKey},
    receipt::Proven,
    wire::v1::{Body, Envelope, Request, SignedRequest, UseReport, body},
};
use prost::Message;

const AT_ONCE: usize = 256;

/// A receipt that somebody verified.
#[derive(Clone)]
pub(super) struct Given {
    pub(super) id: RequestId,
    pub(super) proven: Proven,
}

/// All leaves, the root after each of them, and which leaf each id has.
#[derive(Default)]
pub(super) struct Truth {
    leaves: Vec<Leaf>,
    roots: Vec<Digest>,
    // Exchange and refusal share an id's first place, a report of use has the second (ONCE).
    exchanges: HashMap<RequestId, (u64, LeafKind)>,
    uses: HashMap<RequestId, (u64, LeafKind)>,
}

impl Truth {
    /// Reads a database whose broker is dead.
    pub(super) async fn read(database: &Path) -> Self {
        let store = SqliteStore::inspect(database).await.expect("a ledger");
        let mut edge = Edge::default();
        let mut truth = Self { roots: vec![edge.root()], ..Self::default() };
        loop {
            let entries = store.entries(truth.size(), AT_ONCE, Detail::Bodies).await.unwrap();
            if entries.is_empty() {
                return truth;
            }
            for entry in entries {
                assert_eq!(entry.index, truth.size());
                let body = entry.body.expect("nothing is forgotten yet");
                let (kind, id) = id_of(&body);
                assert_eq!(entry.leaf, Leaf::new(kind, entry.leaf.day, &body));
                let places =
                    if kind == LeafKind::Use { &mut truth.uses } else { &mut truth.exchanges };
                let other = places.insert(id, (entry.index, kind));
                assert_eq!(other, None, "{id} has two leaves, the second at {}", entry.index);
                edge.push(entry.leaf.hash());
                truth.leaves.push(entry.leaf);
                truth.roots.push(edge.root());
            }
        }
    }

    pub(super) fn size(&self) -> u64 {
        self.leaves.len() as u64
    }

    pub(super) fn root_at(&self, size: u64) -> Digest {
        let size = usize::try_from(size).unwrap();
        *self.roots.get(size).unwrap_or_else(|| panic!("{size} leaves were signed and are lost"))
    }

    /// Nothing that stood there before is gone or another.
    pub(super) fn extends(&self, before: &Self) {
        assert!(self.leaves.starts_with(&before.leaves), "the ledger was rewritten");
    }

    /// The receipt still holds.
    pub(super) fn has(&self, given: &Given) {
        let proven = &given.proven;
        let index = usize::try_from(proven.index()).unwrap();
        assert_eq!(self.leaves.get(index), Some(&proven.leaf()), "leaf {index}");
        let checkpoint = proven.checkpoint();
        assert_eq!(self.root_at(checkpoint.size()), checkpoint.root());
        let places = match proven.leaf().kind {
            LeafKind::Use => &self.uses,
            LeafKind::Exchange | LeafKind::Refusal => &self.exchanges,
            LeafKind::Notice => panic!("nothing was done with this ledger itself"),
        };
        let place = Some(&(proven.index(), proven.leaf().kind));
        assert_eq!(places.get(&given.id), place, "{}", given.id);
    }

    pub(super) fn has_exchange(&self, id: RequestId, index: u64) {
        assert_eq!(self.exchanges.get(&id), Some(&(index, LeafKind::Exchange)), "{id}");
    }

    /// The id has its leaf; that it has no second one was found when reading.
    pub(super) fn has_once(&self, id: RequestId) {
        let place = self.exchanges.get(&id).map(|(_, kind)| *kind);
        assert_eq!(place, Some(LeafKind::Exchange), "{id}");
    }

    /// The checkpoint is of this tree.
    pub(super) fn is_of(&self, note: &str, key: &LedgerKey) {
        let checkpoint = Checkpoint::parse(note, key).expect("a checkpoint");
        assert_eq!(self.root_at(checkpoint.size()), checkpoint.root());
    }
}

fn id_of(body: &[u8]) -> (LeafKind, RequestId) {
    let of_request = |signed: &[u8]| {
        let signed = SignedRequest::decode(signed).expect("a signed request");
        Request::decode(signed.request.as_slice()).expect("a request").id
    };
    let (kind, id) = match Body::decode(body).expect("a body").kind.expect("a kind") {
        body::Kind::Exchange(it) => (LeafKind::Exchange, of_request(&it.signed_request)),
        body::Kind::Refusal(it) => (LeafKind::Refusal, of_request(&it.signed_request)),
        body::Kind::Use(it) => {
            let envelope = Envelope::decode(it.report.as_slice()).expect("an envelope");
            let report = UseReport::decode(envelope.payload.as_slice()).expect("a report");
            (LeafKind::Use, report.request_id)
        }
        body::Kind::Notice(_) => panic!("nothing was done with this ledger itself"),
    };
    (kind, RequestId::parse(&id).expect("an id"))
}
