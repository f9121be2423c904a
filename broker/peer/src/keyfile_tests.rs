// SPDX-License-Identifier: EUPL-1.2
//! Key files that OpenSSL wrote are read, ours are read by OpenSSL, and hostile ones cost nothing.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::PathBuf,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use pkcs8::pkcs5::pbes2::Pbkdf2Params;

use super::*;

const RIGHT: &str = "correct horse battery staple";

struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("einmal-key-{}-{name}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn file(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// Runs openssl in this folder; false where there is none.
    fn openssl(&self, arguments: &str) -> bool {
        let mut command = Command::new("openssl");
        command.current_dir(&self.0).args(arguments.split_whitespace()).stdin(Stdio::null());
        match command.output() {
            Ok(output) => {
                let said = String::from_utf8_lossy(&output.stderr);
                assert!(output.status.success(), "openssl {arguments}: {said}");
                true
            }
            Err(_) => {
                eprintln!("openssl is not installed: skipped");
                false
            }
        }
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn passphrase(text: &str) -> Passphrase {
    Passphrase::new(Zeroizing::new(text.as_bytes().to_vec())).unwrap()
}

fn open(path: &Path, with: Option<&str>) -> Result<OpenedKey, String> {
    let with = with.map(passphrase);
    let opened = KeyFile::read(path).and_then(|file| file.open(with.as_ref()));
    opened.map_err(|error| error.problem)
}

/// A fresh Ed25519 key, as `einmal pki key` makes it.
fn fresh() -> OpenedKey {
    let head = [0x30, 0x2e, 2, 1, 0, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 4, 0x22, 4, 0x20];
    OpenedKey::new(Zeroizing::new([&head[..], &[7; 32]].concat())).unwrap()
}

#[test]
fn what_openssl_encrypts_is_read() {
    let folder = Folder::new("openssl");
    fs::write(folder.file("pass"), format!("{RIGHT}\n")).unwrap();
    for kind in ["ED25519", "EC -pkeyopt ec_paramgen_curve:P-256"] {
        if !folder.openssl(&format!("genpkey -algorithm {kind} -out plain")) {
            return;
        }
        let topk8 = "pkcs8 -topk8 -in plain -passout file:pass";
        let ways = [
            "pkey -in plain -aes256 -passout file:pass -out made".to_owned(),
            format!("{topk8} -v2 aes-256-cbc -out made"),
            format!("{topk8} -v2 aes-256-cbc -v2prf hmacWithSHA512 -iter 100000 -out made"),
            format!("{topk8} -v2 aes-128-cbc -out made"),
            format!("{topk8} -scrypt -out made"),
            format!("{topk8} -scrypt -scrypt_N 32768 -scrypt_r 7 -scrypt_p 3 -out made"),
        ];
        let expected = open(&folder.file("plain"), None).unwrap();
        for way in ways {
            folder.openssl(&way);
            let opened = open(&folder.file("made"), Some(RIGHT)).unwrap();
            assert_eq!(opened.key().public(), expected.key().public(), "{way}");
            let wrong = open(&folder.file("made"), Some("wrong")).err();
            assert!(wrong.unwrap().starts_with("the passphrase is wrong"), "{way}");
        }
        // And made in one go.
        folder.openssl(&format!("genpkey -algorithm {kind} -aes256 -pass file:pass -out made"));
        open(&folder.file("made"), Some(RIGHT)).unwrap();
    }
    // What is not read says what to do.
    folder.openssl("pkcs8 -topk8 -in plain -passout file:pass -v1 PBE-SHA1-3DES -out made");
    assert!(open(&folder.file("made"), Some(RIGHT)).err().unwrap().contains("-v2 aes-256-cbc"));
    folder.openssl("ec -in plain -aes256 -passout file:pass -out made");
    assert!(open(&folder.file("made"), Some(RIGHT)).err().unwrap().contains("-v2 aes-256-cbc"));
    folder.openssl("genpkey -algorithm RSA -aes256 -pass file:pass -out made");
    let rsa = open(&folder.file("made"), Some(RIGHT)).err().unwrap();
    assert!(rsa.contains("not a PKCS#8 private key of Ed25519"), "{rsa}");
}

#[test]
fn openssl_reads_what_is_written_here() {
    let folder = Folder::new("ours");
    let (key, file) = (fresh(), folder.file("ours"));
    key.write(&file, Some(&passphrase(RIGHT))).unwrap();
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    assert!(!fs::read_to_string(&file).unwrap().contains("BwcHBwcH"));
    assert_eq!(open(&file, Some(RIGHT)).unwrap().key().public(), key.key().public());

    fs::write(folder.file("pass"), RIGHT).unwrap();
    if folder.openssl("pkcs8 -in ours -passin file:pass -out plain") {
        assert_eq!(open(&folder.file("plain"), None).unwrap().der, key.der);
    }
    key.write(&file, None).unwrap();
    assert_eq!(open(&file, None).unwrap().der, key.der);
}

#[test]
fn a_wrong_passphrase_is_never_another_error() {
    let folder = Folder::new("wrong");
    fresh().write(&folder.file("key"), Some(&passphrase(RIGHT))).unwrap();
    let file = fs::read_to_string(folder.file("key")).unwrap();
    let (_, document) = SecretDocument::from_pem(&file).unwrap();
    let mut info: pkcs8::EncryptedPrivateKeyInfoOwned = document.decode_msg().unwrap();
    // Cheap, so that by chance the padding of some is right.
    info.encryption_algorithm =
        Scheme::Pbes2(Parameters::generate_pbkdf2_sha256_aes256cbc(1, &[1; 16], [2; 16]).unwrap());
    let document = SecretDocument::encode_msg(&info).unwrap();
    fs::write(
        folder.file("key"),
        &*document.to_pem("ENCRYPTED PRIVATE KEY", LineEnding::LF).unwrap(),
    )
    .unwrap();
    for attempt in 0..2000 {
        let error = open(&folder.file("key"), Some(&format!("{attempt}"))).err().unwrap();
        assert_eq!(error, "the passphrase is wrong, or the file is damaged");
    }
}

#[test]
fn absurd_costs_are_refused_at_once() {
    let folder = Folder::new("costs");
    let salt = Salt::new([1; 16]).unwrap();
    let pbkdf2 = |iteration_count| {
        let parameters = Pbkdf2Params::hmac_sha256(1, &[1; 16]).unwrap();
        Kdf::Pbkdf2(Pbkdf2Params { iteration_count, ..parameters })
    };
    let scrypt = |cost_parameter, block_size, parallelization| {
        let key_length = None;
        Kdf::Scrypt(ScryptParams { salt, cost_parameter, block_size, parallelization, key_length })
    };
    let absurd = [
        pbkdf2(0),
        pbkdf2(ITERATIONS_MAX + 1),
        pbkdf2(u32::MAX),
        scrypt(0, 8, 1),
        scrypt(1, 8, 1),
        scrypt(3, 8, 1),
        scrypt(1 << 14, 0, 1),
        scrypt(1 << 14, 8, 0),
        scrypt(1 << 18, 8, 1),
        scrypt(1 << 63, u16::MAX, u16::MAX),
        scrypt(2, u16::MAX, u16::MAX),
        scrypt(1 << 16, 8, 64),
    ];
    let began = Instant::now();
    for kdf in absurd {
        let parameters =
            Parameters { kdf, encryption: EncryptionScheme::Aes256Cbc { iv: [2; 16] } };
        let info = EncryptedPrivateKeyInfo {
            encryption_algorithm: Scheme::Pbes2(parameters.clone()),
            encrypted_data: OctetStringRef::new(&[3; 64]).unwrap(),
        };
        let document = SecretDocument::encode_msg(&info).unwrap();
        let pem = document.to_pem("ENCRYPTED PRIVATE KEY", LineEnding::LF).unwrap();
        fs::write(folder.file("key"), &*pem).unwrap();
        let error = open(&folder.file("key"), Some(RIGHT)).err().unwrap();
        assert!(error.contains("would take too long"), "{parameters:?}: {error}");
    }
    assert!(began.elapsed() < Duration::from_secs(2));
    check_cost(&scrypt(1 << 17, 8, 4)).unwrap();
    check_cost(&pbkdf2(ITERATIONS_MAX)).unwrap();
}

#[test]
fn a_program_without_a_passphrase_says_what_to_do() {
    let folder = Folder::new("server");
    let file = folder.file("key");
    fresh().write(&file, Some(&passphrase(RIGHT))).unwrap();
    let error = files::signing_key(&file).unwrap_err().to_string();
    assert!(error.contains("einmal pki passphrase FILE --remove"), "{error}");
    fresh().write(&file, None).unwrap();
    assert_eq!(
        open(&file, Some(RIGHT)).err().unwrap(),
        "this key has no passphrase, and one was given"
    );
    let mut damaged = fs::read_to_string(&file).unwrap();
    damaged.insert_str(0, "-----BEGIN ENCRYPTED PRIVATE KEY-----\n");
    fs::write(&file, damaged).unwrap();
    assert_eq!(open(&file, Some(RIGHT)).err().unwrap(), "not a whole key in PEM");
    fs::write(&file, vec![b'a'; FILE_MAX + 1]).unwrap();
    assert_eq!(open(&file, None).err().unwrap(), "far too long for a key");
}

#[test]
fn a_passphrase_is_the_first_line() {
    let folder = Folder::new("first-line");
    let read = |content: &[u8]| {
        fs::write(folder.file("pass"), content).unwrap();
        Passphrase::from_file(&folder.file("pass")).map_err(|error| error.problem)
    };
    for content in ["a b ", "a b \n", "a b \r\n", "a b \nmore\n"] {
        assert!(read(content.as_bytes()).unwrap().is(&passphrase("a b ")), "{content:?}");
    }
    assert!(read(b"\nmore").err().unwrap().contains("empty"));
    assert!(read(&[b'x'; PASSPHRASE_MAX]).unwrap().length() == PASSPHRASE_MAX);
    assert!(read(&[b'x'; 9000]).err().unwrap().contains("longer"));
    assert_eq!(format!("{:?}", passphrase("secret")), "Passphrase");
}
