// SPDX-License-Identifier: EUPL-1.2
//! `adapter.toml`: whom an adapter dials, as whom, whom it believes, and the registers that it
//! speaks for. `einmal adapter` reads it so, and every adapter of one's own.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
};

use einmal_peer::{
    Clock, Tls, TlsFiles,
    files::{self, FileError},
};
use serde::Deserialize;

use crate::{AdapterSetup, JournalSetup, Register, RegisterLimits, RegisterSetup};

/// What is written for a register that has no journal here.
const NONE: &str = "none";

/// Why a configuration cannot be used. Holds no secret.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// A file that it is or names.
    #[error(transparent)]
    File(#[from] FileError),
    /// A register's section.
    #[error("register `{id}`: {problem}")]
    Register {
        /// Whose.
        id: String,
        /// What is wrong, and what to write.
        problem: &'static str,
    },
}

/// `adapter.toml`. Unknown keys are refused; paths in it are relative to it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AdapterConfig {
    /// A broker to ask for rules and directory first: "https://host:port".
    pub broker: String,
    /// Own certificate and whom to believe.
    pub tls: TlsFiles,
    /// The pinned root.
    pub root: PathBuf,
    /// Folder for trusted state and sealing keys.
    pub state: PathBuf,
    /// Exchanges open at once on each stream.
    #[serde(default = "credits")]
    pub credits: u32,
    /// Other processes serve the same registers.
    #[serde(default)]
    pub replicated: bool,
    /// Where figures are served, in plain HTTP; keep it on loopback. Left out: nowhere.
    #[serde(default)]
    pub metrics: Option<SocketAddr>,
    /// The registers.
    #[serde(rename = "register")]
    pub registers: Vec<RegisterSection>,
}

fn credits() -> u32 {
    64
}

/// `[[register]]`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RegisterSection {
    /// Its id in the directory.
    pub id: String,
    /// Its identity key, PKCS#8.
    pub identity: PathBuf,
    /// A file that says where it looks people up. What stands in it is the register's own affair:
    /// for `einmal adapter`, sources and their mapping to evidence.
    pub sources: Option<PathBuf>,
    /// Folder of its journal, or "none".
    journal: Option<PathBuf>,
    /// Public file of its data-protection officer.
    officer: Option<PathBuf>,
    /// What it may take of this adapter.
    #[serde(default)]
    limits: RegisterLimits,
}

impl AdapterConfig {
    /// Reads it.
    ///
    /// # Errors
    /// Where the file is not there, or a key is unknown, missing or wrong, with the line.
    pub fn read(path: &Path) -> Result<Self, SettingsError> {
        let text = files::read_text(path)?;
        let read: Self = toml::from_str(&text).map_err(|error| FileError::new(path, error))?;
        Ok(read.within(path.parent().unwrap_or_else(|| Path::new(""))))
    }

    fn within(mut self, folder: &Path) -> Self {
        self.tls = self.tls.within(folder);
        let own = [&mut self.root, &mut self.state];
        let of_registers = self.registers.iter_mut().flat_map(RegisterSection::paths);
        for path in own.into_iter().chain(of_registers) {
            *path = folder.join(&*path);
        }
        self
    }

    /// What the adapter needs beside its registers, with the files read that it names.
    ///
    /// # Errors
    /// Where one of them cannot be used.
    pub fn setup(self, clock: Clock) -> Result<AdapterSetup, SettingsError> {
        Ok(AdapterSetup {
            tls: Tls::load(&self.tls)?,
            root: files::envelope(&self.root)?,
            broker: self.broker,
            state: self.state,
            clock,
            credits: self.credits,
            replicated: self.replicated,
            metrics: self.metrics,
        })
    }
}

impl RegisterSection {
    /// Its paths; "none" is no path.
    fn paths(&mut self) -> impl Iterator<Item = &mut PathBuf> {
        let journal = self.journal.as_mut().filter(|journal| **journal != Path::new(NONE));
        let may_be = [self.sources.as_mut(), journal, self.officer.as_mut()];
        std::iter::once(&mut self.identity).chain(may_be.into_iter().flatten())
    }

    /// Its key, limits and journal, in front of what looks people up.
    ///
    /// # Errors
    /// Where its key cannot be read, or nothing is said of its journal.
    pub fn setup(&self, register: Arc<dyn Register>) -> Result<RegisterSetup, SettingsError> {
        Ok(RegisterSetup {
            id: self.id.clone(),
            identity: files::signing_key(&self.identity)?,
            register,
            limits: self.limits.clone(),
            journal: self.journal()?,
        })
    }

