// SPDX-License-Identifier: EUPL-1.2
//! Redis: one server, three of a cluster, and a pair that a Sentinel watches.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Stdio,
};

use crate::{
    place::{Place, free_port, program},
    process::{Process, finish, wait_until},
};

/// A server that keeps nothing on disk. Dropped, it is ended and its folder deleted.
pub struct Redis {
    program: PathBuf,
    client: PathBuf,
    place: Place,
    port: u16,
    /// Its certificate, where it speaks TLS only.
    certificate: Option<PathBuf>,
    settings: String,
    process: Option<Process>,
}

impl Redis {
    /// Starts one; nothing where Redis is not installed.
    pub fn start() -> Option<Self> {
        Self::start_with(&[])
    }

    /// Starts one with these lines in its configuration file; nothing where Redis is not
    /// installed.
    pub fn start_with(settings: &[&str]) -> Option<Self> {
        let mut server = Self::new()?;
        server.settings = format!("port {}\n{}\n", server.port, settings.join("\n"));
        server.restart();
        Some(server)
    }

    /// Starts one that speaks TLS only; nothing where Redis or openssl is not installed.
    pub fn start_encrypted(settings: &[&str]) -> Option<Self> {
        let mut server = Self::new()?;
        let (key, certificate) = server.place.certificate()?;
        server.settings = format!(
            "port 0\ntls-port {}\ntls-key-file {}\ntls-cert-file {}\ntls-ca-cert-file {2}\n\
             tls-auth-clients no\n{}\n",
            server.port,
            key.display(),
            certificate.display(),
            settings.join("\n"),
        );
        server.certificate = Some(certificate);
        server.restart();
        Some(server)
    }

    fn new() -> Option<Self> {
        let folders = ["/usr/bin", "/usr/local/bin"].map(PathBuf::from);
        let programs = (program("redis-server", &folders), program("redis-cli", &folders));
        let (Some(program), Some(client)) = programs else {
            println!("skipped: Redis is not installed");
            return None;
        };
        let (place, port) = (Place::new("redis"), free_port());
        let (certificate, settings, process) = (None, String::new(), None);
        Some(Self { program, client, place, port, certificate, settings, process })
    }

    /// Its port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Its URL.
    pub fn url(&self) -> String {
        let scheme = if self.certificate.is_some() { "rediss" } else { "redis" };
        format!("{scheme}://127.0.0.1:{}", self.port)
    }

    /// The certificate of one that was started encrypted, for clients to trust.
    pub fn certificate(&self) -> Option<&Path> {
        self.certificate.as_deref()
    }

    /// Runs one command with `redis-cli`; answers what it prints, one value a line.
    ///
    /// # Panics
    /// Where the server does not answer.
    pub fn ask(&self, words: &[&str]) -> String {
        let mut command = self.command();
        command.args(words);
        finish(command)
    }

    fn command(&self) -> std::process::Command {
        let mut command = self.place.command(&self.client);
        command.args(["-h", "127.0.0.1", "-p"]).arg(self.port.to_string());
        if let Some(certificate) = &self.certificate {
            command.arg("--tls").arg("--cacert").arg(certificate);
        }
        command
    }

    /// Ends it at once, as a power cut would. What it held is gone.
    pub fn kill(&mut self) {
        if let Some(process) = self.process.take() {
            process.kill();
        }
    }

