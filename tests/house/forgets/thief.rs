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
    request::Unverified,
    seal::{Aad, SealKind, SealingPrivateKey},
    wire::v1::{self, Body, Envelope, Kem, Sealed, Subject, UseReport, body},
};
use prost::Message;
use ring::{
    aead::{AES_256_GCM, Aad as Bound, LessSafeKey, Nonce, UnboundKey},
    hkdf, hmac,
};

/// Files by their path below a folder.
#[derive(Clone)]
pub(super) struct Files(pub(super) BTreeMap<String, Vec<u8>>);

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

    /// With the files of another folder, as if they lay in a folder of this name.
    pub(super) fn and(mut self, name: &str, others: Self) -> Self {
        self.0.extend(others.0.into_iter().map(|(path, bytes)| (format!("{name}/{path}"), bytes)));
        self
    }

    /// Those whose path begins with one of these, and the others.
    pub(super) fn part(self, beginnings: &[&str]) -> (Self, Self) {
        self.part_by(|path| beginnings.iter().any(|beginning| path.starts_with(beginning)))
    }

    pub(super) fn part_by(self, is: impl Fn(&str) -> bool) -> (Self, Self) {
        let (these, others) = self.0.into_iter().partition(|(path, _)| is(path));
        (Self(these), Self(others))
    }

    /// Writes those whose path begins with one of these into a folder.
    pub(super) fn write(&self, beginnings: &[&str], folder: &Path) {
        for (path, bytes) in &self.clone().part(beginnings).0.0 {
            let path = folder.join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, bytes).unwrap();
        }
    }

    /// How many of these stand anywhere in the raw files.
    pub(super) fn count(&self, what: &[Vec<u8>]) -> usize {
        const START: usize = 8;
        const PAGE: usize = 4096;
        let mut by_start = HashMap::<&[u8], Vec<&[u8]>>::new();
        // Most places are passed over by two bytes.
        let mut begins = vec![false; 1 << 16];
        for each in what.iter().filter(|each| each.len() >= START) {
            by_start.entry(&each[..START]).or_default().push(each);
            begins[usize::from(each[0]) << 8 | usize::from(each[1])] = true;
        }
        let mut found = BTreeSet::new();
        // PostgreSQL has the same file several times, and room that was never written.
        for file in self.0.values().collect::<BTreeSet<_>>() {
            for start in (0..file.len()).step_by(PAGE) {
                let page = &file[start..file.len().min(start + PAGE + 1)];
                if page == &[0; PAGE + 1][..page.len()] {
                    continue;
                }
                let mut last = 0;
                for (at, byte) in (start..).zip(page) {
                    last = (last << 8 | usize::from(*byte)) & 0xffff;
                    if !begins[last] || at == start {
                        continue;
                    }
                    let rest = &file[at - 1..];
                    let known = rest.get(..START).and_then(|first| by_start.get(first));
                    let whole = known.into_iter().flatten().filter(|each| rest.starts_with(each));
                    found.extend(whole.copied());
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

    /// How many of the seals in bodies open under any key, and how many there are.
    pub(super) fn open_all(&self, bodies: &BTreeSet<Vec<u8>>) -> (usize, usize) {
        let seals: BTreeMap<_, _> = bodies
            .iter()
            .flat_map(|body| seals_of(body))
            .map(|(kind, aad, sealed)| (sealed, (kind, aad)))
            .collect();
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

/// Everything sealed in a body, with what it is bound to.
pub(super) fn seals_of(body: &[u8]) -> Vec<(SealKind, Aad, Vec<u8>)> {
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
