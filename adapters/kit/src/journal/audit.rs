// SPDX-License-Identifier: EUPL-1.2
//! Whether what a journal holds receipts for still stands in the published ledger: every new entry
//! once, some old ones each time, and each that was missing until it is found. Where it has come to
//! is written down, so that a restart loses nothing that was to be checked.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use einmal_peer::{
    Seen,
    files::{self, FileError},
    random,
};
use einmal_protocol::{
    Digest,
    digest::{hex, unhex},
    leaf::Leaf,
    note::{Checkpoint, LedgerKey},
};
use serde::{Deserialize, Serialize};

pub use super::published::{Published, PublishedError, Source};
use super::{
    BrokenJournal, Exchange, What,
    frame::{self, Next, ReadError, Reader},
    reading::id_text,
};

const FILE: &str = "audit.json";
/// The published tree may be so far behind.
const BEHIND_MS: u64 = 60 * 60_000;
/// Frames that are read at once.
const FRAMES: usize = 256;
/// Old entries that are looked for anew each time.
const SAMPLE: usize = 16;
/// Missing ones that are remembered one by one; all are counted.
const MISSING_MAX: usize = 1000;

/// How far one ledger's receipts were checked.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Progress {
    place: Option<Place>,
    /// The last published checkpoint.
    #[serde(default)]
    note: String,
    checked: u64,
    last_ms: u64,
    missing: Vec<Missing>,
}

/// Between two frames.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Place {
    day: u32,
    at: u64,
    /// What the next frame is chained to, in hex.
    chain: String,
}

/// An entry whose receipt the published ledger does not bear out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Missing {
    /// The request.
    pub request_id: String,
    /// When it was revealed; UTC milliseconds.
    pub at_ms: u64,
    /// The position that the receipt names.
    pub index: u64,
    /// The leaf, in hex.
    pub leaf: String,
    /// What is wrong.
    pub problem: String,
    /// Since when it is known; UTC milliseconds.
    pub since_ms: u64,
}

/// What came of checking one journal against one ledger.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Audited {
    /// The ledger.
    pub ledger: String,
    /// Size of the published tree.
    pub size: u64,
    /// New entries that were looked at this time.
    pub new: u64,
    /// Old ones that were looked at again.
    pub sampled: u64,
    /// Entries that were ever found in their place.
    pub checked: u64,
    /// Some wait until the published tree has come so far.
    pub waiting: bool,
    /// All that are missing now.
    pub missing: Vec<Missing>,
    /// Anything else that is wrong.
    pub alarms: Vec<String>,
}

impl Audited {
    /// Whether all that could be checked is as it should be.
    pub fn is_good(&self) -> bool {
        self.missing.is_empty() && self.alarms.is_empty()
    }
}

