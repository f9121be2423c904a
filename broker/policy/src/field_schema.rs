// SPDX-License-Identifier: EUPL-1.2
//! The part of JSON Schema that fields may use. Adapters check no more than this, so a keyword
//! that they would pass over is refused: it would promise what nobody keeps.

use serde_json::{Map, Value};

const DEPTH_MAX: usize = 8;
const ENUM_MAX: usize = 500;
const PROPERTIES_MAX: usize = 100;
const TYPES: [&str; 6] = ["string", "number", "integer", "boolean", "array", "object"];
const KEYWORDS: [&str; 6] = ["type", "format", "enum", "items", "properties", "required"];

/// Checks one field's schema.
///
/// # Errors
/// Says what is wrong and what may stand there.
pub(crate) fn check(schema: &Value) -> Result<(), String> {
    check_to(schema, DEPTH_MAX)
}

fn check_to(schema: &Value, depth: usize) -> Result<(), String> {
    let depth = depth.checked_sub(1).ok_or(format!("it nests deeper than {DEPTH_MAX}"))?;
    let Value::Object(schema) = schema else { return Err("it is not an object".to_owned()) };
    if let Some(unknown) = schema.keys().find(|key| !KEYWORDS.contains(&key.as_str())) {
        return Err(format!("`{unknown}` is not checked by anybody; use {}", KEYWORDS.join(", ")));
    }
    let kind = type_of(schema)?;
    let only = |key: &str, of: &str| match schema.get(key) {
        Some(_) if kind != of => Err(format!("`{key}` is for type `{of}` only")),
        found => Ok(found),
    };
    if only("format", "string")?.is_some_and(|format| format != "date") {
        return Err("`format` may only be `date`".to_owned());
    }
    if let Some(items) = only("items", "array")? {
        check_to(items, depth)?;
    }
    let properties = only("properties", "object")?;
    if let Some(properties) = properties {
        let properties = properties.as_object().filter(|all| all.len() <= PROPERTIES_MAX);
        let properties =
            properties.ok_or(format!("`properties` is an object of at most {PROPERTIES_MAX}"))?;
        for (name, property) in properties {
            check_to(property, depth).map_err(|problem| format!("in `{name}`: {problem}"))?;
        }
    }
    if let Some(required) = only("required", "object")? {
        let there = |name: &Value| {
            let name = name.as_str();
            name.is_some_and(|name| properties.is_some_and(|all| all.get(name).is_some()))
        };
        if !required.as_array().is_some_and(|names| names.iter().all(there)) {
            return Err("`required` lists names of `properties`".to_owned());
        }
    }
    check_enum(schema, kind)
}

/// One type, which may be null as well.
fn type_of(schema: &Map<String, Value>) -> Result<&str, String> {
    let names: Vec<&str> = match schema.get("type") {
        Some(Value::String(name)) => vec![name],
        Some(Value::Array(names)) => {
            let names: Option<Vec<&str>> = names.iter().map(Value::as_str).collect();
            names.unwrap_or_default().into_iter().filter(|name| *name != "null").collect()
        }
        _ => Vec::new(),
    };
    match names[..] {
        [name] if TYPES.contains(&name) => Ok(name),
        _ => Err(format!("`type` is one of {}", TYPES.join(", "))),
    }
}

fn check_enum(schema: &Map<String, Value>, kind: &str) -> Result<(), String> {
    let Some(values) = schema.get("enum") else { return Ok(()) };
    let fits = |value: &Value| match kind {
        "string" => value.is_string(),
        "integer" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        _ => false,
    };
    let values = values.as_array().filter(|all| (1..=ENUM_MAX).contains(&all.len()));
    match values.is_some_and(|all| all.iter().all(fits)) {
        true => Ok(()),
        false => Err(format!("`enum` lists 1 to {ENUM_MAX} texts or numbers of its type")),
    }
}
