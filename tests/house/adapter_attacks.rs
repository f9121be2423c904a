// SPDX-License-Identifier: EUPL-1.2
//! A hostile broker against a real adapter: true mTLS, true documents, and all else as the
//! broker likes. Nothing is revealed that was not truly logged (NO-LOG-NO-DATA), nothing is
//! committed to that the rules do not permit (PURPOSE-BOUND), nothing twice (ONCE), and no
//! answer looks like another (SAME-ANSWER).

mod answers;
pub(crate) mod double;
pub(crate) mod log;
mod opens;
mod proofs;
pub(crate) mod stage;
mod streams;
