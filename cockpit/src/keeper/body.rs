// SPDX-License-Identifier: EUPL-1.2
//! An entry of the ledger, checked against its leaf: what stands in the tree is what was served.

use einmal_protocol::{
    Digest,
    leaf::{Leaf, LeafKind},
    wire::{
        ledger::v1::Entry,
        v1::{Body, body},
    },
};
use prost::Message;

use super::tail::IntakeError;

/// An entry whose leaf was recomputed from its body.
pub(crate) struct Checked {
    pub(crate) index: u64,
    pub(crate) leaf: Leaf,
    /// As received; nothing where its day is over and it was deleted.
    pub(crate) bytes: Option<Vec<u8>>,
    pub(crate) kind: Option<body::Kind>,
}

/// Recomputes the leaf. A body that the ledger may already have deleted is passed over: one of a
/// day before `oldest`.
pub(crate) fn check(entry: Entry, oldest: u32) -> Result<Checked, IntakeError> {
    let Entry { index, leaf, body } = entry;
    let leaf = Leaf::parse(&leaf).map_err(|_| IntakeError::Leaf { index })?;
    if body.is_empty() {
        if leaf.day >= oldest {
            return Err(IntakeError::BodyMissing { index });
        }
        return Ok(Checked { index, leaf, bytes: None, kind: None });
    }
    if Digest::of(&body) != leaf.body {
        return Err(IntakeError::OtherBody { index });
    }
    // A body that cannot be read is in the tree all the same: its digest stands there.
    let kind = Body::decode(body.as_slice())
        .ok()
        .filter(|body| LeafKind::of(body) == Some(leaf.kind))
        .and_then(|body| body.kind);
    Ok(Checked { index, leaf, bytes: Some(body), kind })
}
