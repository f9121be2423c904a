// SPDX-License-Identifier: EUPL-1.2
//! Questions of somebody who need not stand in a directory.

use cedar_policy::{EntityUid, Policy, PrincipalConstraint, ResourceConstraint};

use crate::{
    Rules,
    decide::{Asker, Explanation, Question, Refused, ask},
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
}

/// Whether a policy's scope lets it speak about this asker and evidence type.
pub(crate) fn speaks_to(policy: &Policy, asking: &Asking, evidence_type: &str) -> bool {
    let is_asker = |uid: &EntityUid| match uid.type_name().to_string().as_str() {
        "Authority" => uid.id().unescaped() == asking.authority,
        "AuthorityKind" => asking.kinds.iter().any(|kind| uid.id().unescaped() == kind),
        _ => true,
    };
    speaks_of(policy, evidence_type)
        && match policy.principal_constraint() {
            PrincipalConstraint::Any | PrincipalConstraint::Is(_) => true,
            PrincipalConstraint::Eq(uid)
            | PrincipalConstraint::In(uid)
            | PrincipalConstraint::IsIn(_, uid) => is_asker(&uid),
        }
}

/// Whether a policy's scope lets it speak about an evidence type.
pub(crate) fn speaks_of(policy: &Policy, evidence_type: &str) -> bool {
    match policy.resource_constraint() {
        ResourceConstraint::Any | ResourceConstraint::Is(_) => true,
        ResourceConstraint::Eq(uid)
        | ResourceConstraint::In(uid)
        | ResourceConstraint::IsIn(_, uid) => {
            let id = uid.id().unescaped();
            match uid.type_name().to_string().as_str() {
                "EvidenceType" => id == evidence_type,
                "Field" => id.split_once('/').is_none_or(|(kind, _)| kind == evidence_type),
                _ => true,
            }
        }
    }
}
