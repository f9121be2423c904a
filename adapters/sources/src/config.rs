// SPDX-License-Identifier: EUPL-1.2
//! A register's file: sources and how they become evidence. Unknown keys are refused.

use std::{collections::BTreeMap, path::PathBuf};

use serde::Deserialize;
use serde_json::Value;

const TEXT_MAX: usize = 1024 * 1024;
const TIMEOUT_DEFAULT_MS: u64 = 400;

/// The configuration of one register, well formed but not yet checked against its sources.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SourcesConfig {
    pub(crate) sources: Vec<SourceConfig>,
    pub(crate) evidence: Vec<EvidenceConfig>,
}

/// Why a register's file cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// Not TOML, a key that is unknown or missing, or a value of the wrong kind.
    #[error("line {line}: {problem}")]
    Line {
        /// Counted from 1.
        line: usize,
        /// What is wrong.
        problem: String,
    },
    /// Over 1 MiB.
    #[error("the register's file is longer than 1 MiB; split the register")]
    TooLong,
}

impl SourcesConfig {
    /// Reads a register's file.
    ///
    /// # Errors
    /// Where it is not of the form that the operators' handbook gives, with the line.
    pub fn parse(text: &str) -> Result<Self, ConfigError> {
        if text.len() > TEXT_MAX {
            return Err(ConfigError::TooLong);
        }
        toml::from_str(text).map_err(|error| {
            let start = error.span().map_or(0, |span| span.start);
            let before = text.bytes().take(start).filter(|byte| *byte == b'\n').count();
            ConfigError::Line { line: before + 1, problem: error.message().to_owned() }
        })
    }
}

/// Where data lies.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct SourceConfig {
    pub(crate) name: String,
    pub(crate) kind: SourceKind,
    pub(crate) path: PathBuf,
    pub(crate) delimiter: Option<char>,
    pub(crate) encoding: Option<Encoding>,
    #[serde(default = "timeout_default")]
    pub(crate) timeout_ms: u64,
}

fn timeout_default() -> u64 {
    TIMEOUT_DEFAULT_MS
}

#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub(crate) enum SourceKind {
    Sqlite,
    Csv,
}

#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
pub(crate) enum Encoding {
    #[default]
    #[serde(rename = "utf-8")]
    Utf8,
    #[serde(rename = "latin-1")]
    Latin1,
}

/// How a source becomes evidence of one type.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct EvidenceConfig {
    #[serde(rename = "type")]
    pub(crate) evidence_type: String,
    pub(crate) source: String,
    pub(crate) table: Option<String>,
    pub(crate) blocked: Option<String>,
    #[serde(rename = "match")]
    pub(crate) matching: MatchConfig,
    pub(crate) subject: SubjectConfig,
    #[serde(default)]
    pub(crate) affected: Vec<SubjectConfig>,
    #[serde(default)]
    pub(crate) fields: BTreeMap<String, FieldConfig>,
    #[serde(default)]
    pub(crate) absent: Vec<String>,
}

/// Columns that a person query is compared with.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct MatchConfig {
    pub(crate) idnr: Option<String>,
    pub(crate) family_name: Option<String>,
    pub(crate) given_names: Option<String>,
    pub(crate) birth_date: String,
    pub(crate) birth_date_format: Option<String>,
    pub(crate) postcode: Option<String>,
    pub(crate) place: Option<String>,
}

/// Columns that name a person in an access record.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct SubjectConfig {
    pub(crate) idnr: Option<String>,
    pub(crate) birth_name: Option<String>,
    pub(crate) given_names: Option<String>,
    pub(crate) birth_date: Option<String>,
    pub(crate) birth_place: Option<String>,
}

/// Where a field's value comes from.
#[derive(Clone, Debug, Deserialize)]
#[serde(try_from = "FieldKeys")]
pub(crate) enum FieldConfig {
    Column(ColumnConfig),
    Constant(Value),
    Many(ManyConfig),
}

/// One column and how it is written.
#[derive(Clone, Debug)]
pub(crate) struct ColumnConfig {
    pub(crate) column: String,
    pub(crate) date_format: Option<String>,
    pub(crate) codes: Option<BTreeMap<String, Value>>,
    pub(crate) number_format: Option<String>,
}

/// Rows of another table that belong to the person's row.
#[derive(Clone, Debug)]
pub(crate) struct ManyConfig {
    pub(crate) table: String,
    pub(crate) key: String,
    pub(crate) parent: String,
    pub(crate) order_by: Option<String>,
    pub(crate) columns: BTreeMap<String, FieldConfig>,
}

/// All keys that a field can have; which of them may stand together is decided in `try_from`,
/// because an untagged enum would only say that nothing fits.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FieldKeys {
    column: Option<String>,
    date_format: Option<String>,
    codes: Option<BTreeMap<String, Value>>,
    number_format: Option<String>,
    constant: Option<Value>,
    table: Option<String>,
    key: Option<String>,
    parent: Option<String>,
    order_by: Option<String>,
    columns: Option<BTreeMap<String, FieldConfig>>,
}

impl TryFrom<FieldKeys> for FieldConfig {
    type Error = &'static str;

    fn try_from(keys: FieldKeys) -> Result<Self, Self::Error> {
        let shaping =
            keys.date_format.is_some() || keys.codes.is_some() || keys.number_format.is_some();
        let many = keys.key.is_some()
            || keys.parent.is_some()
            || keys.order_by.is_some()
            || keys.columns.is_some();
        match (keys.column, keys.constant, keys.table) {
            (Some(column), None, None) if !many => {
                let shapes = [
                    keys.date_format.is_some(),
                    keys.codes.is_some(),
                    keys.number_format.is_some(),
                ];
                if shapes.into_iter().filter(|given| *given).count() > 1 {
                    return Err("a column takes one of `date_format`, `codes`, `number_format`");
                }
                Ok(Self::Column(ColumnConfig {
                    column,
                    date_format: keys.date_format,
                    codes: keys.codes,
                    number_format: keys.number_format,
                }))
            }
            (None, Some(constant), None) if !many && !shaping => Ok(Self::Constant(constant)),
            (None, None, Some(table)) if !shaping => match (keys.key, keys.parent, keys.columns) {
                (Some(key), Some(parent), Some(columns)) => Ok(Self::Many(ManyConfig {
                    table,
                    key,
                    parent,
                    order_by: keys.order_by,
                    columns,
                })),
                _ => Err("a field from another table needs `key`, `parent` and `columns`"),
            },
            _ => Err("a field is either `column` (with `date_format`, `codes` or \
                      `number_format`), or `constant`, or `table` with `key`, `parent`, `columns`"),
        }
    }
}
