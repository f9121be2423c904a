// SPDX-License-Identifier: EUPL-1.2
//! What only database servers have: accounts, encodings, types, limits, TLS.

use std::time::{Duration, Instant};

use einmal_test_servers::{MariaDb, Postgres};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};

use super::{
    backends::{Backend, LETTERS},
    *,
};

const BIRTH: &str = "birth-certificate";
const DAY: &str = "1990-02-28";

/// A register of one table, with these columns of its fields.
fn config(source: &str, table: &str, fields: &str) -> String {
    format!(
        "[[sources]]\nname = \"s\"\n{source}\ntimeout_ms = 600\n[[evidence]]\n\
         type = \"birth-certificate\"\nsource = \"s\"\ntable = \"{table}\"\n\
         absent = [\"birth_date\", \"sex\", \"office\", \"twin\", \"weight\"]\n[evidence.match]\n\
         idnr = \"idnr\"\nbirth_date = \"born\"\n[evidence.subject]\nidnr = \"idnr\"\n\
         [evidence.fields]\n{fields}\n"
    )
}

const NAME: &str = "family_name = { column = \"name\" }";

async fn mistake(folder: &Folder, config: &str) -> String {
    let mistakes = folder.open(config).await.expect_err("it must not open");
    mistakes.iter().map(|mistake| format!("{mistake}\n")).collect()
}

async fn name_of_anna(folder: &Folder, config: &str) -> Value {
    let register = folder.open(config).await.unwrap();
    let anna = found(&register, BIRTH, &["family_name"], by_idnr(ANNA, DAY)).await;
    anna.values.get("family_name").cloned().unwrap_or_default()
}

/// The statement between "run: " and the end.
fn advice(mistake: &str) -> String {
    let (_, advice) = mistake.split_once("run: ").expect(mistake);
    advice.lines().next().unwrap().split(", and from").next().unwrap().to_owned()
}

