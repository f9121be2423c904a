// SPDX-License-Identifier: EUPL-1.2
//! The rules that an access was decided by: their version, and each rule as it was written then.

use einmal_policy::rules_document::RulesDocument;
use einmal_protocol::{Digest, digest::hex, wire::cockpit::v1::ExportedRecord};

use super::records::Policy;

/// Rules of one version.
pub(crate) struct RulesOf {
    pub(crate) version: u64,
    pub(crate) digest: String,
    /// The rule in Cedar, by its id.
    pub(crate) sources: Vec<(String, String)>,
}

impl RulesOf {
    /// Reads them out of what the keeper archived; the last document counts.
    pub(crate) fn read(export: &ExportedRecord, policies: &[Policy]) -> Option<Self> {
        let payload = &export.rules.last()?.payload;
        let document: RulesDocument = serde_json::from_slice(payload).ok()?;
        let source = |id: &str| {
            // Each policy begins with its id, and ends where the next begins.
            let begin = document.policies.find(&format!("@id(\"{id}\")"))?;
            let text = document.policies.get(begin..)?;
            let end = text.get(4..)?.find("@id(").map_or(text.len(), |end| end + 4);
            let text = text.get(..end)?;
            Some(text.get(..text.rfind(';')? + 1)?.to_owned())
        };
        Some(Self {
            version: document.version,
            digest: hex(Digest::of(payload).as_bytes()),
            sources: policies
                .iter()
                .filter_map(|policy| Some((policy.id.clone(), source(&policy.id)?)))
                .collect(),
        })
    }

    /// A rule as it was written.
    pub(crate) fn source(&self, id: &str) -> &str {
        self.sources
            .iter()
            .find_map(|(known, text)| (known == id).then_some(text.as_str()))
            .unwrap_or_default()
    }
}
