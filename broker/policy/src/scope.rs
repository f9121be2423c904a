// SPDX-License-Identifier: EUPL-1.2
//! Whom and what a policy's scope is about. A scope that is open, or names a type that later rules
//! may bring, is about everything: no policy is left out by mistake.

use cedar_policy::{EntityUid, Policy, PrincipalConstraint, ResourceConstraint};

use crate::decide::Asker;

/// The one evidence type that it is about.
pub(crate) fn evidence_type_of(policy: &Policy) -> Option<String> {
    let named = match policy.resource_constraint() {
        ResourceConstraint::Any | ResourceConstraint::Is(_) => return None,
        ResourceConstraint::Eq(named)
        | ResourceConstraint::In(named)
        | ResourceConstraint::IsIn(_, named) => named,
    };
    let id = named.id().unescaped();
    match type_of(&named).as_str() {
        "EvidenceType" => Some(id.to_owned()),
        "Field" => id.split_once('/').map(|(kind, _)| kind.to_owned()),
        _ => None,
    }
}

/// Whether it lets the policy speak about an asker.
pub(crate) fn concerns(policy: &Policy, asker: Asker<'_>) -> bool {
    let named = match policy.principal_constraint() {
        PrincipalConstraint::Any | PrincipalConstraint::Is(_) => return true,
        PrincipalConstraint::Eq(named)
        | PrincipalConstraint::In(named)
        | PrincipalConstraint::IsIn(_, named) => named,
    };
    let id = named.id().unescaped();
    match type_of(&named).as_str() {
        "Authority" => id == asker.authority,
        "AuthorityKind" => asker.kinds.iter().any(|kind| kind == id),
        _ => true,
    }
}

fn type_of(named: &EntityUid) -> String {
    named.type_name().to_string()
}
