// SPDX-License-Identifier: EUPL-1.2
//! Whoever has stolen all files and all keys, and tries everything.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    path::Path,
};

use base64::{Engine, prelude::BASE64_STANDARD};
use einmal_cockpit::keeper::parse_day;
use einmal_protocol::{
    Digest,
    digest::unhex,
    leaf::{LEAF_LENGTH, Leaf},
    request::Unverified,
    seal::{Aad, SealKind, SealingPrivateKey},
    time::day_to_iso,
    wire::v1::{self, Body, Envelope, Kem, Sealed, Subject, UseReport, body},
};
use prost::Message;
use ring::{
    aead::{AES_256_GCM, Aad as Bound, LessSafeKey, Nonce, UnboundKey},
    hkdf, hmac,
};
use sqlx::{Row, SqlitePool};

/// Files by their path below a folder.
#[derive(Clone)]
pub(super) struct Files(BTreeMap<String, Vec<u8>>);

impl Files {
    pub(super) fn below(folder: &Path) -> Self {
        fn walk(folder: &Path, root: &Path, found: &mut BTreeMap<String, Vec<u8>>) {
            for entry in std::fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    walk(&path, root, found);
                } else if let Ok(bytes) = std::fs::read(&path) {
                    let name = path.strip_prefix(root).unwrap().to_string_lossy().into_owned();
                    found.insert(name, bytes);
                }
            }
        }
        let mut found = BTreeMap::new();
        walk(folder, folder, &mut found);
        Self(found)
    }

    /// Those whose path begins with one of these, and the others.
    pub(super) fn part(self, beginnings: &[&str]) -> (Self, Self) {
        self.part_by(|path| beginnings.iter().any(|beginning| path.starts_with(beginning)))
    }

    pub(super) fn part_by(self, is: impl Fn(&str) -> bool) -> (Self, Self) {
        let (these, others) = self.0.into_iter().partition(|(path, _)| is(path));
        (Self(these), Self(others))
    }

    /// How many of these stand anywhere in the raw files.
    pub(super) fn count(&self, what: &[Vec<u8>]) -> usize {
        const START: usize = 8;
        let mut by_start = HashMap::<&[u8], Vec<&[u8]>>::new();
        // Most places are passed over by their first two bytes.
        let mut begins = vec![false; 1 << 16];
        let two = |bytes: &[u8]| usize::from(u16::from_be_bytes([bytes[0], bytes[1]]));
        for each in what.iter().filter(|each| each.len() >= START) {
            by_start.entry(&each[..START]).or_default().push(each);
            begins[two(each)] = true;
        }
        let mut found = BTreeSet::new();
        for file in self.0.values() {
            for at in 0..file.len().saturating_sub(START - 1) {
                if !begins[two(&file[at..])] {
                    continue;
                }
                for each in by_start.get(&file[at..at + START]).into_iter().flatten() {
                    if file[at..].starts_with(each) {
                        found.insert(*each);
                    }
                }
            }
        }
        found.len()
    }
}

/// The keeper's day keys, out of their files and the site's key.
pub(super) fn keys_of_days(files: &Files) -> BTreeMap<u32, Vec<u8>> {
    let site = UnboundKey::new(&AES_256_GCM, &files.0["cockpit/site.key"]).unwrap();
    let site = LessSafeKey::new(site);
    let mut keys = BTreeMap::new();
    for (path, bytes) in &files.0 {
        let name = path.rsplit('/').next().unwrap();
        let Some(day) = name.strip_suffix(".key").and_then(parse_day) else { continue };
        let bound = [b"einmal day key v1".as_slice(), &day.to_be_bytes()].concat();
        let (nonce, sealed) = bytes.split_first_chunk::<12>().unwrap();
        let mut plain = sealed.to_vec();
        let nonce = Nonce::assume_unique_for_key(*nonce);
        let plain = site.open_in_place(nonce, Bound::from(&bound), &mut plain).unwrap();
        keys.insert(day, plain.to_vec());
    }
    keys
}

