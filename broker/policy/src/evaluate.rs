// SPDX-License-Identifier: EUPL-1.2
//! One field's decision, by Cedar's evaluator: policy for policy, and of each policy only what is
//! not known beforehand.
//!
//! Cedar's `Authorizer` builds a policy's condition from its scope anew at each question, and
//! keeps account of policies that may turn out either way. Neither is needed where everything is
//! known; what is left of it, which policies determine a decision, is said here in a few lines and
//! held to the `Authorizer` by a property test (`slice_tests.rs`). Who asks, what for and for which
//! evidence type is the same for all questions of a slice, so what a policy says of that, and what
//! it says of the field alone or of a question's flags alone, is evaluated once, when the slice is
//! made.

use std::{cell::LazyCell, sync::Arc};

use cedar_policy::{Entities, Policy};
use cedar_policy_core::{
    ast::{
        self, BinaryOp, Effect, EntityUIDEntry, Expr, ExprKind, Literal, Request, ValueKind, Var,
    },
    evaluator::Evaluator,
    extensions::Extensions,
};

use crate::decide::PolicyFailure;

/// A policy, taken apart once for one version of the rules.
#[derive(Debug)]
pub(crate) struct Prepared {
    id: String,
    effect: Effect,
    /// What its scope says of who asks and of the action.
    asker: Expr,
    /// What its scope says of the field.
    field: Expr,
    /// Its conditions, but for what their very beginning says of the purpose.
    conditions: Expr,
    /// They look at the field.
    look_at_field: bool,
    /// They look at more of the context than the purpose.
    look_at_flags: bool,
    /// The scope's word on the field, then the conditions.
    whole: Expr,
    purposes: Purposes,
    policy: Policy,
}

/// The purposes that a policy speaks about.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Purposes {
    /// Any, or it says so somewhere else than at the beginning.
    Any,
    /// This one.
    Only(String),
    /// This one and all below it.
    Under(String),
}

impl Prepared {
    /// Takes a policy apart; `purpose` is the name of the type of purposes.
    pub(crate) fn new(policy: &Policy, purpose: &str) -> Self {
        let cedar: &ast::Policy = policy.as_ref();
        let said = cedar.non_scope_constraints().cloned().unwrap_or_else(|| Expr::val(true));
        let (purposes, conditions) = match begins_with(&said, purpose) {
            Some(purposes) => (purposes, without_beginning(&said)),
            None => (Purposes::Any, said),
        };
        let action = cedar.action_constraint().as_expr();
        let field = cedar.resource_constraint().as_expr();
        let count = |is: fn(&Expr) -> bool| conditions.subexpressions().filter(|e| is(e)).count();
        let look_at_field = count(|part| *part.expr_kind() == ExprKind::Var(Var::Resource)) > 0;
        let look_at_flags = count(is_context) > count(is_purpose);
        Self {
            id: policy.id().to_string(),
            effect: cedar.effect(),
            asker: Expr::and(cedar.principal_constraint().as_expr(), action),
            whole: Expr::and(field.clone(), conditions.clone()),
            field,
            look_at_field,
            look_at_flags,
            conditions,
            purposes,
            policy: policy.clone(),
        }
    }

    /// The policy as Cedar's API has it.
    pub(crate) fn policy(&self) -> &Policy {
        &self.policy
    }

    /// For every other purpose it is silent, and cannot fail either.
    pub(crate) fn purposes(&self) -> &Purposes {
        &self.purposes
    }
}

/// The purposes that conditions speak about, where they begin with `context.purpose == Purpose::"…"`
/// or `context.purpose in Purpose::"…"`. Where that is false Cedar looks no further.
fn begins_with(conditions: &Expr, purpose: &str) -> Option<Purposes> {
    let mut first = conditions;
    while let ExprKind::And { left, .. } = first.expr_kind() {
        first = left;
    }
    let ExprKind::BinaryApp { op, arg1, arg2 } = first.expr_kind() else { return None };
    let ExprKind::Lit(Literal::EntityUID(named)) = arg2.expr_kind() else { return None };
    if !is_purpose(arg1) || named.entity_type().to_string() != purpose {
        return None;
    }
    let id = AsRef::<str>::as_ref(named.eid()).to_owned();
    match op {
        BinaryOp::Eq => Some(Purposes::Only(id)),
        BinaryOp::In => Some(Purposes::Under(id)),
        _ => None,
    }
}

fn is_context(part: &Expr) -> bool {
    *part.expr_kind() == ExprKind::Var(Var::Context)
}

/// `context.purpose`
fn is_purpose(part: &Expr) -> bool {
    let ExprKind::GetAttr { expr, attr } = part.expr_kind() else { return false };
    is_context(expr) && *attr == "purpose"
}

/// Conditions whose beginning is known to be true.
fn without_beginning(conditions: &Expr) -> Expr {
    match conditions.expr_kind() {
        ExprKind::And { left, right } => match left.expr_kind() {
            ExprKind::And { .. } => Expr::and(without_beginning(left), right.as_ref().clone()),
            _ => right.as_ref().clone(),
        },
        _ => Expr::val(true),
    }
}

/// What of a policy is left to be evaluated in a slice.
#[derive(Debug)]
pub(crate) struct Left {
    prepared: Arc<Prepared>,
    /// It speaks about some fields of the evidence type, not all.
    some_fields: bool,
    known: Known,
}

