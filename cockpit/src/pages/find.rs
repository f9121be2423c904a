// SPDX-License-Identifier: EUPL-1.2
//! A person's records, narrowed down by the keeper: what the form sends, and what it asks for.

use std::collections::BTreeMap;

use einmal_protocol::{
    time::parse_day,
    wire::cockpit::v1::{
        ListRecordsRequest, ListRecordsResponse, NamedCount, RecordFilter, RecordResult,
        SummarizeRecordsRequest, SummarizeRecordsResponse,
    },
};
use serde::Deserialize;

use super::{
    App, PAGE_SIZE,
    answers::Trouble,
    records::{Ending, Named, RecordView, Teller, plain_name},
    when::Wall,
};
use crate::login::Login;

/// Records that one answer of the keeper holds.
const RUN: u32 = 200;
/// So many records go into one download or chart.
const LOOKED_AT_MAX: usize = 5_000;
/// An id or a date in a query is at most this long.
const WORD_MAX: usize = 200;

/// What is asked for, as the form sends it. Empty: whatever there is.
#[derive(Clone, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Filter {
    /// Id of an authority.
    pub(crate) behoerde: String,
    /// Id of a register.
    pub(crate) register: String,
    /// Id of a purpose.
    pub(crate) zweck: String,
    /// First day, YYYY-MM-DD.
    pub(crate) von: String,
    /// Last day, YYYY-MM-DD.
    pub(crate) bis: String,
    /// Code of a result.
    pub(crate) ergebnis: String,
    /// Only records before this index.
    pub(crate) seite: String,
}

impl Filter {
    /// Whether anything is left out.
    pub(crate) fn narrows(&self) -> bool {
        self.words().iter().any(|(_, word)| !word.is_empty())
    }

