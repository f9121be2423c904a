// SPDX-License-Identifier: EUPL-1.2
//! `connector.toml`: where applications call, which authorities ask through this connector, and
//! which application may ask what in whose name.

use std::{collections::BTreeSet, path::PathBuf};

use einmal_peer::TlsFiles;
use serde::Deserialize;

use crate::token::TokenHash;

/// A connector's configuration. Unknown keys are refused.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ConnectorConfig {
    /// A loopback address with its port, or "unix:" and the path of a socket.
    pub listen: String,
    /// The broker to ask first: "https://host:port". Others come from the directory.
    pub broker: String,
    /// The pinned root.
    pub root: PathBuf,
    /// Folder for trusted state and last checkpoints, a folder in it for each authority.
    pub state: PathBuf,
    /// Own certificate and whom to believe. It names the operator.
    pub tls: TlsFiles,
    /// Who asks. The request's signature names them.
    pub authorities: Vec<AuthorityConfig>,
    /// Who may call.
    pub applications: Vec<ApplicationConfig>,
    /// Limits.
    #[serde(default)]
    pub limits: Limits,
}

/// An authority that asks through this connector.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AuthorityConfig {
    /// Its id in the directory.
    pub id: String,
    /// Its identity key, PKCS#8.
    pub identity: PathBuf,
}

/// A local application. What is not listed, it may not.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ApplicationConfig {
    /// Its name in log lines.
    pub id: String,
    /// SHA-256 of its token, in hex; `einmal connector token` makes both.
    pub token_sha256: TokenHash,
    /// In whose name it may ask.
    pub authorities: BTreeSet<String>,
    /// What for.
    pub purposes: BTreeSet<String>,
    /// For which evidence types.
    pub evidence_types: BTreeSet<String>,
}

/// What an application can use up.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Calls of one application that are worked on at once; more are turned away.
    pub in_flight: usize,
    /// Connections of all applications together.
    pub connections: usize,
    /// A call's header and body must have come within this many milliseconds.
    pub read_ms: u64,
    /// A call may take so long where it names no deadline, and never longer.
    pub deadline_ms: u64,
    /// Answers whose use is not reported yet are remembered for each application, without their
    /// values; the oldest goes first.
    pub unreported: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            in_flight: 16,
            connections: 128,
            read_ms: 5_000,
            deadline_ms: 30_000,
            unreported: 4_096,
        }
    }
}
