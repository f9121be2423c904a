// SPDX-License-Identifier: EUPL-1.2
//! A person's records, narrowed down: the one place where the pages filter.

use std::collections::BTreeMap;

use einmal_protocol::wire::{
    cockpit::v1::{ListRecordsRequest, Record},
    v1::Subject,
};
use serde::Deserialize;

use super::{
    App, PAGE_SIZE,
    answers::Trouble,
    records::{Ending, RecordView, Teller},
};

/// Records that one answer of the keeper holds.
const RUN: u32 = 200;
/// Records of one person that are looked at; more than that are shown unfiltered, page by page.
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

    /// Whether a record is asked for. A date that is none leaves out nothing.
    fn takes(&self, record: &RecordView) -> bool {
        let is = |word: &str, id: &str| word.is_empty() || word == id;
        let date = |word: &str| einmal_protocol::person::is_date(word);
        is(&self.behoerde, &record.authority.id)
            && is(&self.register, &record.register.id)
            && is(&self.zweck, &record.purpose.id)
            && is(&self.ergebnis, record.result.code())
            && (!date(&self.von) || record.day >= self.von)
            && (!date(&self.bis) || record.day <= self.bis)
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
    pub(crate) fitting: usize,
    /// How many there are.
    pub(crate) total: u64,
    /// Where the next page begins; empty where there is none.
    pub(crate) next: String,
    pub(crate) choices: Choices,
}

/// A page of the records that fit.
pub(crate) async fn find(
    app: &App,
    person: &Subject,
    filter: &Filter,
    teller: Teller<'_>,
) -> Result<Found, Trouble> {
    let (all, total) = everything(app, person, teller).await?;
    let mut choices = Choices::default();
    for record in &all {
        let entry = |of: &mut BTreeMap<String, String>, named: &super::records::Named| {
            of.entry(named.id.clone()).or_insert_with(|| named.name.clone());
        };
        entry(&mut choices.authorities, &record.authority);
        entry(&mut choices.registers, &record.register);
        entry(&mut choices.purposes, &record.purpose);
        choices.results.insert(record.result.code(), record.result_short);
    }
    let before: u64 = filter.seite.parse().unwrap_or(u64::MAX);
    let mut records: Vec<RecordView> =
        all.into_iter().filter(|record| filter.takes(record)).collect();
    let fitting = records.len();
    records.retain(|record| record.index < before);
    let more = records.len() > PAGE_SIZE as usize;
    records.truncate(PAGE_SIZE as usize);
    let last = records.last().filter(|_| more).map(|record| record.index.to_string());
    Ok(Found { records, fitting, total, next: last.unwrap_or_default(), choices })
}

/// All that fit, for a download.
pub(crate) async fn find_all(
    app: &App,
    person: &Subject,
    filter: &Filter,
    teller: Teller<'_>,
) -> Result<Vec<RecordView>, Trouble> {
    let (mut all, _) = everything(app, person, teller).await?;
    all.retain(|record| filter.takes(record));
    Ok(all)
}

/// All of a person's records, newest first, and how many the keeper says there are.
pub(crate) async fn everything(
    app: &App,
    person: &Subject,
    teller: Teller<'_>,
) -> Result<(Vec<RecordView>, u64), Trouble> {
    let (mut all, mut page_token) = (Vec::new(), String::new());
    loop {
        let request =
            ListRecordsRequest { subject: Some(person.clone()), page_size: RUN, page_token };
        let answer = app.pages.keeper.clone().list_records(request).await?.into_inner();
        all.extend(answer.records.iter().filter_map(|record: &Record| teller.tell(record)));
        if answer.next_page_token.is_empty() || all.len() >= LOOKED_AT_MAX {
            return Ok((all, answer.total));
        }
        page_token = answer.next_page_token;
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
