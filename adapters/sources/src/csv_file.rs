// SPDX-License-Identifier: EUPL-1.2
//! CSV files, and what all files of lines share: read into memory, and read again when their time
//! or size changes.
//!
//! The first line of a CSV file has the column names. A line that cannot be used is left out, counted and
//! named by its number; never by what stands in it. Replace a file by renaming: a file that is
//! written in place is first seen half.

use std::{
    collections::BTreeSet,
    path::PathBuf,
    sync::{Arc, PoisonError, RwLock},
    time::{Duration, Instant, SystemTime},
};

use einmal_adapter_kit::register::{Query, RegisterFault, async_trait};
use serde::Deserialize;

use crate::{
    config::Encoding,
    csv_table::{self, Table},
    dates::DateFormat,
    fixed_width::FixedForm,
    kinds::{BadName, Kind, Listing, Many, Missing, Naming, Setup, Source, Spot, keys},
    lookup::{CANDIDATES_MAX, Lookup, Matches, Wanted, birth_date},
    plan::{Plan, Row},
};

/// CSV files.
pub(crate) const KIND: Kind = Kind {
    name: "csv",
    naming: Naming {
        called: "a CSV file",
        tables: false,
        many: Many::Never,
        check: check_name,
        same: |one, other| one == other,
        missing: Missing::Text {
            problem: "the file's first line has no column",
            instead: "write the name as it stands there, or add the heading",
        },
    },
    keys: keys::<CsvKeys>,
};

const NAME_MAX: usize = 128;

fn check_name(name: &str) -> Result<(), BadName> {
    if name.chars().count() <= NAME_MAX {
        return Ok(());
    }
    let instead = "write a column name of the first line";
    Err(BadName { problem: "this is too long", instead })
}

/// Keys of a CSV source.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct CsvKeys {
    path: PathBuf,
    delimiter: Option<char>,
    encoding: Option<Encoding>,
}

#[async_trait]
impl Setup for CsvKeys {
    async fn open(&self, spot: &mut Spot<'_>) -> Option<Box<dyn Source>> {
        let delimiter = u8::try_from(self.delimiter.unwrap_or(';')).ok();
        let Some(delimiter) = delimiter.filter(|byte| b";,|\t:".contains(byte)) else {
            let instead = "write `;`, `,`, `|`, `:` or a tab";
            spot.mistake("delimiter", "it is no delimiter", instead);
            return None;
        };
        let encoding = self.encoding.unwrap_or_default();
        let path = spot.folder.join(&self.path);
        match FileSource::open(spot.name, path, Form::Csv { delimiter }, encoding).await {
            Ok(source) => Some(Box::new(source)),
            Err(problem) => {
                spot.bad_path(&self.path, &problem);
                None
            }
        }
    }
}

/// How a line is cut into cells.
#[derive(Clone)]
pub(crate) enum Form {
    Csv { delimiter: u8 },
    Fixed(Arc<FixedForm>),
}

/// A file that could not be read is tried again after this.
const RETRY_AFTER: Duration = Duration::from_secs(5);
const READS_MAX: usize = 3;

/// Lines of a file that cannot be used.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BadLines {
    /// The source's name in the configuration.
    pub source: String,
    /// How many there are.
    pub count: u64,
    /// Line numbers, counted from 1, of the first twenty, and what is wrong with them.
    pub first: Vec<(u64, &'static str)>,
}

/// A file and what is to be read from it.
#[derive(Clone)]
pub(crate) struct TableFile {
    pub(crate) name: String,
    pub(crate) path: PathBuf,
    pub(crate) form: Form,
    pub(crate) encoding: Encoding,
    /// Columns that must be there.
    pub(crate) needed: BTreeSet<String>,
    /// Birth date columns; the table is indexed by each.
    pub(crate) births: Vec<(String, DateFormat)>,
}

type Stamp = (SystemTime, u64);

struct Loaded {
    stamp: Option<Stamp>,
    at: Instant,
    table: Result<Arc<Table>, String>,
}

/// One file.
pub(crate) struct FileSource {
    file: Arc<TableFile>,
    header: Vec<String>,
    loaded: Arc<RwLock<Option<Loaded>>>,
    loading: Arc<tokio::sync::Mutex<()>>,
}

impl FileSource {
    /// Reads the heading only; `ready` reads the rest.
    pub(crate) async fn open(
        name: &str,
        path: PathBuf,
        form: Form,
        encoding: Encoding,
    ) -> Result<Self, String> {
        let (needed, births) = (BTreeSet::new(), Vec::new());
        let file = TableFile { name: name.to_owned(), path, form, encoding, needed, births };
        let copy = file.clone();
        let header = tokio::task::spawn_blocking(move || csv_table::header(&copy)).await;
        let header = header.map_err(|_| "it could not be read".to_owned())??;
        Ok(Self { file: Arc::new(file), header, loaded: Arc::default(), loading: Arc::default() })
    }

