// SPDX-License-Identifier: EUPL-1.2
//! Where a register's journal lies, as its section of `adapter.toml` says it.

use std::path::Path;

use einmal_adapter_kit::JournalSetup;

use super::run::RegisterSection;
use crate::Exit;

/// What is written for a register that has no journal here.
pub(super) const NONE: &str = "none";

/// The journal of a section; nothing where it says that there is none. A section that says nothing
/// is refused: the law has both sides log, so whoever does without must say so.
///
/// # Errors
/// Where nothing is said, or half of it.
pub(super) fn setup(
    section: &RegisterSection,
    folder: &Path,
) -> Result<Option<JournalSetup>, Exit> {
    let wrong = |problem: &str| Err(Exit::usage(format!("register `{}`: {problem}", section.id)));
    match (section.journal.as_deref(), &section.officer) {
        (Some(NONE), None) => Ok(None),
        (Some(NONE), Some(_)) => wrong("`officer` is only for a register with a journal"),
        (Some(journal), Some(officer)) => {
            Ok(Some(JournalSetup { folder: folder.join(journal), officer: folder.join(officer) }))
        }
        (Some(_), None) => wrong(
            "`officer` is missing: the public file that the register's data-protection officer \
             makes with `einmal adapter officer init`",
        ),
        (None, _) => wrong(
            "`journal` is missing: name a folder for the journal of what this register reveals \
             (IDNrG § 9), or write journal = \"none\" if its own system journals that",
        ),
    }
}
