// SPDX-License-Identifier: EUPL-1.2
//! Sessions. What a session knows, the person and the proof of the login, is sealed under a key that only the cookie
//! carries: the server's memory alone names nobody.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
};

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use einmal_protocol::{
    Digest,
    wire::{cockpit::v1, v1::Subject},
};
use prost::Message;
use ring::{
    aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey},
    hkdf, hmac,
    rand::{SecureRandom, SystemRandom},
};
use zeroize::Zeroizing;

use crate::login::{Attempt, Login, LoginProof, LoginSecret};

/// A session ends after this much idleness.
pub const IDLE_MS: u64 = 15 * 60_000;
/// And after this long in any case.
pub const LIFE_MS: u64 = 60 * 60_000;
/// At most this many at once.
pub const SESSIONS_MAX: usize = 50_000;
/// And at most so many bytes of what they know: an id token can be long.
const SESSION_BYTES_MAX: usize = 64 * 1024 * 1024;
/// At most this many of one person; the oldest ends.
pub const PER_PERSON: usize = 4;

/// What the cookie carries: 32 random bytes. Wiped on drop.
#[derive(Clone)]
pub(crate) struct Cookie(Zeroizing<[u8; 32]>);

impl Cookie {
    /// A fresh one.
    pub(crate) fn new() -> Option<Self> {
        let mut bytes = Zeroizing::new([0; 32]);
        SystemRandom::new().fill(bytes.as_mut()).ok()?;
        Some(Self(bytes))
    }

    /// Reads a cookie's value.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let bytes = Zeroizing::new(BASE64_URL_SAFE_NO_PAD.decode(text).ok()?);
        Some(Self(Zeroizing::new(bytes.as_slice().try_into().ok()?)))
    }

    /// The cookie's value.
    pub(crate) fn value(&self) -> String {
        BASE64_URL_SAFE_NO_PAD.encode(self.0.as_slice())
    }

    /// The token that forms of this session carry: another site cannot know it.
    pub(crate) fn form_token(&self) -> Option<String> {
        Some(BASE64_URL_SAFE_NO_PAD.encode(self.derive(b"form")?.as_slice()))
    }

    /// Whether a form carried the token.
    pub(crate) fn fits(&self, token: &str) -> bool {
        self.form_token().is_some_and(|ours| same(&ours, token))
    }

    /// What an attempt to log in is known by: all of it lies in the browser, so a flood of attempts
    /// costs no memory.
    pub(crate) fn attempt(&self) -> Option<Attempt> {
        let text = |label: &[u8]| {
            self.derive(label).map(|bytes| BASE64_URL_SAFE_NO_PAD.encode(bytes.as_slice()))
        };
        let secret = LoginSecret::new(self.derive(b"oidc secret")?);
        Some(Attempt { state: text(b"oidc state")?, secret, verifier: text(b"oidc verifier")? })
    }

    fn derive(&self, label: &[u8]) -> Option<Zeroizing<[u8; 32]>> {
        let mut bytes = Zeroizing::new([0; 32]);
        hkdf::Salt::new(hkdf::HKDF_SHA256, b"einmal session v1")
            .extract(self.0.as_slice())
            .expand(&[label], hkdf::HKDF_SHA256)
            .and_then(|okm| okm.fill(bytes.as_mut()))
            .ok()?;
        Some(bytes)
    }

    fn id(&self) -> Option<[u8; 32]> {
        self.derive(b"id").map(|id| *id)
    }

    fn key(&self) -> Option<LessSafeKey> {
        let key = self.derive(b"seal")?;
        UnboundKey::new(&AES_256_GCM, key.as_slice()).ok().map(LessSafeKey::new)
    }
}

/// Whether two secrets are one. Digests are compared, so that the time it takes says nothing.
pub(crate) fn same(ours: &str, theirs: &str) -> bool {
    Digest::of(ours.as_bytes()) == Digest::of(theirs.as_bytes())
}

struct Kept {
    /// Sealed under the cookie's own key, once: so a fixed nonce is never used twice.
    sealed: Vec<u8>,
    /// 16 bits of a keyed hash of the person: enough to end the oldest of too many sessions of one
    /// person, far too few to say who it is.
    bucket: u16,
    began_ms: u64,
    seen_ms: u64,
}

impl Kept {
    fn is_over(&self, now_ms: u64) -> bool {
        now_ms.saturating_sub(self.seen_ms) > IDLE_MS
            || now_ms.saturating_sub(self.began_ms) > LIFE_MS
    }
}

