// SPDX-License-Identifier: EUPL-1.2
//! The outside memory: the newest checkpoint that was signed, in a small file outside the
//! database. A database older than its memory is a restored backup, or lost commits.
//!
//! Two slots of fixed size are written in turn, each synced before it counts, so a torn write
//! loses the newer checkpoint and never the older one. The memory is a lower bound: it is written
//! before the first answer of a batch. Several processes of one machine may share it: each write
//! locks the file and never replaces a larger checkpoint by a smaller one. What another process
//! remembered since must be compared with the tree before anything more is written: it may have
//! been signed over another database.

use std::{
    fs::{File, OpenOptions},
    io::{self, Read, Seek, SeekFrom, Write},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
};

use einmal_protocol::Digest;

const SLOT: usize = 4096;
const HEAD: usize = 12;
const HASH: usize = 32;
const NOTE_MAX: usize = SLOT - HEAD - HASH;

/// The open memory.
#[derive(Debug)]
pub(crate) struct Memory {
    path: PathBuf,
    file: File,
    /// What it held when this process last wrote it or compared it with the tree.
    known: Option<String>,
}

impl Memory {
    /// Creates an empty memory where there is no file yet. Where another process was a moment
    /// faster, its memory is opened: what it holds by then is not known here, so the first
    /// [`Memory::write`] gives it back to be compared.
    pub(crate) fn create(path: &Path) -> Result<Self, MemoryError> {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        // It gets its name when it is whole: what another process writes into it is then never
        // written over by the zeros of this one.
        let beside = path.with_extension(format!("new-{}-{count}", std::process::id()));
        let named = write_zeros(&beside).and_then(|()| std::fs::hard_link(&beside, path));
        let _best_effort = std::fs::remove_file(&beside);
        match named {
            Ok(()) => sync_folder(path)?,
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error.into()),
        }
        let file = OpenOptions::new().read(true).write(true).open(path)?;
        Ok(Self { path: path.to_owned(), file, known: None })
    }

    /// Opens a memory; gives the note it holds, where it holds a whole one. `None` where there is
    /// no file.
    pub(crate) fn open(path: &Path) -> Result<Option<(Self, Option<String>)>, MemoryError> {
        let file = match OpenOptions::new().read(true).write(true).open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let mut memory = Self { path: path.to_owned(), file, known: None };
        let note = memory.newest()?;
        Ok(Some((memory, note)))
    }

    /// The note that it holds, where it holds a whole one.
    pub(crate) fn newest(&mut self) -> Result<Option<String>, MemoryError> {
        self.locked(|file| Ok(newest(file)?.map(|(_, note)| note)))
    }

    /// Remembers a note: durable when nothing is given back. Where another process remembered one
    /// since, nothing is written and that one is given back: see [`Memory::compared`].
    pub(crate) fn write(&mut self, note: &str) -> Result<Option<String>, MemoryError> {
        let known = self.known.take();
        let news = self.locked(|file| {
            let held = newest(file)?;
            match &held {
                Some((_, held)) if Some(held) != known.as_ref() => return Ok(Some(held.clone())),
                None if known.is_some() => return Err(MemoryError::Emptied),
                _ => {}
            }
            write(file, held, note).map(|()| None)
        })?;
        self.known = if news.is_some() { known } else { Some(note.to_owned()) };
        Ok(news)
    }

    /// A note that it holds is of the ledger's tree: the next one may follow it.
    pub(crate) fn compared(&mut self, note: String) {
        self.known = Some(note);
    }

    /// The lock is taken for the moment only, and given back on every way out.
    fn locked<T>(
        &mut self,
        work: impl FnOnce(&mut File) -> Result<T, MemoryError>,
    ) -> Result<T, MemoryError> {
        self.file.lock()?;
        let (ours, there) = (self.file.metadata()?, std::fs::metadata(&self.path));
        // Moved away is as bad: whoever starts next would not find it.
        if !there.is_ok_and(|there| (there.dev(), there.ino()) == (ours.dev(), ours.ino())) {
            return Err(MemoryError::Deleted);
        }
        let done = work(&mut self.file);
        self.file.unlock()?;
        done
    }
}

fn write_zeros(path: &Path) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).open(path)?;
    file.write_all(&[0; 2 * SLOT])?;
    file.sync_all()
}

fn write(file: &mut File, newest: Option<(u64, String)>, note: &str) -> Result<(), MemoryError> {
    if let Some((_, held)) = &newest {
        if size_of(held) > size_of(note) {
            return Ok(());
        }
        if size_of(held) == size_of(note) && held.lines().nth(2) != note.lines().nth(2) {
            return Err(MemoryError::Contradicts { size: size_of(note) });
        }
    }
    let sequence = newest.map_or(0, |(sequence, _)| sequence);
    let sequence = sequence.checked_add(1).ok_or(MemoryError::Emptied)?;
    let length = u32::try_from(note.len()).unwrap_or(u32::MAX);
    if note.len() > NOTE_MAX {
        return Err(MemoryError::TooLong);
    }
    let mut slot = Vec::with_capacity(SLOT);
    slot.extend(sequence.to_be_bytes());
    slot.extend(length.to_be_bytes());
    slot.extend(note.as_bytes());
    let digest = Digest::of(&slot);
    slot.resize(SLOT - HASH, 0);
    slot.extend(digest.as_bytes());
    file.seek(SeekFrom::Start((sequence % 2) * SLOT as u64))?;
    file.write_all(&slot)?;
    file.sync_data()?;
    Ok(())
}

