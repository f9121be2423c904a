// SPDX-License-Identifier: EUPL-1.2
//! Checkpoints as C2SP signed notes (c2sp.org/signed-note, c2sp.org/tlog-checkpoint), signed with
//! Ed25519 (type 0x01).

use std::fmt;

use base64::{Engine, prelude::BASE64_STANDARD};

use crate::{
    digest::Digest,
    key::{KeyError, PublicKey, SigningKey},
    vkey::{KeyKind, NamedKey, is_key_name},
};

/// A note is at most this long.
pub const NOTE_MAX: usize = 64 * 1024;
/// A note has at most this many signatures.
pub const LINES_MAX: usize = 64;

/// A ledger's public key with its name, as in `name+hash+key`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LedgerKey(NamedKey);

impl LedgerKey {
    /// Puts a name to a key.
    ///
    /// # Errors
    /// Where the name is empty or too long, or has spaces or a plus sign, or the key is not
    /// Ed25519.
    pub fn new(name: &str, key: PublicKey) -> Result<Self, NoteError> {
        NamedKey::new(name, key, KeyKind::Note).map(Self)
    }

    /// Reads a `vkey`, this ledger's or any other log's.
    ///
    /// # Errors
    /// Where it is none, or its hash does not fit.
    pub fn parse(text: &str) -> Result<Self, NoteError> {
        NamedKey::parse(text, KeyKind::Note).map(Self)
    }

    /// The name, which is the ledger's origin.
    pub fn name(&self) -> &str {
        self.0.name()
    }
}

impl fmt::Display for LedgerKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Whether a text may be an origin of ours: a schemaless URL in ASCII, no spaces, no plus sign.
pub fn is_origin(text: &str) -> bool {
    !text.is_empty() && text.len() <= 200 && text.chars().all(|c| c.is_ascii_graphic() && c != '+')
}

/// The origin that a note claims. Nothing is verified: it only says whose key to look up.
///
/// # Errors
/// Where the text is no checkpoint.
pub fn claimed_origin(note: &str) -> Result<&str, NoteError> {
    Ok(Head::parse(Parts::of(note)?.text)?.origin)
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
        if !is_origin(origin) {
            return Err(NoteError::Key);
        }
        let ledger = NamedKey::new(origin, key.public().clone(), KeyKind::Note)?;
        let text = format!("{origin}\n{size}\n{}\n", BASE64_STANDARD.encode(root.as_bytes()));
        let signature = key.sign(text.as_bytes()).map_err(NoteError::Sign)?;
        let note = format!("{text}\n{}", ledger.line(&signature));
        Ok(Self { origin: origin.to_owned(), size, root, note })
    }

    /// Reads a signed note and verifies this ledger's signature. Signatures by others (witnesses,
    /// or the same ledger with a key of a kind we do not know) are passed over.
    ///
    /// # Errors
    /// Where it is no checkpoint, of another ledger, or not signed by this key; a line of this key
    /// that does not verify refuses the whole note.
    pub fn parse(note: &str, ledger: &LedgerKey) -> Result<Self, NoteError> {
        let parts = Parts::of(note)?;
        let head = Head::parse(parts.text)?;
        if head.origin != ledger.name() {
            return Err(NoteError::OtherLedger { got: head.origin.chars().take(200).collect() });
        }
        let mut signed = false;
        for line in parts.lines.iter().filter(|line| line.is_of(&ledger.0)) {
            if !ledger.0.key().verifies(parts.text.as_bytes(), &line.signature) {
                return Err(NoteError::Signature);
            }
            signed = true;
        }
        if !signed {
            return Err(NoteError::Signature);
        }
        let Head { origin, size, root } = head;
        Ok(Self { origin: origin.to_owned(), size, root, note: note.to_owned() })
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

    /// The same checkpoint with one line of this ledger's key and without those of others.
    ///
    /// # Errors
    /// Where this key has no line under it.
    pub fn alone(&self, ledger: &LedgerKey) -> Result<Self, NoteError> {
        let parts = Parts::of(&self.note)?;
        let line = parts.lines.iter().find(|line| line.is_of(&ledger.0));
        let line = line.ok_or(NoteError::Signature)?;
        self.clone().under(format!("{}\n{}\n", parts.text, line.raw))
    }

    /// The note's text, with its final newline and without the signatures.
    pub(crate) fn text(&self) -> &str {
        text_and_lines(&self.note).map_or("", |(text, _)| text)
    }

    /// The same checkpoint under a note with other lines of others.
    pub(crate) fn under(self, note: String) -> Result<Self, NoteError> {
        if note.len() > NOTE_MAX || Parts::of(&note)?.text != self.text() {
            return Err(NoteError::Form);
        }
        Ok(Self { note, ..self })
    }
}

