// SPDX-License-Identifier: EUPL-1.2
//! SQLite databases: opened for reading only. SQLite itself ends a statement at the time limit:
//! dropping a query's future would leave its thread at work.

use std::{
    path::PathBuf,
    time::{Duration, Instant},
};

use einmal_adapter_kit::register::async_trait;
use serde::Deserialize;
use sqlx::{
    AssertSqlSafe, ConnectOptions, Decode, Executor, Row, Sqlite, SqliteConnection, TypeInfo,
    ValueRef,
    sqlite::{SqliteConnectOptions, SqliteRow},
};
use zeroize::Zeroizing;

use super::{
    SqlSource,
    database::{
        Catalog, Column, Database, Failure, Objection, Session, Sink, Statement, Table, Type,
        check_name, pour, texts,
    },
    pool::{Held, Pool},
};
use crate::{
    kinds::{Kind, Many, Missing, Naming, Setup, Source, Spot, keys},
    values::Cell,
};

/// SQLite databases.
pub(crate) const SQLITE: Kind = Kind {
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

const CONNECTIONS_MAX: usize = 4;
const CONNECT_WITHIN: Duration = Duration::from_secs(10);
/// A connection is opened anew after this, so that a database replaced by renaming is noticed.
const CONNECTION_AGE: Duration = Duration::from_secs(60);
const TABLES_MAX: usize = 1_000;
/// SQLite asks for the deadline every so many instructions of its machine (some 10 µs).
const INSTRUCTIONS: i32 = 1_000;

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
        if !path.is_file() {
            spot.bad_path(&self.path, "there is no such file");
            return None;
        }
        // No logging by sqlx at all: it would print statements of slow queries.
        let options = SqliteConnectOptions::new()
            .filename(path)
            .read_only(true)
            .create_if_missing(false)
            .busy_timeout(spot.timeout)
            .pragma("query_only", "ON")
            .pragma("trusted_schema", "OFF")
            .disable_statement_logging();
        let pool = Pool::new(CONNECTIONS_MAX, CONNECT_WITHIN, CONNECTION_AGE, move || {
            let options = options.clone();
            Box::pin(async move { options.connect().await.map_err(|error| failure(&error)) })
        });
        let database = SqliteDatabase { pool, timeout: spot.timeout };
        // A file of another kind opens well and fails at the first page.
        if let Err(failure) = database.names().await {
            spot.bad_path(&self.path, &failure.problem);
            return None;
        }
        Some(Box::new(SqlSource::new(spot.name, "path", database)))
    }
}

struct SqliteDatabase {
    pool: Pool<SqliteConnection>,
    timeout: Duration,
}

impl SqliteDatabase {
    async fn names(&self) -> Result<Vec<String>, Failure> {
        let mut session = self.begin().await?;
        let names = names(&mut *session).await?;
        session.end().await?;
        Ok(names)
    }
}

async fn names(session: &mut dyn Session) -> Result<Vec<String>, Failure> {
    let sql = format!(
        "SELECT name FROM sqlite_schema WHERE type IN ('table', 'view') \
         AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\' ORDER BY name LIMIT {TABLES_MAX}"
    );
    let rows = texts(session, &Statement::of_texts(sql, &[], 1)).await?;
    Ok(rows.into_iter().flatten().collect())
}

#[async_trait]
impl Database for SqliteDatabase {
    async fn begin(&self) -> Result<Box<dyn Session>, Failure> {
        let deadline = Instant::now() + self.timeout;
        let mut held = self.pool.take().await?;
        let connection = held.connection();
        connection
            .lock_handle()
            .await
            .map_err(|error| failure(&error))?
            .set_progress_handler(INSTRUCTIONS, move || Instant::now() < deadline);
        connection.execute("BEGIN").await.map_err(|error| failure(&error))?;
        Ok(Box::new(SqliteSession { held }))
    }

    async fn catalog(
        &self,
        session: &mut dyn Session,
        tables: &[String],
    ) -> Result<Catalog, Failure> {
        let names = names(session).await?;
        let mut found = Vec::new();
        for name in &names {
            if !tables.iter().any(|table| table.eq_ignore_ascii_case(name)) {
                continue;
            }
            let sql = "SELECT name FROM pragma_table_xinfo(?1)";
            // A broken view has no columns; the planner says so.
            let columns = texts(session, &Statement::of_texts(sql, &[name], 1)).await;
            let columns = columns.unwrap_or_default().into_iter().flatten();
            let column = |name| Column { name, of: Type::Native, cast: String::new() };
            found.push(Table { name: name.clone(), columns: columns.map(column).collect() });
        }
        Ok(Catalog { names, tables: found, read: Instant::now() })
    }

    fn catalog_lasts(&self) -> Duration {
        // Values have their own types, and a column that is gone fails.
        Duration::MAX
    }

    async fn objections(
        &self,
        _session: &mut dyn Session,
        _tables: &[String],
    ) -> Result<Vec<Objection>, Failure> {
        Ok(Vec::new())
    }

    fn placeholder(&self, number: usize) -> String {
        format!("?{number}")
    }

    fn quoted(&self, name: &str) -> String {
        format!("\"{name}\"")
    }

    fn selected(&self, column: &str, _of: Type) -> String {
        column.to_owned()
    }

    fn equals(
        &self,
        column: &str,
        _of: &Column,
        value: &Cell,
        binds: &mut Vec<Cell>,
    ) -> Option<String> {
        binds.push(value.clone());
        Some(format!("{column} = {}", self.placeholder(binds.len())))
    }
}

struct SqliteSession {
    held: Held<SqliteConnection>,
}

#[async_trait]
impl Session for SqliteSession {
    async fn rows(&mut self, statement: &Statement, sink: &mut Sink<'_>) -> Result<(), Failure> {
        let mut query = sqlx::query(AssertSqlSafe(statement.sql.clone()));
        for bind in &statement.binds {
            query = match bind {
                Cell::Integer(number) => query.bind(*number),
                Cell::Real(number) => query.bind(*number),
                other => query.bind(other.written()),
            };
        }
        let rows = query.fetch(self.held.connection());
        pour(rows, &statement.types, sink, cell, failure).await
    }

    async fn check(&mut self, statement: &Statement) -> Result<(), Failure> {
        let sql = sqlx::SqlSafeStr::into_sql_str(AssertSqlSafe(statement.sql.clone()));
        self.held.connection().prepare(sql).await.map_err(|error| failure(&error))?;
        Ok(())
    }

    async fn end(mut self: Box<Self>) -> Result<(), Failure> {
        self.held.connection().execute("ROLLBACK").await.map_err(|error| failure(&error))?;
        self.held.give_back();
        Ok(())
    }
}

fn cell(row: &SqliteRow, index: usize, _of: Type) -> Result<Cell, sqlx::Error> {
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

/// What went wrong, in words without data: messages of SQLite may quote values.
fn failure(error: &sqlx::Error) -> Failure {
    let sqlx::Error::Database(error) = error else {
        return Failure::new("the connection failed");
    };
    let code = error.code().and_then(|code| code.parse::<u32>().ok()).unwrap_or_default();
    match code & 0xff {
        // Among other things, a table or column that is not there.
        1 => Failure::schema("SQLite says error 1; run the check of this register"),
        5 | 6 => Failure::new("the database is locked; end the long transaction that holds it"),
        9 => Failure::new("the query took longer than `timeout_ms`; add an index"),
        11 | 26 => Failure::new("the file is damaged or no SQLite database"),
        14 => Failure::new("the file cannot be opened; check its owner and mode"),
        _ => Failure::new(format!("SQLite says error {code}; run the check of this register")),
    }
}
