// SPDX-License-Identifier: EUPL-1.2
//! The same records as JSON, for the same session.

use axum::{
    Extension, Json,
    extract::{Path, Query, State},
    http::StatusCode,
    response::{IntoResponse, Response},
};
use serde::{Deserialize, Serialize};

use super::{
    PAGE_SIZE,
    answers::Trouble,
    find::{Filter, ask_list},
    proof::ProofView,
    records::RecordView,
    routes::{Shared, Visitor, look_up},
};

#[derive(Deserialize)]
pub(crate) struct ListQuery {
    #[serde(default)]
    page_token: String,
}

#[derive(Serialize)]
struct ListAnswer {
    records: Vec<RecordView>,
    next_page_token: String,
    total: u64,
}

#[derive(Serialize)]
struct DetailAnswer {
    record: RecordView,
    proof: ProofView,
}

#[derive(Serialize)]
struct Problem {
    error: &'static str,
    advice: &'static str,
}

fn problem(status: StatusCode, error: &'static str, advice: &'static str) -> Response {
    (status, Json(Problem { error, advice })).into_response()
}

fn not_logged_in() -> Response {
    problem(StatusCode::UNAUTHORIZED, "not logged in", "log in at /anmelden in this browser")
}

fn failed(trouble: Trouble) -> Response {
    let (error, advice) = match trouble {
        Trouble::NotFound => ("no such record", "take the index from /api/v1/records"),
        _ => ("the records cannot be read", "try again in a few minutes"),
    };
    problem(trouble.status(), error, advice)
}

/// `GET /api/v1/records?page_token=`
pub(crate) async fn list(
    State(app): Shared,
    Extension(v): Visitor,
    Query(query): Query<ListQuery>,
) -> Response {
    let Some(person) = v.person else { return not_logged_in() };
    let every = Filter::default().for_keeper();
    let answer = match ask_list(&app, &person, every, (PAGE_SIZE, &query.page_token)).await {
        Ok(answer) => answer,
        Err(error) => return failed(error),
    };
    let teller = app.teller(v.lang);
    Json(ListAnswer {
        records: answer.records.iter().filter_map(|record| teller.tell(record)).collect(),
        next_page_token: answer.next_page_token,
        total: answer.total,
    })
    .into_response()
}

/// `GET /api/v1/records/{index}`
pub(crate) async fn detail(
    State(app): Shared,
    Extension(v): Visitor,
    Path(index): Path<String>,
) -> Response {
    let Some(person) = v.person else { return not_logged_in() };
    let teller = app.teller(v.lang);
    match look_up(&app, &person, &index, teller).await {
        Ok((record, proof, _)) => Json(DetailAnswer { record, proof }).into_response(),
        Err(error) => failed(error),
    }
}
