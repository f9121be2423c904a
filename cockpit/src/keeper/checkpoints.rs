// SPDX-License-Identifier: EUPL-1.2
//! Checkpoints that others were shown, handed in here and not through the broker: two that
//! contradict each other are a split view, and both together are its proof.
//!
//! How an outsider checks a [`SplitView`]: both notes must be signed by the ledger's key. `shown`
//! says that the first `size` leaves have the root that stands in it. `consistency` (RFC 6962
//! § 2.1.2) must prove that the tree in `kept` begins with `size` leaves whose root is `own_root`.
//! The two roots differ, and no honest ledger signs both. Where both notes are of one size, the
//! path is empty and the notes alone are the proof.
//!
//! What is ahead of the keeper waits until it gets there. Whoever hands in many pushes out only
//! their own, so that no operator can make room for a broker's lie; and one that waits for more
//! than an hour is an alarm, since a ledger could also hide a branch by never going on with the
//! keeper's.
//!
//! And the ledger's brokers have each checkpoint that they sign remembered here, outside of their
//! database, before they answer: whoever starts on a restored one is told of the larger tree.

use einmal_protocol::{
    Digest,
    merkle::{empty_root, fold, plan_consistency},
    note::{Checkpoint, LedgerKey},
};
use sqlx::{Row as _, Sqlite, SqliteConnection, Transaction};

use super::{
    IndexError, IntakeError,
    index::{self, Index, int, number, sql},
};

const HASH: usize = 32;
/// So many wait for one peer.
const PENDING_OF_PEER_MAX: i64 = 32;
/// So many wait for all.
const PENDING_MAX: i64 = 1000;
/// So many split views are kept; one is enough.
const FORKS_MAX: i64 = 100;
/// How far behind the ledger a keeper may be before a waiting checkpoint is an alarm.
const WAIT_MAX_MS: u64 = 3_600_000;
const PUSHED_OUT: &str = "checkpoints were handed in faster than they could be compared, and the \
     oldest of whoever hands in most were dropped";
const NOT_REACHED: &str = "a checkpoint that was handed in is still ahead of the ledger that this \
     keeper is shown, after an hour: the ledger withholds entries here, or shows another tree there";

/// What a checkpoint that was handed in came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compared {
    /// It is of the keeper's tree.
    Consistent,
    /// The keeper has not come so far.
    Ahead,
    /// It contradicts the keeper's tree.
    Forked,
}

/// Two checkpoints that contradict each other, with what proves it to an outsider.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct SplitView {
    /// What somebody was shown: a C2SP signed note.
    pub shown: String,
    /// What the keeper was shown: a C2SP signed note.
    pub kept: String,
    /// The size in `shown`.
    pub size: u64,
    /// The root over the keeper's first `size` leaves, in hexadecimal.
    pub own_root: String,
    /// RFC 6962 consistency path from `size` to the size in `kept`, each in hexadecimal.
    pub consistency: Vec<String>,
}

impl Index {
    /// Compares a checkpoint that a peer was shown with the keeper's own tree.
    pub(super) async fn hand_in(
        &self,
        checkpoint: &Checkpoint,
        peer: &str,
        now_ms: u64,
    ) -> Result<Compared, IndexError> {
        let compared = self.compare(checkpoint, now_ms).await?;
        if compared != Compared::Ahead {
            return Ok(compared);
        }
        let mut tx = self.pool.begin_with("BEGIN IMMEDIATE").await?;
        wait_for(&mut tx, checkpoint, peer, now_ms).await?;
        tx.commit().await?;
        // The keeper may have come so far between the two.
        self.compare(checkpoint, now_ms).await
    }

    /// The largest checkpoint of the ledger's key that is known here from anybody.
    pub(super) async fn largest(&self) -> Result<Option<String>, IndexError> {
        Ok(largest(&mut *self.pool.acquire().await?).await?)
    }

