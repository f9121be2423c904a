// SPDX-License-Identifier: EUPL-1.2
//! MariaDB: a server, and what can befall it.

use std::{
    fs,
    path::PathBuf,
    process::{Command, Stdio},
};

use crate::{
    place::{Place, free_port, program},
    process::{Process, finish, wait_until},
};

/// A server with the user `root`, who needs no password, and the database `test`. Dropped, it is
/// ended and its folder deleted.
pub struct MariaDb {
    server: PathBuf,
    client: PathBuf,
    place: Place,
    port: u16,
    /// Key and certificate, where it offers TLS.
    tls: Option<(PathBuf, PathBuf)>,
    process: Option<Process>,
}

impl MariaDb {
    /// Starts one; nothing where MariaDB is not installed.
    ///
    /// # Panics
    /// Where it does not start.
    pub fn start() -> Option<Self> {
        let folders = ["/usr/sbin", "/usr/local/sbin"].map(PathBuf::from);
        let find = |name| program(name, &folders);
        let programs = (find("mariadbd"), find("mariadb-install-db"), find("mariadb"));
        let (Some(server), Some(install), Some(client)) = programs else {
            println!("skipped: MariaDB is not installed");
            return None;
        };
        let place = Place::new("mariadb");
        let mut mariadb =
            Self { server, client, place, port: free_port(), tls: None, process: None };
        let mut install = mariadb.place.command(&install);
        // It finds its own programs by the path.
        install.env("PATH", std::env::var_os("PATH").unwrap_or_default());
        install.args(["--no-defaults", "--auth-root-authentication-method=normal"]);
        install.args(["--skip-test-db", "--skip-name-resolve", "--innodb-log-file-size=8M"]);
        install.args(["--innodb-flush-method=nosync", "--innodb-buffer-pool-size=8M"]);
        install.arg(format!("--datadir={}", mariadb.data().display()));
        finish(install);
        mariadb.restart();
        mariadb.ask("CREATE DATABASE IF NOT EXISTS test CHARACTER SET utf8mb4");
        Some(mariadb)
    }

    /// Has it offer TLS, with a certificate that it made itself for 127.0.0.1. Answers where that
    /// lies, for clients to trust; nothing where there is no `openssl`.
    ///
    /// # Panics
    /// Where it does not start again.
    pub fn encrypt(&mut self) -> Option<PathBuf> {
        let (key, certificate) = self.place.certificate()?;
        self.tls = Some((key, certificate.clone()));
        self.restart();
        Some(certificate)
    }

    /// Has it offer no TLS any more.
    ///
    /// # Panics
    /// Where it does not start again.
    pub fn decrypt(&mut self) {
        self.tls = None;
        self.restart();
    }

    /// Its port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Runs statements with its client in the database `test`, once there is one; answers their
    /// rows, one a line, with tabs between cells.
    ///
    /// # Panics
    /// Where a statement fails.
    pub fn ask(&self, statements: &str) -> String {
        let mut client = self.client();
        if !statements.starts_with("CREATE DATABASE") {
            client.arg("--database=test");
        }
        client.args(["-e", statements]);
        finish(client)
    }

    /// Ends it at once, as a power cut would.
    pub fn kill(&mut self) {
        if let Some(process) = self.process.take() {
            process.kill();
        }
    }

    /// Lets it do nothing, while connections to it stay.
    pub fn pause(&self) {
        self.signal("STOP");
    }

    /// Lets it go on.
    pub fn resume(&self) {
        self.signal("CONT");
    }

    fn signal(&self, signal: &str) {
        if let Some(process) = &self.process {
            process.signal_all(signal);
        }
    }

    /// Starts it again with its folder and port; stops it before, where it runs.
    ///
    /// # Panics
    /// Where it does not start.
    pub fn restart(&mut self) {
        if let Some(process) = self.process.take() {
            process.stop("TERM");
        }
        let path = self.place.path();
        let mut server = self.place.command(&self.server);
        server.args(["--no-defaults", "--bind-address=127.0.0.1", "--skip-name-resolve"]);
        server.args(["--innodb-flush-method=nosync", "--innodb-buffer-pool-size=16M"]);
        server.args(["--innodb-log-file-size=8M", "--performance-schema=off"]);
        server.arg(format!("--port={}", self.port));
        server.arg(format!("--datadir={}", self.data().display()));
        server.arg(format!("--socket={}", path.join("s").display()));
        server.arg(format!("--pid-file={}", path.join("pid").display()));
        match &self.tls {
            Some((key, certificate)) => {
                server.arg(format!("--ssl-key={}", key.display()));
                server.arg(format!("--ssl-cert={}", certificate.display()));
            }
            None => drop(server.arg("--skip-ssl")),
        }
        let log = path.join("log");
        let mut process = Process::start(server, &log);
        wait_until("MariaDB to start", || {
            assert!(process.runs(), "{}", fs::read_to_string(&log).unwrap_or_default());
            let mut client = self.client();
            client.args(["-e", "SELECT 1"]).stdin(Stdio::null());
            client.output().is_ok_and(|done| done.status.success())
        });
        self.process = Some(process);
    }

    fn client(&self) -> Command {
        let mut client = self.place.command(&self.client);
        client.args(["--no-defaults", "--host=127.0.0.1", "--user=root", "--skip-column-names"]);
        client.args(["--batch", "--default-character-set=utf8mb4"]);
        client.arg(format!("--port={}", self.port));
        client
    }

    fn data(&self) -> PathBuf {
        self.place.path().join("data")
    }
}

impl Drop for MariaDb {
    fn drop(&mut self) {
        self.kill();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_starts_answers_and_survives_a_kill() {
        let Some(mut mariadb) = MariaDb::start() else { return };
        mariadb.ask("CREATE TABLE t (x INT); INSERT INTO t VALUES (7)");
        mariadb.kill();
        mariadb.restart();
        assert_eq!(mariadb.ask("SELECT x FROM t"), "7");
    }
}
