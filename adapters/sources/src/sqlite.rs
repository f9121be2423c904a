// SPDX-License-Identifier: EUPL-1.2
//! SQLite databases: opened for reading only, asked with bound parameters only.
//!
//! Names from the configuration are plain identifiers, quoted and always written `t."name"`:
//! SQLite takes a lone `"name"` that is no column for a text, and would answer with it.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use einmal_adapter_kit::register::{Query, RegisterFault, async_trait};
use einmal_protocol::person::PersonQuery;
use serde::Deserialize;
use sqlx::{
    AssertSqlSafe, ConnectOptions, Connection, Decode, Executor, Row as _, Sqlite,
    SqliteConnection, SqlitePool, TypeInfo, ValueRef,
    pool::PoolConnection,
    query::Query as Statement,
    sqlite::{SqliteArguments, SqliteConnectOptions, SqlitePoolOptions, SqliteRow},
};
use tokio_stream::StreamExt;
use zeroize::Zeroizing;

use crate::{
    kinds::{BadName, Kind, Listing, Many, Missing, Naming, Setup, Source, Spot, keys},
    lookup::{CANDIDATES_MAX, Lookup, MANY_MAX, Matches, Wanted, birth_date},
    plan::{Col, ManyPlan, ManyRows, Plan, Row},
    values::Cell,
};

/// SQLite databases.
pub(crate) const KIND: Kind = Kind {
    name: "sqlite",
    naming: Naming {
        called: "an SQLite database",
        tables: true,
        many: Many::Table,
        check: check_name,
        same: |one, other| one.eq_ignore_ascii_case(other),
        missing: Missing::Choices,
    },
    keys: keys::<SqliteKeys>,
};

const NAME_MAX: usize = 64;

fn check_name(name: &str) -> Result<(), BadName> {
    let plain = BadName {
        problem: "this is no plain name",
        instead: "write letters, digits and underscores, at most 64, not a digit first; make a \
                  view for other names",
    };
    if is_plain(name) { Ok(()) } else { Err(plain) }
}

/// Whether a name may stand, quoted, in a statement.
fn is_plain(name: &str) -> bool {
    name.chars().count() <= NAME_MAX
        && name.starts_with(|char: char| char.is_alphabetic() || char == '_')
        && name.chars().all(|char| char.is_alphanumeric() || char == '_')
}

/// Keys of an SQLite source.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct SqliteKeys {
    path: PathBuf,
}

#[async_trait]
impl Setup for SqliteKeys {
    async fn open(&self, spot: &mut Spot<'_>) -> Option<Box<dyn Source>> {
        let path = spot.folder.join(&self.path);
        match SqliteSource::open(spot.name, &path, spot.timeout).await {
            Ok(source) => Some(Box::new(source)),
            Err(problem) => {
                spot.bad_path(&self.path, &problem);
                None
            }
        }
    }
}

const CONNECTIONS_MAX: u32 = 4;
const CONNECT_WITHIN: Duration = Duration::from_secs(10);
/// A connection is opened anew after this, so that a database replaced by renaming is noticed.
const CONNECTION_AGE: Duration = Duration::from_secs(60);
const TABLES_MAX: usize = 1_000;
/// SQLite asks for the deadline every so many instructions of its machine (some 10 µs).
const INSTRUCTIONS: i32 = 1_000;

/// One database.
struct SqliteSource {
    name: String,
    pool: SqlitePool,
    timeout: Duration,
}

impl SqliteSource {
    /// Opens a database that exists.
    async fn open(name: &str, path: &Path, timeout: Duration) -> Result<Self, String> {
        if !path.is_file() {
            return Err("there is no such file".into());
        }
        // No logging by sqlx at all: it would print statements of slow queries.
        let options = SqliteConnectOptions::new()
            .filename(path)
            .read_only(true)
            .create_if_missing(false)
            .busy_timeout(timeout)
            .pragma("query_only", "ON")
            .pragma("trusted_schema", "OFF")
            .disable_statement_logging();
        let pool = SqlitePoolOptions::new()
            .max_connections(CONNECTIONS_MAX)
            .acquire_timeout(CONNECT_WITHIN)
            .max_lifetime(CONNECTION_AGE)
            .test_before_acquire(false)
            .connect_with(options)
            .await
            .map_err(|error| problem(&error))?;
        // A file of another kind opens well and fails at the first page.
        let first = pool.fetch_optional("SELECT name FROM sqlite_schema LIMIT 1").await;
        first.map_err(|error| problem(&error))?;
        Ok(Self { name: name.to_owned(), pool, timeout })
    }

