// SPDX-License-Identifier: EUPL-1.2
//! Files of keys and state: read with errors that name them, written so that a crash leaves the
//! old or the new content and never half of one.

use std::{
    fs,
    io::Write,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
};

use einmal_protocol::{key::SigningKey, wire::v1::Envelope};
use prost::Message;
use zeroize::Zeroizing;

use crate::keyfile::KeyFile;

/// A file that cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{}: {problem}", path.display())]
pub struct FileError {
    /// Which file.
    pub path: PathBuf,
    /// What is wrong with it.
    pub problem: String,
}

impl FileError {
    /// An error about a file.
    pub fn new(path: &Path, problem: impl std::fmt::Display) -> Self {
        Self { path: path.to_owned(), problem: problem.to_string() }
    }
}

/// The content of a file.
///
/// # Errors
/// Where it cannot be read.
pub fn read(path: &Path) -> Result<Zeroizing<Vec<u8>>, FileError> {
    fs::read(path).map(Zeroizing::new).map_err(|error| FileError::new(path, error))
}

/// The content of a text file.
///
/// # Errors
/// Where it cannot be read or is not UTF-8.
pub fn read_text(path: &Path) -> Result<String, FileError> {
    fs::read_to_string(path).map_err(|error| FileError::new(path, error))
}

/// A secret in a file: its first line, without what ends it.
///
/// # Errors
/// Where it cannot be read, is empty or too long, or where others may read it or its group may
/// write it. (Its group may read it: so service managers hand secrets over.)
pub fn secret(path: &Path) -> Result<Zeroizing<String>, FileError> {
    check_mode(path)?;
    let bytes = read(path)?;
    let text = std::str::from_utf8(&bytes).map_err(|_| FileError::new(path, "it is no text"))?;
    let line = text.lines().next().unwrap_or_default().trim();
    match line.len() {
        0 => Err(FileError::new(path, "its first line is empty")),
        1..=SECRET_MAX => Ok(Zeroizing::new(line.to_owned())),
        _ => Err(FileError::new(path, "its first line is longer than 8192 bytes")),
    }
}

const SECRET_MAX: usize = 8192;

/// Refuses a file of secrets that others may read.
///
/// # Errors
/// Where its mode cannot be read or is too wide.
pub fn check_mode(path: &Path) -> Result<(), FileError> {
    use std::os::unix::fs::PermissionsExt;
    let metadata = fs::metadata(path).map_err(|error| FileError::new(path, error))?;
    let mode = metadata.permissions().mode();
    if mode & 0o027 == 0 {
        return Ok(());
    }
    let problem = "others may read it, or its group may write it; run `chmod 600` on it";
    Err(FileError::new(path, problem))
}

/// The content of a file, or nothing where there is none.
///
/// # Errors
/// Where it is there and cannot be read.
pub fn read_if_there(path: &Path) -> Result<Option<Vec<u8>>, FileError> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(FileError::new(path, error)),
    }
}

/// Replaces a file: written beside it, synced, renamed over it, and the folder synced.
///
/// # Errors
/// Where any of that fails; the old content then stands.
pub fn replace(path: &Path, content: &[u8]) -> Result<(), FileError> {
    write(path, content, 0o644)
}

/// Replaces a file that only its owner may read.
///
/// # Errors
/// As `replace`.
pub fn replace_secret(path: &Path, content: &[u8]) -> Result<(), FileError> {
    write(path, content, 0o600)
}

fn write(path: &Path, content: &[u8], mode: u32) -> Result<(), FileError> {
    use std::os::unix::fs::OpenOptionsExt;
    let failed = |error: std::io::Error| FileError::new(path, error);
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    let folder = folder.unwrap_or_else(|| Path::new("."));
    fs::create_dir_all(folder).map_err(failed)?;
    // A name of its own, so that two writers at one moment each leave a whole file.
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    let beside = path.with_extension(format!("new-{}-{count}", std::process::id()));
    let mut file = fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(mode)
        .open(&beside)
        .map_err(failed)?;
    file.write_all(content).and_then(|()| file.sync_all()).map_err(failed)?;
    fs::rename(&beside, path).map_err(failed)?;
    fs::File::open(folder).and_then(|folder| folder.sync_all()).map_err(failed)
}

/// A PKCS#8 identity key in PEM, for a program that has nobody to ask for a passphrase.
///
/// # Errors
/// Where the file is not one, or is encrypted.
pub fn signing_key(path: &Path) -> Result<SigningKey, FileError> {
    Ok(KeyFile::read(path)?.open(None)?.into_key())
}

/// A signed envelope in a file.
///
/// # Errors
/// Where the file is not one.
pub fn envelope(path: &Path) -> Result<Envelope, FileError> {
    let bytes = read(path)?;
    Envelope::decode(bytes.as_slice()).map_err(|_| FileError::new(path, "not a signed envelope"))
}
