// SPDX-License-Identifier: EUPL-1.2
//! The gRPC services: each reads its message, calls the room that knows, and writes the answer.

pub(crate) mod directory;
pub(crate) mod evidence;
pub(crate) mod ledger;
pub(crate) mod register;
