// SPDX-License-Identifier: EUPL-1.2
//! Receipts as files that any program can verify offline (c2sp.org/tlog-proof): index, inclusion
//! proof and checkpoint, with the cosignatures of witnesses.
//!
//! The `extra` line of ours holds the 38 bytes of the leaf. It proves nothing by itself: the leaf
//! counts once the proof leads from it to the checkpoint's root.

use std::fmt;

use base64::{Engine, prelude::BASE64_STANDARD};

use crate::{
    cosignature::{Cosignature, WitnessKey, cosignatures},
    digest::Digest,
    leaf::Leaf,
    merkle,
    note::{Checkpoint, LedgerKey, NOTE_MAX, NoteError, base64_hash, claimed_origin, decimal},
    wire::v1::Receipt,
};

/// The first line of such a file.
pub const HEADER: &str = "c2sp.org/tlog-proof@v1";
/// Extra data is at most this long, in bytes.
pub const EXTRA_MAX: usize = 16 * 1024;
const PATH_MAX: usize = 64;
/// The header, extra data and hashes in base64, and the checkpoint.
const TEXT_MAX: usize = NOTE_MAX + EXTRA_MAX * 4 / 3 + PATH_MAX * 45 + 256;

/// A proof that something is in a log, as it lies in a file. Nothing of it is verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlogProof {
    index: u64,
    path: Vec<Digest>,
    extra: Vec<u8>,
    note: String,
}

/// How many of which witnesses must have cosigned.
#[derive(Clone, Copy, Debug, Default)]
pub struct Quorum<'a> {
    /// The witnesses that count.
    pub witnesses: &'a [WitnessKey],
    /// So many of them.
    pub required: usize,
}

/// A proof that holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    /// Position in the log.
    pub index: u64,
    /// The checkpoint that covers it.
    pub checkpoint: Checkpoint,
    /// Which of the witnesses cosigned it.
    pub cosignatures: Vec<Cosignature>,
}

impl TlogProof {
    /// Reads a file's text.
    ///
    /// # Errors
    /// Where it is no such proof, or longer than any is.
    pub fn parse(text: &str) -> Result<Self, ProofError> {
        if text.len() > TEXT_MAX {
            return Err(ProofError::Form);
        }
        let (head, note) = text.split_once("\n\n").ok_or(ProofError::Form)?;
        let mut lines = head.split('\n');
        if lines.next() != Some(HEADER) {
            return Err(ProofError::Form);
        }
        let mut line = lines.next().ok_or(ProofError::Form)?;
        let mut extra = Vec::new();
        if let Some(base64) = line.strip_prefix("extra ") {
            extra = BASE64_STANDARD.decode(base64).map_err(|_| ProofError::Form)?;
            if extra.is_empty() || extra.len() > EXTRA_MAX {
                return Err(ProofError::Form);
            }
            line = lines.next().ok_or(ProofError::Form)?;
        }
        let index = line.strip_prefix("index ").and_then(decimal).ok_or(ProofError::Form)?;
        let path: Vec<Digest> =
            lines.map(base64_hash).collect::<Option<_>>().ok_or(ProofError::Form)?;
        if path.len() > PATH_MAX {
            return Err(ProofError::Form);
        }
        claimed_origin(note)?;
        Ok(Self { index, path, extra, note: note.to_owned() })
    }

    /// A receipt in this form. Its consistency proof, which is for one reader, is left out.
    ///
    /// # Errors
    /// Where the receipt is malformed.
    pub fn of_receipt(receipt: &Receipt) -> Result<Self, ProofError> {
        let leaf = Leaf::parse(&receipt.leaf).map_err(|_| ProofError::Form)?;
        let path: Vec<Digest> = receipt
            .inclusion
            .iter()
            .map(|hash| Digest::try_from(hash.as_slice()).map_err(|_| ProofError::Form))
            .collect::<Result<_, _>>()?;
        if path.len() > PATH_MAX {
            return Err(ProofError::Form);
        }
        claimed_origin(&receipt.checkpoint)?;
        let (extra, note) = (leaf.to_bytes().to_vec(), receipt.checkpoint.clone());
        Ok(Self { index: receipt.index, path, extra, note })
    }

