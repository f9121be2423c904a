// SPDX-License-Identifier: EUPL-1.2
//! Two registers on one stream: whatever one does, the other answers.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use einmal_adapter_kit::{BreakerState, RegisterLimits};
use einmal_protocol::{Reason, wire::v1::Outcome};
use tokio::{runtime::Runtime, task::JoinSet};

use super::stage::{CHILD, Cast, How, Scripted, Stage, TAX, reason, until, until_idle};

const CREDITS: u32 = 16;

fn limits() -> RegisterLimits {
    let (lookup_ms, pause_ms, faults) = (Some(1_500), Some(1_000), Some(4));
    RegisterLimits { lookup_ms, pause_ms, faults, ..RegisterLimits::default() }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_register_that_hangs_blocks_or_panics_does_not_slow_its_neighbour() {
    let stage = Arc::new(Stage::new("exchange_ms = 5000", 2048).await);
    let (bad, good) = (Scripted::new(How::Hangs), Scripted::new(How::Finds));
    let cast = Cast { limits: limits(), ..Cast::new(&[(TAX, &bad), (CHILD, &good)]) };
    let adapter = stage.attach(cast).await;
    let client = Arc::new(stage.client().await);
    for how in [How::Hangs, How::Blocks(Duration::from_millis(1_800))] {
        bad.now(how);
        let mut flood = JoinSet::new();
        for _ in 0..40 {
            let (stage, client) = (Arc::clone(&stage), Arc::clone(&client));
            flood.spawn(async move { reason(&stage.ask(&client, TAX).await) });
        }
        let asked = bad.asked();
        until("it is asked", || bad.asked() > asked).await;
        let began = Instant::now();
        for _ in 0..12 {
            stage.ask(&client, CHILD).await.unwrap();
        }
        println!("12 answers beside a register that hangs: {:?}", began.elapsed());
        let reasons = flood.join_all().await;
        for reason in &reasons {
            let known = [Reason::RegisterFault, Reason::RegisterBusy];
            assert!(reason.is_some_and(|reason| known.contains(&reason)), "{reasons:?}");
        }
        // Left alone: nobody asks it, and everybody gets the same fault at once.
        until("its breaker opens", || {
            let state = adapter.registers().into_iter().find(|state| state.register == TAX.0);
            state.unwrap().breakers.iter().any(|(_, state)| *state == BreakerState::Open)
        })
        .await;
        bad.now(How::Finds);
        let healed = async {
            while stage.ask(&client, TAX).await.is_err() {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), healed).await.expect("a probe closes it");
        until_idle(&stage, &adapter, CREDITS).await;
    }
    // Said inside the seal: a panic may be about what is held of this person.
    bad.now(How::Panics);
    for _ in 0..8 {
        let before = stage.size();
        let received = stage.ask(&client, TAX).await.unwrap();
        assert_eq!((received.outcome, received.values.len()), (Outcome::NotTransmitted, 0));
        assert_eq!(stage.size(), before + 1);
    }
    bad.now(How::Finds);
    assert_eq!(stage.ask(&client, TAX).await.unwrap().outcome, Outcome::Found);
    until_idle(&stage, &adapter, CREDITS).await;
    adapter.stop().await;
    drop(client);
    Arc::into_inner(stage).unwrap().stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_of_two_mebibytes_do_not_delay_short_ones_on_the_same_stream() {
    let stage = Arc::new(Stage::new("exchange_ms = 20000", 2 * 1024 * 1024).await);
    let (large, small) = (Scripted::new(How::Finds), Scripted::new(How::Finds));
    let cast = Cast::new(&[(TAX, &large), (CHILD, &small)]);
    let adapter = stage.attach(cast).await;
    let client = Arc::new(stage.client().await);
    let small_ones = async || {
        let mut took = Vec::new();
        for _ in 0..30 {
            let began = Instant::now();
            stage.ask(&client, CHILD).await.unwrap();
            took.push(began.elapsed());
        }
        took.sort_unstable();
        (took[15], took[29])
    };
    let alone = small_ones().await;
    large.says(100 * 1024);
    let mut long = JoinSet::new();
    let done = tokio_util::sync::CancellationToken::new();
    // Whoever asks for long answers is somebody else: opening them takes a while, too.
    let elsewhere = Runtime::new().unwrap();
    for _ in 0..2 {
        let (stage, done) = (Arc::clone(&stage), done.clone());
        let long_asks = async move {
            let client = stage.client().await;
            let mut answers = Vec::new();
            while !done.is_cancelled() {
                let began = Instant::now();
                stage.ask(&client, TAX).await.unwrap();
                answers.push(began.elapsed());
            }
            answers
        };
        long.spawn_on(long_asks, elsewhere.handle());
    }
    let beside = small_ones().await;
    done.cancel();
    let mut answers: Vec<_> = long.join_all().await.into_iter().flatten().collect();
    answers.sort_unstable();
    let long = answers[answers.len() / 2];
    println!(
        "median and slowest: {alone:?} alone, {beside:?} beside {} answers of 2 MiB, each {long:?}",
        answers.len()
    );
    // All parties share this machine's processors, so a short one is slower; but it does not wait
    // for the long ones.
    assert!(beside.0 < alone.0 * 10 + Duration::from_secs(1), "{beside:?} against {alone:?}");
    until_idle(&stage, &adapter, CREDITS).await;
    elsewhere.shutdown_background();
    adapter.stop().await;
    drop(client);
    Arc::into_inner(stage).unwrap().stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_breaks_ends_its_exchanges_on_both_sides() {
    let stage = Arc::new(Stage::new("exchange_ms = 15000", 2048).await);
    let hangs = Scripted::new(How::Hangs);
    let adapter = stage.attach(Cast::new(&[(TAX, &hangs)])).await;
    let client = Arc::new(stage.client().await);
    let stream = stage.all().pop().unwrap();
    let mut open = JoinSet::new();
    for _ in 0..4 {
        let (stage, client) = (Arc::clone(&stage), Arc::clone(&client));
        open.spawn(async move { reason(&stage.ask(&client, TAX).await) });
    }
    until("all are looked up", || hangs.asked() == 4).await;
    assert_eq!((adapter.counts().exchanges, stream.exchanges()), (4, 4));
    let began = Instant::now();
    // As if its process were killed.
    drop(adapter);
    let reasons = open.join_all().await;
    assert_eq!(reasons, [Some(Reason::RegisterNotAttached); 4]);
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    until("the stream is let go", || stage.streams() == 0).await;
    assert_eq!(stream.exchanges(), 0);
    until("nobody holds it", || Arc::strong_count(&stream) == 1).await;
    drop(client);
    Arc::into_inner(stage).unwrap().stop().await;
}