/// Whether a policy applies, as far as that is known; nothing where it cannot be evaluated.
#[derive(Debug)]
enum Known {
    /// The field makes no difference.
    ByContext(Vec<Option<bool>>),
    /// The context makes none.
    ByField(Vec<Option<bool>>),
    /// Not before it is asked.
    Asked,
}

impl Left {
    /// Evaluates beforehand what depends on the field alone, or on the context alone.
    pub(crate) fn settle(&mut self, contexts: &[Asked<'_>], fields: &[&EntityUIDEntry]) {
        let of_field = self.some_fields || self.prepared.look_at_field;
        let (Some(asked), Some(field)) = (contexts.first(), fields.first()) else { return };
        self.known = match (of_field, self.prepared.look_at_flags) {
            (false, _) => {
                let holds = |asked: &Asked<'_>| self.evaluate(&asked.evaluator(field)).ok();
                Known::ByContext(contexts.iter().map(holds).collect())
            }
            (true, false) => {
                let holds = |field: &&EntityUIDEntry| self.evaluate(&asked.evaluator(field)).ok();
                Known::ByField(fields.iter().map(holds).collect())
            }
            (true, true) => return,
        };
    }

    fn evaluate(&self, evaluator: &Evaluator<'_>) -> Result<bool, PolicyFailure> {
        let Self { prepared, some_fields, .. } = self;
        let left = if *some_fields { &prepared.whole } else { &prepared.conditions };
        holds(evaluator, left, prepared)
    }

    /// Whether it applies to the field of this number in the context of that one, where that is
    /// known. What could not be evaluated is not: it is tried anew, for what went wrong.
    fn known(&self, (field, context): (usize, usize)) -> Option<bool> {
        let known = match &self.known {
            Known::ByContext(known) => known.get(context),
            Known::ByField(known) => known.get(field),
            Known::Asked => None,
        };
        known.copied().flatten()
    }
}

/// Who asks for what, with what is known of it.
pub(crate) struct Asked<'a> {
    pub(crate) asker: &'a EntityUIDEntry,
    pub(crate) action: &'a EntityUIDEntry,
    pub(crate) context: &'a ast::Context,
    pub(crate) entities: &'a Entities,
}

impl Asked<'_> {
    fn evaluator(&self, field: &EntityUIDEntry) -> Evaluator<'_> {
        let request = Request::new_unchecked(
            self.asker.clone(),
            self.action.clone(),
            field.clone(),
            Some(self.context.clone()),
        );
        Evaluator::new(request, self.entities.as_ref(), Extensions::all_available())
    }

    /// What of a policy about this purpose is left, where there are these fields; nothing where it
    /// is silent about whoever asks, or all fields.
    ///
    /// # Errors
    /// Where its scope could not be evaluated.
    pub(crate) fn left_of<'f>(
        &self,
        prepared: &Arc<Prepared>,
        fields: impl Iterator<Item = &'f EntityUIDEntry>,
    ) -> Result<Option<Left>, PolicyFailure> {
        let (mut of, mut all) = (0_usize, 0_usize);
        for field in fields {
            let evaluator = self.evaluator(field);
            all += 1;
            let speaks = holds(&evaluator, &prepared.asker, prepared)?
                && holds(&evaluator, &prepared.field, prepared)?;
            of += usize::from(speaks);
        }
        let left = || {
            let prepared = Arc::clone(prepared);
            Left { prepared, some_fields: of < all, known: Known::Asked }
        };
        Ok((of > 0).then(left))
    }

    /// Whether a field is permitted, by the numbers of it and its context, and the ids of the policies that say so, sorted: those that
    /// forbid, or, where none does, those that permit.
    ///
    /// # Errors
    /// Where any policy could not be evaluated, whatever the others say.
    pub(crate) fn decide(
        &self,
        field: &EntityUIDEntry,
        numbers: (usize, usize),
        policies: &[Left],
    ) -> Result<(bool, Vec<String>), PolicyFailure> {
        let evaluator = LazyCell::new(|| self.evaluator(field));
        let (mut permits, mut forbids) = (Vec::new(), Vec::new());
        for left in policies {
            let applies = left.known(numbers).map_or_else(|| left.evaluate(&evaluator), Ok)?;
            if applies {
                let determining = match left.prepared.effect {
                    Effect::Permit => &mut permits,
                    Effect::Forbid => &mut forbids,
                };
                determining.push(left.prepared.id.clone());
            }
        }
        let permitted = forbids.is_empty() && !permits.is_empty();
        let mut determining = if forbids.is_empty() { permits } else { forbids };
        determining.sort_unstable();
        Ok((permitted, determining))
    }
}

fn holds(
    evaluator: &Evaluator<'_>,
    expression: &Expr,
    prepared: &Prepared,
) -> Result<bool, PolicyFailure> {
    if let ExprKind::Lit(Literal::Bool(known)) = expression.expr_kind() {
        return Ok(*known);
    }
    let slots = AsRef::<ast::Policy>::as_ref(&prepared.policy).env();
    let value = evaluator.interpret(expression, slots).map_err(PolicyFailure::new)?;
    match value.value {
        ValueKind::Lit(Literal::Bool(holds)) => Ok(holds),
        _ => Err(PolicyFailure::new("a condition is neither true nor false")),
    }
}
