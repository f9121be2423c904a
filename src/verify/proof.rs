// SPDX-License-Identifier: EUPL-1.2
//! `einmal verify FILE.tlog-proof`: that something is in a log, from one file and public keys.

use std::path::PathBuf;

use einmal_peer::files;
use einmal_protocol::{
    Digest,
    cosignature::WitnessKey,
    digest::unhex,
    leaf::LeafKind,
    merkle::leaf_hash,
    note::LedgerKey,
    time::{day_to_iso, to_iso},
    tlog_proof::{HEADER, Quorum, TlogProof},
};

use crate::Exit;

/// What a proof is verified against.
#[derive(clap::Args)]
pub(super) struct ProofArgs {
    /// For a .tlog-proof: the public key of the log, name+hash+key.
    #[arg(long)]
    key: Option<String>,
    /// For a .tlog-proof: the entry as it stands in the log, in hex; for Einmal's, the leaf.
    #[arg(long, value_name = "HEX", conflicts_with = "body")]
    leaf: Option<String>,
    /// For a .tlog-proof: a file with what the leaf stands for; where the proof names no leaf, the
    /// file is the entry.
    #[arg(long, value_name = "FILE")]
    body: Option<PathBuf>,
    /// For a .tlog-proof: the public key of a witness that counts, name+hash+key; several times.
    #[arg(long = "witness", value_name = "VKEY")]
    witnesses: Vec<String>,
    /// For a .tlog-proof: so many of those witnesses must have cosigned; all of them where
    /// nothing is said.
    #[arg(long, requires = "witnesses")]
    required: Option<usize>,
}

/// Whether a file's text is such a proof.
pub(super) fn is_proof(text: &str) -> bool {
    text.lines().next() == Some(HEADER)
}

/// Verifies it; says what was checked, one line each.
///
/// # Errors
/// Where it does not hold, or the arguments do not fit it.
pub(super) fn verify(text: &str, args: &ProofArgs) -> Result<Vec<String>, Exit> {
    let refused = |problem: String| Exit::refused(format!("this proof does not hold: {problem}"));
    let key = args.key.as_ref().ok_or_else(|| {
        Exit::usage("name the log's public key with --key; `einmal ledger key` prints it")
    })?;
    let key = LedgerKey::parse(key).map_err(|error| Exit::usage(format!("--key: {error}")))?;
    let witnesses: Vec<WitnessKey> = args
        .witnesses
        .iter()
        .map(|text| WitnessKey::parse(text))
        .collect::<Result<_, _>>()
        .map_err(|error| Exit::usage(format!("--witness: {error}")))?;
    let required = args.required.unwrap_or(witnesses.len());
    let proof = TlogProof::parse(text).map_err(|error| refused(error.to_string()))?;
    let (hash, what) = entry(&proof, args)?;
    let quorum = Quorum { witnesses: &witnesses, required };
    let held = proof.verify(hash, &key, quorum).map_err(|error| refused(error.to_string()))?;
    let checkpoint = &held.checkpoint;
    let mut steps = vec![
        format!(
            "the log {} signed its tree of {} leaves, root {}",
            checkpoint.origin(),
            checkpoint.size(),
            checkpoint.root()
        ),
        format!("{what} stands in it at position {}", held.index),
    ];
    steps.extend(held.cosignatures.iter().map(|cosignature| {
        let at = to_iso(cosignature.time_s.saturating_mul(1000));
        format!("the witness {} saw that tree, at {at}", cosignature.witness)
    }));
    Ok(steps)
}

