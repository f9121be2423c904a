// SPDX-License-Identifier: EUPL-1.2
//! The overview: one sentence, a chart of the last two years, the newest, and whether anything is
//! wrong.

use std::collections::BTreeSet;

use askama::Template;
use axum::{extract::State, response::Response};

use einmal_protocol::time::{day_to_iso, parse_day};

use super::{
    answers::{page, trouble},
    find::{Filter, everything},
    records::{Ending, RecordView},
    routes::{Shared, ask_status},
    visit::{LoggedIn, Visit},
    when::Wall,
    words::Lang,
};

/// Two years.
const MONTHS: u32 = 24;
const NEWEST: usize = 3;
/// Height of the chart's bars, and how far apart they stand.
const HEIGHT: usize = 90;
const STEP: u32 = 15;

#[derive(Template)]
#[template(path = "overview.html")]
struct OverviewPage<'a> {
    v: &'a Visit,
    sentence: String,
    complete: String,
    attention: usize,
    alarms: usize,
    bars: Vec<Bar>,
    most: usize,
    newest: Vec<RecordView>,
    total: u64,
}

/// A month of the chart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Bar {
    pub(crate) name: String,
    pub(crate) label: String,
    pub(crate) count: usize,
    pub(crate) x: u32,
    pub(crate) y: usize,
    pub(crate) height: usize,
    pub(crate) from: String,
    pub(crate) to: String,
}

pub(crate) async fn overview(State(app): Shared, LoggedIn { v, person }: LoggedIn) -> Response {
    let teller = app.teller(v.lang);
    let (mut all, total) = match everything(&app, &person, &Filter::default(), teller).await {
        Ok(all) => all,
        Err(error) => return trouble(&v, error),
    };
    let status = match ask_status(&app).await {
        Ok(status) => status,
        Err(error) => return trouble(&v, error),
    };
    let bars = bars(&all, Wall::at(app.pages.clock.now_ms()).month_number(), v.lang);
    page(&OverviewPage {
        sentence: sentence(&all, total, v.lang),
        complete: match status.complete_up_to_ms {
            0 => String::new(),
            ms => Wall::at(ms).both(v.lang),
        },
        attention: all.iter().filter(|record| !record.findings.is_empty()).count(),
        alarms: status.alarms.len() + status.forks.len(),
        most: bars.iter().map(|bar| bar.count).max().unwrap_or_default(),
        bars,
        newest: {
            all.truncate(NEWEST);
            all
        },
        total,
        v: &v,
    })
}

fn sentence(all: &[RecordView], total: u64, lang: Lang) -> String {
    let Some(last) = all.first() else {
        return lang
            .pick(
                "In den letzten zwei Jahren hat keine Behörde über dieses System etwas über Sie \
                 abgefragt.",
                "In the last two years no authority asked about you through this system.",
                "Kein Amt hat in den letzten 2 Jahren nach Ihren Daten gefragt.",
            )
            .to_owned();
    };
    let who: BTreeSet<&str> = all.iter().map(|record| record.authority.id.as_str()).collect();
    let refused = all.iter().filter(|record| record.result == Ending::Refused).count();
    let (who, when) = (who.len(), &last.when);
    let asked = lang.pick(
        format!(
            "In den letzten zwei Jahren {} {total}-mal Daten über Sie abgefragt, \
             zuletzt am {when}.",
            if who == 1 {
                "hat eine Behörde".to_owned()
            } else {
                format!("haben {who} Behörden zusammen")
            }
        ),
        format!(
            "In the last two years {} asked about you {} altogether, most recently on {when}.",
            if who == 1 { "one authority".to_owned() } else { format!("{who} authorities") },
            if total == 1 { "once".to_owned() } else { format!("{total} times") }
        ),
        format!(
            "{total}-mal wurde in den letzten 2 Jahren nach Ihren Daten gefragt. Das letzte Mal \
             war am {when}."
        ),
    );
    let refused = match refused {
        0 => String::new(),
        1 => lang
            .pick(
                " Eine Anfrage wurde abgelehnt.",
                " One request was refused.",
                " Einmal hat das Amt keine Daten bekommen.",
            )
            .to_owned(),
        many => lang.pick(
            format!(" {many} Anfragen wurden abgelehnt."),
            format!(" {many} requests were refused."),
            format!(" {many}-mal hat das Amt keine Daten bekommen."),
        ),
    };
    asked + &refused
}

/// The last two years, a bar a month.
fn bars(all: &[RecordView], now: u32, lang: Lang) -> Vec<Bar> {
    let month = |record: &RecordView| {
        let mut parts = record.day.splitn(3, '-').map(|part| part.parse::<u32>().unwrap_or(0));
        let (year, month) = (parts.next().unwrap_or(0), parts.next().unwrap_or(1));
        year * 12 + month.saturating_sub(1)
    };
    let first = now.saturating_sub(MONTHS - 1);
    let mut counts = vec![0_usize; MONTHS as usize];
    for record in all {
        let place = month(record).checked_sub(first).and_then(|at| counts.get_mut(at as usize));
        if let Some(count) = place {
            *count += 1;
        }
    }
    let most = counts.iter().copied().max().unwrap_or_default().max(1);
    (0..MONTHS)
        .zip(counts)
        .map(|(at, count)| {
            let number = first + at;
            let (short, year) = Wall::short_month(number, lang);
            // Something that happened is to be seen, however small beside the most.
            let height = if count == 0 { 0 } else { (count * HEIGHT / most).max(4) };
            let first_of = |number: u32| format!("{:04}-{:02}-01", number / 12, number % 12 + 1);
            let last = parse_day(&first_of(number + 1)).map_or(0, |day| day - 1);
            Bar {
                name: Wall::long_month(number, lang),
                label: match at % 6 {
                    0 => format!("{short} {:02}", year % 100),
                    _ => String::new(),
                },
                count,
                x: at * STEP,
                y: HEIGHT + 20 - height,
                height,
                from: first_of(number),
                to: day_to_iso(last),
            }
        })
        .collect()
}
