// SPDX-License-Identifier: EUPL-1.2
//! One field's decision, by Cedar's evaluator: policy for policy, each with its condition made
//! once for one version of the rules.
//!
//! Cedar's `Authorizer` builds a policy's condition from its scope anew at each question, and
//! keeps account of policies that may turn out either way. Neither is needed where everything is
//! known; what is left of it, which policies determine a decision, is said here in a few lines and
//! held to the `Authorizer` by a property test (`slice_tests.rs`).

use cedar_policy::{Entities, Policy};
use cedar_policy_core::{
    ast::{Effect, Expr, Literal, Request, ValueKind},
    evaluator::Evaluator,
    extensions::Extensions,
};

use crate::decide::PolicyFailure;

/// A policy, ready to be evaluated.
#[derive(Debug)]
pub(crate) struct Prepared {
    id: String,
    effect: Effect,
    /// Scope and conditions as one expression.
    condition: Expr,
    policy: Policy,
}

impl Prepared {
    pub(crate) fn new(policy: &Policy) -> Self {
        let cedar: &cedar_policy_core::ast::Policy = policy.as_ref();
        Self {
            id: policy.id().to_string(),
            effect: cedar.effect(),
            condition: cedar.condition(),
            policy: policy.clone(),
        }
    }

    /// The policy as Cedar's API has it.
    pub(crate) fn policy(&self) -> &Policy {
        &self.policy
    }
}

/// Whether a request is permitted, and the ids of the policies that say so, sorted: those that
/// forbid, or, where none does, those that permit.
///
/// # Errors
/// Where any policy could not be evaluated, whatever the others say.
pub(crate) fn evaluate<'a>(
    request: Request,
    policies: impl Iterator<Item = &'a Prepared>,
    entities: &Entities,
) -> Result<(bool, Vec<String>), PolicyFailure> {
    let evaluator = Evaluator::new(request, entities.as_ref(), Extensions::all_available());
    let (mut permits, mut forbids) = (Vec::new(), Vec::new());
    for prepared in policies {
        let slots = AsRef::<cedar_policy_core::ast::Policy>::as_ref(&prepared.policy).env();
        let value = evaluator.interpret(&prepared.condition, slots).map_err(PolicyFailure::new)?;
        let ValueKind::Lit(Literal::Bool(satisfied)) = value.value else {
            return Err(PolicyFailure::new("a condition is neither true nor false"));
        };
        if satisfied {
            let determining = match prepared.effect {
                Effect::Permit => &mut permits,
                Effect::Forbid => &mut forbids,
            };
            determining.push(prepared.id.clone());
        }
    }
    let permitted = forbids.is_empty() && !permits.is_empty();
    let mut determining = if forbids.is_empty() { permits } else { forbids };
    determining.sort_unstable();
    Ok((permitted, determining))
}