#[derive(Default)]
struct All {
    kept: HashMap<[u8; 32], Kept>,
    /// Of all that is sealed in them.
    bytes: usize,
    /// Ids by bucket, the oldest first.
    buckets: HashMap<u16, Vec<[u8; 32]>>,
}

impl All {
    fn remove(&mut self, id: &[u8; 32]) {
        let Some(gone) = self.kept.remove(id) else { return };
        self.bytes = self.bytes.saturating_sub(gone.sealed.len());
        if let Some(ids) = self.buckets.get_mut(&gone.bucket) {
            ids.retain(|other| other != id);
        }
    }

    fn sweep(&mut self, now_ms: u64) {
        self.kept.retain(|_, session| !session.is_over(now_ms));
        let kept = &self.kept;
        self.bytes = kept.values().map(|session| session.sealed.len()).sum();
        self.buckets.retain(|_, ids| {
            ids.retain(|id| kept.contains_key(id));
            !ids.is_empty()
        });
    }

    /// Whether one more of this size finds no place.
    fn is_full(&self, size: usize) -> bool {
        self.kept.len() >= SESSIONS_MAX || self.bytes.saturating_add(size) > SESSION_BYTES_MAX
    }
}

/// All sessions, in memory.
pub(crate) struct Sessions {
    all: Mutex<All>,
    bucket_key: hmac::Key,
}

impl Default for Sessions {
    fn default() -> Self {
        let random = SystemRandom::new();
        let mut key = Zeroizing::new([0; 32]);
        // Without randomness no cookie is made either, so no session begins.
        let _ = random.fill(key.as_mut());
        Self { all: Mutex::default(), bucket_key: hmac::Key::new(hmac::HMAC_SHA256, &*key) }
    }
}

impl Sessions {
    /// Begins a session. Nothing where there are too many, or no randomness.
    pub(crate) fn begin(&self, login: &Login, now_ms: u64) -> Option<Cookie> {
        let cookie = Cookie::new()?;
        let mut sealed = written(login);
        let nonce = Nonce::assume_unique_for_key([0; 12]);
        cookie.key()?.seal_in_place_append_tag(nonce, Aad::empty(), &mut sealed).ok()?;
        let bucket = self.bucket(&login.person);
        let id = cookie.id()?;
        let mut all = self.lock();
        let ids = all.buckets.entry(bucket).or_default();
        if ids.len() >= PER_PERSON {
            let oldest = ids.remove(0);
            all.remove(&oldest);
        }
        if all.is_full(sealed.len()) {
            all.sweep(now_ms);
        }
        if all.is_full(sealed.len()) {
            return None;
        }
        all.bytes += sealed.len();
        all.buckets.entry(bucket).or_default().push(id);
        all.kept.insert(id, Kept { sealed, bucket, began_ms: now_ms, seen_ms: now_ms });
        Some(cookie)
    }

    /// How many there are, those too that are over and not swept yet.
    pub(crate) fn count(&self) -> usize {
        self.lock().kept.len()
    }

    /// Whose session it is, if it is not over.
    pub(crate) fn person(&self, cookie: &Cookie, now_ms: u64) -> Option<Login> {
        let id = cookie.id()?;
        let mut sealed = {
            let mut all = self.lock();
            let session = all.kept.get_mut(&id)?;
            if session.is_over(now_ms) {
                all.remove(&id);
                return None;
            }
            session.seen_ms = now_ms;
            Zeroizing::new(session.sealed.clone())
        };
        let nonce = Nonce::assume_unique_for_key([0; 12]);
        let plain = cookie.key()?.open_in_place(nonce, Aad::empty(), &mut sealed).ok()?;
        read(plain)
    }

    /// Ends a session.
    pub(crate) fn end(&self, cookie: &Cookie) {
        if let Some(id) = cookie.id() {
            self.lock().remove(&id);
        }
    }

