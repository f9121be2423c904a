// SPDX-License-Identifier: EUPL-1.2
//! Leaves: 38 public bytes that say nothing (version, kind, day, SHA-256 of the body), and the
//! bodies that they stand for.

use prost::Message;

use crate::{
    digest::Digest,
    merkle,
    wire::v1::{Body, body},
};

/// Bytes of a leaf.
pub const LEAF_LENGTH: usize = 38;
const VERSION: u8 = 1;

/// What a leaf is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LeafKind {
    /// A committed exchange.
    Exchange,
    /// A refused request.
    Refusal,
    /// A report of use.
    Use,
    /// What was done with the ledger itself: forgotten, read by an auditor, held longer.
    Notice,
}

impl LeafKind {
    /// The number in the leaf.
    pub fn number(self) -> u8 {
        match self {
            Self::Exchange => 1,
            Self::Refusal => 2,
            Self::Use => 3,
            Self::Notice => 4,
        }
    }

    fn from_number(number: u8) -> Option<Self> {
        [Self::Exchange, Self::Refusal, Self::Use, Self::Notice]
            .into_iter()
            .find(|kind| kind.number() == number)
    }

    /// The kind of a body; nothing where it is empty or of a later version.
    pub fn of(body: &Body) -> Option<Self> {
        match body.kind {
            Some(body::Kind::Exchange(_)) => Some(Self::Exchange),
            Some(body::Kind::Refusal(_)) => Some(Self::Refusal),
            Some(body::Kind::Use(_)) => Some(Self::Use),
            Some(body::Kind::Notice(_)) => Some(Self::Notice),
            None => None,
        }
    }
}

/// A leaf, valid by construction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Leaf {
    /// What it is about.
    pub kind: LeafKind,
    /// Days since 1970, UTC.
    pub day: u32,
    /// SHA-256 of the body's bytes.
    pub body: Digest,
}

impl Leaf {
    /// The leaf of a body.
    pub fn new(kind: LeafKind, day: u32, body: &[u8]) -> Self {
        Self { kind, day, body: Digest::of(body) }
    }

    /// The 38 bytes.
    pub fn to_bytes(&self) -> [u8; LEAF_LENGTH] {
        let mut bytes = [0; LEAF_LENGTH];
        let parts = [VERSION, self.kind.number()]
            .into_iter()
            .chain(self.day.to_be_bytes())
            .chain(*self.body.as_bytes());
        for (byte, part) in bytes.iter_mut().zip(parts) {
            *byte = part;
        }
        bytes
    }

    /// Reads 38 bytes.
    ///
    /// # Errors
    /// Where they are not a leaf of this version.
    pub fn parse(bytes: &[u8]) -> Result<Self, NotALeaf> {
        let (&[version, kind, a, b, c, d], digest) =
            bytes.split_first_chunk::<6>().ok_or(NotALeaf)?;
        if version != VERSION {
            return Err(NotALeaf);
        }
        Ok(Self {
            kind: LeafKind::from_number(kind).ok_or(NotALeaf)?,
            day: u32::from_be_bytes([a, b, c, d]),
            body: Digest::try_from(digest).map_err(|_| NotALeaf)?,
        })
    }

    /// The RFC 6962 hash of the leaf.
    pub fn hash(&self) -> Digest {
        merkle::leaf_hash(&self.to_bytes())
    }
}

/// A body's bytes. One form only: fields in order, nothing unknown.
pub fn body_bytes(kind: body::Kind) -> Vec<u8> {
    Body { kind: Some(kind) }.encode_to_vec()
}

/// Bytes that are not a leaf.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("the bytes are not a leaf of version 1")]
pub struct NotALeaf;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{digest::hex, wire::v1::ExchangeBody};

    #[test]
    fn golden_bytes() {
        let body = body_bytes(body::Kind::Exchange(ExchangeBody {
            signed_request: b"request".to_vec(),
            permit: b"permit".to_vec(),
            commitment: b"commitment".to_vec(),
        }));
        assert_eq!(
            hex(&body),
            "0a1d0a07726571756573741206\
             7065726d69741a0a636f6d6d69746d656e74"
        );
        let leaf = Leaf::new(LeafKind::Exchange, 20_779, &body);
        assert_eq!(hex(&leaf.to_bytes()), format!("01010000512b{}", Digest::of(&body)));
        assert_eq!(Leaf::parse(&leaf.to_bytes()), Ok(leaf));
    }

    #[test]
    fn other_bytes_are_no_leaf() {
        let good = Leaf::new(LeafKind::Use, 1, b"").to_bytes();
        assert_eq!(Leaf::parse(&good[..37]), Err(NotALeaf));
        assert_eq!(Leaf::parse(&[&good[..], &[0]].concat()), Err(NotALeaf));
        for (at, value) in [(0, 2), (1, 0), (1, 9)] {
            let mut bad = good;
            bad[at] = value;
            assert_eq!(Leaf::parse(&bad), Err(NotALeaf));
        }
    }
}
