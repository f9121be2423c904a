// SPDX-License-Identifier: EUPL-1.2
//! A broker that breaks the protocol of the stream harms nobody but itself.

use std::time::Duration;

use einmal_protocol::wire::register::v1::{
    AttachResponse, Drain, Open, Welcome, attach_request::Message as FromAdapter,
    attach_response::Message as ToAdapter,
};
use tonic::Status;

use crate::{
    case::{Case, Problem, Tried, case},
    line::{After, LONG, Word},
    stage::{CHUNK_MAX, SILENCE, Stage},
};

/// More credit than this is not used up for a check.
const CREDITS_MAX: u32 = 256;
/// So many are opened at a time.
const WAVE: usize = 4;
/// Kits that follow docs/protocol.md give a silent broker up after 45 s.
const SILENT: Duration = Duration::from_secs(70);

pub(crate) const CASES: &[Case] = &[
    case!(
        "heartbeat",
        "ATTACHED",
        heartbeat,
        "A heartbeat is answered.",
        "Answer each Heartbeat with one; brokers drop streams that are silent.",
    ),
    case!(
        "credit",
        "ATTACHED",
        credit,
        "An exchange that is opened beyond the credit is not served, and each one that ends gives \
         its place back.",
        "Count what is open on the stream; send one Credit for each exchange that ended.",
    ),
    case!(
        "exchange-id",
        "ATTACHED",
        exchange_id,
        "An exchange id that is open is not opened a second time; proofs and cancels for ids that \
         nobody knows do no harm.",
        "Treat a second Open under one id as a broken protocol; ignore ids you do not know.",
    ),
    case!(
        "chunks",
        "ATTACHED",
        chunks,
        "No chunk is longer than the broker's Welcome allows, and the last one says so.",
        "Cut the sealed evidence by Welcome.chunk_bytes_max.",
    ),
    case!(
        "broken-messages",
        "ATTACHED",
        broken,
        "After empty messages, a second Welcome, and messages of 600 KiB and 2 MiB the adapter \
         goes on, or ends the stream and dials again.",
        "End the stream on what is no message; never crash on it; limit what you read.",
    ),
    case!(
        "reset",
        "ATTACHED",
        reset,
        "When the broker breaks the stream, open exchanges end and the adapter dials again.",
        "Dial again after a short wait with jitter, and forget what was open.",
    ),
    case!(
        "drain",
        "ATTACHED",
        drain,
        "When the broker drains, what is open is still answered, and the adapter dials again.",
        "On Drain finish what is open, close your side, wait for the broker's, and dial again: a \
         stream that is dropped loses what was sent last.",
    ),
    case!(
        "other-ledger",
        "NO-LOG-NO-DATA",
        other_ledger,
        "A broker that names another ledger than the directory says, or does not say Welcome \
         first, is left.",
        "Compare Welcome.ledger with the directory's entry of this broker.",
    ),
];

/// Takes longer than a minute.
pub(crate) const SLOW: &[Case] = &[case!(
    "silent-broker",
    "ATTACHED",
    silent,
    "A broker that says nothing more for a minute is given up, and dialled again.",
    "Give a stream up on which nothing came for three heartbeats.",
)];

async fn heartbeat(stage: &mut Stage) -> Tried {
    match stage.line.heartbeat(SILENCE * 2).await {
        true => Ok("answered".to_owned()),
        false => Err(Problem::failed("no heartbeat came back in 3 s")),
    }
}

async fn credit(stage: &mut Stage) -> Tried {
    let credits = stage.line.hello.credits;
    if credits > CREDITS_MAX {
        let why = format!("it offers {credits} credits; more than {CREDITS_MAX} are not used up");
        return Err(Problem::not_checked(why));
    }
    stage.line.forget();
    let mut open = Vec::new();
    // A commitment that waits for its proof keeps its place. A few at a time: how many lookups
    // the register bears at once is another question.
    while open.len() < credits as usize {
        let mut wave = Vec::new();
        for _ in 0..WAVE.min(credits as usize - open.len()) {
            let asked = stage.ask_main()?;
            let opened = Open { deadline_ms: 60_000, ..stage.open_of(&asked) };
            stage.line.open(opened.clone()).await;
            wave.push((asked, opened));
        }
        for (asked, opened) in wave {
            stage.committed(&asked, opened.clone()).await?;
            open.push(opened);
        }
    }
    let asked = stage.ask_main()?;
    let beyond = stage.open_of(&asked);
    stage.line.open(beyond.clone()).await;
    if let Word::Said(FromAdapter::Commit(_)) = stage.line.word_on(beyond.exchange, SILENCE).await {
        return Err(Problem::failed(format!(
            "it served more than its {credits} exchanges at once"
        )));
    }
    for opened in &open {
        stage.line.cancel(opened.exchange).await;
    }
    if !stage.line.credits(credits, LONG).await {
        return Err(Problem::failed(format!(
            "{credits} exchanges ended, but it did not give as many places back"
        )));
    }
    stage.still_serves().await?;
    Ok(format!("{credits} at once and no more, and all places came back"))
}

async fn exchange_id(stage: &mut Stage) -> Tried {
    // Ids that nobody knows, with a true proof of something else.
    stage.line.cancel(987_654).await;
    stage.log.push(crate::forgery::other_leaf(9));
    stage.line.logged(987_655, stage.log.last(stage.seen)).await;
    stage.seen = stage.log.size();
    stage.still_serves().await.map_err(|problem| problem.at("after ids that nobody knows"))?;
    let asked = stage.ask_main()?;
    let first = stage.open_of(&asked);
    let id = first.exchange;
    stage.commit(&asked, first).await?;
    stage.last_a_while().await;
    let again = stage.ask_main()?;
    let again = Open { exchange: id, ..stage.open_of(&again) };
    stage.line.open(again).await;
    match stage.line.word_on(id, SILENCE).await {
        Word::Said(FromAdapter::Commit(_)) => {
            return Err(Problem::failed("it committed twice under one exchange id"));
        }
        Word::Ended => stage.reattach().await?,
        Word::Said(_) | Word::Silent => stage.line.cancel(id).await,
    }
    stage.still_serves().await?;
    Ok("served once, and others after it".to_owned())
}

