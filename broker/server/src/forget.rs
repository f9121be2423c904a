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

/// Ids are kept for so long: a request may be reported on for two days, and clocks differ.
const IDS_KEPT_MS: u64 = 2 * DAY_MS + DAY_MS / 24;
/// Where the clock is so many days ahead of the newest leaf, it may be wrong, and what is
/// destroyed cannot be brought back.
pub const AHEAD_MAX: u32 = 35;
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
    /// Today, and the newest leaf's day where there is a leaf: they should be near.
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
    let row = ledger.row().await?;
    let mut days = ledger.days().await?;
    days.retain(|day| day.day < before_day);
    let newest = match row.head.size.checked_sub(1) {
        Some(last) => ledger.entries(last, 1).await?.pop(),
        None => None,
    };
    let ids_before_ms = now_ms.saturating_sub(IDS_KEPT_MS);
    Ok(Plan {
        before_day,
        ids_before_ms,
        moves: !days.is_empty() || row.bodies_from < before_day,
        days,
        retention_days,
        today,
        newest_day: newest.map(|entry| entry.leaf.day),
    })
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