async fn soon(what: &str, mut holds: impl FnMut() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < Duration::from_secs(8), "waited in vain for {what}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

pub(super) async fn accounts_that_may_write_are_refused(backend: &Backend) {
    let (grant, owner, reader) = match backend {
        Backend::Postgres(..) => {
            ("GRANT UPDATE (sex) ON person TO einmal_reader", "postgres", "einmal_reader")
        }
        _ => (
            "GRANT DELETE ON test.pay TO einmal_reader@'127.0.0.1'",
            "root",
            "einmal_reader@'127.0.0.1'",
        ),
    };
    backend.open().await;
    let open = async |user: &str| {
        let mistakes = backend.open_with(&backend.config(user, 900)).await.err();
        mistakes.iter().flatten().map(|mistake| format!("{mistake}\n")).collect::<String>()
    };
    let refused = open(owner).await;
    assert!(refused.contains("may write to `person`"), "{refused}");
    backend.sql(grant).await;
    let refused = open("einmal_reader").await;
    assert!(refused.contains("REVOKE") && refused.contains("einmal_reader"), "{refused}");
    backend.sql(&advice(&refused)).await;
    assert_eq!(open("einmal_reader").await, "");
    // By a role is no less than by itself.
    if let Backend::MariaDb(..) = backend {
        backend
            .sql(
                "CREATE ROLE writer; GRANT INSERT ON test.person TO writer; \
                     GRANT writer TO einmal_reader@'127.0.0.1'; \
                     SET DEFAULT ROLE writer FOR einmal_reader@'127.0.0.1'",
            )
            .await;
        let refused = open("einmal_reader").await;
        assert!(refused.contains("may write to `person`"), "{refused}");
        backend.sql("DROP ROLE writer").await;
    }
    // Nor one that may not read.
    let table = if reader == "einmal_reader" { "pay" } else { "test.pay" };
    backend.sql(&format!("REVOKE SELECT ON {table} FROM {reader}")).await;
    let refused = open("einmal_reader").await;
    assert!(refused.contains("pay"), "{refused}");
    backend.sql(&format!("GRANT SELECT ON {table} TO {reader}")).await;
}

#[tokio::test]
async fn postgres_encodings_types_and_limits() {
    let Some(server) = Postgres::start() else { return };
    let folder = Folder::new();
    let url = |database: &str| {
        let port = server.port();
        format!("kind = \"postgres\"\nurl = \"postgres://reader@127.0.0.1:{port}/{database}\"")
    };
    server.ask("CREATE ROLE reader LOGIN");
    for (database, encoding) in [("latin", "LATIN1"), ("ascii", "SQL_ASCII")] {
        let options = "TEMPLATE template0 LC_COLLATE 'C' LC_CTYPE 'C'";
        server.ask(&format!("CREATE DATABASE {database} ENCODING '{encoding}' {options}"));
    }
    server.ask(
        "CREATE TABLE t (idnr bpchar(13), born timestamp, name bytea, moved timestamptz, \
         tags text[], price float8, id uuid); \
         INSERT INTO t VALUES ('86095742719', '1990-02-28 23:59:59', '\\xff00', \
         '2024-01-31 23:30:00+00', '{a,\"b,c\"}', 1e20, gen_random_uuid()); \
         CREATE VIEW slow AS SELECT t.*, pg_sleep(20)::text AS slept FROM t; \
         GRANT SELECT ON t, slow TO reader",
    );
    let refused = mistake(&folder, &config(&url("ascii"), "t", NAME)).await;
    assert!(refused.contains("SQL_ASCII"), "{refused}");
    let refused = mistake(&folder, &config(&url("nowhere"), "t", NAME)).await;
    assert!(refused.contains("no such database"), "{refused}");

    latin_1(&server, &folder).await;

    // Bytes are no text, and no crash.
    let bytes = config(&url("postgres"), "t", NAME);
    let register = folder.open(&bytes).await.unwrap();
    let answer = ask(&register, BIRTH, &["family_name"], by_idnr(ANNA, DAY)).await;
    assert!(matches!(answer, Err(RegisterFault::Value { .. })), "{answer:?}");
    for (column, value) in [
        ("moved", json!("2024-02-01 00:30:00+01")),
        ("price", json!("100000000000000000000")),
        ("tags", json!("[\"a\",\"b,c\"]")),
    ] {
        let config = bytes.replace("\"name\"", &format!("\"{column}\""));
        assert_eq!(name_of_anna(&folder, &config).await, value, "{column}");
    }

    // The server ends what takes too long, and the connection stays of use.
    let slow = config(&url("postgres"), "slow", &NAME.replace("\"name\"", "\"slept\""));
    let register = folder.open(&slow).await.unwrap();
    let start = Instant::now();
    for _ in 0..3 {
        let answer = ask(&register, BIRTH, &["family_name"], by_idnr(ANNA, DAY)).await;
        let Err(RegisterFault::Source { problem, .. }) = answer else { panic!("no fault") };
        assert!(problem.contains("`timeout_ms`"), "{problem}");
    }
    assert!(start.elapsed() < Duration::from_secs(5));
    let others = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%slow%' \
                  AND state = 'active' AND pid <> pg_backend_pid()";
    soon("the server to end it", || server.ask(others) == "0").await;
}

async fn latin_1(server: &Postgres, folder: &Folder) {
    let sql = "CREATE TABLE t (idnr text, born date, name text); \
               INSERT INTO t VALUES ('86095742719', '1990-02-28', 'Großmüller-Æñÿ'); \
               GRANT SELECT ON t TO reader";
    server.ask_in("latin", sql);
    let port = server.port();
    let keys = format!(
        "kind = \"postgres\"\nhost = \"127.0.0.1\"\nport = {port}\ndatabase = \"latin\"\n\
         user = \"reader\""
    );
    let config = config(&keys, "t", NAME);
    assert_eq!(name_of_anna(folder, &config).await, json!("Großmüller-Æñÿ"));
    // A letter that the database cannot have is in nobody's name there.
    let names = config.replace(
        "birth_date = \"born\"",
        "birth_date = \"born\"\nfamily_name = \"name\"\ngiven_names = \"name\"",
    );
    let register = folder.open(&names).await.unwrap();
    let answer = ask(&register, BIRTH, &[], by_names(LETTERS, LETTERS, DAY)).await;
    assert!(matches!(answer, Ok(Answer::Nothing)), "{answer:?}");
}

#[tokio::test]
async fn mariadb_encodings_types_and_limits() {
    let Some(server) = MariaDb::start() else { return };
    let folder = Folder::new();
    let port = server.port();
    let url = format!("kind = \"mysql\"\nurl = \"mysql://reader@127.0.0.1:{port}/test\"");
    server.ask(
        "CREATE TABLE latin (idnr VARCHAR(11), born VARCHAR(10), name VARCHAR(50), key i (born)) \
         CHARACTER SET latin1; \
         INSERT INTO latin VALUES ('86095742719', '1990-02-28', 'Großmüller-Æñÿ€'); \
         CREATE TABLE t (idnr BIGINT UNSIGNED, born DATETIME, name VARBINARY(9), flag BIT(3), \
         big BIGINT UNSIGNED, half DOUBLE, zero DATE); \
         SET sql_mode = ''; \
         INSERT INTO t VALUES (86095742719, '1990-02-28 23:59:59', 0xff00, b'101', \
         18446744073709551615, 0.5, '0000-00-00'); \
         CREATE VIEW slow AS SELECT t.*, SLEEP(20) AS slept FROM t; \
         CREATE USER reader@'127.0.0.1'; GRANT SELECT ON test.* TO reader@'127.0.0.1'",
    );
    let latin = config(&url, "latin", NAME);
    assert_eq!(name_of_anna(&folder, &latin).await, json!("Großmüller-Æñÿ€"));

    let bytes = config(&url, "t", NAME);
    let register = folder.open(&bytes).await.unwrap();
    let answer = ask(&register, BIRTH, &["family_name"], by_idnr(ANNA, DAY)).await;
    assert!(matches!(answer, Err(RegisterFault::Value { .. })), "{answer:?}");
    for (column, value) in [
        ("flag", json!("5")),
        ("big", json!("18446744073709551615")),
        ("half", json!("0.5")),
        ("zero", json!("0000-00-00")),
        ("born", json!("1990-02-28 23:59:59")),
    ] {
        let config = bytes.replace("\"name\"", &format!("\"{column}\""));
        assert_eq!(name_of_anna(&folder, &config).await, value, "{column}");
    }

    let slow = config(&url, "slow", &NAME.replace("\"name\"", "\"slept\""));
    let register = folder.open(&slow).await.unwrap();
    let start = Instant::now();
    for _ in 0..3 {
        let answer = ask(&register, BIRTH, &["family_name"], by_idnr(ANNA, DAY)).await;
        let Err(RegisterFault::Source { problem, .. }) = answer else { panic!("no fault") };
        assert!(problem.contains("`timeout_ms`"), "{problem}");
    }
    assert!(start.elapsed() < Duration::from_secs(5));
    let running = "SELECT count(*) FROM information_schema.PROCESSLIST \
                   WHERE USER = 'reader' AND COMMAND <> 'Sleep'";
    soon("the server to end it", || server.ask(running) == "0").await;

    // A column that became a date overnight: found again, never "nothing" for good.
    let register = folder.open(&latin).await.unwrap();
    let anna = || by_idnr(ANNA, DAY);
    found(&register, BIRTH, &["family_name"], anna()).await;
    server.ask("ALTER TABLE latin MODIFY born DATE");
    tokio::time::sleep(Duration::from_millis(5_100)).await;
    found(&register, BIRTH, &["family_name"], anna()).await;
}

pub(super) async fn an_index_on_the_birth_date_is_used(backend: &Backend) {
    let (many, used) = match backend {
        Backend::Postgres(..) => (
            "INSERT INTO person (id, born) SELECT n, date '1900-01-01' + n % 30000 \
             FROM generate_series(100000, 160000) n; ANALYZE person",
            "SELECT idx_scan > 0 FROM pg_stat_user_indexes WHERE indexrelname = 'person_born'",
        ),
        _ => (
            "SET GLOBAL userstat = 1; INSERT INTO person (id, born) \
             SELECT seq, DATE '1900-01-01' + INTERVAL seq % 30000 DAY \
             FROM seq_100000_to_120000; ANALYZE TABLE person",
            "SELECT IF(COUNT(*) > 0, 't', 'f') FROM information_schema.INDEX_STATISTICS \
             WHERE TABLE_NAME = 'person' AND INDEX_NAME = 'person_born'",
        ),
    };
    backend.sql(many).await;
    let register = backend.open().await;
    for _ in 0..10 {
        found(&register, BIRTH, &["family_name"], by_idnr(ANNA, DAY)).await;
    }
    // A connection that ends leaves its counts.
    drop(register);
    soon("the index to be used", || match backend {
        Backend::Postgres(_, server) => server.ask(used) == "t",
        Backend::MariaDb(_, server) => server.ask(used) == "t",
        Backend::Csv(_) | Backend::Sqlite(_) => false,
    })
    .await;
    backend.sql("DELETE FROM person WHERE id >= 100000").await;
}

#[tokio::test]
async fn garbage_silence_and_resets_end_in_time() {
    for kind in ["postgres", "mysql"] {
        for answer in [
            None,
            Some(&b""[..]),
            Some(b"HTTP/1.1 400 Bad Request\r\n\r\n"),
            Some(&[0xff; 64]),
            Some(&[0; 64]),
            Some(b"N"),
            // Says that two gigabytes follow.
            Some(b"R\x7f\xff\xff\xff\0\0\0\0"),
            Some(b"\xff\xff\xff\0\x0a5.5"),
        ] {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let port = listener.local_addr().unwrap().port();
            let server = tokio::spawn(async move {
                let mut open = Vec::new();
                while let Ok((mut stream, _)) = listener.accept().await {
                    let Some(answer) = answer else {
                        open.push(stream);
                        continue;
                    };
                    if kind == "postgres" {
                        let _asked = stream.read(&mut [0; 64]).await;
                    }
                    let _said = stream.write_all(answer).await;
                }
            });
            let keys = format!(
                "kind = \"{kind}\"\nurl = \"{kind}://u@127.0.0.1:{port}/d\"\n\
                 connect_timeout_ms = 300"
            );
            let start = Instant::now();
            let refused = mistake(&Folder::new(), &config(&keys, "t", NAME)).await;
            assert!(refused.contains(": sources.s: "), "{refused}");
            assert!(start.elapsed() < Duration::from_secs(3), "{answer:?}");
            server.abort();
        }
    }
}

#[tokio::test]
async fn keys_of_servers() {
    let folder = Folder::new();
    let mode = |name: &str, mode: u32| {
        use std::os::unix::fs::PermissionsExt;
        std::fs::write(folder.path(name), "secret\n").unwrap();
        let mode = std::fs::Permissions::from_mode(mode);
        std::fs::set_permissions(folder.path(name), mode).unwrap();
    };
    mode("open", 0o644);
    mode("closed", 0o600);
    let url = "url = \"postgres://u@127.0.0.1:1/d\"";
    for (keys, at) in [
        ("", "sources.s.host"),
        ("host = \"h\"", "sources.s.database"),
        ("host = \"h\"\ndatabase = \"d\"", "sources.s.user"),
        ("url = \"postgres://u:secret@h/d\"", "sources.s.url"),
        ("url = \"postgres://u@h/d?sslmode=disable\"", "sources.s.url"),
        ("url = \"mysql://u@h/d\"", "sources.s.url"),
        ("url = \"postgres://u@h/d\"\nuser = \"v\"", "sources.s.user"),
        ("url = \"postgres://u@h/d\"\nport = 7", "sources.s.port"),
        (&format!("{url}\npassword_file = \"open\""), "sources.s.password_file: others may read"),
        (&format!("{url}\npassword_file = \"none\""), "sources.s.password_file"),
        (&format!("{url}\npassword_env = \"EINMAL_TEST_UNSET\""), "sources.s.password_env"),
        (
            &format!("{url}\npassword_file = \"closed\"\npassword_env = \"HOME\""),
            "sources.s.password_env",
        ),
        (&format!("{url}\nauthorities = \"none.pem\""), "sources.s.authorities"),
        (&format!("{url}\nkey = \"closed\""), "sources.s.certificate"),
        (&format!("{url}\nconnections = 0"), "sources.s.connections"),
        (&format!("{url}\nconnect_timeout_ms = 0"), "sources.s.connect_timeout_ms"),
        (&format!("{url}\ntime_zone = \"x'; DROP\""), "sources.s.time_zone"),
        (&format!("{url}\nschema = \"a b\""), "sources.s.schema"),
        (&format!("{url}\npassword_file = \"closed\""), "sources.s: the connection failed"),
    ] {
        let keys = format!("kind = \"postgres\"\n{keys}");
        let refused = mistake(&folder, &config(&keys, "t", NAME)).await;
        assert!(refused.contains(at), "{keys}: {refused}");
        assert!(!refused.contains("secret"), "{refused}");
    }
}

#[tokio::test]
async fn tls_is_a_must_unless_the_server_is_here() {
    let Some(mut server) = Postgres::start() else { return };
    server.ask("CREATE TABLE t (idnr text, born date, name text)");
    server.ask("INSERT INTO t VALUES ('86095742719', '1990-02-28', 'Anna')");
    server.ask("CREATE ROLE reader LOGIN; GRANT SELECT ON t TO reader");
    let port = server.port();
    let url = format!("kind = \"postgres\"\nurl = \"postgres://reader@127.0.0.1:{port}/postgres\"");
    let folder = Folder::new();
    assert_eq!(name_of_anna(&folder, &config(&url, "t", NAME)).await, json!("Anna"));
    let Some(certificate) = server.encrypt() else { return };
    let trusting = format!("{url}\nauthorities = \"{}\"", certificate.display());
    assert_eq!(name_of_anna(&folder, &config(&trusting, "t", NAME)).await, json!("Anna"));
    server.restart_with(&[("ssl", "off")]);
    let refused = mistake(&folder, &config(&trusting, "t", NAME)).await;
    assert!(refused.contains("TLS"), "{refused}");
}

#[tokio::test]
async fn mariadb_is_believed_by_its_own_authority_alone() {
    let (Some(mut server), Some(mut other)) = (MariaDb::start(), Postgres::start()) else { return };
    server.ask("CREATE TABLE t (idnr VARCHAR(11), born DATE, name TEXT)");
    server.ask("INSERT INTO t VALUES ('86095742719', '1990-02-28', 'Anna')");
    server.ask("CREATE USER reader@'127.0.0.1'; GRANT SELECT ON test.t TO reader@'127.0.0.1'");
    let port = server.port();
    let url = format!("kind = \"mariadb\"\nurl = \"mysql://reader@127.0.0.1:{port}/test\"");
    let by =
        |path: &Path| config(&format!("{url}\nauthorities = \"{}\"", path.display()), "t", NAME);
    let (Some(own), Some(anothers)) = (server.encrypt(), other.encrypt()) else { return };
    // The account may come no other way, so what is read came over TLS.
    server.ask("ALTER USER reader@'127.0.0.1' REQUIRE SSL");
    let folder = Folder::new();
    assert_eq!(name_of_anna(&folder, &by(&own)).await, json!("Anna"));
    let refused = mistake(&folder, &by(&anothers)).await;
    assert!(refused.contains("sources.s"), "{refused}");
    server.decrypt();
    let refused = mistake(&folder, &by(&own)).await;
    assert!(refused.contains("TLS"), "{refused}");
}

/// The sample for servers, with the tables that belong to it, as a new operator would try it.
#[tokio::test]
async fn the_sample_works() {
    let (Some(postgres), Some(mariadb)) = (Postgres::start(), MariaDb::start()) else { return };
    let deploy = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy");
    let read = |name: &str| std::fs::read_to_string(deploy.join(name)).unwrap();
    let tables = read("config/register-server.sql");
    postgres.ask(&tables);
    postgres.ask("CREATE ROLE einmal_reader LOGIN; GRANT SELECT ON resident TO einmal_reader");
    mariadb.ask(&tables);
    mariadb.ask(
        "CREATE USER einmal_reader@'127.0.0.1' IDENTIFIED BY 'geheim'; \
         GRANT SELECT ON test.benefit TO einmal_reader@'127.0.0.1'",
    );
    let sample = read("config/register-server.toml")
        .replace("db.example:5432/residents", &format!("127.0.0.1:{}/postgres", postgres.port()))
        .replace("authorities = \"database-ca.pem\"", "")
        .replace("3306", &mariadb.port().to_string())
        .replace("database = \"maternity\"", "database = \"test\"")
        .replace("_ms = 400", "_ms = 4000");
    let folder = Folder::new();
    std::fs::write(folder.path("municipalities.csv"), read("config/municipalities.csv")).unwrap();
    for name in ["residents.password", "maternity.password"] {
        use std::os::unix::fs::PermissionsExt;
        std::fs::write(folder.path(name), "geheim\n").unwrap();
        let private = std::fs::Permissions::from_mode(0o600);
        std::fs::set_permissions(folder.path(name), private).unwrap();
    }
    #[derive(serde::Deserialize)]
    struct Rules {
        evidence_types: Vec<EvidenceType>,
    }
    let types: Rules = toml::from_str(&read("rules/evidence-types.toml")).unwrap();
    let config = SourcesConfig::parse(&sample).unwrap();
    let register = ConfiguredRegister::open(&config, &folder.0, &types.evidence_types);
    let register = register.await.unwrap();
    let fields = &["moved_in", "municipality_key", "place", "postcode"];
    let anna = found(&register, "residence-registration", fields, by_idnr(ANNA, DAY)).await;
    let expected = json!({ "moved_in": "2021-04-01", "municipality_key": "04011000",
        "place": "Bremen", "postcode": "28195" });
    assert_eq!(values(&anna), expected);
    let fields = &["benefit_from", "daily_amount", "total_amount"];
    let anna = found(&register, "maternity-benefit", fields, by_idnr(ANNA, DAY)).await;
    let expected = json!({ "benefit_from": "2024-03-01", "daily_amount": 13, "total_amount": 0 });
    assert_eq!(values(&anna), expected);
}
