// SPDX-License-Identifier: EUPL-1.2
//! A register's file: sources and how they become evidence. Unknown keys are refused.

use std::{collections::BTreeMap, path::PathBuf, sync::Arc};

use serde::Deserialize;
use serde_json::Value;
use toml::{
    Spanned,
    de::{DeTable, DeValue, ValueDeserializer},
};

use crate::{
    kinds::{KINDS, Kind, Setup},
    lines::Lines,
    mistake::choices,
};

const TEXT_MAX: usize = 1024 * 1024;
const TIMEOUT_DEFAULT_MS: u64 = 400;

/// The configuration of one register, well formed but not yet checked against its sources.
#[derive(Clone, Debug)]
pub struct SourcesConfig {
    pub(crate) lines: Lines,
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
        Self::read(text).map_err(|Wrong { at, problem }| {
            let before = text.bytes().take(at).filter(|byte| *byte == b'\n').count();
            ConfigError::Line { line: before + 1, problem }
        })
    }

    fn read(text: &str) -> Result<Self, Wrong> {
        // Each source is read by its own kind from the tree that still knows where all stands: an
        // enum tagged by `kind` would lose the lines.
        let mut table = DeTable::parse(text)?;
        let (whole, lines) = (table.span(), Lines::of(text, table.get_ref()));
        let Some(sources) = table.get_mut().remove("sources") else {
            return wrong(whole.start, "missing field `sources`");
        };
        let place = sources.span().start;
        let DeValue::Array(sources) = sources.into_inner() else {
            return wrong(place, "a source is written as `[[sources]]`");
        };
        let sources = sources.into_iter().map(SourceConfig::read).collect::<Result<_, _>>()?;
        let rest = Spanned::new(whole, DeValue::Table(table.into_inner()));
        let Rest { evidence } = Rest::deserialize(ValueDeserializer::from(rest))?;
        Ok(Self { lines, sources, evidence })
    }

    /// Ids of the evidence types that it maps.
    pub fn evidence_types(&self) -> impl Iterator<Item = &str> {
        self.evidence.iter().map(|evidence| evidence.evidence_type.as_str())
    }
}

/// All but the sources.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Rest {
    evidence: Vec<EvidenceConfig>,
}

/// Where data lies: what all kinds share, and the keys of one kind.
#[derive(Clone)]
pub(crate) struct SourceConfig {
    pub(crate) name: String,
    pub(crate) timeout_ms: u64,
    pub(crate) kind: &'static Kind,
    pub(crate) setup: Arc<dyn Setup>,
}

impl std::fmt::Debug for SourceConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SourceConfig({}, {}, {:?})", self.name, self.kind.name, self.setup)
    }
}

impl SourceConfig {
    fn read(source: Spanned<DeValue<'_>>) -> Result<Self, Wrong> {
        let place = source.span();
        let DeValue::Table(mut own) = source.into_inner() else {
            return wrong(place.start, "a source is written as `[[sources]]`");
        };
        let mut shared = DeTable::new();
        for key in ["name", "kind", "timeout_ms"] {
            shared.extend(own.remove_entry(key));
        }
        let kind_at = shared.get("kind").map_or(place.start, |kind| kind.span().start);
        let read =
            |table| ValueDeserializer::from(Spanned::new(place.clone(), DeValue::Table(table)));
        let SharedKeys { name, kind, timeout_ms } = SharedKeys::deserialize(read(shared))?;
        let Some(kind) = KINDS.iter().find(|known| known.name == kind) else {
            let names = choices(KINDS.iter().map(|kind| kind.name));
            return wrong(kind_at, format!("there is no kind `{kind}`; write one of {names}"));
        };
        let setup = (kind.keys)(read(own)).map_err(|error| {
            let mut wrong = Wrong::from(error);
            // Serde lists the kind's own keys only.
            if wrong.problem.starts_with("unknown field") {
                wrong.problem += " besides `name`, `kind`, `timeout_ms`";
            }
            Wrong { problem: format!("kind `{}`: {}", kind.name, wrong.problem), ..wrong }
        })?;
        Ok(Self { name, timeout_ms, kind, setup })
    }
}

/// The keys of a source that all kinds have.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SharedKeys {
    name: String,
    kind: String,
    #[serde(default = "timeout_default")]
    timeout_ms: u64,
}

fn timeout_default() -> u64 {
    TIMEOUT_DEFAULT_MS
}

/// A problem and where it is, in bytes of the file.
struct Wrong {
    at: usize,
    problem: String,
}

impl From<toml::de::Error> for Wrong {
    fn from(error: toml::de::Error) -> Self {
        let at = error.span().map_or(0, |span| span.start);
        Self { at, problem: error.message().to_owned() }
    }
}

