// SPDX-License-Identifier: EUPL-1.2
//! What database servers have in common: where one is, who asks, and how that is protected.

use std::{
    net::IpAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use einmal_peer::files;
use serde::Deserialize;
use sqlx::error::DatabaseError;
use zeroize::Zeroizing;

use super::database::Failure;
use crate::kinds::Spot;

const CONNECTIONS_MAX: usize = 64;
const CONNECTIONS_DEFAULT: usize = 4;
const CONNECT_MAX_MS: u64 = 60_000;
const CONNECT_DEFAULT_MS: u64 = 2_000;
/// A connection is made anew after this, so that changed accounts and addresses count.
pub(super) const CONNECTION_AGE: Duration = Duration::from_secs(600);
/// A changed type of a column is noticed within this, where it makes no statement fail.
pub(super) const CATALOG_LASTS: Duration = Duration::from_secs(5);

/// Keys of a source that is a database server.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ServerKeys {
    url: Option<String>,
    host: Option<String>,
    port: Option<u16>,
    database: Option<String>,
    pub(super) schema: Option<String>,
    user: Option<String>,
    password_file: Option<PathBuf>,
    password_env: Option<String>,
    authorities: Option<PathBuf>,
    certificate: Option<PathBuf>,
    key: Option<PathBuf>,
    connections: Option<usize>,
    connect_timeout_ms: Option<u64>,
    time_zone: Option<String>,
}

impl std::fmt::Debug for ServerKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // A URL that is not yet checked may hold a password.
        f.write_str("ServerKeys(redacted)")
    }
}

/// A server and an account there, checked.
#[derive(Clone, Debug)]
pub(super) struct Server {
    /// A name, an address, or the path of a Unix socket.
    pub(super) host: String,
    pub(super) port: u16,
    pub(super) database: String,
    pub(super) user: String,
    password: Password,
    pub(super) authorities: Option<PathBuf>,
    /// Certificate and key of the client.
    pub(super) client: Option<(PathBuf, PathBuf)>,
    pub(super) connections: usize,
    pub(super) connect_within: Duration,
    pub(super) time_zone: Option<String>,
    pub(super) timeout: Duration,
}

#[derive(Clone, Debug)]
enum Password {
    None,
    File(PathBuf),
    Env(String),
}

/// What a URL says.
#[derive(Debug, Default, PartialEq, Eq)]
struct Url {
    host: String,
    port: Option<u16>,
    database: String,
    user: Option<String>,
}

impl ServerKeys {
    /// What the keys say; nothing where there was a mistake, which is noted.
    pub(super) fn server(
        &self,
        schemes: &[&str],
        port: u16,
        spot: &mut Spot<'_>,
    ) -> Option<Server> {
        let url = self.address(schemes, spot)?;
        let Some(user) = url.user else {
            spot.mistake("user", "it is missing", "write the account that reads this database");
            return None;
        };
        let connections = self.connections.unwrap_or(CONNECTIONS_DEFAULT);
        if connections == 0 || connections > CONNECTIONS_MAX {
            let instead = format!("write a number from 1 to {CONNECTIONS_MAX}");
            spot.mistake("connections", "it is out of range", instead);
        }
        let connect_ms = self.connect_timeout_ms.unwrap_or(CONNECT_DEFAULT_MS);
        if connect_ms == 0 || connect_ms > CONNECT_MAX_MS {
            let instead = format!("write milliseconds from 1 to {CONNECT_MAX_MS}");
            spot.mistake("connect_timeout_ms", "it is out of range", instead);
        }
        let allowed = |char: char| char.is_ascii_alphanumeric() || "/_+-:".contains(char);
        if self.time_zone.as_ref().is_some_and(|zone| zone.is_empty() || !zone.chars().all(allowed))
        {
            spot.mistake("time_zone", "it is no time zone", "write for example `Europe/Berlin`");
        }
        Some(Server {
            host: url.host,
            port: url.port.unwrap_or(port),
            database: url.database,
            user,
            password: self.password(spot)?,
            authorities: self.file("authorities", self.authorities.as_ref(), spot),
            client: self.client(spot)?,
            connections,
            connect_within: Duration::from_millis(connect_ms),
            time_zone: self.time_zone.clone(),
            timeout: spot.timeout,
        })
    }

