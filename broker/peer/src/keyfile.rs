// SPDX-License-Identifier: EUPL-1.2
//! Files of private keys: PKCS#8 in PEM, plain, or encrypted with a passphrase as OpenSSL does it
//! (RFC 5958 `EncryptedPrivateKeyInfo`, RFC 8018 PBES2).

use std::{
    fs::File,
    io::Read,
    path::{Path, PathBuf},
};

use einmal_protocol::key::SigningKey;
use pkcs8::{
    EncryptedPrivateKeyInfo, EncryptedPrivateKeyInfoRef, LineEnding, SecretDocument,
    der::asn1::OctetStringRef,
    pkcs5::{
        EncryptionScheme as Scheme,
        pbes2::{EncryptionScheme, Kdf, Parameters, Salt, ScryptParams},
    },
};
use ring::{error::Unspecified, hkdf, rand::SystemRandom};
use rustls::pki_types::{PrivateKeyDer, pem::PemObject};
use zeroize::{Zeroize, Zeroizing};

use crate::{
    files::{self, FileError},
    random,
};

/// What stands before an encrypted key.
const BEGIN_ENCRYPTED: &str = "-----BEGIN ENCRYPTED PRIVATE KEY-----";

/// A key file is no longer than this; an RSA key of 16 Kibit, the longest that anybody has, fits.
const FILE_MAX: usize = 32 * 1024;

/// A passphrase is no longer than this many bytes.
pub const PASSPHRASE_MAX: usize = 1024;

/// PBKDF2 is not asked for more: what RFC 8018 names for the most critical keys. Some seconds.
const ITERATIONS_MAX: u32 = 10_000_000;

/// scrypt is not given more memory for its table: 128 bytes × N × r.
const SCRYPT_TABLE_MAX: u64 = 128 * 1024 * 1024;

/// scrypt's N × r × p, which is its time. Some seconds.
const SCRYPT_WORK_MAX: u64 = 1 << 22;

/// scrypt with which new files are written: OWASP's figures, in a table small enough (16 MiB) for
/// OpenSSL, which refuses more than 32 MiB unless it is told otherwise.
const SCRYPT: (u64, u16, u16) = (1 << 14, 8, 5);

/// What a person types to open a key. Wiped when dropped; shown nowhere.
pub struct Passphrase(Zeroizing<Vec<u8>>);

impl std::fmt::Debug for Passphrase {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Passphrase")
    }
}

/// A passphrase that cannot be one.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum PassphraseError {
    /// Nothing.
    #[error("the passphrase is empty")]
    Empty,
    /// More than `PASSPHRASE_MAX`.
    #[error("the passphrase is longer than {PASSPHRASE_MAX} bytes")]
    TooLong,
}

impl Passphrase {
    /// Takes the bytes as they are: no encoding is looked at, as in OpenSSL.
    ///
    /// # Errors
    /// Where there are none, or too many.
    pub fn new(bytes: Zeroizing<Vec<u8>>) -> Result<Self, PassphraseError> {
        match bytes.len() {
            0 => Err(PassphraseError::Empty),
            1..=PASSPHRASE_MAX => Ok(Self(bytes)),
            _ => Err(PassphraseError::TooLong),
        }
    }

    /// The first line of a file.
    ///
    /// # Errors
    /// Where it cannot be read, or its first line is empty or too long.
    pub fn from_file(path: &Path) -> Result<Self, FileError> {
        let mut content = read_at_most(path, PASSPHRASE_MAX + 2)?;
        if let Some(end) = content.iter().position(|byte| *byte == b'\n') {
            wipe_from(&mut content, end);
        }
        if content.last() == Some(&b'\r') {
            content.pop();
        }
        Self::new(content).map_err(|error| FileError::new(path, error))
    }

    /// How many bytes it has.
    pub fn length(&self) -> usize {
        self.0.len()
    }

    /// Whether both are the same.
    pub fn is(&self, other: &Self) -> bool {
        self.0 == other.0
    }
}

/// A file with one private key, read and not opened yet.
pub struct KeyFile {
    path: PathBuf,
    content: Content,
}

enum Content {
    Plain(Zeroizing<Vec<u8>>),
    Encrypted(SecretDocument),
}

/// A private key, and its PKCS#8 form to write it again.
pub struct OpenedKey {
    key: SigningKey,
    der: Zeroizing<Vec<u8>>,
}

