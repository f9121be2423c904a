// SPDX-License-Identifier: EUPL-1.2
//! What a person takes home: one record with its proofs (JSON), the list as a table (CSV) or to
//! print (PDF). Names of files say nothing about the person.

use axum::{
    extract::{Path, Query, State},
    http::header,
    response::{IntoResponse, Response},
};

use super::{
    answers::{Trouble, trouble},
    find::{Filter, find_all},
    pdf::{Kind, Pdf},
    records::{Named, RecordView},
    routes::{Shared, look_up},
    visit::{LoggedIn, Visit},
    when::Wall,
};
use crate::export::ExportFile;

/// An answer that a browser keeps as a file.
pub(super) fn file(kind: &str, name: &str, content: impl IntoResponse) -> Response {
    let disposition = format!("attachment; filename=\"{name}\"");
    let headers =
        [(header::CONTENT_TYPE, kind), (header::CONTENT_DISPOSITION, disposition.as_str())];
    (headers, content).into_response()
}

/// `/zugriffe/{index}/export.json`
pub(crate) async fn json(
    State(app): Shared,
    LoggedIn { v, person }: LoggedIn,
    Path(index): Path<String>,
) -> Response {
    let teller = app.teller(v.lang);
    let (told, _, export) = match look_up(&app, &person, &index, teller).await {
        Ok(found) => found,
        Err(error) => return trouble(&v, error),
    };
    let json = ExportFile::from_wire(export, told.sentence).and_then(|file| file.to_json());
    let Ok(json) = json else { return trouble(&v, Trouble::Broken) };
    file("application/json; charset=utf-8", &format!("einmal-{}.json", told.index), json)
}

/// `/zugriffe.csv`: what the list shows, as a table.
pub(crate) async fn csv(
    State(app): Shared,
    LoggedIn { v, person }: LoggedIn,
    Query(filter): Query<Filter>,
) -> Response {
    let teller = app.teller(v.lang);
    match find_all(&app, &person, &filter, teller).await {
        Ok(records) => file("text/csv; charset=utf-8", "zugriffe.csv", table(&records, &v)),
        Err(error) => trouble(&v, error),
    }
}

/// `/zugriffe.pdf`: what the list shows, to print.
pub(crate) async fn pdf(
    State(app): Shared,
    LoggedIn { v, person }: LoggedIn,
    Query(filter): Query<Filter>,
) -> Response {
    let teller = app.teller(v.lang);
    let records = match find_all(&app, &person, &filter, teller).await {
        Ok(records) => records,
        Err(error) => return trouble(&v, error),
    };
    let mut pdf = Pdf::new(v.w.list_title, v.lang.pick("de", "en", "de"));
    pdf.add(Kind::Title, v.w.list_title);
    let today = Wall::at(app.pages.clock.now_ms()).both(v.lang);
    pdf.add(Kind::Text, &format!("{} · {today}", v.w.product));
    for record in &records {
        pdf.add(Kind::Heading, &format!("{}: {}", record.when, record.authority.name));
        pdf.add(Kind::Text, &record.sentence);
        for (name, value) in rows(record, &v).into_iter().filter(|(_, value)| !value.is_empty()) {
            pdf.add(Kind::Text, &format!("{name}: {value}"));
        }
        for note in &record.findings {
            pdf.add(Kind::Text, &format!("{}: {}", v.w.list_attention, note.text));
        }
    }
    file("application/pdf", "zugriffe.pdf", pdf.finish())
}

fn names(all: &[Named]) -> String {
    all.iter().map(|each| each.name.as_str()).collect::<Vec<_>>().join(", ")
}

fn rows(record: &RecordView, v: &Visit) -> Vec<(&'static str, String)> {
    vec![
        (v.w.detail_where, record.register.name.clone()),
        (v.w.detail_what, record.evidence_type.name.clone()),
        (v.w.detail_fields_asked, names(&record.fields_asked)),
        (v.w.detail_fields, names(&record.fields)),
        (v.w.detail_why, record.purpose.name.clone()),
        (v.w.detail_basis, record.legal_basis.join("; ")),
        (v.w.detail_initiation, record.initiation.clone()),
        (v.w.detail_result, record.result_text.clone()),
        (v.w.detail_use, record.use_text.clone()),
        (v.w.detail_case, record.case_reference.clone()),
        (v.w.proof_position, record.index.to_string()),
    ]
}

/// Semicolons and a byte order mark: as spreadsheets in Germany read it.
fn table(records: &[RecordView], v: &Visit) -> String {
    let mut text = String::from("\u{feff}");
    let mut line = |cells: &[String]| {
        let cells: Vec<String> = cells.iter().map(|cell| quoted(cell)).collect();
        text.push_str(&cells.join(";"));
        text.push_str("\r\n");
    };
    let head = |name: &str| name.to_owned();
    let mut names = vec![head(v.w.detail_when), head("UTC"), head(v.w.detail_who)];
    if let Some(first) = records.first() {
        names.extend(rows(first, v).iter().map(|(name, _)| head(name)));
        names.push(head(v.w.list_attention));
    }
    line(&names);
    for record in records {
        let mut cells = vec![record.when.clone(), record.at.clone(), record.authority.name.clone()];
        cells.extend(rows(record, v).into_iter().map(|(_, value)| value));
        let notes: Vec<&str> = record.findings.iter().map(|note| note.text.as_str()).collect();
        cells.push(notes.join(" "));
        line(&cells);
    }
    text
}

/// A cell that no spreadsheet takes for a formula: what begins like one gets an apostrophe.
fn quoted(cell: &str) -> String {
    let begins = |c: char| "=+-@\t\r\n＝＋－＠".contains(c);
    let mark = if cell.trim_start_matches(' ').starts_with(begins) { "'" } else { "" };
    format!("\"{mark}{}\"", cell.replace('"', "\"\""))
}

#[cfg(test)]
mod tests {
    use super::quoted;

    #[test]
    fn no_cell_is_a_formula_or_ends_early() {
        for (cell, expected) in [
            ("Bremen", "\"Bremen\""),
            ("=cmd|' /C calc'!A0", "\"'=cmd|' /C calc'!A0\""),
            (" @SUM(1)", "\"' @SUM(1)\""),
            ("-1+1", "\"'-1+1\""),
            ("\t=1", "\"'\t=1\""),
            ("a\";=1", "\"a\"\";=1\""),
            ("", "\"\""),
        ] {
            assert_eq!(quoted(cell), expected);
        }
    }
}
