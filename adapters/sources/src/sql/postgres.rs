// SPDX-License-Identifier: EUPL-1.2
//! PostgreSQL. Values travel as text, in whatever encoding the database has; they are compared in
//! the column's own type, so that its indexes are used.

use std::time::{Duration, Instant};

use einmal_adapter_kit::register::async_trait;
use serde::Deserialize;
use sqlx::{
    AssertSqlSafe, ConnectOptions, Executor, PgConnection, Postgres,
    postgres::{PgConnectOptions, PgSslMode},
};

use super::{
    SqlSource,
    database::{
        CELL_MAX, Catalog, Column, Database, Failure, Objection, Session, Sink, Statement, Table,
        Type, check_name, is_number, is_plain, pour, text_cell, texts,
    },
    pool::{Held, Pool},
    server::{CATALOG_LASTS, CONNECTION_AGE, Server, ServerKeys, said_by_server},
};
use crate::{
    kinds::{Kind, Many, Missing, Naming, Setup, Source, Spot, keys},
    values::Cell,
};

/// PostgreSQL databases.
pub(crate) const POSTGRES: Kind = Kind {
    name: "postgres",
    naming: Naming {
        called: "a PostgreSQL database",
        tables: true,
        many: Many::Table,
        check: check_name,
        same: |one, other| one == other,
        missing: Missing::Choices,
    },
    keys: keys::<PostgresKeys>,
};

const PORT: u16 = 5432;
const SCHEMA: &str = "public";
const TIME_ZONE: &str = "Europe/Berlin";
const TABLES_MAX: usize = 1_000;
/// The server forgets us after this, where we say nothing more in a transaction.
const FORGETS_MS: u32 = 15_000;

#[derive(Debug, Deserialize)]
#[serde(transparent)]
struct PostgresKeys(ServerKeys);

#[async_trait]
impl Setup for PostgresKeys {
    async fn open(&self, spot: &mut Spot<'_>) -> Option<Box<dyn Source>> {
        let server = self.0.server(&["postgres", "postgresql"], PORT, spot)?;
        let schema = self.0.schema.clone().unwrap_or_else(|| SCHEMA.to_owned());
        if !is_plain(&schema) {
            spot.mistake("schema", "this is no plain name", "write letters, digits, underscores");
            return None;
        }
        let zone = server.time_zone.as_deref().unwrap_or(TIME_ZONE);
        let begin = format!(
            "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; \
             SET LOCAL statement_timeout = {}; SET LOCAL time zone '{zone}'; \
             SET LOCAL idle_in_transaction_session_timeout = {FORGETS_MS}",
            server.statement_ms(),
        );
        let (most, within) = (server.connections, server.connect_within);
        let pool = Pool::new(most, within, CONNECTION_AGE, move || {
            let server = server.clone();
            Box::pin(async move { connect(&server).await })
        });
        let database = PostgresDatabase { pool, begin, schema, tries: most + 1 };
        Some(Box::new(SqlSource::new(spot.name, "", database)))
    }
}

async fn connect(server: &Server) -> Result<PgConnection, Failure> {
    // No logging by sqlx at all: it would print statements of slow queries.
    let mut options = PgConnectOptions::new_without_pgpass()
        .host(&server.host)
        .port(server.port)
        .username(&server.user)
        .database(&server.database)
        .application_name("einmal")
        .disable_statement_logging();
    if let Some(socket) = server.socket() {
        options = options.socket(socket);
    }
    if let Some(password) = server.password()? {
        options = options.password(&password);
    }
    let must = server.must_encrypt();
    options = options.ssl_mode(if must { PgSslMode::VerifyFull } else { PgSslMode::Prefer });
    if let Some(authorities) = &server.authorities {
        options = options.ssl_root_cert(authorities);
    }
    if let Some((certificate, key)) = &server.client {
        options = options.ssl_client_cert(certificate).ssl_client_key(key);
    }
    let mut connection = options.connect().await.map_err(|error| failure(&error))?;
    let encoding: String = sqlx::query_scalar("SELECT current_setting('server_encoding')")
        .fetch_one(&mut connection)
        .await
        .map_err(|error| failure(&error))?;
    if encoding == "SQL_ASCII" {
        return Err(Failure::new(
            "the database's encoding is SQL_ASCII, so nobody knows which letters its bytes are; \
             dump it and load it into one with ENCODING 'UTF8'",
        ));
    }
    Ok(connection)
}

struct PostgresDatabase {
    pool: Pool<PgConnection>,
    begin: String,
    schema: String,
    /// Connections that may turn out to be dead before one must work.
    tries: usize,
}

