// SPDX-License-Identifier: EUPL-1.2
//! `witness.toml`.

use std::{net::SocketAddr, path::PathBuf};

use serde::Deserialize;

/// What a witness is and whom it watches. A commented sample is deploy/config/witness.toml.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WitnessConfig {
    /// Where it listens, in plain HTTP: put a TLS proxy before it.
    pub listen: SocketAddr,
    /// Its name in the lines that it signs: a schemaless URL. One key has one name, for ever.
    pub name: String,
    /// Its private key, PKCS#8 Ed25519 in PEM.
    pub key: PathBuf,
    /// Folder of what it remembers.
    pub state: PathBuf,
    /// The ledgers that it watches, each once.
    pub logs: Vec<LogConfig>,
}

/// One ledger.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LogConfig {
    /// Its public key, as `einmal ledger key` prints it: name+hash+key.
    pub vkey: String,
    /// Whose it is, for people.
    #[serde(default)]
    pub comment: String,
}
