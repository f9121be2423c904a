// SPDX-License-Identifier: EUPL-1.2
//! PostgreSQL: a server, its standbys, and what can befall them.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use crate::{
    place::{Place, free_port, program},
    process::{Process, finish, wait_until},
};

/// A server with the user `postgres`, who needs no password, and the database `postgres`. Dropped,
/// it is ended and its folder deleted.
pub struct Postgres {
    programs: PathBuf,
    place: Place,
    port: u16,
    settings: Vec<(String, String)>,
    process: Option<Process>,
}

impl Postgres {
    /// Starts one; nothing where PostgreSQL is not installed.
    pub fn start() -> Option<Self> {
        Self::start_with(&[])
    }

    /// Starts one with settings of its configuration file; nothing where PostgreSQL is not
    /// installed.
    ///
    /// # Panics
    /// Where it does not start.
    pub fn start_with(settings: &[(&str, &str)]) -> Option<Self> {
        let Some(programs) = programs() else {
            println!("skipped: PostgreSQL is not installed");
            return None;
        };
        let mut server = Self::new(programs, Place::new("postgres"));
        let mut initdb = server.command("initdb");
        initdb.args(["--username=postgres", "--auth=trust", "--encoding=UTF8", "--locale=C"]);
        initdb.args(["--no-sync", "--no-instructions", "-D"]).arg(server.data());
        finish(initdb);
        server.restart_with(settings);
        Some(server)
    }

    /// Has it offer TLS, with a certificate that it made itself for 127.0.0.1. Answers where that
    /// lies, for clients to trust; nothing where there is no `openssl`.
    ///
    /// # Panics
    /// Where it does not start again.
    pub fn encrypt(&mut self) -> Option<PathBuf> {
        let (key, certificate) = self.place.certificate()?;
        let path = |path: &Path| path.display().to_string();
        let (key, file) = (path(&key), path(&certificate));
        self.restart_with(&[("ssl", "on"), ("ssl_key_file", &key), ("ssl_cert_file", &file)]);
        Some(certificate)
    }

    fn new(programs: PathBuf, place: Place) -> Self {
        Self { programs, place, port: free_port(), settings: Vec::new(), process: None }
    }

    /// Starts a standby that follows this server under this name.
    ///
    /// # Panics
    /// Where it does not start.
    #[must_use]
    pub fn standby(&self, name: &str) -> Self {
        let mut standby = Self::new(self.programs.clone(), Place::new("standby"));
        let mut copy = standby.command("pg_basebackup");
        copy.args(["--host=127.0.0.1", "--username=postgres", "--write-recovery-conf"]);
        copy.args(["--checkpoint=fast", "--no-sync", &format!("--port={}", self.port), "-D"]);
        finish({
            copy.arg(standby.data());
            copy
        });
        standby.restart_with(&[("cluster_name", name)]);
        let follows = format!(
            "SELECT count(*) FROM pg_stat_replication \
             WHERE application_name = '{name}' AND state = 'streaming'"
        );
        wait_until("a standby to follow", || self.ask(&follows) == "1");
        standby
    }

    /// Makes a standby a server of its own.
    pub fn promote(&self) {
        self.ask("SELECT pg_promote()");
    }

    /// Its folder: all of its files are in `data`, what it said is in `log`.
    pub fn folder(&self) -> &Path {
        self.place.path()
    }

    /// A copy of its folder as it stands at one moment, such as a snapshot of its disk would be.
    /// It runs only once it is restarted; then it recovers as after a power cut.
    ///
    /// # Panics
    /// Where the files cannot be copied.
    #[must_use]
    pub fn copy(&self) -> Self {
        let copy = Self::new(self.programs.clone(), Place::new("copy"));
        let mut cp = copy.place.command(&program("cp", &[]).expect("every system has cp"));
        cp.arg("-a").arg(self.data()).arg(self.log_file()).arg(copy.folder());
        self.pause();
        finish(cp);
        self.resume();
        // It names the process of the server that was copied.
        drop(fs::remove_file(copy.data().join("postmaster.pid")));
        copy
    }

    /// Starts an older copy and brings it forward to a restore point, with the write-ahead log that
    /// lies in another's files.
    ///
    /// # Panics
    /// Where the log does not lead there.
    pub fn replay(&mut self, log_of: &Self, until: &str) {
        self.place.write("data/recovery.signal", "");
        let restore = format!("cp '{}'/pg_wal/%f %p", log_of.data().display());
        self.restart_with(&[
            ("restore_command", &restore),
            ("recovery_target_name", until),
            ("recovery_target_action", "promote"),
        ]);
        wait_until("the log to lead to the restore point", || {
            self.ask("SELECT pg_is_in_recovery()") == "f"
        });
    }

