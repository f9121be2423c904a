// SPDX-License-Identifier: EUPL-1.2
//! A folder, a ledger to watch, and a witness that watches it.

use std::{
    net::SocketAddr,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
};

use einmal_peer::Clock;
use einmal_peer::http::HttpClient;
use einmal_protocol::{
    Digest,
    cosignature::WitnessKey,
    key::SigningKey,
    merkle::{self, leaf_hash},
    note::{Checkpoint, LedgerKey},
};
use einmal_witness::{LogConfig, Running, StartError, WitnessClient, WitnessConfig, start};

pub(crate) const ORIGIN: &str = "einmal.example/l";
pub(crate) const NOW_S: u64 = 1_795_372_800;

/// Seed 9 in PKCS#8 (RFC 8410).
const KEY: &str = "-----BEGIN PRIVATE KEY-----\n\
    MC4CAQAwBQYDK2VwBCIEIAkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJ\n\
    -----END PRIVATE KEY-----\n";

/// A folder of one test, deleted when it ends well.
pub(crate) struct Folder(pub(crate) PathBuf);

impl Folder {
    pub(crate) fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("einmal-witness-{}-{count}", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&path).unwrap();
        std::fs::write(path.join("witness.pem"), KEY).unwrap();
        Self(path)
    }

    pub(crate) fn config(&self, logs: &[LedgerKey]) -> WitnessConfig {
        WitnessConfig {
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            name: "witness.example/w9".to_owned(),
            key: self.0.join("witness.pem"),
            state: self.0.join("state"),
            logs: logs
                .iter()
                .map(|log| LogConfig { vkey: log.to_string(), comment: String::new() })
                .collect(),
        }
    }

    pub(crate) async fn try_start(&self, clock: Clock) -> Result<Running, StartError> {
        start(&self.config(&[ledger_key()]), clock).await
    }

    pub(crate) async fn start(&self) -> Running {
        self.try_start(Clock::standing_at(NOW_S * 1000)).await.unwrap()
    }

    /// What the witness keeps on the disk about the ledger.
    pub(crate) fn remembered(&self) -> Option<Checkpoint> {
        let name = format!("{}.checkpoint", Digest::of(ORIGIN.as_bytes()).to_hex());
        let note = std::fs::read_to_string(self.0.join("state/logs").join(name)).ok()?;
        Some(Checkpoint::parse(&note, &ledger_key()).unwrap())
    }

    pub(crate) fn forks(&self) -> Vec<String> {
        let Ok(entries) = std::fs::read_dir(self.0.join("state/forks")) else { return Vec::new() };
        entries.map(|entry| std::fs::read_to_string(entry.unwrap().path()).unwrap()).collect()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }
}

fn key() -> SigningKey {
    SigningKey::from_seed(&[7; 32]).unwrap()
}

pub(crate) fn ledger_key() -> LedgerKey {
    LedgerKey::new(ORIGIN, key().public().clone()).unwrap()
}

pub(crate) fn witness_key() -> WitnessKey {
    let key = SigningKey::from_seed(&[9; 32]).unwrap();
    WitnessKey::new("witness.example/w9", key.public().clone()).unwrap()
}

pub(crate) fn client(running: &Running) -> WitnessClient {
    let prefix = format!("http://{}/", running.address);
    WitnessClient::new(Arc::new(HttpClient::default()), &prefix)
}

/// A tree whose leaves from `fork` on are others than everybody else's.
pub(crate) struct Tree {
    leaves: Vec<Vec<u8>>,
}

impl Tree {
    pub(crate) fn new(size: u64) -> Self {
        Self::forked(size, size)
    }

    pub(crate) fn forked(size: u64, fork: u64) -> Self {
        let leaf = |index: u64| match index < fork {
            true => index.to_be_bytes().to_vec(),
            false => format!("another {index}").into_bytes(),
        };
        Self { leaves: (0..size).map(leaf).collect() }
    }

    fn hash(&self, begin: u64, end: u64) -> Digest {
        let leaves = &self.leaves[usize::try_from(begin).unwrap()..usize::try_from(end).unwrap()];
        merkle::root(leaves.iter().map(Vec::as_slice))
    }

    pub(crate) fn root(&self, size: u64) -> Digest {
        self.hash(0, size)
    }

    pub(crate) fn checkpoint(&self, size: u64) -> Checkpoint {
        Checkpoint::sign(ORIGIN, size, self.root(size), &key()).unwrap()
    }

    pub(crate) fn note(&self, size: u64) -> String {
        self.checkpoint(size).note().to_owned()
    }

    pub(crate) fn proof(&self, old: u64, new: u64) -> Vec<Digest> {
        let ranges = merkle::plan_consistency(old, new).unwrap();
        ranges.into_iter().map(|range| self.hash(range.begin, range.end)).collect()
    }
}

/// A checkpoint of any size and root, signed by the ledger's key.
pub(crate) fn signed(size: u64, root: Digest) -> String {
    Checkpoint::sign(ORIGIN, size, root, &key()).unwrap().note().to_owned()
}

/// A root of nothing in particular.
pub(crate) fn some_root() -> Digest {
    leaf_hash(b"some root")
}
