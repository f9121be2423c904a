// SPDX-License-Identifier: EUPL-1.2
//! What lists are filtered and counted by, sealed beside each record under the key of its day: a
//! thousand of them open in a millisecond or two, without a body being read.

use std::collections::{BTreeMap, HashMap};

use einmal_protocol::wire::{
    cockpit::v1::{
        MonthCount, NamedCount, RecordFilter, RecordResult, ResultCount, SummarizeRecordsResponse,
    },
    v1::Outcome,
};
use prost::Message;

use super::{DayKeyError, days::DayKey};
use crate::pages::Wall;

/// A filter names at most so many values of one kind.
const VALUES_MAX: usize = 100;
/// Each this long.
const VALUE_MAX: usize = 200;

/// The facts of one record. They name no person.
#[derive(Clone, PartialEq, Eq, Message)]
pub(crate) struct Facts {
    #[prost(string, tag = "1")]
    pub(crate) authority: String,
    #[prost(string, tag = "2")]
    pub(crate) register: String,
    #[prost(string, tag = "3")]
    pub(crate) purpose: String,
    #[prost(uint64, tag = "4")]
    pub(crate) at_ms: u64,
    #[prost(enumeration = "RecordResult", tag = "5")]
    pub(crate) result: i32,
}

fn aad(index: u64, day: u32, slot: i64) -> Vec<u8> {
    [b"einmal facts v1".as_slice(), &index.to_be_bytes(), &day.to_be_bytes(), &slot.to_be_bytes()]
        .concat()
}

impl Facts {
    /// Sealed for the index, bound to its record.
    pub(crate) fn seal(
        &self,
        key: &DayKey,
        (index, day, slot): (u64, u32, i64),
    ) -> Result<Vec<u8>, DayKeyError> {
        key.reseal(&aad(index, day, slot), &self.encode_to_vec())
    }

    /// Opens what [`Facts::seal`] made; nothing where it is damaged.
    pub(crate) fn open(
        key: &DayKey,
        (index, day, slot): (u64, u32, i64),
        sealed: &[u8],
    ) -> Option<Self> {
        let plain = key.unseal(&aad(index, day, slot), sealed).ok()?;
        Self::decode(plain.as_slice()).ok()
    }

    /// Whether a filter leaves this one.
    pub(crate) fn fits(&self, filter: &RecordFilter) -> bool {
        let among = |values: &[String], value: &String| values.is_empty() || values.contains(value);
        among(&filter.authorities, &self.authority)
            && among(&filter.registers, &self.register)
            && among(&filter.purposes, &self.purpose)
            && (filter.results.is_empty() || filter.results.contains(&self.result))
            && filter.from_ms <= self.at_ms
            && (filter.until_ms == 0 || self.at_ms < filter.until_ms)
    }
}

/// What a register's word comes to.
pub(crate) fn result_of(outcome: Outcome) -> RecordResult {
    match outcome {
        Outcome::Unspecified => RecordResult::Unspecified,
        Outcome::Found => RecordResult::Found,
        Outcome::NothingFound => RecordResult::NothingFound,
        Outcome::Ambiguous => RecordResult::Ambiguous,
        Outcome::NotTransmitted => RecordResult::NotTransmitted,
    }
}

/// Whether a filter is within its limits; and whether it leaves anything out at all.
pub(crate) fn check(filter: &RecordFilter) -> Result<bool, &'static str> {
    let lists = [&filter.authorities, &filter.registers, &filter.purposes];
    let good = |list: &&Vec<String>| {
        list.len() <= VALUES_MAX && list.iter().all(|value| value.len() <= VALUE_MAX)
    };
    if !lists.iter().all(good) || filter.results.len() > VALUES_MAX {
        return Err("a filter has at most 100 values of a kind, each of at most 200 bytes");
    }
    Ok(*filter != RecordFilter::default())
}

fn most_first(counts: HashMap<String, u64>) -> Vec<NamedCount> {
    let mut list: Vec<NamedCount> =
        counts.into_iter().map(|(id, count)| NamedCount { id, count }).collect();
    list.sort_by(|a, b| b.count.cmp(&a.count).then_with(|| a.id.cmp(&b.id)));
    list
}

/// Counts one person's records.
pub(crate) fn summarize(all: &[Facts]) -> SummarizeRecordsResponse {
    let mut months: BTreeMap<(u32, u32, &str), u64> = BTreeMap::new();
    let mut authorities: HashMap<String, u64> = HashMap::new();
    let mut registers: HashMap<String, u64> = HashMap::new();
    let mut purposes: HashMap<String, u64> = HashMap::new();
    let mut results: BTreeMap<i32, u64> = BTreeMap::new();
    for facts in all {
        let (year, month) = Wall::at(facts.at_ms).year_and_month();
        *months.entry((year, month, &facts.authority)).or_default() += 1;
        *authorities.entry(facts.authority.clone()).or_default() += 1;
        *registers.entry(facts.register.clone()).or_default() += 1;
        *purposes.entry(facts.purpose.clone()).or_default() += 1;
        *results.entry(facts.result).or_default() += 1;
    }
    SummarizeRecordsResponse {
        total: all.len() as u64,
        months: months
            .into_iter()
            .map(|((year, month, authority), count)| {
                let authority = authority.to_owned();
                MonthCount { year, month, authority, count }
            })
            .collect(),
        authorities: most_first(authorities),
        registers: most_first(registers),
        purposes: most_first(purposes),
        results: results.into_iter().map(|(result, count)| ResultCount { result, count }).collect(),
    }
}
