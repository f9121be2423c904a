// SPDX-License-Identifier: EUPL-1.2
//! Times are UTC milliseconds since 1970; a day is a UTC day, counted from 1970-01-01.

/// Milliseconds of a day.
pub const DAY_MS: u64 = 86_400_000;
/// A request lives this long.
pub const REQUEST_LIFE_MS: u64 = 5 * 60_000;
/// Clocks may differ by this much.
pub const SKEW_MS: u64 = 2 * 60_000;
/// Until ten past midnight a ledger still takes yesterday's commitments.
pub const YESTERDAY_UNTIL_MS: u64 = 10 * 60_000;

/// The day of a time.
pub fn day_of(ms: u64) -> u32 {
    u32::try_from(ms / DAY_MS).unwrap_or(u32::MAX)
}

/// Whether a ledger takes a commitment of this day now.
pub fn day_is_open(day: u32, now_ms: u64) -> bool {
    let today = day_of(now_ms);
    day == today || (day.checked_add(1) == Some(today) && now_ms % DAY_MS < YESTERDAY_UNTIL_MS)
}

/// A day as ISO 8601, for people and file names.
pub fn day_to_iso(day: u32) -> String {
    // Howard Hinnant's civil-from-days, in unsigned form: days since 0000-03-01.
    let days = u64::from(day) + 719_468;
    let era = days / 146_097;
    let of_era = days % 146_097;
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * of_year + 2) / 153;
    let day = of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02}")
}

/// Reads a day written as YYYY-MM-DD, from 1970 on.
pub fn parse_day(text: &str) -> Option<u32> {
    let mut parts = text.split('-').map(|part| part.parse::<u64>().ok());
    let (year, month, day) = (parts.next()??, parts.next()??, parts.next()??);
    if !(1970..10_000).contains(&year) || !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    // Years begin in March, so that the leap day is the last.
    let year = if month <= 2 { year - 1 } else { year };
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let days = year * 365 + year / 4 - year / 100 + year / 400 + of_year;
    let day = u32::try_from(days.checked_sub(719_468)?).ok()?;
    (day_to_iso(day) == text).then_some(day)
}

/// A time as ISO 8601 with milliseconds, UTC.
pub fn to_iso(ms: u64) -> String {
    let of_day = ms % DAY_MS;
    format!(
        "{}T{:02}:{:02}:{:02}.{:03}Z",
        day_to_iso(day_of(ms)),
        of_day / 3_600_000,
        of_day / 60_000 % 60,
        of_day / 1_000 % 60,
        of_day % 1_000
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days() {
        assert_eq!(day_to_iso(0), "1970-01-01");
        assert_eq!(day_to_iso(11_016), "2000-02-29");
        assert_eq!(day_to_iso(20_779), "2026-11-22");
        assert_eq!(to_iso(20_779 * DAY_MS + 3_723_004), "2026-11-22T01:02:03.004Z");
    }

    #[test]
    fn days_are_read_as_they_are_written() {
        for day in (0..60_000).chain([2_932_896]) {
            assert_eq!(parse_day(&day_to_iso(day)), Some(day));
        }
        for wrong in ["", "2026-02-29", "2026-2-3", "2026-13-01", "26-01-01", "2026-01-01-1", "a"] {
            assert_eq!(parse_day(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn yesterday_stays_open_for_ten_minutes() {
        let midnight = 20_000 * DAY_MS;
        assert!(day_is_open(20_000, midnight));
        assert!(day_is_open(19_999, midnight + YESTERDAY_UNTIL_MS - 1));
        assert!(!day_is_open(19_999, midnight + YESTERDAY_UNTIL_MS));
        assert!(!day_is_open(19_998, midnight));
        assert!(!day_is_open(20_001, midnight));
    }
}