    /// All table names, and the columns of those that the configuration names.
    async fn tables(&self, wanted: &[&str]) -> Result<Listing, String> {
        let mut connection = self.pool.acquire().await.map_err(|error| problem(&error))?;
        let sql = "SELECT name FROM sqlite_schema WHERE type IN ('table', 'view') \
                   AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\' ORDER BY name LIMIT ?1";
        let limit = i64::try_from(TABLES_MAX).unwrap_or(i64::MAX);
        let names: Vec<String> = sqlx::query_scalar(sql)
            .bind(limit)
            .fetch_all(&mut *connection)
            .await
            .map_err(|error| problem(&error))?;
        let mut tables = BTreeMap::new();
        for name in &names {
            if !wanted.iter().any(|table| table.eq_ignore_ascii_case(name)) {
                continue;
            }
            // A broken view has no columns; the planner says so.
            let columns: Vec<String> =
                sqlx::query_scalar("SELECT name FROM pragma_table_xinfo(?1)")
                    .bind(name)
                    .fetch_all(&mut *connection)
                    .await
                    .unwrap_or_default();
            tables.insert(name.clone(), columns);
        }
        Ok(Listing { names, tables: Some(tables) })
    }

    /// Prepares every statement that the plan can need.
    async fn check(&self, plan: &Plan) -> Result<(), String> {
        let mut connection = self.pool.acquire().await.map_err(|error| problem(&error))?;
        let columns: Vec<Col> = (0..plan.columns.len()).map(Col).collect();
        let fields: Vec<String> = plan.fields.keys().cloned().collect();
        let many = plan.many(&fields).map(|(_, many)| many_sql(many));
        for sql in std::iter::once(person_sql(plan, &columns, true)).chain(many) {
            let sql = AssertSqlSafe(sql.ok_or("a name is not plain")?);
            connection
                .prepare(sqlx::SqlSafeStr::into_sql_str(sql))
                .await
                .map_err(|e| problem(&e))?;
        }
        Ok(())
    }

    /// A connection whose statements SQLite itself ends at the deadline: dropping a query's
    /// future would leave its thread at work.
    async fn acquire(&self) -> Result<PoolConnection<Sqlite>, sqlx::Error> {
        let deadline = Instant::now() + self.timeout;
        let mut connection = self.pool.acquire().await?;
        connection
            .lock_handle()
            .await?
            .set_progress_handler(INSTRUCTIONS, move || Instant::now() < deadline);
        Ok(connection)
    }

    async fn person(
        &self,
        connection: &mut SqliteConnection,
        plan: &Plan,
        query: &Query,
        wanted: &Wanted,
    ) -> Result<Lookup, RegisterFault> {
        let birth = plan.matching.birth_format.write(birth_date(&query.person));
        let Some(birth) = birth else { return Ok(Lookup::Nothing) };
        let columns: Vec<Col> = plan.columns_for(&query.fields).into_iter().collect();
        let sql = person_sql(plan, &columns, query.person.uses_idnr());
        let mut statement = self.statement(sql)?.bind(birth);
        if let PersonQuery::Idnr { idnr, .. } = &query.person {
            statement = statement.bind(idnr.clone());
        }
        let mut matches = Matches::default();
        let mut candidates = 0;
        let mut rows = statement.fetch(connection);
        while let Some(row) = rows.next().await {
            let row = row.map_err(|error| self.fault(&error))?;
            candidates += 1;
            if candidates > CANDIDATES_MAX {
                return Err(self.refused("more than 5000 people have one birth date"));
            }
            let row = self.read(&row, &columns, plan.columns.len())?;
            if wanted.fits(&row) {
                matches.add(plan, row);
            }
        }
        Ok(matches.result())
    }

    async fn rows_of(
        &self,
        connection: &mut SqliteConnection,
        field: &str,
        many: &ManyPlan,
        parent: &Cell,
    ) -> Result<Option<Vec<Row>>, RegisterFault> {
        let statement = self.statement(many_sql(many))?;
        let statement = match parent {
            Cell::Null | Cell::Bytes => return Ok(None),
            Cell::Integer(number) => statement.bind(*number),
            Cell::Real(number) => statement.bind(*number),
            Cell::Text(text) => statement.bind(text.as_str().to_owned()),
        };
        let columns: Vec<Col> = (0..many.columns.len()).map(Col).collect();
        let mut found = Vec::new();
        let mut rows = statement.fetch(connection);
        while let Some(row) = rows.next().await {
            let row = row.map_err(|error| self.fault(&error))?;
            if found.len() >= MANY_MAX {
                return Err(RegisterFault::Value {
                    source_name: self.name.clone(),
                    field: field.to_owned(),
                    problem: "it has more than 1000 rows".into(),
                });
            }
            found.push(self.read(&row, &columns, columns.len())?);
        }
        Ok(Some(found))
    }

    fn statement(
        &self,
        sql: Option<String>,
    ) -> Result<Statement<'static, Sqlite, SqliteArguments>, RegisterFault> {
        let sql = sql.ok_or_else(|| self.refused("a name is not plain"))?;
        Ok(sqlx::query(AssertSqlSafe(sql)))
    }

    fn read(&self, row: &SqliteRow, cols: &[Col], width: usize) -> Result<Row, RegisterFault> {
        let mut out = Row::empty(width);
        for (index, col) in cols.iter().enumerate() {
            out.set(*col, cell(row, index).map_err(|error| self.fault(&error))?);
        }
        Ok(out)
    }

    fn fault(&self, error: &sqlx::Error) -> RegisterFault {
        self.refused(&problem(error))
    }

    fn refused(&self, problem: &str) -> RegisterFault {
        RegisterFault::Source { source_name: self.name.clone(), problem: problem.to_owned() }
    }
}

