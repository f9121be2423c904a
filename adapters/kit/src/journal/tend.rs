// SPDX-License-Identifier: EUPL-1.2
//! What is done with journals from time to time: newer keys of their officers, warnings before the
//! last key ends, and days that are over.

use std::{sync::Arc, time::Duration};

use einmal_protocol::time::day_of;
use tokio_util::sync::CancellationToken;

use crate::adapter::Shared;

/// How often it is looked.
const LOOK: Duration = Duration::from_secs(60);

/// Looks after all journals of an adapter until it is stopped.
pub(crate) async fn tend(shared: Arc<Shared>, stop: CancellationToken) {
    let mut told_on = None;
    loop {
        let shared_now = Arc::clone(&shared);
        let today = day_of(shared.clock.now_ms());
        let is_new_day = told_on != Some(today);
        let work = tokio::task::spawn_blocking(move || look(&shared_now, is_new_day));
        if matches!(work.await, Ok(true)) {
            told_on = Some(today);
        }
        tokio::select! {
            () = tokio::time::sleep(LOOK) => {}
            () = stop.cancelled() => return,
        }
    }
}

/// Whether all of it was done that is done once a day.
fn look(shared: &Shared, is_new_day: bool) -> bool {
    let now_ms = shared.clock.now_ms();
    let trust = shared.trust.current();
    // Somebody else has signed what time it is: a clock that runs ahead deletes nothing.
    let is_sure = trust.check_time(now_ms).is_ok();
    let before = day_of(now_ms).saturating_sub(trust.rules.retention_days());
    for journal in shared.nodes.values().filter_map(|node| node.journal.as_ref()) {
        journal.look(is_new_day);
        if is_new_day && is_sure {
            journal.forget(before);
        }
    }
    is_sure
}
