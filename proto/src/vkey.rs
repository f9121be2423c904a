// SPDX-License-Identifier: EUPL-1.2
//! Names with keys, as signed notes have them: `name+hash+key` (c2sp.org/signed-note).

use std::fmt;

use base64::{Engine, prelude::BASE64_STANDARD};

use crate::{
    digest::{Digest, hex, unhex},
    key::{Algorithm, PublicKey},
    note::NoteError,
};

/// What a key signs in a note: the numbers of c2sp.org/signed-note.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum KeyKind {
    /// The note's text.
    Note,
    /// The note's text after a line with the time: what a witness signs.
    Cosignature,
}

impl KeyKind {
    fn number(self) -> u8 {
        match self {
            Self::Note => 1,
            Self::Cosignature => 4,
        }
    }
}

/// An Ed25519 key with its name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct NamedKey {
    name: String,
    key: PublicKey,
    kind: KeyKind,
}

impl NamedKey {
    pub(crate) fn new(name: &str, key: PublicKey, kind: KeyKind) -> Result<Self, NoteError> {
        if key.algorithm() != Algorithm::Ed25519 || !is_key_name(name) || name.len() > NAME_MAX {
            return Err(NoteError::Key);
        }
        Ok(Self { name: name.to_owned(), key, kind })
    }

    pub(crate) fn parse(text: &str, kind: KeyKind) -> Result<Self, NoteError> {
        let mut parts = text.splitn(3, '+');
        let (Some(name), Some(hash), Some(key)) = (parts.next(), parts.next(), parts.next()) else {
            return Err(NoteError::Key);
        };
        let bytes = BASE64_STANDARD.decode(key).map_err(|_| NoteError::Key)?;
        let (&number, raw) = bytes.split_first().ok_or(NoteError::Key)?;
        if number != kind.number() {
            return Err(NoteError::Key);
        }
        let key = PublicKey::new(Algorithm::Ed25519, raw).map_err(|_| NoteError::Key)?;
        let this = Self::new(name, key, kind)?;
        if unhex(hash).as_deref() != Some(&this.id()) {
            return Err(NoteError::Key);
        }
        Ok(this)
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn key(&self) -> &PublicKey {
        &self.key
    }

    /// The four bytes that stand before its signatures.
    pub(crate) fn id(&self) -> [u8; 4] {
        let digest = Digest::of_parts(&[
            self.name.as_bytes(),
            b"\n",
            &[self.kind.number()],
            self.key.bytes(),
        ]);
        let [a, b, c, d, ..] = *digest.as_bytes();
        [a, b, c, d]
    }

    /// A line under a note.
    pub(crate) fn line(&self, signature: &[u8]) -> String {
        let bytes = [&self.id()[..], signature].concat();
        format!("— {} {}\n", self.name, BASE64_STANDARD.encode(bytes))
    }
}

impl fmt::Display for NamedKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let key = [&[self.kind.number()], self.key.bytes()].concat();
        write!(f, "{}+{}+{}", self.name, hex(&self.id()), BASE64_STANDARD.encode(key))
    }
}

/// The longest name that we take, in bytes.
const NAME_MAX: usize = 200;

/// Whether a text may be a key's name in any note: not empty, no Unicode space, no plus sign, no
/// control character.
pub(crate) fn is_key_name(text: &str) -> bool {
    !text.is_empty() && !text.chars().any(|c| c.is_whitespace() || c.is_control() || c == '+')
}
