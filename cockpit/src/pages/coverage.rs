// SPDX-License-Identifier: EUPL-1.2
//! Who takes part, how far everything was checked, and what is missing; and the help.

use askama::Template;
use axum::{Extension, extract::State, response::Response};

use super::{
    answers::{page, trouble},
    routes::{Shared, Visitor, ask_status},
    visit::Visit,
    when::Wall,
};

#[derive(Template)]
#[template(path = "coverage.html")]
struct CoveragePage<'a> {
    v: &'a Visit,
    authorities: Vec<String>,
    registers: Vec<(String, String)>,
    complete: String,
    entries: u64,
    gaps: usize,
}

#[derive(Template)]
#[template(path = "help.html")]
struct HelpPage<'a> {
    v: &'a Visit,
}

pub(crate) async fn coverage(State(app): Shared, Extension(v): Visitor) -> Response {
    let status = match ask_status(&app).await {
        Ok(status) => status,
        Err(error) => return trouble(&v, error),
    };
    let all = app.pages.vocabulary.participants();
    let holds = |ids: &[String]| {
        let names = ids.iter().map(|id| {
            let texts = app.pages.vocabulary.evidence_type(id);
            texts.map_or_else(|| id.clone(), |t| v.lang.pick(t.de, t.en, t.de_leicht))
        });
        names.collect::<Vec<_>>().join(", ")
    };
    page(&CoveragePage {
        registers: all.registers.iter().map(|(name, ids)| (name.clone(), holds(ids))).collect(),
        authorities: all.authorities,
        complete: match status.complete_up_to_ms {
            0 => v.w.status_never.to_owned(),
            ms => Wall::at(ms).both(v.lang),
        },
        entries: status.complete_up_to,
        gaps: status.alarms.len() + status.forks.len(),
        v: &v,
    })
}

pub(crate) async fn help(Extension(v): Visitor) -> Response {
    page(&HelpPage { v: &v })
}
