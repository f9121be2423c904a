// SPDX-License-Identifier: EUPL-1.2
//! Signing by a key with a passphrase, and by a device: here OpenSSL, which alone has the key.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use clap::Parser;
use einmal_protocol::key::Algorithm;

use super::*;
use crate::pki;

#[derive(Parser)]
struct Signing {
    #[command(flatten)]
    args: SignArgs,
}

#[derive(Parser)]
struct Keys {
    #[command(flatten)]
    args: pki::Args,
}

struct Folder(PathBuf);

impl Folder {
    /// A folder with an envelope that nobody has signed.
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("einmal-sign-{}-{name}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        build("test/type", &serde_json::json!({ "version": 1 }), &path.join("envelope")).unwrap();
        Self(path)
    }

    fn words(&self, words: &str) -> Vec<String> {
        let word = |word: &str| match word.strip_prefix('@') {
            Some(name) => self.0.join(name).display().to_string(),
            None => word.to_owned(),
        };
        std::iter::once("einmal").chain(words.split_whitespace()).map(word).collect()
    }

    fn sign(&self, words: &str) -> Result<(), String> {
        let words = self.words(&format!("@envelope {words}"));
        let parsed = Signing::try_parse_from(words).map_err(|error| error.to_string())?;
        sign(&parsed.args).map_err(|exit| exit.to_string())
    }

    fn pki(&self, words: &str) -> Result<(), String> {
        let parsed = Keys::try_parse_from(self.words(words)).unwrap_or_else(|e| panic!("{e}"));
        pki::run(parsed.args).map_err(|exit| exit.to_string())
    }

    /// Runs openssl in this folder; nothing where there is none.
    fn openssl(&self, arguments: &str) -> Option<Vec<u8>> {
        let mut command = Command::new("openssl");
        command.current_dir(&self.0).args(arguments.split_whitespace()).stdin(Stdio::null());
        let Ok(output) = command.output() else {
            eprintln!("openssl is not installed: skipped");
            return None;
        };
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "openssl {arguments}: {said}");
        Some(output.stdout)
    }

    fn envelope(&self) -> Envelope {
        files::envelope(&self.0.join("envelope")).unwrap()
    }

    fn write(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.0.join(name);
        fs::write(&path, content).unwrap();
        path
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn starts(file: &Path, with: &str) -> bool {
    fs::read_to_string(file).unwrap().starts_with(with)
}

#[test]
fn a_key_with_a_passphrase_signs() {
    let folder = Folder::new("passphrase");
    folder.write("short", "short");
    folder.write("one", "correct horse battery staple\n");
    folder.write("two", "five words make it long\n");
    let key = folder.0.join("mine.key");
    let short = folder.pki("key @mine.key --passphrase-file @short").unwrap_err();
    assert!(short.contains("at least 12"), "{short}");
    folder.pki("key @mine.key --passphrase-file @one").unwrap();
    assert!(starts(&key, "-----BEGIN ENCRYPTED PRIVATE KEY-----"));
    assert!(folder.pki("key @mine.key --passphrase-file @one").unwrap_err().contains("already"));
    assert!(folder.sign("--key @mine.key --passphrase-file @two").unwrap_err().contains("wrong"));
    folder.pki("passphrase @mine.key --passphrase-file @one --new-passphrase-file @two").unwrap();
    assert!(folder.sign("--key @mine.key --passphrase-file @one").unwrap_err().contains("wrong"));
    folder.sign("--key @mine.key --passphrase-file @two").unwrap();

    folder.pki("passphrase @mine.key --passphrase-file @two --remove").unwrap();
    assert!(starts(&key, "-----BEGIN PRIVATE KEY-----"));
    let public = files::signing_key(&key).unwrap().public().clone();
    folder.envelope().verified("test/type", &[public]).unwrap();
    let again = folder.sign("--key @mine.key").unwrap_err();
    assert_eq!(again, "this key has signed already");
}

#[test]
fn a_device_signs_through_files() {
    let folder = Folder::new("device");
    let (p256, ed25519) = ("EC -pkeyopt ec_paramgen_curve:P-256", "ED25519");
    let mut keys = Vec::new();
    for (kind, algorithm, length, ask) in [
        (p256, Algorithm::EcdsaP256, 65, "dgst -sha256 -sign device -out signature bytes"),
        (
            ed25519,
            Algorithm::Ed25519,
            32,
            "pkeyutl -sign -inkey device -rawin -in bytes -out signature",
        ),
    ] {
        if folder.openssl(&format!("genpkey -algorithm {kind} -out device")).is_none() {
            return;
        }
        let der = folder.openssl("pkey -in device -pubout -outform DER").unwrap();
        let public = PublicKey::new(algorithm, &der[der.len() - length..]).unwrap();
        folder.write("public", serde_json::to_string(&KeyText::from(&public)).unwrap());

        folder.sign("--to-be-signed @bytes").unwrap();
        folder.openssl(ask);
        let attach = "--signature @signature --public @public";
        let bytes = fs::read(folder.0.join("bytes")).unwrap();
        let good = fs::read(folder.0.join("signature")).unwrap();
        // A signature over other bytes, and one that was changed on its way, are not attached.
        folder.write("bytes", [&bytes[..], b"x"].concat());
        folder.openssl(ask);
        assert!(folder.sign(attach).unwrap_err().contains("not a signature by this key"));
        folder.write("signature", [&good[..], b"\n"].concat());
        assert!(folder.sign(attach).unwrap_err().contains("not a signature by this key"));
        folder.write("signature", good);
        assert_eq!(folder.envelope().signatures.len(), keys.len());
        folder.sign(attach).unwrap();
        assert_eq!(folder.sign(attach).unwrap_err(), "this key has signed already");
        keys.push(public);
    }
    assert_eq!(folder.envelope().signers("test/type", &keys).unwrap().len(), 2);
}

#[test]
fn only_one_way_to_sign_is_named() {
    let folder = Folder::new("ways");
    let before = folder.envelope();
    for words in [
        "",
        "--signature @s",
        "--public @p",
        "--key @k --to-be-signed @b",
        "--key @k --signature @s --public @p",
        "--to-be-signed @b --signature @s --public @p",
        "--to-be-signed @b --public @p",
        "--to-be-signed @b --passphrase-file @f",
        "--to-be-signed @envelope",
    ] {
        folder.sign(words).unwrap_err();
    }
    assert_eq!(folder.envelope(), before);
}
