// SPDX-License-Identifier: EUPL-1.2
//! A server's process and those that it started.

use std::{
    fs::{self, File},
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

/// How long a server may take to start or stop.
const PATIENCE: Duration = Duration::from_secs(30);

/// A running server. Dropped, it is killed.
pub(crate) struct Process {
    child: Child,
}

impl Process {
    /// Starts it; what it says goes into this file.
    pub(crate) fn start(mut command: Command, log: &Path) -> Self {
        let log =
            File::options().create(true).append(true).open(log).expect("a log can be written");
        let errors = log.try_clone().expect("a log can be written");
        command.stdin(Stdio::null()).stdout(log).stderr(errors);
        Self { child: command.spawn().expect("the server can be started") }
    }

    /// Whether it still runs.
    pub(crate) fn runs(&mut self) -> bool {
        self.child.try_wait().is_ok_and(|ended| ended.is_none())
    }

    /// Asks it to stop, and waits until it has.
    pub(crate) fn stop(mut self, signal: &str) {
        send(signal, &[self.child.id()]);
        wait_until("a server to stop", || !self.runs());
    }

    /// Ends it and all that it started, at once, as a power cut would.
    pub(crate) fn kill(mut self) {
        self.kill_all();
    }

    /// Stops or continues it and all that it started.
    pub(crate) fn signal_all(&self, signal: &str) {
        let own = self.child.id();
        // First itself, so that it starts no more of them.
        send(signal, &[own]);
        send(signal, &children(own));
    }

    fn kill_all(&mut self) {
        let mut others = Vec::new();
        if self.runs() {
            send("STOP", &[self.child.id()]);
            others = children(self.child.id());
            send("KILL", &others);
            send("KILL", &[self.child.id()]);
        }
        drop(self.child.wait());
        // A server started anew refuses to run beside what is left of an old one.
        let start = Instant::now();
        while others.iter().any(|other| lives(*other)) && start.elapsed() < PATIENCE {
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill_all();
    }
}

/// The processes that one has started and that have not ended.
fn children(of: u32) -> Vec<u32> {
    let list = fs::read_to_string(format!("/proc/{of}/task/{of}/children")).unwrap_or_default();
    list.split_whitespace().filter_map(|number| number.parse().ok()).collect()
}

/// Whether a process is there and not yet dead; one that is dead may still be listed.
fn lives(process: u32) -> bool {
    let status = fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    let state = status.rsplit_once(") ").map(|(_, rest)| rest.to_owned()).unwrap_or_default();
    !state.is_empty() && !state.starts_with(['Z', 'X'])
}

fn send(signal: &str, processes: &[u32]) {
    if !processes.is_empty() {
        let processes = processes.iter().map(u32::to_string);
        let mut kill = Command::new("kill");
        kill.arg(format!("-{signal}")).args(processes).stderr(Stdio::null());
        // One of them may have ended by itself.
        drop(kill.status());
    }
}

/// Waits for something that comes soon.
pub(crate) fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < PATIENCE, "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Runs a program to its end, which must be a good one; answers what it said.
pub(crate) fn finish(mut command: Command) -> String {
    let done = command.stdin(Stdio::null()).output().expect("the program can be run");
    let errors = String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success(), "{command:?}: {errors}");
    String::from_utf8_lossy(&done.stdout).trim().to_owned()
}
