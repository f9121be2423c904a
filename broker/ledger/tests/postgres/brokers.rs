// SPDX-License-Identifier: EUPL-1.2
//! Two brokers, one ledger.

use std::{collections::BTreeSet, sync::Arc};

use einmal_ledger::{AppendError, Ledger, LedgerConfig, NewEntry, PostgresOptions, PostgresStore};
use einmal_protocol::{
    RequestId,
    key::SigningKey,
    leaf::{Leaf, LeafKind},
    note::LedgerKey,
    receipt,
};
use einmal_test_servers::Postgres;

use crate::fixture::{DAY, ORIGIN, create, whole};

const EACH: u64 = 200;

fn key() -> SigningKey {
    SigningKey::from_seed(&[7; 32]).unwrap()
}

fn entry(number: u64) -> NewEntry {
    let mut random = [0; 10];
    random[2..].copy_from_slice(&number.to_be_bytes());
    NewEntry {
        authority: "buergeramt-beispielstadt".to_owned(),
        id: RequestId::new(1_795_372_800_000, random),
        kind: LeafKind::Exchange,
        day: DAY,
        body: format!("the body of {number}").into_bytes(),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_brokers_append_to_one_ledger() {
    let Some(server) = Postgres::start() else { return };
    let folder = std::env::temp_dir().join(format!("einmal-brokers-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let store = create(&server.url()).await;
    let mut brokers = Vec::new();
    for name in ["one", "two"] {
        let store =
            PostgresStore::open(PostgresOptions::new(&server.url()).unwrap()).await.unwrap();
        let config = LedgerConfig::new(ORIGIN, folder.join("no-database"), folder.join(name));
        brokers.push(Ledger::start(Arc::new(store), &config, key()).await.unwrap());
    }
    // Each number is sent to both: one logs it, the other says where it is.
    let tasks: Vec<_> = (0..EACH)
        .flat_map(|number| brokers.clone().into_iter().map(move |broker| (number, broker)))
        .map(|(number, broker)| {
            tokio::spawn(async move {
                let entry = entry(number);
                let leaf = Leaf::new(entry.kind, entry.day, &entry.body);
                loop {
                    match broker.append(entry.clone()).await {
                        Ok(logged) => {
                            let proof = logged.receipt(None);
                            let ledger = LedgerKey::new(ORIGIN, key().public().clone()).unwrap();
                            receipt::verify(&proof, leaf, &ledger, None).unwrap();
                            return (true, logged.index);
                        }
                        Err(AppendError::Duplicate { index, .. }) => return (false, index),
                        Err(AppendError::Busy) => {}
                        Err(error) => panic!("{error}"),
                    }
                }
            })
        })
        .collect();
    let (mut logged, mut said) = (BTreeSet::new(), BTreeSet::new());
    for task in tasks {
        let (first, index) = task.await.unwrap();
        assert!(if first { &mut logged } else { &mut said }.insert(index));
    }
    assert_eq!(logged, (0..EACH).collect());
    assert_eq!(said, logged);
    for broker in brokers {
        assert!(broker.is_healthy());
        broker.close().await;
    }
    assert_eq!(whole(&store).await.0.size, EACH);
    std::fs::remove_dir_all(&folder).unwrap();
}
