// SPDX-License-Identifier: EUPL-1.2
//! `einmal verify`

mod proof;

use std::path::PathBuf;

use einmal_cockpit::export::ExportFile;
use einmal_peer::files;
use einmal_policy::{Trust, documents::Documents};
use einmal_protocol::{
    Digest,
    leaf::{Leaf, LeafKind},
    receipt::{self, Proven},
    record,
    request::Request,
    time::{day_of, day_to_iso},
    wire::v1::{AccessRecord, Body, Envelope, ExchangeBody, Receipt, RefusalBody, body},
};
use prost::Message;

use crate::{
    Exit,
    redecide::{self, By, Exchange, Refusal},
};

/// Verifies an exported record offline, from the pinned root alone: signatures of authority,
/// register and ledger, the decision under the rules of that time, and the place in the ledger.
///
/// Also verifies a .tlog-proof of any log, from public keys alone: that an entry is in it, and that
/// witnesses saw that tree.
#[derive(clap::Args)]
pub struct Args {
    /// The export, JSON, as the cockpit gives it; or a .tlog-proof.
    file: PathBuf,
    /// For an export: the pinned root.
    #[arg(long)]
    root: Option<PathBuf>,
    #[command(flatten)]
    proof: proof::ProofArgs,
}

/// What was verified.
#[derive(Debug)]
pub struct Verified {
    /// Where it stands.
    pub proven: Proven,
    /// What was checked, one line each.
    pub steps: Vec<String>,
}

/// Runs it.
///
/// # Errors
/// The first thing that does not hold.
pub fn run(args: &Args) -> Result<(), Exit> {
    let text = files::read_text(&args.file)?;
    if proof::is_proof(&text) {
        for step in proof::verify(&text, &args.proof)? {
            println!("ok  {step}");
        }
        return Ok(());
    }
    let export = ExportFile::parse(&text).map_err(Exit::usage)?;
    let root = args.root.as_ref().ok_or_else(|| Exit::usage("name the pinned root with --root"))?;
    let verified = verify(&export, &files::envelope(root)?)
        .map_err(|problem| Exit::refused(format!("this record does not hold: {problem}")))?;
    for step in &verified.steps {
        println!("ok  {step}");
    }
    Ok(())
}

/// Checks everything that an export claims.
///
/// # Errors
/// Names what does not hold.
pub fn verify(export: &ExportFile, pinned: &Envelope) -> Result<Verified, String> {
    let documents = Documents {
        roots: export.roots.iter().cloned().map(Into::into).collect(),
        rules: export.rules.iter().cloned().map(Into::into).collect(),
        directory: export.directory.clone().ok_or("the directory is missing")?.into(),
        ..Documents::default()
    };
    let trust = Trust::of_the_past(pinned, &documents).map_err(|error| error.to_string())?;
    let mut steps = vec![format!(
        "rules version {} and directory version {} are signed as the pinned root demands, under \
         root version {}",
        trust.rules.document().version,
        trust.directory.document().version,
        trust.root.document().version
    )];
    let body = Body::decode(export.body.0.as_slice()).map_err(|_| "the body is malformed")?;
    let ((ledger, day), kind) = match body.kind.ok_or("the body is empty")? {
        body::Kind::Exchange(body) => {
            (check_exchange(export, &trust, &body, &mut steps)?, LeafKind::Exchange)
        }
        body::Kind::Refusal(body) => (check_refusal(&trust, &body, &mut steps)?, LeafKind::Refusal),
        body::Kind::Use(_) | body::Kind::Notice(_) => {
            return Err("only exchanges and refusals are accesses".to_owned());
        }
    };
    let known = trust.directory.ledger(&ledger).ok_or("the directory has no such ledger")?;
    let claimed = Leaf::parse(&export.receipt.leaf.0).map_err(|error| error.to_string())?;
    if claimed.day != day {
        return Err("the leaf's day is not the day of the access".to_owned());
    }
    let leaf = Leaf::new(kind, day, &export.body.0);
    let wire = Receipt {
        index: export.receipt.index,
        leaf: export.receipt.leaf.0.clone(),
        inclusion: export.receipt.inclusion.iter().map(|hash| hash.0.clone()).collect(),
        checkpoint: export.receipt.checkpoint.clone(),
        consistency: None,
    };
    let proven = receipt::verify(&wire, leaf, &known.key, None).map_err(|e| e.to_string())?;
    steps.push(format!(
        "it stands in the ledger {ledger} at position {}, under the ledger's checkpoint of size \
         {}, on {}",
        proven.index(),
        proven.checkpoint().size(),
        day_to_iso(leaf.day)
    ));
    Ok(Verified { proven, steps })
}

fn check_exchange(
    export: &ExportFile,
    trust: &Trust,
    body: &ExchangeBody,
    steps: &mut Vec<String>,
) -> Result<(String, u32), String> {
    let Exchange { request, permit, commitment } =
        redecide::exchange(trust, body).map_err(|difference| difference.to_string())?;
    steps.push(signed(&request));
    steps.push(format!("decided again, the rules permit the {} fields", permit.fields().len()));
    steps.push(format!("the register `{}` signed its commitment to it", request.register));
    let plain = export.plain_record.as_ref().ok_or("the access record is missing")?;
    let slot = usize::try_from(export.slot).ok().and_then(|slot| commitment.slots.get(slot));
    if slot.map(|slot| slot.plain_digest) != Some(Digest::of(&plain.0)) {
        return Err("the access record is not the one that was committed".to_owned());
    }
    let record: AccessRecord = record::parse(&plain.0).map_err(|error| error.to_string())?;
    if record.request_digest != request.digest.to_vec() {
        return Err("the access record is of another request".to_owned());
    }
    steps.push("the access record is the one that the register committed to".to_owned());
    Ok((request.ledger, commitment.day))
}

fn check_refusal(
    trust: &Trust,
    body: &RefusalBody,
    steps: &mut Vec<String>,
) -> Result<(String, u32), String> {
    // An export holds no deny list: what it forbids is no part of one person's record.
    let Refusal { request, reason, by } =
        redecide::refusal(trust, &[], body).map_err(|difference| difference.to_string())?;
    steps.push(signed(&request));
    steps.push(match by {
        By::Register => format!("the register `{}` signed its refusal: {reason}", request.register),
        By::Rules => format!("decided again, the rules refuse it: {reason}"),
        By::DenyList(_) | By::UnknownDenyList => format!(
            "the broker says that the deny list refused it: {reason}; this file does not hold that \
             list"
        ),
        By::Circumstances => format!("the broker says that it was refused: {reason}"),
    });
    Ok((request.ledger, day_of(body.refused_at_ms)))
}

fn signed(request: &Request) -> String {
    format!("the authority `{}` signed the request {}", request.authority, request.id)
}
