// SPDX-License-Identifier: EUPL-1.2
//! The pages themselves: start, list, one record, its check, the status.

use std::sync::Arc;

use askama::Template;
use axum::{
    Extension,
    extract::{Path, Query, State},
    response::Response,
};
use einmal_protocol::wire::cockpit::v1::{
    ExportRecordRequest, ExportedRecord, GetStatusRequest, GetStatusResponse,
};

use super::{
    App,
    answers::{Trouble, page, trouble},
    find::{Filter, Found, find},
    proof::{ProofState, ProofView, by_hand as by_hand_of, prove},
    records::{Ending, RecordView, Teller},
    rules_of::RulesOf,
    visit::{LoggedIn, Visit},
    when::Wall,
    words::Lang,
};
use crate::login::Login;

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
    count: String,
    found: &'a Found,
    filter: &'a Filter,
    query: String,
    complete: String,
}

#[derive(Template)]
#[template(path = "detail.html")]
struct DetailPage<'a> {
    v: &'a Visit,
    r: RecordView,
    proof: ProofView,
    rules: Option<RulesOf>,
}

#[derive(Template)]
#[template(path = "check.html")]
struct CheckPage<'a> {
    v: &'a Visit,
    r: RecordView,
    proof: ProofView,
    now: String,
}

#[derive(Template)]
#[template(path = "by_hand.html")]
struct ByHandPage<'a> {
    v: &'a Visit,
    proof: &'a ProofView,
    commands: [String; 3],
}

#[derive(Template)]
#[template(path = "status.html")]
struct StatusPage<'a> {
    v: &'a Visit,
    s: GetStatusResponse,
    when: String,
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
    LoggedIn { v, person }: LoggedIn,
    Query(filter): Query<Filter>,
) -> Response {
    let teller = app.teller(v.lang);
    let mut found = match find(&app, &person, &filter, teller).await {
        Ok(found) => found,
        Err(error) => return trouble(&v, error),
    };
    let complete = match ask_status(&app).await {
        Ok(status) if status.complete_up_to_ms > 0 => {
            Wall::at(status.complete_up_to_ms).both(v.lang)
        }
        _ => String::new(),
    };
    let mut months: Vec<(String, Vec<RecordView>)> = Vec::new();
    for record in std::mem::take(&mut found.records) {
        match months.last_mut().filter(|(month, _)| *month == record.month) {
            Some((_, records)) => records.push(record),
            None => months.push((record.month.clone(), vec![record])),
        }
    }
    page(&ListPage {
        v: &v,
        months,
        count: count(&found, filter.narrows(), v.lang),
        query: filter.query(),
        found: &found,
        filter: &filter,
        complete,
    })
}

/// "4 Einträge", or "1 von 4 Einträgen".
fn count(found: &Found, narrowed: bool, lang: Lang) -> String {
    let total = found.total;
    if narrowed {
        let fitting = found.fitting;
        return lang.pick(
            format!("{fitting} von {total} Einträgen"),
            format!("{fitting} of {total} entries"),
            format!("{fitting} von {total} Einträgen"),
        );
    }
    let one = total == 1;
    lang.pick(
        format!("{total} {}", if one { "Eintrag" } else { "Einträge" }),
        format!("{total} {}", if one { "entry" } else { "entries" }),
        format!("{total} {}", if one { "Eintrag" } else { "Einträge" }),
    )
}

/// A person's record in words, with its proof checked, and as the keeper gave it.
pub(crate) async fn look_up(
    app: &App,
    person: &Login,
    index: &str,
    teller: Teller<'_>,
) -> Result<(RecordView, ProofView, ExportedRecord), Trouble> {
    let floor = app.newest.floor();
    let export = ask_export(app, person.clone(), index).await?;
    let told = export.record.as_ref().and_then(|record| teller.tell(record));
    let proof = prove(&export, &app.pages.ledger, &app.newest, floor);
    Ok((told.ok_or(Trouble::Broken)?, proof, export))
}

pub(crate) async fn detail(
    State(app): Shared,
    LoggedIn { v, person }: LoggedIn,
    Path(index): Path<String>,
) -> Response {
    let teller = app.teller(v.lang);
    match look_up(&app, &person, &index, teller).await {
        Ok((r, proof, export)) => {
            let rules = RulesOf::read(&export, &r.policies);
            page(&DetailPage { v: &v, r, proof, rules })
        }
        Err(error) => trouble(&v, error),
    }
}

pub(crate) async fn check(
    State(app): Shared,
    LoggedIn { v, person }: LoggedIn,
    Path(index): Path<String>,
) -> Response {
    let teller = app.teller(v.lang);
    match look_up(&app, &person, &index, teller).await {
        Ok((r, proof, _)) => {
            let now = Wall::at(app.pages.clock.now_ms()).both(v.lang);
            page(&CheckPage { v: &v, r, proof, now })
        }
        Err(error) => trouble(&v, error),
    }
}

pub(crate) async fn by_hand(
    State(app): Shared,
    LoggedIn { v, person }: LoggedIn,
    Path(index): Path<String>,
) -> Response {
    let teller = app.teller(v.lang);
    match look_up(&app, &person, &index, teller).await {
        Ok((_, proof, _)) => {
            let commands = by_hand_of(&proof, &app.pages.ledger);
            page(&ByHandPage { v: &v, proof: &proof, commands })
        }
        Err(error) => trouble(&v, error),
    }
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

/// One record of a person with its proofs.
pub(crate) async fn ask_export(
    app: &App,
    person: Login,
    index: &str,
) -> Result<ExportedRecord, Trouble> {
    let index = index.parse().map_err(|_| Trouble::NotFound)?;
    let login = Some((&person.proof).into());
    let request = ExportRecordRequest { subject: Some(person.person), index, login };
    let answer = app.pages.keeper.clone().export_record(request).await?.into_inner();
    answer.record.ok_or(Trouble::NotFound)
}

pub(crate) async fn ask_status(app: &App) -> Result<GetStatusResponse, Trouble> {
    Ok(app.pages.keeper.clone().get_status(GetStatusRequest {}).await?.into_inner())
}
