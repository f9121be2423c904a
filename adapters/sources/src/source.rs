// SPDX-License-Identifier: EUPL-1.2
//! A place where data lies, of either kind.

use std::{path::Path, time::Duration};

use einmal_adapter_kit::register::{Query, RegisterFault};

use crate::{
    config::{EvidenceConfig, FieldConfig, SourceConfig, SourceKind},
    csv_file::{BadLines, CsvSource},
    lookup::{Lookup, Wanted},
    mistake::Mistakes,
    plan::Plan,
    planner::Listing,
    sqlite::SqliteSource,
};

/// Longer than this no exchange can wait for a register.
const TIMEOUT_MAX_MS: u64 = 10_000;

pub(crate) enum Place {
    Sqlite(SqliteSource),
    Csv(CsvSource),
}

pub(crate) struct Source {
    place: Place,
    pub(crate) timeout: Duration,
}

impl Source {
    /// Opens a source; mistakes name what is wrong.
    pub(crate) async fn open(
        config: &SourceConfig,
        folder: &Path,
        mistakes: &mut Mistakes,
    ) -> Option<Self> {
        let at = format!("sources.{}", config.name);
        if config.timeout_ms == 0 || config.timeout_ms > TIMEOUT_MAX_MS {
            let instead = format!("write milliseconds from 1 to {TIMEOUT_MAX_MS}");
            mistakes.add(format!("{at}.timeout_ms"), "it is out of range", instead);
        }
        let timeout = Duration::from_millis(config.timeout_ms.clamp(1, TIMEOUT_MAX_MS));
        let path = folder.join(&config.path);
        let place = match config.kind {
            SourceKind::Sqlite => {
                for (key, given) in [
                    ("delimiter", config.delimiter.is_some()),
                    ("encoding", config.encoding.is_some()),
                ] {
                    if given {
                        let problem = "only a CSV file has this";
                        mistakes.add(format!("{at}.{key}"), problem, "leave it out");
                    }
                }
                SqliteSource::open(&config.name, &path, timeout).await.map(Place::Sqlite)
            }
            SourceKind::Csv => {
                let delimiter = config.delimiter.unwrap_or(';');
                let Some(delimiter) =
                    u8::try_from(delimiter).ok().filter(|byte| b";,|\t:".contains(byte))
                else {
                    let instead = "write `;`, `,`, `|`, `:` or a tab";
                    mistakes.add(format!("{at}.delimiter"), "it is no delimiter", instead);
                    return None;
                };
                let encoding = config.encoding.unwrap_or_default();
                CsvSource::open(&config.name, path, delimiter, encoding).await.map(Place::Csv)
            }
        };
        let opened = place.map_err(|problem| {
            let shown = config.path.display();
            let instead = "write the path of the file, as seen from the register's file";
            mistakes.add(format!("{at}.path"), format!("`{shown}`: {problem}"), instead);
        });
        opened.ok().map(|place| Self { place, timeout })
    }

    /// What is in it, as far as these parts of the configuration name it.
    pub(crate) async fn listing(&self, evidence: &[&EvidenceConfig]) -> Result<Listing, String> {
        match &self.place {
            Place::Sqlite(source) => {
                let tables = evidence.iter().filter_map(|config| config.table.as_deref());
                let fields = evidence.iter().flat_map(|config| config.fields.values());
                let inner = fields.filter_map(|field| match field {
                    FieldConfig::Many(many) => Some(many.table.as_str()),
                    FieldConfig::Column(_) | FieldConfig::Constant(_) => None,
                });
                source.listing(&tables.chain(inner).collect::<Vec<_>>()).await
            }
            Place::Csv(source) => Ok(source.listing()),
        }
    }

    /// Makes it ready for the plans that use it.
    pub(crate) async fn ready(&mut self, plans: &[&Plan]) -> Result<(), String> {
        match &mut self.place {
            Place::Sqlite(source) => {
                for plan in plans {
                    source.check(plan).await?;
                }
                Ok(())
            }
            Place::Csv(source) => source.ready(plans).await,
        }
    }

    pub(crate) async fn find(
        &self,
        plan: &Plan,
        query: &Query,
        wanted: &Wanted,
    ) -> Result<Lookup, RegisterFault> {
        match &self.place {
            Place::Sqlite(source) => source.find(plan, query, wanted).await,
            Place::Csv(source) => source.find(plan, query, wanted).await,
        }
    }

    pub(crate) fn bad_lines(&self) -> Option<BadLines> {
        match &self.place {
            Place::Sqlite(_) => None,
            Place::Csv(source) => source.bad_lines(),
        }
    }
}
