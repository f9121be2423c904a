// SPDX-License-Identifier: EUPL-1.2
//! Counting for the officer. Pure. Counts below ten are hidden, and where only one count of a
//! table would be, the next smallest is too, since the total would give it away. What is out of
//! the ordinary is found by three simple rules, over the last week of the days counted:
//!
//! - *much*: on one day an authority asked more often than the median of its earlier days by more
//!   than six times their spread (the median distance from the median, or the median's square
//!   root, or 1, whichever is most). Needs 14 earlier days.
//! - *odd hours*: at least a fifth of an authority's accesses were from 22 to 5 o'clock, and at
//!   least twice the share of all others over all days.
//! - *refusals*: at least three in ten of what an authority asked were refused.
//!
//! None speaks of fewer than ten accesses.

use std::collections::{BTreeMap, HashMap};

use einmal_protocol::{time::day_to_iso, wire::cockpit::v1::RecordResult};
use serde::Serialize;

use crate::{keeper::facts::Facts, pages::Wall};

/// Counts below this are hidden.
pub const HIDDEN_BELOW: u64 = 10;
const RECENT_DAYS: u32 = 7;
const EARLIER_DAYS_MIN: u32 = 14;
const SPREADS: u64 = 6;

/// How often something is there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Count {
    /// Of what.
    pub what: String,
    /// Nothing where it is hidden.
    pub count: Option<u64>,
}

/// Something out of the ordinary.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Anomaly {
    /// "much", "odd-hours" or "refusals".
    pub kind: &'static str,
    /// Of which authority.
    pub authority: String,
    /// In words.
    pub text: String,
}

#[derive(Default)]
struct OfAuthority {
    total: u64,
    days: BTreeMap<u32, u64>,
    /// Of all days.
    odd: u64,
    recent: u64,
    recent_odd: u64,
    recent_refused: u64,
}

pub(super) struct Counts {
    from_day: u32,
    to_day: u32,
    authorities: BTreeMap<String, OfAuthority>,
    purposes: HashMap<String, u64>,
    hours: [u64; 24],
    results: BTreeMap<&'static str, u64>,
}

fn shown(count: u64) -> String {
    if count < HIDDEN_BELOW { format!("fewer than {HIDDEN_BELOW}") } else { count.to_string() }
}

/// A part of a whole, where neither it nor the rest is small enough to be hidden.
fn share(part: u64, whole: u64) -> String {
    match whole.saturating_sub(part) {
        0 => format!("all {whole}"),
        rest if rest < HIDDEN_BELOW => "nearly all".to_owned(),
        _ => format!("{part} of {whole}"),
    }
}

fn median(mut list: Vec<u64>) -> u64 {
    list.sort_unstable();
    list.get(list.len() / 2).copied().unwrap_or_default()
}

/// Most first, small ones hidden.
fn hide(table: impl Iterator<Item = (String, u64)>) -> Vec<Count> {
    let mut table: Vec<(String, u64)> = table.collect();
    table.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
    let open = table.partition_point(|(_, count)| *count >= HIDDEN_BELOW);
    let alone = table.len() - open == 1;
    let open = if alone { open.saturating_sub(1) } else { open };
    let show = |(at, (what, count)): (usize, (String, u64))| Count {
        what,
        count: (at < open).then_some(count),
    };
    table.into_iter().enumerate().map(show).collect()
}

impl Counts {
    pub(super) fn new(from_day: u32, to_day: u32) -> Self {
        Self {
            from_day,
            to_day,
            authorities: BTreeMap::new(),
            purposes: HashMap::new(),
            hours: [0; 24],
            results: BTreeMap::new(),
        }
    }

    fn is_recent(&self, day: u32) -> bool {
        day.saturating_add(RECENT_DAYS) > self.to_day
    }

