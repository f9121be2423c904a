// SPDX-License-Identifier: EUPL-1.2
//! Request ids: UUIDv7 (RFC 9562), whose time is when the request was issued.

use std::fmt;

use uuid::{Builder, Uuid, Version};

/// A request's id. Accepted once per authority, for good (ONCE).
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RequestId(Uuid);

impl RequestId {
    /// A new id from the time and ten random bytes.
    pub fn new(issued_at_ms: u64, random: [u8; 10]) -> Self {
        Self(Builder::from_unix_timestamp_millis(issued_at_ms, &random).into_uuid())
    }

    /// Reads 16 bytes.
    ///
    /// # Errors
    /// Where they are not a UUIDv7.
    pub fn parse(bytes: &[u8]) -> Result<Self, NotAnId> {
        let uuid = Uuid::from_slice(bytes).map_err(|_| NotAnId)?;
        if uuid.get_version() != Some(Version::SortRand)
            || uuid.get_variant() != uuid::Variant::RFC4122
        {
            return Err(NotAnId);
        }
        Ok(Self(uuid))
    }

    /// The 16 bytes.
    pub fn as_bytes(&self) -> &[u8; 16] {
        self.0.as_bytes()
    }

    /// When the request was issued, in UTC milliseconds since 1970.
    pub fn issued_at_ms(&self) -> u64 {
        let [a, b, c, d, e, f, ..] = *self.as_bytes();
        u64::from_be_bytes([0, 0, a, b, c, d, e, f])
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.hyphenated().fmt(f)
    }
}

impl fmt::Debug for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Bytes that are not a request id.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("a request id is a UUID of version 7, 16 bytes")]
pub struct NotAnId;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_is_in_the_id() {
        let id = RequestId::new(1_795_372_800_123, [0xff; 10]);
        assert_eq!(id.issued_at_ms(), 1_795_372_800_123);
        assert_eq!(RequestId::parse(id.as_bytes()), Ok(id));
        assert_eq!(RequestId::parse(&[0; 16]), Err(NotAnId));
        assert_eq!(RequestId::parse(&[0; 15]), Err(NotAnId));
    }
}
