// SPDX-License-Identifier: EUPL-1.2
//! The demo's registers on real PostgreSQL, MariaDB and a REST service, beside SQLite and CSV: the
//! whole application gets the same values as from the demo's own files.

use std::{collections::BTreeMap, fs, path::Path, sync::Arc};

use einmal::{adapter, demo::application};
use einmal_protocol::wire::v1::Outcome;
use einmal_test_servers::{MariaDb, Postgres, WebReply, WebServer};
use serde_json::{Map, Value, json};
use sqlx::{AssertSqlSafe, Connection, Row, SqliteConnection, sqlite::SqliteConnectOptions};

use crate::world::World;

const ON_POSTGRES: [&str; 3] =
    ["meldebehoerde-bremen", "rentenversicherung-nord", "auslaenderbehoerde-bremen"];
const ON_MARIADB: [&str; 2] = ["krankenkasse-nord", "arbeitgeber-lohn"];
const ON_REST: &str = "bzst";

/// A table of an SQLite database: its columns with their types, and its rows as SQL literals.
struct Table {
    name: String,
    columns: Vec<(String, String)>,
    rows: Vec<Vec<String>>,
}

async fn tables(file: &Path) -> Vec<Table> {
    let options = SqliteConnectOptions::new().filename(file).read_only(true);
    let mut connection = SqliteConnection::connect_with(&options).await.unwrap();
    let names = sqlx::query("SELECT name FROM sqlite_schema WHERE type = 'table'");
    let mut tables = Vec::new();
    for name in names.fetch_all(&mut connection).await.unwrap() {
        let name: String = name.get(0);
        let info = AssertSqlSafe(format!("SELECT name, type FROM pragma_table_info('{name}')"));
        let info = sqlx::query(info).fetch_all(&mut connection).await.unwrap();
        let columns: Vec<(String, String)> = info.iter().map(|c| (c.get(0), c.get(1))).collect();
        let quoted: Vec<String> =
            columns.iter().map(|(name, _)| format!("quote({name})")).collect();
        let sql = AssertSqlSafe(format!("SELECT {} FROM {name}", quoted.join(", ")));
        let rows = sqlx::query(sql).fetch_all(&mut connection).await.unwrap();
        let cells =
            |row: &sqlx::sqlite::SqliteRow| (0..columns.len()).map(|n| row.get(n)).collect();
        let rows = rows.iter().map(cells).collect();
        tables.push(Table { name, columns, rows });
    }
    tables
}

impl Table {
    /// CREATE and INSERT for a server, with its names for SQLite's types.
    fn sql(&self, types: &[(&str, &str)]) -> String {
        let of = |kind: &str| types.iter().find(|(old, _)| *old == kind).map_or("", |(_, new)| new);
        let columns: Vec<String> =
            self.columns.iter().map(|(name, kind)| format!("{name} {}", of(kind))).collect();
        let rows: Vec<String> =
            self.rows.iter().map(|row| format!("({})", row.join(", "))).collect();
        let name = &self.name;
        format!(
            "CREATE TABLE {name} ({}); INSERT INTO {name} VALUES {}; ",
            columns.join(", "),
            rows.join(", ")
        )
    }

    /// The rows as a service would write them.
    fn json(&self) -> Value {
        let cell = |text: &String| match text.strip_prefix('\'').and_then(|t| t.strip_suffix('\''))
        {
            Some(text) => json!(text.replace("''", "'")),
            None => serde_json::from_str(&text.to_lowercase()).unwrap(),
        };
        let names = self.columns.iter().map(|(name, _)| name.clone());
        let entry = |row: &Vec<String>| {
            names.clone().zip(row.iter().map(cell)).collect::<Map<String, Value>>()
        };
        json!({ "treffer": self.rows.iter().map(entry).collect::<Vec<_>>() })
    }
}

/// Lets a register's file name another source than the SQLite database that it was written for.
fn move_to(folder: &Path, register: &str, source: &str) {
    let file = folder.join(format!("registers/{register}.toml"));
    let text = fs::read_to_string(&file).unwrap();
    let own = format!("kind = \"sqlite\"\npath = \"{register}.db\"");
    assert!(text.contains(&own), "{register}");
    fs::write(&file, text.replace(&own, source)).unwrap();
    fs::remove_file(folder.join(format!("registers/{register}.db"))).unwrap();
}

