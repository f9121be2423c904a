// SPDX-License-Identifier: EUPL-1.2
//! What Redis gets to see: names that are keyed hashes, and values that are sealed to their name.
//! So it holds no id in the clear, and whatever it makes up or mixes up does not open.

use einmal_peer::random;
use einmal_protocol::digest::hex;
use ring::{
    aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey},
    hkdf, hmac,
};

/// A secret is at least so long.
const SECRET_MIN: usize = 32;

/// The names and seals of one ledger.
pub(super) struct Names {
    prefix: String,
    names: hmac::Key,
    values: hkdf::Prk,
}

/// What a name is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// A request, by authority and id.
    Request,
    /// A quota. All lie in one slot of a cluster, so that one script can look at two of them.
    Rate,
    /// What a broker looks at to see whether Redis works.
    Probe,
    /// Where news are announced.
    News,
}

impl Kind {
    fn as_str(self) -> &'static str {
        match self {
            Self::Request => "request",
            Self::Rate => "{rate}",
            Self::Probe => "probe",
            Self::News => "news",
        }
    }
}

impl Names {
    /// Derives the keys. The origin keeps ledgers apart that share a Redis and a secret.
    pub(super) fn new(origin: &str, secret: &str) -> Result<Self, String> {
        if secret.len() < SECRET_MIN {
            return Err(format!(
                "the shared secret has fewer than {SECRET_MIN} characters; make one with \
                 `openssl rand -hex 32`"
            ));
        }
        if origin.contains(['{', '}', '*', '?', '[', ']', '\\', ' ']) {
            return Err("the ledger's origin has a character that a Redis key may not".to_owned());
        }
        let salt = hkdf::Salt::new(hkdf::HKDF_SHA256, origin.as_bytes());
        let values = salt.extract(secret.as_bytes());
        let names = values.expand(&[b"einmal names"], hmac::HMAC_SHA256);
        let names = names.map_err(|_| "the shared secret gives no key".to_owned())?;
        Ok(Self { prefix: format!("einmal:{origin}"), names: names.into(), values })
    }

    /// The name of something. Its parts are told apart by their lengths.
    pub(super) fn name(&self, kind: Kind, parts: &[&[u8]]) -> String {
        let mut context = hmac::Context::with_key(&self.names);
        context.update(kind.as_str().as_bytes());
        for part in parts {
            context.update(&(part.len() as u64).to_be_bytes());
            context.update(part);
        }
        format!("{}:{}:{}", self.prefix, kind.as_str(), hex(context.sign().as_ref()))
    }

    /// Seals a value to its name; nothing where the system gives no randomness.
    pub(super) fn seal(&self, name: &str, value: &[u8]) -> Option<Vec<u8>> {
        let nonce: [u8; NONCE_LEN] = random::bytes().ok()?;
        let mut sealed = Vec::with_capacity(value.len() + NONCE_LEN + AES_256_GCM.tag_len());
        sealed.extend_from_slice(value);
        let aad = Aad::from(name.as_bytes());
        let nonce_of = Nonce::assume_unique_for_key(nonce);
        self.key(name)?.seal_in_place_append_tag(nonce_of, aad, &mut sealed).ok()?;
        sealed.extend_from_slice(&nonce);
        Some(sealed)
    }

    /// Opens what was sealed to this name; nothing where it was not.
    pub(super) fn open(&self, name: &str, mut sealed: Vec<u8>) -> Option<Vec<u8>> {
        let length = sealed.len().checked_sub(NONCE_LEN)?;
        let nonce = Nonce::try_assume_unique_for_key(sealed.get(length..)?).ok()?;
        sealed.truncate(length);
        let aad = Aad::from(name.as_bytes());
        let opened = self.key(name)?.open_in_place(nonce, aad, &mut sealed).ok()?.len();
        sealed.truncate(opened);
        Some(sealed)
    }

    /// A key of its own for each name, so that random nonces never meet.
    fn key(&self, name: &str) -> Option<LessSafeKey> {
        let info = [b"einmal value".as_slice(), name.as_bytes()];
        let key = self.values.expand(&info, &AES_256_GCM).ok()?;
        Some(LessSafeKey::new(UnboundKey::from(key)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = "0123456789abcdef0123456789abcdef";

    #[test]
    fn names_hide_what_they_name_and_never_meet() {
        let names = Names::new("einmal.example/l", SECRET).unwrap();
        let name = names.name(Kind::Request, &[b"office", b"id"]);
        assert!(name.starts_with("einmal:einmal.example/l:request:") && !name.contains("office"));
        assert_eq!(name, names.name(Kind::Request, &[b"office", b"id"]));
        let others = [
            names.name(Kind::Request, &[b"offic", b"eid"]),
            names.name(Kind::Request, &[b"officeid"]),
            names.name(Kind::Probe, &[b"office", b"id"]),
            Names::new("einmal.example/m", SECRET)
                .unwrap()
                .name(Kind::Request, &[b"office", b"id"]),
            Names::new("einmal.example/l", &SECRET.replace('0', "1"))
                .unwrap()
                .name(Kind::Request, &[b"office", b"id"]),
        ];
        assert!(others.iter().all(|other| *other != name));
    }

    #[test]
    fn only_what_was_sealed_to_a_name_opens_under_it() {
        let names = Names::new("einmal.example/l", SECRET).unwrap();
        let sealed = names.seal("one", b"value").unwrap();
        assert!(!sealed.windows(5).any(|part| part == b"value"));
        assert_ne!(sealed, names.seal("one", b"value").unwrap());
        assert_eq!(names.open("one", sealed.clone()).unwrap(), b"value");
        assert_eq!(names.open("two", sealed.clone()), None);
        let mut broken = sealed.clone();
        broken[0] ^= 1;
        for lie in [broken, sealed[..10].to_vec(), sealed[1..].to_vec(), Vec::new()] {
            assert_eq!(names.open("one", lie), None);
        }
        let other = Names::new("einmal.example/m", SECRET).unwrap();
        assert_eq!(other.open("one", sealed), None);
    }

    #[test]
    fn short_secrets_and_origins_that_redis_would_read_otherwise_are_refused() {
        assert!(Names::new("einmal.example/l", &SECRET[1..]).is_err());
        assert!(Names::new("einmal.example/{l}", SECRET).is_err());
    }
}
