// SPDX-License-Identifier: EUPL-1.2
//! Randomness handed in from outside. A pure room draws none of its own: the caller takes a seed
//! from the system and each operation expands it, so that tests can pin bytes.

use std::convert::Infallible;

use hpke::rand_core::{TryCryptoRng, TryRng};
use zeroize::Zeroizing;

use crate::digest::Digest;

/// A 32-byte seed for one operation. Never used twice: it is consumed.
pub struct Entropy(Zeroizing<[u8; 32]>);

impl Entropy {
    /// From 32 bytes of the system's randomness.
    pub fn new(seed: [u8; 32]) -> Self {
        Self(Zeroizing::new(seed))
    }

    /// The stream of random bytes that this seed gives: SHA-256(seed ‖ counter).
    pub fn into_stream(self) -> EntropyStream {
        EntropyStream { seed: self.0, counter: 0, block: Zeroizing::new([0; 32]), used: 32 }
    }

    /// Two independent seeds out of one.
    pub fn fork(self) -> (Self, Self) {
        let mut stream = self.into_stream();
        (Self(Zeroizing::new(stream.array())), Self(Zeroizing::new(stream.array())))
    }
}

/// Random bytes expanded from a seed.
pub struct EntropyStream {
    seed: Zeroizing<[u8; 32]>,
    counter: u64,
    block: Zeroizing<[u8; 32]>,
    used: usize,
}

impl EntropyStream {
    /// The next bytes.
    pub fn fill(&mut self, into: &mut [u8]) {
        for byte in into {
            if self.used == self.block.len() {
                let digest = Digest::of_parts(&[
                    b"einmal entropy v1",
                    self.seed.as_slice(),
                    &self.counter.to_be_bytes(),
                ]);
                *self.block = *digest.as_bytes();
                self.counter += 1;
                self.used = 0;
            }
            *byte = self.block.get(self.used).copied().unwrap_or_default();
            self.used += 1;
        }
    }

    /// The next 32 bytes.
    pub fn array(&mut self) -> [u8; 32] {
        let mut bytes = [0; 32];
        self.fill(&mut bytes);
        bytes
    }
}

impl TryRng for EntropyStream {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        let mut bytes = [0; 4];
        self.fill(&mut bytes);
        Ok(u32::from_le_bytes(bytes))
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        let mut bytes = [0; 8];
        self.fill(&mut bytes);
        Ok(u64::from_le_bytes(bytes))
    }

    fn try_fill_bytes(&mut self, into: &mut [u8]) -> Result<(), Infallible> {
        self.fill(into);
        Ok(())
    }
}

impl TryCryptoRng for EntropyStream {}
