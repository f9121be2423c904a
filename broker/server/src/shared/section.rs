// SPDX-License-Identifier: EUPL-1.2
//! `[shared]` of the configuration: the Redis that brokers of one ledger share.

use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::config::one_or_more;

/// `[shared]`. Left out: a broker on its own.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SharedSection {
    /// "rediss://host:port", or several: Sentinels, or nodes of a cluster. Without a password.
    #[serde(deserialize_with = "one_or_more")]
    pub redis: Vec<String>,
    /// What they are.
    #[serde(default)]
    pub mode: Mode,
    /// The name under which Sentinels know the master.
    #[serde(default)]
    pub service: Option<String>,
    /// Whom to log in as, where it is not the default user.
    #[serde(default)]
    pub user: Option<String>,
    /// A file with the password, where one is needed.
    #[serde(default)]
    pub password_file: Option<PathBuf>,
    /// Certificates of the authorities that the server's must come from; left out: the system's.
    #[serde(default)]
    pub authorities: Option<PathBuf>,
    /// Own certificate, where the server asks for one.
    #[serde(default)]
    pub certificate: Option<PathBuf>,
    /// Its private key.
    #[serde(default)]
    pub key: Option<PathBuf>,
    /// A file with a secret that all brokers of the ledger have, and Redis has not.
    pub secret_file: PathBuf,
    /// How many brokers share the quotas: without Redis each grants one share.
    #[serde(default = "brokers")]
    pub brokers: u32,
    /// How long one operation may take, in milliseconds.
    #[serde(default = "deadline_ms")]
    pub deadline_ms: u64,
    /// Longer answers are not shared, in KiB.
    #[serde(default = "answer_max_kib")]
    pub answer_max_kib: usize,
}

/// What the named servers are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// One server.
    #[default]
    Single,
    /// Sentinels, who know which server is the master.
    Sentinel,
    /// Nodes of a cluster; some of them are enough.
    Cluster,
}

fn brokers() -> u32 {
    2
}

fn deadline_ms() -> u64 {
    50
}

fn answer_max_kib() -> usize {
    256
}

impl SharedSection {
    /// The first server on another machine that is reached without TLS.
    pub fn in_the_clear(&self) -> Option<&str> {
        let own = ["redis://127.", "redis://[::1]", "redis://localhost:"];
        let plain = self
            .redis
            .iter()
            .find(|url| url.starts_with("redis://") && !own.iter().any(|own| url.starts_with(own)));
        plain.map(String::as_str)
    }

    /// The same, where paths are relative to a configuration's folder.
    #[must_use]
    pub fn within(mut self, folder: &Path) -> Self {
        let some = [&mut self.password_file, &mut self.authorities, &mut self.certificate];
        let files = some.into_iter().chain([&mut self.key]).flatten();
        for file in files.chain([&mut self.secret_file]) {
            *file = folder.join(&*file);
        }
        self
    }
}
