// SPDX-License-Identifier: EUPL-1.2
//! The officer's folder.

use einmal_protocol::time::DAY_MS;

use super::*;

/// PKCS#8 of an Ed25519 seed.
pub(crate) fn key(seed: u8) -> OpenedKey {
    let head = [0x30, 0x2e, 2, 1, 0, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 4, 0x22, 4, 0x20];
    OpenedKey::new(Zeroizing::new([head.as_slice(), &[seed; 32]].concat())).unwrap()
}

#[test]
fn days_are_added_and_old_keys_are_destroyed() {
    let folder = std::env::temp_dir().join(format!("einmal-officer-{}", std::process::id()));
    let _ = fs::remove_dir_all(&folder);
    let officer = Officer::new(&folder, key(1)).unwrap();
    let start = 20_000 * DAY_MS;
    let first = officer.renew(3, 10, start).unwrap();
    assert_eq!(
        (first.made.as_slice(), first.last_day),
        ([20_000, 20_001, 20_002].as_slice(), 20_002)
    );
    let opened = cards::open(&officer.cards()).unwrap();
    assert!(opened.officer == *officer.public() && opened.keys.version == 1);
    let of_first = officer.day_key(20_000).unwrap().unwrap();
    assert_eq!(opened.keys.days[0].public_key, of_first.public().bytes());
    // A day before the retention ends the key is there; a day later it is not.
    let later = officer.renew(3, 10, start + 10 * DAY_MS).unwrap();
    assert!(later.destroyed.is_empty() && officer.day_key(20_000).unwrap().is_some());
    let last = officer.renew(3, 10, start + 11 * DAY_MS).unwrap();
    assert_eq!((last.destroyed.as_slice(), last.version), ([20_000].as_slice(), 3));
    assert_eq!(last.made, [20_013]);
    assert!(officer.day_key(20_000).unwrap().is_none());
    assert!(officer.day_key(20_001).unwrap().is_some());
    let path = folder.join(FOLDER).join(format!("{}.key", day_to_iso(20_013)));
    let mode = std::os::unix::fs::PermissionsExt::mode(&fs::metadata(path).unwrap().permissions());
    assert_eq!(mode & 0o777, 0o600);
    // Nobody else's key opens them, and no other officer signs in this folder.
    let stranger = Officer::new(&folder, key(2)).unwrap();
    assert!(stranger.day_key(20_001).is_err() && stranger.renew(3, 10, start).is_err());
    fs::remove_dir_all(&folder).unwrap();
}
