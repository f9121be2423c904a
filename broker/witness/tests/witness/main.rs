// SPDX-License-Identifier: EUPL-1.2
//! A witness as a whole, over HTTP and real files.
#![allow(clippy::disallowed_methods, reason = "tests lay out files and look into them")]

#[cfg(test)]
mod fixture;
#[cfg(test)]
mod hostile;
#[cfg(test)]
mod race;
#[cfg(test)]
mod session;
#[cfg(test)]
mod transport;
