// SPDX-License-Identifier: EUPL-1.2
//! A record as the index holds it, opened, and with all that proves it.

use einmal_protocol::{
    Digest,
    permit::Permit,
    record,
    wire::{
        cockpit::v1::{ExportedRecord, Record},
        v1::{AccessRecord, Body, Receipt, SignedRequest, body},
    },
};
use prost::Message;

use super::{
    Archive, IndexError,
    days::DayKey,
    index::{Found, Index, use_aad},
    open::{ASKED_SLOT, row_aad},
};
use crate::finding::Finding;

/// An opened record.
pub(super) struct Opened {
    pub(super) record: Record,
    plain: Vec<u8>,
    slot: i64,
    body: Vec<u8>,
}

/// Opens a record with the key of its day; nothing where it is damaged.
pub(super) fn open(key: &DayKey, found: Found) -> Option<Opened> {
    let aad = row_aad(found.index, found.day, found.slot);
    let plain = key.unseal(&aad, &found.sealed).ok()?;
    let stored = ExportedRecord::decode(plain.as_slice()).ok()?;
    let mut record = stored.record?;
    let (request, permit) = request_and_permit(&found.body)?;
    record.request = request;
    record.permit = permit;
    if found.slot != ASKED_SLOT {
        let access: AccessRecord = record::parse(&stored.plain_record).ok()?;
        record.access = Some(access);
    }
    let mut uses = Vec::new();
    for (report, sealed) in &found.uses {
        let plain = key.unseal(&use_aad(found.index, *report), sealed).ok()?;
        uses.push(i32::from_be_bytes(plain.as_slice().try_into().ok()?));
    }
    if let Some(first) = uses.first() {
        record.r#use = *first;
        if uses.iter().any(|other| other != first) {
            record.findings.push(Finding::UseReportedTwice.to_string());
        }
    }
    if found.retried {
        record.findings.push(Finding::Retried.to_string());
    }
    Some(Opened { record, plain: stored.plain_record, slot: found.slot, body: found.body })
}

/// With all that proves it.
pub(super) async fn export(
    index: &Index,
    archive: &dyn Archive,
    opened: Opened,
) -> Result<ExportedRecord, IndexError> {
    let Opened { record, plain, slot, body } = opened;
    let (rules, directory) = decided_under(&body)
        .map(|(rules, directory)| (archive.rules(rules), archive.directory(directory)))
        .unwrap_or_default();
    Ok(ExportedRecord {
        receipt: Some(receipt(index, record.index).await?),
        record: Some(record),
        body,
        plain_record: plain,
        slot: u32::try_from(slot).unwrap_or_default(),
        roots: archive.roots(),
        rules,
        directory,
    })
}

async fn receipt(index: &Index, leaf_index: u64) -> Result<Receipt, IndexError> {
    let state = index.state().await?;
    let leaf = index.leaf(leaf_index).await?.ok_or(IndexError::Damaged("a leaf"))?;
    let path = index.inclusion(leaf_index, state.size).await?;
    Ok(Receipt {
        index: leaf_index,
        leaf,
        inclusion: path.into_iter().map(Digest::to_vec).collect(),
        checkpoint: state.checkpoint,
        consistency: None,
    })
}

/// The bytes of the request in a body, and of the permit where there is one.
fn request_and_permit(body: &[u8]) -> Option<(Vec<u8>, Vec<u8>)> {
    let (signed, permit) = match Body::decode(body).ok()?.kind? {
        body::Kind::Exchange(exchange) => (exchange.signed_request, exchange.permit),
        body::Kind::Refusal(refusal) => (refusal.signed_request, Vec::new()),
        body::Kind::Use(_) | body::Kind::Notice(_) => return None,
    };
    Some((SignedRequest::decode(signed.as_slice()).ok()?.request, permit))
}

/// Digests of the rules and the directory that a body was decided under.
fn decided_under(body: &[u8]) -> Option<(Digest, Digest)> {
    match Body::decode(body).ok()?.kind? {
        body::Kind::Exchange(exchange) => {
            let permit = Permit::parse(&exchange.permit).ok()?;
            Some((permit.rules_digest(), permit.directory_digest()))
        }
        body::Kind::Refusal(refusal) => Some((
            Digest::try_from(refusal.rules_digest.as_slice()).ok()?,
            Digest::try_from(refusal.directory_digest.as_slice()).ok()?,
        )),
        body::Kind::Use(_) | body::Kind::Notice(_) => None,
    }
}
