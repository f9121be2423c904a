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
    /// Its day lies before those of the entries before it. A ledger takes today's entries, and
    /// yesterday's for ten minutes, so somebody wants it forgotten early.
    pub(crate) backdated: bool,
}

/// What the days of entries are measured by.
#[derive(Clone, Copy)]
pub(crate) struct Days {
    /// Bodies of days before this one may be deleted at the ledger.
    pub(crate) oldest: u32,
    /// Bodies of days before this one are forgotten here, and not taken again.
    pub(crate) forgotten_before: u32,
    /// The newest of any leaf so far.
    pub(crate) newest: u32,
}

/// Recomputes the leaf. A body that the ledger may already have deleted is passed over.
pub(crate) fn check(entry: Entry, days: Days) -> Result<Checked, IntakeError> {
    let Entry { index, leaf, body } = entry;
    let leaf = Leaf::parse(&leaf).map_err(|_| IntakeError::Leaf { index })?;
    let backdated = leaf.day.saturating_add(1) < days.newest;
    if body.is_empty() && leaf.day >= days.oldest {
        return Err(IntakeError::BodyMissing { index });
    }
    if !body.is_empty() && Digest::of(&body) != leaf.body {
        return Err(IntakeError::OtherBody { index });
    }
    if body.is_empty() || leaf.day < days.forgotten_before {
        return Ok(Checked { index, leaf, bytes: None, kind: None, backdated });
    }
    // A body that cannot be read is in the tree all the same: its digest stands there.
    let kind = Body::decode(body.as_slice())
        .ok()
        .filter(|body| LeafKind::of(body) == Some(leaf.kind))
        .and_then(|body| body.kind);
    Ok(Checked { index, leaf, bytes: Some(body), kind, backdated })
}
