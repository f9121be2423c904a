// SPDX-License-Identifier: EUPL-1.2
//! The PostgreSQL store before real servers: refused, killed, paused, cut off, failed over.

#[cfg(test)]
mod brokers;
#[cfg(test)]
mod crash;
#[cfg(test)]
mod cut;
#[cfg(test)]
mod encrypted;
#[cfg(test)]
mod fixture;
#[cfg(test)]
mod proxy;
#[cfg(test)]
mod refused;
#[cfg(test)]
mod standby;
