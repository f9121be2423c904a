// SPDX-License-Identifier: EUPL-1.2
//! The system's randomness, handed into the pure rooms as seeds.

use einmal_protocol::{RequestId, entropy::Entropy};
use ring::rand::{SecureRandom, SystemRandom};

/// The system gave no randomness; nothing can be sealed or signed safely.
#[derive(Debug, thiserror::Error)]
#[error("the system gives no randomness")]
pub struct NoRandomness;

/// Random bytes.
///
/// # Errors
/// Where the system gives none.
pub fn bytes<const N: usize>() -> Result<[u8; N], NoRandomness> {
    let mut bytes = [0; N];
    SystemRandom::new().fill(&mut bytes).map_err(|_| NoRandomness)?;
    Ok(bytes)
}

/// A seed for one sealing or key.
///
/// # Errors
/// Where the system gives no randomness.
pub fn entropy() -> Result<Entropy, NoRandomness> {
    bytes().map(Entropy::new)
}

/// A fresh request id.
///
/// # Errors
/// Where the system gives no randomness.
pub fn request_id(now_ms: u64) -> Result<RequestId, NoRandomness> {
    Ok(RequestId::new(now_ms, bytes()?))
}
