// SPDX-License-Identifier: EUPL-1.2
//! FORGETS-ON-TIME at the broker: bodies of days that the signed rules no longer keep are deleted,
//! and so are request ids that nobody may use any more. A leaf says so before it is done.

use std::{sync::Arc, time::Duration};

use einmal_ledger::{AppendError, Ledger, ReadError, store::DayOfBodies};
use einmal_protocol::{
    time::{DAY_MS, day_of, day_to_iso},
    wire::v1::{Forgot, notice_body::What},
};
use tokio_util::sync::CancellationToken;

use crate::{Broker, notice};

/// Ids are kept for so long: a request may be reported on for two days, and clocks differ. Those
/// of the last days before the clock was proven by a leaf are kept too, for an id that is once
/// forgotten is refused for good: a clock that runs ahead must not shut the ledger.
const IDS_KEPT_MS: u64 = 2 * DAY_MS + DAY_MS / 24;
/// Where the clock is so many days ahead of the newest settled leaf, it may be wrong, and what is
/// destroyed cannot be brought back.
pub const AHEAD_MAX: u32 = 35;
/// A leaf is settled when it is so many days old: a broker whose clock is wrong stamps its own
/// leaves with it, a refusal of a request that seems too old first of all.
pub const SETTLED: u32 = 7;
/// How often it is looked whether there is something to forget.
const LOOK: Duration = Duration::from_secs(15 * 60);

/// What forgetting would do now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Days before this one are forgotten.
    pub before_day: u32,
    /// Ids issued before this are forgotten, UTC milliseconds.
    pub ids_before_ms: u64,
    /// The days whose bodies would be deleted.
    pub days: Vec<DayOfBodies>,
    /// For how many days the rules keep them.
    pub retention_days: u32,
    /// Today, and the day of the newest leaf that is settled, where there is one: they should be
    /// near.
    pub today: u32,
    /// See above.
    pub newest_day: Option<u32>,
    /// Whether the ledger's horizon would move.
    pub moves: bool,
}

impl Plan {
    /// How many bodies.
    pub fn bodies(&self) -> u64 {
        self.days.iter().map(|day| day.bodies).sum()
    }

    /// Whether the clock may be wrong: then a person must say that it is not.
    pub fn clock_may_be_ahead(&self) -> bool {
        self.newest_day.is_some_and(|newest| self.today > newest.saturating_add(AHEAD_MAX))
    }
}

/// Looks what would be forgotten.
///
/// # Errors
/// Where the ledger cannot be read.
pub async fn plan(ledger: &Ledger, retention_days: u32, now_ms: u64) -> Result<Plan, ReadError> {
    let today = day_of(now_ms);
    let before_day = today.saturating_sub(retention_days);
    // Others may have appended what this broker has not looked at.
    ledger.refresh().await;
    let row = ledger.row().await?;
    let mut days = ledger.days().await?;
    days.retain(|day| day.day < before_day);
    let newest_day = newest_settled(ledger, today).await?;
    let settled_ms = newest_day.map_or(0, |day| u64::from(day) * DAY_MS);
    let ids_before_ms = now_ms.min(settled_ms).saturating_sub(IDS_KEPT_MS);
    Ok(Plan {
        before_day,
        ids_before_ms,
        moves: !days.is_empty() || row.bodies_from < before_day,
        days,
        retention_days,
        today,
        newest_day,
    })
}

/// The day of the newest settled leaf. Days grow with the leaves, but for those that a wrong clock
/// has stamped: what is of a day to come counts as settled, and any other of the last days does
/// not, so that a few of them do not hide what lies before.
async fn newest_settled(ledger: &Ledger, today: u32) -> Result<Option<u32>, ReadError> {
    let day_of_leaf = async |index: u64| {
        let found = ledger.entries(index, 1).await?.pop();
        let missing = ReadError::OutOfRange { size: index };
        found.map(|entry| entry.leaf.day).ok_or(missing)
    };
    // Settled are those before `from`; not settled those from `to` on.
    let (mut from, mut to) = (0, ledger.checkpoint().size());
    while from < to {
        let middle = from + (to - from) / 2;
        let day = day_of_leaf(middle).await?;
        if (today.saturating_sub(SETTLED)..=today).contains(&day) {
            to = middle;
        } else {
            from = middle + 1;
        }
    }
    match from.checked_sub(1) {
        Some(last) => day_of_leaf(last).await.map(Some),
        None => Ok(None),
    }
}

/// Does what was planned: first the leaf that says so, then the deletion, so that nothing is ever
/// missing without a word. Where it breaks off in between, the next run does it again.
///
/// # Errors
/// Where the leaf is not logged, or something could not be deleted.
pub async fn forget(
    ledger: &Ledger,
    plan: &Plan,
    by: &str,
    now_ms: u64,
) -> Result<u64, ForgetError> {
    if plan.bodies() > 0 {
        let forgot = Forgot {
            before_day: plan.before_day,
            bodies: plan.bodies(),
            retention_days: plan.retention_days,
        };
        notice::log(ledger, by, What::Forgot(forgot), now_ms).await?;
    }
    Ok(ledger.forget(plan.before_day, plan.ids_before_ms).await?)
}