    fn words(&self) -> [(&'static str, &str); 6] {
        [
            ("behoerde", &self.behoerde),
            ("register", &self.register),
            ("zweck", &self.zweck),
            ("von", &self.von),
            ("bis", &self.bis),
            ("ergebnis", &self.ergebnis),
        ]
    }

    /// As a query, without the page.
    pub(crate) fn query(&self) -> String {
        let set: Vec<(&str, &str)> = self
            .words()
            .into_iter()
            .filter(|(_, word)| !word.is_empty() && word.len() <= WORD_MAX)
            .collect();
        crate::login::encode(&set)
    }

    /// As the keeper takes it. What can mean nothing, such as a date that is none, leaves out
    /// nothing.
    pub(crate) fn for_keeper(&self) -> RecordFilter {
        let only = |word: &String| {
            let meant = !word.is_empty() && word.len() <= WORD_MAX;
            if meant { vec![word.clone()] } else { Vec::new() }
        };
        let begin = |day: Option<u32>| day.map_or(0, Wall::begin_of);
        RecordFilter {
            authorities: only(&self.behoerde),
            registers: only(&self.register),
            purposes: only(&self.zweck),
            from_ms: begin(parse_day(&self.von)),
            until_ms: begin(parse_day(&self.bis).map(|day| day.saturating_add(1))),
            results: Ending::parse(&self.ergebnis).map(Ending::for_keeper).into_iter().collect(),
        }
    }
}

/// What a person may choose from: ids with their names, as their own records have them.
#[derive(Default)]
pub(crate) struct Choices {
    pub(crate) authorities: BTreeMap<String, String>,
    pub(crate) registers: BTreeMap<String, String>,
    pub(crate) purposes: BTreeMap<String, String>,
    pub(crate) results: BTreeMap<&'static str, &'static str>,
}

/// What was found.
pub(crate) struct Found {
    pub(crate) records: Vec<RecordView>,
    /// How many fit.
    pub(crate) fitting: u64,
    /// How many there are.
    pub(crate) total: u64,
    /// Where the next page begins; empty where there is none.
    pub(crate) next: String,
    pub(crate) choices: Choices,
}

impl Choices {
    fn of(summary: &SummarizeRecordsResponse, teller: Teller<'_>) -> Self {
        let words = teller.vocabulary;
        let named = |counts: &[NamedCount], name: &dyn Fn(&str) -> Named| {
            counts.iter().map(|count| (count.id.clone(), name(&count.id).name)).collect()
        };
        let results = summary.results.iter().map(|count| Ending::from(count.result()));
        Self {
            authorities: named(&summary.authorities, &|id| {
                plain_name(id, words.authority_name(id))
            }),
            registers: named(&summary.registers, &|id| plain_name(id, words.register_name(id))),
            purposes: named(&summary.purposes, &|id| teller.named(id, words.purpose(id))),
            results: results.map(|result| (result.code(), teller.result_short(result))).collect(),
        }
    }
}

/// A page of the records that fit.
pub(crate) async fn find(
    app: &App,
    person: &Login,
    filter: &Filter,
    teller: Teller<'_>,
) -> Result<Found, Trouble> {
    let request = SummarizeRecordsRequest {
        subject: Some(person.person.clone()),
        login: Some((&person.proof).into()),
        filter: None,
    };
    let summary = app.pages.keeper.clone().summarize_records(request).await?.into_inner();
    let page = ask_list(app, person, filter.for_keeper(), (PAGE_SIZE, &filter.seite)).await?;
    Ok(Found {
        records: page.records.iter().filter_map(|record| teller.tell(record)).collect(),
        fitting: page.total,
        total: summary.total,
        next: page.next_page_token,
        choices: Choices::of(&summary, teller),
    })
}

/// All that fit, for a download.
pub(crate) async fn find_all(
    app: &App,
    person: &Login,
    filter: &Filter,
    teller: Teller<'_>,
) -> Result<Vec<RecordView>, Trouble> {
    Ok(everything(app, person, filter, teller).await?.0)
}

/// All of a person's records that fit, newest first, and how many the keeper says there are.
pub(crate) async fn everything(
    app: &App,
    person: &Login,
    filter: &Filter,
    teller: Teller<'_>,
) -> Result<(Vec<RecordView>, u64), Trouble> {
    let (mut all, mut token) = (Vec::new(), String::new());
    loop {
        let page = ask_list(app, person, filter.for_keeper(), (RUN, &token)).await?;
        all.extend(page.records.iter().filter_map(|record| teller.tell(record)));
        if page.next_page_token.is_empty() || all.len() >= LOOKED_AT_MAX {
            return Ok((all, page.total));
        }
        token = page.next_page_token;
    }
}

/// A page of a person's records. A page token that is none is the first page.
pub(crate) async fn ask_list(
    app: &App,
    person: &Login,
    filter: RecordFilter,
    (page_size, token): (u32, &str),
) -> Result<ListRecordsResponse, Trouble> {
    let page_token = token.parse().map(|index: u64| index.to_string()).unwrap_or_default();
    let request = ListRecordsRequest {
        subject: Some(person.person.clone()),
        page_size,
        page_token,
        login: Some((&person.proof).into()),
        filter: Some(filter),
    };
    Ok(app.pages.keeper.clone().list_records(request).await?.into_inner())
}

impl From<RecordResult> for Ending {
    fn from(result: RecordResult) -> Self {
        match result {
            RecordResult::Unspecified => Self::Unknown,
            RecordResult::Found => Self::Found,
            RecordResult::NothingFound => Self::NothingFound,
            RecordResult::Ambiguous => Self::Ambiguous,
            RecordResult::NotTransmitted => Self::NotTransmitted,
            RecordResult::Refused => Self::Refused,
        }
    }
}

impl Ending {
    /// The code in queries and exports.
    pub(crate) fn code(self) -> &'static str {
        match self {
            Self::Found => "FOUND",
            Self::NothingFound => "NOTHING_FOUND",
            Self::Ambiguous => "AMBIGUOUS",
            Self::NotTransmitted => "NOT_TRANSMITTED",
            Self::Refused => "REFUSED",
            Self::Unknown => "UNKNOWN",
        }
    }

    /// The result of a code.
    fn parse(code: &str) -> Option<Self> {
        let all = [
            Self::Found,
            Self::NothingFound,
            Self::Ambiguous,
            Self::NotTransmitted,
            Self::Refused,
            Self::Unknown,
        ];
        all.into_iter().find(|result| result.code() == code)
    }

    fn for_keeper(self) -> i32 {
        let result = match self {
            Self::Found => RecordResult::Found,
            Self::NothingFound => RecordResult::NothingFound,
            Self::Ambiguous => RecordResult::Ambiguous,
            Self::NotTransmitted => RecordResult::NotTransmitted,
            Self::Refused => RecordResult::Refused,
            Self::Unknown => RecordResult::Unspecified,
        };
        result.into()
    }

    /// How its badge looks: a class of our own style and one of KERN's.
    pub(crate) fn badge(self) -> &'static str {
        match self {
            Self::Found => "found kern-badge--success",
            Self::Refused => "refused kern-badge--danger",
            Self::Unknown => "unknown kern-badge--warning",
            _ => "nothing kern-badge--info",
        }
    }
}
