// SPDX-License-Identifier: EUPL-1.2
//! Finding records by their tags: first where they are, which the index over tags alone answers,
//! then only what is shown.

use std::collections::HashMap;

use sqlx::{QueryBuilder, Row as _, Sqlite};

use super::{
    IndexError,
    days::{KeyRing, Tag},
    facts::Facts,
    index::{Found, Index, day, int, number, push_tags, sql},
};

/// So many places are asked for in one statement.
const AT_ONCE: usize = 1_000;
/// More reports of use of one exchange say nothing new.
const USES_MAX: usize = 16;

/// Where a record stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) index: u64,
    pub(crate) slot: i64,
}

const FACTS_AT: &str = "SELECT r.leaf_index AS leaf_index, r.slot AS slot, r.day AS day, \
     r.facts AS facts FROM places p \
     JOIN records r ON r.leaf_index = p.leaf_index AND r.slot = p.slot";
const RECORDS_AT: &str = "SELECT r.leaf_index AS leaf_index, r.slot AS slot, r.day AS day, \
     r.sealed AS sealed, b.body AS body FROM places p \
     JOIN records r ON r.leaf_index = p.leaf_index AND r.slot = p.slot \
     JOIN bodies b ON b.leaf_index = r.leaf_index";

/// A question about these places. They are joined and not compared with `IN`, for which SQLite
/// reads the whole table.
fn at(places: &[Place], select: &'static str) -> QueryBuilder<Sqlite> {
    let mut query = QueryBuilder::<Sqlite>::new("WITH places (leaf_index, slot) AS (VALUES ");
    let mut list = query.separated(", ");
    for place in places {
        list.push("(").push_bind_unseparated(int(place.index));
        list.push_unseparated(", ").push_bind_unseparated(place.slot).push_unseparated(")");
    }
    query.push(") ").push(select);
    query
}

fn push_indices(query: &mut QueryBuilder<Sqlite>, places: &[Place]) {
    let mut list = query.separated(", ");
    for place in places {
        list.push_bind(int(place.index));
    }
    query.push(")");
}

impl Index {
    /// Where the records that these tags find stand, newest first; one an entry, the register's
    /// before the authority's.
    pub(crate) async fn places(&self, tags: &[Tag]) -> Result<Vec<Place>, IndexError> {
        let mut query = QueryBuilder::<Sqlite>::new(
            "SELECT leaf_index, MAX(slot) AS slot FROM records WHERE tag IN (",
        );
        push_tags(&mut query, tags);
        query.push(" GROUP BY leaf_index ORDER BY leaf_index DESC");
        query
            .build()
            .fetch_all(&self.pool)
            .await?
            .iter()
            .map(|row| Ok(Place { index: number(row, "leaf_index")?, slot: row.try_get("slot")? }))
            .collect()
    }

    /// The facts of records, in the order of their places. Those whose day was forgotten
    /// meanwhile are left out.
    pub(crate) async fn facts(
        &self,
        places: &[Place],
        ring: &KeyRing,
    ) -> Result<Vec<(Place, Facts)>, IndexError> {
        let mut opened = HashMap::new();
        for places in places.chunks(AT_ONCE) {
            let mut query = at(places, FACTS_AT);
            for row in query.build().fetch_all(&self.pool).await? {
                let place = (number(&row, "leaf_index")?, day(&row)?, row.try_get("slot")?);
                let Some(key) = ring.day(place.1) else { continue };
                let sealed: Option<Vec<u8>> = row.try_get("facts")?;
                let sealed = sealed.ok_or(IndexError::Damaged("a record from before filters"))?;
                let facts = Facts::open(&key, place, &sealed);
                let facts = facts.ok_or(IndexError::Damaged("what a record is filtered by"))?;
                opened.insert((place.0, place.2), facts);
            }
        }
        let facts_of =
            |place: &Place| opened.remove(&(place.index, place.slot)).map(|facts| (*place, facts));
        Ok(places.iter().filter_map(facts_of).collect())
    }

