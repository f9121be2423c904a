// SPDX-License-Identifier: EUPL-1.2
//! The one who writes a journal: takes what waits, makes it durable with one `fsync`, answers all.
//! After a failure nothing is believed to be there but what was synced before it.

use std::{
    fs::{self, File, OpenOptions, TryLockError},
    io::{Seek, SeekFrom, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use einmal_peer::{Clock, files::FileError};
use einmal_protocol::{
    Digest,
    time::{day_of, day_to_iso},
};
use prost::Message;
use tokio::sync::{mpsc, oneshot};

use super::{
    JournalError, State,
    entry::{Group, Head, Item},
    frame::{self, BrokenJournal, Next, ReadError, Reader},
};

/// So many are made durable together.
const GROUP: usize = 256;
const LOCK: &str = "journal.lock";
/// Whoever had the journal before may take so long to let it go.
const LOCK_WAIT: Duration = Duration::from_secs(2);
/// So much room must be there before a journal that failed is used again.
const PROBE: usize = 64 * 1024;

/// What a writer is asked for.
pub(super) enum Ask {
    /// Make it durable.
    Append(Box<Item>, Option<oneshot::Sender<bool>>),
    /// Try whether it works again.
    Probe,
    /// End, and let the folder go.
    Close(oneshot::Sender<()>),
}

/// The file that is written to.
pub(super) struct Book {
    folder: PathBuf,
    register: String,
    /// Held as long as this lives: two writers would write over each other.
    _lock: File,
    file: Option<File>,
    /// Of the newest file; none where there is no file yet.
    day: Option<u32>,
    /// How much of it is durable and whole.
    length: u64,
    last: Digest,
}

impl Book {
    /// Takes the folder, reads its newest file, and cuts off what was never written whole.
    pub(super) fn open(folder: &Path, register: &str) -> Result<Self, JournalError> {
        let failed = |error| FileError::new(folder, error);
        fs::create_dir_all(folder).map_err(failed)?;
        let lock = lock(&folder.join(LOCK))?;
        let mut book = Self {
            folder: folder.to_owned(),
            register: register.to_owned(),
            _lock: lock,
            file: None,
            day: None,
            length: 0,
            last: frame::beginning(),
        };
        let mut days = frame::days(folder).map_err(BrokenJournal::from)?;
        while let Some(day) = days.pop() {
            book.read(day)?;
            if book.length > 0 {
                book.day = Some(day);
                let cut = book.reopen();
                cut.map_err(|error| FileError::new(&frame::path_of(folder, day), error))?;
                break;
            }
            // Begun and not one frame of it durable.
            let path = frame::path_of(folder, day);
            fs::remove_file(&path).map_err(|error| FileError::new(&path, error))?;
        }
        Ok(book)
    }

    fn read(&mut self, day: u32) -> Result<(), JournalError> {
        let path = frame::path_of(&self.folder, day);
        let mut reader = Reader::open(&path).map_err(BrokenJournal::from)?;
        let mut first = true;
        loop {
            match reader.next().map_err(BrokenJournal::from)? {
                Next::Frame(frame) if first => {
                    first = false;
                    let head = Head::decode(frame.body.as_slice()).ok();
                    if head.is_none_or(|head| head.register != self.register || head.day != day) {
                        return Err(JournalError::OtherRegister { path });
                    }
                }
                Next::Frame(_) => {}
                Next::End => break,
                Next::Torn { length } => {
                    let (at, _) = reader.place();
                    keep_torn(&path, at)?;
                    tracing::warn!(
                        register = self.register, file = %path.display(), at, length,
                        "the last frame of the journal was never written whole, so nothing was \
                         revealed for it; it is cut off and kept beside the file"
                    );
                    break;
                }
                Next::Changed => return Err(reader.changed().into()),
            }
        }
        (self.length, self.last) = reader.place();
        Ok(())
    }

    /// Back to what is known to be durable.
    fn reopen(&mut self) -> std::io::Result<()> {
        let Some(day) = self.day.filter(|_| self.file.is_none()) else { return Ok(()) };
        let path = frame::path_of(&self.folder, day);
        let mut file = OpenOptions::new().write(true).open(path)?;
        file.set_len(self.length)?;
        file.seek(SeekFrom::Start(self.length))?;
        file.sync_all()?;
        self.file = Some(file);
        Ok(())
    }

    fn append(&mut self, items: Vec<Item>, now_ms: u64) -> std::io::Result<()> {
        let written = self.write(items, now_ms);
        if written.is_err() {
            self.file = None;
        }
        written
    }

    fn write(&mut self, items: Vec<Item>, now_ms: u64) -> std::io::Result<()> {
        // A clock that was put back begins no older file.
        let day = self.day.map_or(day_of(now_ms), |newest| newest.max(day_of(now_ms)));
        let body = Group { items }.encode_to_vec();
        let too_long = || std::io::Error::other("a group is too long for a frame");
        if self.day == Some(day) {
            self.reopen()?;
            let (bytes, last) = frame::frame(self.last, &body).ok_or_else(too_long)?;
            let file = self.file.as_mut().ok_or_else(|| std::io::Error::other("not open"))?;
            file.write_all(&bytes)?;
            file.sync_data()?;
            self.length += bytes.len() as u64;
            self.last = last;
            return Ok(());
        }
        let previous = if self.day.is_some() { self.last.to_vec() } else { Vec::new() };
        let head = Head { register: self.register.clone(), day, previous };
        let (mut bytes, after_head) =
            frame::frame(frame::beginning(), &head.encode_to_vec()).ok_or_else(too_long)?;
        let (first, last) = frame::frame(after_head, &body).ok_or_else(too_long)?;
        bytes.extend_from_slice(&first);
        // What a failed try has left of this day's file holds nothing: it was never durable.
        let mut file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o640)
            .open(frame::path_of(&self.folder, day))?;
        file.write_all(&bytes)?;
        file.sync_all()?;
        File::open(&self.folder)?.sync_all()?;
        self.length = bytes.len() as u64;
        (self.day, self.last, self.file) = (Some(day), last, Some(file));
        Ok(())
    }

    /// Whether there is room and leave to write.
    fn probe(&mut self) -> std::io::Result<()> {
        self.file = None;
        let path = self.folder.join("journal.probe");
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).open(&path)?;
        file.write_all(&vec![0; PROBE])?;
        file.sync_all()?;
        drop(file);
        fs::remove_file(&path)
    }
}