    fn address(&self, schemes: &[&str], spot: &mut Spot<'_>) -> Option<Url> {
        let Some(url) = &self.url else {
            let (Some(host), Some(database)) = (&self.host, &self.database) else {
                let key = if self.host.is_none() { "host" } else { "database" };
                spot.mistake(key, "it is missing", "write `url`, or `host`, `database` and `user`");
                return None;
            };
            let (host, database) = (host.clone(), database.clone());
            return Some(Url { host, port: self.port, database, user: self.user.clone() });
        };
        for (key, given) in [
            ("host", self.host.is_some()),
            ("port", self.port.is_some()),
            ("database", self.database.is_some()),
        ] {
            if given {
                spot.mistake(key, "the URL says it, too", "leave it out in one place");
            }
        }
        let Some(mut read) = parse(url, schemes) else {
            let scheme = schemes.first().unwrap_or(&"");
            // The URL is not repeated, for it may hold a password.
            spot.mistake(
                "url",
                "it is no URL of such a database without password and parameters",
                format!(
                    "write {scheme}://user@host:port/database; the password goes into \
                         `password_file`"
                ),
            );
            return None;
        };
        if read.user.is_some() && self.user.is_some() {
            spot.mistake("user", "the URL says it, too", "leave it out in one place");
        }
        read.user = read.user.or_else(|| self.user.clone());
        Some(read)
    }

    fn password(&self, spot: &mut Spot<'_>) -> Option<Password> {
        match (&self.password_file, &self.password_env) {
            (None, None) => Some(Password::None),
            (Some(file), None) => {
                let password = Password::File(spot.folder.join(file));
                if let Err(failure) = password.read() {
                    spot.mistake("password_file", failure.problem, "mend the file");
                    return None;
                }
                Some(password)
            }
            (None, Some(name)) => {
                let password = Password::Env(name.clone());
                if let Err(failure) = password.read() {
                    spot.mistake("password_env", failure.problem, "set it, or name another");
                    return None;
                }
                Some(password)
            }
            (Some(_), Some(_)) => {
                let problem = "there is `password_file` as well";
                spot.mistake("password_env", problem, "leave one of them out");
                None
            }
        }
    }

    fn client(&self, spot: &mut Spot<'_>) -> Option<Option<(PathBuf, PathBuf)>> {
        let certificate = self.file("certificate", self.certificate.as_ref(), spot);
        let key = self.file("key", self.key.as_ref(), spot);
        match (&self.certificate, &self.key) {
            (None, None) => Some(None),
            (Some(_), Some(_)) => Some(Some((certificate?, key?))),
            (certificate, _) => {
                let missing = if certificate.is_none() { "certificate" } else { "key" };
                spot.mistake(missing, "it is missing", "write both `certificate` and `key`");
                None
            }
        }
    }

    fn file(&self, name: &str, path: Option<&PathBuf>, spot: &mut Spot<'_>) -> Option<PathBuf> {
        let path = path?;
        let file = spot.folder.join(path);
        if !file.is_file() {
            let problem = format!("`{}`: there is no such file", path.display());
            spot.mistake(name, problem, "write the path of a PEM file");
        }
        Some(file)
    }
}