    /// The records at these places, in their order, with what is needed to open them.
    pub(crate) async fn load(&self, places: &[Place]) -> Result<Vec<Found>, IndexError> {
        if places.is_empty() {
            return Ok(Vec::new());
        }
        let mut query = at(places, RECORDS_AT);
        let (uses, retried) = (self.uses(places).await?, self.retried(places).await?);
        let mut loaded = HashMap::new();
        for row in query.build().fetch_all(&self.pool).await? {
            let (index, slot) = (number(&row, "leaf_index")?, row.try_get("slot")?);
            let body: Option<Vec<u8>> = row.try_get("body")?;
            let found = Found {
                index,
                slot,
                day: day(&row)?,
                sealed: row.try_get("sealed")?,
                body: body.ok_or(IndexError::Damaged("a body"))?,
                uses: uses.get(&index).cloned().unwrap_or_default(),
                retried: retried.contains(&index),
            };
            loaded.insert((index, slot), found);
        }
        Ok(places.iter().filter_map(|place| loaded.remove(&(place.index, place.slot))).collect())
    }

    /// The records of one entry, whoever they are about.
    pub(super) async fn records_of(&self, index: u64) -> Result<Vec<Found>, IndexError> {
        let places: Vec<Place> = sql("SELECT slot FROM records WHERE leaf_index = ? ORDER BY slot")
            .bind(int(index))
            .fetch_all(&self.pool)
            .await?
            .iter()
            .map(|row| Ok(Place { index, slot: row.try_get("slot")? }))
            .collect::<Result<_, IndexError>>()?;
        self.load(&places).await
    }

    /// Sealed reports of use, by exchange.
    async fn uses(
        &self,
        places: &[Place],
    ) -> Result<HashMap<u64, Vec<(u64, Vec<u8>)>>, IndexError> {
        let mut query = QueryBuilder::<Sqlite>::new(
            "SELECT exchange_index, leaf_index, sealed FROM uses WHERE exchange_index IN (",
        );
        push_indices(&mut query, places);
        query.push(" ORDER BY leaf_index");
        let mut uses: HashMap<u64, Vec<(u64, Vec<u8>)>> = HashMap::new();
        for row in query.build().fetch_all(&self.pool).await? {
            let reports = uses.entry(number(&row, "exchange_index")?).or_default();
            if reports.len() < USES_MAX {
                reports.push((number(&row, "leaf_index")?, row.try_get("sealed")?));
            }
        }
        Ok(uses)
    }

    /// Those that were asked for again, since the answer was lost.
    async fn retried(&self, places: &[Place]) -> Result<Vec<u64>, IndexError> {
        let mut query = QueryBuilder::<Sqlite>::new(
            "SELECT DISTINCT a.leaf_index AS leaf_index FROM requests a JOIN requests b \
             ON b.authority = a.authority AND b.retry_of = a.id WHERE a.leaf_index IN (",
        );
        push_indices(&mut query, places);
        let rows = query.build().fetch_all(&self.pool).await?;
        rows.iter().map(|row| number(row, "leaf_index")).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn no_question_reads_a_whole_table() {
        let folder = std::env::temp_dir().join(format!("einmal-search-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let index = Index::open(&folder.join("index.sqlite"), "einmal.example/l").await.unwrap();
        let places = [Place { index: 1, slot: 0 }, Place { index: 2, slot: 1 }];
        for select in [FACTS_AT, RECORDS_AT] {
            let query = at(&places, select);
            let text = format!("EXPLAIN QUERY PLAN {}", query.sql().as_str());
            let mut plan = QueryBuilder::<Sqlite>::new(text);
            let rows = plan.build().bind(1).bind(0).bind(2).bind(1).fetch_all(&index.pool).await;
            for row in rows.unwrap() {
                let step: String = row.try_get("detail").unwrap();
                let table = ["SCAN r", "SCAN b"].iter().any(|scan| step.starts_with(scan));
                assert!(!table, "{select}: {step}");
            }
        }
        index.pool.close().await;
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
