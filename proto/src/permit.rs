// SPDX-License-Identifier: EUPL-1.2
//! A permit: the decision for one request. A claim of the broker that the register checks by
//! deciding again; so its bytes are a function of request, rules and directory alone.

use prost::Message;

use crate::{
    digest::Digest,
    wire::v1::{self, FieldGrant},
};

/// Which fields may leave, by which policies. The bytes are what is compared and logged.
#[derive(Clone, Debug, PartialEq)]
pub struct Permit {
    bytes: Vec<u8>,
    wire: v1::Permit,
}

impl Permit {
    /// Writes a decision down.
    pub fn new(
        request: Digest,
        rules: Digest,
        directory: Digest,
        fields: Vec<FieldGrant>,
        crosses_areas: bool,
    ) -> Self {
        let wire = v1::Permit {
            request_digest: request.to_vec(),
            rules_digest: rules.to_vec(),
            directory_digest: directory.to_vec(),
            fields,
            crosses_areas,
        };
        Self { bytes: wire.encode_to_vec(), wire }
    }

    /// Reads a permit's bytes, as logged.
    ///
    /// # Errors
    /// Where they are none.
    pub fn parse(bytes: &[u8]) -> Result<Self, NotAPermit> {
        let wire = v1::Permit::decode(bytes).map_err(|_| NotAPermit)?;
        for digest in [&wire.request_digest, &wire.rules_digest, &wire.directory_digest] {
            Digest::try_from(digest.as_slice()).map_err(|_| NotAPermit)?;
        }
        Ok(Self { bytes: bytes.to_vec(), wire })
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
        Self::known(&self.wire.request_digest)
    }

    /// Digest of the rules it was decided under.
    pub fn rules_digest(&self) -> Digest {
        Self::known(&self.wire.rules_digest)
    }

    /// Digest of the directory it was decided under.
    pub fn directory_digest(&self) -> Digest {
        Self::known(&self.wire.directory_digest)
    }

    /// The fields with the policies that permit them.
    pub fn fields(&self) -> &[FieldGrant] {
        &self.wire.fields
    }

    /// Whether the ends lie in different areas.
    pub fn crosses_areas(&self) -> bool {
        self.wire.crosses_areas
    }

    fn known(bytes: &[u8]) -> Digest {
        // Lengths were checked when the permit was made.
        Digest::try_from(bytes).unwrap_or_else(|_| Digest::from([0; 32]))
    }
}

/// Bytes that are not a permit.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("the bytes are not a permit")]
pub struct NotAPermit;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn golden_bytes() {
        let permit = Permit::new(
            Digest::of(b"request"),
            Digest::of(b"rules"),
            Digest::of(b"directory"),
            vec![FieldGrant { field: "birth_date".into(), policies: vec!["beeg-1".into()] }],
            true,
        );
        assert_eq!(permit.digest().to_hex(), include_str!("../tests/golden/permit.sha256").trim());
        assert_eq!(Permit::parse(permit.bytes()), Ok(permit));
        assert_eq!(Permit::parse(b"\x0a\x01a"), Err(NotAPermit));
    }
}
