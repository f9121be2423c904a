// SPDX-License-Identifier: EUPL-1.2
//! SQL databases: read in one read-only transaction a lookup, with bound values only.
//!
//! [`SqlSource`] is the same for all; what differs stands behind [`database::Database`]. Names and
//! types of columns are read from the database when it is opened, now and then, and whenever a
//! statement fails as if they had changed: then the lookup is tried once more.

mod database;
mod grants;
mod mysql;
mod pool;
mod postgres;
mod server;
mod sqlite;
mod statement;

use std::{
    collections::BTreeMap,
    sync::{Arc, OnceLock, PoisonError, RwLock},
    time::Duration,
};

use einmal_adapter_kit::register::{Query, RegisterFault, async_trait};
use einmal_protocol::person::PersonQuery;

use self::database::{Catalog, Database, Failure, Session, tables_of};
pub(crate) use self::{mysql::MARIADB, mysql::MYSQL, postgres::POSTGRES, sqlite::SQLITE};
use crate::{
    kinds::{Listing, Source, Spot},
    lookup::{CANDIDATES_MAX, Hit, Lookup, MANY_MAX, Matches, Wanted, birth_date},
    plan::{Col, ManyPlan, ManyRows, Plan, Row},
    values::Cell,
};

/// At start, a database may take longer than in a lookup.
const START_WITHIN: Duration = Duration::from_secs(10);
const REPAIR: &str = "repair the source and start again";

/// A database that lookups are made in.
struct SqlSource {
    name: String,
    database: Box<dyn Database>,
    /// The key of the configuration that says where it is.
    key: &'static str,
    tables: OnceLock<Vec<String>>,
    catalog: RwLock<Option<Arc<Catalog>>>,
}

/// Why a lookup failed.
enum Trouble {
    Failure(Failure),
    Fault(RegisterFault),
}

impl From<Failure> for Trouble {
    fn from(failure: Failure) -> Self {
        Self::Failure(failure)
    }
}

impl SqlSource {
    fn new(name: &str, key: &'static str, database: impl Database + 'static) -> Self {
        let (tables, catalog) = (OnceLock::new(), RwLock::default());
        Self { name: name.to_owned(), database: Box::new(database), key, tables, catalog }
    }

    /// The names and types that statements are written with.
    async fn catalog(&self, session: &mut dyn Session) -> Result<Arc<Catalog>, Failure> {
        let known = self.catalog.read().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(known) = known.filter(|k| k.read.elapsed() < self.database.catalog_lasts()) {
            return Ok(known);
        }
        let tables = self.tables.get().map(Vec::as_slice).unwrap_or_default();
        let read = Arc::new(self.database.catalog(session, tables).await?);
        *self.catalog.write().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(&read));
        Ok(read)
    }

    fn forget(&self) {
        *self.catalog.write().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// Looks one person up, all in one read transaction.
    async fn attempt(
        &self,
        plan: &Plan,
        query: &Query,
        wanted: &Wanted,
    ) -> Result<Lookup, Trouble> {
        let mut session = self.database.begin().await?;
        let catalog = self.catalog(&mut *session).await?;
        let mut lookup = self.person(&mut *session, &catalog, plan, query, wanted).await?;
        if let Lookup::One(hit) = &mut lookup
            && !hit.blocked
        {
            self.add_many(&mut *session, &catalog, plan, query, hit).await?;
        }
        session.end().await?;
        Ok(lookup)
    }

    async fn person(
        &self,
        session: &mut dyn Session,
        catalog: &Catalog,
        plan: &Plan,
        query: &Query,
        wanted: &Wanted,
    ) -> Result<Lookup, Trouble> {
        let columns: Vec<Col> = plan.columns_for(&query.fields).into_iter().collect();
        let idnr = match &query.person {
            PersonQuery::Idnr { idnr, .. } => Some(idnr.as_str()),
            PersonQuery::Names { .. } | PersonQuery::Residence { .. } => None,
        };
        let person = (birth_date(&query.person), idnr);
        let statement = statement::people(&*self.database, catalog, plan, &columns, person)?;
        let Some(statement) = statement else { return Ok(Lookup::Nothing) };
        let mut matches = Matches::default();
        let mut candidates = 0;
        let mut sink = |cells| {
            candidates += 1;
            let row = Row::of(plan.columns.len(), &columns, cells);
            if wanted.fits(&row) {
                matches.add(plan, row);
            }
            candidates <= CANDIDATES_MAX
        };
        session.rows(&statement, &mut sink).await?;
        if candidates > CANDIDATES_MAX {
            return Err(Failure::new("more than 5000 people have one birth date").into());
        }
        Ok(matches.result())
    }

    async fn add_many(
        &self,
        session: &mut dyn Session,
        catalog: &Catalog,
        plan: &Plan,
        query: &Query,
        hit: &mut Hit,
    ) -> Result<(), Trouble> {
        for (name, many) in plan.many(&query.fields) {
            let ManyRows::Table { parent, .. } = &many.from else { continue };
            let parent = hit.row.get(*parent);
            if matches!(parent, Cell::Null | Cell::Bytes) {
                continue;
            }
            let rows = self.rows_of(session, catalog, name, many, parent).await?;
            hit.many.insert(name.clone(), rows);
        }
        Ok(())
    }

    async fn rows_of(
        &self,
        session: &mut dyn Session,
        catalog: &Catalog,
        field: &str,
        many: &ManyPlan,
        parent: &Cell,
    ) -> Result<Vec<Row>, Trouble> {
        let mut found = Vec::new();
        let statement = statement::rows_of(&*self.database, catalog, many, parent)?;
        let Some(statement) = statement else { return Ok(found) };
        let columns: Vec<Col> = (0..many.columns.len()).map(Col).collect();
        let mut sink = |cells| {
            found.push(Row::of(columns.len(), &columns, cells));
            found.len() <= MANY_MAX
        };
        session.rows(&statement, &mut sink).await?;
        if found.len() > MANY_MAX {
            return Err(Trouble::Fault(RegisterFault::Value {
                source_name: self.name.clone(),
                field: field.to_owned(),
                problem: "it has more than 1000 rows".into(),
            }));
        }
        Ok(found)
    }

    /// Has the database check every statement that a plan can need.
    async fn check(&self, session: &mut dyn Session, plan: &Plan) -> Result<(), Failure> {
        let catalog = self.catalog(session).await?;
        let columns: Vec<Col> = (0..plan.columns.len()).map(Col).collect();
        let person = ("2000-01-01", Some("00000000000"));
        let people = statement::people(&*self.database, &catalog, plan, &columns, person)?;
        let people = people.ok_or_else(|| {
            let table = &plan.table;
            Failure::new(format!(
                "in `{table}`, the column of the birth date or of the number is of a type that \
                 cannot be compared with one"
            ))
        })?;
        session.check(&people).await?;
        let fields: Vec<String> = plan.fields.keys().cloned().collect();
        for (_, many) in plan.many(&fields) {
            // Such a key fits columns of numbers, of texts and of dates.
            let keys = ["0", "2000-01-01"].map(|key| Cell::from_text(key.to_owned()));
            let mut rows = None;
            for key in &keys {
                rows = rows.or(statement::rows_of(&*self.database, &catalog, many, key)?);
            }
            if let Some(rows) = rows {
                session.check(&rows).await?;
            }
        }
        Ok(())
    }

    async fn start(&self, plans: &[&Plan], spot: &mut Spot<'_>) -> Result<(), Failure> {
        let mut session = self.database.begin().await?;
        let mut tables: Vec<String> =
            plans.iter().flat_map(|plan| tables_of(plan)).map(str::to_owned).collect();
        tables.sort();
        tables.dedup();
        for objection in self.database.objections(&mut *session, &tables).await? {
            spot.mistake(self.key, objection.problem, objection.instead);
        }
        for plan in plans {
            self.check(&mut *session, plan).await?;
        }
        session.end().await
    }

    fn fault(&self, problem: String) -> RegisterFault {
        RegisterFault::Source { source_name: self.name.clone(), problem }
    }
}