#[async_trait]
impl Database for PostgresDatabase {
    async fn begin(&self) -> Result<Box<dyn Session>, Failure> {
        for _ in 1..=self.tries {
            let mut held = self.pool.take().await?;
            let begun = sqlx::raw_sql(AssertSqlSafe(self.begin.clone()));
            match begun.execute(held.connection()).await {
                Ok(_) => return Ok(Box::new(PostgresSession { held })),
                Err(error) if held.fresh => return Err(failure(&error)),
                Err(_) => {}
            }
        }
        Err(Failure::away("the connections failed one after the other"))
    }

    async fn catalog(
        &self,
        session: &mut dyn Session,
        tables: &[String],
    ) -> Result<Catalog, Failure> {
        let sql = format!(
            "SELECT c.relname::text FROM pg_class c WHERE c.relnamespace = to_regnamespace($1) \
             AND c.relkind IN ('r', 'v', 'm', 'f', 'p') ORDER BY 1 LIMIT {TABLES_MAX}"
        );
        let schema = self.quoted(&self.schema);
        let statement = Statement::of_texts(sql, &[&schema], 1);
        let names: Vec<String> = texts(session, &statement).await?.into_iter().flatten().collect();
        let mut found = Vec::new();
        for name in names.iter().filter(|name| tables.contains(name)) {
            // Of a domain, its base; of an enumeration or any other type, its own name.
            let sql = "SELECT a.attname::text, t.typname::text, t.typcategory::text, \
                       format_type(t.oid, NULL) FROM pg_attribute a \
                       JOIN pg_type d ON d.oid = a.atttypid \
                       JOIN pg_type t ON t.oid = \
                       CASE WHEN d.typtype = 'd' THEN d.typbasetype ELSE d.oid END \
                       WHERE a.attrelid = to_regclass($1) AND a.attnum > 0 \
                       AND NOT a.attisdropped ORDER BY a.attnum";
            let full = self.table(name);
            let rows = texts(session, &Statement::of_texts(sql, &[&full], 4)).await?;
            let columns = rows.into_iter().filter_map(column).collect();
            found.push(Table { name: name.clone(), columns });
        }
        Ok(Catalog { names, tables: found, read: Instant::now() })
    }

    fn catalog_lasts(&self) -> Duration {
        CATALOG_LASTS
    }

    async fn objections(
        &self,
        session: &mut dyn Session,
        tables: &[String],
    ) -> Result<Vec<Objection>, Failure> {
        let mut objections = Vec::new();
        for table in tables {
            // Each is asked for by itself: a list of privileges asks whether there is any.
            let sql = "SELECT current_user::text, \
                       has_table_privilege(to_regclass($1), 'SELECT')::text, \
                       (has_table_privilege(to_regclass($1), \
                       'INSERT, UPDATE, DELETE, TRUNCATE') OR \
                       has_any_column_privilege(to_regclass($1), 'INSERT, UPDATE'))::text, \
                       (SELECT rolsuper::text FROM pg_roles WHERE rolname = current_user), \
                       (SELECT pg_has_role(relowner, 'USAGE')::text FROM pg_class \
                       WHERE oid = to_regclass($1))";
            let full = self.table(table);
            let rows = texts(session, &Statement::of_texts(sql, &[&full], 5)).await?;
            let Some([user, reads, writes, above, owns]) =
                rows.first().and_then(|r| r.first_chunk())
            else {
                continue;
            };
            let make = format!(
                "CREATE ROLE einmal_reader LOGIN; GRANT USAGE ON SCHEMA \"{}\" TO einmal_reader; \
                 GRANT SELECT ON {full} TO einmal_reader",
                self.schema
            );
            if above == "true" || owns == "true" {
                let is = if above == "true" { "is a superuser" } else { "owns it" };
                objections.push(Objection {
                    problem: format!("the account `{user}` may write to `{table}`: it {is}"),
                    instead: format!("make one that only reads: {make}"),
                });
            } else if writes == "true" {
                objections.push(Objection {
                    problem: format!("the account `{user}` may write to `{table}`"),
                    instead: format!(
                        "run: REVOKE INSERT, UPDATE, DELETE, TRUNCATE ON {full} FROM \"{user}\", \
                         and from PUBLIC and its roles where they may"
                    ),
                });
            } else if reads != "true" {
                objections.push(Objection {
                    problem: format!("the account `{user}` may not read all of `{table}`"),
                    instead: format!("run: GRANT SELECT ON {full} TO \"{user}\""),
                });
            }
        }
        Ok(objections)
    }

    fn placeholder(&self, number: usize) -> String {
        format!("${number}")
    }

    fn quoted(&self, name: &str) -> String {
        format!("\"{name}\"")
    }