/// `scheme://user@host:port/database`; nothing where it is another, or says more.
fn parse(url: &str, schemes: &[&str]) -> Option<Url> {
    let rest = schemes.iter().find_map(|scheme| url.strip_prefix(scheme)?.strip_prefix("://"))?;
    if rest.contains(['?', '#', '%', '\\']) || rest.chars().any(char::is_whitespace) {
        return None;
    }
    let (place, database) = rest.split_once('/')?;
    let (user, place) = match place.rsplit_once('@') {
        Some((user, place)) => (Some(user), place),
        None => (None, place),
    };
    let (host, port) = match place.strip_prefix('[').map(|inner| inner.split_once(']')) {
        Some(inner) => {
            let (host, port) = inner?;
            (host, if port.is_empty() { None } else { Some(port.strip_prefix(':')?) })
        }
        None => match place.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (place, None),
        },
    };
    let port = port.map(str::parse).transpose().ok()?;
    let plain = |text: &str| !text.is_empty() && !text.contains([':', '@', '/']);
    let whole = !host.is_empty() && plain(database) && user.is_none_or(plain);
    let (host, database) = (host.to_owned(), database.to_owned());
    whole.then(|| Url { host, port, database, user: user.map(str::to_owned) })
}

impl Password {
    fn read(&self) -> Result<Option<Zeroizing<String>>, Failure> {
        match self {
            Self::None => Ok(None),
            Self::File(path) => {
                let password = files::secret(path);
                password.map(Some).map_err(|error| Failure::new(error.problem))
            }
            Self::Env(name) => match std::env::var(name) {
                Ok(password) => Ok(Some(Zeroizing::new(password))),
                Err(_) => Err(Failure::new(format!("the variable `{name}` is not set"))),
            },
        }
    }
}

impl Server {
    /// The password as it is now: a changed one needs no restart.
    pub(super) fn password(&self) -> Result<Option<Zeroizing<String>>, Failure> {
        self.password.read()
    }

    pub(super) fn socket(&self) -> Option<&Path> {
        self.host.starts_with('/').then(|| Path::new(&self.host))
    }

    /// Whether TLS with a certificate of this name is a must: unless the server is on this
    /// machine, and also there where the configuration says whom to believe.
    pub(super) fn must_encrypt(&self) -> bool {
        let here = self.socket().is_some()
            || self.host == "localhost"
            || self.host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback());
        !here || self.authorities.is_some()
    }

    /// The limit that the server puts on one statement: a little less than ours, so that it is the
    /// server that ends it, and the connection stays.
    pub(super) fn statement_ms(&self) -> u128 {
        (self.timeout.as_millis() * 9 / 10).max(1)
    }
}

/// What the server itself said of an error, or the failure that it is where no server speaks.
pub(super) fn said_by_server(error: &sqlx::Error) -> Result<&dyn DatabaseError, Failure> {
    Err(match error {
        sqlx::Error::Database(error) => return Ok(error.as_ref()),
        sqlx::Error::Io(error) => Failure::away(format!("the connection failed: {}", error.kind())),
        sqlx::Error::Tls(_) => Failure::new(
            "no TLS with the server; it must offer TLS, with a certificate for this host by one of \
             `authorities`",
        ),
        _ => Failure::new("the connection failed: the server does not speak as expected"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls() {
        let url = |host: &str, port, user: Option<&str>| {
            let (host, database) = (host.to_owned(), "d".to_owned());
            Some(Url { host, port, database, user: user.map(str::to_owned) })
        };
        let schemes = &["postgres", "postgresql"];
        for (text, expected) in [
            ("postgres://u@db.example:5433/d", url("db.example", Some(5433), Some("u"))),
            ("postgresql://db.example/d", url("db.example", None, None)),
            ("postgres://u@[::1]:1/d", url("::1", Some(1), Some("u"))),
            ("postgres://u@[::1]/d", url("::1", None, Some("u"))),
            ("postgres://u:secret@db.example/d", None),
            ("postgres://u@db.example/d?sslmode=disable", None),
            ("postgres://u@db.example/", None),
            ("postgres://u@db.example", None),
            ("postgres://u@db.example:x/d", None),
            ("postgres://u@/d", None),
            ("postgres://u@h/d/e", None),
            ("mysql://u@h/d", None),
            ("", None),
        ] {
            assert_eq!(parse(text, schemes), expected, "{text}");
        }
    }
}