    pub(super) fn add(&mut self, day: u32, facts: &Facts) {
        let hour = Wall::at(facts.at_ms).hour();
        let (odd, recent) = (!(5..22).contains(&hour), self.is_recent(day));
        let result = facts.result();
        let of = self.authorities.entry(facts.authority.clone()).or_default();
        of.total += 1;
        *of.days.entry(day).or_default() += 1;
        of.odd += u64::from(odd);
        of.recent += u64::from(recent);
        of.recent_odd += u64::from(recent && odd);
        of.recent_refused += u64::from(recent && result == RecordResult::Refused);
        *self.purposes.entry(facts.purpose.clone()).or_default() += 1;
        if let Some(count) = usize::try_from(hour).ok().and_then(|hour| self.hours.get_mut(hour)) {
            *count += 1;
        }
        *self.results.entry(word(result)).or_default() += 1;
    }

    fn sum(&self) -> u64 {
        self.hours.iter().sum()
    }

    pub(super) fn total(&self) -> Option<u64> {
        Some(self.sum()).filter(|sum| *sum >= HIDDEN_BELOW)
    }

    pub(super) fn authorities(&self) -> Vec<Count> {
        hide(self.authorities.iter().map(|(id, of)| (id.clone(), of.total)))
    }

    pub(super) fn purposes(&self) -> Vec<Count> {
        hide(self.purposes.iter().map(|(id, count)| (id.clone(), *count)))
    }

    pub(super) fn results(&self) -> Vec<Count> {
        hide(self.results.iter().map(|(word, count)| ((*word).to_owned(), *count)))
    }

    /// In the order of the day; an hour with nothing is hidden like one with little.
    pub(super) fn hours(&self) -> Vec<Count> {
        let hours =
            (0..).zip(self.hours).map(|(hour, count): (u32, u64)| (format!("{hour:02}"), count));
        let mut table = hide(hours);
        table.sort_by(|a, b| a.what.cmp(&b.what));
        table
    }

    pub(super) fn anomalies(&self) -> Vec<Anomaly> {
        let mut found = Vec::new();
        for (authority, of) in &self.authorities {
            let texts = [
                ("much", self.much(of)),
                ("odd-hours", self.odd_hours(of)),
                ("refusals", refusals(of)),
            ];
            for (kind, text) in texts {
                let authority = authority.clone();
                found.extend(text.map(|text| Anomaly { kind, authority, text }));
            }
        }
        found
    }

    fn much(&self, of: &OfAuthority) -> Option<String> {
        let recent_from = (self.to_day + 1).saturating_sub(RECENT_DAYS);
        if recent_from < self.from_day.saturating_add(EARLIER_DAYS_MIN) {
            return None;
        }
        let on = |day| of.days.get(&day).copied().unwrap_or_default();
        let earlier: Vec<u64> = (self.from_day..recent_from).map(on).collect();
        let usual = median(earlier.clone());
        let spread = median(earlier.iter().map(|count| count.abs_diff(usual)).collect());
        let bound = usual + SPREADS * spread.max(usual.isqrt()).max(1);
        let most = (recent_from..=self.to_day).map(|day| (on(day), day)).max()?;
        (most.0 >= HIDDEN_BELOW && most.0 > bound).then(|| {
            let day = day_to_iso(most.1);
            format!("{} accesses on {day}; usual are {} a day", most.0, shown(usual))
        })
    }

    fn odd_hours(&self, of: &OfAuthority) -> Option<String> {
        let others = self.sum() - of.total;
        let others_odd =
            self.hours.iter().enumerate().fold(0, |sum, (hour, count)| {
                if (5..22).contains(&hour) { sum } else { sum + count }
            }) - of.odd;
        // Shares are compared crosswise, in whole numbers.
        let twice = of.recent_odd * others.max(1) >= 2 * others_odd * of.recent;
        (of.recent_odd >= HIDDEN_BELOW && of.recent_odd * 5 >= of.recent && twice).then(|| {
            format!("{} accesses were from 22 to 5 o'clock", share(of.recent_odd, of.recent))
        })
    }
}

fn refusals(of: &OfAuthority) -> Option<String> {
    let many = of.recent_refused >= HIDDEN_BELOW && of.recent_refused * 10 >= of.recent * 3;
    many.then(|| format!("{} requests were refused", share(of.recent_refused, of.recent)))
}

fn word(result: RecordResult) -> &'static str {
    match result {
        RecordResult::Unspecified => "unknown",
        RecordResult::Found => "found",
        RecordResult::NothingFound => "nothing-found",
        RecordResult::Ambiguous => "ambiguous",
        RecordResult::NotTransmitted => "not-transmitted",
        RecordResult::Refused => "refused",
    }
}

