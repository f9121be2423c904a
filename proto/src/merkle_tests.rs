// SPDX-License-Identifier: EUPL-1.2
#![allow(clippy::disallowed_methods, reason = "published vectors lie in files")]

use std::path::{Path, PathBuf};

use proptest::prelude::*;
use serde_json::Value;

use super::*;
use crate::digest::unhex;

fn leaves(size: u64) -> Vec<Vec<u8>> {
    (0..size).map(|index| index.to_be_bytes().to_vec()).collect()
}

fn hash_of(leaves: &[Vec<u8>], range: Range) -> Digest {
    let hashes: Vec<Digest> = range
        .nodes()
        .iter()
        .map(|node| {
            let (begin, length) = ((node.index << node.level) as usize, 1usize << node.level);
            root(leaves[begin..begin + length].iter().map(Vec::as_slice))
        })
        .collect();
    fold(&hashes)
}

#[test]
fn known_answers_of_certificate_transparency() {
    let leaves: Vec<Vec<u8>> = [
        "",
        "00",
        "10",
        "2021",
        "3031",
        "40414243",
        "5051525354555657",
        "606162636465666768696a6b6c6d6e6f",
    ]
    .iter()
    .map(|text| unhex(text).unwrap())
    .collect();
    let roots = [
        (1, "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d"),
        (3, "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77"),
        (7, "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c"),
        (8, "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328"),
    ];
    for (size, expected) in roots {
        assert_eq!(root(leaves[..size].iter().map(Vec::as_slice)).to_hex(), expected);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn every_planned_proof_verifies_and_no_other_leaf_does(size in 1u64..600, pick in any::<u64>()) {
        let leaves = leaves(size);
        let index = pick % size;
        let path: Vec<Digest> = plan_inclusion(index, size).unwrap()
            .into_iter().map(|range| hash_of(&leaves, range)).collect();
        let slices: Vec<&[u8]> = leaves.iter().map(Vec::as_slice).collect();
        prop_assert_eq!(inclusion_path(&slices, index).unwrap(), path.clone());
        let expected = root(slices.iter().copied());
        let leaf = leaf_hash(&leaves[index as usize]);
        prop_assert_eq!(root_from_inclusion(leaf, index, size, &path), Some(expected));
        prop_assert_ne!(root_from_inclusion(leaf_hash(b"other"), index, size, &path), Some(expected));
        if size > 1 {
            prop_assert_ne!(root_from_inclusion(leaf, (index + 1) % size, size, &path), Some(expected));
            prop_assert_eq!(root_from_inclusion(leaf, index, size, &path[1..]), None);
        }
    }

    #[test]
    fn consistency_of_every_two_sizes(new in 1u64..400, pick in any::<u64>()) {
        let leaves = leaves(new);
        let old = pick % (new + 1);
        let path: Vec<Digest> = plan_consistency(old, new).unwrap()
            .into_iter().map(|range| hash_of(&leaves, range)).collect();
        let of = |size: u64| (size, root(leaves[..size as usize].iter().map(Vec::as_slice)));
        prop_assert!(verify_consistency(of(old), of(new), &path));
        prop_assert!(!verify_consistency((old, Digest::of(b"another tree")), of(new), &path));
        if old < new && old > 0 {
            prop_assert!(!verify_consistency(of(old), (new, Digest::of(b"another tree")), &path));
        }
    }

    #[test]
    fn the_edge_grows_as_the_tree(size in 0u64..500) {
        let leaves = leaves(size);
        let mut edge = Edge::default();
        for leaf in &leaves { edge.push(leaf_hash(leaf)); }
        prop_assert_eq!(edge.root(), root(leaves.iter().map(Vec::as_slice)));
        let nodes = Range { begin: 0, end: size }.nodes().into_iter()
            .map(|node| hash_of(&leaves, Range {
                begin: node.index << node.level, end: (node.index + 1) << node.level }))
            .collect();
        prop_assert_eq!(Edge::new(size, nodes), Some(edge));
    }
}

fn vectors(kind: &str) -> Vec<PathBuf> {
    fn walk(folder: &Path, found: &mut Vec<PathBuf>) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                walk(&path, found);
            } else if path.extension().is_some_and(|ending| ending == "json") {
                found.push(path);
            }
        }
    }
    let folder =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/data/merkle/testdata").join(kind);
    let mut found = Vec::new();
    if folder.is_dir() {
        walk(&folder, &mut found);
    } else {
        eprintln!("skipped: {} is not there", folder.display());
    }
    found
}

