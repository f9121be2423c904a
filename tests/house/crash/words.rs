// SPDX-License-Identifier: EUPL-1.2
//! What the adapters say in their log: what they revealed, and alarms.

use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use einmal_protocol::{RequestId, digest::unhex};
use tracing::{
    Event, Level,
    field::{Field, Visit},
};

use crate::hearing;

/// Hears the adapters of this runtime.
#[derive(Clone, Default)]
pub(super) struct Words(Arc<Mutex<Heard>>);

#[derive(Default)]
struct Heard {
    revealed: Vec<(RequestId, u64)>,
    orphans: usize,
    alarms: Vec<String>,
}

impl Words {
    /// Hears what is said on this thread, from now on.
    pub(super) fn listen(&self) {
        let words = self.clone();
        hearing::on_this_thread(move |event| words.take(event));
    }

    fn heard(&self) -> MutexGuard<'_, Heard> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Every exchange that an adapter revealed, with its place in the ledger.
    pub(super) fn revealed(&self) -> Vec<(RequestId, u64)> {
        self.heard().revealed.clone()
    }

    /// How many commitments were made that no proof followed.
    pub(super) fn orphans(&self) -> usize {
        self.heard().orphans
    }

    pub(super) fn no_alarm(&self) {
        assert_eq!(self.heard().alarms, Vec::<String>::new());
    }

    fn take(&self, event: &Event<'_>) {
        let mut fields = Fields::default();
        event.record(&mut fields);
        let mut heard = self.heard();
        match fields.message.as_str() {
            "revealed" => {
                let id = unhex(&fields.id.replace('-', "")).expect("hex digits");
                heard.revealed.push((RequestId::parse(&id).expect("an id"), fields.index));
            }
            // What was in flight at a kill: these are to be counted, and many are an alarm.
            message if message.contains("not logged") => heard.orphans += 1,
            message if message.contains("alarm") => {
                heard.alarms.push(format!("{message} {}", fields.error));
            }
            message if *event.metadata().level() == Level::ERROR => {
                heard.alarms.push(format!("{message} {}", fields.error));
            }
            _ => {}
        }
    }
}

#[derive(Default)]
struct Fields {
    message: String,
    error: String,
    id: String,
    index: u64,
}

impl Visit for Fields {
    fn record_u64(&mut self, field: &Field, value: u64) {
        if field.name() == "ledger.index" {
            self.index = value;
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        match field.name() {
            "message" => self.message = format!("{value:?}"),
            "error" => self.error = format!("{value:?}"),
            "request.id" => self.id = format!("{value:?}"),
            _ => {}
        }
    }
}