/// Forgets when a day is over, until the broker stops.
pub(crate) async fn daily(broker: Arc<Broker>, by: String, stop: CancellationToken) {
    loop {
        if let Err(error) = once(&broker, &by).await {
            tracing::error!(%error, "forgetting failed; it is tried again");
        }
        tokio::select! {
            () = tokio::time::sleep(LOOK) => {}
            () = stop.cancelled() => return,
        }
    }
}

async fn once(broker: &Broker, by: &str) -> Result<(), ForgetError> {
    let now_ms = broker.clock.now_ms();
    let retention_days = broker.trust.current().rules.retention_days();
    let plan = plan(&broker.ledger, retention_days, now_ms).await?;
    if !plan.moves {
        return Ok(());
    }
    if plan.clock_may_be_ahead() {
        tracing::error!(
            today = day_to_iso(plan.today),
            newest = plan.newest_day.map(day_to_iso),
            "alarm: nothing is forgotten: the clock is far ahead of the newest leaf; if it is \
             right, run `einmal ledger forget --even-if-clock-runs-ahead`"
        );
        return Ok(());
    }
    let bodies = forget(&broker.ledger, &plan, by, now_ms).await?;
    tracing::info!(before = day_to_iso(plan.before_day), bodies, "forgotten on time");
    Ok(())
}

/// Why nothing, or not all, was forgotten.
#[derive(Debug, thiserror::Error)]
pub enum ForgetError {
    /// The leaf.
    #[error("the leaf that says so could not be logged: {0}")]
    Log(#[from] AppendError),
    /// The store.
    #[error(transparent)]
    Store(#[from] ReadError),
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use einmal_ledger::{LedgerConfig, Logged, NewEntry};
    use einmal_protocol::{RequestId, key::SigningKey, leaf::LeafKind};

    use super::*;

    const DAY: u32 = 20_779;
    const KEPT: u32 = 730;

    struct Folder(PathBuf);

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    async fn ledger(name: &str) -> (Folder, Ledger) {
        let path =
            std::env::temp_dir().join(format!("einmal-forget-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir_all(&path).unwrap();
        let config = LedgerConfig::new("einmal.example/l", path.join("db"), path.join("memory"));
        let key = SigningKey::from_seed(&[7; 32]).unwrap();
        (Folder(path), Ledger::create(config, key).await.unwrap())
    }

    /// Logs a refusal, of a request that was issued on one day, by a broker whose clock says
    /// another.
    async fn log(ledger: &Ledger, issued: u32, day: u32) -> Result<Logged, AppendError> {
        let issued_ms = u64::from(issued) * DAY_MS;
        let id = RequestId::new(issued_ms, einmal_peer::random::bytes().unwrap());
        let authority = "authority".to_owned();
        let body = b"body".to_vec();
        let entry = NewEntry { authority, id, kind: LeafKind::Refusal, day, body };
        ledger.append(entry).await
    }

    async fn planned(ledger: &Ledger, today: u32) -> Plan {
        plan(ledger, KEPT, u64::from(today) * DAY_MS).await.unwrap()
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn leaves_of_a_clock_that_runs_ahead_do_not_prove_it_right() {
        let (_folder, ledger) = ledger("ahead").await;
        for day in DAY - 100..=DAY {
            log(&ledger, day, day).await.unwrap();
        }
        let right = planned(&ledger, DAY).await;
        assert!(!right.clock_may_be_ahead() && right.newest_day == Some(DAY - SETTLED - 1));
        let wrong = DAY + 3 * 365;
        assert!(planned(&ledger, wrong).await.clock_may_be_ahead());
        // What this broker refuses as too old it logs under its own clock's day.
        for _ in 0..30 {
            log(&ledger, DAY, wrong).await.unwrap();
        }
        let plan = planned(&ledger, wrong).await;
        assert!(plan.clock_may_be_ahead() && plan.days.len() == 101, "{plan:?}");
        // When the clock is right again, they hold nothing up.
        log(&ledger, DAY + 1, DAY + 1).await.unwrap();
        for day in DAY + 1..DAY + 90 {
            log(&ledger, day, day).await.unwrap();
            assert!(!planned(&ledger, day).await.clock_may_be_ahead(), "{day}");
        }
        ledger.close().await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_clock_some_days_ahead_does_not_shut_the_ledger() {
        let (_folder, ledger) = ledger("shut").await;
        for day in DAY - 40..=DAY {
            log(&ledger, day, day).await.unwrap();
        }
        for ahead in [1, 5, 20, AHEAD_MAX] {
            let plan = planned(&ledger, DAY + ahead).await;
            assert!(!plan.clock_may_be_ahead(), "{ahead}");
            let now_ms = u64::from(DAY + ahead) * DAY_MS;
            forget(&ledger, &plan, "broker", now_ms).await.unwrap();
            // Those who issue ids have the right clock.
            log(&ledger, DAY - 1, DAY).await.unwrap_or_else(|e| panic!("{ahead}: {e}"));
        }
        ledger.close().await;
    }
}