async fn in_time<T>(work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    let done = tokio::time::timeout(START_WITHIN, work).await;
    done.unwrap_or_else(|_| Err(Failure::away("it does not answer within 10 s")))
}

/// Notes why it could not be checked.
fn failed(spot: &mut Spot<'_>, key: &str, failure: Failure) {
    if failure.away {
        spot.away(key, failure.problem, REPAIR);
    } else {
        spot.mistake(key, failure.problem, REPAIR);
    }
}

#[async_trait]
impl Source for SqlSource {
    async fn listing(&self, tables: &[&str], spot: &mut Spot<'_>) -> Option<Listing> {
        let _once = self.tables.set(tables.iter().map(|table| (*table).to_owned()).collect());
        let read = async {
            let mut session = self.database.begin().await?;
            let catalog = self.catalog(&mut *session).await?;
            session.end().await?;
            Ok(catalog)
        };
        match in_time(read).await {
            Ok(catalog) => {
                let columns = |table: &database::Table| {
                    table.columns.iter().map(|column| column.name.clone()).collect()
                };
                let tables = catalog.tables.iter();
                let tables: BTreeMap<String, Vec<String>> =
                    tables.map(|table| (table.name.clone(), columns(table))).collect();
                Some(Listing { names: catalog.names.clone(), tables: Some(tables) })
            }
            Err(failure) => {
                failed(spot, self.key, failure);
                None
            }
        }
    }

    async fn ready(&mut self, plans: &[&Plan], spot: &mut Spot<'_>) {
        if let Err(failure) = in_time(self.start(plans, spot)).await {
            failed(spot, self.key, failure);
        }
    }

    async fn find(
        &self,
        plan: &Plan,
        query: &Query,
        wanted: &Wanted,
    ) -> Result<Lookup, RegisterFault> {
        let mut tried = self.attempt(plan, query, wanted).await;
        if matches!(&tried, Err(Trouble::Failure(failure)) if failure.schema) {
            self.forget();
            tried = self.attempt(plan, query, wanted).await;
        }
        tried.map_err(|trouble| match trouble {
            Trouble::Fault(fault) => fault,
            Trouble::Failure(failure) => {
                if failure.schema {
                    self.forget();
                }
                self.fault(failure.problem)
            }
        })
    }
}