/// Why a journal could not be checked.
#[derive(Debug, thiserror::Error)]
pub enum AuditError {
    /// The ledger.
    #[error(transparent)]
    Published(#[from] PublishedError),
    /// The journal.
    #[error(transparent)]
    Journal(#[from] BrokenJournal),
    /// Where it has come to.
    #[error(transparent)]
    File(#[from] FileError),
    /// The journal became shorter.
    #[error(
        "alarm: {} is shorter than it was when it was last checked: entries were taken away; tell \
         the data-protection officer, and put back what a backup has", path.display()
    )]
    Shorter {
        /// Which file.
        path: PathBuf,
    },
}

impl From<ReadError> for AuditError {
    fn from(error: ReadError) -> Self {
        Self::Journal(error.into())
    }
}

/// Whether the published ledger extends what was seen of it before. The adapter's own memory is
/// told of one that does not.
///
/// # Errors
/// Where tiles cannot be had.
pub async fn compare(
    published: &mut Published,
    seen: &Seen,
) -> Result<Option<String>, PublishedError> {
    let origin = published.checkpoint().origin().to_owned();
    let Some(last) = seen.last(&origin) else { return Ok(None) };
    if published.extends(&last).await? != Some(false) {
        return Ok(None);
    }
    // Signed by the ledger and not of the same history: the keeper is asked, and decides.
    seen.suspect(published.checkpoint());
    Ok(Some(forked(&last, published.checkpoint())))
}

fn forked(last: &Checkpoint, published: &Checkpoint) -> String {
    format!(
        "the published ledger of size {} does not extend the one of size {} that was seen before",
        published.size(),
        last.size()
    )
}

/// Checks the entries of one ledger in one journal.
///
/// # Errors
/// Where the ledger or the journal cannot be read, or the journal was changed.
pub async fn audit(
    folder: &Path,
    published: &mut Published,
    key: &LedgerKey,
    now_ms: u64,
) -> Result<Audited, AuditError> {
    let origin = published.checkpoint().origin().to_owned();
    let file = folder.join(FILE);
    let mut all = read(&file)?;
    let mut progress = all.remove(&origin).unwrap_or_default();
    let size = published.checkpoint().size();
    let mut audited = Audited { ledger: origin.clone(), size, ..Audited::default() };
    if let Ok(last) = Checkpoint::parse(&progress.note, key)
        && published.extends(&last).await? == Some(false)
    {
        audited.alarms.push(forked(&last, published.checkpoint()));
    } else {
        progress.note = published.checkpoint().note().to_owned();
    }
    let mut work = Work { published, origin: &origin, now_ms };
    for missing in std::mem::take(&mut progress.missing) {
        progress.missing.extend(work.again(missing).await?);
    }
    'all: loop {
        let frames = next(folder, progress.place.clone()).await?;
        if frames.is_empty() {
            break;
        }
        for (place, exchanges) in frames {
            for exchange in &exchanges {
                match work.check(exchange).await? {
                    Standing::There => progress.checked += 1,
                    Standing::NotYet => {
                        audited.waiting = true;
                        break 'all;
                    }
                    Standing::Missing(missing) => progress.missing.push(missing),
                    Standing::Elsewhere => continue,
                }
                audited.new += 1;
            }
            progress.place = Some(place);
        }
        progress.missing.truncate(MISSING_MAX);
        save(&file, &mut all, &origin, &progress)?;
    }
    for exchange in sample(folder, &origin, progress.place.clone()).await? {
        audited.sampled += 1;
        if let Standing::Missing(missing) = work.check(&exchange).await?
            && !progress.missing.iter().any(|known| known.request_id == missing.request_id)
        {
            progress.missing.push(missing);
        }
    }
    progress.missing.truncate(MISSING_MAX);
    progress.last_ms = now_ms;
    save(&file, &mut all, &origin, &progress)?;
    audited.checked = progress.checked;
    audited.missing = progress.missing;
    Ok(audited)
}

struct Work<'p> {
    published: &'p mut Published,
    origin: &'p str,
    now_ms: u64,
}

enum Standing {
    There,
    NotYet,
    Missing(Missing),
    /// In another ledger.
    Elsewhere,
}

impl Work<'_> {
    async fn check(&mut self, exchange: &Exchange) -> Result<Standing, PublishedError> {
        if exchange.ledger != self.origin {
            return Ok(Standing::Elsewhere);
        }
        let receipt = exchange.receipt.clone().unwrap_or_default();
        let missing = |problem: String| Missing {
            request_id: id_text(&exchange.request_id),
            at_ms: exchange.at_ms,
            index: receipt.index,
            leaf: hex(&receipt.leaf),
            problem,
            since_ms: self.now_ms,
        };
        let Ok(leaf) = Leaf::parse(&receipt.leaf) else {
            return Ok(Standing::Missing(missing("its receipt has no leaf".to_owned())));
        };
        Ok(match self.published.holds(&leaf, receipt.index).await {
            Ok(Some(true)) => Standing::There,
            Ok(Some(false)) => Standing::Missing(missing(NOT_THERE.to_owned())),
            Ok(None) if self.now_ms < exchange.at_ms.saturating_add(BEHIND_MS) => Standing::NotYet,
            Ok(None) => Standing::Missing(missing(TOO_SMALL.to_owned())),
            Err(error) if error.is_passing() => return Err(error),
            Err(error) => Standing::Missing(missing(error.to_string())),
        })
    }

    /// Whether one that was missing still is.
    async fn again(&mut self, missing: Missing) -> Result<Option<Missing>, PublishedError> {
        let leaf = unhex(&missing.leaf).and_then(|bytes: Vec<u8>| Leaf::parse(&bytes).ok());
        let Some(leaf) = leaf else { return Ok(Some(missing)) };
        match self.published.holds(&leaf, missing.index).await {
            Ok(Some(true)) => Ok(None),
            Err(error) if error.is_passing() => Err(error),
            _ => Ok(Some(missing)),
        }
    }
}

const NOT_THERE: &str = "another leaf stands in its place in the published ledger";
const TOO_SMALL: &str = "the published ledger has not come so far after an hour";

