// SPDX-License-Identifier: EUPL-1.2
//! MySQL and MariaDB. Values travel as text, in whatever encoding a table has.
//!
//! Their collations call texts equal that differ in case or accents; here equal is equal.

use std::time::{Duration, Instant};

use einmal_adapter_kit::register::async_trait;
use serde::Deserialize;
use sqlx::{
    AssertSqlSafe, ConnectOptions, Executor, MySqlConnection,
    mysql::{MySqlConnectOptions, MySqlDatabaseError, MySqlSslMode},
};

use super::{
    SqlSource,
    database::{
        CELL_MAX, Catalog, Column, Database, Failure, Objection, Session, Sink, Statement, Table,
        Type, check_name, is_number, pour, text_cell, texts,
    },
    grants::{Grant, role},
    pool::{Held, Pool},
    server::{CATALOG_LASTS, CONNECTION_AGE, Server, ServerKeys, said_by_server},
};
use crate::{
    kinds::{Kind, Many, Missing, Naming, Setup, Source, Spot, keys},
    values::Cell,
};

/// MySQL databases.
pub(crate) const MYSQL: Kind = kind("mysql", "a MySQL database");
/// MariaDB databases.
pub(crate) const MARIADB: Kind = kind("mariadb", "a MariaDB database");

const fn kind(name: &'static str, called: &'static str) -> Kind {
    Kind {
        name,
        naming: Naming {
            called,
            tables: true,
            many: Many::Table,
            check: check_name,
            same: |one, other| one.eq_ignore_ascii_case(other),
            missing: Missing::Choices,
        },
        keys: keys::<MysqlKeys>,
    }
}

const PORT: u16 = 3306;
const TABLES_MAX: usize = 1_000;

#[derive(Debug, Deserialize)]
#[serde(transparent)]
struct MysqlKeys(ServerKeys);

#[async_trait]
impl Setup for MysqlKeys {
    async fn open(&self, spot: &mut Spot<'_>) -> Option<Box<dyn Source>> {
        if self.0.schema.is_some() {
            let problem = "here a schema is a database";
            spot.mistake("schema", problem, "leave it out, and write `database`");
        }
        let server = self.0.server(&["mysql", "mariadb"], PORT, spot)?;
        let (most, within) = (server.connections, server.connect_within);
        let pool = Pool::new(most, within, CONNECTION_AGE, move || {
            let server = server.clone();
            Box::pin(async move { connect(&server).await })
        });
        let database = MysqlDatabase { pool, tries: most + 1 };
        Some(Box::new(SqlSource::new(spot.name, "", database)))
    }
}

async fn connect(server: &Server) -> Result<MySqlConnection, Failure> {
    // No logging by sqlx at all: it would print statements of slow queries.
    let mut options = MySqlConnectOptions::new()
        .host(&server.host)
        .port(server.port)
        .username(&server.user)
        .database(&server.database)
        .charset("utf8mb4")
        .pipes_as_concat(false)
        .no_engine_substitution(false)
        .timezone(server.time_zone.clone())
        .disable_statement_logging();
    if let Some(socket) = server.socket() {
        options = options.socket(socket);
    }
    if let Some(password) = server.password()? {
        options = options.password(&password);
    }
    let must = server.must_encrypt();
    let mode = if must { MySqlSslMode::VerifyIdentity } else { MySqlSslMode::Preferred };
    options = options.ssl_mode(mode);
    if let Some(authorities) = &server.authorities {
        options = options.ssl_ca(authorities);
    }
    if let Some((certificate, key)) = &server.client {
        options = options.ssl_client_cert(certificate).ssl_client_key(key);
    }
    let mut connection = options.connect().await.map_err(|error| failure(&error))?;
    let version: String = sqlx::query_scalar("SELECT CAST(VERSION() AS CHAR)")
        .fetch_one(&mut connection)
        .await
        .map_err(|error| failure(&error))?;
    let ms = server.statement_ms();
    let limit = if version.contains("MariaDB") {
        format!("max_statement_time = {}.{:03}", ms / 1000, ms % 1000)
    } else {
        format!("max_execution_time = {ms}")
    };
    let settings = format!(
        "SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY; \
         SET SESSION {limit}, SESSION sql_mode = 'STRICT_ALL_TABLES,NO_BACKSLASH_ESCAPES'"
    );
    let set = sqlx::raw_sql(AssertSqlSafe(settings)).execute(&mut connection).await;
    set.map_err(|error| failure(&error))?;
    Ok(connection)
}

struct MysqlDatabase {
    pool: Pool<MySqlConnection>,
    /// Connections that may turn out to be dead before one must work.
    tries: usize,
}