/// The tags of persons under keys of days, computed anew from the design and not with the
/// keeper's code.
pub(super) fn tags_of<'k>(
    keys: impl Iterator<Item = &'k Vec<u8>>,
    persons: &[Subject],
) -> Vec<Vec<u8>> {
    let mut tags = Vec::new();
    for key in keys {
        let secret = hkdf::Salt::new(hkdf::HKDF_SHA256, b"einmal cockpit day key v1").extract(key);
        let mut bytes = [0; 32];
        secret.expand(&[b"index"], hkdf::HKDF_SHA256).unwrap().fill(&mut bytes).unwrap();
        let key = hmac::Key::new(hmac::HMAC_SHA256, &bytes);
        for person in persons {
            let number = format!("idnr\0{}", person.idnr);
            let parts =
                [&person.birth_name, &person.given_names, &person.birth_date, &person.birth_place];
            let parts = parts.map(|part| part.to_lowercase().replace('ß', "ss"));
            let birth = format!("birth\0{}", parts.join("\0"));
            for form in [number, birth] {
                tags.push(hmac::sign(&key, form.as_bytes()).as_ref().to_vec());
            }
        }
    }
    tags
}

/// All keys that can be found.
pub(super) struct Thief(Vec<SealingPrivateKey>);

impl Thief {
    /// Day keys, the sealing keys of adapters, and whatever else is secret: keys of identities,
    /// certificates and the site, tried as if they were keys of seals.
    pub(super) fn with(
        day_keys: impl Iterator<Item = Vec<u8>>,
        one: &Files,
        other: &Files,
    ) -> Self {
        let mut secrets: BTreeSet<Vec<u8>> = day_keys.collect();
        for (path, bytes) in one.0.iter().chain(&other.0) {
            if path.ends_with(".sealing.json") {
                let stored: serde_json::Value = serde_json::from_slice(bytes).unwrap();
                for key in stored["keys"].as_array().unwrap() {
                    secrets.insert(unhex(key["secret"].as_str().unwrap()).unwrap());
                }
            } else if path.ends_with(".key") && bytes.len() == 32 {
                secrets.insert(bytes.clone());
            } else if let Ok(pem) = std::str::from_utf8(bytes)
                && pem.contains("PRIVATE KEY")
            {
                let lines = pem.lines().filter(|line| !line.starts_with("-----"));
                let der = BASE64_STANDARD.decode(lines.collect::<String>()).unwrap();
                // Ed25519's seed follows two headers; P-256's scalar stands somewhere.
                secrets
                    .extend(der.windows(34).filter(|w| w[..2] == [4, 32]).map(|w| w[2..].to_vec()));
            }
        }
        let key = |kem| move |secret: &Vec<u8>| SealingPrivateKey::new(kem, secret).ok();
        let mut keys: Vec<_> = secrets.iter().filter_map(key(Kem::XWing)).collect();
        keys.extend(secrets.iter().filter_map(key(Kem::X25519)));
        Self(keys)
    }

    pub(super) fn keys(&self) -> usize {
        self.0.len()
    }

    /// How many of the seals in all bodies open under any key, and how many there are. Bodies are
    /// read from the keeper's index and from the broker's databases, as they stand in the files.
    pub(super) async fn open_all(&self, files: &Files, folder: &Path) -> (usize, usize) {
        let mut seals = BTreeMap::new();
        for body in bodies(files, folder).await {
            for (kind, aad, sealed) in seals_of(&body) {
                seals.insert(sealed.clone(), (kind, aad));
            }
        }
        let opened = seals.iter().filter(|(sealed, (kind, aad))| self.opens(*kind, aad, sealed));
        (opened.count(), seals.len())
    }

