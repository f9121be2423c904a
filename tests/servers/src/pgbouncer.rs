// SPDX-License-Identifier: EUPL-1.2
//! PgBouncer, which lends its connections to a server for one transaction at a time.

use std::{fs, net::TcpStream, path::PathBuf};

use crate::{
    place::{Place, free_port, program},
    postgres::Postgres,
    process::{Process, wait_until},
};

/// A pooler before one server. Dropped, it is ended and its folder deleted.
pub struct PgBouncer {
    port: u16,
    _process: Process,
    _place: Place,
}

impl PgBouncer {
    /// Starts one in transaction mode, with so many connections to the server; nothing where
    /// PgBouncer is not installed.
    ///
    /// # Panics
    /// Where it does not start.
    pub fn start(before: &Postgres, connections: u16) -> Option<Self> {
        let folders = ["/usr/sbin", "/usr/bin"].map(PathBuf::from);
        let Some(program) = program("pgbouncer", &folders) else {
            println!("skipped: PgBouncer is not installed");
            return None;
        };
        let (place, port) = (Place::new("pgbouncer"), free_port());
        let users = place.write("users", "\"postgres\" \"\"\n");
        let configuration = place.write(
            "configuration",
            &format!(
                "[databases]\npostgres = host=127.0.0.1 port={}\n\
                 [pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\n\
                 unix_socket_dir =\nauth_type = trust\nauth_file = {}\n\
                 pool_mode = transaction\ndefault_pool_size = {connections}\n\
                 server_round_robin = 1\nmax_client_conn = 100\n",
                before.port(),
                users.display(),
            ),
        );
        let log = place.path().join("log");
        let mut command = place.command(&program);
        command.arg(configuration);
        let mut process = Process::start(command, &log);
        wait_until("PgBouncer to start", || {
            assert!(process.runs(), "{}", fs::read_to_string(&log).unwrap_or_default());
            TcpStream::connect(("127.0.0.1", port)).is_ok()
        });
        Some(Self { port, _process: process, _place: place })
    }

    /// Its port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }
}
