// SPDX-License-Identifier: EUPL-1.2
//! The rules as they are signed: Cedar schema and policies, purposes, evidence types, areas,
//! citizen texts, and tests that must pass before they are accepted.

use serde::{Deserialize, Serialize};

use crate::change::Change;

/// One version of the rules.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct RulesDocument {
    /// Strictly rising.
    pub version: u64,
    /// SHA-256 (hex) of the previous version's payload; absent in version 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previous: Option<String>,
    /// What it does to the version before, derived again on acceptance; absent in version 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub change: Option<Change>,
    /// UTC milliseconds.
    pub issued_at_ms: u64,
    /// UTC milliseconds; refused after that.
    pub expires_at_ms: u64,
    /// Cedar schema in Cedar's own syntax.
    pub schema: String,
    /// Cedar policies, each with the annotations `@id` and `@legal_basis`.
    pub policies: String,
    /// Administrative areas (Bereiche, IDNrG § 12 (1)).
    pub areas: Vec<Area>,
    /// Kinds of authorities, so that a misspelt one is noticed; needed once a policy names one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub kinds: Vec<AuthorityKind>,
    /// What evidence may be asked for.
    pub purposes: Vec<Purpose>,
    /// What may be asked for.
    pub evidence_types: Vec<EvidenceType>,
    /// Decisions that must come out as they say.
    pub tests: Vec<RuleTest>,
    /// Bodies, day keys and tags are destroyed after this many days; absent: 731, two years
    /// (IDNrG § 9 (3)). 1 to 3660. Signed, so that nobody alone shortens or lengthens it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retention_days: Option<u32>,
    /// Who must have cosigned a checkpoint before anything is revealed under it; absent: nobody.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub witnesses: Option<Witnesses>,
}

/// k of n witnesses (c2sp.org/tlog-witness).
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct Witnesses {
    /// At least so many of them, 1 to all.
    pub required: u32,
    /// Their keys as `name+hash+key`, of the cosignature type (c2sp.org/tlog-cosignature).
    pub keys: Vec<String>,
}

/// A text for citizens. Plain words.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct Texts {
    /// German.
    pub de: String,
    /// English.
    pub en: String,
    /// German in Leichte Sprache.
    pub de_leicht: String,
}

/// An administrative area.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct Area {
    /// Its id.
    pub id: String,
    /// Its name.
    pub texts: Texts,
}

/// A kind of authority, as policies and the directory name it.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct AuthorityKind {
    /// Its id.
    pub id: String,
    /// Its name.
    pub texts: Texts,
}

/// A purpose. Requests name purposes without narrower ones; a policy that forbids may name a
/// broader one.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct Purpose {
    /// Its id.
    pub id: String,
    /// The broader purpose, if any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<String>,
    /// Citations, such as "§ 1 BEEG".
    pub legal_basis: Vec<String>,
    /// Who may set it going: "application" (the citizen), "statutory" (the office, because a law
    /// tells it to). Absent: both.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub initiations: Vec<String>,
    /// Citation of the ground for using the identification number (IDNrG § 5 (1)); absent: for
    /// this purpose it may not be used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idnr_ground: Option<String>,
    /// What the citizen reads after "Why".
    pub texts: Texts,
}

/// A kind of evidence.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct EvidenceType {
    /// Its id.
    pub id: String,
    /// Its name.
    pub texts: Texts,
    /// Every answer is padded to this many bytes, found or not.
    pub size: u32,
    /// Every commitment has this many access records or dummies: one per person whom such
    /// evidence can name.
    pub slots: u32,
    /// No answer leaves earlier than this many milliseconds after the question.
    pub earliest_ms: u32,
    /// What it says.
    pub fields: Vec<Field>,
}

/// A field of evidence.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct Field {
    /// Its name, lower case with underscores.
    pub name: String,
    /// Its name for citizens.
    pub texts: Texts,
    /// JSON Schema of its value; `type`, `format`, `enum`, `items`, `properties` are looked at.
    pub schema: serde_json::Value,
    /// Special category of data (GDPR art. 9).
    #[serde(default)]
    pub special_category: bool,
}

/// A question with the answer that the rules must give.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct RuleTest {
    /// What is tested, in words.
    pub name: String,
    /// Kind of the authority that asks.
    pub authority_kind: String,
    /// Its area.
    pub authority_area: String,
    /// Area of the register.
    pub register_area: String,
    /// What is asked for.
    pub evidence_type: String,
    /// Which fields.
    pub fields: Vec<String>,
    /// What for.
    pub purpose: String,
    /// "application" or "statutory".
    pub initiation: String,
    /// Whether the identification number is used.
    pub idnr_used: bool,
    /// Whether all fields must be permitted; otherwise at least one must be refused.
    pub permitted: bool,
}
