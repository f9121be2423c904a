// SPDX-License-Identifier: EUPL-1.2
//! Where a server runs: its folder, its user, its port.

use std::{
    fs, net,
    os::unix::{
        fs::{MetadataExt, PermissionsExt},
        process::CommandExt,
    },
    path::{Path, PathBuf},
    process::Command,
    sync::atomic::{AtomicU32, Ordering},
};

use crate::process::finish;

/// A user and group of this machine.
#[derive(Clone, Copy)]
struct Account {
    user: u32,
    group: u32,
}

/// A folder of one server, deleted with it.
pub(crate) struct Place {
    path: PathBuf,
    account: Option<Account>,
}

impl Place {
    /// An empty folder that belongs to whoever the server will run as.
    pub(crate) fn new(server: &str) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("einmal-{server}-{}-{count}", std::process::id());
        let place = Self { path: std::env::temp_dir().join(name), account: account() };
        fs::create_dir_all(&place.path).expect("a temporary folder can be made");
        place.give(&place.path);
        place
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Writes a file that the server can read.
    pub(crate) fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path.join(name);
        fs::write(&path, text).expect("a file can be written");
        self.give(&path);
        path
    }

    /// A program, to be run in this folder as the server's user.
    pub(crate) fn command(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        command.current_dir(&self.path).env_clear().env("LC_ALL", "C").env("TZ", "UTC");
        if let Some(Account { user, group }) = self.account {
            command.uid(user).gid(group);
        }
        command
    }

    /// A key and a certificate for 127.0.0.1 that vouches for itself alone, for clients to trust;
    /// nothing where there is no `openssl`.
    pub(crate) fn certificate(&self) -> Option<(PathBuf, PathBuf)> {
        let Some(openssl) = program("openssl", &[]) else {
            println!("skipped: openssl is not installed");
            return None;
        };
        let mut request = self.command(&openssl);
        request.args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]);
        request.args(["-nodes", "-days", "2", "-subj", "/CN=127.0.0.1"]);
        request.args(["-addext", "subjectAltName=IP:127.0.0.1"]);
        // rustls takes no authority for a server.
        request.args(["-addext", "basicConstraints=critical,CA:FALSE"]);
        request.args(["-keyout", "server.key", "-out", "server.pem"]);
        finish(request);
        Some((self.path.join("server.key"), self.path.join("server.pem")))
    }

    fn give(&self, path: &Path) {
        if let Some(Account { user, group }) = self.account {
            std::os::unix::fs::chown(path, Some(user), Some(group)).expect("root may chown");
        }
        if path.is_dir() {
            let private = fs::Permissions::from_mode(0o700);
            fs::set_permissions(path, private).expect("an own folder's mode can be set");
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        // A server's last child may still be leaving.
        for _ in 0..50 {
            if fs::remove_dir_all(&self.path).is_ok() {
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
    }
}

/// Servers refuse to run as root; then they run as who is there for it.
fn account() -> Option<Account> {
    let root = fs::metadata("/proc/self").is_ok_and(|own| own.uid() == 0);
    let users = root.then(|| fs::read_to_string("/etc/passwd").unwrap_or_default())?;
    ["postgres", "nobody"].into_iter().find_map(|name| {
        let user = users.lines().find(|line| line.starts_with(&format!("{name}:")))?;
        let mut numbers = user.split(':').skip(2).map(str::parse);
        match (numbers.next(), numbers.next()) {
            (Some(Ok(user)), Some(Ok(group))) => Some(Account { user, group }),
            _ => None,
        }
    })
}

/// A loopback port that nobody listens on.
///
/// # Panics
/// Where none is left.
pub fn free_port() -> u16 {
    let any = net::TcpListener::bind((net::Ipv4Addr::LOCALHOST, 0)).expect("a port is free");
    any.local_addr().expect("a listener has an address").port()
}

/// The first of these folders that has a program of this name, then those of `PATH`.
pub(crate) fn program(name: &str, folders: &[PathBuf]) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = folders.iter().cloned().chain(std::env::split_paths(&path));
    folders.map(|folder| folder.join(name)).find(|file| file.is_file())
}
