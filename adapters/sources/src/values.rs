// SPDX-License-Identifier: EUPL-1.2
//! Cells of a table and how they become values of evidence.

use std::collections::BTreeMap;

use serde_json::{Number, Value};
use zeroize::Zeroizing;

use crate::{
    dates::DateFormat,
    numbers::NumberFormat,
    schema::{Kind, Schema},
};

/// A longer text is no value.
const TEXT_MAX: usize = 64 * 1024;

/// One cell as the source gave it.
#[derive(Clone, Default, PartialEq)]
pub(crate) enum Cell {
    #[default]
    Null,
    Integer(i64),
    Real(f64),
    /// A number with a fixed count of decimals, as `-1234.50`.
    Decimal(Zeroizing<String>),
    /// A date, or a date and a time of day, as `2024-01-31 …`, whose column has that type.
    Time(Zeroizing<String>),
    Text(Zeroizing<String>),
    /// What is no text: bytes, and of JSON what a cell does not hold.
    Bytes,
}

impl Cell {
    pub(crate) fn from_text(text: String) -> Self {
        Self::Text(Zeroizing::new(text))
    }

    /// The cell as text without outer white space. An empty text is no value, like NULL, because
    /// a CSV file cannot tell the two apart.
    pub(crate) fn text(&self) -> Option<Zeroizing<String>> {
        let text = match self {
            Self::Null | Self::Bytes => return None,
            Self::Integer(number) => number.to_string(),
            Self::Real(number) => number.to_string(),
            Self::Text(text) | Self::Decimal(text) | Self::Time(text) => text.trim().to_owned(),
        };
        (!text.is_empty()).then(|| Zeroizing::new(text))
    }

    /// The cell as it is written for a database, for comparing.
    pub(crate) fn written(&self) -> Option<String> {
        match self {
            Self::Null | Self::Bytes => None,
            Self::Integer(number) => Some(number.to_string()),
            Self::Real(number) => Some(number.to_string()),
            Self::Decimal(text) | Self::Time(text) | Self::Text(text) => {
                Some(text.as_str().to_owned())
            }
        }
    }

    /// The day that it says, as YYYY-MM-DD: a time by itself, a text in a format. Nothing where it
    /// is empty; the error says that it is no date.
    pub(crate) fn day_or(&self, format: &DateFormat) -> Result<Option<String>, ()> {
        let Some(text) = self.text() else {
            return if *self == Self::Bytes { Err(()) } else { Ok(None) };
        };
        let day = match self {
            Self::Time(time) => DateFormat::iso().read(time.get(..10).unwrap_or_default()),
            _ => format.read(&text),
        };
        day.map(Some).ok_or(())
    }

    /// Whether a column that says "blocked" says so: anything but nothing and no. What is not
    /// understood blocks.
    pub(crate) fn blocks(&self) -> bool {
        match self {
            Self::Null | Self::Integer(0) => false,
            Self::Real(number) => *number != 0.0,
            Self::Text(text) => {
                let text = Zeroizing::new(text.trim().to_lowercase());
                !matches!(text.as_str(), "" | "0" | "nein" | "false" | "n")
            }
            // 0.00
            Self::Decimal(text) => text.parse() != Ok(0.0),
            Self::Integer(_) | Self::Bytes | Self::Time(_) => true,
        }
    }
}

/// How the cells of one column become a field's values.
#[derive(Clone, Debug)]
pub(crate) struct Shape {
    pub(crate) schema: Schema,
    pub(crate) date: Option<DateFormat>,
    pub(crate) number: NumberFormat,
    pub(crate) codes: Option<BTreeMap<String, Value>>,
    /// What an empty cell says; without it, nothing.
    pub(crate) default: Option<Value>,
}

impl Shape {
    /// The value of a cell; nothing for NULL. The error says what is wrong, without the value.
    pub(crate) fn value(&self, cell: &Cell) -> Result<Option<Value>, &'static str> {
        if *cell == Cell::Bytes {
            return Err("it holds bytes that are no text");
        }
        let Some(text) = cell.text() else { return Ok(self.default.clone()) };
        if text.len() > TEXT_MAX {
            return Err("it is longer than 65536 bytes");
        }
        let value = match (&self.codes, &self.date) {
            (Some(codes), _) => codes.get(text.as_str()).cloned().ok_or("it is not in `codes`")?,
            (None, Some(format)) => {
                let day = cell.day_or(format).ok().flatten();
                Value::String(day.ok_or("it is not a date of its `date_format`")?)
            }
            (None, None) if self.schema.date && matches!(cell, Cell::Time(_)) => {
                let day = cell.day_or(&DateFormat::iso()).ok().flatten();
                Value::String(day.ok_or("it is not a date")?)
            }
            (None, None) => self.plain(cell, &text)?,
        };
        self.schema.fits(&value)?;
        Ok(Some(value))
    }

    /// A value written as text, without codes and formats.
    pub(crate) fn written(&self, text: &str) -> Result<Value, &'static str> {
        let value = self.plain(&Cell::Null, text)?;
        self.schema.fits(&value)?;
        Ok(value)
    }

    fn plain(&self, cell: &Cell, text: &str) -> Result<Value, &'static str> {
        let kind = self.schema.kind;
        let value = match (kind, cell) {
            (Kind::String, _) => Some(Value::String(text.to_owned())),
            (Kind::Number | Kind::Integer, Cell::Integer(number)) => Some(Value::from(*number)),
            (Kind::Number, Cell::Real(number)) => Number::from_f64(*number).map(Value::Number),
            (Kind::Integer, Cell::Real(number)) => whole(*number).map(Value::from),
            // As an integer where nothing stands behind the point but zeros.
            (Kind::Number | Kind::Integer, Cell::Decimal(_)) => {
                let bare = text.split_once('.').map_or(text, |_| text.trim_end_matches('0'));
                NumberFormat::Plain.read(bare.strip_suffix('.').unwrap_or(bare))
            }
            (Kind::Number | Kind::Integer, _) => self.number.read(text),
            (Kind::Boolean, _) => truth(text).map(Value::Bool),
            (Kind::Array | Kind::Object, _) => serde_json::from_str(text).ok(),
        };
        value.ok_or(kind.wanted())
    }
}

