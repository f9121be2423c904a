// SPDX-License-Identifier: EUPL-1.2
//! Reports of use: signed by the authority, sealed to the keeper, a leaf of their own.

use einmal_ledger::{AppendError, NewEntry};
use einmal_peer::SpiffeId;
use einmal_protocol::{
    Digest, Reason, RequestId,
    envelope::payload_type,
    leaf::{LeafKind, body_bytes},
    time::{SKEW_MS, day_of, to_iso},
    wire::{
        evidence::v1::ReportUseResponse,
        v1::{Body, Envelope, UseBody, UseReport, body},
    },
};
use prost::Message;

use crate::{Broker, caller, exchange::Failure, receipts};

/// A report's envelope is at most this long.
const REPORT_MAX: usize = 8 * 1024;
/// A report may come this long after the request: an authority may think about it for a day.
const REPORT_LIFE_MS: u64 = 2 * 86_400_000;

/// Takes a report and logs it. The same report again gets the same leaf.
///
/// # Errors
/// Where it is not the authority's, not in time, or about a request that is not in the ledger.
pub async fn report_use(
    broker: &Broker,
    caller: &SpiffeId,
    envelope: Vec<u8>,
    seen_size: u64,
) -> Result<ReportUseResponse, Failure> {
    let (report, id) = verify(broker, caller, &envelope)?;
    let unavailable = |_| Failure::ledger(Reason::LedgerUnavailable);
    let found = broker.ledger.find(&report.authority, id).await.map_err(unavailable)?;
    let about = found.filter(|found| found.kind == LeafKind::Exchange).ok_or_else(|| {
        Failure::refused(Reason::MalformedRequest)
            .with_detail("the report is about a request that is not in this ledger".to_owned())
    })?;
    tracing::debug!(about.index, "a report of use");
    let day = day_of(broker.clock.now_ms());
    let body = body_bytes(body::Kind::Use(UseBody { report: envelope.clone() }));
    let entry = NewEntry { authority: report.authority, id, kind: LeafKind::Use, day, body };
    let logged = match broker.ledger.append(entry).await {
        Ok(logged) => logged,
        Err(AppendError::Duplicate { index, .. }) => {
            let stored = broker.ledger.entries(index, 1).await.map_err(unavailable)?;
            let same = stored.first().and_then(|entry| report_of(entry.body.as_deref()?));
            if same.as_deref() != Some(envelope.as_slice()) {
                return Err(Failure::refused(Reason::IdReused));
            }
            receipts::logged(broker, index).await?
        }
        Err(error) => {
            tracing::error!(%error, "a report of use could not be logged");
            return Err(Failure::ledger(Reason::LedgerUnavailable));
        }
    };
    let (receipt, _) = receipts::receipt(broker, &logged, seen_size).await?;
    Ok(ReportUseResponse { receipt: Some(receipt) })
}

fn verify(
    broker: &Broker,
    caller: &SpiffeId,
    envelope: &[u8],
) -> Result<(UseReport, RequestId), Failure> {
    let malformed = || Failure::refused(Reason::MalformedRequest);
    if envelope.len() > REPORT_MAX {
        return Err(Failure::refused(Reason::TooLarge));
    }
    let trust = broker.trust.current();
    let now_ms = broker.clock.now_ms();
    let envelope = Envelope::parse(envelope).map_err(|_| malformed())?;
    // Read before it is verified, only to learn whose keys to verify with.
    let claimed = UseReport::decode(envelope.payload.as_slice()).map_err(|_| malformed())?;
    let authority = trust
        .directory
        .authority(&claimed.authority)
        .ok_or_else(|| Failure::refused(Reason::UnknownAuthority))?;
    let payload = envelope
        .verified(payload_type::USE, &authority.keys)
        .map_err(|_| Failure::refused(Reason::BadSignature))?;
    let report = UseReport::decode(payload).map_err(|_| malformed())?;
    let operator = caller::operator(caller, &trust.directory)?;
    if !trust.directory.may_carry_for_authority(&operator, &report.authority) {
        return Err(Failure::refused(Reason::OperatorMayNotCarry));
    }
    if report.ledger != broker.origin {
        return Err(Failure::refused(Reason::WrongLedger));
    }
    let id = RequestId::parse(&report.request_id).map_err(|_| malformed())?;
    Digest::try_from(report.request_digest.as_slice()).map_err(|_| malformed())?;
    let times = || {
        format!(
            "the report says {}, the clock here {}",
            to_iso(report.reported_at_ms),
            to_iso(now_ms)
        )
    };
    if report.reported_at_ms.abs_diff(now_ms) > SKEW_MS {
        return Err(Failure::refused(Reason::ClockSkew).with_detail(times()));
    }
    if now_ms > id.issued_at_ms().saturating_add(REPORT_LIFE_MS) {
        return Err(Failure::refused(Reason::RequestExpired).with_detail(times()));
    }
    Ok((report, id))
}

fn report_of(body: &[u8]) -> Option<Vec<u8>> {
    match Body::decode(body).ok()?.kind? {
        body::Kind::Use(used) => Some(used.report),
        body::Kind::Exchange(_) | body::Kind::Refusal(_) | body::Kind::Notice(_) => None,
    }
}
