// SPDX-License-Identifier: EUPL-1.2
//! How a journal lies in its files: one a day, frame after frame, each chained to the one before.
//!
//! A frame is `EJF1`, the body's length (u32, big endian), eight bytes of a checksum of that
//! length, the body, and the SHA-256 of what was before and of all this. So a cut-off last frame,
//! which a power cut leaves, is told from a change: where the head of a frame holds and its body
//! ends too early, it was never whole; where a whole frame does not hold and something follows it,
//! somebody changed it. What was made durable together is one frame, so only the last can be torn.

use std::{
    fs::File,
    io::{BufReader, ErrorKind, Read, Seek, SeekFrom},
    path::{Path, PathBuf},
};

use einmal_protocol::{
    Digest,
    time::{day_to_iso, parse_day},
};
use prost::Message;

use super::entry::{Group, Head};

const MAGIC: [u8; 4] = *b"EJF1";
const CHECK: usize = 8;
const HEAD: usize = MAGIC.len() + 4 + CHECK;
const END: usize = 32;
/// A body is no longer than this.
pub(crate) const BODY_MAX: usize = 32 * 1024 * 1024;
const ENDING: &str = "journal";

/// What the first frame of a file is chained to.
pub(crate) fn beginning() -> Digest {
    Digest::of(b"einmal journal file v1")
}

/// The bytes of a frame, and the checksum that the next one is chained to. Nothing where the body
/// is too long.
pub(crate) fn frame(before: Digest, body: &[u8]) -> Option<(Vec<u8>, Digest)> {
    let length = u32::try_from(body.len()).ok().filter(|_| body.len() <= BODY_MAX)?.to_be_bytes();
    let mut bytes = Vec::with_capacity(HEAD + body.len() + END);
    bytes.extend_from_slice(&MAGIC);
    bytes.extend_from_slice(&length);
    bytes.extend_from_slice(&check(before, length));
    bytes.extend_from_slice(body);
    let end = end(before, length, body);
    bytes.extend_from_slice(end.as_bytes());
    Some((bytes, end))
}

fn check(before: Digest, length: [u8; 4]) -> [u8; CHECK] {
    let digest = Digest::of_parts(&[b"einmal journal length v1", before.as_bytes(), &length]);
    let mut check = [0; CHECK];
    for (to, from) in check.iter_mut().zip(digest.as_bytes()) {
        *to = *from;
    }
    check
}

fn end(before: Digest, length: [u8; 4], body: &[u8]) -> Digest {
    Digest::of_parts(&[b"einmal journal frame v1", before.as_bytes(), &length, body])
}

/// A frame that holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Frame {
    /// Where it begins in its file.
    pub(crate) at: u64,
    pub(crate) body: Vec<u8>,
}

/// How a file goes on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Next {
    Frame(Frame),
    /// The file ends here, whole.
    End,
    /// The last frame was never written whole.
    Torn {
        /// So many bytes of it are there.
        length: u64,
    },
    /// Something was changed.
    Changed,
}

/// Reads a file frame by frame.
pub(crate) struct Reader {
    path: PathBuf,
    file: BufReader<File>,
    /// How long the file was when it was opened: more may be appended meanwhile.
    length: u64,
    at: u64,
    last: Digest,
}

/// A file cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("{}: {error}", path.display())]
pub struct ReadError {
    path: PathBuf,
    error: std::io::Error,
}

impl ReadError {
    pub(crate) fn new(path: &Path, error: std::io::Error) -> Self {
        Self { path: path.to_owned(), error }
    }
}

impl Reader {
    pub(crate) fn open(path: &Path) -> Result<Self, ReadError> {
        let failed = |error| ReadError::new(path, error);
        let file = File::open(path).map_err(failed)?;
        let length = file.metadata().map_err(failed)?.len();
        let file = BufReader::with_capacity(64 * 1024, file);
        Ok(Self { path: path.to_owned(), file, length, at: 0, last: beginning() })
    }

