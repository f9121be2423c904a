// SPDX-License-Identifier: EUPL-1.2
//! A published log over HTTP, as an auditor meets it: a web server with files, a folder, and one
//! bit changed on the way.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
};

use einmal_ledger::{ForeignError, TilePath};
use einmal_protocol::{
    key::SigningKey,
    merkle::{Edge, leaf_hash},
    note::{Checkpoint, LedgerKey},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};

const ORIGIN: &str = "log.example/1";

/// Serves a folder, one request after the other on each connection.
async fn serve(folder: PathBuf) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (mut tcp, _) = listener.accept().await.unwrap();
            let folder = folder.clone();
            tokio::spawn(async move {
                let mut head = [0; 4096];
                while let Ok(read @ 1..) = tcp.read(&mut head).await {
                    let text = String::from_utf8_lossy(&head[..read]).into_owned();
                    let path = text.split(' ').nth(1).unwrap_or_default();
                    let (status, body) = match std::fs::read(folder.join(&path[1..])) {
                        Ok(body) => ("200 OK", body),
                        Err(_) => ("404 Not Found", Vec::new()),
                    };
                    let head =
                        format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\n\r\n", body.len());
                    tcp.write_all(&[head.as_bytes(), &body].concat()).await.unwrap();
                }
            });
        }
    });
    address
}

/// A log of 300 entries in a folder.
fn write_log(folder: &Path) -> LedgerKey {
    let key = SigningKey::from_seed(&[5; 32]).unwrap();
    let entries: Vec<Vec<u8>> = (0..300u32).map(|n| n.to_string().into_bytes()).collect();
    let mut edge = Edge::default();
    let mut first = Edge::default();
    entries.iter().for_each(|entry| edge.push(leaf_hash(entry)));
    entries[..256].iter().for_each(|entry| first.push(leaf_hash(entry)));
    let write = |level, index, width, bytes: Vec<u8>| {
        let path = folder.join(format!("tile/{}", TilePath { level, index, width }));
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
    };
    for (index, bundle) in (0..).zip(entries.chunks(256)) {
        let hashes = bundle.iter().flat_map(|entry| leaf_hash(entry).to_vec()).collect();
        write(Some(0), index, bundle.len(), hashes);
        let entries = bundle
            .iter()
            .flat_map(|entry| [&(entry.len() as u16).to_be_bytes()[..], entry].concat())
            .collect();
        write(None, index, bundle.len(), entries);
    }
    write(Some(1), 0, 1, first.root().to_vec());
    let note = Checkpoint::sign(ORIGIN, 300, edge.root(), &key).unwrap();
    std::fs::write(folder.join("checkpoint"), note.note()).unwrap();
    LedgerKey::new(ORIGIN, key.public().clone()).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_is_verified_over_http_and_in_a_folder() {
    let folder = std::env::temp_dir().join(format!("einmal-published-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let key = write_log(&folder);
    let url = format!("http://{}/", serve(folder.clone()).await);
    let report = einmal::foreign::verify(&url, &key, &mut |_, _| {}).await.unwrap();
    assert_eq!((report.entries, report.entries_from, report.tiles), (300, 0, 3));
    let path = folder.to_str().unwrap();
    assert_eq!(einmal::foreign::verify(path, &key, &mut |_, _| {}).await.unwrap(), report);
    let changed = folder.join("tile/entries/001.p/44");
    let mut bytes = std::fs::read(&changed).unwrap();
    bytes[40] ^= 1;
    std::fs::write(&changed, &bytes).unwrap();
    let refused = einmal::foreign::verify(&url, &key, &mut |_, _| {}).await.unwrap_err();
    assert!(matches!(refused, ForeignError::Broken { .. }), "{refused}");
    let silent = einmal::foreign::verify("http://127.0.0.1:1", &key, &mut |_, _| {}).await;
    assert!(matches!(silent, Err(ForeignError::Source { .. })), "{silent:?}");
    std::fs::remove_dir_all(&folder).unwrap();
}
