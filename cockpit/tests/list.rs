// SPDX-License-Identifier: EUPL-1.2
//! A person's list: its pages hang together, filters narrow it, summaries count it.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test")]

mod house;

use einmal_protocol::{
    time::DAY_MS,
    wire::{
        cockpit::v1::{
            ListRecordsRequest, ListRecordsResponse, RecordFilter, RecordResult,
            SummarizeRecordsRequest,
        },
        v1::Outcome,
    },
};
use house::*;
use sqlx::Connection;

#[tokio::test(flavor = "multi_thread")]
async fn pages_of_the_list_hang_together() {
    let mut house = House::build().await;
    for _ in 0..7 {
        house.exchange(&Ask::about(&canary()));
    }
    house.catch_up().await.unwrap();
    let (mut seen, mut token, mut pages) = (Vec::new(), String::new(), 0);
    loop {
        let request = ListRecordsRequest {
            subject: Some(canary()),
            page_size: 3,
            page_token: token,
            login: demo(),
            ..<_>::default()
        };
        let answer = house.client().list_records(request).await.unwrap().into_inner();
        assert_eq!(answer.total, 7);
        seen.extend(answer.records.into_iter().map(|record| record.index));
        token = answer.next_page_token;
        pages += 1;
        if token.is_empty() {
            break;
        }
    }
    assert_eq!((seen, pages), ((0..7).rev().collect(), 3));
}

#[tokio::test(flavor = "multi_thread")]
async fn filters_narrow_and_pages_stay_when_more_is_logged() {
    let mut house = House::build().await;
    // Two of March, by different purposes; one refused; one of April that found nothing.
    let mut ask = Ask::about(&canary());
    house.exchange(&ask);
    ask.purpose = "housing-allowance".into();
    house.exchange(&ask);
    house.refusal(&ask, "NOT_PERMITTED");
    ask.at_ms = NOW + 29 * DAY_MS;
    ask.outcome = Outcome::NothingFound;
    ask.released.clear();
    house.exchange(&ask);
    house.exchange(&Ask::about(&other()));
    house.catch_up().await.unwrap();

    let housing = RecordFilter { purposes: vec!["housing-allowance".into()], ..<_>::default() };
    let results = |results: &[RecordResult]| RecordFilter {
        results: results.iter().map(|result| (*result).into()).collect(),
        ..<_>::default()
    };
    let nobody = RecordFilter { authorities: vec!["nobody".into()], ..<_>::default() };
    let register = RecordFilter { registers: vec![REGISTER.into()], ..<_>::default() };
    let march = RecordFilter { until_ms: NOW + DAY_MS, ..<_>::default() };
    let from = RecordFilter { from_ms: NOW, until_ms: NOW, ..<_>::default() };
    let both = RecordFilter { until_ms: NOW + 1, ..housing.clone() };
    for (filter, expected) in [
        (RecordFilter::default(), vec![3, 2, 1, 0]),
        (housing.clone(), vec![3, 2, 1]),
        (both, vec![2, 1]),
        (results(&[RecordResult::Refused]), vec![2]),
        (results(&[RecordResult::NothingFound, RecordResult::Found]), vec![3, 1, 0]),
        (nobody, vec![]),
        (register, vec![3, 2, 1, 0]),
        (march, vec![2, 1, 0]),
        (from, vec![]),
    ] {
        let found = list(&house, filter.clone(), 0, "").await;
        let indices: Vec<u64> = found.records.iter().map(|record| record.index).collect();
        assert_eq!((found.total, indices), (expected.len() as u64, expected), "{filter:?}");
    }

    // What is logged between two pages stands before the first and shifts nothing.
    let first = list(&house, housing.clone(), 2, "").await;
    assert_eq!((first.records.len(), first.total), (2, 3));
    house.exchange(&ask);
    house.catch_up().await.unwrap();
    let second = list(&house, housing.clone(), 2, &first.next_page_token).await;
    assert_eq!(second.records.iter().map(|record| record.index).collect::<Vec<_>>(), [1]);
    assert_eq!((second.next_page_token.as_str(), second.total), ("", 4));

    let request = SummarizeRecordsRequest {
        subject: Some(canary()),
        login: demo(),
        filter: Some(RecordFilter { until_ms: NOW + DAY_MS, ..<_>::default() }),
    };
    let summary = house.client().summarize_records(request.clone()).await.unwrap().into_inner();
    assert_eq!((summary.total, summary.months.len()), (3, 1));
    let month = &summary.months[0];
    assert_eq!((month.year, month.month, month.count), (2026, 3, 3));
    assert_eq!(month.authority, AUTHORITY);
    assert_eq!(summary.purposes[0].id, "housing-allowance");
    assert_eq!((summary.purposes[0].count, summary.results.len()), (2, 2));
    let nobody = SummarizeRecordsRequest { login: None, ..request };
    assert!(house.client().summarize_records(nobody).await.is_err());

    let flood = RecordFilter { purposes: vec![String::new(); 101], ..<_>::default() };
    let request = ListRecordsRequest {
        subject: Some(canary()),
        login: demo(),
        filter: Some(flood),
        ..<_>::default()
    };
    assert!(house.client().list_records(request).await.is_err());
}

async fn list(
    house: &House,
    filter: RecordFilter,
    page_size: u32,
    token: &str,
) -> ListRecordsResponse {
    let request = ListRecordsRequest {
        subject: Some(canary()),
        page_size,
        page_token: token.to_owned(),
        login: demo(),
        filter: Some(filter),
    };
    house.client().list_records(request).await.unwrap().into_inner()
}

/// An index of before lists had filters: the column came later, and its rows were written without.
#[tokio::test(flavor = "multi_thread")]
async fn an_index_of_an_older_version_is_completed_from_its_own_bodies() {
    let mut house = House::build().await;
    for _ in 0..3 {
        house.exchange(&Ask::about(&canary()));
    }
    house.refusal(&Ask::about(&canary()), "NOT_PERMITTED");
    house.catch_up().await.unwrap();
    let summary = |house: &House| {
        let request = SummarizeRecordsRequest {
            subject: Some(canary()),
            login: demo(),
            ..SummarizeRecordsRequest::default()
        };
        let mut client = house.client();
        async move { client.summarize_records(request).await }
    };
    let before = summary(&house).await.unwrap().into_inner();
    assert_eq!(before.total, 4);

    let options = sqlx::sqlite::SqliteConnectOptions::new();
    let file = options.filename(house.folder.join("index.sqlite"));
    let mut old = sqlx::SqliteConnection::connect_with(&file).await.unwrap();
    sqlx::raw_sql("DROP INDEX records_without_facts; ALTER TABLE records DROP COLUMN facts;")
        .execute(&mut old)
        .await
        .unwrap();
    old.close().await.unwrap();
    house.reopen().await;
    assert!(summary(&house).await.is_err(), "nothing is made up");
    let records = house.intake.complete().await.unwrap();
    assert!(records >= 4, "{records}");
    assert_eq!(summary(&house).await.unwrap().into_inner(), before);
    assert_eq!(house.intake.complete().await.unwrap(), 0);
}
