// SPDX-License-Identifier: EUPL-1.2
//! A case: what is tried, which promise it is about, and what came of it.

use std::{pin::Pin, time::Duration};

use crate::stage::Stage;

/// What is tried.
pub struct Case {
    /// Its stable id.
    pub id: &'static str,
    /// The promise that it is about, as in ARCHITECTURE.md.
    pub promise: &'static str,
    /// What is tried, and what must come of it.
    pub tried: &'static str,
    /// Where to look if it does not.
    pub advice: &'static str,
    pub(crate) run: Run,
}

impl std::fmt::Debug for Case {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Case({})", self.id)
    }
}

/// What was seen, where it was as it must be.
pub(crate) type Tried = Result<String, Problem>;
/// How a case is tried.
pub(crate) type Run = for<'s> fn(&'s mut Stage) -> Pin<Box<dyn Future<Output = Tried> + Send + 's>>;

/// Why a case did not pass.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Problem {
    /// The adapter did what it may not.
    Failed(String),
    /// It could not be tried.
    NotChecked(String),
}

impl Problem {
    pub(crate) fn failed(seen: impl std::fmt::Display) -> Self {
        Self::Failed(seen.to_string())
    }

    pub(crate) fn not_checked(why: impl std::fmt::Display) -> Self {
        Self::NotChecked(why.to_string())
    }

    /// The same, with where it was.
    pub(crate) fn at(self, place: &str) -> Self {
        match self {
            Self::Failed(seen) => Self::Failed(format!("{place}: {seen}")),
            Self::NotChecked(why) => Self::NotChecked(format!("{place}: {why}")),
        }
    }
}

/// What came of a case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// As it must be.
    Passed,
    /// Not as it must be.
    Failed,
    /// It was not tried.
    NotChecked,
}

/// A case that was tried, or was not.
#[derive(Clone, Debug)]
pub struct Finding {
    /// Which.
    pub case: &'static Case,
    /// What came of it.
    pub verdict: Verdict,
    /// What was seen, or why it was not tried. Never personal data.
    pub seen: String,
    /// How long it took.
    pub took: Duration,
}

impl Finding {
    pub(crate) fn of(case: &'static Case, tried: Tried, took: Duration) -> Self {
        let (verdict, seen) = match tried {
            Ok(seen) => (Verdict::Passed, seen),
            Err(Problem::Failed(seen)) => (Verdict::Failed, seen),
            Err(Problem::NotChecked(why)) => (Verdict::NotChecked, why),
        };
        Self { case, verdict, seen, took }
    }
}

/// Writes a case down beside the function that tries it.
macro_rules! case {
    ($id:literal, $promise:literal, $run:path, $tried:literal, $advice:literal $(,)?) => {
        $crate::case::Case {
            id: $id,
            promise: $promise,
            tried: $tried,
            advice: $advice,
            run: |stage| Box::pin($run(stage)),
        }
    };
}
pub(crate) use case;
