// SPDX-License-Identifier: EUPL-1.2
//! APPEND-ONLY after kill -9: whatever was answered is there when it starts again.

use std::{
    io::{BufRead, BufReader, Write},
    path::Path,
    process::{Command, Stdio},
};

use einmal_ledger::{Ledger, verify};
use einmal_protocol::digest::hex;

use crate::fixture::{Folder, config, exchange, key, ledger_key};

const FOLDER: &str = "EINMAL_TEST_KILLED_LEDGER";

/// The process that is killed: appends for ever and prints what was answered.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "started and killed by the test below"]
async fn victim() {
    let Ok(folder) = std::env::var(FOLDER) else { return };
    let ledger = Ledger::open(config(Path::new(&folder)), key()).await.unwrap();
    let first = ledger.checkpoint().size();
    let writers: Vec<_> = (0..16)
        .map(|writer| {
            let ledger = ledger.clone();
            tokio::spawn(async move {
                for number in 0.. {
                    let entry = exchange((first << 20) + number * 16 + writer);
                    let logged = ledger.append(entry).await.unwrap();
                    let line =
                        format!("logged {} {}\n", logged.index, hex(&logged.leaf.to_bytes()));
                    std::io::stdout().lock().write_all(line.as_bytes()).unwrap();
                }
            })
        })
        .collect();
    for writer in writers {
        writer.await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_answered_survives_kill_9() {
    let folder = Folder::new();
    let config = folder.config();
    Ledger::create(config.clone(), key()).await.unwrap().close().await;
    let mut answered = Vec::new();
    for kill_after in [1, 40, 333] {
        answered.extend(killed_after(kill_after, &folder.0));
        let report = verify(&config.database, &ledger_key(), Some(&config.memory)).await.unwrap();
        assert!(report.size >= answered.len() as u64);
        let ledger = Ledger::open(config.clone(), key()).await.unwrap();
        for (index, leaf) in &answered {
            let entry = ledger.entries(*index, 1).await.unwrap().remove(0);
            assert_eq!(&hex(&entry.leaf.to_bytes()), leaf, "leaf {index}");
        }
        ledger.close().await;
    }
}

/// Lets a process append until it has answered so often, kills it, and gives its answers.
fn killed_after(count: usize, folder: &Path) -> Vec<(u64, String)> {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "kill::victim", "--ignored", "--nocapture"])
        .env(FOLDER, folder)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut answers = Vec::new();
    for line in BufReader::new(child.stdout.take().unwrap()).lines() {
        // The last line may be torn by the kill; a whole one ends with the 76 digits of a leaf.
        let line = line.unwrap();
        let Some((index, leaf)) =
            line.strip_prefix("logged ").and_then(|rest| rest.split_once(' '))
        else {
            continue;
        };
        if leaf.len() == 76 {
            answers.push((index.parse().unwrap(), leaf.to_owned()));
        }
        if answers.len() == count {
            child.kill().unwrap();
        }
    }
    child.wait().unwrap();
    assert!(answers.len() >= count);
    answers
}
