// SPDX-License-Identifier: EUPL-1.2
//! What an index of an older version lacks: records without what lists are filtered by. Nothing is
//! lost with them, for their bodies are there, so they are written once more.

use sqlx::Row as _;

use super::{
    index::{Index, IndexError, Noted, int, number, sql},
    tail::Entry,
};

/// Entries that are read at once.
const AT_ONCE: i64 = 256;

impl Index {
    /// Entries from this one on that have records without facts, at most some.
    pub(super) async fn without_facts(&self, from: u64) -> Result<Vec<Entry>, IndexError> {
        let rows = sql("SELECT b.leaf_index, b.leaf, b.body FROM \
             (SELECT DISTINCT leaf_index FROM records WHERE facts IS NULL AND leaf_index >= ? \
             ORDER BY leaf_index LIMIT ?) r \
             JOIN bodies b ON b.leaf_index = r.leaf_index WHERE b.body IS NOT NULL \
             ORDER BY b.leaf_index")
        .bind(int(from))
        .bind(AT_ONCE)
        .fetch_all(&self.pool)
        .await?;
        rows.iter()
            .map(|row| {
                let index = number(row, "leaf_index")?;
                Ok(Entry { index, leaf: row.try_get("leaf")?, body: row.try_get("body")? })
            })
            .collect()
    }

    /// Writes the facts of these entries' records where they are missing; answers how many.
    pub(super) async fn add_facts(&self, noted: &[Noted]) -> Result<u64, IndexError> {
        let mut tx = self.pool.begin_with("BEGIN IMMEDIATE").await?;
        let mut written = 0;
        for Noted { entry, opened } in noted {
            for row in &opened.rows {
                let done = sql("UPDATE records SET facts = ? \
                     WHERE leaf_index = ? AND slot = ? AND facts IS NULL")
                .bind(row.facts.clone())
                .bind(int(entry.index))
                .bind(row.slot)
                .execute(&mut *tx)
                .await?;
                written += done.rows_affected();
            }
        }
        tx.commit().await?;
        Ok(written)
    }
}
