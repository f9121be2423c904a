// SPDX-License-Identifier: EUPL-1.2
//! Where the database is, and what stands before it.

use std::{fmt, net::IpAddr, str::FromStr};

use sqlx::{
    ConnectOptions,
    postgres::{PgConnectOptions, PgSslMode},
};

/// What a URL may say behind its `?`.
const PARAMETERS: [&str; 4] = ["sslmode", "sslrootcert", "sslcert", "sslkey"];
/// The schema where none is named.
const SCHEMA: &str = "einmal";
/// Bytes that PostgreSQL keeps of a name.
const NAME_MAX: usize = 63;

/// How a ledger in PostgreSQL is opened.
#[derive(Clone)]
pub struct PostgresOptions {
    pub(super) connect: PgConnectOptions,
    pub(super) schema: String,
    pub(super) pooler: bool,
}

impl PostgresOptions {
    /// A database by its URL: `postgres://user:password@host:port/database`, behind it `sslmode`,
    /// `sslrootcert`, `sslcert` and `sslkey` as in every PostgreSQL client. Where `sslmode` is not
    /// named and the server is on another machine, it is `verify-full`.
    ///
    /// # Errors
    /// Where it is not such a URL. The error never repeats it, for it may hold a password.
    pub fn new(url: &str) -> Result<Self, PostgresOptionsError> {
        if !["postgres://", "postgresql://"].iter().any(|scheme| url.starts_with(scheme)) {
            return Err(PostgresOptionsError::Url);
        }
        let (_, parameters) = url.split_once('?').unwrap_or_default();
        let named = |parameter: &str| parameter.split('=').next().unwrap_or_default().to_owned();
        let parameters: Vec<String> =
            parameters.split('&').filter(|one| !one.is_empty()).map(named).collect();
        if !parameters.iter().all(|name| PARAMETERS.contains(&name.as_str())) {
            return Err(PostgresOptionsError::Parameter);
        }
        let connect = PgConnectOptions::from_str(url).map_err(|_| PostgresOptionsError::Url)?;
        let encrypts = parameters.iter().any(|name| name == "sslmode");
        let connect = if encrypts || is_here(&connect) {
            connect
        } else {
            connect.ssl_mode(PgSslMode::VerifyFull)
        };
        // Poolers refuse this setting, and there are no floating-point numbers here.
        let connect = connect.extra_float_digits(None).disable_statement_logging();
        Ok(Self { connect, schema: SCHEMA.to_owned(), pooler: false })
    }

    /// The schema that holds this ledger alone; `einmal` unless named.
    ///
    /// # Errors
    /// Where it is not 1 to 63 of `a` to `z`, `0` to `9` and `_`, beginning with no digit, or is
    /// PostgreSQL's own.
    pub fn schema(self, name: &str) -> Result<Self, PostgresOptionsError> {
        let first = name.starts_with(|one: char| one.is_ascii_lowercase() || one == '_');
        let rest = |one: u8| one.is_ascii_lowercase() || one.is_ascii_digit() || one == b'_';
        let foreign = name.starts_with("pg_") || name == "information_schema" || name == "public";
        if !first || name.len() > NAME_MAX || !name.bytes().all(rest) || foreign {
            return Err(PostgresOptionsError::Schema);
        }
        Ok(Self { schema: name.to_owned(), ..self })
    }

    /// The password, where it does not stand in the URL.
    #[must_use]
    pub fn password(self, password: &str) -> Self {
        Self { connect: self.connect.password(password), ..self }
    }

    /// Whether a pooler such as PgBouncer in transaction mode stands before the database. Then
    /// nothing is kept on a connection from one transaction to the next.
    #[must_use]
    pub fn pooler(self, pooler: bool) -> Self {
        let connect = self.connect.statement_cache_capacity(if pooler { 0 } else { 64 });
        Self { connect, pooler, ..self }
    }
}

/// Whether the server is on this machine.
fn is_here(connect: &PgConnectOptions) -> bool {
    let host = connect.get_host();
    let loopback = || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback());
    connect.get_socket().is_some() || host.starts_with('/') || host == "localhost" || loopback()
}

impl fmt::Debug for PostgresOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (host, port) = (self.connect.get_host(), self.connect.get_port());
        let database = self.connect.get_database().unwrap_or_default();
        write!(f, "PostgresOptions({host}:{port}/{database}, schema {}", self.schema)?;
        f.write_str(if self.pooler { ", pooler)" } else { ")" })
    }
}

/// What is wrong with the options.
#[derive(Clone, Copy, Debug, thiserror::Error, PartialEq, Eq)]
pub enum PostgresOptionsError {
    /// The URL.
    #[error("the ledger's database is named as postgres://user:password@host:port/database")]
    Url,
    /// Something behind the `?` of the URL.
    #[error("the database's url takes sslmode, sslrootcert, sslcert and sslkey, and nothing else")]
    Parameter,
    /// The schema's name.
    #[error("a schema's name is 1 to 63 of a-z, 0-9 and _, and none of PostgreSQL's own")]
    Schema,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_such_a_url_and_such_a_schema_are_taken() {
        for url in [
            "mysql://localhost/x",
            "postgres://u:secret@h:99999/d",
            "postgres://u:secret@h/d?sslmode=perhaps",
            "postgres://u:secret@h/d?options=-csynchronous_commit%3Doff",
            "postgres://u:secret@h/d?ssl%6Dode=disable",
        ] {
            let error = PostgresOptions::new(url).unwrap_err();
            assert!(!error.to_string().contains("secret"), "{error}");
        }
        let options = || PostgresOptions::new("postgres://u:secret@db.example/d").unwrap();
        for name in ["", "1a", "a-b", "A", "ä", "a\"b", "pg_x", "public", &"a".repeat(64)] {
            assert_eq!(options().schema(name).unwrap_err(), PostgresOptionsError::Schema);
        }
        let options = options().schema("land_7").unwrap().pooler(true);
        assert_eq!(
            format!("{options:?}"),
            "PostgresOptions(db.example:5432/d, schema land_7, pooler)"
        );
    }

    #[test]
    fn only_the_own_machine_is_spoken_to_in_the_clear() {
        let mode = |url| PostgresOptions::new(url).unwrap().connect.get_ssl_mode();
        let full = |url| matches!(mode(url), PgSslMode::VerifyFull);
        assert!(full("postgres://u@db.example/d"));
        assert!(full("postgres://u@10.0.0.1/d"));
        assert!(!full("postgres://u@127.0.0.1/d"));
        assert!(!full("postgres://u@%2Frun%2Fpostgresql/d"));
        assert!(matches!(mode("postgres://u@db.example/d?sslmode=disable"), PgSslMode::Disable));
    }
}
