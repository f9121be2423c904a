// SPDX-License-Identifier: EUPL-1.2
//! The register that a configuration makes.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    time::Duration,
};

use einmal_adapter_kit::register::{Answer, Query, Register, RegisterFault, async_trait};
use einmal_policy::rules_document::EvidenceType;

use crate::{
    config::{FieldConfig, ManyFrom, SourceConfig, SourcesConfig},
    csv_file::BadLines,
    kinds::{Listing, Naming, Source, Spot},
    lookup::{self, Wanted},
    mistake::{Mistake, Mistakes, choices},
    plan::Plan,
    planner::{self, Ground},
};

/// Longer than this no exchange can wait for a register.
const TIMEOUT_MAX_MS: u64 = 10_000;

/// An open source and how long one lookup in it may take.
struct Opened {
    source: Box<dyn Source>,
    timeout: Duration,
}

/// A register by configuration alone. May be asked many times at once.
pub struct ConfiguredRegister {
    sources: BTreeMap<String, Opened>,
    plans: BTreeMap<String, Plan>,
}

impl std::fmt::Debug for ConfiguredRegister {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ConfiguredRegister")
            .field("sources", &self.sources.keys())
            .field("evidence_types", &self.plans.keys())
            .finish()
    }
}

impl ConfiguredRegister {
    /// Opens all sources (paths are seen from `folder`) and checks the configuration against
    /// them and the evidence types of the rules.
    ///
    /// # Errors
    /// All mistakes that were found, so that one start shows them together.
    pub async fn open(
        config: &SourcesConfig,
        folder: &Path,
        types: &[EvidenceType],
    ) -> Result<Self, Vec<Mistake>> {
        let mut mistakes = Mistakes::default();
        let (mut sources, grounds) = open_sources(config, folder, &mut mistakes).await;
        let plans = plan_all(config, (&grounds, folder), types, &mut mistakes);
        mistakes.result(&config.lines)?;

        let mut mistakes = Mistakes::default();
        for (name, opened) in &mut sources {
            let own: Vec<&Plan> = plans.values().filter(|plan| plan.source == *name).collect();
            let timeout = opened.timeout;
            let mut spot = Spot { name, folder, timeout, mistakes: &mut mistakes };
            opened.source.ready(&own, &mut spot).await;
        }
        mistakes.result(&config.lines)?;
        tracing::info!(sources = sources.len(), evidence_types = plans.len(), "register is open");
        Ok(Self { sources, plans })
    }

    /// What could not be checked at start, by the sources' names.
    pub fn unchecked(&self) -> BTreeMap<&str, Vec<String>> {
        let sources = self.sources.iter();
        let unchecked = sources.map(|(name, own)| (name.as_str(), own.source.unchecked()));
        unchecked.filter(|(_, what)| !what.is_empty()).collect()
    }

    /// Lines of CSV files that could not be used when the file was last read.
    pub fn bad_lines(&self) -> Vec<BadLines> {
        self.sources.values().filter_map(|opened| opened.source.bad_lines()).collect()
    }
}

