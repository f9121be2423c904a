// SPDX-License-Identifier: EUPL-1.2
//! Why rules are not accepted.

use std::fmt;

/// Something wrong in a Cedar text, and where, if anybody knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flaw {
    /// What is wrong, and what to write instead.
    pub problem: String,
    /// Byte in the text.
    pub at: Option<usize>,
}

impl Flaw {
    pub(crate) fn at(problem: impl Into<String>, at: Option<usize>) -> Self {
        Self { problem: problem.into(), at }
    }

    /// What Cedar says, with its advice and the first place that it points at.
    pub(crate) fn of(error: &impl miette::Diagnostic) -> Self {
        let mut problem = error.to_string();
        if let Some(help) = error.help() {
            problem = format!("{problem}; {help}");
        }
        let at = error.labels().and_then(|mut labels| labels.next()).map(|label| label.offset());
        Self { problem, at }
    }
}

impl fmt::Display for Flaw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.problem)
    }
}

impl From<String> for Flaw {
    fn from(problem: String) -> Self {
        Self { problem, at: None }
    }
}

/// Why rules are not accepted.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum RulesError {
    /// Not the form.
    #[error("the rules are malformed: {0}")]
    Form(String),
    /// More of something than there may be.
    #[error("{what}: {count}, and at most {limit} are taken: split or shorten")]
    TooMuch {
        /// Of what.
        what: String,
        /// How much there is.
        count: usize,
        /// How much there may be.
        limit: usize,
    },
    /// The Cedar schema.
    #[error("the Cedar schema is not accepted: {0}")]
    Schema(Flaw),
    /// The Cedar policies.
    #[error("the policies are not accepted: {0}")]
    Policies(Flaw),
    /// A kind of authority.
    #[error("kind of authority `{id}`: {problem}")]
    AuthorityKind {
        /// Its id.
        id: String,
        /// What is wrong.
        problem: String,
    },
    /// An evidence type.
    #[error("evidence type `{id}`: {problem}")]
    EvidenceType {
        /// Its id.
        id: String,
        /// What is wrong.
        problem: String,
    },
    /// A purpose.
    #[error("purpose `{id}`: {problem}")]
    Purpose {
        /// Its id.
        id: String,
        /// What is wrong.
        problem: String,
    },
    /// Retention or witnesses.
    #[error("what the rules say about the ledger: {0}")]
    Ledger(String),
    /// An administrative area.
    #[error("area `{id}`: {problem}")]
    Area {
        /// Its id.
        id: String,
        /// What is wrong.
        problem: String,
    },
    /// One of the rules' own tests.
    #[error("the rules' own test `{name}` fails: {problem}")]
    Test {
        /// Its name.
        name: String,
        /// What came out instead.
        problem: String,
    },
}