fn bytes(value: &Value) -> Vec<u8> {
    use base64::{Engine, prelude::BASE64_STANDARD};
    BASE64_STANDARD.decode(value.as_str().unwrap_or_default()).unwrap()
}

fn digest(value: &Value) -> Option<Digest> {
    bytes(value).as_slice().try_into().ok()
}

/// Some vectors say "don't care" where a root should stand: those are compared as they are.
fn root_of(value: &Value) -> Digest {
    digest(value).unwrap_or_else(|| Digest::of_parts(&[b"not a hash", &bytes(value)]))
}

fn proof(value: &Value) -> Option<Vec<Digest>> {
    value.as_array().map_or(Some(Vec::new()), |hashes| hashes.iter().map(digest).collect())
}

/// Where the vectors lie, all of them are read: 98 of each kind.
fn whole(seen: usize) -> bool {
    seen == 98 || seen == 0
}

#[test]
fn published_inclusion_vectors_hold_negative_ones_too() {
    let (mut seen, mut refused) = (0, 0);
    for path in vectors("inclusion") {
        let case: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        let accepted = (|| {
            let path = proof(&case["proof"])?;
            let (index, size) = (case["leafIdx"].as_u64()?, case["treeSize"].as_u64()?);
            let root = root_from_inclusion(digest(&case["leafHash"])?, index, size, &path)?;
            Some(root == digest(&case["root"])?)
        })()
        .unwrap_or(false);
        assert_eq!(accepted, !case["wantErr"].as_bool().unwrap(), "{}", path.display());
        (seen, refused) = (seen + 1, refused + usize::from(!accepted));
    }
    let told = format!("{seen} inclusion vectors, {refused} of them refused");
    eprintln!("{told}");
    assert!(whole(seen) && (seen == 0 || refused == 92), "{told}");
}

#[test]
fn published_consistency_vectors_hold_negative_ones_too() {
    let (mut seen, mut refused, mut from_nothing) = (0, 0, 0);
    for path in vectors("consistency") {
        let case: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        let accepted = (|| {
            Some(verify_consistency(
                (case["size1"].as_u64()?, root_of(&case["root1"])),
                (case["size2"].as_u64()?, root_of(&case["root2"])),
                &proof(&case["proof"])?,
            ))
        })()
        .unwrap_or(false);
        // A tlog-witness demands the empty proof from size 0, where these vectors refuse any; the
        // root of the old tree must still be that of the empty one.
        let empty = case["size1"].as_u64() == Some(0) && root_of(&case["root1"]) == empty_root();
        if accepted == case["wantErr"].as_bool().unwrap() {
            assert!(accepted && empty && case["proof"] == serde_json::json!([]), "{path:?}");
            from_nothing += 1;
        }
        (seen, refused) = (seen + 1, refused + usize::from(!accepted));
    }
    let told = format!(
        "{seen} consistency vectors, {refused} of them refused, {from_nothing} from size 0 accepted"
    );
    eprintln!("{told}");
    assert!(whole(seen) && (seen == 0 || (refused, from_nothing) == (91, 1)), "{told}");
}

// Vectors of subtree proofs are published as well. They prove any aligned range of leaves, which
// nothing here makes or reads: a receipt is for one leaf, a checkpoint for the whole tree.

/// The same trees by another hand: the crate ct-merkle, over another SHA-256.
mod against_ct_merkle {
    use ct_merkle::{
        ConsistencyProof, InclusionProof, RootHash, mem_backed_tree::MemoryBackedTree,
    };
    use sha2::Sha256;

    use super::*;