    /// The receipt that it is the form of; nothing where its extra data is no leaf of ours.
    pub fn to_receipt(&self) -> Option<Receipt> {
        Some(Receipt {
            index: self.index,
            leaf: self.claimed_leaf()?.to_bytes().to_vec(),
            inclusion: self.path.iter().map(|hash| hash.to_vec()).collect(),
            checkpoint: self.note.clone(),
            consistency: None,
        })
    }

    /// The leaf that the extra data is, where it is one. A claim until the proof holds for it.
    pub fn claimed_leaf(&self) -> Option<Leaf> {
        Leaf::parse(&self.extra).ok()
    }

    /// The extra data, empty where there is none. Nobody vouches for it.
    pub fn extra(&self) -> &[u8] {
        &self.extra
    }

    /// Verifies that an entry with this hash (RFC 6962, as [`merkle::leaf_hash`] makes it) is in
    /// this log, and that enough witnesses saw that tree.
    ///
    /// # Errors
    /// Where any of it does not hold.
    pub fn verify(
        &self,
        leaf_hash: Digest,
        log: &LedgerKey,
        quorum: Quorum<'_>,
    ) -> Result<Held, ProofError> {
        let checkpoint = Checkpoint::parse(&self.note, log)?;
        let cosignatures = cosignatures(&checkpoint, quorum.witnesses);
        if cosignatures.len() < quorum.required {
            let got = cosignatures.len();
            return Err(ProofError::Witnesses { required: quorum.required, got });
        }
        let root =
            merkle::root_from_inclusion(leaf_hash, self.index, checkpoint.size(), &self.path);
        if root != Some(checkpoint.root()) {
            return Err(ProofError::Inclusion);
        }
        Ok(Held { index: self.index, checkpoint, cosignatures })
    }
}

impl fmt::Display for TlogProof {
    /// The file's text.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{HEADER}")?;
        if !self.extra.is_empty() {
            writeln!(f, "extra {}", BASE64_STANDARD.encode(&self.extra))?;
        }
        writeln!(f, "index {}", self.index)?;
        for hash in &self.path {
            writeln!(f, "{}", BASE64_STANDARD.encode(hash.as_bytes()))?;
        }
        write!(f, "\n{}", self.note)
    }
}

