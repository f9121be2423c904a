// SPDX-License-Identifier: EUPL-1.2
//! A register whose source does not answer when the adapter starts. The others of the adapter must
//! not wait for it, nor fail with it: it is opened later, checked as at a start, and until then
//! everybody who is asked for is a fault of the source, whoever it is (SAME-ANSWER).

use std::{
    path::PathBuf,
    sync::{Arc, OnceLock, Weak},
    time::Duration,
};

use einmal_adapter_kit::register::{Answer, Query, Register, RegisterFault, async_trait};
use einmal_policy::rules_document::EvidenceType;

use crate::{config::SourcesConfig, mistake::Mistake, register::ConfiguredRegister};

/// The first wait before a source is tried again; each is twice the one before.
const WAIT_FIRST: Duration = Duration::from_secs(1);
const WAIT_MAX: Duration = Duration::from_secs(60);

/// Where it comes from, and what it is once its sources answer.
struct Late {
    opened: OnceLock<ConfiguredRegister>,
}

/// Opens a register; one whose sources do not answer (and are right as far as can be seen without
/// them) is opened as soon as they do. `register` is its name in the log.
///
/// # Errors
/// All mistakes that were found, where there are any beside sources that do not answer.
pub async fn open_or_later(
    register: &str,
    config: SourcesConfig,
    folder: PathBuf,
    types: &[EvidenceType],
) -> Result<Arc<dyn Register>, Vec<Mistake>> {
    let mistakes = match ConfiguredRegister::open(&config, &folder, types).await {
        Ok(opened) => return Ok(Arc::new(opened)),
        Err(mistakes) if !mistakes.iter().all(|mistake| mistake.away) => return Err(mistakes),
        Err(mistakes) => mistakes,
    };
    log(register, &mistakes);
    let late = Arc::new(Late { opened: OnceLock::new() });
    let (register, types) = (register.to_owned(), types.to_vec());
    tokio::spawn(open_later(Arc::downgrade(&late), register, (config, folder, types)));
    Ok(late)
}

/// Tries until it is open, or nobody has the register any more.
async fn open_later(
    late: Weak<Late>,
    register: String,
    (config, folder, types): (SourcesConfig, PathBuf, Vec<EvidenceType>),
) {
    let mut wait = WAIT_FIRST;
    loop {
        tokio::time::sleep(wait).await;
        wait = (wait * 2).min(WAIT_MAX);
        if late.strong_count() == 0 {
            return;
        }
        match ConfiguredRegister::open(&config, &folder, &types).await {
            Ok(opened) => {
                if let Some(late) = late.upgrade() {
                    let _first = late.opened.set(opened);
                    tracing::warn!(register, "its sources answer: it is open now");
                }
                return;
            }
            Err(mistakes) => log(&register, &mistakes),
        }
    }
}

fn log(register: &str, mistakes: &[Mistake]) {
    for mistake in mistakes {
        tracing::error!(register, %mistake, "alarm: a register is not open; it is tried again");
    }
}

#[async_trait]
impl Register for Late {
    async fn retrieve(&self, query: &Query) -> Result<Answer, RegisterFault> {
        match self.opened.get() {
            Some(opened) => opened.retrieve(query).await,
            None => Err(RegisterFault::Source {
                source_name: "all".to_owned(),
                problem: "the register is not open yet: a source did not answer at the start"
                    .to_owned(),
            }),
        }
    }
}
