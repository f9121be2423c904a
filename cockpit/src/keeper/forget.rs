// SPDX-License-Identifier: EUPL-1.2
//! FORGETS-ON-TIME at the keeper: what is older than the rules allow is destroyed, keys first.
//!
//! The order makes a crash harmless at any point: the day before which all is forgotten is written
//! down, then the files of the day keys are destroyed, then the keys in memory, then the rows. A
//! start finds the day written down and goes on. Leaves and hashes of the tree stay, so every old
//! receipt still verifies.

use std::{collections::BTreeSet, path::Path, time::Duration};

use einmal_peer::Clock;
use einmal_protocol::time::day_of;
use sqlx::Row as _;

use super::{
    DayKeyError, DayKeyFiles, IndexError, day_files,
    days::KeyRing,
    index::{Index, number, sql},
};

/// Nothing is forgotten by itself where the clock is further ahead of the newest leaf than this:
/// more likely the clock is wrong than that nothing was logged for so long.
pub const AHEAD_DAYS_MAX: u32 = 35;
const HELD_BACK: &str = "nothing is forgotten: this machine's clock is more than 35 days ahead of \
     the ledger's newest leaf; check the clock, then use `einmal cockpit forget \
     --even-if-clock-runs-ahead`";
/// While somebody reads, the write-ahead log cannot be emptied; it is tried so often.
const EMPTYING_TRIES: u32 = 50;
const EMPTYING_WAIT: Duration = Duration::from_millis(100);

/// What forgetting does to one keeper's files.
#[derive(Clone)]
pub struct Forgetting {
    pub(super) index: Index,
    pub(super) files: DayKeyFiles,
    pub(super) ring: KeyRing,
    pub(super) clock: Clock,
}

