// SPDX-License-Identifier: EUPL-1.2
//! The kinds of sources, and what each must be able to do.
//!
//! # How a kind is added
//!
//! One file or folder, with
//!
//! 1. a struct of its keys, with `#[serde(deny_unknown_fields)]`, that implements [`Setup`]: it
//!    checks what the keys say and opens the source. The keys that all kinds share (`name`, `kind`,
//!    `timeout_ms`) are not among them; they come in [`Spot`];
//! 2. a struct of the open source, that implements [`Source`]: it lists what is there, becomes
//!    ready for the plans and looks people up;
//! 3. a [`Kind`], which gives its name and says by a [`Naming`] what the planner has to know: are
//!    there tables, which names can columns have, how are one-to-many fields written.
//!
//! Then it is named in [`KINDS`], here, and in `docs/registers.md`. Nothing else asks which kind a
//! source is of.

use std::{collections::BTreeMap, fmt, path::Path, sync::Arc, time::Duration};

use einmal_adapter_kit::register::{Query, RegisterFault, async_trait};
use serde::de::DeserializeOwned;
use toml::de::ValueDeserializer;

use crate::{
    BadLines,
    lookup::{Lookup, Wanted},
    mistake::Mistakes,
    plan::Plan,
};

/// All kinds there are.
pub(crate) const KINDS: &[&Kind] = &[
    &crate::csv_file::KIND,
    &crate::fixed_width::KIND,
    &crate::sql::MARIADB,
    &crate::sql::MYSQL,
    &crate::sql::POSTGRES,
    &crate::rest::KIND,
    &crate::sql::SQLITE,
];

/// One kind of sources.
pub(crate) struct Kind {
    /// What `kind` says.
    pub(crate) name: &'static str,
    pub(crate) naming: Naming,
    /// Reads its keys; [`keys`] for a struct that can be deserialized.
    pub(crate) keys: fn(ValueDeserializer<'_>) -> Result<Arc<dyn Setup>, toml::de::Error>,
}

/// Reads the keys of a kind.
pub(crate) fn keys<S: Setup + DeserializeOwned + 'static>(
    table: ValueDeserializer<'_>,
) -> Result<Arc<dyn Setup>, toml::de::Error> {
    S::deserialize(table).map(|setup| Arc::new(setup) as Arc<dyn Setup>)
}

/// What the planner has to know of a kind.
#[derive(Debug)]
pub(crate) struct Naming {
    /// Its sources in a sentence: "a CSV file".
    pub(crate) called: &'static str,
    /// Whether `table` chooses one of several tables. Else it must not be written.
    pub(crate) tables: bool,
    /// How one-to-many fields are written.
    pub(crate) many: Many,
    /// Whether a column (or a table) can have this name; the error says what is wrong with it.
    pub(crate) check: fn(&str) -> Result<(), BadName>,
    /// Whether two names mean the same column.
    pub(crate) same: fn(&str, &str) -> bool,
    /// What is said of a column that the listing lacks.
    pub(crate) missing: Missing,
}

/// Where the several values of a one-to-many field come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Many {
    /// There are none.
    Never,
    /// Rows of another table: `table`, `key`, `parent`, `order_by`.
    Table,
    /// A list inside the person's own entry: `list`.
    List,
}

/// What is wrong with a name, and what to write instead.
pub(crate) struct BadName {
    pub(crate) problem: &'static str,
    pub(crate) instead: &'static str,
}

/// What is said of a column that a source does not have.
#[derive(Debug)]
pub(crate) enum Missing {
    /// All that there are.
    Choices,
    /// This. A file without a heading would put a person into a list of columns.
    Text {
        /// Before the column's name.
        problem: &'static str,
        /// What to do instead.
        instead: &'static str,
    },
}

/// The checked form of a source's keys.
#[async_trait]
pub(crate) trait Setup: fmt::Debug + Send + Sync {
    /// Opens the source; nothing where there was a mistake, which is noted.
    async fn open(&self, spot: &mut Spot<'_>) -> Option<Box<dyn Source>>;
}

/// An open source.
///
/// `find` may be called many times at once, and dropped at any `await`: then it must leave nothing
/// stuck. The caller ends it at the time limit; where that leaves work behind (in a server, in a
/// thread), the source ends that itself.
#[async_trait]
pub(crate) trait Source: Send + Sync {
    /// What is in it, as far as these tables are concerned (of kinds without tables: none is
    /// named). Nothing where it cannot be read, which is noted.
    async fn listing(&self, tables: &[&str], spot: &mut Spot<'_>) -> Option<Listing>;

    /// Makes it ready for the plans that use it. What cannot work is noted.
    async fn ready(&mut self, plans: &[&Plan], spot: &mut Spot<'_>);

    /// Looks one person up.
    ///
    /// Candidates have the query's birth date ([`crate::lookup::birth_date`], written in
    /// `plan.matching.birth_format`); `wanted` says which of them fit, and
    /// [`crate::lookup::Matches`] makes of those what they mean.
    async fn find(
        &self,
        plan: &Plan,
        query: &Query,
        wanted: &Wanted,
    ) -> Result<Lookup, RegisterFault>;

    /// What could not be checked at start, in words.
    fn unchecked(&self) -> Vec<String> {
        Vec::new()
    }

    /// Lines that cannot be used, where it has lines.
    fn bad_lines(&self) -> Option<BadLines> {
        None
    }
}

/// What a source has.
#[derive(Debug, Default)]
pub(crate) struct Listing {
    /// All table names, for mistakes' texts.
    pub(crate) names: Vec<String>,
    /// Columns by table name; of kinds without tables under the empty name. Nothing where that is
    /// not known before somebody is asked for; then columns are not checked, and neither are they
    /// where the source could not be opened, so that one mistake does not hide the others.
    pub(crate) tables: Option<BTreeMap<String, Vec<String>>>,
}

impl Listing {
    /// The listing of a kind without tables.
    pub(crate) fn of_columns(columns: Vec<String>) -> Self {
        let tables = Some(BTreeMap::from([(String::new(), columns)]));
        Self { names: Vec::new(), tables }
    }
}

/// The place of one source in the configuration: what all kinds share, and where mistakes go.
pub(crate) struct Spot<'a> {
    /// The source's name.
    pub(crate) name: &'a str,
    /// Paths are seen from here.
    pub(crate) folder: &'a Path,
    /// The time that one lookup may take.
    pub(crate) timeout: Duration,
    pub(crate) mistakes: &'a mut Mistakes,
}

impl Spot<'_> {
    /// Notes a mistake at a key of this source; at the source itself, where the key is empty.
    pub(crate) fn mistake(
        &mut self,
        key: &str,
        problem: impl Into<String>,
        instead: impl Into<String>,
    ) {
        self.mistakes.add(self.at(key), problem, instead);
    }

    /// Notes that the source does not answer.
    pub(crate) fn away(&mut self, key: &str, problem: String, instead: &str) {
        self.mistakes.away(self.at(key), problem, instead);
    }

    fn at(&self, key: &str) -> String {
        let dot = if key.is_empty() { "" } else { "." };
        format!("sources.{}{dot}{key}", self.name)
    }

    /// Notes that the file of this source cannot be used.
    pub(crate) fn bad_path(&mut self, path: &Path, problem: &str) {
        let problem = format!("`{}`: {problem}", path.display());
        let instead = "write the path of the file, as seen from the register's file";
        self.mistake("path", problem, instead);
    }
}
