// SPDX-License-Identifier: EUPL-1.2
//! What witnesses say about a checkpoint (c2sp.org/tlog-cosignature, Ed25519, type 0x04): "at this
//! time, this is the largest tree of this ledger that I have seen, and it holds all earlier ones".

use std::fmt;

use crate::{
    key::{PublicKey, SigningKey},
    note::{Checkpoint, Line, NoteError, Parts, signature_lines},
    vkey::{KeyKind, NamedKey},
};

/// The latest time that a cosignature may carry.
const TIME_MAX: u64 = i64::MAX as u64;

/// A witness's public key with its name, as in `name+hash+key`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WitnessKey(NamedKey);

impl WitnessKey {
    /// Puts a name to a key.
    ///
    /// # Errors
    /// Where the name is empty or too long, or has spaces or a plus sign, or the key is not
    /// Ed25519.
    pub fn new(name: &str, key: PublicKey) -> Result<Self, NoteError> {
        NamedKey::new(name, key, KeyKind::Cosignature).map(Self)
    }

    /// Reads a `vkey` of a witness. A ledger's is none: its kind is another.
    ///
    /// # Errors
    /// Where it is none, or its hash does not fit.
    pub fn parse(text: &str) -> Result<Self, NoteError> {
        NamedKey::parse(text, KeyKind::Cosignature).map(Self)
    }

    /// The witness's name.
    pub fn name(&self) -> &str {
        self.0.name()
    }

    /// The time of a line under this text, where it is by this witness and right.
    fn time_of(&self, line: &Line<'_>, text: &str) -> Option<u64> {
        if !line.is_of(&self.0) {
            return None;
        }
        let (time_s, signature) = line.signature.split_first_chunk::<8>()?;
        let time_s = u64::from_be_bytes(*time_s);
        let fits = (1..=TIME_MAX).contains(&time_s);
        let good = fits && self.0.key().verifies(message(text, time_s).as_bytes(), signature);
        good.then_some(time_s)
    }
}

impl fmt::Display for WitnessKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What is signed: the time, then the checkpoint's text.
fn message(text: &str, time_s: u64) -> String {
    format!("cosignature/v1\ntime {time_s}\n{text}")
}

/// What a witness signs with. One key is for one name: the name is not in what is signed.
#[derive(Debug)]
pub struct Cosigner {
    public: WitnessKey,
    key: SigningKey,
}

impl Cosigner {
    /// Puts a name to a private key.
    ///
    /// # Errors
    /// As [`WitnessKey::new`].
    pub fn new(name: &str, key: SigningKey) -> Result<Self, NoteError> {
        Ok(Self { public: WitnessKey::new(name, key.public().clone())?, key })
    }

    /// The public half.
    pub fn public(&self) -> &WitnessKey {
        &self.public
    }

    /// The line that says: at this time (seconds since 1970, not 0), this is the largest tree
    /// seen. Whether that is so is for the caller to know.
    ///
    /// # Errors
    /// Where the time is none, or the key cannot sign.
    pub fn cosign(&self, checkpoint: &Checkpoint, time_s: u64) -> Result<String, NoteError> {
        if !(1..=TIME_MAX).contains(&time_s) {
            return Err(NoteError::Form);
        }
        let message = message(checkpoint.text(), time_s);
        let signature = self.key.sign(message.as_bytes()).map_err(NoteError::Sign)?;
        Ok(self.public.0.line(&[&time_s.to_be_bytes()[..], &signature].concat()))
    }
}

/// A witness's word that was verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cosignature {
    /// The witness's name.
    pub witness: String,
    /// When it saw the tree, seconds since 1970.
    pub time_s: u64,
}

