// SPDX-License-Identifier: EUPL-1.2
//! Receipts for authorities and adapters: inclusion under a checkpoint, and consistency from the
//! last one that each of them saw.

use einmal_ledger::Logged;
use einmal_protocol::{Reason, wire::v1::Receipt};

use crate::{Broker, exchange::Failure};

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