fn wrong<T>(at: usize, problem: impl Into<String>) -> Result<T, Wrong> {
    Err(Wrong { at, problem: problem.into() })
}

#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
pub(crate) enum Encoding {
    #[default]
    #[serde(rename = "utf-8")]
    Utf8,
    #[serde(rename = "latin-1")]
    Latin1,
    #[serde(rename = "windows-1252")]
    Windows1252,
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
    pub(crate) codes_file: Option<CodesFile>,
    pub(crate) number_format: Option<String>,
    pub(crate) default: Option<Value>,
}

/// A code list in a CSV file.
#[derive(Clone, Debug)]
pub(crate) struct CodesFile {
    pub(crate) path: PathBuf,
    /// The column that holds codes.
    pub(crate) from: String,
    /// The column that holds what they become.
    pub(crate) to: String,
}

/// A list of objects.
#[derive(Clone, Debug)]
pub(crate) struct ManyConfig {
    pub(crate) from: ManyFrom,
    pub(crate) columns: BTreeMap<String, FieldConfig>,
}

/// Where a list's objects are.
#[derive(Clone, Debug)]
pub(crate) enum ManyFrom {
    /// Rows of another table that belong to the person's row.
    Table { table: String, key: String, parent: String, order_by: Option<String> },
    /// A list inside the person's own entry.
    List(String),
}

/// All keys that a field can have; which of them may stand together is decided in `try_from`,
/// because an untagged enum would only say that nothing fits.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FieldKeys {
    column: Option<String>,
    date_format: Option<String>,
    codes: Option<BTreeMap<String, Value>>,
    codes_file: Option<PathBuf>,
    codes_from: Option<String>,
    codes_to: Option<String>,
    number_format: Option<String>,
    default: Option<Value>,
    constant: Option<Value>,
    list: Option<String>,
    table: Option<String>,
    key: Option<String>,
    parent: Option<String>,
    order_by: Option<String>,
    columns: Option<BTreeMap<String, FieldConfig>>,
}

impl TryFrom<FieldKeys> for FieldConfig {
    type Error = &'static str;

    fn try_from(keys: FieldKeys) -> Result<Self, Self::Error> {
        let shapes = [
            keys.date_format.is_some(),
            keys.codes.is_some(),
            keys.codes_file.is_some(),
            keys.number_format.is_some(),
        ];
        let listed = keys.codes_from.is_some() || keys.codes_to.is_some();
        if listed && keys.codes_file.is_none() {
            return Err("`codes_from` and `codes_to` name columns of a `codes_file`");
        }
        let shaped = keys.default.is_some() || shapes.contains(&true);
        let shapes = shapes.into_iter().filter(|given| *given).count();
        let joined = keys.key.is_some() || keys.parent.is_some() || keys.order_by.is_some();
        let many = joined || keys.columns.is_some();
        match (keys.column, keys.constant, keys.table, keys.list) {
            (Some(_), None, None, None) if shapes > 1 => {
                Err("a column takes one of `date_format`, `codes`, `codes_file`, `number_format`")
            }
            (Some(column), None, None, None) if !many => Ok(Self::Column(ColumnConfig {
                column,
                date_format: keys.date_format,
                codes: keys.codes,
                codes_file: keys.codes_file.map(|path| CodesFile {
                    path,
                    from: keys.codes_from.unwrap_or_else(|| "code".to_owned()),
                    to: keys.codes_to.unwrap_or_else(|| "value".to_owned()),
                }),
                number_format: keys.number_format,
                default: keys.default,
            })),
            (None, Some(constant), None, None) if !many && !shaped => Ok(Self::Constant(constant)),
            (None, None, Some(table), None) if !shaped => {
                match (keys.key, keys.parent, keys.columns) {
                    (Some(key), Some(parent), Some(columns)) => {
                        let from = ManyFrom::Table { table, key, parent, order_by: keys.order_by };
                        Ok(Self::Many(ManyConfig { from, columns }))
                    }
                    _ => Err("a field from another table needs `key`, `parent` and `columns`"),
                }
            }
            (None, None, None, Some(list)) if !shaped && !joined => {
                let columns = keys.columns.ok_or("a field from a list needs `columns`")?;
                Ok(Self::Many(ManyConfig { from: ManyFrom::List(list), columns }))
            }
            _ => Err("a field is either `column` (with `date_format`, `codes`, `codes_file` or \
                      `number_format`, and `default`), or `constant`, or `table` with `key`, `parent`, \
                      `columns`, or `list` with `columns`"),
        }
    }
}