/// The hash of the entry that is to be in the log, and what to call it.
fn entry(proof: &TlogProof, args: &ProofArgs) -> Result<(Digest, String), Exit> {
    if let Some(leaf) = &args.leaf {
        let bytes = unhex(leaf).ok_or_else(|| Exit::usage("--leaf is not hex"))?;
        return Ok((leaf_hash(&bytes), "this entry".to_owned()));
    }
    let body = args.body.as_ref().map(|path| files::read(path)).transpose()?;
    let Some(leaf) = proof.claimed_leaf() else {
        let body = body.ok_or_else(|| {
            Exit::usage("the proof does not say for what it is: name the entry by --leaf or --body")
        })?;
        return Ok((leaf_hash(&body), "this entry".to_owned()));
    };
    let kind = match leaf.kind {
        LeafKind::Exchange => "an exchange",
        LeafKind::Refusal => "a refusal",
        LeafKind::Use => "a report of use",
        LeafKind::Notice => "a notice",
    };
    let whose = match &body {
        Some(body) if Digest::of(body) != leaf.body => {
            return Err(Exit::refused("this proof does not hold: it is for another body"));
        }
        Some(_) => "this body",
        None => "a body",
    };
    let day = day_to_iso(leaf.day);
    Ok((leaf.hash(), format!("{whose} ({kind} of {day}, SHA-256 {})", leaf.body)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PROOF: &str = include_str!("../../proto/tests/golden/exchange.tlog-proof");
    const KEY: &str = "einmal.example/l+4cc05a6b+AepKbGPinFIKvvVQexMuxfmVR3auvr57kkIe6mkURtIs";

    fn args(key: Option<&str>) -> ProofArgs {
        let key = key.map(str::to_owned);
        ProofArgs { key, leaf: None, body: None, witnesses: Vec::new(), required: None }
    }

    fn key_of(name: &str, seed: u8) -> String {
        let key = einmal_protocol::key::SigningKey::from_seed(&[seed; 32]).unwrap();
        WitnessKey::new(name, key.public().clone()).unwrap().to_string()
    }

    #[test]
    fn only_what_is_in_the_log_and_seen_by_enough_holds() {
        assert!(is_proof(PROOF) && !is_proof("{}") && !is_proof(""));
        let held = verify(PROOF, &args(Some(KEY))).unwrap();
        assert_eq!(held.len(), 2);
        assert!(held[1].contains("an exchange of 2026-11-22") && held[1].ends_with("position 3"));
        let (w8, w9) = (key_of("witness.example/w8", 8), key_of("witness.example/w9", 9));
        let w10 = key_of("witness.example/w10", 10);
        let with = |witnesses: &[&String], required| ProofArgs {
            witnesses: witnesses.iter().map(|text| (*text).clone()).collect(),
            required,
            ..args(Some(KEY))
        };
        assert_eq!(verify(PROOF, &with(&[&w8, &w9], None)).unwrap().len(), 4);
        assert!(verify(PROOF, &with(&[&w8, &w9, &w10], None)).is_err());
        assert_eq!(verify(PROOF, &with(&[&w8, &w9, &w10], Some(2))).unwrap().len(), 4);
        assert!(verify(PROOF, &with(&[&w8, &w8], None)).is_err());
        assert!(verify(PROOF, &args(None)).is_err());
        assert!(verify(PROOF, &args(Some(&w8))).is_err());
        let file = std::env::temp_dir().join(format!("einmal-proof-{}", std::process::id()));
        for (body, holds) in [("body 3", true), ("body 4", false)] {
            files::replace(&file, body.as_bytes()).unwrap();
            let args = ProofArgs { body: Some(file.clone()), ..args(Some(KEY)) };
            assert_eq!(verify(PROOF, &args).is_ok(), holds);
        }
        files::replace(&file, b"").unwrap();
        let leaf = TlogProof::parse(PROOF).unwrap().claimed_leaf().unwrap().to_bytes();
        let hex = einmal_protocol::digest::hex(&leaf);
        for (leaf, holds) in [(hex.as_str(), true), ("00", false), ("0", false)] {
            let args = ProofArgs { leaf: Some(leaf.to_owned()), ..args(Some(KEY)) };
            assert_eq!(verify(PROOF, &args).is_ok(), holds);
        }
        // Without the extra line, somebody must say what is proven.
        let start = PROOF.find("extra").unwrap();
        let bare = [&PROOF[..start], &PROOF[PROOF.find("index").unwrap()..]].concat();
        assert!(verify(&bare, &args(Some(KEY))).is_err());
        let named = ProofArgs { leaf: Some(hex), ..args(Some(KEY)) };
        assert!(verify(&bare, &named).is_ok());
    }
}
