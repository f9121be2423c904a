// SPDX-License-Identifier: EUPL-1.2
//! One signature, many requests: an authority signs the Merkle root over a batch of requests, and
//! each travels with its inclusion path. A single request is a batch of one. Signatures are
//! verified singly, never by cofactored batch verification.

use prost::Message;

use crate::{
    digest::Digest,
    envelope::payload_type,
    key::{KeyError, PublicKey, SigningKey},
    merkle,
    wire::v1::{BatchRoot, Envelope, SignedRequest},
};

/// At most this many requests under one signature.
pub const BATCH_MAX: u32 = 1024;
const PATH_MAX: usize = 10;

/// Signs requests, given as bytes, for one authority.
///
/// # Errors
/// Where there are none or too many, or the key cannot sign.
pub fn sign(
    authority: &str,
    requests: &[Vec<u8>],
    key: &SigningKey,
) -> Result<Vec<SignedRequest>, BatchError> {
    let count = u32::try_from(requests.len()).unwrap_or(u32::MAX);
    if count == 0 || count > BATCH_MAX {
        return Err(BatchError::Count { got: count });
    }
    let leaves: Vec<&[u8]> = requests.iter().map(Vec::as_slice).collect();
    let root = merkle::root(leaves.iter().copied());
    let payload = BatchRoot { authority: authority.to_owned(), root: root.to_vec(), count };
    let batch = Envelope::sign(payload_type::BATCH, payload.encode_to_vec(), &[key])
        .map_err(BatchError::Sign)?;
    (0..count)
        .zip(requests)
        .map(|(index, request)| {
            let path = merkle::inclusion_path(&leaves, u64::from(index))
                .ok_or(BatchError::Path)?
                .into_iter()
                .map(Digest::to_vec)
                .collect();
            Ok(SignedRequest { request: request.clone(), batch: Some(batch.clone()), index, path })
        })
        .collect()
}

/// What a signature covers, once the request's path has been walked.
#[derive(Clone, Debug, PartialEq)]
pub struct Membership {
    envelope: Envelope,
    /// The authority that the signed root names.
    pub authority: String,
    /// RFC 6962 leaf hash of the request: its digest everywhere else.
    pub request_digest: Digest,
}

/// Walks the path of a request to its batch's root, without checking the signature yet: who may
/// have signed is known only once the authority has been read.
///
/// # Errors
/// Where the batch is malformed or the path does not lead to the root.
pub fn membership(signed: &SignedRequest) -> Result<Membership, BatchError> {
    let envelope = signed.batch.clone().ok_or(BatchError::Form)?;
    if envelope.payload_type != payload_type::BATCH || signed.path.len() > PATH_MAX {
        return Err(BatchError::Form);
    }
    let batch = BatchRoot::decode(envelope.payload.as_slice()).map_err(|_| BatchError::Form)?;
    if batch.count == 0 || batch.count > BATCH_MAX {
        return Err(BatchError::Count { got: batch.count });
    }
    let path = signed
        .path
        .iter()
        .map(|hash| Digest::try_from(hash.as_slice()))
        .collect::<Result<Vec<_>, _>>()
        .map_err(|_| BatchError::Form)?;
    let request_digest = merkle::leaf_hash(&signed.request);
    let root = merkle::root_from_inclusion(
        request_digest,
        u64::from(signed.index),
        u64::from(batch.count),
        &path,
    );
    if root.map(Digest::to_vec) != Some(batch.root) {
        return Err(BatchError::Path);
    }
    Ok(Membership { envelope, authority: batch.authority, request_digest })
}

impl Membership {
    /// What a cache of verified roots is keyed by: digest of the envelope's type, payload and
    /// signatures together.
    pub fn envelope_digest(&self) -> Digest {
        Digest::of(&self.envelope.encode_to_vec())
    }

    /// Checks the signature over the root.
    ///
    /// # Errors
    /// Where none of the keys made it.
    pub fn verify(&self, keys: &[PublicKey]) -> Result<(), BatchError> {
        self.envelope
            .verified(payload_type::BATCH, keys)
            .map(|_| ())
            .map_err(|_| BatchError::Signature)
    }
}

/// Why a signed request is not accepted.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum BatchError {
    /// Empty or too large.
    #[error("a batch has 1 to {BATCH_MAX} requests, this one {got}")]
    Count {
        /// How many.
        got: u32,
    },
    /// Not a signed batch.
    #[error("the bytes are not a request in a signed batch")]
    Form,
    /// The request is not in the batch.
    #[error("the request's path does not lead to the batch's root")]
    Path,
    /// Not signed by the authority.
    #[error("the batch is not signed by a key of the authority")]
    Signature,
    /// The key could not sign.
    #[error("the batch could not be signed")]
    Sign(#[source] KeyError),
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(seed: u8) -> SigningKey {
        SigningKey::from_seed(&[seed; 32]).unwrap()
    }

    fn requests(count: u8) -> Vec<Vec<u8>> {
        (0..count).map(|n| vec![n; 40]).collect()
    }

    #[test]
    fn each_member_verifies_and_no_other_request_does() {
        for count in [1, 2, 3, 17] {
            let signed = sign("amt", &requests(count), &key(1)).unwrap();
            for member in &signed {
                let found = membership(member).unwrap();
                assert_eq!(found.authority, "amt");
                assert_eq!(found.verify(&[key(1).public().clone()]), Ok(()));
                assert_eq!(found.verify(&[key(2).public().clone()]), Err(BatchError::Signature));
                let other = SignedRequest { request: b"other".to_vec(), ..member.clone() };
                assert_eq!(membership(&other), Err(BatchError::Path));
            }
        }
    }

    #[test]
    fn golden_bytes() {
        let signed = sign("amt", &requests(3), &key(7)).unwrap();
        assert_eq!(
            Digest::of(&signed[2].encode_to_vec()).to_hex(),
            include_str!("../tests/golden/signed_request.sha256").trim()
        );
    }

    #[test]
    fn limits() {
        assert_eq!(sign("amt", &[], &key(1)), Err(BatchError::Count { got: 0 }));
        let mut long = sign("amt", &requests(1), &key(1)).unwrap().remove(0);
        long.path = vec![vec![0; 32]; 11];
        assert_eq!(membership(&long), Err(BatchError::Form));
    }
}