/// What stands after a place: frame by frame, with the place after each.
async fn next(
    folder: &Path,
    place: Option<Place>,
) -> Result<Vec<(Place, Vec<Exchange>)>, AuditError> {
    let folder = folder.to_owned();
    let read = tokio::task::spawn_blocking(move || read_on(&folder, place));
    read.await.map_err(|error| FileError::new(Path::new(FILE), error))?
}

fn read_on(folder: &Path, place: Option<Place>) -> Result<Vec<(Place, Vec<Exchange>)>, AuditError> {
    let from = place.as_ref().map_or(0, |place| place.day);
    let mut found = Vec::new();
    for day in frame::days(folder)?.into_iter().filter(|day| *day >= from) {
        let path = frame::path_of(folder, day);
        let mut reader = Reader::open(&path)?;
        match place.as_ref().filter(|place| place.day == day) {
            Some(place) => {
                let chain = Digest::from_hex(&place.chain).unwrap_or_else(frame::beginning);
                if !reader.go_to(place.at, chain)? {
                    return Err(AuditError::Shorter { path });
                }
            }
            None => {
                if !matches!(reader.next()?, Next::Frame(_)) {
                    continue;
                }
            }
        }
        while let Some(group) = reader.group()? {
            let (at, chain) = reader.place();
            let exchanges = group.items.into_iter().filter_map(|item| match item.what {
                Some(What::Exchange(exchange)) => Some(exchange),
                _ => None,
            });
            found.push((Place { day, at, chain: chain.to_hex() }, exchanges.collect()));
            if found.len() >= FRAMES {
                return Ok(found);
            }
        }
    }
    Ok(found)
}

/// Some entries of one day, drawn at random; and that day's chain is verified on the way.
async fn sample(
    folder: &Path,
    origin: &str,
    place: Option<Place>,
) -> Result<Vec<Exchange>, AuditError> {
    let Some(place) = place else { return Ok(Vec::new()) };
    let (folder, origin) = (folder.to_owned(), origin.to_owned());
    let read = tokio::task::spawn_blocking(move || {
        let days: Vec<u32> =
            frame::days(&folder)?.into_iter().filter(|day| *day <= place.day).collect();
        let Some(day) = draw(days.len()).and_then(|at| days.get(at).copied()) else {
            return Ok(Vec::new());
        };
        let mut reader = Reader::open(&frame::path_of(&folder, day))?;
        reader.head()?;
        let (mut drawn, mut count) = (Vec::new(), 0);
        while let Some(group) = reader.group()? {
            if day == place.day && reader.place().0 > place.at {
                break;
            }
            for item in group.items {
                let Some(What::Exchange(exchange)) = item.what else { continue };
                if exchange.ledger != origin {
                    continue;
                }
                count += 1;
                if drawn.len() < SAMPLE {
                    drawn.push(exchange);
                } else if let Some(slot) = draw(count).and_then(|at| drawn.get_mut(at)) {
                    *slot = exchange;
                }
            }
        }
        Ok(drawn)
    });
    read.await.map_err(|error| FileError::new(Path::new(FILE), error))?
}

fn draw(of: usize) -> Option<usize> {
    let number = random::bytes::<8>().map(u64::from_be_bytes).ok()?;
    usize::try_from(number.checked_rem(u64::try_from(of).ok()?)?).ok()
}

fn read(file: &Path) -> Result<BTreeMap<String, Progress>, FileError> {
    match files::read_if_there(file)? {
        Some(bytes) => serde_json::from_slice(&bytes).map_err(|error| FileError::new(file, error)),
        None => Ok(BTreeMap::new()),
    }
}

fn save(
    file: &Path,
    all: &mut BTreeMap<String, Progress>,
    origin: &str,
    progress: &Progress,
) -> Result<(), FileError> {
    all.insert(origin.to_owned(), progress.clone());
    let bytes = serde_json::to_vec_pretty(all).map_err(|error| FileError::new(file, error))?;
    files::replace(file, &bytes)
}

/// What the last audits of a journal came to, without asking anybody.
///
/// # Errors
/// Where the file cannot be read.
pub fn last(folder: &Path) -> Result<Vec<(String, u64, Vec<Missing>)>, FileError> {
    let all = read(&folder.join(FILE))?;
    Ok(all.into_iter().map(|(origin, one)| (origin, one.last_ms, one.missing)).collect())
}

#[cfg(test)]
#[path = "audit_tests.rs"]
mod tests;
