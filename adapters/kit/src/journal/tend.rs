// SPDX-License-Identifier: EUPL-1.2
//! What is done with journals from time to time: newer keys of their officers, warnings before the
//! last key ends, and days that are over.

use std::{sync::Arc, time::Duration};

use einmal_peer::random;
use einmal_protocol::time::day_of;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::{
    Journal,
    audit::{self, AuditError, Audited, Published, Source},
};
use crate::adapter::Shared;

/// How often it is looked.
const LOOK: Duration = Duration::from_secs(60);

/// The first check against the published ledgers comes so long after the start, at most.
const FIRST_WITHIN: Duration = Duration::from_secs(600);
/// Then so often.
const EVERY: Duration = Duration::from_secs(3600);

/// Half to the whole of a time: many adapters are started at one moment.
fn jittered(time: Duration) -> Duration {
    let [jitter] = random::bytes::<1>().unwrap_or([128]);
    time / 2 + time / 2 * u32::from(jitter) / 256
}

/// Looks after all journals of an adapter until it is stopped.
pub(crate) async fn tend(shared: Arc<Shared>, stop: CancellationToken) {
    let mut told_on = None;
    let mut audit_at = Instant::now() + jittered(FIRST_WITHIN);
    loop {
        let shared_now = Arc::clone(&shared);
        let today = day_of(shared.clock.now_ms());
        let is_new_day = told_on != Some(today);
        let work = tokio::task::spawn_blocking(move || look(&shared_now, is_new_day));
        if matches!(work.await, Ok(true)) {
            told_on = Some(today);
        }
        if Instant::now() >= audit_at {
            audit_at = Instant::now() + jittered(EVERY);
            tokio::select! {
                () = audit_all(&shared) => {}
                () = stop.cancelled() => return,
            }
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

/// Checks all journals against all ledgers that the directory says are published. Answers what
/// came of each register's.
pub(crate) async fn audit_all_of(
    shared: &Shared,
    at: impl Fn(&str) -> Option<String>,
) -> Vec<(String, Audited)> {
    let directory = Arc::clone(&shared.trust.current().directory);
    let mut all = Vec::new();
    for entry in &directory.document().ledgers {
        let Some(known) = directory.ledger(&entry.origin) else { continue };
        let url = at(&entry.origin).unwrap_or_else(|| entry.url.clone());
        if url.is_empty() {
            tracing::warn!(
                ledger = entry.origin,
                "the directory says of no place where this ledger is published: no receipt of it \
                 is looked for there"
            );
            continue;
        }
        let source = Source { url, key: known.key.clone() };
        let mut published = match Published::fetch(&source).await {
            Ok(published) => published,
            Err(error) => {
                tracing::warn!(ledger = entry.origin, %error, "receipts cannot be looked for");
                continue;
            }
        };
        let compared = audit::compare(&mut published, &shared.seen).await;
        if let Ok(Some(problem)) = &compared {
            tracing::error!(ledger = entry.origin, problem, "alarm: the published ledger differs");
        }
        for journal in shared.nodes.values().filter_map(|node| node.journal.as_ref()) {
            let audited = audit_one(journal, &mut published, &source, shared.clock.now_ms()).await;
            let Some(mut audited) = audited else { continue };
            if let Ok(Some(problem)) = &compared
                && !audited.alarms.contains(problem)
            {
                audited.alarms.push(problem.clone());
            }
            all.push((journal.register().to_owned(), audited));
        }
    }
    all
}

async fn audit_all(shared: &Shared) {
    audit_all_of(shared, |_| None).await;
}

async fn audit_one(
    journal: &Journal,
    published: &mut Published,
    source: &Source,
    now_ms: u64,
) -> Option<Audited> {
    let register = journal.register();
    let audited = match audit::audit(journal.folder(), published, &source.key, now_ms).await {
        Ok(audited) => audited,
        Err(AuditError::Published(error)) => {
            tracing::warn!(register, %error, "receipts cannot be looked for");
            return None;
        }
        Err(error) => {
            tracing::error!(register, %error, "alarm: the journal cannot be checked");
            return None;
        }
    };
    for problem in &audited.alarms {
        tracing::error!(register, problem, "alarm: the published ledger differs");
    }
    for missing in &audited.missing {
        tracing::error!(
            register,
            request.id = missing.request_id,
            ledger = audited.ledger,
            ledger.index = missing.index,
            problem = missing.problem,
            "alarm: what a receipt proves is not in the published ledger"
        );
    }
    tracing::info!(
        register,
        ledger = audited.ledger,
        new = audited.new,
        sampled = audited.sampled,
        missing = audited.missing.len(),
        "receipts were looked for in the published ledger"
    );
    Some(audited)
}
