// SPDX-License-Identifier: EUPL-1.2
//! Bodies of the SQLite store: one file a day, appended to and never read back before it is
//! synced, so that forgetting a day is deleting a file (FORGETS-ON-TIME). How far a file counts
//! stands in the database; what lies behind is left over from a commit that never was, or zeros
//! that were written ahead, and is written over. Zeros ahead, because a sync that need not note a
//! new length is several times as fast.

use std::{
    collections::HashMap,
    fs::{self, File, OpenOptions},
    io,
    os::unix::fs::{FileExt, MetadataExt},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use einmal_protocol::time::day_to_iso;

use crate::{memory::sync_folder, store::StoreError};

/// Files kept open.
const OPEN_MAX: usize = 32;
/// A file grows in steps of an eighth of its length, within these limits, in bytes.
const AHEAD_MIN: u64 = 64 << 10;
const AHEAD_MAX: u64 = 1 << 20;
/// Zeros that overwrite a file before it is deleted, at once.
static ZEROS: [u8; 64 * 1024] = [0; 64 * 1024];

/// The day files of one ledger.
pub(crate) struct Segments {
    folder: PathBuf,
    open: Mutex<HashMap<u32, Arc<File>>>,
}

impl Segments {
    /// Those that belong to a database; the folder is made if asked for.
    pub(crate) fn beside(database: &Path, make: bool) -> io::Result<Self> {
        let mut folder = database.as_os_str().to_owned();
        folder.push("-bodies");
        let folder = PathBuf::from(folder);
        if make && !folder.is_dir() {
            fs::create_dir(&folder)?;
            sync_folder(&folder)?;
        }
        Ok(Self { folder, open: Mutex::default() })
    }

    fn path(&self, day: u32) -> PathBuf {
        self.folder.join(format!("{}.bodies", day_to_iso(day)))
    }

    /// Puts bodies where the committed ones of their day end. Durable when it returns. To be called
    /// under the database's write lock only.
    pub(crate) fn append(&self, day: u32, at: u64, mut bytes: Vec<u8>) -> Result<(), StoreError> {
        let file = self.writable(day, at).map_err(fault)?;
        let file = file.ok_or_else(|| lost(day))?;
        let length = file.metadata().map_err(fault)?.len();
        let end = at + bytes.len() as u64;
        if end > length {
            // Never more at once than fits into memory many times over.
            let step = (length / 8).clamp(AHEAD_MIN, AHEAD_MAX);
            let zeros = usize::try_from(step - end % step).unwrap_or(0);
            bytes.resize(bytes.len() + zeros, 0);
        }
        match file.write_all_at(&bytes, at) {
            // No room for the zeros may still be room for the bodies.
            Err(error) if error.kind() == io::ErrorKind::StorageFull => {
                bytes.truncate(usize::try_from(end - at).unwrap_or(bytes.len()));
                file.write_all_at(&bytes, at).map_err(fault)?;
            }
            written => written.map_err(fault)?,
        }
        // What the disk says it has after a failed sync is not to be trusted.
        file.sync_data().map_err(|error| StoreError::Broken(error.to_string()))
    }

    /// The file of a day for writing; nothing where it was deleted, replaced or cut.
    fn writable(&self, day: u32, at: u64) -> io::Result<Option<Arc<File>>> {
        let path = self.path(day);
        let held = self.held(day);
        let Some(file) = held else {
            if at > 0 && !path.exists() {
                return Ok(None);
            }
            let new = !path.exists();
            let mut options = OpenOptions::new();
            options.read(true).write(true).create(true).truncate(false);
            std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
            let file = options.open(&path)?;
            if new {
                sync_folder(&path)?;
            }
            let long_enough = file.metadata()?.len() >= at;
            return Ok(long_enough.then(|| self.hold(day, file)));
        };
        let (ours, there) = (file.metadata()?, fs::metadata(&path));
        let same = there.is_ok_and(|there| (there.dev(), there.ino()) == (ours.dev(), ours.ino()));
        Ok((same && ours.len() >= at).then_some(file))
    }

    /// The body at a place; nothing where its day was forgotten.
    pub(crate) fn read(
        &self,
        day: u32,
        start: u64,
        length: u32,
    ) -> Result<Option<Vec<u8>>, StoreError> {
        let held = self.held(day);
        if let Some(file) = &held
            && file.metadata().map_err(fault)?.nlink() == 0
        {
            // Another process forgot the day.
            self.opened().remove(&day);
            return Ok(None);
        }
        let file = match held {
            Some(file) => file,
            None => match OpenOptions::new().read(true).write(true).open(self.path(day)) {
                Ok(file) => self.hold(day, file),
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
                Err(_) => match File::open(self.path(day)) {
                    // Enough for whoever only reads; not held, for a writer needs more.
                    Ok(file) => Arc::new(file),
                    Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
                    Err(error) => return Err(fault(error)),
                },
            },
        };
        let mut body = vec![0; length as usize];
        match file.read_exact_at(&mut body, start) {
            Ok(()) => Ok(Some(body)),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Err(lost(day)),
            Err(error) => Err(fault(error)),
        }
    }

    /// Overwrites and deletes the files of days before one.
    pub(crate) fn remove_before(&self, day: u32) -> Result<(), StoreError> {
        self.opened().retain(|held, _| *held >= day);
        let before = format!("{}.bodies", day_to_iso(day));
        let entries = match fs::read_dir(&self.folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(fault(error)),
        };
        for entry in entries {
            let entry = entry.map_err(fault)?;
            let name = entry.file_name();
            // ISO dates sort by time.
            let is_old = name.to_str().is_some_and(|name| {
                name.ends_with(".bodies") && name.len() == before.len() && *name < *before
            });
            if is_old {
                destroy(&entry.path()).map_err(fault)?;
            }
        }
        File::open(&self.folder).and_then(|folder| folder.sync_all()).map_err(fault)
    }

    fn opened(&self) -> std::sync::MutexGuard<'_, HashMap<u32, Arc<File>>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn held(&self, day: u32) -> Option<Arc<File>> {
        self.opened().get(&day).cloned()
    }

    fn hold(&self, day: u32, file: File) -> Arc<File> {
        let file = Arc::new(file);
        let mut open = self.opened();
        if open.len() >= OPEN_MAX {
            open.clear();
        }
        open.insert(day, Arc::clone(&file));
        file
    }
}

/// Overwrites a file, as far as the file system does that in place, and deletes it.
fn destroy(path: &Path) -> io::Result<()> {
    let file = OpenOptions::new().write(true).open(path)?;
    let length = file.metadata()?.len();
    let mut at = 0;
    while at < length {
        let rest = usize::try_from(length - at).unwrap_or(ZEROS.len()).min(ZEROS.len());
        file.write_all_at(ZEROS.get(..rest).unwrap_or(&ZEROS), at)?;
        at += rest as u64;
    }
    file.sync_data()?;
    fs::remove_file(path)
}

fn lost(day: u32) -> StoreError {
    StoreError::Broken(format!(
        "the file of bodies of {} was deleted, replaced or cut",
        day_to_iso(day)
    ))
}

fn fault(error: io::Error) -> StoreError {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => StoreError::Full,
        io::ErrorKind::ReadOnlyFilesystem => {
            StoreError::Broken("the disk has become read-only".to_owned())
        }
        _ => StoreError::Broken(error.to_string()),
    }
}
