// SPDX-License-Identifier: EUPL-1.2
//! `einmal ledger verify <url or folder> --key <vkey>`: any log published as tlog-tiles.

use std::{
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use einmal_ledger::{
    DirSource, Fetching, ForeignError, ForeignReport, SourceError, TileSource, verify_tiles,
};
use einmal_peer::http::{HttpClient, HttpOptions};
use einmal_protocol::note::LedgerKey;

use crate::Exit;

const DEADLINE: Duration = Duration::from_secs(30);
const TELL_EVERY: Duration = Duration::from_secs(5);

/// A published log.
#[derive(clap::Args)]
pub struct Published {
    /// Verify a published log instead, ours or anybody's (c2sp.org/tlog-tiles): its URL, or a
    /// folder with its files. Needs --key and no configuration.
    #[arg(requires = "key", value_name = "URL or FOLDER")]
    log: Option<String>,
    /// The log's public key: name+hash+key.
    #[arg(long, requires = "log")]
    key: Option<String>,
}

impl Published {
    /// Verifies the log that was named; nothing where none was.
    ///
    /// # Errors
    /// Where it does not hold, or does not answer.
    pub async fn verify(&self, json: bool) -> Option<Result<(), Exit>> {
        let (log, key) = (self.log.as_ref()?, self.key.as_ref()?);
        Some(run(log, key, json).await)
    }
}

async fn run(log: &str, key: &str, json: bool) -> Result<(), Exit> {
    let key = LedgerKey::parse(key).map_err(|error| Exit::usage(format!("--key: {error}")))?;
    let began = Instant::now();
    let mut told = began;
    let report = verify(log, &key, &mut |done, of| {
        if told.elapsed() >= TELL_EVERY {
            told = Instant::now();
            eprintln!("einmal: {done} of {of} leaves");
        }
    })
    .await
    .map_err(|error| match error {
        ForeignError::Source { .. } => Exit::unavailable(format!("{log}: {error}")),
        _ => Exit::failed(format!("{log} does not hold: {error}")),
    })?;
    if json {
        println!("{}", to_json(&report));
    } else {
        println!("{}", to_text(&report, began.elapsed()));
    }
    Ok(())
}

/// Verifies a log by its URL or folder.
///
/// # Errors
/// At the first thing that does not hold.
pub async fn verify(
    log: &str,
    key: &LedgerKey,
    progress: &mut (dyn FnMut(u64, u64) + Send),
) -> Result<ForeignReport, ForeignError> {
    let source: Arc<dyn TileSource> = if log.starts_with("http://") || log.starts_with("https://") {
        Arc::new(UrlSource::new(log))
    } else {
        Arc::new(DirSource::new(Path::new(log)))
    };
    verify_tiles(source, key, progress).await
}

/// A log's files on a web server.
struct UrlSource {
    http: HttpClient,
    prefix: String,
}

impl UrlSource {
    fn new(prefix: &str) -> Self {
        let options = HttpOptions { deadline: DEADLINE, ..HttpOptions::default() };
        let prefix = prefix.trim_end_matches('/').to_owned();
        Self { http: HttpClient::new(options), prefix }
    }
}

impl TileSource for UrlSource {
    fn get<'a>(&'a self, path: &'a str, size_max: usize) -> Fetching<'a> {
        Box::pin(async move {
            let url = format!("{}/{path}", self.prefix);
            let answer = self.http.get(&url, size_max).await;
            let answer = answer.map_err(|error| SourceError(error.to_string()))?;
            match answer.status.as_u16() {
                200 => Ok(Some(answer.body)),
                404 | 410 => Ok(None),
                status => Err(SourceError(format!("the server answers with status {status}"))),
            }
        })
    }
}

fn to_json(report: &ForeignReport) -> serde_json::Value {
    let checkpoint = &report.checkpoint;
    serde_json::json!({
        "origin": checkpoint.origin(), "size": checkpoint.size(),
        "root": checkpoint.root().to_hex(), "entries": report.entries,
        "entries_from": report.entries_from, "einmal_leaves": report.own_leaves,
        "tiles": report.tiles, "pruned": report.pruned,
    })
}

fn to_text(report: &ForeignReport, took: Duration) -> String {
    let checkpoint = &report.checkpoint;
    let size = checkpoint.size();
    let entries = match report.entries_from {
        _ if size == 0 => "it is empty".to_owned(),
        0 => format!("all {} entries give their leaves", report.entries),
        from if from == size => "it serves no entries, only their hashes".to_owned(),
        from => format!("entries from {from} on give their leaves, those before are pruned"),
    };
    let pruned = match report.pruned {
        0 => String::new(),
        pruned => format!(", {pruned} leaves verified from hashes above them"),
    };
    format!(
        "{} holds: {size} leaves, root {}, signed by this key; {entries}; {} of them are Einmal \
         leaves; {} tiles{pruned}; {:.1} s",
        checkpoint.origin(),
        checkpoint.root(),
        report.own_leaves,
        report.tiles,
        took.as_secs_f64()
    )
}
