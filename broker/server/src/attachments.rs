// SPDX-License-Identifier: EUPL-1.2
//! All adapters that dialled in, by register, and which stream an exchange goes to.

use std::{
    collections::HashMap,
    sync::{
        Arc, PoisonError, RwLock, RwLockReadGuard,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Instant,
};

use einmal_protocol::Reason;

pub use crate::attachment::{Attachment, OpenExchange};
use crate::{attachment::Course, exchange::Failure};

/// Registers on one stream. An adapter of more opens more streams.
pub const REGISTERS_MAX: usize = 1024;
/// Streams of one operator.
pub const STREAMS_MAX: usize = 64;

/// All attached adapters.
#[derive(Debug, Default)]
pub struct Attachments {
    held: RwLock<Held>,
    turn: AtomicU64,
}

#[derive(Debug, Default)]
struct Held {
    by_register: HashMap<Arc<str>, AtRegister>,
    /// How many streams each operator has.
    by_operator: HashMap<String, usize>,
    /// Each stream once, by its address.
    streams: HashMap<usize, Arc<Attachment>>,
}

/// Whom to ask for one register.
#[derive(Debug, Default)]
struct AtRegister {
    streams: Vec<Arc<Attachment>>,
    /// Its exchanges on all of them.
    open: Arc<AtomicUsize>,
}

fn address(attachment: &Arc<Attachment>) -> usize {
    Arc::as_ptr(attachment).addr()
}

impl Attachments {
    fn held(&self) -> RwLockReadGuard<'_, Held> {
        self.held.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a new stream for its registers.
    ///
    /// # Errors
    /// Where its operator has too many.
    pub fn add(&self, attachment: &Arc<Attachment>) -> Result<(), Failure> {
        let mut held = self.held.write().unwrap_or_else(PoisonError::into_inner);
        let streams = held.by_operator.entry(attachment.operator.clone()).or_default();
        if *streams >= STREAMS_MAX {
            return Err(Failure::refused(Reason::RegisterBusy)
                .with_detail(format!("an operator may have {STREAMS_MAX} streams here")));
        }
        *streams += 1;
        for register in &attachment.registers {
            let at = held.by_register.entry(Arc::clone(register)).or_default();
            at.streams.push(Arc::clone(attachment));
        }
        held.streams.insert(address(attachment), Arc::clone(attachment));
        Ok(())
    }

    /// Lets a stream go; what is in flight on it ends.
    pub fn remove(&self, attachment: &Arc<Attachment>) {
        let mut held = self.held.write().unwrap_or_else(PoisonError::into_inner);
        if held.streams.remove(&address(attachment)).is_some() {
            for register in &attachment.registers {
                if let Some(at) = held.by_register.get_mut(register) {
                    at.streams.retain(|other| !Arc::ptr_eq(other, attachment));
                    if at.streams.is_empty() {
                        held.by_register.remove(register);
                    }
                }
            }
            if let Some(streams) = held.by_operator.get_mut(&attachment.operator) {
                *streams -= 1;
                if *streams == 0 {
                    held.by_operator.remove(&attachment.operator);
                }
            }
        }
        drop(held);
        attachment.close();
    }

    /// Whether any adapter speaks for a register.
    pub fn has(&self, register: &str) -> bool {
        self.held().by_register.contains_key(register)
    }

    /// How many registers somebody speaks for.
    pub fn registers(&self) -> usize {
        self.held().by_register.len()
    }

    /// All streams.
    pub fn streams(&self) -> Vec<Arc<Attachment>> {
        self.held().streams.values().cloned().collect()
    }

    /// Opens an exchange at a register, on the stream whose turn it is among those with credit
    /// whose operator may still carry for the register. Where others are attached, it may have no
    /// more open than there is `room` for others, so that one that hangs stops nobody else.
    ///
    /// # Errors
    /// Where nobody is attached or nobody has credit.
    pub fn open(
        &self,
        register: &str,
        room: usize,
        may_carry: impl Fn(&str) -> bool,
    ) -> Result<OpenExchange, Failure> {
        let held = self.held();
        let not_attached = || Failure::fault(Reason::RegisterNotAttached);
        let busy = || Failure::fault(Reason::RegisterBusy);
        let (register, at) = held.by_register.get_key_value(register).ok_or_else(not_attached)?;
        let may = |attachment: &&Arc<Attachment>| may_carry(&attachment.operator);
        let count = at.streams.iter().filter(may).count();
        if count == 0 {
            return Err(not_attached());
        }
        if held.by_register.len() > 1 && at.open.load(Ordering::Relaxed) > room {
            return Err(busy());
        }
        let turn = usize::try_from(self.turn.fetch_add(1, Ordering::Relaxed) % count as u64);
        let turn = turn.unwrap_or_default();
        // Those that failed lately are asked only where all did, and those that are about to go only
        // where nobody else can be.
        let now = Instant::now();
        let is_well = |attachment: &&Arc<Attachment>| !attachment.is_aside(register, now);
        let are_all_ill = !at.streams.iter().filter(may).any(|attachment| is_well(&attachment));
        let find = |is_going: bool| {
            let streams = at.streams.iter().filter(may).cycle().skip(turn).take(count);
            streams
                .filter(|attachment| attachment.is_at(Course::Retiring) == is_going)
                .filter(|attachment| are_all_ill || is_well(attachment))
                .find_map(|attachment| attachment.open(register, &at.open))
        };
        find(false).or_else(|| find(true)).ok_or_else(busy)
    }

    /// Tells every adapter that nothing new will come.
    pub fn drain(&self) {
        for attachment in self.streams() {
            attachment.tell_to_go(Course::Draining);
        }
    }
}

#[cfg(test)]
#[path = "attachments_tests.rs"]
mod tests;
