// SPDX-License-Identifier: EUPL-1.2
//! Receipts for authorities and adapters: inclusion under a checkpoint, and consistency from the
//! last one that each of them saw.

use std::sync::Arc;

use einmal_ledger::Logged;
use einmal_protocol::{
    Reason,
    wire::{evidence::v1::RequestEvidenceResponse, v1::Receipt},
};

use crate::{Broker, exchange::Failure, window::Outcome};

fn unavailable(error: impl std::fmt::Display) -> Failure {
    tracing::error!(%error, "the ledger cannot be read");
    Failure::ledger(Reason::LedgerUnavailable)
}

/// An entry of the ledger, proven under its newest checkpoint.
pub(crate) async fn logged(broker: &Broker, index: u64) -> Result<Logged, Failure> {
    let checkpoint = broker.ledger.checkpoint();
    let entries = broker.ledger.entries(index, 1).await.map_err(unavailable)?;
    let entry = entries.into_iter().next().ok_or_else(|| unavailable("an entry is missing"))?;
    let inclusion = broker.ledger.inclusion(index, checkpoint.size()).await.map_err(unavailable)?;
    Ok(Logged { index, leaf: entry.leaf, inclusion, checkpoint })
}

/// A receipt with a consistency proof from a size seen before; and the size that it proves.
pub(crate) async fn receipt(
    broker: &Broker,
    entry: &Logged,
    seen_size: u64,
) -> Result<(Receipt, u64), Failure> {
    // Another answer may have overtaken this one: then it is proven under the newer checkpoint.
    let newer;
    let entry = if seen_size > entry.checkpoint.size() {
        newer = logged(broker, entry.index).await?;
        &newer
    } else {
        entry
    };
    let size = entry.checkpoint.size();
    // Who saw more than there is gets no proof, and will raise the alarm.
    let consistency = if seen_size == 0 || seen_size > size {
        None
    } else {
        let path = broker.ledger.consistency(seen_size, size).await.map_err(unavailable)?;
        Some((seen_size, path))
    };
    Ok((entry.receipt(consistency), size.max(seen_size)))
}

/// The answer to an identical retry. Byte for byte the one given before, unless its caller has
/// seen more of the ledger meanwhile: then the same entry is proven from there, since a proof
/// from an older size would be worth nothing to them.
pub(crate) async fn seen_from(
    broker: &Broker,
    answer: Arc<RequestEvidenceResponse>,
    seen_size: u64,
) -> Outcome {
    let Some(given) = &answer.receipt else { return Ok(answer) };
    let from_size = given.consistency.as_ref().map_or(0, |consistency| consistency.from_size);
    if from_size == seen_size {
        return Ok(answer);
    }
    let entry = logged(broker, given.index).await?;
    let (receipt, _) = receipt(broker, &entry, seen_size).await?;
    let answer = RequestEvidenceResponse { receipt: Some(receipt), ..Arc::unwrap_or_clone(answer) };
    Ok(Arc::new(answer))
}