    /// Remembers a checkpoint of a broker, durably, if `known` is the largest until now; gives the
    /// largest afterwards. Where it is not of the keeper's tree, the proof is kept.
    pub(super) async fn remember(
        &self,
        checkpoint: &Checkpoint,
        known: (u64, Digest),
        (ledger, now_ms): (&LedgerKey, u64),
    ) -> Result<Option<String>, IndexError> {
        let mut tx = self.pool.begin_with("BEGIN IMMEDIATE").await?;
        let held = largest(&mut tx).await?;
        // What is held was verified when it came; a ledger's key does not change.
        let parsed = held.as_ref().and_then(|note| Checkpoint::parse(note, ledger).ok());
        let held_as = parsed.map_or((0, empty_root()), |held| (held.size(), held.root()));
        let new = (checkpoint.size(), checkpoint.root());
        if known != held_as || new.0 < held_as.0 || (new.0 == held_as.0 && new != held_as) {
            return Ok(held);
        }
        sql("INSERT OR REPLACE INTO remembered_checkpoint VALUES (1, ?, ?, ?)")
            .bind(int(new.0))
            .bind(new.1.to_vec())
            .bind(checkpoint.note())
            .execute(&mut *tx)
            .await?;
        tx.commit().await?;
        self.compare(checkpoint, now_ms).await?;
        Ok(Some(checkpoint.note().to_owned()))
    }

    /// Compares what the brokers had remembered here, once the keeper has come so far.
    async fn compare_remembered(&self, ledger: &LedgerKey, now_ms: u64) -> Result<(), IndexError> {
        let row = sql("SELECT note FROM remembered_checkpoint").fetch_optional(&self.pool).await?;
        let note: Option<String> = row.map(|row| row.try_get("note")).transpose()?;
        if let Some(checkpoint) = note.and_then(|note| Checkpoint::parse(&note, ledger).ok()) {
            self.compare(&checkpoint, now_ms).await?;
        }
        Ok(())
    }

    /// Compares, and keeps the proof where it does not fit.
    pub(super) async fn compare(
        &self,
        checkpoint: &Checkpoint,
        now_ms: u64,
    ) -> Result<Compared, IndexError> {
        match self.root_at(checkpoint.size()).await? {
            None => Ok(Compared::Ahead),
            Some(root) if root == checkpoint.root() => Ok(Compared::Consistent),
            Some(root) => {
                self.keep_fork(checkpoint, root, now_ms).await?;
                Ok(Compared::Forked)
            }
        }
    }

    async fn keep_fork(
        &self,
        shown: &Checkpoint,
        own_root: Digest,
        now_ms: u64,
    ) -> Result<(), IndexError> {
        let state = self.state().await?;
        let path = self.consistency(shown.size(), state.size).await?;
        let mut tx = self.pool.begin_with("BEGIN IMMEDIATE").await?;
        sql("INSERT OR IGNORE INTO forks SELECT ?, ?, ?, ?, ?, ?, ? \
             WHERE (SELECT COUNT(*) FROM forks) < ?")
        .bind(int(shown.size()))
        .bind(shown.root().to_vec())
        .bind(shown.note())
        .bind(state.checkpoint)
        .bind(own_root.to_vec())
        .bind(path.into_iter().flat_map(Digest::to_vec).collect::<Vec<u8>>())
        .bind(int(now_ms))
        .bind(FORKS_MAX)
        .execute(&mut *tx)
        .await?;
        let text = IntakeError::Fork { size: shown.size() }.to_string();
        index::alarm(&mut tx, &text, None).await?;
        tx.commit().await?;
        tracing::error!(shown = shown.note(), "alarm: the ledger shows two histories");
        Ok(())
    }

    async fn consistency(&self, old: u64, new: u64) -> Result<Vec<Digest>, IndexError> {
        let mut path = Vec::new();
        for range in plan_consistency(old, new).ok_or(IndexError::Damaged("a size"))? {
            path.push(fold(&self.hashes(&range.nodes()).await?));
        }
        Ok(path)
    }

    /// Compares what waited, as far as the keeper has come, and says where something waits for
    /// too long. Each is compared before it is let go.
    pub(super) async fn compare_waiting(
        &self,
        ledger: &LedgerKey,
        now_ms: u64,
    ) -> Result<(), IndexError> {
        self.compare_remembered(ledger, now_ms).await?;
        let size = self.state().await?.size;
        let reached = sql("SELECT DISTINCT size, root, note FROM pending_checkpoints \
             WHERE size <= ? ORDER BY size")
        .bind(int(size))
        .fetch_all(&self.pool)
        .await?;
        for row in reached {
            let note: String = row.try_get("note")?;
            let root: Vec<u8> = row.try_get("root")?;
            // It was verified when it was handed in; a ledger's key does not change.
            if let Ok(checkpoint) = Checkpoint::parse(&note, ledger) {
                self.compare(&checkpoint, now_ms).await?;
            }
            sql("DELETE FROM pending_checkpoints WHERE size = ? AND root = ?")
                .bind(int(number(&row, "size")?))
                .bind(root)
                .execute(&self.pool)
                .await?;
        }
        let late = sql("SELECT 1 FROM pending_checkpoints WHERE at_ms < ? LIMIT 1")
            .bind(int(now_ms.saturating_sub(WAIT_MAX_MS)))
            .fetch_optional(&self.pool)
            .await?;
        if late.is_some() { self.alarm_once(NOT_REACHED).await } else { Ok(()) }
    }

