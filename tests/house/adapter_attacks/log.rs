// SPDX-License-Identifier: EUPL-1.2
//! The conformance kit's ledger in memory, with the true key of the demo's world.

use std::{path::Path, sync::Arc};

pub(crate) use einmal_adapter_check::Log;
use einmal_peer::files;

/// An empty ledger with the true key of the demo's world.
pub(crate) fn of_world(folder: &Path) -> Log {
    let key = files::signing_key(&folder.join("keys/ledger.key")).unwrap();
    Log::new(einmal::demo::plan::LEDGER, Arc::new(key))
}