#[async_trait]
impl Source for SqliteSource {
    async fn listing(&self, tables: &[&str], spot: &mut Spot<'_>) -> Option<Listing> {
        let listing = self.tables(tables).await;
        listing.map_err(|problem| spot.mistake("path", problem, REPAIR)).ok()
    }

    async fn ready(&mut self, plans: &[&Plan], spot: &mut Spot<'_>) {
        for plan in plans {
            if let Err(problem) = self.check(plan).await {
                spot.mistake("path", problem, REPAIR);
            }
        }
    }

    /// Looks one person up, all in one read transaction.
    async fn find(
        &self,
        plan: &Plan,
        query: &Query,
        wanted: &Wanted,
    ) -> Result<Lookup, RegisterFault> {
        let mut connection = self.acquire().await.map_err(|error| self.fault(&error))?;
        let mut transaction = connection.begin().await.map_err(|error| self.fault(&error))?;
        let lookup = self.person(&mut transaction, plan, query, wanted).await?;
        let Lookup::One(mut hit) = lookup else { return Ok(lookup) };
        if !hit.blocked {
            for (name, many) in plan.many(&query.fields) {
                let ManyRows::Table { parent, .. } = &many.from else { continue };
                let rows = self.rows_of(&mut transaction, name, many, hit.row.get(*parent));
                if let Some(rows) = rows.await? {
                    hit.many.insert(name.clone(), rows);
                }
            }
        }
        Ok(Lookup::One(hit))
    }
}

const REPAIR: &str = "repair the source and start again";

fn cell(row: &SqliteRow, index: usize) -> Result<Cell, sqlx::Error> {
    let value = row.try_get_raw(index)?;
    if value.is_null() {
        return Ok(Cell::Null);
    }
    let kind = value.type_info();
    let decoded = match kind.name() {
        "INTEGER" => <i64 as Decode<Sqlite>>::decode(value).map(Cell::Integer),
        "REAL" => <f64 as Decode<Sqlite>>::decode(value).map(Cell::Real),
        "TEXT" => {
            <String as Decode<Sqlite>>::decode(value).map(|text| Cell::Text(Zeroizing::new(text)))
        }
        _ => Ok(Cell::Bytes),
    };
    // A text that is not UTF-8 cannot be decoded; it is bytes, and fits no field.
    Ok(decoded.unwrap_or(Cell::Bytes))
}

/// The statement that finds candidates, or nothing if a name is not plain.
fn person_sql(plan: &Plan, columns: &[Col], by_idnr: bool) -> Option<String> {
    let columns: Option<Vec<String>> =
        columns.iter().map(|col| column(plan.column_name(*col))).collect();
    let birth = column(plan.column_name(plan.matching.birth_date))?;
    let idnr = match plan.matching.idnr {
        Some(col) if by_idnr => format!(" AND {} = ?2", column(plan.column_name(col))?),
        _ => String::new(),
    };
    Some(format!(
        "SELECT {} FROM {} AS t WHERE {birth} = ?1{idnr} LIMIT {}",
        columns?.join(", "),
        quoted(&plan.table)?,
        CANDIDATES_MAX + 1,
    ))
}

fn many_sql(many: &ManyPlan) -> Option<String> {
    let ManyRows::Table { table, key, order_by, .. } = &many.from else { return None };
    let columns: Option<Vec<String>> = many.columns.iter().map(|name| column(name)).collect();
    let order = match order_by {
        Some(name) => format!(" ORDER BY {}", column(name)?),
        None => String::new(),
    };
    Some(format!(
        "SELECT {} FROM {} AS t WHERE {} = ?1{order} LIMIT {}",
        columns?.join(", "),
        quoted(table)?,
        column(key)?,
        MANY_MAX + 1,
    ))
}

fn column(name: &str) -> Option<String> {
    quoted(name).map(|name| format!("t.{name}"))
}

fn quoted(name: &str) -> Option<String> {
    is_plain(name).then(|| format!("\"{name}\""))
}

/// What went wrong, in words without data: messages of SQLite may quote values.
fn problem(error: &sqlx::Error) -> String {
    match error {
        sqlx::Error::Database(error) => {
            let code = error.code().and_then(|code| code.parse::<u32>().ok()).unwrap_or_default();
            match code & 0xff {
                5 | 6 => "the database is locked; end the long transaction that holds it".into(),
                9 => "the query took longer than `timeout_ms`; add an index".into(),
                11 | 26 => "the file is damaged or no SQLite database".into(),
                14 => "the file cannot be opened; check its owner and mode".into(),
                _ => format!("SQLite says error {code}; run the check of this register"),
            }
        }
        sqlx::Error::PoolTimedOut => "no connection became free in time".into(),
        _ => "the connection failed".into(),
    }
}
