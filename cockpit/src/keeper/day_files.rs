// SPDX-License-Identifier: EUPL-1.2
//! The files of the day keys, as files: which days have one, and how they are destroyed
//! (FORGETS-ON-TIME).

use std::{
    collections::BTreeSet,
    fs,
    io::{Seek, Write},
    path::{Path, PathBuf},
};

pub use einmal_protocol::time::parse_day;

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
