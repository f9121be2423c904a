// SPDX-License-Identifier: EUPL-1.2
//! A complete adapter of one's own: a register of residents' parking permits, kept in a text file
//! with lines of the form `idnr;birth date;permit number`. Start it with
//!     cargo run -p einmal-adapter-kit --example parking -- adapter.toml
//! The file `adapter.toml` has the same keys as that of `einmal adapter`; `sources` names the text
//! file.

use std::{collections::BTreeMap, error::Error, fs, path::PathBuf, sync::Arc};

use einmal_adapter_kit::{
    Answer, Found, Query, Register, RegisterFault, register::async_trait, settings::AdapterConfig,
    start,
};
use einmal_peer::Clock;
use einmal_protocol::{person::PersonQuery, wire::v1::Subject};

const TYPE: &str = "parking-permit";

struct Parking {
    file: PathBuf,
}

impl Parking {
    /// What goes wrong goes to the log, so it says nothing of the person.
    fn away(&self, problem: impl ToString) -> RegisterFault {
        let source_name = self.file.display().to_string();
        RegisterFault::Source { source_name, problem: problem.to_string() }
    }
}

#[async_trait]
impl Register for Parking {
    async fn retrieve(&self, query: &Query) -> Result<Answer, RegisterFault> {
        if query.evidence_type != TYPE {
            return Err(RegisterFault::NotConfigured {
                evidence_type: query.evidence_type.clone(),
            });
        }
        let PersonQuery::Idnr { idnr, birth_date } = &query.person else {
            return Err(self.away("people are known by identification number only"));
        };
        // Reading may block: each lookup has a thread of its own.
        let text = fs::read_to_string(&self.file).map_err(|error| self.away(error.kind()))?;
        let of_person = format!("{idnr};{birth_date};");
        let mut permits = text.lines().filter_map(|line| line.strip_prefix(&of_person));
        let Some(permit) = permits.next() else { return Ok(Answer::Nothing) };
        if permits.next().is_some() {
            return Ok(Answer::Ambiguous);
        }
        Ok(Answer::Found(Found {
            subject: Subject { idnr: idnr.clone(), ..Subject::default() },
            affected: Vec::new(),
            values: BTreeMap::from([("permit_number".to_owned(), permit.into())]),
            blocked: false,
        }))
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let path = std::env::args_os().nth(1).ok_or("name the configuration: parking adapter.toml")?;
    let config = AdapterConfig::read(path.as_ref())?;
    let mut registers = Vec::new();
    for section in &config.registers {
        let file = section.sources()?.to_owned();
        registers.push(section.setup(Arc::new(Parking { file }))?);
    }
    let adapter = start(config.setup(Clock::system())?, registers).await?;
    tokio::signal::ctrl_c().await?;
    adapter.stop().await;
    Ok(())
}
