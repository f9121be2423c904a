// SPDX-License-Identifier: EUPL-1.2
//! A broker that breaks the protocol of the stream harms nobody but itself.

use std::{
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use einmal_protocol::wire::register::v1::{
    AttachResponse, Cancel, Open, Welcome, attach_request::Message as FromAdapter,
    attach_response::Message as ToAdapter,
};

use tracing::Level;

use super::{
    double::After,
    stage::{LONG, SILENCE, Stage},
};
use crate::hearing;

/// A stage whose adapter takes so many exchanges at once.
async fn stage_with_credits(credits: u32) -> Stage {
    Stage::with(|plan| {
        let file = plan.config("adapter-rechenzentrum-weser");
        let text = std::fs::read_to_string(&file).unwrap();
        std::fs::write(&file, format!("credits = {credits}\n{text}")).unwrap();
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_open_beyond_the_credits_is_not_served() {
    let mut stage = stage_with_credits(2).await;
    assert_eq!(stage.line.hello.credits, 2);
    let (first, second) = (stage.honest_open().await, stage.honest_open().await);
    let (first, second) = (stage.commit(first).await, stage.commit(second).await);
    let beyond = stage.honest_open().await;
    stage.line.open(beyond.clone()).await;
    assert_eq!(stage.line.after(beyond.exchange, SILENCE).await, After::Silent);
    // A place that becomes free is announced, and is one place.
    let cancel = Cancel { exchange: first.exchange, reason: "CANCELLED".to_owned() };
    stage.line.send(ToAdapter::Cancel(cancel)).await;
    assert!(stage.line.credits(1, LONG).await);
    let third = stage.commit(beyond).await;
    let beyond = stage.honest_open().await;
    stage.line.open(beyond.clone()).await;
    assert_eq!(stage.line.after(beyond.exchange, SILENCE).await, After::Silent);
    stage.reveal(&second).await;
    assert!(stage.line.credits(1, LONG).await);
    stage.reveal(&third).await;
    assert!(stage.line.credits(1, LONG).await);
    stage.still_serves().await;
}

/// An id that is used twice would hide how many exchanges are open.
#[tokio::test(flavor = "multi_thread")]
async fn an_exchange_id_is_used_once_at_a_time() {
    let mut stage = stage_with_credits(2).await;
    let first = stage.honest_open().await;
    let id = first.exchange;
    stage.commit(first).await;
    for _ in 0..5 {
        let open = stage.honest_open().await;
        stage.line.open(Open { exchange: id, ..open }).await;
    }
    assert_eq!(stage.line.after(id, LONG).await, After::Ended);
    stage.reattach().await;
    stage.still_serves().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_protocol_ends_the_stream() {
    let mut stage = Stage::start().await;
    let large = Open { signed_request: vec![0; 600 * 1024], ..Open::default() };
    let broken = [
        ("an empty message", None),
        ("a second welcome", Some(ToAdapter::Welcome(Welcome::default()))),
        ("a message beyond the limit", Some(ToAdapter::Open(large))),
    ];
    for (name, message) in broken {
        stage.line.send_raw(AttachResponse { message }).await;
        assert!(stage.line.ends(LONG).await, "{name}");
        stage.reattach().await;
        stage.still_serves().await;
    }
}

/// However the broker ends it, nothing goes on that was begun on it, and nothing is left over.
#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_breaks_leaves_nothing_over() {
    let mut stage = Stage::start().await;
    for breaks in ["a proof of nothing", "an empty message"] {
        for _ in 0..3 {
            let open = stage.honest_open().await;
            stage.commit(open).await;
        }
        let counts = stage.adapter.as_ref().unwrap().counts();
        assert_eq!((counts.streams, counts.exchanges, counts.unproven), (1, 3, 3), "{breaks}");
        match breaks {
            "a proof of nothing" => stage.line.logged(1, None).await,
            _ => stage.line.send_raw(AttachResponse { message: None }).await,
        }
        stage.reattach().await;
        let idle = async {
            let now = || stage.adapter.as_ref().unwrap().counts();
            while (now().streams, now().exchanges, now().unproven, now().lookups) != (1, 0, 0, 0) {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        assert!(tokio::time::timeout(LONG, idle).await.is_ok(), "{breaks}");
        stage.still_serves().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_of_another_ledger_is_left() {
    let mut stage = Stage::start().await;
    stage.line.logged(1, None).await;
    assert!(stage.line.ends(LONG).await);
    stage.line = stage.double.line().await;
    stage.line.welcome("demo.einmal.example/ledger-2", 1024).await;
    assert!(stage.line.ends(LONG).await);
    stage.line = stage.double.line().await;
    stage.line.logged(1, None).await;
    assert!(stage.line.ends(LONG).await, "its first word is no welcome");
    // Chunks of no size at all are not made.
    stage.line = stage.double.line().await;
    stage.line.welcome(einmal::demo::plan::LEDGER, 0).await;
    let open = stage.honest_open().await;
    let committed = stage.commit(open).await;
    let chunks = stage.reveal(&committed).await;
    assert!(chunks.len() > 1 && chunks.iter().all(|chunk| chunk.len() <= 1024));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_open_at_the_end_ends_as_usual() {
    let mut stage = Stage::start().await;
    let (open, crossing) = (stage.honest_open().await, stage.honest_open().await);
    let open = stage.commit(open).await;
    let adapter = stage.adapter.take().unwrap();
    let began = Instant::now();
    let stopping = tokio::spawn(adapter.stop());
    assert!(matches!(stage.line.next().await, Some(FromAdapter::Drain(_))));
    // This one was on its way before the broker knew.
    let crossing = stage.commit(crossing).await;
    stage.reveal(&open).await;
    stage.reveal(&crossing).await;
    assert!(stage.line.ends(LONG).await);
    stage.line.close();
    stopping.await.unwrap();
    assert!(began.elapsed() < Duration::from_secs(8), "{:?}", began.elapsed());
}

/// A question that was on its way when an idle adapter said that it goes is answered.
#[tokio::test(flavor = "multi_thread")]
async fn what_crosses_the_last_word_of_an_idle_adapter_is_served() {
    let mut stage = Stage::start().await;
    let crossing = stage.honest_open().await;
    let stopping = tokio::spawn(stage.adapter.take().unwrap().stop());
    assert!(matches!(stage.line.next().await, Some(FromAdapter::Drain(_))));
    let crossing = stage.commit(crossing).await;
    stage.reveal(&crossing).await;
    assert!(stage.line.ends(LONG).await, "the adapter must end the stream");
    stage.line.close();
    stopping.await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_never_says_welcome_does_not_keep_an_adapter_from_stopping() {
    let mut stage = Stage::start().await;
    stage.line.logged(1, None).await;
    assert!(stage.line.ends(LONG).await);
    let _unwelcome = stage.double.line().await;
    let adapter = stage.adapter.take().unwrap();
    let stopped = tokio::time::timeout(Duration::from_secs(5), adapter.stop()).await;
    assert!(stopped.is_ok());
}

/// What was logged on this thread.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<String>>);

impl Lines {
    async fn wait_for(&self, text: &str) {
        let come = async {
            while !self.0.lock().unwrap().contains(text) {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        assert!(tokio::time::timeout(LONG, come).await.is_ok(), "not logged: {text}");
    }
}

/// On one thread, so that all that is logged is seen.
#[tokio::test]
async fn commitments_that_are_not_logged_raise_an_alarm_however_they_end() {
    let lines = Lines::default();
    let heard = lines.clone();
    hearing::on_this_thread(move |event| {
        if *event.metadata().level() <= Level::WARN {
            heard.0.lock().unwrap().push_str(&hearing::text_of(event));
        }
    });
    let mut stage = Stage::start().await;
    let open = stage.honest_open().await;
    let committed = stage.commit(open).await;
    let cancel = Cancel { exchange: committed.exchange, reason: "CANCELLED".to_owned() };
    stage.line.send(ToAdapter::Cancel(cancel)).await;
    lines.wait_for("count=1").await;
    let open = stage.honest_open().await;
    stage.commit(Open { deadline_ms: 2_000, ..open }).await;
    lines.wait_for("count=2").await;
    let open = stage.honest_open().await;
    stage.commit(open).await;
    stage.line.logged(1, None).await;
    lines.wait_for("count=3").await;
    lines.wait_for("alarm: commitments were not logged").await;
}