/// What is in each source, and how it is named there.
type Grounds = BTreeMap<String, (&'static Naming, Listing)>;

async fn open_sources(
    config: &SourcesConfig,
    folder: &Path,
    mistakes: &mut Mistakes,
) -> (BTreeMap<String, Opened>, Grounds) {
    let (mut sources, mut grounds) = (BTreeMap::new(), Grounds::new());
    for source in &config.sources {
        if grounds.contains_key(&source.name) {
            let problem = "two sources have this name";
            mistakes.add(format!("sources.{}.name", source.name), problem, "rename one");
            continue;
        }
        let (opened, listing) = open_source(source, config, folder, mistakes).await;
        grounds.insert(source.name.clone(), (&source.kind.naming, listing));
        sources.extend(opened.map(|opened| (source.name.clone(), opened)));
    }
    (sources, grounds)
}

async fn open_source(
    config: &SourceConfig,
    all: &SourcesConfig,
    folder: &Path,
    mistakes: &mut Mistakes,
) -> (Option<Opened>, Listing) {
    let timeout = Duration::from_millis(config.timeout_ms.clamp(1, TIMEOUT_MAX_MS));
    let mut spot = Spot { name: &config.name, folder, timeout, mistakes };
    if config.timeout_ms == 0 || config.timeout_ms > TIMEOUT_MAX_MS {
        let instead = format!("write milliseconds from 1 to {TIMEOUT_MAX_MS}");
        spot.mistake("timeout_ms", "it is out of range", instead);
    }
    let Some(source) = config.setup.open(&mut spot).await else {
        return (None, Listing::default());
    };
    let listing = source.listing(&tables(config, all), &mut spot).await.unwrap_or_default();
    (Some(Opened { source, timeout }), listing)
}

/// The tables of a source that the configuration names.
fn tables<'a>(source: &SourceConfig, all: &'a SourcesConfig) -> Vec<&'a str> {
    let own = all.evidence.iter().filter(|evidence| evidence.source == source.name);
    own.flat_map(|evidence| {
        let inner = evidence.fields.values().filter_map(|field| match field {
            FieldConfig::Many(many) => match &many.from {
                ManyFrom::Table { table, .. } => Some(table.as_str()),
                ManyFrom::List(_) => None,
            },
            FieldConfig::Column(_) | FieldConfig::Constant(_) => None,
        });
        evidence.table.as_deref().into_iter().chain(inner)
    })
    .collect()
}

fn plan_all(
    config: &SourcesConfig,
    (grounds, folder): (&Grounds, &Path),
    types: &[EvidenceType],
    mistakes: &mut Mistakes,
) -> BTreeMap<String, Plan> {
    let mut plans = BTreeMap::new();
    let mut seen = BTreeSet::new();
    for evidence in &config.evidence {
        let id = &evidence.evidence_type;
        let at = format!("evidence.{id}");
        if !seen.insert(id) {
            mistakes.add(format!("{at}.type"), "it is configured twice", "leave one out");
            continue;
        }
        let evidence_type = types.iter().find(|known| known.id == *id);
        if evidence_type.is_none() {
            let names = choices(types.iter().map(|known| known.id.as_str()));
            let problem = "the rules have no such evidence type";
            mistakes.add(format!("{at}.type"), problem, format!("write one of {names}"));
        }
        let ground = grounds.get(&evidence.source);
        if ground.is_none() {
            let names = choices(grounds.keys().map(String::as_str));
            let problem = format!("there is no source `{}`", evidence.source);
            mistakes.add(format!("{at}.source"), problem, format!("write one of {names}"));
        }
        if let (Some(evidence_type), Some((naming, listing))) = (evidence_type, ground) {
            let ground = Ground { naming, listing, folder };
            let plan = planner::plan(evidence, ground, evidence_type, mistakes);
            plans.insert(id.clone(), plan);
        }
    }
    plans
}

#[async_trait]
impl Register for ConfiguredRegister {
    async fn retrieve(&self, query: &Query) -> Result<Answer, RegisterFault> {
        let not_configured =
            || RegisterFault::NotConfigured { evidence_type: query.evidence_type.clone() };
        let plan = self.plans.get(&query.evidence_type).ok_or_else(not_configured)?;
        let Opened { source, timeout } =
            self.sources.get(&plan.source).ok_or_else(not_configured)?;
        let fault =
            |problem: String| RegisterFault::Source { source_name: plan.source.clone(), problem };
        // "Nothing" would be untrue of a person who is there but cannot be asked for in this way.
        let wanted = Wanted::new(plan, &query.person).ok_or_else(|| {
            fault("it lacks a column for this kind of query; map it under `match`".into())
        })?;
        let found = tokio::time::timeout(*timeout, source.find(plan, query, &wanted)).await;
        let lookup = found.map_err(|_| {
            fault(format!("no answer within {} ms (`timeout_ms`)", timeout.as_millis()))
        })??;
        lookup::answer(plan, query, lookup)
    }
}