    fn opens(&self, kind: SealKind, aad: &Aad, sealed: &[u8]) -> bool {
        let message = Sealed::decode(sealed).unwrap();
        self.0.iter().filter(|key| key.kem() == message.kem()).any(|key| {
            // Whomever it says it is for.
            let message = Sealed { key_id: key.public().id(), ..message.clone() };
            key.open(kind, aad, &message.encode_to_vec()).is_ok()
        })
    }
}

/// Every body in every database.
async fn bodies(files: &Files, folder: &Path) -> BTreeSet<Vec<u8>> {
    let copies = folder.join("stolen");
    let _ = std::fs::remove_dir_all(&copies);
    let mut bodies = BTreeSet::new();
    for (path, bytes) in &files.0 {
        let copy = copies.join(path);
        std::fs::create_dir_all(copy.parent().unwrap()).unwrap();
        std::fs::write(copy, bytes).unwrap();
    }
    let open = async |path: &str| {
        let database = copies.join(path);
        SqlitePool::connect(&format!("sqlite://{}", database.display())).await.unwrap()
    };
    let index = open("cockpit/state/index.sqlite").await;
    let rows = sqlx::query("SELECT body FROM bodies WHERE body IS NOT NULL");
    let rows = rows.fetch_all(&index).await.unwrap();
    bodies.extend(rows.iter().map(|row| row.get::<Vec<u8>, _>(0)));
    index.close().await;
    let ledger = open("broker/ledger.sqlite").await;
    for row in sqlx::query("SELECT bytes FROM leaf").fetch_all(&ledger).await.unwrap() {
        // A leaf, then where its body begins in the file of its day, and how long it is.
        let bytes: Vec<u8> = row.get(0);
        let leaf = Leaf::parse(&bytes[..LEAF_LENGTH]).unwrap();
        let at = usize::try_from(u64::from_be_bytes(bytes[38..46].try_into().unwrap())).unwrap();
        let length = u32::from_be_bytes(bytes[46..50].try_into().unwrap()) as usize;
        let segment = format!("broker/ledger.sqlite-bodies/{}.bodies", day_to_iso(leaf.day));
        if let Some(body) = files.0.get(&segment).and_then(|file| file.get(at..at + length)) {
            assert_eq!(Digest::of(body), leaf.body, "{segment}");
            bodies.insert(body.to_vec());
        }
    }
    ledger.close().await;
    let _ = std::fs::remove_dir_all(copies);
    bodies
}

/// Everything sealed in a body, with what it is bound to.
fn seals_of(body: &[u8]) -> Vec<(SealKind, Aad, Vec<u8>)> {
    match Body::decode(body).unwrap().kind.unwrap() {
        body::Kind::Exchange(exchange) => {
            let request = Unverified::parse(&exchange.signed_request).unwrap().request;
            let envelope = Envelope::decode(exchange.commitment.as_slice()).unwrap();
            let commitment = v1::Commitment::decode(envelope.payload.as_slice()).unwrap();
            let slots = commitment.slots.into_iter().zip(0..).map(|(slot, number)| {
                (
                    SealKind::AccessRecord,
                    Aad::of_request(request.digest, number),
                    slot.sealed_record,
                )
            });
            let asked = (SealKind::AskedRecord, request.aad(), request.asked_record.clone());
            slots.chain([asked]).collect()
        }
        body::Kind::Refusal(refusal) => {
            let request = Unverified::parse(&refusal.signed_request).unwrap().request;
            vec![(SealKind::AskedRecord, request.aad(), request.asked_record.clone())]
        }
        body::Kind::Use(report) => {
            let envelope = Envelope::decode(report.report.as_slice()).unwrap();
            let report = UseReport::decode(envelope.payload.as_slice()).unwrap();
            let request = Digest::try_from(report.request_digest.as_slice()).unwrap();
            vec![(SealKind::UseRecord, Aad::of_request(request, 0), report.sealed_use)]
        }
        body::Kind::Notice(_) => Vec::new(),
    }
}
