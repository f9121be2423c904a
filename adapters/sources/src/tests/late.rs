// SPDX-License-Identifier: EUPL-1.2
//! Sources that do not answer at the start, and do later.

use std::{sync::Arc, time::Duration};

use einmal_test_servers::{MariaDb, Postgres};

use super::*;
use crate::open_or_later;

const DAY: &str = "1990-02-28";
const ROWS: &str = "CREATE TABLE t (idnr VARCHAR(11), born VARCHAR(10), name VARCHAR(20)); \
                    INSERT INTO t VALUES ('86095742719', '1990-02-28', 'Meier'); ";

fn config(kind: &str, port: u16, table: &str) -> String {
    format!(
        "[[sources]]\nname = \"db\"\nkind = \"{kind}\"\nhost = \"127.0.0.1\"\nport = {port}\n\
         database = \"test\"\nuser = \"reader\"\n[[evidence]]\ntype = \"birth-certificate\"\n\
         source = \"db\"\ntable = \"{table}\"\nabsent = [\"birth_date\", \"office\", \"sex\", \"twin\", \"weight\"]\n[evidence.match]\nidnr = \"idnr\"\n\
         birth_date = \"born\"\n[evidence.subject]\nidnr = \"idnr\"\n[evidence.fields]\n\
         family_name = {{ column = \"name\" }}\n"
    )
}

async fn late(folder: &Folder, config: &str) -> Result<Arc<dyn Register>, Vec<Mistake>> {
    let config = SourcesConfig::parse(config).unwrap();
    open_or_later("late", config, folder.0.clone(), &types()).await
}

/// It opens while the source is away, faults whoever is asked for, and answers once it is there.
async fn comes_later(config: &str, restart: impl FnOnce()) {
    let folder = Folder::new();
    let register = late(&folder, config).await.unwrap();
    let query = Query {
        person: by_idnr(ANNA, DAY),
        evidence_type: "birth-certificate".to_owned(),
        fields: vec!["family_name".to_owned()],
    };
    let answer = register.retrieve(&query).await;
    assert!(matches!(answer, Err(RegisterFault::Source { .. })), "{answer:?}");
    restart();
    for _ in 0..100 {
        if let Ok(Answer::Found(found)) = register.retrieve(&query).await {
            assert_eq!(found.values["family_name"], json!("Meier"));
            return;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("it was not opened");
}

#[tokio::test]
async fn a_postgres_that_is_away_is_opened_later() {
    let Some(mut server) = Postgres::start() else { return };
    server.ask("CREATE ROLE reader LOGIN");
    server.ask("CREATE DATABASE test");
    server.ask_in("test", &format!("{ROWS} GRANT SELECT ON t TO reader"));
    let port = server.port();
    // What is wrong for certain is said at once, although the server answers.
    let folder = Folder::new();
    let mistakes = late(&folder, &config("postgres", port, "no_table")).await.err().unwrap();
    assert!(mistakes.iter().all(|mistake| !mistake.away), "{mistakes:?}");
    server.kill();
    // Or does not.
    let wrong = config("postgres", port, "t").replace("family_name =", "no_field =");
    let mistakes = late(&folder, &wrong).await.err().unwrap();
    assert!(mistakes.iter().any(|mistake| mistake.at.contains("no_field")), "{mistakes:?}");
    comes_later(&config("postgres", port, "t"), || server.restart()).await;
}

#[tokio::test]
async fn a_mariadb_that_is_away_is_opened_later() {
    let Some(mut server) = MariaDb::start() else { return };
    let account = "CREATE USER reader@'127.0.0.1'; GRANT SELECT ON test.* TO reader@'127.0.0.1'";
    server.ask(&format!("{ROWS} {account}"));
    let port = server.port();
    server.kill();
    comes_later(&config("mariadb", port, "t"), || server.restart()).await;
}
