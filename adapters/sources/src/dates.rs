// SPDX-License-Identifier: EUPL-1.2
//! Calendar dates as tables write them. Inside, a date is YYYY-MM-DD.
//!
//! A format has `%Y` (four digits), `%m` and `%d` (two digits each) or `%-m` and `%-d` (one or
//! two), each once, and any other characters as they stand; `%%` is a percent sign, and `%*` at the
//! end is whatever else stands there, such as a time of day. Years of two
//! digits are refused: nobody could say which century is meant.

use einmal_protocol::person::is_date;

const PARTS_MAX: usize = 32;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct DateFormat(Vec<Part>);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    Year,
    Month {
        padded: bool,
    },
    Day {
        padded: bool,
    },
    Literal(char),
    /// Anything, at the end.
    Rest,
}

impl DateFormat {
    /// YYYY-MM-DD.
    pub(crate) fn iso() -> Self {
        let dash = Part::Literal('-');
        Self(vec![Part::Year, dash, Part::Month { padded: true }, dash, Part::Day { padded: true }])
    }

    /// Reads a format such as `%d.%m.%Y`.
    ///
    /// # Errors
    /// Where it is not one; the text says what is wrong.
    pub(crate) fn parse(format: &str) -> Result<Self, String> {
        let mut parts = Vec::new();
        let mut chars = format.chars();
        while let Some(char) = chars.next() {
            if char != '%' {
                parts.push(Part::Literal(char));
                continue;
            }
            parts.push(match (chars.next(), chars.as_str().chars().next()) {
                (Some('Y'), _) => Part::Year,
                (Some('m'), _) => Part::Month { padded: true },
                (Some('d'), _) => Part::Day { padded: true },
                (Some('%'), _) => Part::Literal('%'),
                (Some('*'), None) => Part::Rest,
                (Some('-'), Some('m')) => {
                    chars.next();
                    Part::Month { padded: false }
                }
                (Some('-'), Some('d')) => {
                    chars.next();
                    Part::Day { padded: false }
                }
                _ => return Err("it has a part that is not known".into()),
            });
        }
        let count = |wanted: fn(&Part) -> bool| parts.iter().filter(|part| wanted(part)).count();
        let once = count(|part| matches!(part, Part::Year)) == 1
            && count(|part| matches!(part, Part::Month { .. })) == 1
            && count(|part| matches!(part, Part::Day { .. })) == 1;
        if !once || parts.len() > PARTS_MAX {
            return Err("it does not have year, month and day once each".into());
        }
        Ok(Self(parts))
    }

    /// Whether it leaves open what stands behind the date.
    pub(crate) fn is_cut(&self) -> bool {
        self.0.contains(&Part::Rest)
    }

    /// A date of this format as YYYY-MM-DD, or nothing if it is none.
    pub(crate) fn read(&self, text: &str) -> Option<String> {
        let (mut year, mut month, mut day) = (None, None, None);
        let mut rest = text;
        for part in &self.0 {
            match part {
                Part::Year => year = Some(digits(&mut rest, 4, 4)?),
                Part::Month { padded } => {
                    month = Some(digits(&mut rest, 1 + usize::from(*padded), 2)?)
                }
                Part::Day { padded } => day = Some(digits(&mut rest, 1 + usize::from(*padded), 2)?),
                Part::Literal(char) => rest = rest.strip_prefix(*char)?,
                Part::Rest => rest = "",
            }
        }
        let iso = format!("{:04}-{:02}-{:02}", year?, month?, day?);
        (rest.is_empty() && is_date(&iso)).then_some(iso)
    }

    /// A date (YYYY-MM-DD) in this format, or nothing if it is none.
    pub(crate) fn write(&self, iso: &str) -> Option<String> {
        if !is_date(iso) {
            return None;
        }
        let (year, month, day) = (iso.get(..4)?, iso.get(5..7)?, iso.get(8..10)?);
        let mut out = String::with_capacity(16);
        for part in &self.0 {
            match part {
                Part::Year => out.push_str(year),
                Part::Month { padded: true } => out.push_str(month),
                Part::Month { padded: false } => out.push_str(month.trim_start_matches('0')),
                Part::Day { padded: true } => out.push_str(day),
                Part::Day { padded: false } => out.push_str(day.trim_start_matches('0')),
                Part::Literal(char) => out.push(*char),
                Part::Rest => return None,
            }
        }
        Some(out)
    }
}

fn digits(rest: &mut &str, least: usize, most: usize) -> Option<u32> {
    let count = rest.bytes().take(most).take_while(u8::is_ascii_digit).count();
    if count < least {
        return None;
    }
    let (head, tail) = rest.split_at_checked(count)?;
    *rest = tail;
    head.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats() {
        for (format, text, iso) in [
            ("%Y-%m-%d", "1990-02-28", "1990-02-28"),
            ("%d.%m.%Y", "28.02.1990", "1990-02-28"),
            ("%-d.%-m.%Y", "3.4.2001", "2001-04-03"),
            ("%Y%m%d", "20240229", "2024-02-29"),
            ("%Y-%m-%d 00:00:00", "1990-02-28 00:00:00", "1990-02-28"),
            ("%m/%d/%Y", "12/31/1999", "1999-12-31"),
        ] {
            let parsed = DateFormat::parse(format).unwrap();
            assert_eq!(parsed.read(text).as_deref(), Some(iso), "{format}");
            assert_eq!(parsed.write(iso).as_deref(), Some(text), "{format}");
        }
        let german = DateFormat::parse("%d.%m.%Y").unwrap();
        for bad in ["00.00.1950", "30.02.1990", "1.2.1990", "01.02.90", "01.02.1990x", "", "ä"] {
            assert_eq!(german.read(bad), None, "{bad}");
        }
        assert_eq!(german.write("1990-02-30"), None);
        let cut = DateFormat::parse("%d.%m.%Y%*").unwrap();
        assert!(cut.is_cut() && !german.is_cut());
        for text in ["28.02.1990", "28.02.1990 13:45", "28.02.1990T"] {
            assert_eq!(cut.read(text).as_deref(), Some("1990-02-28"), "{text}");
        }
        assert_eq!((cut.read("28.02.199"), cut.write("1990-02-28")), (None, None));
        for bad in [
            "%*%d.%m.%Y",
            "%d.%m.%Y%*x",
            "%d.%m.%y",
            "%d.%m",
            "%Y-%m-%d-%d",
            "",
            "%Y-%m-%d %H",
            "%",
            "%-Y",
        ] {
            assert!(DateFormat::parse(bad).is_err(), "{bad}");
        }
        assert_eq!(DateFormat::iso(), DateFormat::parse("%Y-%m-%d").unwrap());
    }
}