    fn bucket(&self, person: &Subject) -> u16 {
        let tag = hmac::sign(&self.bucket_key, &person.encode_to_vec());
        tag.as_ref().first_chunk().map_or(0, |bytes| u16::from_be_bytes(*bytes))
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, All> {
        // Maps of whole entries are never half changed.
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The person, then the proof, each with its length before it.
fn written(login: &Login) -> Vec<u8> {
    let proof = v1::LoginProof::from(&login.proof);
    let mut bytes = login.person.encode_length_delimited_to_vec();
    bytes.extend(proof.encode_length_delimited_to_vec());
    bytes
}

fn read(mut bytes: &[u8]) -> Option<Login> {
    let person = Subject::decode_length_delimited(&mut bytes).ok()?;
    let proof = v1::LoginProof::decode_length_delimited(&mut bytes).ok()?;
    Some(Login { person, proof: LoginProof::try_from(proof).ok()? })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::login::OidcProof;

    fn person() -> Login {
        let person = Subject { idnr: "86095742719".into(), ..Subject::default() };
        Login { person, proof: LoginProof::Demo }
    }

    #[test]
    fn only_the_cookie_opens_and_idleness_ends() {
        let sessions = Sessions::default();
        let cookie = sessions.begin(&person(), 0).unwrap();
        let again = Cookie::parse(&cookie.value()).unwrap();
        assert_eq!(sessions.person(&again, IDLE_MS).unwrap().person.idnr, "86095742719");
        assert!(sessions.person(&Cookie::new().unwrap(), 1).is_none());
        assert!(sessions.person(&cookie, 2 * IDLE_MS).is_some());
        assert!(sessions.person(&cookie, 3 * IDLE_MS + 1).is_none());
        assert!(sessions.person(&cookie, 1).is_none(), "an ended session does not come back");
    }

    #[test]
    fn a_session_ends_in_any_case() {
        let sessions = Sessions::default();
        let cookie = sessions.begin(&person(), 0).unwrap();
        let mut now = 0;
        while now + IDLE_MS <= LIFE_MS {
            now += IDLE_MS;
            assert!(sessions.person(&cookie, now).is_some());
        }
        assert!(sessions.person(&cookie, LIFE_MS + 1).is_none());
    }

    #[test]
    fn memory_names_nobody_and_is_bounded() {
        let sessions = Sessions::default();
        let numbered = |number: usize| {
            let mut login = person();
            login.person.birth_place = number.to_string();
            login
        };
        let mut number = 0;
        while sessions.lock().kept.len() < SESSIONS_MAX {
            number += 1;
            sessions.begin(&numbered(number), 0).unwrap();
        }
        let refused = (0..50).any(|more| sessions.begin(&numbered(number + more), 1).is_none());
        assert!(refused, "there is an end");
        let clear = sessions
            .lock()
            .kept
            .values()
            .any(|kept| kept.sealed.windows(11).any(|window| window == b"86095742719"));
        assert!(!clear);
        assert!(sessions.begin(&person(), IDLE_MS + 1).is_some(), "the idle make room");
    }

    #[test]
    fn long_tokens_do_not_fill_the_memory() {
        let sessions = Sessions::default();
        let long = |number: usize| {
            let id_token = Zeroizing::new("a".repeat(8 * 1024));
            let secret = LoginSecret::new(Zeroizing::new([1; 32]));
            let mut login = person();
            login.person.birth_place = number.to_string();
            Login { proof: LoginProof::Oidc(OidcProof { id_token, secret }), ..login }
        };
        let begun =
            (0..SESSIONS_MAX).take_while(|n| sessions.begin(&long(*n), 0).is_some()).count();
        assert!((7_000..8_200).contains(&begun), "{begun}");
        let held = || {
            let all = sessions.lock();
            let sum: usize = all.kept.values().map(|kept| kept.sealed.len()).sum();
            assert_eq!(sum, all.bytes);
            sum
        };
        assert!(held() <= SESSION_BYTES_MAX);
        assert!(sessions.begin(&long(0), IDLE_MS + 1).is_some(), "the idle make room");
        assert!(held() < 10_000);
    }

    #[test]
    fn one_person_does_not_fill_the_house() {
        let sessions = Sessions::default();
        let first = sessions.begin(&person(), 0).unwrap();
        let second = sessions.begin(&person(), 1).unwrap();
        for _ in 0..PER_PERSON - 1 {
            sessions.begin(&person(), 2).unwrap();
        }
        assert!(sessions.person(&first, 3).is_none(), "the oldest ended");
        assert!(sessions.person(&second, 3).is_some());
        assert_eq!(sessions.lock().kept.len(), PER_PERSON);
        sessions.end(&second);
        assert!(sessions.begin(&person(), 4).is_some());
        assert_eq!(sessions.lock().kept.len(), PER_PERSON, "an ended one makes room");
    }

    #[test]
    fn form_tokens_belong_to_one_cookie() {
        let (a, b) = (Cookie::new().unwrap(), Cookie::new().unwrap());
        assert!(a.fits(&a.form_token().unwrap()));
        assert!(!a.fits(&b.form_token().unwrap()));
        assert!(!a.fits(""));
    }
}
