// SPDX-License-Identifier: EUPL-1.2
//! A broker in a process of its own.

use std::{
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

/// How long a broker may take to listen.
const START: Duration = Duration::from_secs(30);

/// The `einmal` command of this profile, built if cargo is there, so that it is never an old one.
pub(crate) fn built() -> PathBuf {
    let test = std::env::current_exe().expect("a test program");
    let profile = test.ancestors().nth(2).expect("target/<profile>/deps/<test>");
    let program = profile.join("einmal");
    if let Ok(cargo) = std::env::var("CARGO") {
        let mut build = Command::new(cargo);
        build.args(["build", "--quiet", "-p", "einmal", "--bin", "einmal"]);
        build.current_dir(env!("CARGO_MANIFEST_DIR"));
        if profile.ends_with("release") {
            build.arg("--release");
        }
        assert!(build.status().expect("cargo").success(), "the broker does not build");
    }
    assert!(program.exists(), "build it first: cargo build -p einmal");
    program
}

/// A broker that can be killed. It is killed at the latest when this is dropped.
pub(super) struct BrokerProcess {
    program: PathBuf,
    folder: PathBuf,
    log: PathBuf,
    starts: usize,
    child: Child,
}

impl BrokerProcess {
    /// From a copy of the program: somebody may build it anew meanwhile.
    pub(super) fn start(program: &Path, folder: &Path) -> Self {
        let copy = folder.join("einmal");
        std::fs::copy(program, &copy).expect("a copy of the program");
        Self::spawn(copy, folder.to_owned(), 1)
    }

    fn spawn(program: PathBuf, folder: PathBuf, starts: usize) -> Self {
        let log = folder.join(format!("broker-{starts}.log"));
        let child = Command::new(&program)
            .args(["broker", "--config"])
            .arg(folder.join("broker.toml"))
            .env("EINMAL_LOG", "info")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(std::fs::File::create(&log).expect("a log file"))
            .spawn()
            .expect("the broker starts");
        Self { program, folder, log, starts, child }
    }

    /// On the same port and folder.
    pub(super) fn start_again(mut self) -> Self {
        self.kill();
        Self::spawn(self.program.clone(), self.folder.clone(), self.starts + 1)
    }

    fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Waits until it says that it listens. Nobody dials before: whoever dials a port of the
    /// loopback where nobody listens can come to hold it.
    pub(super) async fn listening(&mut self) {
        assert!(self.until_listening_or(START).await, "it does not listen:\n{}", self.log());
    }

    /// Waits until it listens, or a time is over; whether it listens.
    pub(super) async fn until_listening_or(&mut self, limit: Duration) -> bool {
        let listens = async {
            while !self.log().contains("listening") {
                if let Some(status) = self.child.try_wait().expect("a child") {
                    panic!("the broker ended with {status}:\n{}", self.log());
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(limit, listens).await.is_ok()
    }

    /// SIGKILL; it is gone when this returns.
    pub(super) fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for BrokerProcess {
    fn drop(&mut self) {
        self.kill();
    }
}
