// SPDX-License-Identifier: EUPL-1.2
//! Keys change in time, old ones are gone, and replicas make the same ones.

use einmal_protocol::entropy::Entropy;

use super::*;

const START: u64 = 1_000 * DAY_MS;

struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path =
            std::env::temp_dir().join(format!("einmal-sealing-{name}-{}", std::process::id()));
        let _absent = std::fs::remove_dir_all(&path);
        Self(path)
    }

    fn open(&self, is_replicated: bool, now_ms: u64) -> (SealingKeys, Envelope) {
        SealingKeys::open(&self.0, "r", &identity(), (is_replicated, now_ms)).unwrap()
    }

    fn copy_to(&self, other: &Self) {
        std::fs::create_dir_all(&other.0).unwrap();
        std::fs::copy(self.0.join("r.sealing.json"), other.0.join("r.sealing.json")).unwrap();
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _absent = std::fs::remove_dir_all(&self.0);
    }
}

fn identity() -> SigningKey {
    SigningKey::from_seed(&[1; 32]).unwrap()
}

fn card(envelope: &Envelope) -> KeyCard {
    KeyCard::decode(envelope.payload.as_slice()).unwrap()
}

fn aad() -> Aad {
    Aad::of_request(Digest::of(b"x"), 0)
}

/// Something sealed to the newest key of a card.
fn seal(card: &KeyCard) -> Vec<u8> {
    let key = &card.keys.last().unwrap().public_key;
    let key = einmal_protocol::seal::SealingPublicKey::new(Kem::XWing, key).unwrap();
    key.seal(SealKind::Person, &aad(), b"somebody", Entropy::new([1; 32])).unwrap()
}

fn opens(keys: &SealingKeys, sealed: &[u8]) -> bool {
    keys.open_sealed(SealKind::Person, &aad(), sealed).is_some()
}

#[test]
fn keys_change_in_time_and_old_ones_are_destroyed() {
    let folder = Folder::new("time");
    let (mut keys, first) = folder.open(false, START);
    let first = card(&first);
    let sealed = seal(&first);
    assert!(first.keys[0].not_before_ms < START);
    assert!(!keys.is_due(START + CHANGE_MS - 1) && keys.is_due(START + CHANGE_MS));
    let second = card(&keys.renew(&identity(), START + CHANGE_MS).unwrap());
    assert_eq!((first.version, second.version, second.keys.len()), (1, 2, 2));
    assert_eq!(second.previous_digest, Digest::of(&first.encode_to_vec()).to_vec());
    // The new one counts when everybody knows it, while the one before is still good.
    let begins = second.keys[1].not_before_ms;
    assert!(begins >= START + CHANGE_MS + LATE_MS && begins < second.keys[0].not_after_ms);
    assert!(opens(&keys, &sealed));
    // A restart finds both and the same card; an hour after its end the first is gone, from the
    // file too, and the card is still the one of its version.
    let (keys, again) = folder.open(false, START + CHANGE_MS);
    assert_eq!(card(&again), second);
    assert!(opens(&keys, &sealed));
    let over = START + LIFE_MS + DESTROY_MS;
    let (keys, third) = folder.open(false, over);
    assert!(!opens(&keys, &sealed));
    assert_eq!(card(&third).version, 3);
    assert_eq!(card(&folder.open(false, over).1), card(&third));
    let text = std::fs::read_to_string(folder.0.join("r.sealing.json")).unwrap();
    assert_eq!(text.matches("secret").count(), 2);
}

#[test]
fn replicas_that_share_nothing_make_the_same_cards_byte_for_byte() {
    let (one, two) = (Folder::new("one"), Folder::new("two"));
    let (_, first) = one.open(true, START);
    one.copy_to(&two);
    assert_eq!(two.open(true, START + 12_345).1.payload, first.payload);
    // One is looked at every minute, the other was off for months.
    let (mut keys, _) = one.open(true, START);
    let later = START + 7 * CHANGE_MS + 99;
    for step in 1..=7 {
        keys.renew(&identity(), START + step * CHANGE_MS + 60_000 * step).unwrap();
    }
    let (other_keys, other) = two.open(true, later);
    let here = keys.renew(&identity(), later).unwrap();
    assert_eq!(here.payload, other.payload);
    assert_eq!(card(&here).version, 8);
    let sealed = seal(&card(&here));
    assert!(opens(&keys, &sealed) && opens(&other_keys, &sealed));
}

/// A thief of the file opens nothing that was sealed to keys destroyed before, and without
/// replicas nothing that is sealed to keys made after.
#[test]
fn a_thief_of_the_file_opens_what_its_keys_are_for_and_no_more() {
    for is_replicated in [true, false] {
        let (folder, thief) = (Folder::new("owner"), Folder::new("thief"));
        let before = seal(&card(&folder.open(is_replicated, START).1));
        let theft = START + LIFE_MS + DESTROY_MS;
        let now = seal(&card(&folder.open(is_replicated, theft).1));
        folder.copy_to(&thief);
        let after = seal(&card(&folder.open(is_replicated, theft + 3 * CHANGE_MS).1));
        let (stolen, _) = thief.open(is_replicated, theft);
        assert!(!opens(&stolen, &before), "forward secrecy");
        assert!(opens(&stolen, &now));
        let (stolen, _) = thief.open(is_replicated, theft + 3 * CHANGE_MS);
        assert_eq!(opens(&stolen, &after), is_replicated);
    }
}

/// Files of before the chain go on: their keys, versions and digests count.
#[test]
fn a_file_without_a_chain_is_carried_on() {
    let folder = Folder::new("old");
    let secret = "07".repeat(32);
    std::fs::create_dir_all(&folder.0).unwrap();
    let text = format!(
        r#"{{"version":4,"previous":"{}","keys":[{{"secret":"{secret}","not_before_ms":0,"not_after_ms":{}}}]}}"#,
        "ab".repeat(32),
        START + DAY_MS
    );
    std::fs::write(folder.0.join("r.sealing.json"), text).unwrap();
    let card = card(&folder.open(false, START).1);
    assert_eq!((card.version, card.keys.len()), (5, 2));
    assert_eq!(card.previous_digest, vec![0xab; 32]);
}