/// A note taken apart: its text, and what stands under it. Nothing of it is verified.
pub(crate) struct Parts<'a> {
    /// With its final newline.
    pub(crate) text: &'a str,
    /// The signatures.
    pub(crate) lines: Vec<Line<'a>>,
}

impl<'a> Parts<'a> {
    pub(crate) fn of(note: &'a str) -> Result<Self, NoteError> {
        if note.len() > NOTE_MAX || note.chars().any(|c| c < ' ' && c != '\n') {
            return Err(NoteError::Form);
        }
        let (text, lines) = text_and_lines(note).ok_or(NoteError::Form)?;
        Ok(Self { text, lines: signature_lines(lines)? })
    }
}

/// Some signature lines, each with its newline.
pub(crate) fn signature_lines(lines: &str) -> Result<Vec<Line<'_>>, NoteError> {
    if !lines.ends_with('\n') || lines.lines().count() > LINES_MAX {
        return Err(NoteError::Form);
    }
    lines.lines().map(|line| Line::parse(line).ok_or(NoteError::Form)).collect()
}

/// The text, up to the last empty line, and the lines after that.
fn text_and_lines(note: &str) -> Option<(&str, &str)> {
    let (text, lines) = note.split_at_checked(note.rfind("\n\n")? + 1)?;
    Some((text, lines.strip_prefix('\n')?))
}

/// One line under a note.
pub(crate) struct Line<'a> {
    name: &'a str,
    id: [u8; 4],
    pub(crate) signature: Vec<u8>,
    /// As it stands there, without the newline.
    pub(crate) raw: &'a str,
}

impl<'a> Line<'a> {
    fn parse(raw: &'a str) -> Option<Self> {
        let (name, base64) = raw.strip_prefix("— ")?.split_once(' ')?;
        let bytes = BASE64_STANDARD.decode(base64).ok()?;
        let (id, signature) = bytes.split_first_chunk::<4>()?;
        is_key_name(name).then(|| Self { name, id: *id, signature: signature.to_vec(), raw })
    }

    /// Whether it claims to be by this key.
    pub(crate) fn is_of(&self, key: &NamedKey) -> bool {
        self.name == key.name() && self.id == key.id()
    }
}

/// The three lines that each checkpoint has. Lines after them are opaque, and none is empty.
struct Head<'a> {
    origin: &'a str,
    size: u64,
    root: Digest,
}

impl<'a> Head<'a> {
    fn parse(text: &'a str) -> Result<Self, NoteError> {
        if text.lines().any(str::is_empty) {
            return Err(NoteError::Form);
        }
        let mut lines = text.lines();
        let (Some(origin), Some(size), Some(root)) = (lines.next(), lines.next(), lines.next())
        else {
            return Err(NoteError::Form);
        };
        let size = decimal(size).ok_or(NoteError::Form)?;
        let root = base64_hash(root).ok_or(NoteError::Form)?;
        Ok(Self { origin, size, root })
    }
}

/// A number in its one spelling: without sign, leading zeros or blanks.
pub fn decimal(text: &str) -> Option<u64> {
    let number: u64 = text.parse().ok()?;
    (number.to_string() == text).then_some(number)
}

/// A hash in base64, as it stands in notes and proofs.
pub fn base64_hash(text: &str) -> Option<Digest> {
    Digest::try_from(BASE64_STANDARD.decode(text).ok()?.as_slice()).ok()
}

