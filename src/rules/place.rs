// SPDX-License-Identifier: EUPL-1.2
//! From an error in the rules to the file, line and column where somebody has to write.

use std::path::{Path, PathBuf};

use einmal_policy::rules::RulesError;

use crate::rules::load::JOINT;

/// Where everything in a folder stands.
pub(super) struct Places {
    folder: PathBuf,
    /// In the order in which they are joined.
    policies: Vec<(PathBuf, String)>,
}

impl Places {
    /// Of a folder with these files of policies.
    pub(super) fn new(folder: PathBuf, policies: Vec<(PathBuf, String)>) -> Self {
        Self { folder, policies }
    }

    /// The error with its place, as editors read it: `file:line:column: problem`.
    pub(super) fn explain(&self, error: &RulesError) -> String {
        match self.of(error) {
            Some(place) => format!("{place}: {error}"),
            None => format!("{}: {error}", self.folder.display()),
        }
    }

    fn of(&self, error: &RulesError) -> Option<String> {
        match error {
            RulesError::Policies(flaw) => self.in_policies(flaw.at?),
            RulesError::Schema(flaw) => {
                let path = self.folder.join("schema.cedarschema");
                let text = std::fs::read_to_string(&path).ok()?;
                Some(place(&path, &text, flaw.at?))
            }
            RulesError::Area { id, problem } => self.in_toml("areas.toml", "id", id, problem),
            RulesError::AuthorityKind { id, problem } => {
                self.in_toml("kinds.toml", "id", id, problem)
            }
            RulesError::Purpose { id, problem } => self.in_toml("purposes.toml", "id", id, problem),
            RulesError::EvidenceType { id, problem } => {
                self.in_toml("evidence-types.toml", "id", id, problem)
            }
            RulesError::Test { name, problem } => self.in_toml("tests.toml", "name", name, problem),
            RulesError::Ledger(_) => Some(self.folder.join("ledger.toml").display().to_string()),
            _ => None,
        }
    }

    fn in_policies(&self, at: usize) -> Option<String> {
        let mut begins = 0;
        for (path, text) in &self.policies {
            if at <= begins + text.len() {
                return Some(place(path, text, at - begins));
            }
            begins += text.len() + JOINT.len();
        }
        None
    }

    /// The line of an entry: of the second one, where it is there twice.
    fn in_toml(&self, file: &str, key: &str, id: &str, problem: &str) -> Option<String> {
        let path = self.folder.join(file);
        let text = std::fs::read_to_string(&path).ok()?;
        let entry = |line: &str| {
            let rest = line.trim_start().strip_prefix(key)?.trim_start().strip_prefix('=')?;
            Some(rest.trim() == format!("{id:?}"))
        };
        let mut lines =
            text.lines().enumerate().filter(|(_, line)| entry(line).unwrap_or_default());
        let first = lines.next()?;
        let (number, _) = if problem.contains("twice") { lines.next()? } else { first };
        Some(format!("{}:{}", path.display(), number + 1))
    }
}

fn place(path: &Path, text: &str, at: usize) -> String {
    let before = text.get(..at).unwrap_or(text);
    let line = before.matches('\n').count() + 1;
    let column = before.chars().rev().take_while(|c| *c != '\n').count() + 1;
    format!("{}:{line}:{column}", path.display())
}
