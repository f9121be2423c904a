// SPDX-License-Identifier: EUPL-1.2
//! A hostile broker against a real client: true answers, recorded at the real broker, changed in
//! one part each (SIGNED-ALL-THE-WAY). And hostile callers against the real broker.

mod answers;
mod failover;
mod strangers;