    /// The file's present content.
    async fn current(&self) -> Result<Arc<Table>, String> {
        let path = self.file.path.clone();
        let stamp = tokio::fs::metadata(path).await.ok().as_ref().and_then(stamp_of);
        if let Some(table) = known(&self.loaded, stamp) {
            return table;
        }
        // A task of its own, because a query may be dropped at its deadline while a large file
        // is being read; the next query then finds it read.
        let file = Arc::clone(&self.file);
        let loaded = Arc::clone(&self.loaded);
        let loading = Arc::clone(&self.loading);
        let task = tokio::spawn(async move {
            let _one_at_a_time = loading.lock().await;
            if let Some(table) = known(&loaded, stamp) {
                return table;
            }
            let read = tokio::task::spawn_blocking(move || load(&file)).await;
            let fresh = read.map_err(|_| "the file could not be read".to_owned())?;
            let table = fresh.table.clone();
            *loaded.write().unwrap_or_else(PoisonError::into_inner) = Some(fresh);
            table
        });
        task.await.map_err(|_| "the file could not be read".to_owned())?
    }

    fn fault(&self, problem: String) -> RegisterFault {
        RegisterFault::Source { source_name: self.file.name.clone(), problem }
    }
}

#[async_trait]
impl Source for FileSource {
    async fn listing(&self, _tables: &[&str], _spot: &mut Spot<'_>) -> Option<Listing> {
        Some(Listing::of_columns(self.header.clone()))
    }

    async fn ready(&mut self, plans: &[&Plan], spot: &mut Spot<'_>) {
        let mut file = TableFile::clone(&self.file);
        for plan in plans {
            file.needed.extend(plan.columns.iter().cloned());
            let birth = birth_column(plan);
            if !file.births.contains(&birth) {
                file.births.push(birth);
            }
        }
        self.file = Arc::new(file);
        if let Err(problem) = self.current().await {
            spot.mistake("path", problem, "repair the file and start again");
        }
    }

    async fn find(
        &self,
        plan: &Plan,
        query: &Query,
        wanted: &Wanted,
    ) -> Result<Lookup, RegisterFault> {
        let table = self.current().await.map_err(|problem| self.fault(problem))?;
        let birth = birth_column(plan);
        let index = self.file.births.iter().position(|known| *known == birth);
        let candidates = table.born(index, birth_date(&query.person));
        if candidates.len() > CANDIDATES_MAX {
            return Err(self.fault("more than 5000 people have one birth date".into()));
        }
        let to_match = table.places(plan, &plan.match_columns());
        let to_read = table.places(plan, &plan.columns_for(&query.fields));
        let mut matches = Matches::default();
        for line in candidates {
            let mut row = Row::empty(plan.columns.len());
            table.read(*line, &to_match, &mut row);
            if wanted.fits(&row) {
                table.read(*line, &to_read, &mut row);
                matches.add(plan, row);
            }
        }
        Ok(matches.result())
    }

    fn bad_lines(&self) -> Option<BadLines> {
        let loaded = self.loaded.read().unwrap_or_else(PoisonError::into_inner);
        let table = loaded.as_ref()?.table.as_ref().ok()?;
        (table.bad.count > 0).then(|| table.bad.clone())
    }
}

fn birth_column(plan: &Plan) -> (String, DateFormat) {
    let name = plan.column_name(plan.matching.birth_date).to_owned();
    (name, plan.matching.birth_format.clone())
}

fn stamp_of(metadata: &std::fs::Metadata) -> Option<Stamp> {
    metadata.modified().ok().map(|modified| (modified, metadata.len()))
}

/// What was read of the file when it looked as it does now.
fn known(
    loaded: &RwLock<Option<Loaded>>,
    stamp: Option<Stamp>,
) -> Option<Result<Arc<Table>, String>> {
    let loaded = loaded.read().unwrap_or_else(PoisonError::into_inner);
    let loaded = loaded.as_ref().filter(|loaded| loaded.stamp == stamp)?;
    let fresh = loaded.table.is_ok() || loaded.at.elapsed() < RETRY_AFTER;
    fresh.then(|| loaded.table.clone())
}

fn load(file: &TableFile) -> Loaded {
    let stamp = || std::fs::metadata(&file.path).ok().as_ref().and_then(stamp_of);
    let mut before = stamp();
    for _ in 0..READS_MAX {
        let table = csv_table::read(file);
        let after = stamp();
        if before == after {
            match &table {
                Ok(table) if table.bad.count > 0 => tracing::warn!(
                    source.name = file.name,
                    lines.bad = table.bad.count,
                    lines.first = ?table.bad.first,
                    "lines of a file cannot be used"
                ),
                Ok(_) => tracing::info!(source.name = file.name, "file is read"),
                Err(problem) => tracing::error!(source.name = file.name, problem, "no file"),
            }
            return Loaded { stamp: after, at: Instant::now(), table: table.map(Arc::new) };
        }
        before = after;
    }
    let table = Err("the file changes while it is read; replace it by renaming".into());
    Loaded { stamp: before, at: Instant::now(), table }
}