/// Why a proof proves nothing.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub enum ProofError {
    /// Malformed.
    #[error("the text is not a proof of the form {HEADER}")]
    Form,
    /// The checkpoint is none, or not this log's.
    #[error(transparent)]
    Checkpoint(#[from] NoteError),
    /// The path does not lead from the entry to the root.
    #[error("the proof does not lead from this entry to the checkpoint's root")]
    Inclusion,
    /// Not enough witnesses.
    #[error("{got} of the witnesses cosigned the checkpoint, but {required} are required")]
    Witnesses {
        /// How many are demanded.
        required: usize,
        /// How many did.
        got: usize,
    },
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{cosignature::Cosigner, key::SigningKey, leaf::LeafKind};

    /// Made by a Python script that shares no code with this crate.
    const GOLDEN: &str = include_str!("../tests/golden/exchange.tlog-proof");

    fn key(seed: u8) -> SigningKey {
        SigningKey::from_seed(&[seed; 32]).unwrap()
    }

    fn ledger() -> LedgerKey {
        LedgerKey::new("einmal.example/l", key(7).public().clone()).unwrap()
    }

    fn witness(number: u8) -> WitnessKey {
        WitnessKey::new(&format!("witness.example/w{number}"), key(number).public().clone())
            .unwrap()
    }

    #[test]
    fn the_golden_file_holds_and_is_written_the_same() {
        let proof = TlogProof::parse(GOLDEN).unwrap();
        let leaf = Leaf::new(LeafKind::Exchange, 20_779, b"body 3");
        assert_eq!(proof.claimed_leaf(), Some(leaf));
        let witnesses = [witness(8), witness(9), witness(10)];
        let quorum = |required| Quorum { witnesses: &witnesses, required };
        let held = proof.verify(leaf.hash(), &ledger(), quorum(2)).unwrap();
        assert_eq!((held.index, held.checkpoint.size(), held.cosignatures.len()), (3, 5, 2));
        assert_eq!(
            proof.verify(leaf.hash(), &ledger(), quorum(3)),
            Err(ProofError::Witnesses { required: 3, got: 2 })
        );
        let other = Leaf::new(LeafKind::Exchange, 20_779, b"body 4");
        let refused = proof.verify(other.hash(), &ledger(), Quorum::default());
        assert_eq!(refused, Err(ProofError::Inclusion));
        let receipt = proof.to_receipt().unwrap();
        assert!(crate::receipt::verify(&receipt, leaf, &ledger(), None).is_ok());
        assert_eq!(TlogProof::of_receipt(&receipt).unwrap().to_string(), GOLDEN);
    }

    #[test]
    fn a_tree_of_one_needs_no_hash_and_an_entry_of_another_program_no_extra() {
        let root = merkle::leaf_hash(b"any bytes");
        let note = Checkpoint::sign("einmal.example/l", 1, root, &key(7)).unwrap();
        let line = Cosigner::new("w", key(8)).unwrap().cosign(&note, 1).unwrap();
        let text = format!("{HEADER}\nindex 0\n\n{}{line}", note.note());
        let proof = TlogProof::parse(&text).unwrap();
        assert_eq!((proof.to_string(), proof.to_receipt()), (text, None));
        assert!(proof.verify(root, &ledger(), Quorum::default()).is_ok());
    }

    /// A changed byte is refused, or changes nothing that is verified: extra data, and lines of
    /// witnesses nobody asked for.
    #[test]
    fn every_changed_byte_is_refused() {
        let leaf = Leaf::new(LeafKind::Exchange, 20_779, b"body 3");
        let witnesses = [witness(8), witness(9)];
        let quorum = Quorum { witnesses: &witnesses, required: 2 };
        let extra = GOLDEN.find("extra ").unwrap() + 6..GOLDEN.find("\nindex").unwrap();
        for position in 0..GOLDEN.len() {
            let mut bytes = GOLDEN.as_bytes().to_vec();
            bytes[position] ^= 1;
            let Ok(text) = String::from_utf8(bytes) else { continue };
            let held = TlogProof::parse(&text)
                .is_ok_and(|proof| proof.verify(leaf.hash(), &ledger(), quorum).is_ok());
            assert!(!held || extra.contains(&position), "{position}: {text}");
        }
    }

    #[test]
    fn only_the_one_spelling_is_read() {
        assert!(TlogProof::parse(GOLDEN).is_ok());
        let edits = [
            ("@v1\n", "@v2\n"),
            ("@v1\n", "@v1\r\n"),
            ("index 3", "index 03"),
            ("index 3", "index +3"),
            ("index 3", "index  3"),
            ("index 3", "Index 3"),
            ("index 3\n", "index 3\n\n"),
            ("index 3\n", "index 3\nAAAA\n"),
            ("index 3\n", "index 3\nindex 3\n"),
            ("extra AQ", "extra  AQ"),
            ("iMvgY=\n", "iMvgY\n"),
            ("1tMLxc=", "1tMLxd="),
        ];
        for (from, to) in edits {
            let text = GOLDEN.replacen(from, to, 1);
            assert_ne!(text, GOLDEN, "{from}");
            assert!(TlogProof::parse(&text).is_err(), "{from} {to}");
        }
        let hashes = "bYfdapib/pgSoyWOaqgLan7t9cwSHITU8wbfQIR9xMI=\n";
        let long = GOLDEN.replacen(hashes, &hashes.repeat(PATH_MAX), 1);
        assert!(TlogProof::parse(&long).is_err());
        let big = BASE64_STANDARD.encode(vec![1; EXTRA_MAX + 1]);
        for extra in ["extra \n".to_owned(), format!("extra {big}\n")] {
            let text = GOLDEN.replacen("index", &format!("{extra}index"), 1);
            assert!(TlogProof::parse(&text).is_err());
            let alone = format!("{HEADER}\n{extra}index 0\n\n");
            assert!(TlogProof::parse(&alone).is_err());
        }
        for text in ["", "\n\n", HEADER, "c2sp.org/tlog-proof@v1\n\n", &format!("{GOLDEN}\n")] {
            assert!(TlogProof::parse(text).is_err(), "{text}");
        }
    }
}