async fn to_postgres(folder: &Path, server: &Postgres) {
    let types = [("TEXT", "text"), ("INTEGER", "bigint"), ("REAL", "double precision")];
    server.ask("CREATE ROLE reader LOGIN");
    for register in ON_POSTGRES {
        let database = register.replace('-', "_");
        server.ask(&format!("CREATE DATABASE {database}"));
        for table in tables(&folder.join(format!("registers/{register}.db"))).await {
            let grant = format!("GRANT SELECT ON {} TO reader", table.name);
            server.ask_in(&database, &(table.sql(&types) + &grant));
        }
        let url = format!("postgres://reader@127.0.0.1:{}/{database}", server.port());
        move_to(folder, register, &format!("kind = \"postgres\"\nurl = \"{url}\""));
    }
}

async fn to_mariadb(folder: &Path, server: &MariaDb) {
    let types = [("TEXT", "VARCHAR(100)"), ("INTEGER", "BIGINT"), ("REAL", "DOUBLE")];
    server.ask("CREATE USER reader@'127.0.0.1'; GRANT SELECT ON test.* TO reader@'127.0.0.1'");
    for register in ON_MARIADB {
        for table in tables(&folder.join(format!("registers/{register}.db"))).await {
            server.ask(&table.sql(&types));
        }
        let url = format!("mariadb://reader@127.0.0.1:{}/test", server.port());
        move_to(folder, register, &format!("kind = \"mariadb\"\nurl = \"{url}\""));
    }
}

/// The service answers everybody whom it knows; who fits is the adapter's own affair.
async fn to_rest(folder: &Path) -> WebServer {
    let own = tables(&folder.join(format!("registers/{ON_REST}.db"))).await;
    let [table] = own.as_slice() else { panic!("one table") };
    let answer = table.json().to_string();
    let server = WebServer::start(move |_| WebReply::json(answer.clone()), None).await;
    let url = format!(
        "kind = \"rest\"\nurl = \"{}/suche\"\nrows = \"/treffer\"\nidempotent = true\n\
         body = {{ idnr = \"{{idnr}}\", geburtstag = \"{{birth_date}}\" }}",
        server.url()
    );
    move_to(folder, ON_REST, &url);
    // There columns are pointers.
    let file = folder.join(format!("registers/{ON_REST}.toml"));
    let mut text = fs::read_to_string(&file).unwrap().replace("table = \"elstam\"\n", "");
    for (name, _) in &table.columns {
        text = text.replace(&format!("= \"{name}\""), &format!("= \"/{name}\""));
    }
    fs::write(&file, text.replace("name = \"/elstam\"", "name = \"elstam\"")).unwrap();
    server
}

/// What the whole application is answered, by evidence type.
async fn application(world: &World) -> BTreeMap<&'static str, BTreeMap<String, Value>> {
    let client = Arc::new(world.house.client().await.unwrap_or_else(|exit| panic!("{exit}")));
    let lines = application::apply(&client, &world.house.plan.town, |_, _| ()).await;
    let values = |line: application::Line| {
        let received = line.answer.unwrap_or_else(|error| panic!("{}: {error}", line.register));
        assert_eq!(received.outcome, Outcome::Found, "{}", line.register);
        (line.evidence_type, received.values)
    };
    lines.unwrap_or_else(|exit| panic!("{exit}")).into_iter().map(values).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_demos_registers_answer_the_same_from_real_servers() {
    let (Some(postgres), Some(mariadb)) = (Postgres::start(), MariaDb::start()) else { return };
    let mut world = World::start().await;
    let from_files = application(&world).await;
    assert_eq!(from_files.len(), 17);

    for adapter in std::mem::take(&mut world.house.adapters) {
        adapter.stop().await;
    }
    let folder = world.folder.path().to_owned();
    to_postgres(&folder, &postgres).await;
    to_mariadb(&folder, &mariadb).await;
    let service = to_rest(&folder).await;
    for config in &world.house.plan.adapters {
        let adapter = adapter::start(config, world.clock()).await;
        world.house.adapters.push(adapter.unwrap_or_else(|exit| panic!("{exit}")));
    }
    world.house.ready().await.unwrap_or_else(|exit| panic!("{exit}"));

    assert_eq!(application(&world).await, from_files);
    assert!(!service.seen().is_empty());
    world.house.stop().await;
}
