// SPDX-License-Identifier: EUPL-1.2
//! Configured registers against real files.

mod backends;
mod conformance;
mod csv;
mod draft;
mod fixed_width;
mod late;
mod mistakes;
mod rest;
mod servers;
mod sqlite;

use std::{
    path::{Path, PathBuf},
    sync::atomic::{AtomicU32, Ordering},
};

use einmal_adapter_kit::register::{Answer, Found, Query, Register, RegisterFault};
use einmal_policy::rules_document::EvidenceType;
use einmal_protocol::person::PersonQuery;
use serde_json::{Value, json};
use sqlx::{
    AssertSqlSafe, ConnectOptions, Connection, Executor,
    sqlite::{SqliteConnectOptions, SqliteConnection},
};

use crate::{ConfiguredRegister, Mistake, SourcesConfig};

const ANNA: &str = "86095742719";
const BERND: &str = "47036892816";
const MOTHER: &str = "65929970489";

/// A folder that is gone after the test.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("einmal-adapters-{}-{number}", std::process::id());
        let folder = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&folder).unwrap();
        Self(folder)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    async fn open(&self, config: &str) -> Result<ConfiguredRegister, Vec<Mistake>> {
        let config = SourcesConfig::parse(config).unwrap();
        ConfiguredRegister::open(&config, &self.0, &types()).await
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _gone = std::fs::remove_dir_all(&self.0);
    }
}

async fn connect(path: &Path) -> SqliteConnection {
    let options = SqliteConnectOptions::new().filename(path).create_if_missing(true);
    options.connect().await.unwrap()
}

async fn run(path: &Path, sql: &str) {
    let mut connection = connect(path).await;
    connection.execute(AssertSqlSafe(sql.to_owned())).await.unwrap();
    connection.close().await.unwrap();
}

fn types() -> Vec<EvidenceType> {
    let texts = json!({ "de": "-", "en": "-", "de_leicht": "-" });
    let evidence_type = |id: &str, slots: u32, fields: &[(&str, Value)]| {
        let fields: Vec<Value> = fields
            .iter()
            .map(|(name, schema)| json!({ "name": name, "texts": texts, "schema": schema }))
            .collect();
        serde_json::from_value(json!({
            "id": id, "texts": texts, "size": 4096, "slots": slots, "earliest_ms": 50,
            "fields": fields,
        }))
        .unwrap()
    };
    vec![
        evidence_type(
            "birth-certificate",
            3,
            &[
                ("family_name", json!({ "type": "string" })),
                ("birth_date", json!({ "type": "string", "format": "date" })),
                ("sex", json!({ "type": "string", "enum": ["male", "female", "diverse"] })),
                ("office", json!({ "type": "string" })),
                ("twin", json!({ "type": "boolean" })),
                ("weight", json!({ "type": "integer" })),
            ],
        ),
        evidence_type(
            "income",
            1,
            &[
                ("gross", json!({ "type": "number" })),
                ("nationalities", json!({ "type": "array", "items": { "type": "string" } })),
                (
                    "months",
                    json!({ "type": "array", "items": { "type": "object",
                        "required": ["month"], "properties": {
                            "month": { "type": "string", "format": "date" },
                            "gross": { "type": "number" },
                            "currency": { "type": "string" },
                        } } }),
                ),
            ],
        ),
    ]
}

fn by_idnr(idnr: &str, birth_date: &str) -> PersonQuery {
    PersonQuery::Idnr { idnr: idnr.into(), birth_date: birth_date.into() }
}

fn by_names(family_name: &str, given_names: &str, birth_date: &str) -> PersonQuery {
    PersonQuery::Names {
        family_name: family_name.into(),
        given_names: given_names.into(),
        birth_date: birth_date.into(),
    }
}

fn by_residence(name: &str, postcode: &str, place: &str, birth_date: &str) -> PersonQuery {
    PersonQuery::Residence {
        family_name: name.into(),
        postcode: postcode.into(),
        place: place.into(),
        birth_date: birth_date.into(),
    }
}

async fn ask(
    register: &ConfiguredRegister,
    evidence_type: &str,
    fields: &[&str],
    person: PersonQuery,
) -> Result<Answer, RegisterFault> {
    let fields = fields.iter().map(|field| (*field).to_owned()).collect();
    register.retrieve(&Query { person, evidence_type: evidence_type.into(), fields }).await
}

/// The one person who must be found.
async fn found(
    register: &ConfiguredRegister,
    evidence_type: &str,
    fields: &[&str],
    person: PersonQuery,
) -> Found {
    match ask(register, evidence_type, fields, person).await.unwrap() {
        Answer::Found(found) => found,
        Answer::Nothing => panic!("nothing"),
        Answer::Ambiguous => panic!("ambiguous"),
    }
}

fn values(found: &Found) -> Value {
    json!(found.values)
}
