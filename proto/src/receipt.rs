// SPDX-License-Identifier: EUPL-1.2
//! Receipts: proof that a body is in the ledger that a request names. Not the broker's word, the
//! proof (NO-LOG-NO-DATA). What needs a log step takes a [`Proven`], and only verification makes
//! one.

use crate::{
    cosignature::cosignatures,
    digest::Digest,
    leaf::Leaf,
    merkle,
    note::{Checkpoint, LedgerKey, NoteError},
    tlog_proof::Quorum,
    wire::v1::Receipt,
};

const PATH_MAX: usize = 64;

/// A body that is in a ledger, proven.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proven {
    index: u64,
    leaf: Leaf,
    checkpoint: Checkpoint,
}

impl Proven {
    /// Position in the ledger.
    pub fn index(&self) -> u64 {
        self.index
    }

    /// The leaf.
    pub fn leaf(&self) -> Leaf {
        self.leaf
    }

    /// The checkpoint that covers it.
    pub fn checkpoint(&self) -> &Checkpoint {
        &self.checkpoint
    }
}

/// A body that is in a ledger, proven, under a checkpoint that enough witnesses cosigned. What
/// reveals takes one of these.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Witnessed(Proven);

impl Witnessed {
    /// The proof.
    pub fn proven(&self) -> &Proven {
        &self.0
    }
}

impl Proven {
    /// Checks that enough witnesses have cosigned its checkpoint.
    ///
    /// # Errors
    /// Where they are too few.
    pub fn witnessed(self, quorum: Quorum<'_>) -> Result<Witnessed, ReceiptError> {
        let got = cosignatures(&self.checkpoint, quorum.witnesses).len();
        if got < quorum.required {
            return Err(ReceiptError::Cosignatures { got, required: quorum.required });
        }
        Ok(Witnessed(self))
    }
}

/// Verifies a receipt for a leaf that the caller made itself, from the body's bytes.
///
/// `seen` is the last checkpoint of this ledger that the caller saw: the new one must extend it.
///
/// # Errors
/// Where any of it does not hold.
pub fn verify(
    receipt: &Receipt,
    leaf: Leaf,
    ledger: &LedgerKey,
    seen: Option<&Checkpoint>,
) -> Result<Proven, ReceiptError> {
    if receipt.leaf != leaf.to_bytes() {
        return Err(ReceiptError::OtherLeaf);
    }
    let checkpoint = verify_checkpoint(receipt, ledger, seen)?;
    let path = digests(&receipt.inclusion)?;
    let root = merkle::root_from_inclusion(leaf.hash(), receipt.index, checkpoint.size(), &path);
    if root != Some(checkpoint.root()) {
        return Err(ReceiptError::Inclusion);
    }
    Ok(Proven { index: receipt.index, leaf, checkpoint })
}

/// Verifies only a receipt's checkpoint: signed by the ledger, and an extension of the last one
/// seen. For answers to exchanges that the caller has forgotten meanwhile.
///
/// # Errors
/// As `verify`.
pub fn verify_checkpoint(
    receipt: &Receipt,
    ledger: &LedgerKey,
    seen: Option<&Checkpoint>,
) -> Result<Checkpoint, ReceiptError> {
    let checkpoint = Checkpoint::parse(&receipt.checkpoint, ledger)?;
    if let Some(seen) = seen {
        check_consistency(receipt, seen, &checkpoint)?;
    }
    Ok(checkpoint)
}

fn check_consistency(
    receipt: &Receipt,
    seen: &Checkpoint,
    checkpoint: &Checkpoint,
) -> Result<(), ReceiptError> {
    let (old, new) = ((seen.size(), seen.root()), (checkpoint.size(), checkpoint.root()));
    if old == new {
        return Ok(());
    }
    let Some(consistency) = &receipt.consistency else {
        return Err(ReceiptError::NoConsistency { seen: seen.size() });
    };
    if consistency.from_size != seen.size() {
        return Err(ReceiptError::NoConsistency { seen: seen.size() });
    }
    if !merkle::verify_consistency(old, new, &digests(&consistency.path)?) {
        return Err(ReceiptError::Inconsistent { seen: seen.size(), got: checkpoint.size() });
    }
    Ok(())
}

