// SPDX-License-Identifier: EUPL-1.2
//! Where a question goes when brokers are away, drain, are full, or say no.

use std::{cell::RefCell, collections::VecDeque};

use einmal_protocol::reason::DOMAIN;
use rustls::RootCertStore;
use tonic_types::ErrorDetails;

use super::*;

fn brokers(count: usize) -> Brokers {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let tls = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(RootCertStore::empty())
        .with_no_client_auth();
    let named = (1..=count).map(|number| format!("https://127.0.0.1:{number}")).collect();
    Brokers::new(named, "test.example", Arc::new(tls)).unwrap()
}

fn said(reason: Reason, retry: Option<Duration>) -> Status {
    let mut details = ErrorDetails::with_error_info(reason.as_str(), DOMAIN, HashMap::new());
    details.set_retry_info(retry);
    Status::with_error_details(Code::Unavailable, reason.message(), details)
}

/// Asks brokers that say this, one after the other; what came of it and how many were asked.
async fn ask(
    brokers: &Brokers,
    patience: Duration,
    words: impl IntoIterator<Item = Result<u8, Status>>,
) -> (Result<u8, Status>, usize) {
    let words = RefCell::new(words.into_iter().collect::<VecDeque<_>>());
    let all = words.borrow().len();
    let answer = |_| {
        let word = words.borrow_mut().pop_front().expect("nobody more is asked");
        async { word }
    };
    let came = brokers.ask(brokers.named(), patience, answer).await;
    let left = words.borrow().len();
    (came, all - left)
}

#[tokio::test(start_paused = true)]
async fn another_broker_is_asked_where_that_helps_and_not_where_it_does_not() {
    let helps = [
        said(Reason::Draining, None),
        said(Reason::BrokerBusy, Some(Duration::from_secs(1))),
        said(Reason::LedgerUnavailable, None),
        said(Reason::RegisterNotAttached, None),
        said(Reason::DenyListStale, None),
        Status::unavailable("tcp connect error"),
        Status::unknown("transport error"),
    ];
    for status in helps {
        let name = status.message().to_owned();
        let (came, asked) = ask(&brokers(2), Duration::ZERO, [Err(status), Ok(7)]).await;
        assert_eq!((came.unwrap(), asked), (7, 2), "{name}");
    }
    let ends = [
        said(Reason::NotPermitted, None),
        said(Reason::AnswerLost, None),
        said(Reason::RegisterFault, None),
        said(Reason::IdReused, None),
        said(Reason::DeadlineExceeded, None),
        Status::invalid_argument("of somebody else"),
    ];
    for status in ends {
        let name = status.message().to_owned();
        let (came, asked) = ask(&brokers(2), Duration::from_secs(60), [Err(status), Ok(7)]).await;
        assert!(came.is_err() && asked == 1, "{name}");
    }
}

#[tokio::test(start_paused = true)]
async fn patience_is_kept_and_what_a_broker_says_of_it_too() {
    let busy = || Err(said(Reason::BrokerBusy, Some(Duration::from_secs(3))));
    // Each of them once, and no more without patience.
    let (came, asked) = ask(&brokers(3), Duration::ZERO, [busy(), busy(), busy(), Ok(7)]).await;
    assert!(came.is_err() && asked == 3);
    let began = Instant::now();
    let (came, asked) = ask(&brokers(1), Duration::from_secs(60), [busy(), busy(), Ok(7)]).await;
    assert_eq!((came.unwrap(), asked), (7, 3));
    assert!(began.elapsed() >= Duration::from_secs(6), "{:?}", began.elapsed());
    let began = Instant::now();
    let away = || Err(Status::unavailable("tcp connect error"));
    let words = std::iter::repeat_with(away).take(100);
    let (came, asked) = ask(&brokers(1), Duration::from_secs(20), words).await;
    assert!(came.is_err() && (4..20).contains(&asked), "{asked}");
    assert!(began.elapsed() <= Duration::from_secs(20));
}

/// One that failed is not the first to be asked the next time; one that is only full at a register
/// stays.
#[tokio::test(start_paused = true)]
async fn who_failed_rests() {
    let brokers = brokers(2);
    let first = |brokers: &Brokers| {
        brokers.ways(&brokers.named()).first().map(|way| way.address.clone()).unwrap()
    };
    let names = brokers.named();
    let (came, _) =
        ask(&brokers, Duration::ZERO, [Err(said(Reason::RegisterBusy, None)), Ok(1)]).await;
    assert_eq!((came.unwrap(), &first(&brokers)), (1, &names[0]));
    let (came, _) = ask(&brokers, Duration::ZERO, [Err(said(Reason::Draining, None)), Ok(1)]).await;
    assert_eq!((came.unwrap(), &first(&brokers)), (1, &names[1]));
    tokio::time::advance(REST).await;
    assert_eq!(first(&brokers), names[0]);
    // A broker that says nothing at all is given up.
    let (silent, answers) = (std::future::pending().boxed(), std::future::ready(Ok(9)).boxed());
    let words = RefCell::new(VecDeque::from([silent, answers]));
    let came = brokers.ask(names, Duration::ZERO, |_| words.borrow_mut().pop_front().unwrap());
    assert_eq!(came.await.unwrap(), 9);
}

trait Boxed: Future<Output = Result<u8, Status>> + Sized + 'static {
    fn boxed(self) -> std::pin::Pin<Box<dyn Future<Output = Result<u8, Status>>>> {
        Box::pin(self)
    }
}

impl<F: Future<Output = Result<u8, Status>> + 'static> Boxed for F {}

#[tokio::test]
async fn what_is_no_address_is_refused_at_the_start() {
    let tls = Arc::clone(&brokers(1).tls);
    assert!(Brokers::new(vec!["http://127.0.0.1:1".to_owned()], "test.example", tls).is_err());
}
