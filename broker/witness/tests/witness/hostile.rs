// SPDX-License-Identifier: EUPL-1.2
//! Bytes on the wire that no ledger sends.

use std::time::Duration;

use einmal_witness::{BODY_MAX, WitnessAnswer};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

use crate::fixture::{Folder, Tree, client};

/// The first line of the answer to some bytes, and whether the connection was closed after.
async fn send(address: std::net::SocketAddr, bytes: &[u8]) -> String {
    let mut tcp = TcpStream::connect(address).await.unwrap();
    // The server may answer and close before it has read everything.
    let _ = tcp.write_all(bytes).await;
    let mut answer = vec![0; 4096];
    let read = timeout(Duration::from_secs(15), tcp.read(&mut answer)).await.unwrap();
    let answer = String::from_utf8_lossy(&answer[..read.unwrap_or(0)]).into_owned();
    answer.lines().next().unwrap_or_default().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn each_is_refused_and_the_witness_goes_on() {
    let folder = Folder::new();
    let running = folder.start().await;
    let at = running.address;
    let post = |length: usize, body: &str| {
        format!(
            "POST /add-checkpoint HTTP/1.1\r\nHost: w\r\nContent-Length: {length}\r\n\r\n{body}"
        )
    };
    let large = BODY_MAX + 1;
    let note = Tree::new(9).note(5);
    for (bytes, status) in [
        (post(0, ""), "400"),
        (post(8, "old 0\n\n\n"), "400"),
        (post(large, &"a".repeat(large)), "413"),
        (post(1 << 40, "old"), "413"),
        ("GET /add-checkpoint HTTP/1.1\r\nHost: w\r\n\r\n".to_owned(), "405"),
        ("POST / HTTP/1.1\r\nHost: w\r\nContent-Length: 0\r\n\r\n".to_owned(), "404"),
        ("GET /../checkpoint HTTP/1.1\r\nHost: w\r\n\r\n".to_owned(), "404"),
        ("GET /%ff%00/checkpoint HTTP/1.1\r\nHost: w\r\n\r\n".to_owned(), "400"),
        ("GET /0/checkpoint HTTP/1.1\r\nHost: w\r\n\r\n".to_owned(), "404"),
        // HTTP/2 is hung up on.
        ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_owned(), ""),
        (format!("GET / HTTP/1.1\r\nHost: w\r\nx: {}\r\n\r\n", "a".repeat(100_000)), "431"),
        (post(note.len() + 7, &format!("old 0\n\n{note}")), "200"),
    ] {
        let got = send(at, bytes.as_bytes()).await;
        let shown: String = bytes.chars().take(60).collect();
        assert!(got.split(' ').nth(1).unwrap_or_default() == status, "{shown:?}: {got:?}");
    }
    running.stop().await;
}

/// Whoever sends slowly does not keep others waiting, and is let go in the end.
#[tokio::test(flavor = "multi_thread")]
async fn slow_senders_hold_nothing_up() {
    let folder = Folder::new();
    let running = folder.start().await;
    let mut slow = Vec::new();
    for number in 0..100 {
        let mut tcp = TcpStream::connect(running.address).await.unwrap();
        let part: &[u8] = match number % 3 {
            0 => b"",
            1 => b"POST /add-checkpoint HTTP/1.1\r\nHo",
            _ => b"POST /add-checkpoint HTTP/1.1\r\nHost: w\r\nContent-Length: 100\r\n\r\nold 0",
        };
        tcp.write_all(part).await.unwrap();
        slow.push(tcp);
    }
    let tree = Tree::new(9);
    let answer = client(&running).add_checkpoint(0, &[], &tree.note(5)).await.unwrap();
    assert!(matches!(answer, WitnessAnswer::Cosigned(_)));
    for mut tcp in slow {
        let mut answer = Vec::new();
        let closed = timeout(Duration::from_secs(25), tcp.read_to_end(&mut answer)).await;
        assert!(closed.is_ok(), "a slow connection is still open");
    }
    running.stop().await;
}