#[async_trait]
impl Database for MysqlDatabase {
    async fn begin(&self) -> Result<Box<dyn Session>, Failure> {
        for _ in 1..=self.tries {
            let mut held = self.pool.take().await?;
            let begun = sqlx::raw_sql("START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY");
            match begun.execute(held.connection()).await {
                Ok(_) => return Ok(Box::new(MysqlSession { held })),
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
            "SELECT CAST(TABLE_NAME AS CHAR) FROM information_schema.TABLES \
             WHERE TABLE_SCHEMA = DATABASE() ORDER BY TABLE_NAME LIMIT {TABLES_MAX}"
        );
        let rows = texts(session, &Statement::of_texts(sql, &[], 1)).await?;
        let names: Vec<String> = rows.into_iter().flatten().collect();
        let mut found = Vec::new();
        for name in &names {
            if !tables.iter().any(|table| table.eq_ignore_ascii_case(name)) {
                continue;
            }
            let sql = "SELECT CAST(COLUMN_NAME AS CHAR), CAST(DATA_TYPE AS CHAR) \
                       FROM information_schema.COLUMNS WHERE TABLE_SCHEMA = DATABASE() \
                       AND TABLE_NAME = ? ORDER BY ORDINAL_POSITION";
            let rows = texts(session, &Statement::of_texts(sql, &[name], 2)).await?;
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
        let database = Statement::of_texts("SELECT CAST(DATABASE() AS CHAR)", &[], 1);
        let database = texts(session, &database).await?.into_iter().flatten().next();
        let database = database.unwrap_or_default();
        let mut lines = grants(session, "SHOW GRANTS").await?;
        // MySQL names roles only; MariaDB shows what the one in force may do.
        let roles: Vec<&str> = lines.iter().filter_map(|line| role(line)).collect();
        if !roles.is_empty() {
            let using = format!("SHOW GRANTS FOR CURRENT_USER() USING {}", roles.join(", "));
            lines = grants(session, &using).await?;
        }
        let mut objections = Vec::new();
        for grant in lines.iter().filter_map(|line| Grant::read(line)).filter(Grant::writes) {
            for table in tables.iter().filter(|table| grant.is_about(&database, table)) {
                let Grant { on, to, .. } = grant;
                objections.push(Objection {
                    problem: format!("the account may write to `{table}`, as {to}"),
                    instead: format!(
                        "run: REVOKE ALL PRIVILEGES ON {on} FROM {to}; \
                         GRANT SELECT ON `{database}`.`{table}` TO {to}"
                    ),
                });
            }
        }
        Ok(objections)
    }

    fn placeholder(&self, _number: usize) -> String {
        "?".to_owned()
    }

    fn quoted(&self, name: &str) -> String {
        format!("`{name}`")
    }

    fn selected(&self, column: &str, of: Type) -> String {
        match of {
            Type::Bytes => format!("CASE WHEN {column} IS NOT NULL THEN '' END"),
            Type::Bits => format!("CAST({column} + 0 AS CHAR)"),
            Type::Text => format!("LEFT(CAST({column} AS CHAR), {CELL_MAX})"),
            _ => format!("CAST({column} AS CHAR)"),
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
        if !is_number(&text, of.of) {
            return None;
        }
        binds.push(value.clone());
        match of.of {
            Type::Bytes | Type::List | Type::Bits | Type::Bool | Type::Native => None,
            Type::Date => Some(format!("{column} = CAST(? AS DATE)")),
            Type::Moment => {
                binds.push(value.clone());
                Some(format!(
                    "{column} >= CAST(? AS DATE) AND {column} < CAST(? AS DATE) + INTERVAL 1 DAY"
                ))
            }
            Type::Integer => Some(format!("{column} = CAST(? AS SIGNED)")),
            Type::Decimal | Type::Real => Some(format!("{column} = ?")),
            // The first uses an index, the second is exact.
            Type::Text => {
                binds.push(value.clone());
                Some(format!(
                    "{column} = ? AND CONVERT({column} USING utf8mb4) COLLATE utf8mb4_bin = ?"
                ))
            }
        }
    }
}

/// A column from its name and its type's name.
fn column(row: Vec<String>) -> Option<Column> {
    let [name, kind] = <[String; 2]>::try_from(row).ok()?;
    let of = match kind.to_lowercase().as_str() {
        "tinyint" | "smallint" | "mediumint" | "int" | "bigint" | "year" => Type::Integer,
        "decimal" => Type::Decimal,
        "float" | "double" => Type::Real,
        "date" => Type::Date,
        "datetime" | "timestamp" => Type::Moment,
        "bit" => Type::Bits,
        "binary" | "varbinary" | "tinyblob" | "blob" | "mediumblob" | "longblob" | "geometry" => {
            Type::Bytes
        }
        _ => Type::Text,
    };
    Some(Column { name, of, cast: String::new() })
}

async fn grants(session: &mut dyn Session, sql: &str) -> Result<Vec<String>, Failure> {
    let rows = texts(session, &Statement::of_texts(sql, &[], 1)).await?;
    Ok(rows.into_iter().flatten().collect())
}

struct MysqlSession {
    held: Held<MySqlConnection>,
}

#[async_trait]
impl Session for MysqlSession {
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
        let prepared = self.held.connection().prepare(sql).await;
        prepared.map(|_| ()).map_err(|error| failure(&error))
    }

    async fn end(mut self: Box<Self>) -> Result<(), Failure> {
        let ended = sqlx::raw_sql("ROLLBACK").execute(self.held.connection()).await;
        ended.map_err(|error| failure(&error))?;
        self.held.give_back();
        Ok(())
    }
}

/// What went wrong, in words without data: messages of the server quote values.
fn failure(error: &sqlx::Error) -> Failure {
    let error = match said_by_server(error) {
        Ok(error) => error,
        Err(failure) => return failure,
    };
    let number =
        error.try_downcast_ref::<MySqlDatabaseError>().map_or(0, MySqlDatabaseError::number);
    match number {
        1054 | 1146 | 1356 | 1347 => Failure::schema(format!(
            "tables are not as they were when they were checked (the server says {number}); \
             compare them with the register's file"
        )),
        1969 | 3024 | 1317 => Failure::new("the query took longer than `timeout_ms`; add an index"),
        1044 | 1045 | 1698 => Failure::new("the account or its password is refused"),
        1049 => Failure::new("there is no such database"),
        1142 | 1143 => Failure::new("the account may not read a table; grant it SELECT"),
        1040 | 1203 | 1226 => {
            Failure::away("the server has too many connections; lower `connections`")
        }
        1053 | 1927 => Failure::away("the server stops, or ended the connection"),
        _ => {
            Failure::new(format!("the server says error {number}; run the check of this register"))
        }
    }
}
