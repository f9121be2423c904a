// SPDX-License-Identifier: EUPL-1.2
//! The register that a configuration makes.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use einmal_adapter_kit::register::{Answer, Query, Register, RegisterFault, async_trait};
use einmal_policy::rules_document::EvidenceType;

use crate::{
    config::{EvidenceConfig, SourceConfig, SourcesConfig},
    csv_file::BadLines,
    lookup::{self, Wanted},
    mistake::{Mistake, Mistakes, choices},
    plan::Plan,
    planner::{self, Listing},
    source::Source,
};

/// A register by configuration alone. May be asked many times at once.
pub struct ConfiguredRegister {
    sources: BTreeMap<String, Source>,
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
        let (mut sources, listings) = open_sources(config, folder, &mut mistakes).await;
        let plans = plan_all(config, &listings, types, &mut mistakes);
        mistakes.result()?;

        let mut mistakes = Mistakes::default();
        for (name, source) in &mut sources {
            let own: Vec<&Plan> = plans.values().filter(|plan| plan.source == *name).collect();
            if let Err(problem) = source.ready(&own).await {
                let at = format!("sources.{name}.path");
                mistakes.add(at, problem, "repair the source and start again");
            }
        }
        mistakes.result()?;
        tracing::info!(sources = sources.len(), evidence_types = plans.len(), "register is open");
        Ok(Self { sources, plans })
    }

    /// Lines of CSV files that could not be used when the file was last read.
    pub fn bad_lines(&self) -> Vec<BadLines> {
        self.sources.values().filter_map(Source::bad_lines).collect()
    }
}

async fn open_sources(
    config: &SourcesConfig,
    folder: &Path,
    mistakes: &mut Mistakes,
) -> (BTreeMap<String, Source>, BTreeMap<String, Listing>) {
    let (mut sources, mut listings) = (BTreeMap::new(), BTreeMap::new());
    for source in &config.sources {
        if listings.contains_key(&source.name) {
            let problem = "two sources have this name";
            mistakes.add(format!("sources.{}.name", source.name), problem, "rename one");
            continue;
        }
        let (opened, listing) = open_source(source, config, folder, mistakes).await;
        listings.insert(source.name.clone(), listing);
        sources.extend(opened.map(|opened| (source.name.clone(), opened)));
    }
    (sources, listings)
}

async fn open_source(
    config: &SourceConfig,
    all: &SourcesConfig,
    folder: &Path,
    mistakes: &mut Mistakes,
) -> (Option<Source>, Listing) {
    let unread = Listing { kind: config.kind, names: Vec::new(), tables: None };
    let Some(source) = Source::open(config, folder, mistakes).await else { return (None, unread) };
    let own: Vec<&EvidenceConfig> =
        all.evidence.iter().filter(|evidence| evidence.source == config.name).collect();
    match source.listing(&own).await {
        Ok(listing) => (Some(source), listing),
        Err(problem) => {
            let at = format!("sources.{}.path", config.name);
            mistakes.add(at, problem, "repair the source and start again");
            (Some(source), unread)
        }
    }
}

fn plan_all(
    config: &SourcesConfig,
    listings: &BTreeMap<String, Listing>,
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
        let listing = listings.get(&evidence.source);
        if listing.is_none() {
            let names = choices(listings.keys().map(String::as_str));
            let problem = format!("there is no source `{}`", evidence.source);
            mistakes.add(format!("{at}.source"), problem, format!("write one of {names}"));
        }
        if let (Some(evidence_type), Some(listing)) = (evidence_type, listing) {
            let plan = planner::plan(evidence, listing, evidence_type, mistakes);
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
        let source = self.sources.get(&plan.source).ok_or_else(not_configured)?;
        let fault =
            |problem: String| RegisterFault::Source { source_name: plan.source.clone(), problem };
        // "Nothing" would be untrue of a person who is there but cannot be asked for in this way.
        let wanted = Wanted::new(plan, &query.person).ok_or_else(|| {
            fault("it lacks a column for this kind of query; map it under `match`".into())
        })?;
        let found = tokio::time::timeout(source.timeout, source.find(plan, query, &wanted)).await;
        let lookup = found.map_err(|_| {
            fault(format!("no answer within {} ms (`timeout_ms`)", source.timeout.as_millis()))
        })??;
        lookup::answer(plan, query, lookup)
    }
}