/// Which of these witnesses cosigned a checkpoint, in the order of the witnesses. Each key counts
/// once, under however many names, with its newest line. Lines that do not verify do not count.
pub fn cosignatures(checkpoint: &Checkpoint, witnesses: &[WitnessKey]) -> Vec<Cosignature> {
    let Ok(parts) = Parts::of(checkpoint.note()) else { return Vec::new() };
    let mut counted: Vec<&PublicKey> = Vec::new();
    let mut found = Vec::new();
    for witness in witnesses {
        let newest = parts.lines.iter().filter_map(|line| witness.time_of(line, parts.text)).max();
        let Some(time_s) = newest.filter(|_| !counted.contains(&witness.0.key())) else {
            continue;
        };
        counted.push(witness.0.key());
        found.push(Cosignature { witness: witness.name().to_owned(), time_s });
    }
    found
}

/// Puts cosignatures under a checkpoint. Of `lines`, as a witness answers them, only those by
/// these witnesses that verify are taken; each takes the place of what the same witness said
/// before.
///
/// # Errors
/// Where the lines are malformed, or the note becomes too long.
pub fn with_cosignatures(
    checkpoint: &Checkpoint,
    lines: &str,
    witnesses: &[WitnessKey],
) -> Result<Checkpoint, NoteError> {
    let parts = Parts::of(checkpoint.note())?;
    let mut kept: Vec<&str> = parts.lines.iter().map(|line| line.raw).collect();
    for line in signature_lines(lines)? {
        let by = witnesses.iter().find(|witness| witness.time_of(&line, parts.text).is_some());
        let Some(by) = by else { continue };
        let others = parts.lines.iter().filter(|old| old.is_of(&by.0));
        for old in others {
            kept.retain(|raw| *raw != old.raw);
        }
        if !kept.contains(&line.raw) {
            kept.push(line.raw);
        }
    }
    let mut note = format!("{}\n", parts.text);
    for raw in kept {
        note.push_str(raw);
        note.push('\n');
    }
    checkpoint.clone().under(note)
}

#[cfg(test)]
mod tests {
    use base64::{Engine, prelude::BASE64_STANDARD};

    use super::*;
    use crate::{
        digest::Digest,
        note::{LINES_MAX, LedgerKey},
    };

    const TIME: u64 = 1_795_372_800;

    fn key(seed: u8) -> SigningKey {
        SigningKey::from_seed(&[seed; 32]).unwrap()
    }

    fn ledger() -> LedgerKey {
        LedgerKey::new("einmal.example/l", key(7).public().clone()).unwrap()
    }

    fn checkpoint() -> Checkpoint {
        Checkpoint::sign("einmal.example/l", 17, Digest::of(b"root"), &key(7)).unwrap()
    }

    fn cosigner(number: u8) -> Cosigner {
        Cosigner::new(&format!("witness.example/w{number}"), key(number)).unwrap()
    }

    fn key_of(number: u8) -> WitnessKey {
        cosigner(number).public().clone()
    }

    #[test]
    fn golden_bytes() {
        let line = cosigner(8).cosign(&checkpoint(), TIME).unwrap();
        let note = with_cosignatures(&checkpoint(), &line, &[key_of(8)]).unwrap();
        assert_eq!(note.note(), include_str!("../tests/golden/cosigned.txt"));
        let vkey = "witness.example/w8+69c9928c+BBOY9ixtGkV8UbpqS189vS9p/KkyFiGNyJl+QWvRfZPK";
        assert_eq!(key_of(8).to_string(), vkey);
        assert_eq!(WitnessKey::parse(vkey), Ok(key_of(8)));
        let as_ledger = LedgerKey::new("witness.example/w8", key(8).public().clone()).unwrap();
        assert_eq!(WitnessKey::parse(&as_ledger.to_string()), Err(NoteError::Key));
        assert_eq!(LedgerKey::parse(vkey), Err(NoteError::Key));
    }

