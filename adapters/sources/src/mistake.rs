// SPDX-License-Identifier: EUPL-1.2
//! What is wrong with a configuration, in words that say where and what to write instead.

use crate::lines::Lines;

/// A mistake in a register's configuration, found at start.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {at}: {problem}; {instead}")]
pub struct Mistake {
    /// Line of the register's file, counted from 1.
    pub line: usize,
    /// Key in the register's file, such as `evidence.birth-certificate.fields.sex`.
    pub at: String,
    /// What is wrong there.
    pub problem: String,
    /// What to write instead.
    pub instead: String,
    /// A source does not answer; the configuration may be right.
    pub away: bool,
}

/// Mistakes as they are found.
#[derive(Default)]
pub(crate) struct Mistakes(Vec<Mistake>);

impl Mistakes {
    pub(crate) fn add(
        &mut self,
        at: impl Into<String>,
        problem: impl Into<String>,
        instead: impl Into<String>,
    ) {
        let (at, problem, instead) = (at.into(), problem.into(), instead.into());
        self.0.push(Mistake { line: 1, at, problem, instead, away: false });
    }

    /// Of a source that does not answer.
    pub(crate) fn away(
        &mut self,
        at: impl Into<String>,
        problem: impl Into<String>,
        instead: impl Into<String>,
    ) {
        let (at, problem, instead) = (at.into(), problem.into(), instead.into());
        self.0.push(Mistake { line: 1, at, problem, instead, away: true });
    }

    /// Ok if there were none.
    pub(crate) fn result(mut self, lines: &Lines) -> Result<(), Vec<Mistake>> {
        for mistake in &mut self.0 {
            mistake.line = lines.line(&mistake.at).unwrap_or(1);
        }
        self.0.sort_by_key(|mistake| mistake.line);
        if self.0.is_empty() { Ok(()) } else { Err(self.0) }
    }
}

/// A short list of choices for a mistake's text.
pub(crate) fn choices<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    let names: Vec<String> = names.into_iter().map(|name| format!("`{name}`")).collect();
    match names.len() {
        0 => "(there are none)".into(),
        1..=40 => names.join(", "),
        more => format!("{}, … ({more} in all)", names.get(..40).unwrap_or_default().join(", ")),
    }
}
