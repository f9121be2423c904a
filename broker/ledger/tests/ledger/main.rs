// SPDX-License-Identifier: EUPL-1.2
//! The ledger as a whole, over real databases and files.

#[cfg(test)]
mod crash;
#[cfg(test)]
mod disk;
#[cfg(test)]
mod distant;
#[cfg(test)]
mod faults;
#[cfg(test)]
mod fixture;
#[cfg(test)]
mod foreign;
#[cfg(test)]
mod growth;
#[cfg(test)]
mod http;
#[cfg(test)]
mod kill;
#[cfg(test)]
mod matrix;
#[cfg(test)]
mod rig;
#[cfg(test)]
mod shared;
#[cfg(test)]
mod start;
#[cfg(test)]
mod whole;