    /// Goes on from a place that was handed out before; false where the file is shorter now.
    pub(crate) fn go_to(&mut self, at: u64, last: Digest) -> Result<bool, ReadError> {
        if at > self.length {
            return Ok(false);
        }
        let sought = self.file.seek(SeekFrom::Start(at));
        sought.map_err(|error| ReadError::new(&self.path, error))?;
        (self.at, self.last) = (at, last);
        Ok(true)
    }

    /// Where the next frame begins, and what it is chained to.
    pub(crate) fn place(&self) -> (u64, Digest) {
        (self.at, self.last)
    }

    pub(crate) fn next(&mut self) -> Result<Next, ReadError> {
        let rest = self.length.saturating_sub(self.at);
        if rest == 0 {
            return Ok(Next::End);
        }
        if rest < HEAD as u64 {
            return Ok(Next::Torn { length: rest });
        }
        let head = self.bytes(HEAD)?;
        let Some((length, claimed)) = parse_head(&head) else { return self.zeros(&head, rest) };
        if claimed != check(self.last, length) {
            return self.zeros(&head, rest);
        }
        let body_length = u64::from(u32::from_be_bytes(length));
        let whole = (HEAD + END) as u64 + body_length;
        if whole > rest {
            return Ok(Next::Torn { length: rest });
        }
        let body = self.bytes(usize::try_from(body_length).unwrap_or(BODY_MAX))?;
        let found = self.bytes(END)?;
        let wanted = end(self.last, length, &body);
        if found != wanted.as_bytes() {
            return Ok(if whole == rest { Next::Torn { length: rest } } else { Next::Changed });
        }
        let at = self.at;
        (self.at, self.last) = (at + whole, wanted);
        Ok(Next::Frame(Frame { at, body }))
    }

    /// A file that grew and was not filled has zeros to its end; anything else was changed.
    fn zeros(&mut self, head: &[u8], rest: u64) -> Result<Next, ReadError> {
        let mut only_zeros = head.iter().all(|byte| *byte == 0);
        let mut left = rest - HEAD as u64;
        while only_zeros && left > 0 {
            let some = self.bytes(usize::try_from(left.min(64 * 1024)).unwrap_or(1))?;
            left -= some.len() as u64;
            only_zeros = some.iter().all(|byte| *byte == 0);
        }
        Ok(if only_zeros { Next::Torn { length: rest } } else { Next::Changed })
    }

    fn bytes(&mut self, count: usize) -> Result<Vec<u8>, ReadError> {
        let mut bytes = vec![0; count.min(BODY_MAX)];
        self.file.read_exact(&mut bytes).map_err(|error| ReadError::new(&self.path, error))?;
        Ok(bytes)
    }

    /// The file's first frame, which says whose it is and of which day.
    pub(crate) fn head(&mut self) -> Result<Option<Head>, ReadError> {
        Ok(match self.next()? {
            Next::Frame(frame) => Head::decode(frame.body.as_slice()).ok(),
            _ => None,
        })
    }

    /// The next group; nothing at the end, torn or not.
    pub(crate) fn group(&mut self) -> Result<Option<Group>, BrokenJournal> {
        match self.next()? {
            Next::Frame(frame) => match Group::decode(frame.body.as_slice()) {
                Ok(group) => Ok(Some(group)),
                Err(_) => Err(self.changed()),
            },
            Next::End | Next::Torn { .. } => Ok(None),
            Next::Changed => Err(self.changed()),
        }
    }

    pub(crate) fn changed(&self) -> BrokenJournal {
        BrokenJournal::Changed { path: self.path.clone(), at: self.at }
    }
}

fn parse_head(head: &[u8]) -> Option<([u8; 4], [u8; CHECK])> {
    let (magic, rest) = head.split_first_chunk::<4>()?;
    let (length, rest) = rest.split_first_chunk::<4>()?;
    let (check, _) = rest.split_first_chunk::<CHECK>()?;
    let fits = usize::try_from(u32::from_be_bytes(*length)).is_ok_and(|l| l <= BODY_MAX);
    (*magic == MAGIC && fits).then_some((*length, *check))
}

