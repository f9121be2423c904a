// SPDX-License-Identifier: EUPL-1.2
//! More in the demo's directory than the demo has.

use einmal_peer::files;
use einmal_policy::directory::DirectoryDocument;
use einmal_protocol::envelope::payload_type;
use prost::Message;

use crate::{Exit, demo::plan::Plan};

/// Changes the directory of a world that was not started yet, and signs it anew.
///
/// # Errors
/// Where it cannot be read or signed, or the change fails.
pub(super) fn amend(
    plan: &Plan,
    change: impl FnOnce(&mut DirectoryDocument) -> Result<(), Exit>,
) -> Result<(), Exit> {
    let file = plan.folder.join("trust/directory.signed");
    let signed = files::envelope(&file)?;
    let mut directory: DirectoryDocument =
        serde_json::from_slice(&signed.payload).map_err(Exit::failed)?;
    change(&mut directory)?;
    let signed = plan.sign(payload_type::DIRECTORY, &directory, &["register-authority"])?;
    Ok(files::replace(&file, &signed.encode_to_vec())?)
}