    fn table(&self, name: &str) -> String {
        format!("{}.{}", self.quoted(&self.schema), self.quoted(name))
    }

    fn selected(&self, column: &str, of: Type) -> String {
        match of {
            Type::Bytes => format!("CASE WHEN {column} IS NOT NULL THEN '' END"),
            Type::List => format!("left(CAST(to_json({column}) AS text), {CELL_MAX})"),
            Type::Text => format!("left(CAST({column} AS text), {CELL_MAX})"),
            _ => format!("CAST({column} AS text)"),
        }
    }

    fn equals(
        &self,
        column: &str,
        of: &Column,
        value: &Cell,
        binds: &mut Vec<Cell>,
    ) -> Option<String> {
        let text = value.text()?;
        // PostgreSQL has no such character.
        if text.contains('\0') || !is_number(&text, of.of) {
            return None;
        }
        binds.push(value.clone());
        let value = self.placeholder(binds.len());
        match of.of {
            Type::Bytes | Type::List | Type::Bits => None,
            // Both ends of a range use an index, the day of a moment would not.
            Type::Moment => Some(format!(
                "{column} >= CAST({value} AS date) AND {column} < CAST({value} AS date) + 1"
            )),
            _ => Some(format!("{column} = CAST({value} AS {})", of.cast)),
        }
    }
}

/// A column from its name, its type's name and category, and how its type is written.
fn column(row: Vec<String>) -> Option<Column> {
    let [name, kind, category, written] = <[String; 4]>::try_from(row).ok()?;
    let (of, cast) = match kind.as_str() {
        "int2" | "int4" | "int8" => (Type::Integer, "bigint"),
        "numeric" => (Type::Decimal, "numeric"),
        "float4" | "float8" => (Type::Real, "double precision"),
        "bool" => (Type::Bool, "boolean"),
        "date" => (Type::Date, "date"),
        "timestamp" | "timestamptz" => (Type::Moment, ""),
        "bytea" => (Type::Bytes, ""),
        // Without a length it would be one character.
        "bpchar" => (Type::Text, "bpchar"),
        "text" | "varchar" => (Type::Text, "text"),
        _ if category == "A" => (Type::List, ""),
        _ => (Type::Text, written.as_str()),
    };
    Some(Column { name, of, cast: cast.to_owned() })
}

struct PostgresSession {
    held: Held<PgConnection>,
}

#[async_trait]
impl Session for PostgresSession {
    async fn rows(&mut self, statement: &Statement, sink: &mut Sink<'_>) -> Result<(), Failure> {
        let mut query = sqlx::query(AssertSqlSafe(statement.sql.clone()));
        for bind in &statement.binds {
            query = query.bind(bind.written());
        }
        let rows = query.fetch(self.held.connection());
        pour(rows, &statement.types, sink, text_cell, failure).await
    }

    async fn check(&mut self, statement: &Statement) -> Result<(), Failure> {
        let sql = sqlx::SqlSafeStr::into_sql_str(AssertSqlSafe(statement.sql.clone()));
        // With other types than the lookup binds, its statement would be another.
        let types = vec![<String as sqlx::Type<Postgres>>::type_info(); statement.binds.len()];
        let prepared = self.held.connection().prepare_with(sql, &types).await;
        prepared.map(|_| ()).map_err(|error| failure(&error))
    }

    async fn end(mut self: Box<Self>) -> Result<(), Failure> {
        let ended = sqlx::raw_sql("ROLLBACK").execute(self.held.connection()).await;
        ended.map_err(|error| failure(&error))?;
        self.held.give_back();
        Ok(())
    }
}

/// What went wrong, in words without data: messages of PostgreSQL quote values.
fn failure(error: &sqlx::Error) -> Failure {
    let error = match said_by_server(error) {
        Ok(error) => error,
        Err(failure) => return failure,
    };
    let code = error.code().unwrap_or_default().into_owned();
    match code.as_str() {
        "42P01" | "42703" | "42883" | "42804" | "42846" | "0A000" => Failure::schema(format!(
            "tables are not as they were when they were checked (PostgreSQL says {code}); \
             compare them with the register's file"
        )),
        "57014" => Failure::new("the query took longer than `timeout_ms`; add an index"),
        "28P01" | "28000" => Failure::new("the account or its password is refused"),
        "3D000" => Failure::new("there is no such database"),
        "42501" => Failure::new("the account may not read a table; grant it SELECT"),
        "53300" => Failure::away("the server has too many connections; lower `connections`"),
        "57P01" | "57P02" | "57P03" => Failure::away("the server starts or stops"),
        code if code.starts_with("08") => Failure::away("the connection failed"),
        _ => Failure::new(format!("PostgreSQL says error {code}; run the check of this register")),
    }
}
