// SPDX-License-Identifier: EUPL-1.2
//! The cockpit: keeper of day keys and index, and the pages citizens read.
//!
//! The two halves share no state. The keeper holds the day keys, follows the ledger, opens access
//! records and finds them again by blind tags; the pages hold no key and ask the keeper over
//! gRPC, in one process or in two.

pub mod export;
pub mod finding;
pub mod keeper;
pub mod pages;
pub mod serve;
pub mod trusted;

use std::sync::Arc;

/// Where the time comes from: UTC milliseconds since 1970.
pub type Clock = Arc<dyn Fn() -> u64 + Send + Sync>;

/// The system's clock.
pub fn system_clock() -> Clock {
    Arc::new(|| {
        std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .map(|since| u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
            .unwrap_or_default()
    })
}
