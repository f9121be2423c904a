// SPDX-License-Identifier: EUPL-1.2
//! Checkpoints as C2SP signed notes (c2sp.org/signed-note, c2sp.org/tlog-checkpoint), signed with
//! Ed25519 (type 0x01).

use std::fmt;

use base64::{Engine, prelude::BASE64_STANDARD};

use crate::{
    digest::{Digest, hex, unhex},
    key::{Algorithm, KeyError, PublicKey, SigningKey},
};

const ED25519: u8 = 1;
/// A note is at most this long.
pub const NOTE_MAX: usize = 64 * 1024;
const LINES_MAX: usize = 64;

/// A ledger's public key with its name, as in `name+hash+key`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LedgerKey {
    name: String,
    key: PublicKey,
}

impl LedgerKey {
    /// Puts a name to a key.
    ///
    /// # Errors
    /// Where the name is empty, or has spaces or a plus sign, or the key is not Ed25519.
    pub fn new(name: &str, key: PublicKey) -> Result<Self, NoteError> {
        if key.algorithm() != Algorithm::Ed25519 || !is_origin(name) {
            return Err(NoteError::Key);
        }
        Ok(Self { name: name.to_owned(), key })
    }

    /// Reads a `vkey`.
    ///
    /// # Errors
    /// Where it is none, or its hash does not fit.
    pub fn parse(text: &str) -> Result<Self, NoteError> {
        let mut parts = text.splitn(3, '+');
        let (Some(name), Some(hash), Some(key)) = (parts.next(), parts.next(), parts.next()) else {
            return Err(NoteError::Key);
        };
        let bytes = BASE64_STANDARD.decode(key).map_err(|_| NoteError::Key)?;
        let (&kind, raw) = bytes.split_first().ok_or(NoteError::Key)?;
        if kind != ED25519 {
            return Err(NoteError::Key);
        }
        let key = PublicKey::new(Algorithm::Ed25519, raw).map_err(|_| NoteError::Key)?;
        let this = Self::new(name, key)?;
        if unhex(hash).as_deref() != Some(&this.hash()) {
            return Err(NoteError::Key);
        }
        Ok(this)
    }

    /// The name, which is the ledger's origin.
    pub fn name(&self) -> &str {
        &self.name
    }

    fn hash(&self) -> [u8; 4] {
        let digest = Digest::of_parts(&[self.name.as_bytes(), b"\n", &[ED25519], self.key.bytes()]);
        let [a, b, c, d, ..] = *digest.as_bytes();
        [a, b, c, d]
    }
}

impl fmt::Display for LedgerKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let key = [&[ED25519], self.key.bytes()].concat();
        write!(f, "{}+{}+{}", self.name, hex(&self.hash()), BASE64_STANDARD.encode(key))
    }
}

/// Whether a text may be an origin: a schemaless URL, no spaces, no plus sign.
pub fn is_origin(text: &str) -> bool {
    !text.is_empty() && text.len() <= 200 && text.chars().all(|c| c.is_ascii_graphic() && c != '+')
}

/// The state of a ledger, signed by its key.
#[derive(Clone, PartialEq, Eq)]
pub struct Checkpoint {
    origin: String,
    size: u64,
    root: Digest,
    note: String,
}

impl fmt::Debug for Checkpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Checkpoint({} {} {})", self.origin, self.size, self.root)
    }
}

impl Checkpoint {
    /// Signs a ledger's state.
    ///
    /// # Errors
    /// Where the origin is none or the key cannot sign.
    pub fn sign(
        origin: &str,
        size: u64,
        root: Digest,
        key: &SigningKey,
    ) -> Result<Self, NoteError> {
        let ledger = LedgerKey::new(origin, key.public().clone())?;
        let text = format!("{origin}\n{size}\n{}\n", BASE64_STANDARD.encode(root.as_bytes()));
        let signature = key.sign(text.as_bytes()).map_err(NoteError::Sign)?;
        let line = BASE64_STANDARD.encode([&ledger.hash()[..], &signature].concat());
        let note = format!("{text}\n— {origin} {line}\n");
        Ok(Self { origin: origin.to_owned(), size, root, note })
    }

