// SPDX-License-Identifier: EUPL-1.2
//! The data-protection officer's view: how often who asked for what, never about whom. Before it
//! is counted, that it is counted is a leaf of the ledger, as for a hold.

mod counts;

use std::path::Path;

use einmal_protocol::wire::{
    ledger::v1::{RecordLookRequest, ledger_service_client::LedgerServiceClient},
    v1::{Look, notice_body},
};
use serde::Serialize;
use sqlx::Row as _;

use super::{
    DayKeyError, DayKeys, HoldError, IndexError,
    facts::Facts,
    hold::{Office, REASON_MAX, prove},
    index::{Index, number, sql},
};
use counts::Counts;
pub use counts::{Anomaly, Count, HIDDEN_BELOW};

/// So many days are counted at most.
pub const DAYS_MAX: u32 = 92;

/// What an officer may look at, in one keeper's index.
pub struct Officer {
    index: Index,
}

/// What an officer sees.
#[derive(Clone, Debug, Serialize)]
pub struct Overview {
    /// Days since 1970 (UTC), both counted in.
    pub from_day: u32,
    /// The last of them.
    pub to_day: u32,
    /// Where it stands in the ledger that this was looked at.
    pub notice_index: u64,
    /// Accesses and refusals altogether; nothing where there are few.
    pub total: Option<u64>,
    /// By authority, most first.
    pub authorities: Vec<Count>,
    /// By purpose, most first.
    pub purposes: Vec<Count>,
    /// By the hour of the German wall clock, 00 to 23.
    pub hours: Vec<Count>,
    /// By result.
    pub results: Vec<Count>,
    /// What is out of the ordinary.
    pub anomalies: Vec<Anomaly>,
    /// How the ledger stands.
    pub ledger: Health,
    /// Open alarms.
    pub alarms: Vec<String>,
}

/// How the ledger stands, as far as the keeper has verified it.
#[derive(Clone, Debug, Serialize)]
pub struct Health {
    /// Entries verified and indexed.
    pub complete_up_to: u64,
    /// When, in UTC milliseconds.
    pub checked_at_ms: u64,
    /// Checkpoints that were handed in and are ahead.
    pub waiting_checkpoints: u64,
    /// Proven split views.
    pub split_views: u64,
}

impl Officer {
    /// Looks into an index.
    ///
    /// # Errors
    /// Where it cannot be opened, or is another ledger's.
    pub async fn open(index: &Path, origin: &str) -> Result<Self, IndexError> {
        Ok(Self { index: Index::open(index, origin).await? })
    }

    /// Has the look written into the ledger, then counts.
    ///
    /// # Errors
    /// Where days or reason are out of bounds, or the broker's receipt does not hold; nothing is
    /// counted then.
    pub async fn look(&self, office: Office<'_>, look: Look) -> Result<Overview, LookError> {
        check(&look, office.today)?;
        let (from_day, to_day) = (look.from_day, look.to_day);
        let request = RecordLookRequest { look: Some(look.clone()) };
        let mut broker = LedgerServiceClient::new(office.channel.clone());
        let answer = broker.record_look(request).await;
        let answer = answer.map_err(|status| HoldError::Broker(Box::new(status)))?.into_inner();
        let what = notice_body::What::Look(look);
        let notice_index = prove(&self.index, &office, answer.receipt, what).await?;
        let mut counts = Counts::new(from_day, to_day);
        for day in from_day..=to_day {
            self.count(&office, day, &mut counts).await?;
        }
        let state = self.index.state().await?;
        Ok(Overview {
            from_day,
            to_day,
            notice_index,
            total: counts.total(),
            authorities: counts.authorities(),
            purposes: counts.purposes(),
            hours: counts.hours(),
            results: counts.results(),
            anomalies: counts.anomalies(),
            ledger: Health {
                complete_up_to: state.size,
                checked_at_ms: state.checked_at_ms,
                waiting_checkpoints: self.index.waiting().await?,
                split_views: self.index.split_views().await?.len() as u64,
            },
            alarms: self.index.alarms().await?,
        })
    }

    /// Counts each entry once, however many people it is about. Only facts are opened: no record,
    /// no tag.
    async fn count(
        &self,
        office: &Office<'_>,
        day: u32,
        counts: &mut Counts,
    ) -> Result<(), LookError> {
        let rows = sql("SELECT leaf_index, MAX(slot) AS slot, facts FROM records WHERE day = ? \
             GROUP BY leaf_index")
        .bind(i64::from(day))
        .fetch_all(&self.index.pool)
        .await
        .map_err(IndexError::from)?;
        if rows.is_empty() {
            return Ok(());
        }
        let Some(key) = DayKeys::one(office.files, day)? else { return Ok(()) };
        for row in rows {
            let slot = row.try_get("slot").map_err(IndexError::from)?;
            let sealed: Option<Vec<u8>> = row.try_get("facts").map_err(IndexError::from)?;
            let place = (number(&row, "leaf_index")?, day, slot);
            let facts = sealed.and_then(|sealed| Facts::open(&key, place, &sealed));
            counts.add(day, &facts.ok_or(IndexError::Damaged("what a record is counted by"))?);
        }
        Ok(())
    }
}

fn check(look: &Look, today: u32) -> Result<(), LookError> {
    let reason = &look.reason;
    if reason.trim().is_empty() || reason.len() > REASON_MAX || reason.chars().any(char::is_control)
    {
        return Err(LookError::Reason);
    }
    let days = look.to_day.checked_sub(look.from_day);
    if look.to_day > today || days.is_none_or(|days| days >= DAYS_MAX) {
        return Err(LookError::Days);
    }
    Ok(())
}

/// Why nothing is counted.
#[derive(Debug, thiserror::Error)]
pub enum LookError {
    /// Not a reason.
    #[error("the reason must have 1 to {REASON_MAX} bytes on one line, and name no person")]
    Reason,
    /// Not such days.
    #[error("count 1 to {DAYS_MAX} days, the last of them today at the latest")]
    Days,
    /// It is not in the ledger that this was looked at.
    #[error(transparent)]
    NotWritten(#[from] HoldError),
    /// A day key.
    #[error(transparent)]
    Key(#[from] DayKeyError),
    /// The index.
    #[error(transparent)]
    Index(#[from] IndexError),
}
