// SPDX-License-Identifier: EUPL-1.2
//! Times as people in Germany read them: Central European Time with its summer time. Everything
//! that is signed or compared stays in UTC.

use einmal_protocol::time::{DAY_MS, day_of, day_to_iso};

use super::words::Lang;

const HOUR_MS: u64 = 3_600_000;

/// A time on a wall clock in Germany.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Wall {
    year: u32,
    month: u32,
    day: u32,
    hour: u64,
    minute: u64,
}

impl Wall {
    /// The wall clock at a time.
    pub(crate) fn at(ms: u64) -> Self {
        let hours = if is_summer(ms) { 2 } else { 1 };
        let local = ms.saturating_add(hours * HOUR_MS);
        let (year, month, day) = date(day_of(local));
        let of_day = local % DAY_MS;
        Self { year, month, day, hour: of_day / HOUR_MS, minute: of_day / 60_000 % 60 }
    }

    /// When a day begins in Germany, in milliseconds of UTC.
    pub(crate) fn begin_of(day: u32) -> u64 {
        let midnight = u64::from(day) * DAY_MS;
        // At no midnight the clocks are changed.
        let hours = if is_summer(midnight.saturating_sub(HOUR_MS)) { 2 } else { 1 };
        midnight.saturating_sub(hours * HOUR_MS)
    }

    /// Its hour, 0 to 23.
    pub(crate) fn hour(self) -> u64 {
        self.hour
    }

    /// Its year and month, 1 to 12.
    pub(crate) fn year_and_month(self) -> (u32, u32) {
        (self.year, self.month)
    }

    /// "3. März 2026".
    pub(crate) fn date(&self, lang: Lang) -> String {
        let Self { year, day, .. } = self;
        let month = self.month_name(lang);
        lang.pick(
            format!("{day}. {month} {year}"),
            format!("{day} {month} {year}"),
            format!("{day}. {month} {year}"),
        )
    }

    /// "2026-03-03".
    pub(crate) fn iso_date(&self) -> String {
        format!("{:04}-{:02}-{:02}", self.year, self.month, self.day)
    }

    /// Months since the year 0, for counting.
    pub(crate) fn month_number(&self) -> u32 {
        self.year * 12 + self.month - 1
    }

    /// "10:14 Uhr".
    pub(crate) fn time(&self, lang: Lang) -> String {
        let clock = format!("{:02}:{:02}", self.hour, self.minute);
        match lang {
            Lang::En => clock,
            Lang::De | Lang::Leicht => format!("{clock} Uhr"),
        }
    }

    /// "3. März 2026, 10:14 Uhr".
    pub(crate) fn both(&self, lang: Lang) -> String {
        format!("{}, {}", self.date(lang), self.time(lang))
    }

    /// "März 2026".
    pub(crate) fn month(&self, lang: Lang) -> String {
        format!("{} {}", self.month_name(lang), self.year)
    }

    /// "Mär", and the year where it begins.
    pub(crate) fn short_month(number: u32, lang: Lang) -> (String, u32) {
        let wall = Self { year: number / 12, month: number % 12 + 1, day: 1, hour: 0, minute: 0 };
        (wall.month_name(lang).chars().take(3).collect(), wall.year)
    }

    /// "März 2026" of a month number.
    pub(crate) fn long_month(number: u32, lang: Lang) -> String {
        Self { year: number / 12, month: number % 12 + 1, day: 1, hour: 0, minute: 0 }.month(lang)
    }

    fn month_name(&self, lang: Lang) -> &'static str {
        const DE: [&str; 12] = [
            "Januar",
            "Februar",
            "März",
            "April",
            "Mai",
            "Juni",
            "Juli",
            "August",
            "September",
            "Oktober",
            "November",
            "Dezember",
        ];
        const EN: [&str; 12] = [
            "January",
            "February",
            "March",
            "April",
            "May",
            "June",
            "July",
            "August",
            "September",
            "October",
            "November",
            "December",
        ];
        let names = lang.pick(DE, EN, DE);
        names.get(self.month as usize - 1).copied().unwrap_or_default()
    }
}

/// A birth date or another plain date, YYYY-MM-DD, as people read it.
pub(crate) fn plain_date(iso: &str) -> String {
    let mut parts = iso.splitn(3, '-');
    match (parts.next(), parts.next(), parts.next()) {
        (Some(year), Some(month), Some(day)) => format!("{day}.{month}.{year}"),
        _ => iso.to_owned(),
    }
}

fn date(day: u32) -> (u32, u32, u32) {
    let iso = day_to_iso(day);
    let mut parts = iso.splitn(3, '-').map(|part| part.parse().unwrap_or(1));
    let mut next = || parts.next().unwrap_or(1).max(1);
    (next(), next(), next())
}

/// Summer time: from the last Sunday of March to the last of October, each at 01:00 UTC
/// (directive 2000/84/EC).
fn is_summer(ms: u64) -> bool {
    let day = day_of(ms);
    let (_, month, of_month) = date(day);
    // 1970-01-01 was a Thursday; 0 is Sunday.
    let weekday = (day + 4) % 7;
    // March and October have 31 days: their last Sunday is the 25th or later.
    let reached = of_month.saturating_sub(weekday) > 24;
    let after = reached && (weekday != 0 || ms % DAY_MS >= HOUR_MS);
    match month {
        4..=9 => true,
        3 => after,
        10 => !after,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn winter_summer_and_the_hours_of_change() {
        // `date -u -d ... +%s` against `TZ=Europe/Berlin date`.
        for (seconds, expected) in [
            (1_772_529_240_u64, "3. März 2026, 10:14 Uhr"),
            (1_774_745_999, "29. März 2026, 01:59 Uhr"),
            (1_774_746_000, "29. März 2026, 03:00 Uhr"),
            (1_784_066_400, "15. Juli 2026, 00:00 Uhr"),
            (1_792_889_999, "25. Oktober 2026, 02:59 Uhr"),
            (1_792_890_000, "25. Oktober 2026, 02:00 Uhr"),
            (1_798_757_999, "31. Dezember 2026, 23:59 Uhr"),
            (1_798_758_000, "1. Januar 2027, 00:00 Uhr"),
        ] {
            assert_eq!(Wall::at(seconds * 1000).both(Lang::De), expected, "{seconds}");
        }
    }

    #[test]
    fn days_begin_at_midnight() {
        for day in 20_000..21_500 {
            let begin = Wall::begin_of(day);
            assert_eq!(Wall::at(begin).iso_date(), day_to_iso(day));
            assert_eq!(Wall::at(begin - 1).iso_date(), day_to_iso(day - 1));
        }
    }

    #[test]
    fn in_english() {
        let wall = Wall::at(1_772_529_240_000);
        assert_eq!(wall.both(Lang::En), "3 March 2026, 10:14");
        assert_eq!(wall.month(Lang::En), "March 2026");
        assert_eq!(plain_date("1990-04-01"), "01.04.1990");
    }
}