    /// Reads a signed note and verifies this ledger's signature. Signatures by others (witnesses)
    /// are passed over.
    ///
    /// # Errors
    /// Where it is no checkpoint, of another ledger, or not signed by this key.
    pub fn parse(note: &str, ledger: &LedgerKey) -> Result<Self, NoteError> {
        if note.len() > NOTE_MAX || note.chars().any(|c| c.is_control() && c != '\n') {
            return Err(NoteError::Form);
        }
        let (text, signatures) = note.rsplit_once("\n\n").ok_or(NoteError::Form)?;
        let text = format!("{text}\n");
        let mut lines = text.lines();
        let (Some(origin), Some(size), Some(root)) = (lines.next(), lines.next(), lines.next())
        else {
            return Err(NoteError::Form);
        };
        if origin != ledger.name {
            return Err(NoteError::OtherLedger { got: origin.chars().take(200).collect() });
        }
        let size_number: u64 = size.parse().map_err(|_| NoteError::Form)?;
        if size_number.to_string() != size {
            return Err(NoteError::Form);
        }
        let root = BASE64_STANDARD.decode(root).map_err(|_| NoteError::Form)?;
        let root = Digest::try_from(root.as_slice()).map_err(|_| NoteError::Form)?;
        if !signatures.ends_with('\n') || signatures.lines().count() > LINES_MAX {
            return Err(NoteError::Form);
        }
        let mut signed = false;
        for line in signatures.lines() {
            let (name, bytes) = signature_line(line)?;
            let Some((hash, signature)) = bytes.split_first_chunk::<4>() else {
                return Err(NoteError::Form);
            };
            if name == ledger.name && *hash == ledger.hash() {
                if !ledger.key.verifies(text.as_bytes(), signature) {
                    return Err(NoteError::Signature);
                }
                signed = true;
            }
        }
        if !signed {
            return Err(NoteError::Signature);
        }
        Ok(Self { origin: origin.to_owned(), size: size_number, root, note: note.to_owned() })
    }

    /// The ledger's origin.
    pub fn origin(&self) -> &str {
        &self.origin
    }

    /// How many leaves.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The root over them.
    pub fn root(&self) -> Digest {
        self.root
    }

    /// The signed note.
    pub fn note(&self) -> &str {
        &self.note
    }
}

fn signature_line(line: &str) -> Result<(&str, Vec<u8>), NoteError> {
    let (name, signature) =
        line.strip_prefix("— ").and_then(|rest| rest.split_once(' ')).ok_or(NoteError::Form)?;
    let bytes = BASE64_STANDARD.decode(signature).map_err(|_| NoteError::Form)?;
    Ok((name, bytes))
}

/// Why a note is not accepted.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub enum NoteError {
    /// Not a verifier key.
    #[error("not an Ed25519 ledger key of the form name+hash+key")]
    Key,
    /// Not a checkpoint.
    #[error("the text is not a signed checkpoint")]
    Form,
    /// Another ledger's.
    #[error("the checkpoint is of the ledger `{got}`")]
    OtherLedger {
        /// Its origin.
        got: String,
    },
    /// Not signed by the ledger's key.
    #[error("the checkpoint is not signed by the ledger's key")]
    Signature,
    /// The key could not sign.
    #[error("the checkpoint could not be signed")]
    Sign(#[source] KeyError),
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(seed: u8) -> SigningKey {
        SigningKey::from_seed(&[seed; 32]).unwrap()
    }

    fn ledger(seed: u8) -> LedgerKey {
        LedgerKey::new("einmal.example/l", key(seed).public().clone()).unwrap()
    }

    #[test]
    fn the_specification_s_key_is_read() {
        let text = "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k";
        assert_eq!(LedgerKey::parse(text).unwrap().to_string(), text);
        assert_eq!(LedgerKey::parse(&text.replace("530d", "530e")), Err(NoteError::Key));
    }

    #[test]
    fn golden_bytes() {
        let checkpoint =
            Checkpoint::sign("einmal.example/l", 17, Digest::of(b"root"), &key(7)).unwrap();
        assert_eq!(checkpoint.note(), include_str!("../tests/golden/checkpoint.txt"));
    }

    #[test]
    fn only_this_ledger_s_signature_over_these_bytes() {
        let good = Checkpoint::sign("einmal.example/l", 17, Digest::of(b"root"), &key(7)).unwrap();
        assert_eq!(Checkpoint::parse(good.note(), &ledger(7)), Ok(good.clone()));
        assert_eq!(Checkpoint::parse(good.note(), &ledger(8)), Err(NoteError::Signature));
        let grown = good.note().replacen("\n17\n", "\n18\n", 1);
        assert_eq!(Checkpoint::parse(&grown, &ledger(7)), Err(NoteError::Signature));
        let zero = good.note().replacen("\n17\n", "\n017\n", 1);
        assert_eq!(Checkpoint::parse(&zero, &ledger(7)), Err(NoteError::Form));
        let other = Checkpoint::sign("einmal.example/m", 17, Digest::of(b"root"), &key(7)).unwrap();
        assert!(matches!(
            Checkpoint::parse(other.note(), &ledger(7)),
            Err(NoteError::OtherLedger { .. })
        ));
        for broken in ["", "\n\n", "a\n1\n\n", &good.note()[..good.note().len() - 1]] {
            assert!(Checkpoint::parse(broken, &ledger(7)).is_err());
        }
    }

    #[test]
    fn witnesses_are_passed_over() {
        let good = Checkpoint::sign("einmal.example/l", 1, Digest::of(b"root"), &key(7)).unwrap();
        let more = format!("{}— witness.example AAAAAAAA\n", good.note());
        assert!(Checkpoint::parse(&more, &ledger(7)).is_ok());
    }
}
