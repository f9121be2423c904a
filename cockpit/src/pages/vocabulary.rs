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
    /// Legal basis and text of a policy.
    fn policy(&self, id: &str) -> Option<(String, String)>;
}
