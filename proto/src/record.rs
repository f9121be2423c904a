// SPDX-License-Identifier: EUPL-1.2
//! Records for the keeper: the register's access record, the authority's asked record, and what
//! became of the evidence. Each kind has one size.

use prost::Message;
use zeroize::Zeroizing;

use crate::{
    digest::Digest,
    entropy::Entropy,
    pad::{self, PadError},
    seal::{Aad, SealError, SealKind, SealingPrivateKey, SealingPublicKey},
    wire::v1,
};

/// Plain bytes of an access record.
pub const ACCESS_SIZE: usize = 4096;
/// Plain bytes of an asked record.
pub const ASKED_SIZE: usize = 1024;
/// Plain bytes of a use record.
pub const USE_SIZE: usize = 128;

/// A sealed record with the digest of what was sealed.
pub struct SealedRecord {
    /// Bytes of a `Sealed` message.
    pub sealed: Vec<u8>,
    /// SHA-256 of the plain bytes.
    pub plain_digest: Digest,
}

/// Seals a message of the given kind in the given size.
///
/// # Errors
/// Where it does not fit or the key is bad.
pub fn seal(
    message: &impl Message,
    (kind, size): (SealKind, usize),
    aad: &Aad,
    keeper: &SealingPublicKey,
    entropy: Entropy,
) -> Result<SealedRecord, RecordError> {
    let (salt, seal) = entropy.fork();
    let encoded = Zeroizing::new(message.encode_to_vec());
    let plain = pad::pad(salt.into_stream().array(), &encoded, size)?;
    let plain_digest = Digest::of(&plain);
    Ok(SealedRecord { sealed: keeper.seal(kind, aad, &plain, seal)?, plain_digest })
}

/// Seals one slot of a commitment.
///
/// # Errors
/// As `seal`.
pub fn seal_access(
    record: &v1::AccessRecord,
    request: Digest,
    slot: u32,
    keeper: &SealingPublicKey,
    entropy: Entropy,
) -> Result<SealedRecord, RecordError> {
    let aad = Aad::of_request(request, slot);
    seal(record, (SealKind::AccessRecord, ACCESS_SIZE), &aad, keeper, entropy)
}

/// The plain bytes of one slot of a commitment.
///
/// # Errors
/// Where it does not open under this key, or its digest is not the committed one.
pub fn open_access(
    slot: &crate::commitment::Slot,
    request: Digest,
    number: u32,
    key: &SealingPrivateKey,
) -> Result<Zeroizing<Vec<u8>>, RecordError> {
    let aad = Aad::of_request(request, number);
    let plain = key.open(SealKind::AccessRecord, &aad, &slot.sealed_record)?;
    if Digest::of(&plain) != slot.plain_digest {
        return Err(RecordError::Digest);
    }
    Ok(plain)
}

/// Reads a record out of its plain bytes.
///
/// # Errors
/// Where they are not a padded message of this kind.
pub fn parse<M: Message + Default>(plain: &[u8]) -> Result<M, RecordError> {
    M::decode(pad::unpad(plain)?).map_err(|_| RecordError::Form)
}

/// Why a record cannot be sealed, opened or read.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum RecordError {
    /// Too long, or not padded.
    #[error(transparent)]
    Pad(#[from] PadError),
    /// Sealing failed.
    #[error(transparent)]
    Seal(#[from] SealError),
    /// The plain bytes are not those whose digest was committed.
    #[error("the opened record is not the one that was committed")]
    Digest,
    /// Not such a record.
    #[error("the opened bytes are not a record")]
    Form,
}
