// SPDX-License-Identifier: EUPL-1.2
//! Numbers as tables write them.

use serde_json::{Number, Value};

const DIGITS_MAX: usize = 40;

/// How a number is written in a text column.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum NumberFormat {
    /// `-1234.56`.
    #[default]
    Plain,
    /// `-1.234,56`; dots may be left out, but not stand elsewhere.
    De,
}

impl NumberFormat {
    pub(crate) fn parse(name: &str) -> Option<Self> {
        (name == "de").then_some(Self::De)
    }

    /// A text as a whole number if it has no fraction, else as a decimal one; nothing if it is no
    /// number of this format.
    pub(crate) fn read(self, text: &str) -> Option<Value> {
        if text.len() > DIGITS_MAX {
            return None;
        }
        let (sign, unsigned) = match text.strip_prefix('-') {
            Some(rest) => ("-", rest),
            None => ("", text),
        };
        let decimal = if self == Self::De { ',' } else { '.' };
        let (whole, fraction) = match unsigned.split_once(decimal) {
            Some((whole, fraction)) => (whole, Some(fraction)),
            None => (unsigned, None),
        };
        let whole = if self == Self::De { ungrouped(whole)? } else { whole.to_owned() };
        let digits = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
        if !digits(&whole) || fraction.is_some_and(|fraction| !digits(fraction)) {
            return None;
        }
        match fraction {
            None => format!("{sign}{whole}").parse::<i64>().ok().map(Value::from),
            Some(fraction) => {
                let number = format!("{sign}{whole}.{fraction}").parse::<f64>().ok()?;
                Number::from_f64(number).map(Value::Number)
            }
        }
    }
}

/// Takes the dots out of `1.234.567`, or nothing where a dot does not divide thousands.
fn ungrouped(whole: &str) -> Option<String> {
    let mut groups = whole.split('.');
    let first = groups.next()?;
    let rest: Vec<&str> = groups.collect();
    let right = rest.is_empty()
        || ((1..=3).contains(&first.len()) && rest.iter().all(|group| group.len() == 3));
    right.then(|| format!("{first}{}", rest.concat()))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn formats() {
        for (text, value) in [
            ("1.234,56", Some(json!(1234.56))),
            ("-1234,5", Some(json!(-1234.5))),
            ("1.234.567", Some(json!(1_234_567))),
            ("12", Some(json!(12))),
            ("1234.56", None),
            ("1.23,4", None),
            ("1,2,3", None),
            (",5", None),
            ("1 000", None),
            ("1e5", None),
            ("", None),
            ("-", None),
        ] {
            assert_eq!(NumberFormat::De.read(text), value, "{text}");
        }
        for (text, value) in [
            ("1234.56", Some(json!(1234.56))),
            ("-7", Some(json!(-7))),
            ("1,234.56", None),
            ("NaN", None),
            ("0x10", None),
            ("99999999999999999999", None),
        ] {
            assert_eq!(NumberFormat::Plain.read(text), value, "{text}");
        }
    }
}