    fn theirs(leaves: &[Vec<u8>]) -> MemoryBackedTree<Sha256, Vec<u8>> {
        let mut tree = MemoryBackedTree::new();
        leaves.iter().for_each(|leaf| tree.push(leaf.clone()));
        tree
    }

    fn root_of(leaves: &[Vec<u8>]) -> (u64, Digest) {
        (leaves.len() as u64, root(leaves.iter().map(Vec::as_slice)))
    }

    fn their_root((size, root): (u64, Digest)) -> RootHash<Sha256> {
        RootHash::new((*root.as_bytes()).into(), size)
    }

    fn digests(bytes: &[u8]) -> Vec<Digest> {
        bytes.chunks(32).map(|hash| hash.try_into().unwrap()).collect()
    }

    fn bytes(path: &[Digest]) -> Vec<u8> {
        path.iter().flat_map(|hash| hash.to_vec()).collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(300))]

        #[test]
        fn roots_and_inclusion_proofs_are_the_same_and_accepted_by_both(
            lengths in prop::collection::vec(0usize..70, 1..400),
            pick in any::<prop::sample::Index>(),
            bit in any::<usize>(),
        ) {
            let leaves: Vec<Vec<u8>> =
                (0..).zip(&lengths).map(|(n, length)| vec![n as u8; *length]).collect();
            let (tree, ours) = (theirs(&leaves), root_of(&leaves));
            prop_assert!(tree.root() == their_root(ours));
            let index = pick.index(leaves.len());
            let slices: Vec<&[u8]> = leaves.iter().map(Vec::as_slice).collect();
            let path = inclusion_path(&slices, index as u64).unwrap();
            let proof = tree.prove_inclusion(index);
            prop_assert_eq!(proof.as_bytes(), bytes(&path));
            let leaf = leaf_hash(&leaves[index]);
            let found = root_from_inclusion(leaf, index as u64, ours.0, &digests(proof.as_bytes()));
            prop_assert_eq!(found, Some(ours.1));
            // One bit of a path changed, one hash more: the two agree that it proves nothing.
            let mut broken = bytes(&path);
            broken.extend([0; 32]);
            if bit % 3 > 0 {
                broken.truncate(path.len() * 32);
                let Some(byte) = broken.get_mut(bit / 8 % (path.len() * 32).max(1)) else {
                    return Ok(());
                };
                *byte ^= 1 << (bit % 8);
            }
            let found = root_from_inclusion(leaf, index as u64, ours.0, &digests(&broken));
            prop_assert_ne!(found, Some(ours.1));
            let broken = InclusionProof::from_bytes(broken);
            prop_assert!(
                tree.root().verify_inclusion(&leaves[index], index as u64, &broken).is_err()
            );
        }

        #[test]
        fn consistency_proofs_are_the_same_and_accepted_by_both(
            new in 2u64..400, pick in any::<prop::sample::Index>(), bit in any::<usize>(),
        ) {
            let leaves = leaves(new);
            let old = 1 + pick.index(leaves.len() - 1);
            let (before, after) = (root_of(&leaves[..old]), root_of(&leaves));
            let path: Vec<Digest> = plan_consistency(old as u64, new).unwrap()
                .into_iter().map(|range| hash_of(&leaves, range)).collect();
            let proof = theirs(&leaves).prove_consistency(leaves.len() - old);
            prop_assert_eq!(proof.as_bytes(), bytes(&path));
            prop_assert!(verify_consistency(before, after, &digests(proof.as_bytes())));
            let ours = ConsistencyProof::try_from_bytes(bytes(&path)).unwrap();
            let (before_there, after_there) = (their_root(before), their_root(after));
            prop_assert!(after_there.verify_consistency(&before_there, &ours).is_ok());
            let mut broken = bytes(&path);
            let place = bit / 8 % broken.len();
            broken[place] ^= 1 << (bit % 8);
            prop_assert!(!verify_consistency(before, after, &digests(&broken)));
            let broken = ConsistencyProof::try_from_bytes(broken).unwrap();
            prop_assert!(after_there.verify_consistency(&before_there, &broken).is_err());
        }
    }
}
