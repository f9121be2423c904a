// SPDX-License-Identifier: EUPL-1.2
//! The files of the day keys, as files: which days have one, and how they are destroyed
//! (FORGETS-ON-TIME).

use std::{
    collections::BTreeSet,
    fs,
    io::{Seek, Write},
    path::{Path, PathBuf},
};

use einmal_protocol::time::day_to_iso;

use super::days::{DayKeyError, DayKeyFiles, FOLDER};

/// The days that have a key in one of the folders.
pub(crate) fn days(files: &DayKeyFiles) -> Result<BTreeSet<u32>, DayKeyError> {
    Ok(found(files)?
        .into_iter()
        .filter(|(_, path)| path.extension().is_some_and(|ending| ending == "key"))
        .map(|(day, _)| day)
        .collect())
}

/// Destroys the keys of all days before this one, in both folders, with what a crash may have left
/// beside them: overwritten, synced, unlinked, and the folder synced. A disk that keeps old blocks
/// (flash, snapshots, copy on write) still only keeps them under the site's key. Answers the days.
pub(crate) fn destroy_before(
    files: &DayKeyFiles,
    before: u32,
) -> Result<BTreeSet<u32>, DayKeyError> {
    let mut destroyed = BTreeSet::new();
    for (day, path) in found(files)? {
        if day < before {
            destroy(&path).map_err(|source| DayKeyError::file(&path, source))?;
            destroyed.insert(day);
        }
    }
    for folder in files.folders.iter().filter(|_| !destroyed.is_empty()) {
        let folder = folder.join(FOLDER);
        fs::File::open(&folder)
            .and_then(|folder| folder.sync_all())
            .map_err(|source| DayKeyError::file(&folder, source))?;
    }
    Ok(destroyed)
}

fn destroy(path: &Path) -> std::io::Result<()> {
    let mut file = fs::OpenOptions::new().write(true).open(path)?;
    let length = usize::try_from(file.seek(std::io::SeekFrom::End(0))?).unwrap_or(usize::MAX);
    file.rewind()?;
    // A key file has some eighty bytes; anything longer is none, and is unlinked all the same.
    file.write_all(&vec![0; length.min(64 * 1024)])?;
    file.sync_all()?;
    fs::remove_file(path)
}

/// Every file that is named after a day.
fn found(files: &DayKeyFiles) -> Result<Vec<(u32, PathBuf)>, DayKeyError> {
    let mut all = Vec::new();
    for folder in &files.folders {
        let folder = folder.join(FOLDER);
        let entries = match fs::read_dir(&folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
            Err(source) => return Err(DayKeyError::file(&folder, source)),
        };
        for entry in entries {
            let path = entry.map_err(|source| DayKeyError::file(&folder, source))?.path();
            let name = path.file_stem().and_then(|name| name.to_str());
            if let Some(day) = name.and_then(parse_day) {
                all.push((day, path));
            }
        }
    }
    Ok(all)
}

/// Reads a day written as YYYY-MM-DD, from 1970 on.
pub fn parse_day(text: &str) -> Option<u32> {
    let mut parts = text.split('-').map(|part| part.parse::<u64>().ok());
    let (year, month, day) = (parts.next()??, parts.next()??, parts.next()??);
    if !(1970..10_000).contains(&year) || !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    // Years begin in March, so that the leap day is the last.
    let year = if month <= 2 { year - 1 } else { year };
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let days = year * 365 + year / 4 - year / 100 + year / 400 + of_year;
    let day = u32::try_from(days.checked_sub(719_468)?).ok()?;
    (day_to_iso(day) == text).then_some(day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_are_read_as_they_are_written() {
        for day in (0..60_000).chain([2_932_896]) {
            assert_eq!(parse_day(&day_to_iso(day)), Some(day));
        }
        for wrong in ["", "2026-02-29", "2026-2-3", "2026-13-01", "26-01-01", "2026-01-01-1", "a"] {
            assert_eq!(parse_day(wrong), None, "{wrong}");
        }
    }
}