fn digests(path: &[Vec<u8>]) -> Result<Vec<Digest>, ReceiptError> {
    if path.len() > PATH_MAX {
        return Err(ReceiptError::Form);
    }
    path.iter()
        .map(|hash| Digest::try_from(hash.as_slice()).map_err(|_| ReceiptError::Form))
        .collect()
}

/// Why a receipt proves nothing.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum ReceiptError {
    /// Malformed.
    #[error("the receipt is not well formed")]
    Form,
    /// Another exchange's.
    #[error("the receipt is for another body")]
    OtherLeaf,
    /// The checkpoint is not this ledger's.
    #[error(transparent)]
    Checkpoint(#[from] NoteError),
    /// The path does not lead to the root.
    #[error("the inclusion proof does not lead to the checkpoint's root")]
    Inclusion,
    /// Too few witnesses.
    #[error("{got} of the witnesses that the rules name have cosigned, {required} are needed")]
    Cosignatures {
        /// Valid ones.
        got: usize,
        /// What the rules ask for.
        required: usize,
    },
    /// No proof from the last checkpoint seen.
    #[error("there is no consistency proof from size {seen}, the last checkpoint seen")]
    NoConsistency {
        /// Its size.
        seen: u64,
    },
    /// The ledger was changed, or shows different people different things.
    #[error("the checkpoint of size {got} contradicts the one of size {seen} that was seen before")]
    Inconsistent {
        /// Size of the last one.
        seen: u64,
        /// Size of this one.
        got: u64,
    },
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{key::SigningKey, leaf::LeafKind, wire::v1::Consistency};

    struct Log {
        leaves: Vec<Leaf>,
        key: SigningKey,
    }

    impl Log {
        fn new(bodies: &[&[u8]]) -> Self {
            let leaf = |body: &&[u8]| Leaf::new(LeafKind::Exchange, 1, body);
            let key = SigningKey::from_seed(&[1; 32]).unwrap();
            Self { leaves: bodies.iter().map(leaf).collect(), key }
        }

        fn range(&self, range: merkle::Range) -> Digest {
            let bytes: Vec<_> = self.leaves[range.begin as usize..range.end as usize]
                .iter()
                .map(Leaf::to_bytes)
                .collect();
            merkle::root(bytes.iter().map(|leaf| leaf.as_slice()))
        }

        fn checkpoint(&self, size: u64) -> Checkpoint {
            let root = self.range(merkle::Range { begin: 0, end: size });
            Checkpoint::sign("einmal.example/l", size, root, &self.key).unwrap()
        }

        fn receipt(&self, index: u64, seen: u64) -> Receipt {
            let size = self.leaves.len() as u64;
            let hashes = |ranges: Vec<merkle::Range>| {
                ranges.into_iter().map(|range| self.range(range).to_vec()).collect()
            };
            Receipt {
                index,
                leaf: self.leaves[index as usize].to_bytes().to_vec(),
                inclusion: hashes(merkle::plan_inclusion(index, size).unwrap()),
                checkpoint: self.checkpoint(size).note().to_owned(),
                consistency: Some(Consistency {
                    from_size: seen,
                    path: hashes(merkle::plan_consistency(seen, size).unwrap()),
                }),
            }
        }

        fn ledger(&self) -> LedgerKey {
            LedgerKey::new("einmal.example/l", self.key.public().clone()).unwrap()
        }
    }

    #[test]
    fn only_the_proof_of_this_leaf_in_this_ledger_counts() {
        let log = Log::new(&[b"a", b"b", b"c", b"d", b"e"]);
        let (leaf, seen) = (log.leaves[3], log.checkpoint(2));
        let good = log.receipt(3, 2);
        let check = |receipt: &Receipt| verify(receipt, leaf, &log.ledger(), Some(&seen));
        assert_eq!(check(&good).unwrap().index(), 3);
        assert_eq!(check(&log.receipt(2, 2)), Err(ReceiptError::OtherLeaf));
        let moved = Receipt { index: 2, ..good.clone() };
        assert_eq!(check(&moved), Err(ReceiptError::Inclusion));
        let cut = Receipt { inclusion: good.inclusion[1..].to_vec(), ..good.clone() };
        assert_eq!(check(&cut), Err(ReceiptError::Inclusion));
        let unlinked = Receipt { consistency: None, ..good.clone() };
        assert_eq!(check(&unlinked), Err(ReceiptError::NoConsistency { seen: 2 }));
        let stranger = SigningKey::from_seed(&[2; 32]).unwrap();
        let root = log.checkpoint(5).root();
        let forged = Checkpoint::sign("einmal.example/l", 5, root, &stranger).unwrap();
        let forged = Receipt { checkpoint: forged.note().to_owned(), ..good };
        assert_eq!(check(&forged), Err(ReceiptError::Checkpoint(NoteError::Signature)));
    }

    #[test]
    fn only_enough_of_the_named_witnesses_count() {
        use crate::cosignature::Cosigner;
        let log = Log::new(&[b"a", b"b"]);
        let cosigner = |seed: u8| {
            let key = SigningKey::from_seed(&[seed; 32]).unwrap();
            Cosigner::new(&format!("witness.example/{seed}"), key).unwrap()
        };
        let (one, two, stranger) = (cosigner(11), cosigner(12), cosigner(13));
        let witnesses = [one.public().clone(), two.public().clone()];
        let checkpoint = log.checkpoint(2);
        let noted = |by: &[&Cosigner]| {
            let lines: String =
                by.iter().map(|cosigner| cosigner.cosign(&checkpoint, 5).unwrap()).collect();
            Checkpoint::parse(&format!("{}{lines}", checkpoint.note()), &log.ledger()).unwrap()
        };
        let enough = |checkpoint: &Checkpoint, required| {
            let note = checkpoint.note().to_owned();
            let receipt = Receipt { checkpoint: note, ..log.receipt(0, 0) };
            let proven = verify(&receipt, log.leaves[0], &log.ledger(), None).unwrap();
            proven.witnessed(Quorum { witnesses: &witnesses, required }).is_ok()
        };
        assert!(enough(&checkpoint, 0) && !enough(&checkpoint, 1));
        assert!(enough(&noted(&[&one]), 1) && !enough(&noted(&[&one]), 2));
        assert!(!enough(&noted(&[&stranger]), 1));
        assert!(!enough(&noted(&[&one, &one, &stranger]), 2), "one witness twice is one");
        assert!(enough(&noted(&[&one, &stranger, &two]), 2));
    }

    #[test]
    fn a_forked_ledger_is_noticed() {
        let log = Log::new(&[b"a", b"b", b"c", b"d", b"e"]);
        let fork = Log::new(&[b"a", b"x", b"c", b"d", b"e", b"f"]);
        let seen = log.checkpoint(4);
        assert_eq!(
            verify(&fork.receipt(5, 4), fork.leaves[5], &fork.ledger(), Some(&seen)),
            Err(ReceiptError::Inconsistent { seen: 4, got: 6 })
        );
        // A smaller tree than the one seen is no way out either.
        let old = Log::new(&[b"a", b"b"]);
        let mut receipt = old.receipt(1, 0);
        receipt.consistency = Some(Consistency { from_size: 4, path: Vec::new() });
        assert!(verify(&receipt, old.leaves[1], &old.ledger(), Some(&seen)).is_err());
    }
}
