// SPDX-License-Identifier: EUPL-1.2
//! A permit: the decision for one request. A claim of the broker that the register checks by
//! deciding again; so its bytes are a function of request, rules and directory alone.

use std::sync::Arc;

use prost::Message;

use crate::{
    digest::Digest,
    wire::v1::{self, FieldGrant},
};

/// Which fields may leave, by which policies. The bytes are what is compared and logged.
#[derive(Clone, Debug, PartialEq)]
pub struct Permit {
    bytes: Vec<u8>,
    request: Digest,
    rules: Digest,
    directory: Digest,
    grants: Arc<Grants>,
}

/// What a decision grants. Written down once, and shared by all permits that grant the same.
#[derive(Debug, PartialEq)]
pub struct Grants {
    fields: Vec<FieldGrant>,
    crosses_areas: bool,
    /// The end of a permit's bytes: what follows its digests.
    bytes: Vec<u8>,
}

impl Grants {
    /// Writes down what is granted.
    pub fn new(fields: Vec<FieldGrant>, crosses_areas: bool) -> Self {
        let end = v1::Permit { fields, crosses_areas, ..v1::Permit::default() };
        Self { bytes: end.encode_to_vec(), fields: end.fields, crosses_areas }
    }
}

/// Tag and length before each of a permit's digests: fields 1, 2, 3, length-delimited, 32 bytes.
const BEFORE_DIGESTS: [[u8; 2]; 3] = [[0x0a, 32], [0x12, 32], [0x1a, 32]];

impl Permit {
    /// Writes a decision down.
    pub fn new(request: Digest, rules: Digest, directory: Digest, grants: Arc<Grants>) -> Self {
        let mut bytes = Vec::with_capacity(3 * 34 + grants.bytes.len());
        for (before, digest) in BEFORE_DIGESTS.iter().zip([&request, &rules, &directory]) {
            bytes.extend_from_slice(before);
            bytes.extend_from_slice(digest.as_bytes());
        }
        bytes.extend_from_slice(&grants.bytes);
        Self { bytes, request, rules, directory, grants }
    }

    /// Reads a permit's bytes, as logged.
    ///
    /// # Errors
    /// Where they are none.
    pub fn parse(bytes: &[u8]) -> Result<Self, NotAPermit> {
        let wire = v1::Permit::decode(bytes).map_err(|_| NotAPermit)?;
        let digest = |bytes: &[u8]| Digest::try_from(bytes).map_err(|_| NotAPermit);
        Ok(Self {
            bytes: bytes.to_vec(),
            request: digest(&wire.request_digest)?,
            rules: digest(&wire.rules_digest)?,
            directory: digest(&wire.directory_digest)?,
            grants: Arc::new(Grants::new(wire.fields, wire.crosses_areas)),
        })
    }

    /// The bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Their digest.
    pub fn digest(&self) -> Digest {
        Digest::of(&self.bytes)
    }

    /// Digest of the request that it decides.
    pub fn request_digest(&self) -> Digest {
        self.request
    }

    /// Digest of the rules it was decided under.
    pub fn rules_digest(&self) -> Digest {
        self.rules
    }

    /// Digest of the directory it was decided under.
    pub fn directory_digest(&self) -> Digest {
        self.directory
    }

    /// The fields with the policies that permit them.
    pub fn fields(&self) -> &[FieldGrant] {
        &self.grants.fields
    }

    /// Whether the ends lie in different areas.
    pub fn crosses_areas(&self) -> bool {
        self.grants.crosses_areas
    }
}

/// Bytes that are not a permit.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("the bytes are not a permit")]
pub struct NotAPermit;

#[cfg(test)]
mod tests {
    use super::*;

    fn permit(fields: &[&str], crosses_areas: bool) -> Permit {
        let grant = |field: &&str| FieldGrant {
            field: (*field).to_owned(),
            policies: vec!["beeg-1".into()],
        };
        let grants = Grants::new(fields.iter().map(grant).collect(), crosses_areas);
        let [request, rules, directory] =
            [b"request".as_slice(), b"rules", b"directory"].map(Digest::of);
        Permit::new(request, rules, directory, Arc::new(grants))
    }

    #[test]
    fn golden_bytes() {
        let permit = permit(&["birth_date"], true);
        assert_eq!(permit.digest().to_hex(), include_str!("../tests/golden/permit.sha256").trim());
        assert_eq!(Permit::parse(permit.bytes()), Ok(permit));
        assert_eq!(Permit::parse(b"\x0a\x01a"), Err(NotAPermit));
    }

    #[test]
    fn the_bytes_are_protobuf_s_own() {
        for (fields, crosses_areas) in [(&["a", "b"][..], true), (&["a"], false), (&[], false)] {
            let permit = permit(fields, crosses_areas);
            let wire = v1::Permit::decode(permit.bytes()).unwrap();
            assert_eq!(wire.encode_to_vec(), permit.bytes());
            assert_eq!(wire.request_digest, permit.request_digest().to_vec());
            assert_eq!(wire.directory_digest, permit.directory_digest().to_vec());
            assert_eq!((wire.fields.len(), wire.crosses_areas), (fields.len(), crosses_areas));
        }
    }
}
