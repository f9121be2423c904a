// SPDX-License-Identifier: EUPL-1.2
//! What a person signs with: a key file, with or without a passphrase.
//!
//! This is the one place where the name of a key becomes something that signs. A PKCS#11 module
//! would be a second form of name here, and another `Signer`; until then a key in a device signs
//! through files, see `documents::sign`.

use std::{
    fs::{File, OpenOptions},
    io::{Read, Write},
    path::{Path, PathBuf},
};

use einmal_peer::keyfile::{KeyFile, OpenedKey, PASSPHRASE_MAX, Passphrase};
use einmal_protocol::key::Signer;
use rustix::termios::{
    LocalModes, OptionalActions, SpecialCodeIndex, Termios, tcgetattr, tcsetattr,
};
use zeroize::Zeroizing;

use crate::Exit;

/// A new passphrase has at least so many bytes.
const PASSPHRASE_MIN: usize = 12;

/// What Ctrl-C sends.
const CTRL_C: u8 = 3;

/// Where the passphrase of a key file comes from.
#[derive(clap::Args)]
pub struct PassphraseArgs {
    /// The key's passphrase is the first line of this file. Without it, you are asked.
    #[arg(long, value_name = "FILE")]
    pub passphrase_file: Option<PathBuf>,
}

/// What signs in the name of a key file; asks for its passphrase if it has one.
///
/// # Errors
/// Where the file cannot be used, or the passphrase is wrong.
pub fn open(key: &Path, passphrase: &PassphraseArgs) -> Result<Box<dyn Signer>, Exit> {
    Ok(Box::new(open_file(key, passphrase.passphrase_file.as_deref())?.into_key()))
}

/// Opens a key file; asks for its passphrase if it has one and no file with it is named.
///
/// # Errors
/// Where the file cannot be used, or the passphrase is wrong.
pub fn open_file(key: &Path, passphrase_file: Option<&Path>) -> Result<OpenedKey, Exit> {
    let file = KeyFile::read(key)?;
    let passphrase = match passphrase_file {
        Some(path) => Some(Passphrase::from_file(path)?),
        None if file.is_encrypted() => {
            Some(Terminal::open()?.ask(&format!("Passphrase of {}: ", key.display()))?)
        }
        None => None,
    };
    Ok(file.open(passphrase.as_ref())?)
}

/// A passphrase for a key that gets a new one: of a file, or asked twice.
///
/// # Errors
/// Where it is too short, or was not typed twice alike.
pub fn new_passphrase(key: &Path, file: Option<&Path>) -> Result<Passphrase, Exit> {
    let passphrase = match file {
        Some(path) => Passphrase::from_file(path)?,
        None => {
            let mut terminal = Terminal::open()?;
            let first = terminal.ask(&format!("New passphrase of {}: ", key.display()))?;
            if !terminal.ask("Once more: ")?.is(&first) {
                return Err(Exit::usage("the two are not alike; nothing was changed"));
            }
            first
        }
    };
    if passphrase.length() < PASSPHRASE_MIN {
        return Err(Exit::usage(format!(
            "take a passphrase of at least {PASSPHRASE_MIN} characters, for example five words"
        )));
    }
    Ok(passphrase)
}

/// The terminal, whatever standard input and output are.
struct Terminal(File);

/// A terminal that shows nothing of what is typed, for as long as this lives.
struct Silent<'t> {
    terminal: &'t File,
    before: Termios,
}

impl Terminal {
    fn open() -> Result<Self, Exit> {
        let opened = OpenOptions::new().read(true).write(true).open("/dev/tty");
        opened.map(Self).map_err(|_| {
            Exit::usage(
                "a passphrase is needed and there is no terminal to ask on: name --passphrase-file",
            )
        })
    }

    fn ask(&mut self, question: &str) -> Result<Passphrase, Exit> {
        let silent = Silent::begin(&self.0)?;
        let mut terminal = &self.0;
        terminal.write_all(question.as_bytes()).map_err(Exit::failed)?;
        // One line more than fits, so that a longer one is noticed. A terminal gives whole lines.
        let mut buffer = Zeroizing::new([0; PASSPHRASE_MAX + 2]);
        let count = terminal.read(buffer.as_mut_slice()).map_err(Exit::failed)?;
        drop(silent);
        terminal.write_all(b"\n").map_err(Exit::failed)?;
        let typed = buffer.get(..count).unwrap_or_default();
        if typed.is_empty() || typed.contains(&CTRL_C) {
            return Err(Exit::failed("cancelled"));
        }
        let line = typed.strip_suffix(b"\n").unwrap_or(typed);
        if line.iter().any(u8::is_ascii_control) {
            return Err(Exit::usage("a passphrase has no control characters; type it again"));
        }
        Passphrase::new(Zeroizing::new(line.to_vec())).map_err(Exit::usage)
    }
}

impl<'t> Silent<'t> {
    fn begin(terminal: &'t File) -> Result<Self, Exit> {
        let before = tcgetattr(terminal).map_err(Exit::failed)?;
        let mut modes = before.clone();
        // Ctrl-C ends the line instead of this program, which then puts the terminal right.
        modes.local_modes.remove(LocalModes::ECHO | LocalModes::ECHONL | LocalModes::ISIG);
        modes.local_modes.insert(LocalModes::ICANON);
        modes.special_codes[SpecialCodeIndex::VEOL] = CTRL_C;
        tcsetattr(terminal, OptionalActions::Flush, &modes).map_err(Exit::failed)?;
        Ok(Self { terminal, before })
    }
}

impl Drop for Silent<'_> {
    fn drop(&mut self) {
        let _ = tcsetattr(self.terminal, OptionalActions::Flush, &self.before);
    }
}