#[cfg(test)]
mod tests {
    use einmal_protocol::time::DAY_MS;

    use super::*;

    const TODAY: u32 = 20_515;

    fn counts() -> Counts {
        Counts::new(TODAY - 29, TODAY)
    }

    fn add(
        counts: &mut Counts,
        (authority, day, hour): (&str, u32, u64),
        result: RecordResult,
        times: u64,
    ) {
        for _ in 0..times {
            let facts = Facts {
                authority: authority.to_owned(),
                register: "register".to_owned(),
                purpose: "purpose".to_owned(),
                // UTC is an hour or two behind the wall clock.
                at_ms: u64::from(day) * DAY_MS + hour * 3_600_000,
                result: result.into(),
            };
            counts.add(day, &facts);
        }
    }

    fn kinds(counts: &Counts) -> Vec<(&'static str, String)> {
        counts.anomalies().into_iter().map(|found| (found.kind, found.authority)).collect()
    }

    #[test]
    fn small_counts_are_hidden_and_cannot_be_subtracted() {
        let mut counts = counts();
        add(&mut counts, ("large", TODAY, 9), RecordResult::Found, 100);
        add(&mut counts, ("middle", TODAY, 9), RecordResult::Found, 10);
        assert!(counts.authorities().iter().all(|count| count.count.is_some()));
        add(&mut counts, ("small", TODAY, 9), RecordResult::Refused, 9);
        let shown: Vec<_> = counts.authorities().into_iter().map(|count| count.count).collect();
        assert_eq!(shown, [Some(100), None, None], "total less 100 says nothing of one");
        assert_eq!(counts.results().iter().filter_map(|count| count.count).count(), 0);
        assert_eq!((counts.total(), counts.hours().len()), (Some(119), 24));
        let mut few = self::counts();
        add(&mut few, ("small", TODAY, 9), RecordResult::Found, 9);
        assert_eq!(few.total(), None);
    }

    #[test]
    fn each_rule_finds_its_own_and_nothing_else() {
        let mut counts = counts();
        for day in TODAY - 29..=TODAY {
            add(&mut counts, ("steady", day, 9), RecordResult::Found, 20 + u64::from(day % 5));
            add(&mut counts, ("growing", day, 9), RecordResult::Found, 5);
            add(&mut counts, ("nightly", day, 9), RecordResult::Found, 10);
            add(&mut counts, ("refused", day, 9), RecordResult::Found, 6);
        }
        assert_eq!(kinds(&counts), []);
        add(&mut counts, ("growing", TODAY - 2, 9), RecordResult::Found, 40);
        add(&mut counts, ("nightly", TODAY - 1, 1), RecordResult::Found, 20);
        add(&mut counts, ("refused", TODAY - 1, 9), RecordResult::Refused, 20);
        let kinds = kinds(&counts);
        for (kind, authority) in
            [("much", "growing"), ("odd-hours", "nightly"), ("refusals", "refused")]
        {
            assert!(kinds.contains(&(kind, authority.to_owned())), "{kinds:?}");
        }
        assert!(!kinds.iter().any(|(_, authority)| authority == "steady"), "{kinds:?}");
        let others = kinds.iter().filter(|(kind, _)| *kind != "much").count();
        assert_eq!(others, 2, "{kinds:?}");
    }

    #[test]
    fn what_is_said_of_a_part_tells_no_small_rest() {
        for whole in HIDDEN_BELOW..60 {
            for part in HIDDEN_BELOW..=whole {
                let said = share(part, whole);
                let rest = whole - part;
                let exact = said.contains(&part.to_string()) && said.contains(&whole.to_string());
                assert_eq!(exact, rest == 0 || rest >= HIDDEN_BELOW, "{part}, {whole}: {said}");
            }
        }
    }

    #[test]
    fn a_short_time_has_no_usual() {
        let mut counts = Counts::new(TODAY - 9, TODAY);
        add(&mut counts, ("new", TODAY, 9), RecordResult::Found, 500);
        assert_eq!(kinds(&counts), []);
    }
}
