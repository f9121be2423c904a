// SPDX-License-Identifier: EUPL-1.2
//! One register at work: its keys, what looks people up, and the wall around it.

use std::sync::{Arc, PoisonError, RwLock};

use einmal_protocol::{
    key::SigningKey,
    seal::{Aad, SealKind},
    wire::v1::Envelope,
};
use zeroize::Zeroizing;

use crate::{
    adapter::StartError, bulkhead::Bulkhead, journal::Journal, register::Register,
    sealing::SealingKeys,
};

/// A register at work.
pub(crate) struct Node {
    pub(crate) id: String,
    pub(crate) identity: SigningKey,
    pub(crate) register: Arc<dyn Register>,
    pub(crate) bulkhead: Bulkhead,
    pub(crate) journal: Option<Journal>,
    sealing: RwLock<SealingKeys>,
    /// The newest card and its version, to be published.
    card: RwLock<(u64, Envelope)>,
}

impl Node {
    pub(crate) fn new(
        id: String,
        (identity, register): (SigningKey, Arc<dyn Register>),
        (bulkhead, journal): (Bulkhead, Option<Journal>),
        (sealing, card): (SealingKeys, Envelope),
    ) -> Self {
        let card = RwLock::new((sealing.version(), card));
        let sealing = RwLock::new(sealing);
        Self { id, identity, register, bulkhead, journal, sealing, card }
    }

    /// Opens a person that is sealed to this register; nothing where it is for another key, or
    /// changed.
    pub(crate) fn open_person(&self, aad: &Aad, sealed: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
        let sealing = self.sealing.read().unwrap_or_else(PoisonError::into_inner);
        sealing.open_sealed(SealKind::Person, aad, sealed)
    }

    /// The newest card and its version.
    pub(crate) fn card(&self) -> (u64, Envelope) {
        self.card.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Makes and destroys sealing keys where it is time. Writes a file.
    pub(crate) fn renew(&self, now_ms: u64) -> Result<(), StartError> {
        if !self.sealing.read().unwrap_or_else(PoisonError::into_inner).is_due(now_ms) {
            return Ok(());
        }
        let mut sealing = self.sealing.write().unwrap_or_else(PoisonError::into_inner);
        let card = sealing.renew(&self.identity, now_ms)?;
        let card = (sealing.version(), card);
        *self.card.write().unwrap_or_else(PoisonError::into_inner) = card;
        Ok(())
    }
}
