// SPDX-License-Identifier: EUPL-1.2
//! Questions of somebody who need not stand in a directory.

use cedar_policy::Policy;

use crate::{
    Rules,
    decide::{Asker, Explanation, Question, Refused, ask},
    scope::{concerns, evidence_type_of},
};

/// Everything that policies read of the one who asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asking {
    /// Id of the authority.
    pub authority: String,
    /// Its area.
    pub area: String,
    /// Its kinds.
    pub kinds: Vec<String>,
}

/// As [`crate::decide::explain`], without a directory.
///
/// # Errors
/// Where the question names something that does not exist, or a policy errors.
pub fn explain_as(
    rules: &Rules,
    asking: &Asking,
    register_area: &str,
    question: &Question,
) -> Result<Explanation, Refused> {
    let Asking { authority, area, kinds } = asking;
    ask(rules, Asker { authority, area, kinds }, register_area, question)
        .map(|decided| decided.explanation.clone())
}

/// Whether a policy's scope lets it speak about this asker and evidence type.
pub(crate) fn speaks_to(policy: &Policy, asking: &Asking, evidence_type: &str) -> bool {
    let Asking { authority, area, kinds } = asking;
    speaks_of(policy, evidence_type) && concerns(policy, Asker { authority, area, kinds })
}

/// Whether a policy's scope lets it speak about an evidence type.
pub(crate) fn speaks_of(policy: &Policy, evidence_type: &str) -> bool {
    evidence_type_of(policy).is_none_or(|only| only == evidence_type)
}