async fn chunks(stage: &mut Stage) -> Tried {
    stage.last_a_while().await;
    stage.line.close();
    let line = stage.broker.line(LONG).await;
    stage.line = line.ok_or_else(|| Problem::failed("it did not dial again in 20 s"))?;
    stage.line.welcome(&stage.log.origin, 1024).await;
    let asked = stage.ask_main()?;
    let open = stage.open_of(&asked);
    let committed = stage.commit(&asked, open).await?;
    let chunks = stage.reveal(&committed).await?;
    crate::answer::open(&stage.world, &asked, &committed, &chunks)?;
    let largest = chunks.iter().map(Vec::len).max().unwrap_or_default();
    if largest > 1024 {
        return Err(Problem::failed(format!("a chunk has {largest} bytes where 1024 are allowed")));
    }
    stage.last_a_while().await;
    stage.begin_anew().await?;
    Ok(format!("{} chunks of at most {largest} bytes", chunks.len()))
}

async fn broken(stage: &mut Stage) -> Tried {
    let large =
        |bytes| Open { signed_request: vec![0; bytes], deadline_ms: 1_000, ..Open::default() };
    let messages = [
        ("an empty message", None),
        ("a second welcome", Some(ToAdapter::Welcome(Welcome::default()))),
        ("a message of 600 KiB", Some(ToAdapter::Open(large(600 * 1024)))),
        ("a message of 2 MiB", Some(ToAdapter::Open(large(2 * 1024 * 1024)))),
    ];
    let mut ended = 0;
    for (name, message) in messages {
        stage.last_a_while().await;
        stage.line.send_raw(AttachResponse { message }).await;
        let tried = async {
            match stage.line.word_on(0, SILENCE).await {
                Word::Said(FromAdapter::Commit(_) | FromAdapter::Reveal(_)) => {
                    return Err(Problem::failed("it answered it"));
                }
                Word::Ended => {
                    ended += 1;
                    stage.reattach().await?;
                }
                Word::Said(_) | Word::Silent => {}
            }
            stage.still_serves().await
        };
        tried.await.map_err(|problem| problem.at(name))?;
    }
    Ok(format!("after {ended} of 4 it dialled anew, and it served after each"))
}

async fn reset(stage: &mut Stage) -> Tried {
    let asked = stage.ask_main()?;
    let open = stage.open_of(&asked);
    let committed = stage.commit(&asked, open).await?;
    stage.last_a_while().await;
    stage.line.fail(Status::unavailable("the broker breaks the stream")).await;
    let began = tokio::time::Instant::now();
    stage.reattach().await?;
    let took = began.elapsed();
    // What was open is over: its proof opens nothing on the next stream.
    stage.log(&committed).await;
    if let After::Revealed(_) | After::Partly(_) =
        stage.line.after(committed.exchange, SILENCE).await
    {
        return Err(Problem::failed("it revealed on another stream than it had committed on"));
    }
    stage.still_serves().await?;
    Ok(format!("back after {} ms", took.as_millis()))
}

async fn drain(stage: &mut Stage) -> Tried {
    let asked = stage.ask_main()?;
    let open = stage.open_of(&asked);
    let committed = stage.commit(&asked, open).await?;
    stage.last_a_while().await;
    stage.line.send(ToAdapter::Drain(Drain {})).await;
    let chunks = stage.reveal(&committed).await?;
    crate::answer::open(&stage.world, &asked, &committed, &chunks)?;
    stage.reattach().await?;
    stage.still_serves().await?;
    Ok("what was open was answered, and it dialled again".to_owned())
}

async fn other_ledger(stage: &mut Stage) -> Tried {
    for (name, ledger) in [("another ledger", Some("elsewhere.example/l")), ("no welcome", None)] {
        stage.last_a_while().await;
        stage.line.close();
        let line = stage.broker.line(LONG).await;
        stage.line = line.ok_or_else(|| Problem::failed("it did not dial again in 20 s"))?;
        match ledger {
            Some(ledger) => stage.line.welcome(ledger, CHUNK_MAX).await,
            None => stage.line.logged(1, None).await,
        }
        let asked = stage.ask_main()?;
        let open = stage.open_of(&asked);
        let exchange = open.exchange;
        stage.line.open(open).await;
        match stage.line.word_on(exchange, LONG).await {
            Word::Ended => {}
            Word::Said(FromAdapter::Commit(_)) => {
                return Err(Problem::failed(format!("{name}: it served it")));
            }
            Word::Said(_) | Word::Silent => {
                return Err(Problem::failed(format!("{name}: it did not leave within 20 s")));
            }
        }
        stage.reattach().await.map_err(|problem| problem.at(name))?;
    }
    stage.still_serves().await?;
    Ok("left both times, and came back".to_owned())
}

async fn silent(stage: &mut Stage) -> Tried {
    let began = tokio::time::Instant::now();
    if !stage.line.ends(SILENT).await {
        let seconds = SILENT.as_secs();
        return Err(Problem::failed(format!("after {seconds} s of silence it is still there")));
    }
    let took = began.elapsed();
    stage.reattach().await?;
    stage.still_serves().await?;
    Ok(format!("given up after {} s, and dialled again", took.as_secs()))
}
