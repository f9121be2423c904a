// SPDX-License-Identifier: EUPL-1.2
//! The pages themselves: start, login, list, one record, its export, the status.

use std::sync::Arc;

use askama::Template;
use axum::{
    Extension,
    extract::{Path, Query, State},
    http::header,
    response::{IntoResponse, Response},
};
use einmal_protocol::wire::{
    cockpit::v1::{
        ExportRecordRequest, ExportedRecord, GetStatusRequest, GetStatusResponse,
        ListRecordsRequest, ListRecordsResponse,
    },
    v1::Subject,
};
use serde::Deserialize;

use super::{
    App, PAGE_SIZE,
    answers::{Trouble, go, page, trouble},
    records::{Ending, ProofView, RecordView, Teller, prove},
    visit::{Visit, is_page_token},
    when::Wall,
};
use crate::export::ExportFile;

#[derive(Template)]
#[template(path = "start.html")]
struct StartPage<'a> {
    v: &'a Visit,
}

#[derive(Template)]
#[template(path = "list.html")]
struct ListPage<'a> {
    v: &'a Visit,
    months: Vec<(String, Vec<RecordView>)>,
    total: String,
    next: String,
    is_first: bool,
    complete: String,
}

#[derive(Template)]
#[template(path = "detail.html")]
struct DetailPage<'a> {
    v: &'a Visit,
    r: RecordView,
    proof: ProofView,
}

#[derive(Template)]
#[template(path = "status.html")]
struct StatusPage<'a> {
    v: &'a Visit,
    s: GetStatusResponse,
    when: String,
}

/// `?seite=`: where a page of the list begins.
#[derive(Deserialize)]
pub(crate) struct ListQuery {
    #[serde(default)]
    seite: String,
}

pub(crate) type Visitor = Extension<Visit>;
pub(crate) type Shared = State<Arc<App>>;

pub(crate) async fn start(Extension(v): Visitor) -> Response {
    page(&StartPage { v: &v })
}

pub(crate) async fn not_found(Extension(v): Visitor) -> Response {
    trouble(&v, Trouble::NotFound)
}

pub(crate) async fn list(
    State(app): Shared,
    Extension(v): Visitor,
    Query(query): Query<ListQuery>,
) -> Response {
    let Some(person) = v.person.clone() else { return go("/anmelden") };
    let answer = match ask_list(&app, person, &query.seite).await {
        Ok(answer) => answer,
        Err(error) => return trouble(&v, error),
    };
    let complete = match ask_status(&app).await {
        Ok(status) if status.complete_up_to_ms > 0 => {
            Wall::at(status.complete_up_to_ms).both(v.lang)
        }
        _ => String::new(),
    };
    let teller = Teller { vocabulary: app.pages.vocabulary.as_ref(), lang: v.lang };
    let mut months: Vec<(String, Vec<RecordView>)> = Vec::new();
    for record in answer.records.iter().filter_map(|record| teller.tell(record)) {
        match months.last_mut().filter(|(month, _)| *month == record.month) {
            Some((_, records)) => records.push(record),
            None => months.push((record.month.clone(), vec![record])),
        }
    }
    page(&ListPage {
        total: v.lang.pick(
            format!("{} {}", answer.total, if answer.total == 1 { "Eintrag" } else { "Einträge" }),
            format!("{} {}", answer.total, if answer.total == 1 { "entry" } else { "entries" }),
            format!("{} {}", answer.total, if answer.total == 1 { "Eintrag" } else { "Einträge" }),
        ),
        v: &v,
        months,
        next: answer.next_page_token,
        is_first: query.seite.is_empty(),
        complete,
    })
}

pub(crate) async fn detail(
    State(app): Shared,
    Extension(v): Visitor,
    Path(index): Path<String>,
) -> Response {
    let Some(person) = v.person.clone() else { return go("/anmelden") };
    let export = match ask_export(&app, person, &index).await {
        Ok(export) => export,
        Err(error) => return trouble(&v, error),
    };
    let teller = Teller { vocabulary: app.pages.vocabulary.as_ref(), lang: v.lang };
    let Some(r) = export.record.as_ref().and_then(|record| teller.tell(record)) else {
        return trouble(&v, Trouble::Broken);
    };
    let proof = prove(&export, &app.pages.ledger);
    page(&DetailPage { v: &v, r, proof })
}

pub(crate) async fn export(
    State(app): Shared,
    Extension(v): Visitor,
    Path(index): Path<String>,
) -> Response {
    let Some(person) = v.person.clone() else { return go("/anmelden") };
    let export = match ask_export(&app, person, &index).await {
        Ok(export) => export,
        Err(error) => return trouble(&v, error),
    };
    let teller = Teller { vocabulary: app.pages.vocabulary.as_ref(), lang: v.lang };
    let told = export.record.as_ref().and_then(|record| teller.tell(record));
    let Some(told) = told else { return trouble(&v, Trouble::Broken) };
    let json = ExportFile::from_wire(export, told.sentence).and_then(|file| file.to_json());
    let Ok(json) = json else { return trouble(&v, Trouble::Broken) };
    let name = format!("attachment; filename=\"einmal-{}.json\"", told.index);
    let headers = [
        (header::CONTENT_TYPE, "application/json; charset=utf-8"),
        (header::CONTENT_DISPOSITION, name.as_str()),
    ];
    (headers, json).into_response()
}

pub(crate) async fn status(State(app): Shared, Extension(v): Visitor) -> Response {
    match ask_status(&app).await {
        Ok(s) => {
            let when = match s.complete_up_to_ms {
                0 => v.w.status_never.to_owned(),
                ms => Wall::at(ms).both(v.lang),
            };
            page(&StatusPage { v: &v, s, when })
        }
        Err(error) => trouble(&v, error),
    }
}

/// A page of a person's records. A page token that is none is the first page.
pub(crate) async fn ask_list(
    app: &App,
    person: Subject,
    token: &str,
) -> Result<ListRecordsResponse, Trouble> {
    let page_token = if is_page_token(token) { token.to_owned() } else { String::new() };
    let request = ListRecordsRequest { subject: Some(person), page_size: PAGE_SIZE, page_token };
    Ok(app.pages.keeper.clone().list_records(request).await?.into_inner())
}

/// One record of a person with its proofs.
pub(crate) async fn ask_export(
    app: &App,
    person: Subject,
    index: &str,
) -> Result<ExportedRecord, Trouble> {
    let index = index.parse().map_err(|_| Trouble::NotFound)?;
    let request = ExportRecordRequest { subject: Some(person), index };
    let answer = app.pages.keeper.clone().export_record(request).await?.into_inner();
    answer.record.ok_or(Trouble::NotFound)
}

async fn ask_status(app: &App) -> Result<GetStatusResponse, Trouble> {
    Ok(app.pages.keeper.clone().get_status(GetStatusRequest {}).await?.into_inner())
}