    /// The file that says where it looks people up.
    ///
    /// # Errors
    /// Where none is named.
    pub fn sources(&self) -> Result<&Path, SettingsError> {
        self.sources.as_deref().ok_or_else(|| self.wrong("`sources` is missing: name its file"))
    }

    /// Its journal; nothing where it says that there is none. A section that says nothing is
    /// refused: the law has both sides log, so whoever does without must say so.
    ///
    /// # Errors
    /// Where nothing is said, or half of it.
    pub fn journal(&self) -> Result<Option<JournalSetup>, SettingsError> {
        match (self.journal.as_deref(), &self.officer) {
            (Some(none), None) if none == Path::new(NONE) => Ok(None),
            (Some(none), Some(_)) if none == Path::new(NONE) => {
                Err(self.wrong("`officer` is only for a register with a journal"))
            }
            (Some(folder), Some(officer)) => {
                Ok(Some(JournalSetup { folder: folder.to_owned(), officer: officer.clone() }))
            }
            (Some(_), None) => Err(self.wrong(
                "`officer` is missing: the public file that the register's data-protection \
                 officer makes with `einmal adapter officer init`",
            )),
            (None, _) => Err(self.wrong(
                "`journal` is missing: name a folder for the journal of what this register \
                 reveals (IDNrG § 9), or write journal = \"none\" if its own system journals that",
            )),
        }
    }

    /// Has it journal nothing.
    pub fn leave_out_the_journal(&mut self) {
        (self.journal, self.officer) = (Some(PathBuf::from(NONE)), None);
    }

    fn wrong(&self, problem: &'static str) -> SettingsError {
        SettingsError::Register { id: self.id.clone(), problem }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str = r#"
broker = "https://broker.example:8443"
root = "root.signed"
state = "/var/lib/adapter"
[tls]
certificate = "a.pem"
key = "a.key"
authorities = "ca.pem"
[[register]]
id = "parking"
identity = "parking.key"
"#;

    fn read(more: &str) -> Result<AdapterConfig, String> {
        toml::from_str::<AdapterConfig>(&format!("{HEAD}{more}"))
            .map(|config| config.within(Path::new("/etc/einmal")))
            .map_err(|error| error.to_string())
    }

    fn journal(more: &str) -> Result<Option<JournalSetup>, String> {
        let config = read(more).unwrap();
        config.registers[0].journal().map_err(|error| error.to_string())
    }

    #[test]
    fn paths_are_relative_to_the_file_and_none_is_no_path() {
        let config = read("sources = \"parking.csv\"\njournal = \"none\"").unwrap();
        assert_eq!(config.tls.key, Path::new("/etc/einmal/a.key"));
        assert_eq!(config.root, Path::new("/etc/einmal/root.signed"));
        assert_eq!(config.state, Path::new("/var/lib/adapter"));
        let register = &config.registers[0];
        assert_eq!(register.identity, Path::new("/etc/einmal/parking.key"));
        assert_eq!(register.sources().unwrap(), Path::new("/etc/einmal/parking.csv"));
        assert_eq!(register.journal().unwrap(), None);
        assert_eq!((config.credits, config.replicated), (64, false));
    }

    #[test]
    fn a_journal_is_named_or_done_without_aloud() {
        let whole = journal("journal = \"j\"\nofficer = \"officer.cards\"").unwrap().unwrap();
        assert_eq!(whole.folder, Path::new("/etc/einmal/j"));
        assert_eq!(whole.officer, Path::new("/etc/einmal/officer.cards"));
        for (more, word) in [
            ("", "register `parking`: `journal` is missing"),
            ("officer = \"o\"", "`journal` is missing"),
            ("journal = \"j\"", "`officer` is missing"),
            ("journal = \"none\"\nofficer = \"o\"", "only for a register with a journal"),
        ] {
            let problem = journal(more).unwrap_err();
            assert!(problem.contains(word), "{more}: {problem}");
        }
    }

    #[test]
    fn what_is_unknown_or_missing_is_refused() {
        assert!(read("jornal = \"none\"").unwrap_err().contains("unknown field `jornal`"));
        let register = read("journal = \"none\"").unwrap();
        let problem = register.registers[0].sources().unwrap_err().to_string();
        assert_eq!(problem, "register `parking`: `sources` is missing: name its file");
    }
}