/// The size that a checkpoint's second line says. What the memory holds was signed when written.
fn size_of(note: &str) -> u64 {
    note.lines().nth(1).and_then(|size| size.parse().ok()).unwrap_or(0)
}

/// The note that a memory holds, for readers only; nothing where there is no whole one.
pub(crate) fn note(path: &Path) -> Result<Option<String>, MemoryError> {
    Ok(newest(&mut File::open(path)?)?.map(|(_, note)| note))
}

fn newest(file: &mut File) -> Result<Option<(u64, String)>, MemoryError> {
    let mut bytes = Vec::new();
    file.seek(SeekFrom::Start(0))?;
    file.take(2 * SLOT as u64).read_to_end(&mut bytes)?;
    Ok(bytes.chunks(SLOT).filter_map(slot).max_by_key(|(sequence, _)| *sequence))
}

/// A whole slot's sequence number and note.
fn slot(bytes: &[u8]) -> Option<(u64, String)> {
    let (sequence, rest) = bytes.split_first_chunk::<8>()?;
    let (length, rest) = rest.split_first_chunk::<4>()?;
    let length = usize::try_from(u32::from_be_bytes(*length)).ok()?;
    let note = rest.get(..length)?;
    let digest = Digest::of(bytes.get(..HEAD + length)?);
    let stored = bytes.get(SLOT - HASH..SLOT)?;
    let whole = length > 0 && length <= NOTE_MAX && digest.as_bytes() == stored;
    let note = String::from_utf8(note.to_vec()).ok().filter(|_| whole)?;
    Some((u64::from_be_bytes(*sequence), note))
}

/// Makes a new file's name durable.
pub(crate) fn sync_folder(path: &Path) -> io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
}

/// Why the memory cannot be used.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub enum MemoryError {
    /// The file was deleted, moved or replaced meanwhile.
    #[error(
        "the ledger's memory was deleted, moved or replaced while it was open: put it back before \
         starting"
    )]
    Deleted,
    /// What it held is gone, or was never written by a ledger.
    #[error(
        "the ledger's memory lost what it held: find out who wrote to it, and put it back before \
         starting"
    )]
    Emptied,
    /// Another tree of this size was signed.
    #[error("another tree of {size} leaves was signed already: the ledger has two histories")]
    Contradicts {
        /// How many leaves.
        size: u64,
    },
    /// The note does not fit.
    #[error("the checkpoint is longer than the ledger's memory")]
    TooLong,
    /// The file system's word.
    #[error("the ledger's memory cannot be read or written: {0}")]
    Io(String),
}

impl From<io::Error> for MemoryError {
    fn from(error: io::Error) -> Self {
        Self::Io(error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_torn_write_leaves_the_older_note() {
        let path = std::env::temp_dir().join(format!("einmal-memory-{}", std::process::id()));
        let _ = std::fs::remove_file(&path);
        assert!(Memory::open(&path).unwrap().is_none());
        let mut memory = Memory::create(&path).unwrap();
        assert_eq!(note(&path), Ok(None));
        for word in ["one", "two", "three"] {
            assert_eq!(memory.write(word), Ok(None));
            assert_eq!(note(&path), Ok(Some(word.to_owned())));
        }
        drop(memory);
        // "three" is the third write, so it lies in the second slot.
        let whole = std::fs::read(&path).unwrap();
        for cut in [SLOT, SLOT + 3, SLOT + 14, 2 * SLOT - 1] {
            let mut torn = whole.clone();
            torn[cut] ^= 1;
            std::fs::write(&path, &torn).unwrap();
            assert_eq!(note(&path), Ok(Some("two".to_owned())), "{cut}");
        }
        std::fs::write(&path, &whole[..SLOT + 100]).unwrap();
        let (mut memory, found) = Memory::open(&path).unwrap().unwrap();
        assert_eq!(found.as_deref(), Some("two"));
        assert_eq!(memory.write("four"), Ok(Some("two".to_owned())), "first to be compared");
        memory.compared("two".to_owned());
        assert_eq!(memory.write("four"), Ok(None));
        assert_eq!(note(&path), Ok(Some("four".to_owned())));
        std::fs::remove_file(&path).unwrap();
    }

    /// Brokers of one machine may start on a new ledger at one moment.
    #[test]
    fn those_who_create_it_at_once_share_it_and_lose_nothing() {
        let folder = std::env::temp_dir().join(format!("einmal-memories-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        for round in 0..50 {
            let path = folder.join(round.to_string());
            let start = std::sync::Barrier::new(4);
            std::thread::scope(|scope| {
                for size in 1..=4 {
                    let (path, start) = (&path, &start);
                    scope.spawn(move || {
                        start.wait();
                        let mut memory = Memory::create(path).unwrap();
                        let note = format!("origin\n{size}\nroot of {size}\n");
                        while let Some(held) = memory.write(&note).unwrap() {
                            if size_of(&held) > size {
                                break;
                            }
                            memory.compared(held);
                        }
                    });
                }
            });
            let held = note(&path).unwrap().expect("something was remembered");
            assert_eq!(size_of(&held), 4, "round {round}");
        }
        let left = std::fs::read_dir(&folder).unwrap().count();
        assert_eq!(left, 50, "nothing lies about");
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