/// What is due, or what was done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Due {
    /// All days before this one; days since 1970 (UTC).
    pub before_day: u32,
    /// Days whose keys are there.
    pub key_days: BTreeSet<u32>,
    /// Rows by what they hold: records, reports of use, bodies, requests, notices, claims, copies
    /// that were held longer.
    pub rows: [(&'static str, u64); 7],
    /// The clock is too far ahead of the newest leaf.
    pub clock_runs_ahead: bool,
}

impl Due {
    /// Whether there is anything to forget.
    pub fn is_nothing(&self) -> bool {
        self.key_days.is_empty() && self.rows.iter().all(|(_, count)| *count == 0)
    }
}

impl Forgetting {
    /// For a command beside a keeper that may be running: its files, and none of its memory.
    ///
    /// # Errors
    /// Where the index cannot be opened.
    pub async fn beside(
        index: &Path,
        origin: &str,
        files: DayKeyFiles,
        clock: Clock,
    ) -> Result<Self, IndexError> {
        let index = Index::open(index, origin).await?;
        Ok(Self { index, files, ring: KeyRing::default(), clock })
    }

    /// What is due now, if records are kept for so many days.
    ///
    /// # Errors
    /// Where files or index cannot be read.
    pub async fn due(&self, retention_days: u32) -> Result<Due, ForgetError> {
        let today = day_of(self.clock.now_ms());
        let (newest, forgotten) = self.index.horizon().await?;
        let before_day = today.saturating_sub(retention_days).max(forgotten);
        let mut key_days = day_files::days(&self.files)?;
        key_days.split_off(&before_day);
        Ok(Due {
            before_day,
            key_days,
            rows: self.index.rows_before(before_day, today).await?,
            clock_runs_ahead: today > newest.saturating_add(AHEAD_DAYS_MAX),
        })
    }

    /// Forgets what is due. Done again, it finishes what a crash left.
    ///
    /// # Errors
    /// Where the clock runs ahead and `even_if_ahead` is not said; where files or index cannot be
    /// written. What was begun is finished by the next run.
    pub async fn run(&self, retention_days: u32, even_if_ahead: bool) -> Result<Due, ForgetError> {
        let due = self.due(retention_days).await?;
        let today = day_of(self.clock.now_ms());
        if due.clock_runs_ahead && !even_if_ahead {
            if due.is_nothing() {
                return Ok(due);
            }
            self.index.alarm(HELD_BACK, None).await?;
            return Err(ForgetError::ClockRunsAhead);
        }
        self.index.write_horizon(due.before_day).await?;
        self.finish(due.before_day, today).await?;
        Ok(due)
    }

    /// Finishes what was begun before this start, whatever the clock says.
    pub(super) async fn resume(&self) -> Result<(), ForgetError> {
        let (_, before) = self.index.horizon().await?;
        // Copies that are held longer have an end of their own: no day is over for them here.
        if before > 0 { self.finish(before, 0).await } else { Ok(()) }
    }

    /// Drops from memory what a command beside this keeper has destroyed.
    ///
    /// # Errors
    /// Where the index cannot be read.
    pub async fn drop_forgotten(&self) -> Result<(), IndexError> {
        let (_, before) = self.index.horizon().await?;
        self.ring.forget_before(before);
        Ok(())
    }

    async fn finish(&self, before: u32, today: u32) -> Result<(), ForgetError> {
        let files = self.files.clone();
        let work = tokio::task::spawn_blocking(move || day_files::destroy_before(&files, before));
        work.await.map_err(|_| ForgetError::Stopped)??;
        self.ring.forget_before(before);
        self.index.forget_rows(before, today).await?;
        self.index.empty_log().await
    }
}

impl Index {
    /// The newest day of any leaf, and the day before which all is forgotten.
    pub(super) async fn horizon(&self) -> Result<(u32, u32), IndexError> {
        let row = sql("SELECT newest_day, before_day FROM horizon").fetch_one(&self.pool).await?;
        let day = |column| -> Result<u32, IndexError> {
            u32::try_from(number(&row, column)?).map_err(|_| IndexError::Damaged("a day"))
        };
        Ok((day("newest_day")?, day("before_day")?))
    }

    /// It never moves back.
    async fn write_horizon(&self, before: u32) -> Result<(), IndexError> {
        sql("UPDATE horizon SET before_day = MAX(before_day, ?)")
            .bind(i64::from(before))
            .execute(&self.pool)
            .await?;
        Ok(())
    }

    async fn rows_before(
        &self,
        before: u32,
        today: u32,
    ) -> Result<[(&'static str, u64); 7], IndexError> {
        let mut counted = COUNTS.map(|(what, _)| (what, 0));
        for ((_, count), (_, query)) in counted.iter_mut().zip(COUNTS) {
            let row = sql(query)
                .bind(i64::from(before))
                .bind(i64::from(today))
                .fetch_one(&self.pool)
                .await?;
            *count = number(&row, "found")?;
        }
        Ok(counted)
    }

    /// Day by day, so that no transaction is larger than one day. `today` ends copies that are
    /// held longer.
    async fn forget_rows(&self, before: u32, today: u32) -> Result<(), IndexError> {
        loop {
            let oldest: Option<i64> =
                sql(OLDEST).bind(i64::from(before)).fetch_one(&self.pool).await?.try_get("day")?;
            let Some(day) = oldest else { break };
            let mut tx = self.pool.begin_with("BEGIN IMMEDIATE").await?;
            for statement in OF_ONE_DAY {
                sql(statement).bind(day).execute(&mut *tx).await?;
            }
            tx.commit().await?;
        }
        for statement in AT_THE_END {
            sql(statement).bind(i64::from(today)).execute(&self.pool).await?;
        }
        Ok(())
    }

    /// Brings everything into the database and empties the write-ahead log, where deleted rows
    /// would still stand. What is deleted in the database itself is overwritten (`secure_delete`).
    async fn empty_log(&self) -> Result<(), ForgetError> {
        for _ in 0..EMPTYING_TRIES {
            let row = sql("PRAGMA wal_checkpoint(TRUNCATE)")
                .fetch_one(&self.pool)
                .await
                .map_err(IndexError::from)?;
            let busy: i64 = row.try_get(0).map_err(IndexError::from)?;
            if busy == 0 {
                return Ok(());
            }
            tokio::time::sleep(EMPTYING_WAIT).await;
        }
        Err(ForgetError::LogInUse)
    }
}

const COUNTS: [(&str, &str); 7] = [
    ("records", "SELECT COUNT(*) AS found FROM records WHERE day < ?1"),
    (
        "reports of use",
        "SELECT COUNT(*) AS found FROM uses u JOIN requests r \
         ON r.leaf_index = u.exchange_index WHERE r.day < ?1",
    ),
    ("bodies", "SELECT COUNT(*) AS found FROM bodies WHERE day < ?1 AND body IS NOT NULL"),
    ("requests", "SELECT COUNT(*) AS found FROM requests WHERE day < ?1"),
    ("notices", "SELECT COUNT(*) AS found FROM notices WHERE day < ?1"),
    (
        "claims",
        "SELECT COUNT(*) AS found FROM claims c WHERE NOT EXISTS \
         (SELECT 1 FROM records r WHERE r.tag = c.tag AND r.day >= ?1)",
    ),
    ("held copies", "SELECT COUNT(*) AS found FROM holds WHERE until_day < ?2"),
];

const OLDEST: &str = "SELECT MIN(day) AS day FROM ( \
     SELECT MIN(day) AS day FROM bodies WHERE body IS NOT NULL \
     UNION ALL SELECT MIN(day) FROM records UNION ALL SELECT MIN(day) FROM requests \
     UNION ALL SELECT MIN(day) FROM notices) WHERE day < ?1";

const OF_ONE_DAY: [&str; 5] = [
    "DELETE FROM uses WHERE exchange_index IN (SELECT leaf_index FROM requests WHERE day <= ?1)",
    "DELETE FROM records WHERE day <= ?1",
    "DELETE FROM requests WHERE day <= ?1",
    "DELETE FROM notices WHERE day <= ?1",
    "UPDATE bodies SET body = NULL WHERE day <= ?1 AND body IS NOT NULL",
];

const AT_THE_END: [&str; 2] = [
    "DELETE FROM claims WHERE ?1 = ?1 AND NOT EXISTS \
     (SELECT 1 FROM records r WHERE r.tag = claims.tag)",
    "DELETE FROM holds WHERE until_day < ?1",
];

/// Why something could not be forgotten.
#[derive(Debug, thiserror::Error)]
pub enum ForgetError {
    /// More likely the clock is wrong than that nothing was logged for so long.
    #[error("{HELD_BACK}")]
    ClockRunsAhead,
    /// Day keys.
    #[error(transparent)]
    Days(#[from] DayKeyError),
    /// The index.
    #[error(transparent)]
    Index(#[from] IndexError),
    /// Somebody reads all the time.
    #[error(
        "all is deleted, but the index's write-ahead log is in use and could not be emptied: end \
         whoever reads the file; it is tried again"
    )]
    LogInUse,
    /// The process stops.
    #[error("the keeper stops")]
    Stopped,
}
