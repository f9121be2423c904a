// SPDX-License-Identifier: EUPL-1.2
//! Requests at the same moment: one of two contradicting trees is cosigned, and sizes only grow.

use std::{
    collections::BTreeSet,
    sync::{Arc, Barrier},
};

use einmal_peer::Clock;
use einmal_protocol::note::Checkpoint;
use einmal_witness::{AddCheckpoint, Verdict, Witness};

use crate::fixture::{Folder, NOW_S, Tree, ledger_key};

fn body(tree: &Tree, old: u64, new: u64) -> Vec<u8> {
    let (proof, note) = (tree.proof(old, new), tree.note(new));
    AddCheckpoint { old_size: old, proof, note }.to_string().into_bytes()
}

#[test]
fn of_two_trees_of_one_size_exactly_one_is_cosigned() {
    let (one, other) = (Tree::new(64), Tree::forked(64, 5));
    for round in 0..20 {
        let folder = Folder::new();
        let clock = Clock::standing_at(NOW_S * 1000);
        let witness = Arc::new(Witness::open(&folder.config(&[ledger_key()]), clock).unwrap());
        assert!(matches!(witness.add_checkpoint(&body(&one, 0, 4)), Verdict::Cosigned(_)));
        let start = Arc::new(Barrier::new(8));
        let threads: Vec<_> = (0..8)
            .map(|number| {
                let (witness, start) = (Arc::clone(&witness), Arc::clone(&start));
                let body = body(if number % 2 == round % 2 { &one } else { &other }, 4, 32);
                std::thread::spawn(move || {
                    start.wait();
                    witness.add_checkpoint(&body)
                })
            })
            .collect();
        let verdicts: Vec<Verdict> =
            threads.into_iter().map(|thread| thread.join().unwrap()).collect();
        let cosigned = verdicts.iter().filter(|v| matches!(v, Verdict::Cosigned(_))).count();
        assert_eq!(cosigned, 1, "{verdicts:?}");
        let conflicts = verdicts.iter().filter(|v| **v == Verdict::Conflict { size: 32 }).count();
        assert_eq!(conflicts, 7, "{verdicts:?}");
        let root = folder.remembered().unwrap().root();
        assert!(root == one.root(32) || root == other.root(32));
        // The loser's note beside the winner's is the proof.
        assert_eq!(folder.forks().len(), 1);
    }
}

#[test]
fn a_size_never_goes_back() {
    let tree = Tree::new(200);
    let folder = Folder::new();
    let clock = Clock::standing_at(NOW_S * 1000);
    let witness = Arc::new(Witness::open(&folder.config(&[ledger_key()]), clock).unwrap());
    let tree = Arc::new(tree);
    let threads: Vec<_> = (0..8u64)
        .map(|number| {
            let (witness, tree) = (Arc::clone(&witness), Arc::clone(&tree));
            std::thread::spawn(move || {
                let (mut known, mut won) = (0, Vec::new());
                for step in 1..25 {
                    let target = (step * 8 + number).min(200);
                    if target <= known {
                        continue;
                    }
                    match witness.add_checkpoint(&body(&tree, known, target)) {
                        Verdict::Cosigned(_) => {
                            won.push(target);
                            known = target;
                        }
                        Verdict::Conflict { size } => known = size,
                        other => panic!("{other:?}"),
                    }
                }
                won
            })
        })
        .collect();
    let won: Vec<u64> = threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect();
    let distinct: BTreeSet<u64> = won.iter().copied().collect();
    assert_eq!(won.len(), distinct.len(), "no size was cosigned for two");
    let last: Checkpoint = folder.remembered().unwrap();
    assert_eq!(Some(&last.size()), distinct.last());
    assert!(folder.forks().is_empty());
}
