// SPDX-License-Identifier: EUPL-1.2
//! Shares, turns and counts of streams, without a network.

use einmal_protocol::wire::register::v1::{
    AttachRequest, AttachResponse, Credit, Drain, attach_request as from_adapter,
};
use tokio::sync::mpsc;
use tonic::Status;

use super::*;

type Responses = mpsc::Receiver<Result<AttachResponse, Status>>;

const ROOM: usize = 2_000;

fn attach(to: &Attachments, registers: &[&str], credits: u32) -> (Arc<Attachment>, Responses) {
    let (sender, responses) = mpsc::channel(256);
    let registers = registers.iter().map(|id| (*id).to_owned()).collect();
    let attachment = Attachment::new("operator".to_owned(), registers, (credits, 0), sender);
    let attachment = Arc::new(attachment);
    to.add(&attachment).unwrap();
    (attachment, responses)
}

fn open(at: &Attachments, register: &str) -> Result<OpenExchange, Reason> {
    at.open(register, ROOM, |_| true).map_err(|failure| failure.reason)
}

fn say(attachment: &Attachment, message: from_adapter::Message) {
    attachment.take(AttachRequest { message: Some(message) }).unwrap();
}

#[test]
fn however_many_registers_hang_there_is_credit_for_another() {
    let all = Attachments::default();
    let (stream, _responses) = attach(&all, &["a", "b", "c", "d"], 64);
    let mut hanging = Vec::new();
    let mut shares = Vec::new();
    for register in ["a", "b", "c"] {
        let before = hanging.len();
        while let Ok(exchange) = open(&all, register) {
            hanging.push(exchange);
        }
        shares.push(hanging.len() - before);
    }
    assert_eq!(shares, [32, 16, 8], "each as many as it leaves to others");
    assert_eq!(stream.credits(), 8);
    let served = open(&all, "d").unwrap_or_else(|reason| panic!("{reason}"));
    assert_eq!(open(&all, "a").err(), Some(Reason::RegisterBusy));
    // All end, and all credits come back.
    drop((hanging, served));
    assert_eq!((stream.exchanges(), stream.credits()), (0, 7));
    say(&stream, from_adapter::Message::Credit(Credit { exchanges: 57 }));
    assert_eq!(stream.credits(), 64);
    assert!(open(&all, "a").is_ok());
}

#[test]
fn who_is_alone_on_a_stream_may_use_all_of_it_but_not_all_of_the_broker() {
    let all = Attachments::default();
    let (_busy, _responses) = attach(&all, &["a"], 8);
    let open_now = || all.open("a", 2, |_| true).map_err(|failure| failure.reason);
    let mut held: Vec<_> = (0..8).map(|_| open(&all, "a").unwrap()).collect();
    assert_eq!(open(&all, "a").err(), Some(Reason::RegisterBusy), "no credit");
    held.pop();
    assert_eq!(open_now().err(), Some(Reason::RegisterBusy), "no credit was given back");
    say(held[0].attachment(), from_adapter::Message::Credit(Credit { exchanges: 1 }));
    held.push(open_now().unwrap_or_else(|reason| panic!("{reason}: nobody else is attached")));
    held.truncate(4);
    say(held[0].attachment(), from_adapter::Message::Credit(Credit { exchanges: 4 }));
    let (_other, _more) = attach(&all, &["b"], 8);
    assert_eq!(open_now().err(), Some(Reason::RegisterBusy), "four are more than two");
    assert!(open(&all, "b").is_ok());
    held.truncate(2);
    assert!(open_now().is_ok());
}

