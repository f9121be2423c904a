// SPDX-License-Identifier: EUPL-1.2
//! Two adapters for one register that share nothing but a copy of one file, once.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use einmal_protocol::Reason;
use tokio::task::JoinSet;

use super::stage::{Cast, How, Scripted, Stage, TAX, reason, until};

const FILE: &str = "bzst.sealing.json";

#[tokio::test(flavor = "multi_thread")]
async fn replicas_answer_in_turn_and_what_one_leaves_the_other_takes() {
    let stage = Arc::new(Stage::new("exchange_ms = 5000", 2048).await);
    let (one, two) = (Scripted::new(How::Finds), Scripted::new(How::Finds));
    let cast = |state, register: &Arc<Scripted>| Cast {
        state,
        replicated: true,
        ..Cast::new(&[(TAX, register)])
    };
    let first = stage.attach(cast("replica-one", &one)).await;
    // Once, by the operator.
    let folder = stage.folder();
    std::fs::create_dir_all(folder.join("replica-two")).unwrap();
    let (from, to) = (folder.join("replica-one").join(FILE), folder.join("replica-two").join(FILE));
    std::fs::copy(from, to).unwrap();
    let second = stage.attach(cast("replica-two", &two)).await;
    let client = Arc::new(stage.client().await);
    let before = stage.size();
    for _ in 0..20 {
        stage.ask(&client, TAX).await.unwrap();
    }
    assert!(one.asked() >= 5 && two.asked() >= 5, "{} {}", one.asked(), two.asked());
    assert_eq!(stage.size(), before + 20);

    // One of them is killed while both are busy.
    let before = stage.size();
    let mut load = JoinSet::new();
    let began = Instant::now();
    for _ in 0..4 {
        let (stage, client) = (Arc::clone(&stage), Arc::clone(&client));
        load.spawn(async move {
            let mut answers = Vec::new();
            while began.elapsed() < Duration::from_secs(4) {
                answers.push(stage.ask(&client, TAX).await);
            }
            answers
        });
    }
    tokio::time::sleep(Duration::from_secs(2)).await;
    drop(first);
    let answers: Vec<_> = load.join_all().await.into_iter().flatten().collect();
    let good = answers.iter().filter(|answer| answer.is_ok()).count();
    let reasons: Vec<_> = answers.iter().filter_map(reason).collect();
    println!("{good} answers, and {reasons:?}");
    assert_eq!(good + reasons.len(), answers.len(), "no answer was wrong");
    // Only what was in flight at the one that ended.
    assert!(reasons.len() <= 4, "{reasons:?}");
    let known = [Reason::RegisterNotAttached, Reason::AnswerLost];
    assert!(reasons.iter().all(|reason| known.contains(reason)), "{reasons:?}");
    for answer in answers.iter().flatten() {
        assert_eq!(answer.values["tax_class"], "x");
    }
    // One leaf for each answer, or answer that was lost (ONCE).
    let lost = reasons.iter().filter(|reason| **reason == Reason::AnswerLost).count();
    assert_eq!(stage.size() - before, (good + lost) as u64);
    second.stop().await;
    drop(client);
    Arc::into_inner(stage).unwrap().stop().await;
}

/// Its persons could not be opened: it is not attached, and the other goes on.
#[tokio::test(flavor = "multi_thread")]
async fn a_replica_with_keys_of_its_own_is_not_attached() {
    let stage = Stage::new("", 2048).await;
    let (one, two) = (Scripted::new(How::Finds), Scripted::new(How::Finds));
    let cast = |state, register| Cast { state, replicated: true, ..Cast::new(&[(TAX, register)]) };
    let first = stage.attach(cast("replica-one", &one)).await;
    let second = stage.begin(cast("replica-two", &two)).await;
    let client = stage.client().await;
    let began = Instant::now();
    while began.elapsed() < Duration::from_secs(3) {
        assert_eq!(stage.streams(), 1);
        stage.ask(&client, TAX).await.unwrap();
    }
    assert_eq!(two.asked(), 0);
    // Told to end, it ends at once.
    let began = Instant::now();
    second.stop().await;
    assert!(began.elapsed() < Duration::from_secs(5));
    // What is attached and told to end lets what is open end.
    let asked = one.asked();
    one.now(How::Blocks(Duration::from_millis(500)));
    let (answer, ()) = tokio::join!(stage.ask(&client, TAX), async {
        until("it is asked", || one.asked() > asked).await;
        first.stop().await;
    });
    answer.unwrap();
    stage.stop().await;
}
