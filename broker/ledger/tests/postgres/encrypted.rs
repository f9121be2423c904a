// SPDX-License-Identifier: EUPL-1.2
//! Connections to the database are encrypted and the server is verified, by default.

use einmal_ledger::{PostgresOptions, PostgresStore};
use einmal_test_servers::Postgres;

use crate::fixture::{Model, ORIGIN};

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_proves_who_it_is_is_used_and_no_other() {
    let Some(mut server) = Postgres::start() else { return };
    let plain = |server: &Postgres| server.url().replace("?sslmode=disable", "");
    // It offers no TLS: nothing is sent to it, unless that is said.
    let refused = async |url: String| {
        let made = PostgresStore::create(PostgresOptions::new(&url).unwrap(), ORIGIN).await;
        made.err().expect(&url).to_string()
    };
    let url = format!("{}?sslmode=verify-full", plain(&server));
    let problem = refused(url).await;
    assert!(problem.to_lowercase().contains("tls"), "{problem}");

    let Some(certificate) = server.encrypt() else { return };
    let trusting = format!("sslrootcert={}", certificate.display());
    let verified = format!("{}?sslmode=verify-full&{trusting}", plain(&server));
    let store = PostgresStore::create(PostgresOptions::new(&verified).unwrap(), ORIGIN).await;
    let store = store.unwrap();
    let mut model = Model::new();
    model.append(&store, 3).await;
    let encrypted = "SELECT count(*) FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) \
                     WHERE ssl AND version = 'TLSv1.3' AND usename = 'postgres' AND pid <> pg_backend_pid()";
    assert_ne!(server.ask(encrypted), "0");

    // A server that nobody vouches for, and one that is vouched for under another name.
    let problem = refused(format!("{}?sslmode=verify-full", plain(&server))).await;
    assert!(problem.contains("certificate"), "{problem}");
    let elsewhere = verified.replace("@127.0.0.1:", "@localhost:");
    let problem = refused(elsewhere).await;
    assert!(problem.contains("certificate"), "{problem}");
}