    /// Its port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Its URL.
    pub fn url(&self) -> String {
        self.url_at(self.port)
    }

    /// Its URL, where it is reached through another port.
    pub fn url_at(&self, port: u16) -> String {
        format!("postgres://postgres@127.0.0.1:{port}/postgres?sslmode=disable")
    }

    /// What the server has written into its log since it was last started.
    pub fn log(&self) -> String {
        fs::read_to_string(self.log_file()).unwrap_or_default()
    }

    /// Runs one statement with `psql`; answers its rows, one a line.
    ///
    /// # Panics
    /// Where the statement fails.
    pub fn ask(&self, statement: &str) -> String {
        self.ask_in("postgres", statement)
    }

    /// The same in another database.
    ///
    /// # Panics
    /// Where the statement fails.
    pub fn ask_in(&self, database: &str, statement: &str) -> String {
        let mut psql = self.psql();
        psql.env("PGCLIENTENCODING", "UTF8");
        psql.args(["--dbname", database, "-c", statement]);
        finish(psql)
    }

    /// Changes a setting while it runs.
    pub fn set(&self, name: &str, value: &str) {
        self.ask(&format!("ALTER SYSTEM SET {name} = '{value}'"));
        self.ask("SELECT pg_reload_conf()");
        let holds = format!("SELECT current_setting('{name}') = '{value}'");
        wait_until("a setting to be taken over", || self.ask(&holds) == "t");
    }

    /// Stops it in order; connections are ended.
    pub fn stop(&mut self) {
        if let Some(process) = self.process.take() {
            process.stop("INT");
        }
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

    /// Starts it again with its folder, port and settings; stops it before, where it runs.
    pub fn restart(&mut self) {
        let settings = self.settings.clone();
        let settings: Vec<_> =
            settings.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        self.restart_with(&settings);
    }

    /// Starts it again with these settings and none of the earlier ones.
    ///
    /// # Panics
    /// Where it does not start.
    pub fn restart_with(&mut self, settings: &[(&str, &str)]) {
        self.stop();
        let own = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        self.settings = settings.iter().map(own).collect();
        let mut server = self.command("postgres");
        server.arg("-D").arg(self.data());
        let port = self.port.to_string();
        let always = [
            ("port", port.as_str()),
            ("listen_addresses", "127.0.0.1"),
            ("unix_socket_directories", ""),
            ("shared_buffers", "64MB"),
            ("log_checkpoints", "off"),
        ];
        for (name, value) in always.iter().chain(settings) {
            server.arg("-c").arg(format!("{name}={value}"));
        }
        let log = self.log_file();
        let mut process = Process::start(server, &log);
        wait_until("PostgreSQL to start", || {
            assert!(process.runs(), "{}", fs::read_to_string(&log).unwrap_or_default());
            let mut psql = self.psql();
            psql.args(["-c", "SELECT 1"]).stdin(Stdio::null());
            psql.output().is_ok_and(|done| done.status.success())
        });
        self.process = Some(process);
    }

    fn psql(&self) -> Command {
        let mut psql = self.command("psql");
        let port = format!("--port={}", self.port);
        psql.args(["--host=127.0.0.1", "--username=postgres", "--dbname=postgres", &port]);
        psql.args(["--no-psqlrc", "--tuples-only", "--no-align", "--quiet"]);
        psql
    }

    fn data(&self) -> PathBuf {
        self.place.path().join("data")
    }

    fn log_file(&self) -> PathBuf {
        self.place.path().join("log")
    }

    fn command(&self, program: &str) -> Command {
        self.place.command(&self.programs.join(program))
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        self.kill();
    }
}

/// The folder of the newest installed version's programs.
fn programs() -> Option<PathBuf> {
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let mut folders: Vec<PathBuf> = versions.map(|version| version.path().join("bin")).collect();
    folders.sort_by_key(|folder| std::cmp::Reverse(number(folder)));
    // Beside `initdb` there is all else.
    let initdb = program("initdb", &folders)?.canonicalize().ok()?;
    let folder = initdb.parent()?;
    let all = ["postgres", "psql", "pg_basebackup"];
    all.iter().all(|name| folder.join(name).is_file()).then(|| folder.to_owned())
}

/// The version in a path such as `/usr/lib/postgresql/15/bin`.
fn number(folder: &Path) -> Option<u32> {
    folder.parent()?.file_name()?.to_str()?.parse().ok()
}