/// Why a note is not accepted.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub enum NoteError {
    /// Not a verifier key.
    #[error("not an Ed25519 key of a ledger or witness, of the form name+hash+key")]
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

    /// Published: c2sp.org/signed-note § verifier keys, and the witness tests of torchwood, whose
    /// log is a sigsum log (the key is 52c05eda…, the name its hash).
    #[test]
    fn a_checkpoint_of_another_program_is_read() {
        let origin =
            "sigsum.org/v1/tree/985ea163f5af026723561354f51f2ebcdcf2af809ce254ccfb64aa9aadd80f90";
        let key = crate::digest::unhex(
            "52c05edad1bf5feffa81354faae59a655d9a9a1a793ed2f62c39c26c0be2aecd",
        );
        let key = PublicKey::new(crate::key::Algorithm::Ed25519, &key.unwrap()).unwrap();
        let note = format!(
            "{origin}\n1\nKgAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n\n— {origin} 7BKT0gOfNZ1J0So9\
             unY3BZtm2YkPIoNYM/dce0Z2avJDs8dxN6ts9bOSwwrVrbjm6P9K3ZxpK6jJngOG6YvGGzV/lwo=\n"
        );
        let read = Checkpoint::parse(&note, &LedgerKey::new(origin, key).unwrap()).unwrap();
        assert_eq!((read.size(), read.root().as_bytes()[0]), (1, 0x2a));
        assert_eq!(claimed_origin(&note), Ok(origin));
    }

    #[test]
    fn names_follow_the_specification_of_notes() {
        let of = |name: &str| LedgerKey::new(name, key(7).public().clone());
        for name in ["grundbuch-köln.example/1", "日本.example", "a"] {
            let text = of(name).unwrap().to_string();
            assert_eq!(LedgerKey::parse(&text).unwrap().name(), name);
        }
        for name in ["", "a b", "a\u{a0}b", "a\u{3000}b", "a+b", "a\nb", &"a".repeat(201)] {
            assert_eq!(of(name), Err(NoteError::Key), "{name}");
        }
    }

    /// Signs any text as a log would.
    fn note(text: &str, others: &str) -> String {
        let ledger = NamedKey::new("einmal.example/l", key(7).public().clone(), KeyKind::Note);
        let line = ledger.unwrap().line(&key(7).sign(text.as_bytes()).unwrap());
        format!("{text}\n{others}{line}")
    }

    #[test]
    fn any_conforming_checkpoint_is_read() {
        let root = BASE64_STANDARD.encode(Digest::of(b"root").as_bytes());
        let head = format!("einmal.example/l\n17\n{root}\n");
        let extended = format!("{head}extension ü\u{85}\u{7f}\n— not a signature here\n");
        let ml_dsa = BASE64_STANDARD.encode([6; 4 + 8 + 2420]);
        // Other keys, other kinds, our name with another key, our key under another name.
        let others: String = (0..15)
            .map(|n| match n % 3 {
                0 => format!("— einmal.example/l {ml_dsa}\n"),
                1 => format!("— w{n}.example AAAAAA==\n"),
                _ => format!("— zeuge-ü.example {}\n", BASE64_STANDARD.encode([n; 80])),
            })
            .collect();
        for text in [&head, &extended] {
            for others in ["", &others] {
                let read = Checkpoint::parse(&note(text, others), &ledger(7)).unwrap();
                assert_eq!((read.size(), read.root()), (17, Digest::of(b"root")));
                assert_eq!(read.text(), text);
            }
        }
        let tampered = note(&extended, "").replacen("extension", "Extension", 1);
        assert_eq!(Checkpoint::parse(&tampered, &ledger(7)), Err(NoteError::Signature));
        for (text, others) in [
            (format!("{head}\nafter an empty line\n"), ""),
            (format!("{head}tab\there\n"), ""),
            (format!("einmal.example/l\n17\n{root}"), ""),
            (format!("einmal.example/l\n17\n{}\n", root.trim_end_matches('=')), ""),
            (format!("einmal.example/l\n+17\n{root}\n"), ""),
            (head.clone(), "— a+b AAAAAAAA\n"),
            (head.clone(), "— a\u{a0}b AAAAAAAA\n"),
            (head.clone(), "— a AAAA\n"),
            (head.clone(), "- a AAAAAAAA\n"),
            (head.clone(), "— a  AAAAAAAA\n"),
        ] {
            let refused = Checkpoint::parse(&note(&text, others), &ledger(7));
            assert_eq!(refused, Err(NoteError::Form), "{text:?} {others:?}");
        }
        let many = "— a AAAAAAAA\n".repeat(LINES_MAX);
        assert!(Checkpoint::parse(&note(&head, &many), &ledger(7)).is_err());
        // A second line of our key that is wrong refuses the note, wherever it stands.
        let good = note(&head, "");
        let wrong = ledger(7).0.line(&[0; 64]);
        for both in [note(&head, &wrong), format!("{good}{wrong}")] {
            assert_eq!(Checkpoint::parse(&both, &ledger(7)), Err(NoteError::Signature));
        }
        assert!(
            Checkpoint::parse(&format!("{good}{}", ledger(7).0.line(&[])), &ledger(7)).is_err()
        );
    }

    #[test]
    fn witnesses_are_passed_over() {
        let good = Checkpoint::sign("einmal.example/l", 1, Digest::of(b"root"), &key(7)).unwrap();
        let more = format!("{}— witness.example AAAAAAAA\n", good.note());
        assert!(Checkpoint::parse(&more, &ledger(7)).is_ok());
    }
}