    /// Starts it again with its port and settings, and nothing in it.
    ///
    /// # Panics
    /// Where it does not start.
    pub fn restart(&mut self) {
        self.kill();
        let always = "bind 127.0.0.1\nsave \"\"\nappendonly no\ndaemonize no\n";
        let settings = format!("{always}{}", self.settings);
        let configuration = self.place.write("configuration", &settings);
        let log = self.place.path().join("log");
        let mut server = self.place.command(&self.program);
        server.arg(configuration);
        if self.settings.contains("sentinel monitor") {
            server.arg("--sentinel");
        }
        let mut process = Process::start(server, &log);
        wait_until("Redis to start", || {
            assert!(process.runs(), "{}", fs::read_to_string(&log).unwrap_or_default());
            let mut ping = self.command();
            ping.arg("PING").stdin(Stdio::null());
            ping.output().is_ok_and(|done| done.stdout.starts_with(b"PONG"))
        });
        self.process = Some(process);
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
}

impl Drop for Redis {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Three servers that share the slots.
pub struct RedisCluster {
    nodes: Vec<Redis>,
}

impl RedisCluster {
    /// Starts one with these lines in each server's configuration file; nothing where Redis is not
    /// installed.
    ///
    /// # Panics
    /// Where the servers do not find one another.
    pub fn start_with(settings: &[&str]) -> Option<Self> {
        const SLOTS: [[&str; 2]; 3] = [["0", "5460"], ["5461", "10922"], ["10923", "16383"]];
        let mut nodes = Vec::new();
        let mut buses = Vec::new();
        for (number, [first, last]) in SLOTS.into_iter().enumerate() {
            let bus = free_port().to_string();
            let port = format!("cluster-port {bus}");
            let own = [
                "cluster-enabled yes",
                "cluster-node-timeout 1000",
                "cluster-require-full-coverage no",
                &port,
            ];
            let node = Redis::start_with(&[&own, settings].concat())?;
            node.ask(&["CLUSTER", "SET-CONFIG-EPOCH", &(number + 1).to_string()]);
            node.ask(&["CLUSTER", "ADDSLOTSRANGE", first, last]);
            nodes.push(node);
            buses.push(bus);
        }
        let (first, others) = nodes.split_first().expect("there are three");
        for (other, bus) in others.iter().zip(buses.iter().skip(1)) {
            first.ask(&["CLUSTER", "MEET", "127.0.0.1", &other.port().to_string(), bus]);
        }
        let knows_all = |node: &Redis| {
            let says = node.ask(&["CLUSTER", "INFO"]);
            says.contains("cluster_state:ok") && says.contains("cluster_slots_ok:16384")
        };
        wait_until("a cluster to form", || nodes.iter().all(knows_all));
        Some(Self { nodes })
    }

    /// Its servers.
    pub fn nodes(&self) -> &[Redis] {
        &self.nodes
    }

    /// The same, to be killed and started.
    pub fn nodes_mut(&mut self) -> &mut [Redis] {
        &mut self.nodes
    }

    /// The URLs of all.
    pub fn urls(&self) -> Vec<String> {
        self.nodes.iter().map(Redis::url).collect()
    }
}

/// A server, one that follows it, and a Sentinel that makes the follower a master when it has to.
pub struct RedisSentinel {
    servers: Vec<Redis>,
    sentinel: Redis,
}

impl RedisSentinel {
    /// The name under which the Sentinel knows them.
    pub const SERVICE: &str = "einmal";

    /// Starts all three; nothing where Redis is not installed.
    pub fn start() -> Option<Self> {
        let master = Redis::start_with(&["repl-diskless-sync-delay 0"])?;
        let follows = format!("replicaof 127.0.0.1 {}", master.port());
        let follower = Redis::start_with(&[&follows])?;
        wait_until("a follower to follow", || {
            follower.ask(&["INFO", "replication"]).contains("master_link_status:up")
        });
        let name = Self::SERVICE;
        let sentinel = Redis::start_with(&[
            &format!("sentinel monitor {name} 127.0.0.1 {} 1", master.port()),
            &format!("sentinel down-after-milliseconds {name} 500"),
            &format!("sentinel failover-timeout {name} 3000"),
        ])?;
        wait_until("the Sentinel to know both", || {
            sentinel.ask(&["SENTINEL", "REPLICAS", name]).contains(&follower.port().to_string())
        });
        Some(Self { servers: vec![master, follower], sentinel })
    }

    /// The Sentinel's URL.
    pub fn url(&self) -> String {
        self.sentinel.url()
    }

    /// Ends the master at once.
    pub fn kill_master(&mut self) {
        self.servers.remove(0).kill();
    }
}