/// A journal that cannot be believed as it lies there.
#[derive(Debug, thiserror::Error)]
pub enum BrokenJournal {
    /// It cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// Somebody, or a failing disk, changed it.
    #[error(
        "alarm: {} was changed at byte {at}, and what follows cannot be believed: keep the file as \
         evidence, tell the data-protection officer, move it out of this folder, put back what a \
         backup has, and start again",
        path.display()
    )]
    Changed {
        /// Which file.
        path: PathBuf,
        /// Where the first frame that does not hold begins.
        at: u64,
    },
}

/// The file of a day.
pub(crate) fn path_of(folder: &Path, day: u32) -> PathBuf {
    folder.join(format!("{}.{ENDING}", day_to_iso(day)))
}

/// The days that have a file, oldest first.
pub(crate) fn days(folder: &Path) -> Result<Vec<u32>, ReadError> {
    let failed = |error| ReadError::new(folder, error);
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(failed(error)),
    };
    let mut days = Vec::new();
    for entry in entries {
        let path = entry.map_err(failed)?.path();
        if path.extension().is_some_and(|ending| ending == ENDING) {
            days.extend(path.file_stem().and_then(|name| name.to_str()).and_then(parse_day));
        }
    }
    days.sort_unstable();
    Ok(days)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(bytes: &[u8]) -> (PathBuf, Vec<Next>) {
        let name = format!("einmal-frames-{}-{}", std::process::id(), Digest::of(bytes));
        let path = std::env::temp_dir().join(name);
        std::fs::write(&path, bytes).unwrap();
        let mut reader = Reader::open(&path).unwrap();
        let mut all = Vec::new();
        loop {
            let next = reader.next().unwrap();
            let ends = !matches!(next, Next::Frame(_));
            all.push(next);
            if ends {
                std::fs::remove_file(&path).unwrap();
                return (path, all);
            }
        }
    }

    fn three() -> (Vec<u8>, [usize; 3]) {
        let mut bytes = Vec::new();
        let mut last = beginning();
        let mut ends = [0; 3];
        for (end, body) in ends.iter_mut().zip([b"one".as_slice(), b"", b"three"]) {
            let (more, next) = frame(last, body).unwrap();
            bytes.extend(more);
            (last, *end) = (next, bytes.len());
        }
        (bytes, ends)
    }

    /// Cut anywhere, whole frames are read and the rest is torn; changed anywhere but in the last
    /// frame, it is a change.
    #[test]
    fn torn_is_told_from_changed_at_every_byte() {
        let (bytes, ends) = three();
        assert_eq!(file(&bytes).1.len(), 4);
        for cut in 0..bytes.len() {
            let (_, all) = file(&bytes[..cut]);
            let whole = ends.iter().filter(|end| **end <= cut).count();
            assert_eq!(all.len(), whole + 1);
            let torn = cut - if whole == 0 { 0 } else { ends[whole - 1] };
            let last = all.last().unwrap();
            match torn {
                0 => assert_eq!(*last, Next::End),
                torn => assert_eq!(*last, Next::Torn { length: torn as u64 }),
            }
        }
        for at in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[at] ^= 0x40;
            let (_, all) = file(&changed);
            let last = all.last().unwrap();
            // In the body or the checksum of the last frame nobody can tell.
            let untold = ends[1] + HEAD;
            assert_eq!(matches!(last, Next::Changed), at < untold, "byte {at}: {last:?}");
            assert!(!matches!(last, Next::End));
        }
    }

    #[test]
    fn what_grew_and_was_not_filled_is_torn() {
        let (mut bytes, _) = three();
        bytes.extend([0; 200]);
        assert_eq!(file(&bytes).1.last(), Some(&Next::Torn { length: 200 }));
        bytes.push(1);
        assert_eq!(file(&bytes).1.last(), Some(&Next::Changed));
    }
}
