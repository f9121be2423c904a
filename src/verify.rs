// SPDX-License-Identifier: EUPL-1.2
//! `einmal verify`

mod proof;

use std::path::PathBuf;

use einmal_cockpit::export::ExportFile;
use einmal_peer::files;
use einmal_policy::{Question, Trust, decide, documents::Documents};
use einmal_protocol::{
    Digest, Reason,
    commitment::Commitment,
    envelope::payload_type,
    leaf::{Leaf, LeafKind},
    permit::Permit,
    receipt::{self, Proven},
    record,
    request::{Request, Unverified},
    time::{day_of, day_to_iso},
    wire::v1::{
        AccessRecord, Body, Envelope, ExchangeBody, Receipt, RefusalBody, RegisterRefusal, body,
    },
};
use prost::Message;

use crate::Exit;

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
        "rules version {} and directory version {} are signed as the pinned root demands",
        trust.rules.document().version,
        trust.directory.document().version
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
    let unverified = check_request(trust, &body.signed_request, steps)?;
    let request = &unverified.request;
    let permit = Permit::parse(&body.permit).map_err(|error| error.to_string())?;
    let again = decide(&trust.rules, &trust.directory, &Question::from(request), request.digest)
        .map_err(|refused| format!("the rules refuse it: {}", refused.reason))?;
    if again != permit {
        return Err("decided again under the same rules, it comes out differently".to_owned());
    }
    steps.push(format!("decided again, the rules permit the {} fields", permit.fields().len()));
    let register =
        trust.directory.register(&request.register).ok_or("the directory has no such register")?;
    let kind = trust
        .rules
        .evidence_type(&request.evidence_type)
        .ok_or("the rules have no such evidence type")?;
    let commitment = Commitment::verify(&body.commitment, &register.keys)
        .and_then(|commitment| {
            commitment.check(request.digest, permit.digest(), kind.slots)?;
            Ok(commitment)
        })
        .map_err(|error| error.to_string())?;
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
    Ok((request.ledger.clone(), commitment.day))
}

fn check_refusal(
    trust: &Trust,
    body: &RefusalBody,
    steps: &mut Vec<String>,
) -> Result<(String, u32), String> {
    let unverified = check_request(trust, &body.signed_request, steps)?;
    let request = unverified.request;
    let same = |digest: Digest, bytes: &[u8]| digest.as_bytes().as_slice() == bytes;
    if !same(trust.rules.digest(), &body.rules_digest)
        || !same(trust.directory.digest(), &body.directory_digest)
    {
        return Err("it was refused under other rules or another directory".to_owned());
    }
    let reason = Reason::parse(&body.reason).ok_or("its reason is none of the known ones")?;
    let decided = decide(&trust.rules, &trust.directory, &Question::from(&request), request.digest);
    let by_rules = decided.as_ref().err().map(|refused| refused.reason);
    if !body.register_refusal.is_empty() {
        check_register_refusal(trust, &request, body)?;
        steps.push(format!("the register `{}` signed its refusal: {reason}", request.register));
    } else if by_rules == Some(reason) {
        steps.push(format!("decided again, the rules refuse it: {reason}"));
    } else if matches!(reason, Reason::NotPermitted | Reason::PolicyError) {
        return Err("decided again under the same rules, it is not refused".to_owned());
    } else {
        steps.push(format!("the broker says that it was refused: {reason}"));
    }
    Ok((request.ledger, day_of(body.refused_at_ms)))
}

fn check_register_refusal(
    trust: &Trust,
    request: &Request,
    body: &RefusalBody,
) -> Result<(), String> {
    let register =
        trust.directory.register(&request.register).ok_or("the directory has no such register")?;
    let envelope = Envelope::parse(&body.register_refusal).map_err(|error| error.to_string())?;
    let payload = envelope
        .verified(payload_type::REFUSAL, &register.keys)
        .map_err(|_| "the refusal is not signed by the register")?;
    let refusal = RegisterRefusal::decode(payload).map_err(|_| "the refusal is malformed")?;
    if refusal.request_digest != request.digest.to_vec() || refusal.reason != body.reason {
        return Err("the register's refusal is of another request or reason".to_owned());
    }
    Ok(())
}

fn check_request(
    trust: &Trust,
    signed_request: &[u8],
    steps: &mut Vec<String>,
) -> Result<Unverified, String> {
    let unverified = Unverified::parse(signed_request).map_err(|error| error.to_string())?;
    let request = &unverified.request;
    let authority = trust
        .directory
        .authority(&request.authority)
        .ok_or("the directory has no such authority")?;
    unverified.membership.verify(&authority.keys).map_err(|error| error.to_string())?;
    steps.push(format!("the authority `{}` signed the request {}", request.authority, request.id));
    Ok(unverified)
}
