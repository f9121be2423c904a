// SPDX-License-Identifier: EUPL-1.2
//! All files as they stand at one moment, PostgreSQL's own among them, and the bodies that the
//! databases in them show.

use std::{collections::BTreeSet, path::Path};

use einmal_protocol::{
    Digest,
    leaf::{LEAF_LENGTH, Leaf},
    time::day_to_iso,
};
use einmal_test_servers::Postgres;
use sqlx::{PgPool, Row, SqlitePool};

use super::thief::{Files, seals_of};

const INDEX: &str = "cockpit/state/index.sqlite";
const LEDGER: &str = "broker/ledger.sqlite";
/// Bytes of a seal that are looked for in raw files, and how far apart they begin.
const PIECE: usize = 32;
const PIECES_APART: usize = 128;

/// What was stolen.
pub(super) struct Theft {
    /// Every file, those of PostgreSQL below `postgres/`.
    pub(super) files: Files,
    /// Bodies that the keeper's index has.
    pub(super) of_keeper: BTreeSet<Vec<u8>>,
    /// Bodies that the ledger has.
    pub(super) of_ledger: BTreeSet<Vec<u8>>,
    /// A copy of PostgreSQL with its files as they were, never started.
    pub(super) server: Option<Postgres>,
}

impl Theft {
    /// Steals what lies in a world's folder, and the whole folder of its PostgreSQL.
    pub(super) async fn of(folder: &Path, server: Option<&Postgres>) -> Self {
        if let Some(server) = server {
            // A server that runs on does this by itself: samples of values go into its statistics,
            // all that it knows into its tables' files; and what it has dropped leaves them.
            server.ask("ANALYZE");
            server.ask("CHECKPOINT");
        }
        let copy = server.map(Postgres::copy);
        let mut files = Files::below(folder);
        if let Some(copy) = &copy {
            files = files.and("postgres", Files::below(copy.folder()));
        }
        let stolen = folder.join("stolen");
        files.write(&[INDEX, LEDGER], &stolen);
        let of_keeper = bodies_of_keeper(&stolen).await;
        let of_ledger = match &copy {
            Some(copy) => {
                // What starts is a copy of the copy, for a server that starts changes its files.
                let mut opened = copy.copy();
                opened.restart();
                bodies_of_postgres(&opened).await
            }
            None => bodies_of_sqlite(&files, &stolen).await,
        };
        std::fs::remove_dir_all(stolen).unwrap();
        Self { files, of_keeper, of_ledger, server: copy }
    }

    /// Pieces of all seals: short, for PostgreSQL cuts values into chunks and its log into pages.
    pub(super) fn pieces(&self) -> Vec<Vec<u8>> {
        let seals = self.of_ledger.iter().flat_map(|body| seals_of(body));
        // A seal begins with the name of its key, which stands elsewhere too.
        let ciphertexts = seals.map(|(_, _, sealed)| sealed[sealed.len() / 4..].to_vec());
        let pieces = ciphertexts.flat_map(|sealed| {
            let pieces = sealed.windows(PIECE).step_by(PIECES_APART);
            pieces.map(<[u8]>::to_vec).collect::<Vec<_>>()
        });
        pieces.collect()
    }
}

async fn bodies_of_keeper(stolen: &Path) -> BTreeSet<Vec<u8>> {
    let index = sqlite(stolen, INDEX).await;
    let rows = sqlx::query("SELECT body FROM bodies WHERE body IS NOT NULL");
    let rows = rows.fetch_all(&index).await.unwrap();
    index.close().await;
    rows.iter().map(|row| row.get(0)).collect()
}

async fn bodies_of_sqlite(files: &Files, stolen: &Path) -> BTreeSet<Vec<u8>> {
    let mut bodies = BTreeSet::new();
    let ledger = sqlite(stolen, LEDGER).await;
    for row in sqlx::query("SELECT bytes FROM leaf").fetch_all(&ledger).await.unwrap() {
        // A leaf, then where its body begins in the file of its day, and how long it is.
        let bytes: Vec<u8> = row.get(0);
        let leaf = Leaf::parse(&bytes[..LEAF_LENGTH]).unwrap();
        let at = usize::try_from(u64::from_be_bytes(bytes[38..46].try_into().unwrap())).unwrap();
        let length = u32::from_be_bytes(bytes[46..50].try_into().unwrap()) as usize;
        let segment = format!("{LEDGER}-bodies/{}.bodies", day_to_iso(leaf.day));
        if let Some(body) = files.0.get(&segment).and_then(|file| file.get(at..at + length)) {
            assert_eq!(Digest::of(body), leaf.body, "{segment}");
            bodies.insert(body.to_vec());
        }
    }
    ledger.close().await;
    bodies
}

/// Every body that a server shows.
pub(super) async fn bodies_of_postgres(server: &Postgres) -> BTreeSet<Vec<u8>> {
    let ledger = PgPool::connect(&server.url()).await.unwrap();
    let rows = sqlx::query("SELECT bytes FROM einmal.body").fetch_all(&ledger).await.unwrap();
    ledger.close().await;
    rows.iter().map(|row| row.get(0)).collect()
}

async fn sqlite(stolen: &Path, path: &str) -> SqlitePool {
    let url = format!("sqlite://{}", stolen.join(path).display());
    SqlitePool::connect(&url).await.unwrap()
}
