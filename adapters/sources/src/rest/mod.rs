// SPDX-License-Identifier: EUPL-1.2
//! REST services that answer JSON: asked for one person at a time, over TLS, with a time limit, a
//! size limit and a limit of questions at once.
//!
//! What a server answers is not believed to fit: candidates are compared here (`read.rs`). What it
//! answers wrongly is a fault of a value, not of the source, for it may have to do with the person
//! asked about; outside, all of those look alike.

mod auth;
mod open;
mod read;
mod source;
mod template;
mod tree;

use std::{collections::BTreeMap, path::PathBuf};

use einmal_adapter_kit::register::RegisterFault;
use serde::Deserialize;
use serde_json::Value;

use crate::kinds::{Kind, Many, Missing, Naming, keys};

/// REST services.
pub(crate) const KIND: Kind = Kind {
    name: "rest",
    naming: Naming {
        called: "a REST service",
        tables: false,
        many: Many::List,
        check: tree::check_pointer,
        same: |one, other| one == other,
        missing: Missing::Choices,
    },
    keys: keys::<RestKeys>,
};

/// Keys of a REST source.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RestKeys {
    url: Option<String>,
    #[serde(default)]
    method: Method,
    body: Option<Value>,
    /// Requests of their own for questions of one way.
    by_idnr: Option<WayKeys>,
    by_names: Option<WayKeys>,
    by_residence: Option<WayKeys>,
    #[serde(default)]
    person_in_url: bool,
    #[serde(default)]
    idempotent: bool,
    #[serde(default)]
    headers: BTreeMap<String, HeaderKeys>,
    auth: Option<auth::AuthKeys>,
    authorities: Option<PathBuf>,
    identity: Option<IdentityKeys>,
    connect_timeout_ms: Option<u64>,
    answer_max: Option<usize>,
    concurrent: Option<usize>,
    nothing: Option<Vec<u16>>,
    rows: Option<String>,
    more: Option<String>,
    total: Option<String>,
    #[serde(default)]
    absent_is_null: bool,
    probe: Option<ProbeKeys>,
}

#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
enum Method {
    #[serde(rename = "GET")]
    Get,
    #[default]
    #[serde(rename = "POST")]
    Post,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct WayKeys {
    url: Option<String>,
    body: Option<Value>,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum HeaderKeys {
    Text(String),
    File(HeaderFile),
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct HeaderFile {
    file: PathBuf,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct IdentityKeys {
    certificate: PathBuf,
    key: PathBuf,
}

/// What is asked at start: a URL, or for an invented person.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct ProbeKeys {
    url: Option<String>,
    idnr: Option<String>,
    family_name: Option<String>,
    given_names: Option<String>,
    postcode: Option<String>,
    place: Option<String>,
    birth_date: Option<String>,
    found: Option<bool>,
}

impl std::fmt::Debug for ProbeKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ProbeKeys")
    }
}

/// Why a question came to no answer. Holds nothing of the question or the answer.
#[derive(Clone, Debug, thiserror::Error)]
pub(crate) enum Problem {
    /// Nobody answers, or not now.
    #[error("{0}")]
    Away(String),
    /// The server does not let us in.
    #[error("{0}")]
    Refused(String),
    /// It answered something that cannot be read; that may have to do with the person.
    #[error("{0}")]
    Shape(String),
}

impl Problem {
    fn fault(self, source: &str) -> RegisterFault {
        let source_name = source.to_owned();
        match self {
            Self::Away(problem) | Self::Refused(problem) => {
                RegisterFault::Source { source_name, problem }
            }
            Self::Shape(problem) => {
                RegisterFault::Value { source_name, field: "(the whole answer)".into(), problem }
            }
        }
    }
}