#[test]
fn a_stream_that_is_told_to_go_is_asked_where_nobody_else_can_be() {
    let all = Attachments::default();
    let (old, mut responses) = attach(&all, &["a"], 8);
    old.tell_to_go(Course::Retiring);
    old.tell_to_go(Course::Retiring);
    assert!(responses.try_recv().is_ok() && responses.try_recv().is_err(), "told once");
    let crossing = open(&all, "a").unwrap();
    let (new, _responses) = attach(&all, &["a"], 1);
    let exchange = open(&all, "a").unwrap();
    assert!(std::ptr::eq(exchange.attachment(), Arc::as_ptr(&new)));
    assert_eq!(old.exchanges(), 1);
    say(&old, from_adapter::Message::Drain(Drain {}));
    assert_eq!(open(&all, "a").err(), Some(Reason::RegisterBusy));
    drop(crossing);
    all.remove(&old);
    all.remove(&old);
    assert_eq!(all.streams().len(), 1);
    all.remove(&new);
    assert!(!all.has("a") && all.registers() == 0 && all.held().by_operator.is_empty());
    drop(exchange);
    assert_eq!(new.exchanges(), 0);
}

#[test]
fn an_operator_has_so_many_streams() {
    let all = Attachments::default();
    let streams: Vec<_> = (0..STREAMS_MAX).map(|_| attach(&all, &["a"], 1)).collect();
    let (sender, _responses) = mpsc::channel(1);
    let more = Attachment::new("operator".to_owned(), vec!["b".to_owned()], (1, 0), sender);
    let more = Arc::new(more);
    assert_eq!(all.add(&more).unwrap_err().reason, Reason::RegisterBusy);
    all.remove(&more);
    assert!(!all.has("b"));
    all.remove(&streams[0].0);
    all.add(&more).unwrap();
}

/// Ten thousand registers: nothing on the way of an exchange looks at all of them.
#[test]
fn ten_thousand_registers_slow_no_exchange() {
    let all = Attachments::default();
    let streams: Vec<_> = (0..2_000)
        .map(|stream| {
            let (sender, responses) = mpsc::channel(256);
            let registers = (0..5).map(|number| format!("r-{stream}-{number}")).collect();
            let operator = format!("operator-{}", stream / STREAMS_MAX);
            let one = Arc::new(Attachment::new(operator, registers, (64, 0), sender));
            all.add(&one).unwrap();
            (one, responses)
        })
        .collect();
    assert_eq!((all.registers(), all.streams().len()), (10_000, 2_000));
    let began = std::time::Instant::now();
    for number in 0..10_000 {
        drop(open(&all, &format!("r-{}-{}", number % 2_000, number % 5)).unwrap());
    }
    let took = began.elapsed();
    // Microseconds each; were one of them to look at all, it would be seconds.
    assert!(took < std::time::Duration::from_secs(2), "{took:?}");
    all.drain();
    for (stream, _responses) in &streams {
        all.remove(stream);
    }
    assert_eq!((all.registers(), all.streams().len()), (0, 0));
    assert!(streams.iter().all(|(stream, _)| Arc::strong_count(stream) == 1));
}

/// A replica that faults, or says nothing for long, is set aside; who only hangs up sets nobody
/// aside; and whoever is left is asked, ill or not.
#[test]
fn a_replica_that_fails_in_a_row_is_set_aside_but_never_the_last() {
    let all = Attachments::default();
    let (ill, _one) = attach(&all, &["a", "b"], 250);
    let (well, _two) = attach(&all, &["a", "b"], 250);
    let asked = |register: &str, count: usize| -> usize {
        let opened: Vec<_> = (0..count).map(|_| open(&all, register).unwrap()).collect();
        opened.iter().filter(|one| std::ptr::eq(one.attachment(), Arc::as_ptr(&ill))).count()
    };
    // Dropped at once: the callers hung up.
    assert_eq!(asked("a", 40), 20);
    assert_eq!(asked("a", 40), 20);
    for _ in 0..3 {
        fault(&ill, "a");
    }
    assert_eq!(asked("a", 40), 0);
    // At its other register it does well.
    assert_eq!(asked("b", 40), 20);
    for _ in 0..3 {
        fault(&well, "a");
    }
    assert_eq!(asked("a", 40), 20, "both are ill: both are asked");
}

/// It was asked about a register, and declined without a refusal.
fn fault(stream: &Arc<Attachment>, register: &str) {
    let mut exchange = stream.open(&Arc::from(register), &Arc::default()).unwrap();
    exchange.is_heard = true;
    drop(exchange);
}