/// Puts aside what a restart cuts off: a person may want to look at it.
fn keep_torn(path: &Path, at: u64) -> Result<(), FileError> {
    let failed = |error| FileError::new(path, error);
    let bytes = fs::read(path).map_err(failed)?;
    let torn = usize::try_from(at).ok().and_then(|at| bytes.get(at..)).unwrap_or_default();
    let beside = path.with_extension("torn");
    let mut file = OpenOptions::new()
        .append(true)
        .create(true)
        .mode(0o640)
        .open(&beside)
        .map_err(|error| FileError::new(&beside, error))?;
    file.write_all(torn)
        .and_then(|()| file.sync_all())
        .map_err(|error| FileError::new(&beside, error))
}

fn lock(path: &Path) -> Result<File, JournalError> {
    let failed = |error: std::io::Error| FileError::new(path, error);
    let file =
        OpenOptions::new().write(true).create(true).truncate(false).open(path).map_err(failed)?;
    let began = Instant::now();
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::WouldBlock) if began.elapsed() < LOCK_WAIT => {
                std::thread::sleep(Duration::from_millis(20));
            }
            Err(TryLockError::WouldBlock) => {
                return Err(JournalError::InUse { path: path.to_owned() });
            }
            Err(TryLockError::Error(error)) => return Err(failed(error).into()),
        }
    }
}

/// Writes until nobody asks any more.
pub(super) async fn run(
    mut book: Book,
    mut asked: mpsc::Receiver<Ask>,
    state: Arc<State>,
    clock: Clock,
) {
    let mut closing = None;
    while closing.is_none() {
        let Some(first) = asked.recv().await else { break };
        let (mut items, mut waiting, mut probe) = (Vec::new(), Vec::new(), false);
        let mut next = Some(first);
        while let Some(ask) = next {
            match ask {
                Ask::Append(item, done) => {
                    items.push(*item);
                    waiting.extend(done);
                }
                Ask::Probe => probe = true,
                Ask::Close(done) => closing = Some(done),
            }
            next =
                if items.len() < GROUP && closing.is_none() { asked.try_recv().ok() } else { None };
        }
        let (count, now_ms) = (items.len(), clock.now_ms());
        let work = tokio::task::spawn_blocking(move || {
            let done = match (items.is_empty(), probe) {
                (false, _) => book.append(items, now_ms),
                (true, true) => book.probe(),
                (true, false) => Ok(()),
            };
            (book, done)
        });
        let Ok((back, done)) = work.await else {
            state.failed("the writer stopped");
            return;
        };
        book = back;
        match &done {
            Ok(()) => state.works(count),
            Err(error) => state.failed(&error.to_string()),
        }
        for waiting in waiting {
            let _ = waiting.send(done.is_ok());
        }
    }
    drop(book);
    if let Some(done) = closing {
        let _ = done.send(());
    }
}

/// Deletes the files of all days before this one. Answers the days.
pub(super) fn forget(folder: &Path, before: u32) -> Result<Vec<String>, ReadError> {
    let mut forgotten = Vec::new();
    for day in frame::days(folder)? {
        if day >= before {
            break;
        }
        let path = frame::path_of(folder, day);
        let torn = path.with_extension("torn");
        for path in [torn, path] {
            match fs::remove_file(&path) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    return Err(ReadError::new(&path, error));
                }
                _ => {}
            }
        }
        forgotten.push(day_to_iso(day));
    }
    if !forgotten.is_empty() {
        let sync = File::open(folder).and_then(|folder| folder.sync_all());
        sync.map_err(|error| ReadError::new(folder, error))?;
    }
    Ok(forgotten)
}