    #[test]
    fn each_witness_counts_once_and_only_with_a_right_line() {
        let good = checkpoint();
        let first = cosigner(8).cosign(&good, TIME).unwrap();
        let later = cosigner(8).cosign(&good, TIME + 9).unwrap();
        let ninth = cosigner(9).cosign(&good, TIME + 1).unwrap();
        let keys = [key_of(8), key_of(9), key_of(10)];
        let names = |note: &str, keys: &[WitnessKey]| -> Vec<(String, u64)> {
            let read = Checkpoint::parse(note, &ledger()).unwrap();
            cosignatures(&read, keys).into_iter().map(|c| (c.witness, c.time_s)).collect()
        };
        let eight = ("witness.example/w8".to_owned(), TIME + 9);
        let nine = ("witness.example/w9".to_owned(), TIME + 1);
        let all = format!("{}{later}{first}{first}{ninth}", good.note());
        assert_eq!(names(&all, &keys), [eight.clone(), nine]);
        assert_eq!(names(&all, &[key_of(8), key_of(8)]), [eight]);
        assert!(names(good.note(), &keys).is_empty());
        // The same key under a second name is no second witness.
        let twice = Cosigner::new("other.example", key(8)).unwrap();
        let both = format!("{}{later}{}", good.note(), twice.cosign(&good, TIME).unwrap());
        assert_eq!(names(&both, &[key_of(8), twice.public().clone()]).len(), 1);
        // Another checkpoint's line, another time, a bit more or less: none of them counts.
        let other = Checkpoint::sign("einmal.example/l", 18, Digest::of(b"root"), &key(7)).unwrap();
        let elsewhere = cosigner(8).cosign(&other, TIME).unwrap();
        let bytes = |change: &dyn Fn(&mut Vec<u8>)| {
            let base64 = first.trim_end().rsplit_once(' ').unwrap().1;
            let mut bytes = BASE64_STANDARD.decode(base64).unwrap();
            change(&mut bytes);
            format!("— witness.example/w8 {}\n", BASE64_STANDARD.encode(bytes))
        };
        for wrong in [
            elsewhere,
            bytes(&|bytes| bytes[11] ^= 1),
            bytes(&|bytes| bytes[12] ^= 1),
            bytes(&|bytes| bytes.push(0)),
            bytes(&|bytes| bytes.truncate(12)),
            bytes(&|bytes| bytes.truncate(5)),
        ] {
            assert!(names(&format!("{}{wrong}", good.note()), &keys).is_empty(), "{wrong}");
        }
        // A line whose time could be read as a negative one.
        for time_s in [0, TIME_MAX + 1] {
            assert_eq!(cosigner(8).cosign(&good, time_s), Err(NoteError::Form));
            let signed = key(8).sign(message(good.text(), time_s).as_bytes()).unwrap();
            let line = key_of(8).0.line(&[&time_s.to_be_bytes()[..], &signed].concat());
            assert!(names(&format!("{}{line}", good.note()), &keys).is_empty());
        }
    }

    #[test]
    fn only_right_lines_of_known_witnesses_get_under_a_note() {
        let good = checkpoint();
        let first = cosigner(8).cosign(&good, TIME).unwrap();
        let later = cosigner(8).cosign(&good, TIME + 9).unwrap();
        let stranger = cosigner(9).cosign(&good, TIME).unwrap();
        // A hostile witness's line in the ledger's own name would make the note unreadable.
        let poison = format!("— einmal.example/l {}\n", BASE64_STANDARD.encode([1; 68]));
        let one = with_cosignatures(&good, &format!("{poison}{first}{stranger}"), &[key_of(8)]);
        let one = one.unwrap();
        assert_eq!(one.note(), format!("{}{first}", good.note()));
        let two = with_cosignatures(&one, &later, &[key_of(8)]).unwrap();
        assert_eq!(two.note(), format!("{}{later}", good.note()));
        assert_eq!(Checkpoint::parse(two.note(), &ledger()), Ok(two));
        for broken in ["", "\n", "nothing\n", first.trim_end()] {
            assert_eq!(with_cosignatures(&good, broken, &[key_of(8)]), Err(NoteError::Form));
        }
        let many = format!("{}{}", good.note(), "— a AAAAAAAA\n".repeat(LINES_MAX - 1));
        let full = Checkpoint::parse(&many, &ledger()).unwrap();
        assert_eq!(with_cosignatures(&full, &first, &[key_of(8)]), Err(NoteError::Form));
    }
}