impl KeyFile {
    /// Reads a file.
    ///
    /// # Errors
    /// Where there is none, or no key of PKCS#8 in it.
    pub fn read(path: &Path) -> Result<Self, FileError> {
        let failed = |problem: &str| FileError::new(path, problem);
        let bytes = read_at_most(path, FILE_MAX)?;
        if bytes.len() > FILE_MAX {
            return Err(failed("far too long for a key"));
        }
        let text = std::str::from_utf8(&bytes).map_err(|_| failed("not a key in PEM"))?;
        let content = if let Some((_, rest)) = text.split_once(BEGIN_ENCRYPTED) {
            let pem = text.get(text.len() - rest.len() - BEGIN_ENCRYPTED.len()..);
            let document = SecretDocument::from_pem(pem.unwrap_or_default());
            let (_, document) = document.map_err(|_| failed("not a whole key in PEM"))?;
            Content::Encrypted(document)
        } else if text.contains("Proc-Type: 4,ENCRYPTED") {
            return Err(failed(
                "encrypted in an old form; write it anew with `openssl pkcs8 -topk8 -v2 aes-256-cbc`",
            ));
        } else {
            let mut key = PrivateKeyDer::from_pem_slice(&bytes)
                .map_err(|error| FileError::new(path, error))?;
            let der = Zeroizing::new(key.secret_der().to_vec());
            key.zeroize();
            Content::Plain(der)
        };
        Ok(Self { path: path.to_owned(), content })
    }

    /// Whether it takes a passphrase to open it.
    pub fn is_encrypted(&self) -> bool {
        matches!(self.content, Content::Encrypted(_))
    }

    /// Opens it.
    ///
    /// # Errors
    /// Where a passphrase is missing, wrong or too many; where the file asks for absurdly much work;
    /// or where the key is neither Ed25519 nor P-256.
    pub fn open(self, passphrase: Option<&Passphrase>) -> Result<OpenedKey, FileError> {
        let failed = |problem: &dyn std::fmt::Display| FileError::new(&self.path, problem);
        let (der, was_encrypted) = match (self.content, passphrase) {
            (Content::Plain(der), None) => (der, false),
            (Content::Plain(_), Some(_)) => {
                return Err(failed(&"this key has no passphrase, and one was given"));
            }
            (Content::Encrypted(document), Some(passphrase)) => {
                (decrypt(&document, passphrase).map_err(|error| failed(&error))?, true)
            }
            (Content::Encrypted(_), None) => return Err(failed(&EncryptedError::NobodyToAsk)),
        };
        let key = SigningKey::from_pkcs8(&der, &SystemRandom::new()).map_err(|error| {
            // Padding is right by chance for one wrong passphrase in 256.
            if was_encrypted && !looks_like_pkcs8(&der) {
                failed(&EncryptedError::Passphrase)
            } else {
                failed(&error)
            }
        })?;
        Ok(OpenedKey { key, der })
    }
}

impl OpenedKey {
    /// A key in PKCS#8.
    ///
    /// # Errors
    /// Where it is neither Ed25519 nor P-256.
    pub fn new(der: Zeroizing<Vec<u8>>) -> Result<Self, einmal_protocol::key::KeyError> {
        Ok(Self { key: SigningKey::from_pkcs8(&der, &SystemRandom::new())?, der })
    }

    /// The key.
    pub fn key(&self) -> &SigningKey {
        &self.key
    }

    /// A secret of 32 bytes that only this key gives, to encrypt files that lie beside it. The label
    /// says what for.
    ///
    /// # Errors
    /// Where the cipher fails.
    pub fn derive(&self, label: &[u8]) -> Result<Zeroizing<[u8; 32]>, Unspecified> {
        let mut bytes = Zeroizing::new([0; 32]);
        hkdf::Salt::new(hkdf::HKDF_SHA256, b"einmal key file v1")
            .extract(&self.der)
            .expand(&[label], hkdf::HKDF_SHA256)?
            .fill(bytes.as_mut())?;
        Ok(bytes)
    }

    /// The key alone.
    pub fn into_key(self) -> SigningKey {
        self.key
    }

    /// Writes it to a file that only its owner may read, with a passphrase or without.
    ///
    /// # Errors
    /// Where that fails; the old file then stands.
    pub fn write(&self, path: &Path, passphrase: Option<&Passphrase>) -> Result<(), FileError> {
        let failed = |error: &dyn std::fmt::Display| FileError::new(path, error);
        let (label, document) = match passphrase {
            None => {
                let document = SecretDocument::try_from(self.der.as_slice());
                ("PRIVATE KEY", document.map_err(|error| failed(&error))?)
            }
            Some(passphrase) => {
                let document = encrypt(&self.der, passphrase).map_err(|error| failed(&error))?;
                ("ENCRYPTED PRIVATE KEY", document)
            }
        };
        let pem = document.to_pem(label, LineEnding::LF).map_err(|error| failed(&error))?;
        files::replace_secret(path, pem.as_bytes())
    }
}

/// Whether a file in PEM holds an encrypted key.
pub(crate) fn is_encrypted(pem: &[u8]) -> bool {
    let begin = BEGIN_ENCRYPTED.as_bytes();
    pem.windows(begin.len()).any(|window| window == begin)
}

