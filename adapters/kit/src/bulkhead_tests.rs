// SPDX-License-Identifier: EUPL-1.2
//! What one register does to another: nothing.

use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicUsize, Ordering},
};

use einmal_protocol::{person::PersonQuery, wire::v1::Subject};
use tokio::time::timeout;

use super::*;
use crate::register::{Found, async_trait};

/// How a register misbehaves.
#[derive(Clone, Copy, PartialEq)]
enum How {
    Well,
    Blocks(Duration),
    Hangs,
    Panics,
    Fails,
    Garbles,
}

struct Bad {
    how: Mutex<How>,
    asked: AtomicUsize,
}

impl Bad {
    fn new(how: How) -> Arc<Self> {
        Arc::new(Self { how: Mutex::new(how), asked: AtomicUsize::new(0) })
    }
}

#[async_trait]
impl Register for Bad {
    async fn retrieve(&self, query: &Query) -> Result<Answer, RegisterFault> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        let how = *self.how.lock().unwrap();
        let source_name = "s".to_owned();
        match how {
            How::Well => {}
            // On purpose: code that holds its thread.
            How::Blocks(time) => std::thread::sleep(time),
            How::Hangs => std::future::pending().await,
            How::Panics => panic!("a person's name"),
            How::Fails => {
                return Err(RegisterFault::Source { source_name, problem: String::new() });
            }
            How::Garbles => {
                let (field, problem) = (String::new(), String::new());
                return Err(RegisterFault::Value { source_name, field, problem });
            }
        }
        let subject: Subject = query.person.to_subject();
        let (affected, values) = (Vec::new(), BTreeMap::new());
        Ok(Answer::Found(Found { subject, affected, values, blocked: false }))
    }
}

fn query() -> Query {
    let person =
        PersonQuery::Idnr { idnr: "86095742719".to_owned(), birth_date: "1990-01-01".to_owned() };
    Query { person, evidence_type: "t".to_owned(), fields: Vec::new() }
}

/// A wall of its own around each register, and the threads of all.
fn walls<const N: usize>(limits: &RegisterLimits) -> (Threads, [Bulkhead; N]) {
    let threads = Threads::new(std::iter::repeat_n(limits.clone(), N), 64).unwrap();
    let walls = std::array::from_fn(|_| Bulkhead::new("r", limits, 64, threads.handle()));
    (threads, walls)
}

async fn ask(wall: &Bulkhead, register: &Arc<Bad>) -> Result<Answer, LookupFault> {
    let register = Arc::clone(register) as Arc<dyn Register>;
    wall.enter("t").await?.retrieve(&register, query()).await
}

fn limits() -> RegisterLimits {
    let (lookups, waiting, faults) = (Some(2), Some(0), Some(3));
    RegisterLimits { lookups, waiting, faults, pause_ms: Some(100), ..RegisterLimits::default() }
}

const SOON: Duration = Duration::from_secs(10);

/// On one thread: whoever held it would hold everybody.
#[tokio::test]
async fn one_that_blocks_its_thread_takes_its_own_places_and_nobody_else_s() {
    let limits = RegisterLimits { lookup_ms: Some(50), ..limits() };
    let (_threads, [bad, good]) = walls(&limits);
    let blocks = Bad::new(How::Blocks(Duration::from_millis(600)));
    let well = Bad::new(How::Well);
    let (one, two) = tokio::join!(ask(&bad, &blocks), ask(&bad, &blocks));
    assert!(matches!((one, two), (Err(LookupFault::TooLong(_)), Err(LookupFault::TooLong(_)))));
    // Its code still runs, so its places are taken still.
    assert_eq!(bad.state().lookups, 2);
    let began = Instant::now();
    assert!(matches!(ask(&bad, &blocks).await, Err(LookupFault::Closed(Closed::Busy))));
    for _ in 0..20 {
        assert!(ask(&good, &well).await.is_ok());
    }
    assert!(began.elapsed() < Duration::from_millis(500), "{:?}", began.elapsed());
    timeout(SOON, async {
        while bad.state().lookups > 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await
    .expect("places come free when the code has ended");
}

#[tokio::test]
async fn one_that_hangs_is_ended_at_its_limit_and_left_alone() {
    let limits = RegisterLimits { lookup_ms: Some(20), ..limits() };
    let (_threads, [wall]) = walls(&limits);
    let register = Bad::new(How::Hangs);
    for _ in 0..3 {
        assert!(matches!(ask(&wall, &register).await, Err(LookupFault::TooLong(_))));
    }
    assert_eq!(wall.state().breakers, [("t".to_owned(), BreakerState::Open)]);
    assert!(matches!(ask(&wall, &register).await, Err(LookupFault::Closed(Closed::LeftAlone))));
    assert_eq!(register.asked.load(Ordering::SeqCst), 3, "nobody asks it meanwhile");
    // Another evidence type of this register has another source.
    assert!(wall.enter("u").await.is_ok());
    *register.how.lock().unwrap() = How::Well;
    tokio::time::sleep(Duration::from_millis(120)).await;
    assert!(ask(&wall, &register).await.is_ok());
    assert_eq!(wall.state().breakers, []);
}

#[tokio::test]
async fn what_is_about_one_person_opens_no_breaker() {
    let (_threads, [wall]) = walls(&limits());
    for how in [How::Panics, How::Garbles] {
        let register = Bad::new(how);
        for _ in 0..10 {
            let fault = ask(&wall, &register).await.unwrap_err();
            assert!(fault.may_be_about_the_person(), "{fault}");
        }
        assert_eq!(wall.state().breakers, []);
    }
    let fails = Bad::new(How::Fails);
    for _ in 0..3 {
        let fault = ask(&wall, &fails).await.unwrap_err();
        assert!(!fault.may_be_about_the_person(), "{fault}");
    }
    assert_eq!(wall.state().breakers, [("t".to_owned(), BreakerState::Open)]);
}

/// SAME-ANSWER: a place is held until the one who asked lets it go, however fast the lookup was.
#[tokio::test]
async fn a_place_does_not_tell_when_the_lookup_ended() {
    let (_threads, [wall]) = walls(&limits());
    let register = Bad::new(How::Well) as Arc<dyn Register>;
    let lookups = [wall.enter("t").await.unwrap(), wall.enter("t").await.unwrap()];
    for lookup in &lookups {
        assert!(lookup.retrieve(&register, query()).await.is_ok());
    }
    assert!(matches!(wall.enter("t").await, Err(Closed::Busy)));
    drop(lookups);
    let ended = async {
        while wall.state().lookups > 0 {
            tokio::task::yield_now().await;
        }
    };
    timeout(SOON, ended).await.unwrap();
}
