// SPDX-License-Identifier: EUPL-1.2
//! Two adapters for one register that share nothing but a copy of one file, once.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
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

/// One after the other is stopped and started anew under load: no call fails. Then one of them faults:
/// it is set aside after three calls, and asked again when its time is over.
#[tokio::test(flavor = "multi_thread")]
async fn replicas_are_restarted_in_turn_without_a_failed_call_and_a_bad_one_is_set_aside() {
    let stage = Arc::new(Stage::new("exchange_ms = 5000", 2048).await);
    let (one, two) = (Scripted::new(How::Finds), Scripted::new(How::Finds));
    let cast = |state, register: &Arc<Scripted>| Cast {
        state,
        replicated: true,
        ..Cast::new(&[(TAX, register)])
    };
    let mut first = stage.attach(cast("replica-one", &one)).await;
    let folder = stage.folder();
    std::fs::create_dir_all(folder.join("replica-two")).unwrap();
    let (from, to) = (folder.join("replica-one").join(FILE), folder.join("replica-two").join(FILE));
    std::fs::copy(from, to).unwrap();
    let mut second = stage.attach(cast("replica-two", &two)).await;
    let client = Arc::new(stage.client().await);
    let is_over = Arc::new(AtomicBool::new(false));
    let mut load = JoinSet::new();
    for _ in 0..4 {
        let (stage, client) = (Arc::clone(&stage), Arc::clone(&client));
        let is_over = Arc::clone(&is_over);
        load.spawn(async move {
            let mut answers = 0;
            while !is_over.load(Ordering::SeqCst) {
                let answer = stage.ask(&client, TAX).await;
                assert!(answer.is_ok(), "after {answers}: {:?}", reason(&answer));
                answers += 1;
            }
            answers
        });
    }
    for _ in 0..2 {
        tokio::time::sleep(Duration::from_millis(200)).await;
        first.stop().await;
        first = stage.attach(cast("replica-one", &one)).await;
        until("both are attached", || stage.streams() == 2).await;
        second.stop().await;
        second = stage.attach(cast("replica-two", &two)).await;
        until("both are attached", || stage.streams() == 2).await;
    }
    is_over.store(true, Ordering::SeqCst);
    let answers: u32 = load.join_all().await.into_iter().sum();
    println!("{answers} answers while each replica was restarted twice");

    two.now(How::Faults);
    let (asked, mut failed) = (two.asked(), 0);
    for _ in 0..30 {
        let answer = stage.ask(&client, TAX).await;
        failed += usize::from(reason(&answer) == Some(Reason::RegisterFault));
    }
    // On a slow machine its time is over meanwhile, and it had another try.
    assert!((3..=5).contains(&failed), "{failed}");
    assert_eq!(failed, two.asked() - asked);
    two.now(How::Finds);
    let asked = two.asked();
    let began = Instant::now();
    while two.asked() == asked {
        assert!(began.elapsed() < Duration::from_secs(20), "it is tried again");
        // One call may find the adapter's own breaker still open.
        let _ = stage.ask(&client, TAX).await;
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    first.stop().await;
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
