// SPDX-License-Identifier: EUPL-1.2
//! The part of JSON Schema that fields of evidence use: `type`, `format` (`date`), `enum`,
//! `items`, `properties`, `required`.

use std::collections::BTreeMap;

use einmal_protocol::person::is_date;
use serde_json::Value;

const DEPTH_MAX: usize = 8;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    String,
    Number,
    Integer,
    Boolean,
    Array,
    Object,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Schema {
    pub(crate) kind: Kind,
    pub(crate) date: bool,
    pub(crate) items: Option<Box<Schema>>,
    pub(crate) properties: BTreeMap<String, Schema>,
    pub(crate) required: Vec<String>,
    allowed: Vec<Value>,
}

impl Schema {
    /// Reads a field's schema.
    ///
    /// # Errors
    /// Where no type can be told from it.
    pub(crate) fn parse(value: &Value) -> Result<Self, &'static str> {
        Self::parse_to(value, DEPTH_MAX)
    }

    fn parse_to(value: &Value, depth: usize) -> Result<Self, &'static str> {
        let depth = depth.checked_sub(1).ok_or("its schema is nested too deeply")?;
        let items = match value.get("items") {
            Some(items) => Some(Box::new(Self::parse_to(items, depth)?)),
            None => None,
        };
        let mut properties = BTreeMap::new();
        for (name, schema) in
            value.get("properties").and_then(Value::as_object).into_iter().flatten()
        {
            properties.insert(name.clone(), Self::parse_to(schema, depth)?);
        }
        let allowed = value.get("enum").and_then(Value::as_array).cloned().unwrap_or_default();
        let strings = |key| value.get(key).and_then(Value::as_array).cloned().unwrap_or_default();
        let kind = match value.get("type") {
            Some(Value::String(name)) => Kind::named(name),
            Some(Value::Array(names)) => {
                let mut names =
                    names.iter().filter_map(Value::as_str).filter(|name| *name != "null");
                match (names.next(), names.next()) {
                    (Some(name), None) => Kind::named(name),
                    _ => None,
                }
            }
            _ if !properties.is_empty() => Some(Kind::Object),
            _ if items.is_some() => Some(Kind::Array),
            _ if !allowed.is_empty() && allowed.iter().all(Value::is_string) => Some(Kind::String),
            _ => None,
        };
        Ok(Self {
            kind: kind.ok_or("its schema does not say one type")?,
            date: value.get("format").and_then(Value::as_str) == Some("date"),
            required: strings("required")
                .iter()
                .filter_map(|name| name.as_str().map(str::to_owned))
                .collect(),
            items,
            properties,
            allowed,
        })
    }

    /// Whether a value is allowed; the error says why not, without the value.
    pub(crate) fn fits(&self, value: &Value) -> Result<(), &'static str> {
        match (self.kind, value) {
            (Kind::String, Value::String(text)) => {
                if self.date && !is_date(text) {
                    return Err("it is not a date as YYYY-MM-DD");
                }
            }
            (Kind::Number, Value::Number(_)) | (Kind::Boolean, Value::Bool(_)) => {}
            (Kind::Integer, Value::Number(number)) if !number.is_f64() => {}
            (Kind::Array, Value::Array(values)) => {
                if let Some(items) = &self.items {
                    values.iter().try_for_each(|value| items.fits(value))?;
                }
            }
            (Kind::Object, Value::Object(object)) => {
                for (name, schema) in &self.properties {
                    object.get(name).map_or(Ok(()), |value| schema.fits(value))?;
                }
                if self.required.iter().any(|name| !object.contains_key(name)) {
                    return Err("a required part of it is missing");
                }
            }
            _ => return Err(self.kind.wanted()),
        }
        if !self.allowed.is_empty() && !self.allowed.contains(value) {
            return Err("it is not one of the values that the evidence type lists");
        }
        Ok(())
    }
}

impl Kind {
    fn named(name: &str) -> Option<Self> {
        Some(match name {
            "string" => Self::String,
            "number" => Self::Number,
            "integer" => Self::Integer,
            "boolean" => Self::Boolean,
            "array" => Self::Array,
            "object" => Self::Object,
            _ => return None,
        })
    }

    /// What is said of a value of another kind.
    pub(crate) fn wanted(self) -> &'static str {
        match self {
            Self::String => "it is not a text",
            Self::Number => "it is not a number",
            Self::Integer => "it is not a whole number",
            Self::Boolean => "it is not a truth value",
            Self::Array => "it is not a list",
            Self::Object => "it is not an object",
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_fits() {
        let months = Schema::parse(&json!({
            "type": "array",
            "items": { "type": "object", "required": ["month"], "properties": {
                "month": { "type": "string", "format": "date" },
                "gross": { "type": ["number", "null"] },
            } },
        }))
        .unwrap();
        assert!(months.fits(&json!([{ "month": "2024-01-01", "gross": 1 }])).is_ok());
        for bad in [json!([{ "gross": 1 }]), json!([{ "month": "01.01.2024" }]), json!({})] {
            assert!(months.fits(&bad).is_err(), "{bad}");
        }
        let sex = Schema::parse(&json!({ "enum": ["male", "female"] })).unwrap();
        assert!(sex.fits(&json!("male")).is_ok());
        assert!(sex.fits(&json!("m")).is_err());
        assert!(Schema::parse(&json!({ "type": ["string", "number"] })).is_err());
        assert!(Schema::parse(&json!({})).is_err());
        assert!(Schema::parse(&json!({ "type": "integer" })).unwrap().fits(&json!(1.5)).is_err());
    }
}
