// SPDX-License-Identifier: EUPL-1.2
//! What the pages know of the rules and the directory: the words for citizens.

use einmal_policy::rules_document::Texts;

/// Words for ids. The contract: an id that is not known (any more) gives nothing, and the page
/// shows the id itself; it never fails.
pub trait Vocabulary: Send + Sync {
    /// What a citizen reads after "Why".
    fn purpose(&self, id: &str) -> Option<Texts>;
    /// Citations of a purpose, such as "§ 1 BEEG".
    fn legal_basis(&self, purpose: &str) -> Vec<String>;
    /// The name of an evidence type.
    fn evidence_type(&self, id: &str) -> Option<Texts>;
    /// The name of a field of an evidence type.
    fn field(&self, evidence_type: &str, name: &str) -> Option<Texts>;
    /// The name of an authority.
    fn authority_name(&self, id: &str) -> Option<String>;
    /// The name of a register.
    fn register_name(&self, id: &str) -> Option<String>;
    /// Legal basis of a policy, and what it says in plain words.
    fn policy(&self, id: &str) -> Option<(String, Texts)>;
    /// Regional key of an authority; empty where it is not regional.
    fn authority_region(&self, id: &str) -> Option<String>;
    /// Who takes part: authorities that may ask, and registers that may be asked. Sorted by name.
    fn participants(&self) -> Participation;
}

/// Who takes part.
#[derive(Clone, Debug, Default)]
pub struct Participation {
    /// Names of authorities that may ask.
    pub authorities: Vec<String>,
    /// Names of registers, each with the ids of what it holds.
    pub registers: Vec<(String, Vec<String>)>,
}