/// Why an encrypted key does not open.
#[derive(Debug, thiserror::Error)]
enum EncryptedError {
    #[error(
        "this key has a passphrase, and a program that runs by itself cannot type it; take it away \
         with `einmal pki passphrase FILE --remove`, and give the file as a systemd credential"
    )]
    NobodyToAsk,
    #[error("the passphrase is wrong, or the file is damaged")]
    Passphrase,
    #[error(
        "encrypted in a way that is not read here; write it anew with `openssl pkcs8 -topk8 -v2 \
         aes-256-cbc -v2prf hmacWithSHA256`"
    )]
    Scheme,
    #[error(
        "opening it would take too long or too much memory, so it is not tried: at most \
         {ITERATIONS_MAX} iterations of PBKDF2, or 128 MiB and N·r·p of {SCRYPT_WORK_MAX} for scrypt"
    )]
    Cost,
    #[error("it could not be encrypted")]
    Encrypt,
}

fn decrypt(
    document: &SecretDocument,
    passphrase: &Passphrase,
) -> Result<Zeroizing<Vec<u8>>, EncryptedError> {
    let info: EncryptedPrivateKeyInfoRef<'_> =
        document.decode_msg().map_err(|_| EncryptedError::Scheme)?;
    let parameters = info.encryption_algorithm.pbes2().ok_or(EncryptedError::Scheme)?;
    check_cost(&parameters.kdf)?;
    // In place, so that no copy of the plain key stays behind.
    let mut der = Zeroizing::new(info.encrypted_data.as_bytes().to_vec());
    let length = match parameters.decrypt_in_place(passphrase.0.as_slice(), &mut der) {
        Ok(plain) => plain.len(),
        Err(pkcs8::pkcs5::Error::DecryptFailed) => return Err(EncryptedError::Passphrase),
        Err(_) => return Err(EncryptedError::Scheme),
    };
    wipe_from(&mut der, length);
    Ok(der)
}

/// The file says how much work opening it is, and whoever wrote it may mean harm.
fn check_cost(kdf: &Kdf) -> Result<(), EncryptedError> {
    let is_bearable = match kdf {
        Kdf::Pbkdf2(parameters) => (1..=ITERATIONS_MAX).contains(&parameters.iteration_count),
        Kdf::Scrypt(parameters) => {
            let (r, p) = (u64::from(parameters.block_size), u64::from(parameters.parallelization));
            let n = parameters.cost_parameter;
            let table = n.saturating_mul(r).saturating_mul(128);
            n.is_power_of_two()
                && n > 1
                && r > 0
                && p > 0
                && table <= SCRYPT_TABLE_MAX
                && 128 * r * p <= SCRYPT_TABLE_MAX
                && n.saturating_mul(r * p) <= SCRYPT_WORK_MAX
        }
        _ => return Err(EncryptedError::Scheme),
    };
    if is_bearable { Ok(()) } else { Err(EncryptedError::Cost) }
}

fn encrypt(der: &[u8], passphrase: &Passphrase) -> Result<SecretDocument, EncryptedError> {
    let failed = |_| EncryptedError::Encrypt;
    let salt = random::bytes::<16>().map_err(|_| EncryptedError::Encrypt)?;
    let iv = random::bytes::<16>().map_err(|_| EncryptedError::Encrypt)?;
    let (cost_parameter, block_size, parallelization) = SCRYPT;
    let kdf = Kdf::Scrypt(ScryptParams {
        salt: Salt::new(salt).map_err(failed)?,
        cost_parameter,
        block_size,
        parallelization,
        key_length: None,
    });
    let parameters = Parameters { kdf, encryption: EncryptionScheme::Aes256Cbc { iv } };
    let sealed =
        parameters.encrypt(passphrase.0.as_slice(), der).map_err(|_| EncryptedError::Encrypt)?;
    let info = EncryptedPrivateKeyInfo {
        encryption_algorithm: Scheme::Pbes2(parameters),
        encrypted_data: OctetStringRef::new(&sealed).map_err(failed)?,
    };
    SecretDocument::encode_msg(&info).map_err(failed)
}

/// Whether it is at least the form of a private key, be it of an algorithm that is not taken.
fn looks_like_pkcs8(der: &[u8]) -> bool {
    pkcs8::PrivateKeyInfoRef::try_from(der).is_ok()
}

/// `Vec::truncate` leaves what it cuts off in memory, where `Zeroizing` would not reach it: it
/// wipes the whole capacity when dropped, but others may read until then.
fn wipe_from(bytes: &mut Zeroizing<Vec<u8>>, length: usize) {
    if let Some(rest) = bytes.get_mut(length..) {
        rest.zeroize();
    }
    bytes.truncate(length);
}

fn read_at_most(path: &Path, most: usize) -> Result<Zeroizing<Vec<u8>>, FileError> {
    let failed = |error: std::io::Error| FileError::new(path, error);
    // With room for all from the beginning: a vector that grows leaves copies behind.
    let mut bytes = Zeroizing::new(Vec::with_capacity(most + 1));
    let file = File::open(path).map_err(failed)?;
    let limit = u64::try_from(most).unwrap_or(u64::MAX);
    file.take(limit.saturating_add(1)).read_to_end(&mut bytes).map_err(failed)?;
    Ok(bytes)
}

#[cfg(test)]
#[path = "keyfile_tests.rs"]
mod tests;