    /// How many wait.
    pub(super) async fn waiting(&self) -> Result<u64, IndexError> {
        let row = sql("SELECT COUNT(*) AS found FROM pending_checkpoints");
        number(&row.fetch_one(&self.pool).await?, "found")
    }

    /// All split views.
    pub(super) async fn split_views(&self) -> Result<Vec<SplitView>, IndexError> {
        let hex = |bytes: &[u8]| einmal_protocol::digest::hex(bytes);
        sql("SELECT size, shown, kept, own_root, consistency FROM forks ORDER BY at_ms, size")
            .fetch_all(&self.pool)
            .await?
            .iter()
            .map(|row| {
                let own_root: Vec<u8> = row.try_get("own_root")?;
                let path: Vec<u8> = row.try_get("consistency")?;
                Ok(SplitView {
                    shown: row.try_get("shown")?,
                    kept: row.try_get("kept")?,
                    size: number(row, "size")?,
                    own_root: hex(&own_root),
                    consistency: path.chunks(HASH).map(hex).collect(),
                })
            })
            .collect()
    }

    /// An alarm that stands for as long as its cause does, and is not counted anew.
    async fn alarm_once(&self, text: &str) -> Result<(), IndexError> {
        let known = sql("SELECT 1 FROM alarms WHERE text = ?")
            .bind(text.to_owned())
            .fetch_optional(&self.pool)
            .await?;
        if known.is_some() { Ok(()) } else { self.alarm(text, None).await }
    }
}

/// Of the same size the brokers' own comes first: whether another contradicts it is found elsewhere.
async fn largest(connection: &mut SqliteConnection) -> Result<Option<String>, sqlx::Error> {
    let row = sql(LARGEST).fetch_optional(connection).await?;
    row.map(|row| row.try_get("note")).transpose()
}

const LARGEST: &str = "SELECT note, size, 0 AS place FROM remembered_checkpoint \
     UNION ALL SELECT checkpoint, size, 1 FROM state WHERE checkpoint <> '' \
     UNION ALL SELECT note, size, 2 FROM pending_checkpoints \
     ORDER BY size DESC, place LIMIT 1";

/// Puts a checkpoint with those that wait, and drops what is too much: the oldest of this peer,
/// then the oldest of whichever peer has most.
async fn wait_for(
    tx: &mut Transaction<'_, Sqlite>,
    checkpoint: &Checkpoint,
    peer: &str,
    now_ms: u64,
) -> Result<(), IndexError> {
    // Not where the keeper has come so far meanwhile: nothing would look at it again.
    sql("INSERT OR IGNORE INTO pending_checkpoints SELECT ?1, ?2, ?3, ?4, ?5 \
         WHERE ?2 > (SELECT size FROM state)")
    .bind(peer.to_owned())
    .bind(int(checkpoint.size()))
    .bind(checkpoint.root().to_vec())
    .bind(checkpoint.note())
    .bind(int(now_ms))
    .execute(&mut **tx)
    .await?;
    let own = sql(DROP_OF_PEER)
        .bind(peer.to_owned())
        .bind(PENDING_OF_PEER_MAX)
        .execute(&mut **tx)
        .await?;
    let all = sql(DROP_OF_MOST).bind(PENDING_MAX).execute(&mut **tx).await?;
    if own.rows_affected() + all.rows_affected() > 0 {
        index::alarm(tx, PUSHED_OUT, None).await?;
    }
    Ok(())
}

const DROP_OF_PEER: &str = "DELETE FROM pending_checkpoints WHERE peer = ?1 \
     AND (SELECT COUNT(*) FROM pending_checkpoints WHERE peer = ?1) > ?2 \
     AND (size, root) = (SELECT size, root FROM pending_checkpoints WHERE peer = ?1 \
     ORDER BY at_ms, size LIMIT 1)";

const DROP_OF_MOST: &str = "DELETE FROM pending_checkpoints \
     WHERE (SELECT COUNT(*) FROM pending_checkpoints) > ?1 \
     AND (peer, size, root) = (SELECT peer, size, root FROM pending_checkpoints \
     WHERE peer = (SELECT peer FROM pending_checkpoints GROUP BY peer ORDER BY COUNT(*) DESC, peer \
     LIMIT 1) ORDER BY at_ms, size LIMIT 1)";