/// A whole number that a decimal one can hold exactly.
fn whole(number: f64) -> Option<i64> {
    (number.fract() == 0.0 && number.abs() < 9_007_199_254_740_992.0)
        .then(|| format!("{number:.0}").parse().ok())
        .flatten()
}

fn truth(text: &str) -> Option<bool> {
    match text.to_lowercase().as_str() {
        "1" | "true" | "ja" | "j" | "yes" | "y" => Some(true),
        "0" | "false" | "nein" | "n" | "no" => Some(false),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn shape(schema: Value) -> Shape {
        let schema = Schema::parse(&schema).unwrap();
        Shape { schema, date: None, number: NumberFormat::Plain, codes: None, default: None }
    }

    fn text(text: &str) -> Cell {
        Cell::from_text(text.into())
    }

    #[test]
    fn by_type() {
        for (kind, cell, value) in [
            ("string", text(" Ulm "), Some(json!("Ulm"))),
            ("string", Cell::Integer(5), Some(json!("5"))),
            ("number", Cell::Real(1.5), Some(json!(1.5))),
            ("number", text("2.25"), Some(json!(2.25))),
            ("integer", Cell::Real(3.0), Some(json!(3))),
            ("integer", text("-4"), Some(json!(-4))),
            ("boolean", Cell::Integer(1), Some(json!(true))),
            ("boolean", text("Nein"), Some(json!(false))),
            ("array", text(r#"["a", "b"]"#), Some(json!(["a", "b"]))),
            ("string", Cell::Null, None),
            ("integer", text("  "), None),
        ] {
            assert_eq!(shape(json!({ "type": kind })).value(&cell), Ok(value), "{kind}");
        }
        for (kind, cell) in [
            ("integer", Cell::Real(3.5)),
            ("integer", text("drei")),
            ("number", Cell::Real(f64::NAN)),
            ("boolean", Cell::Integer(2)),
            ("array", text("a, b")),
            ("array", text("{}")),
            ("string", Cell::Bytes),
        ] {
            assert!(shape(json!({ "type": kind })).value(&cell).is_err(), "{kind}");
        }
    }

    #[test]
    fn typed_dates_and_decimals() {
        let date = shape(json!({ "type": "string", "format": "date" }));
        let text_of = |cell: &Cell| shape(json!({ "type": "string" })).value(cell);
        let moment = Cell::Time(Zeroizing::new("2024-01-31 23:59:59+01".into()));
        assert_eq!(date.value(&moment), Ok(Some(json!("2024-01-31"))));
        assert_eq!(text_of(&moment), Ok(Some(json!("2024-01-31 23:59:59+01"))));
        // A type that is known needs no format, and heeds none.
        let german = Shape { date: DateFormat::parse("%d.%m.%Y").ok(), ..date.clone() };
        assert_eq!(german.value(&moment), Ok(Some(json!("2024-01-31"))));
        assert!(german.value(&text("2024-01-31")).is_err());
        for bad in ["infinity", "0000-00-00", "2024-02-30 00:00:00", "", "10000-01-01"] {
            let cell = Cell::Time(Zeroizing::new(bad.into()));
            assert!(!matches!(date.value(&cell), Ok(Some(_))), "{bad}");
        }
        for (decimal, number, integer) in [
            ("1234.50", Some(json!(1234.5)), None),
            ("3.00", Some(json!(3)), Some(json!(3))),
            ("-0.10", Some(json!(-0.1)), None),
            ("100", Some(json!(100)), Some(json!(100))),
            ("NaN", None, None),
        ] {
            let cell = Cell::Decimal(Zeroizing::new(decimal.into()));
            let of = |kind: &str| shape(json!({ "type": kind })).value(&cell).ok().flatten();
            assert_eq!((of("number"), of("integer")), (number, integer), "{decimal}");
            assert_eq!(text_of(&cell), Ok(Some(json!(decimal))));
        }
        assert!(!Cell::Decimal(Zeroizing::new("0.00".into())).blocks());
    }

    #[test]
    fn what_blocks() {
        for cell in [Cell::Null, Cell::Integer(0), text(""), text("0"), text(" Nein "), text("N")] {
            assert!(!cell.blocks());
        }
        for cell in [Cell::Integer(1), text("ja"), text("x"), text("2030-01-01"), Cell::Bytes] {
            assert!(cell.blocks());
        }
    }
}
