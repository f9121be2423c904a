// SPDX-License-Identifier: EUPL-1.2
//! Cedar text to policies that were strictly validated, or the place where it is wrong.

use std::str::FromStr;

use cedar_policy::{Effect, Policy, PolicyId, PolicySet, Schema, ValidationMode, Validator};
use einmal_protocol::request::is_id;

use crate::{
    names::place_of,
    rules::PolicyText,
    rules_document::RulesDocument,
    rules_error::{Flaw, RulesError},
    vocabulary::{at_most, text_fits},
};

const POLICIES_MAX: usize = 10_000;
/// Brackets inside brackets, in policies and schema.
const DEPTH_MAX: usize = 16;
/// Bytes of one policy or declaration.
const STATEMENT_MAX: usize = 16 * 1024;

/// Where Cedar text is nested so deep, or one statement so long, that reading it could overflow
/// the stack, which ends the process: Cedar reads expressions by recursion without a limit.
fn too_deep(text: &str, brackets: [&str; 2]) -> Result<(), Flaw> {
    let [open, close] = brackets;
    let (mut depth, mut length, mut before) = (0_usize, 0_usize, ' ');
    let (mut quoted, mut comment) = (false, false);
    for (at, c) in text.char_indices() {
        length += c.len_utf8();
        match c {
            '\n' | '\r' => comment = false,
            _ if comment => (),
            // An escaped character says nothing, nor does the backslash that was one.
            _ if quoted && before == '\\' => {
                before = ' ';
                continue;
            }
            '"' => quoted = !quoted,
            _ if quoted => (),
            '/' if before == '/' => comment = true,
            _ if open.contains(c) => depth += 1,
            _ if close.contains(c) => depth = depth.saturating_sub(1),
            ';' => (depth, length) = (0, 0),
            _ => (),
        }
        if depth > DEPTH_MAX || length > STATEMENT_MAX {
            let problem = format!(
                "brackets nest deeper than {DEPTH_MAX}, or one statement is longer than {STATEMENT_MAX} bytes"
            );
            return Err(Flaw::at(problem, Some(at)));
        }
        before = c;
    }
    Ok(())
}

/// Reads schema and policies.
pub(crate) fn compile(document: &RulesDocument) -> Result<(Schema, Vec<Policy>), RulesError> {
    too_deep(&document.schema, ["([{<", ")]}>"]).map_err(RulesError::Schema)?;
    too_deep(&document.policies, ["([{", ")]}"]).map_err(RulesError::Policies)?;
    let (schema, mut warnings) = Schema::from_cedarschema_str(&document.schema)
        .map_err(|error| RulesError::Schema(Flaw::of(&error)))?;
    if let Some(warning) = warnings.next() {
        return Err(RulesError::Schema(Flaw::of(&warning)));
    }
    drop(warnings);
    let flawed = |flaw: Flaw| RulesError::Policies(flaw);
    let parsed = PolicySet::from_str(&document.policies).map_err(|e| flawed(Flaw::of(&e)))?;
    if let Some(template) = parsed.templates().next() {
        let at = document.policies.find(template.to_cedar().as_str());
        return Err(flawed(Flaw::at("templates are not taken: name who may what", at)));
    }
    let mut named = PolicySet::new();
    let mut policies = Vec::new();
    for policy in parsed.policies() {
        let at = || place_of(&document.policies, policy);
        let id = policy.annotation("id").filter(|id| is_id(id)).ok_or_else(|| {
            let letters = "lower-case letters a to z, digits, dot, underscore and hyphen";
            let problem = format!("policy without a good @id annotation of {letters}: {policy}");
            flawed(Flaw::at(problem, at()))
        })?;
        let policy = policy.new_id(PolicyId::new(id));
        named.add(policy.clone()).map_err(|error| flawed(Flaw::at(error.to_string(), at())))?;
        policies.push(policy);
    }
    at_most("policies", policies.len(), POLICIES_MAX)?;
    let result = Validator::new(schema.clone()).validate(&named, ValidationMode::Strict);
    if let Some(error) = result.validation_errors().next() {
        return Err(flawed(Flaw::of(error)));
    }
    if let Some(warning) = result.validation_warnings().next() {
        return Err(flawed(Flaw::of(warning)));
    }
    Ok((schema, policies))
}

/// What a policy's annotations say to people.
pub(crate) fn text_of(policy: &Policy, text: &str) -> Result<(String, PolicyText), RulesError> {
    let annotation = |key: &str| policy.annotation(key).unwrap_or_default().to_owned();
    let id = policy.id().to_string();
    let flawed = |problem: String| {
        let at = place_of(text, policy);
        Err(RulesError::Policies(Flaw::at(format!("policy `{id}` {problem}"), at)))
    };
    if annotation("legal_basis").is_empty() {
        return flawed("has no @legal_basis: cite the paragraphs".to_owned());
    }
    for key in ["legal_basis", "text_de", "text_en"] {
        if let Err(problem) = text_fits(&annotation(key)) {
            return flawed(format!("@{key} {problem}"));
        }
    }
    let text = PolicyText {
        legal_basis: annotation("legal_basis"),
        text_de: annotation("text_de"),
        text_en: annotation("text_en"),
        permits: policy.effect() == Effect::Permit,
    };
    Ok((id, text))
}
