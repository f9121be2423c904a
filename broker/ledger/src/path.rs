// SPDX-License-Identifier: EUPL-1.2
//! The paths of C2SP tlog-tiles, one spelling for each tile.

use std::fmt;

use einmal_protocol::note::decimal;

use crate::tile::{HEIGHT, TileId, WIDTH, hashes_at};

/// What a path below `tile/` asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TilePath {
    /// The level; nothing for a bundle of entries.
    pub level: Option<u8>,
    /// Position among the tiles of its level.
    pub index: u64,
    /// How many hashes or entries: 256, or fewer at the right edge.
    pub width: usize,
}

impl TilePath {
    /// Reads `<L>/<N>[.p/<W>]` or `entries/<N>[.p/<W>]`; nothing where it is spelled otherwise.
    pub fn parse(path: &str) -> Option<Self> {
        let (level, rest) = path.split_once('/')?;
        let level = match level {
            "entries" => None,
            level => Some(decimal(level).filter(|level| *level < 64)?),
        };
        let level = level.map(u8::try_from).transpose().ok()?;
        let (number, width) = match rest.split_once(".p/") {
            Some((number, width)) => {
                (number, decimal(width).filter(|width| (1..WIDTH as u64).contains(width))?)
            }
            None => (rest, WIDTH as u64),
        };
        Some(Self { level, index: index(number)?, width: usize::try_from(width).ok()? })
    }

    /// The tile that has it.
    pub(crate) fn tile(self) -> TileId {
        TileId { level: self.level.unwrap_or(0), index: self.index }
    }

    /// Whether a tree of this size covers all of it.
    pub(crate) fn is_covered(self, size: u64) -> bool {
        let end = (self.index << HEIGHT).saturating_add(self.width as u64);
        self.index < 1 << (64 - HEIGHT) && end <= hashes_at(self.tile().level, size)
    }
}

impl fmt::Display for TilePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.level {
            Some(level) => write!(f, "{level}/")?,
            None => f.write_str("entries/")?,
        }
        let (mut rest, mut groups) = (self.index / 1000, Vec::new());
        while rest > 0 {
            groups.push(rest % 1000);
            rest /= 1000;
        }
        for group in groups.iter().rev() {
            write!(f, "x{group:03}/")?;
        }
        write!(f, "{:03}", self.index % 1000)?;
        if self.width < WIDTH { write!(f, ".p/{}", self.width) } else { Ok(()) }
    }
}

/// Groups of three digits, all but the last with an `x` before them; the first is not `x000`.
fn index(text: &str) -> Option<u64> {
    let mut groups = text.split('/').rev();
    let last = groups.next()?;
    let mut digits = vec![group(last)?];
    for other in groups {
        digits.push(group(other.strip_prefix('x')?)?);
    }
    if digits.len() > 1 && digits.last() == Some(&0) {
        return None;
    }
    digits
        .into_iter()
        .rev()
        .try_fold(0u64, |number, group| number.checked_mul(1000)?.checked_add(group))
}

fn group(text: &str) -> Option<u64> {
    let plain = text.len() == 3 && text.bytes().all(|byte| byte.is_ascii_digit());
    plain.then(|| text.parse().ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_tile_has_one_spelling() {
        let wanted = |level, index, width| Some(TilePath { level, index, width });
        assert_eq!(TilePath::parse("0/000"), wanted(Some(0), 0, 256));
        assert_eq!(TilePath::parse("63/x001/x234/067"), wanted(Some(63), 1_234_067, 256));
        assert_eq!(TilePath::parse("1/x001/000.p/255"), wanted(Some(1), 1000, 255));
        assert_eq!(TilePath::parse("entries/999.p/1"), wanted(None, 999, 1));
        for text in ["0/000", "63/x001/x234/067", "1/x001/000.p/255", "entries/999.p/1"] {
            assert_eq!(TilePath::parse(text).unwrap().to_string(), text);
        }
        for bad in [
            "",
            "0",
            "0/",
            "64/000",
            "00/000",
            "+1/000",
            "0/0",
            "0/0000",
            "0/x001",
            "0/001/000",
            "0/x000/001",
            "0/x001/x000",
            "0/000.p/0",
            "0/000.p/256",
            "0/000.p/01",
            "0/000.p/",
            "0/000.p",
            "0/000/",
            "/000",
            "-1/000",
            "0/00a",
            "0/x1/000",
            "entry/000",
            "0/+01",
            "0/x999/x999/x999/x999/x999/x999/x999/999",
        ] {
            assert_eq!(TilePath::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn only_what_the_tree_has_is_covered() {
        // The specification's example: 70,000 leaves.
        let covered = |path| TilePath::parse(path).unwrap().is_covered(70_000);
        for path in ["0/272", "0/273.p/112", "0/273.p/1", "1/000", "1/001.p/17", "2/000.p/1"] {
            assert!(covered(path), "{path}");
        }
        for path in [
            "0/273",
            "0/273.p/113",
            "1/001",
            "1/001.p/18",
            "2/000",
            "2/000.p/2",
            "3/000.p/1",
            "9/000.p/1",
            "63/000",
            "0/x999/x999/x999/x999/x999/999",
        ] {
            assert!(!covered(path), "{path}");
        }
    }
}
