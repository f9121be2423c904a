// SPDX-License-Identifier: EUPL-1.2
//! PURPOSE-BOUND and ONCE: what a register commits to, it has checked itself.

use einmal_peer::Clock;
use einmal_protocol::{
    Digest, Reason,
    key::SigningKey,
    time::{REQUEST_LIFE_MS, SKEW_MS},
    wire::{
        register::v1::Open,
        v1::{self, FieldGrant, Request, SignedRequest},
    },
};
use prost::Message;

use crate::{
    asker::{Asked, Draft, plain_of, sign},
    case::{Case, Problem, Tried, case},
    line::After,
    questions::Target,
    stage::{Declined, SILENCE, Stage},
    world::STRANGER,
};

pub(crate) const CASES: &[Case] = &[
    case!(
        "signature",
        "SIGNED-ALL-THE-WAY",
        signature,
        "Requests without a signature, signed by another authority, by a stranger or for another \
         batch, and with a changed byte, are refused before anything is looked up.",
        "Verify the batch's signature with the keys that the directory names for the authority, \
         and the request's path to the signed root (docs/protocol.md § 4).",
    ),
    case!(
        "time",
        "ONCE",
        time,
        "A request older than five minutes is refused with REQUEST_EXPIRED, one from the future \
         with CLOCK_SKEW.",
        "Check the time in the request's id against your own clock; is that clock right?",
    ),
    case!(
        "permit",
        "PURPOSE-BOUND",
        permit,
        "A broker's permit that is wider, narrower, by other policies, for another request, of \
         other rules, in other bytes, garbage or missing is refused with PERMIT_DIFFERS.",
        "Decide again from your own rules and directory and compare byte for byte.",
    ),
    case!(
        "not-permitted",
        "PURPOSE-BOUND",
        not_permitted,
        "A field, a purpose and an authority that the rules do not permit are refused with \
         NOT_PERMITTED, though the broker's permit claims them.",
        "Ask the rules, not the permit.",
    ),
    case!(
        "other-register",
        "PURPOSE-BOUND",
        other_register,
        "A request for a register that is not here, and for an evidence type that this one does \
         not hold, are declined.",
        "Compare the request's register with those you speak for, its type with the directory.",
    ),
    case!(
        "check-digit",
        "PURPOSE-BOUND",
        check_digit,
        "A question with a wrong check digit in the identification number is refused with \
         BAD_CHECK_DIGIT, and nothing is looked up (IDNrG § 5 (3)).",
        "Check ISO 7064 MOD 11,10 before any lookup.",
    ),
    case!(
        "query",
        "PURPOSE-BOUND",
        query,
        "A person who is named in none of the three lawful ways (IDNrG § 6 (3)), in two of them, \
         with a malformed date or not at all is refused.",
        "Accept exactly one way: number; names; or family name and residence; each with the date.",
    ),
    case!(
        "declared",
        "PURPOSE-BOUND",
        declared,
        "A request that hides or invents the use of the identification number is refused with \
         DECLARED_NOT_REAL.",
        "Compare `idnr_used` with the opened person.",
    ),
    case!(
        "sealed-person",
        "SIGNED-ALL-THE-WAY",
        sealed_person,
        "A sealed person that is another request's, garbage, not padded or missing is refused \
         with PERSON_NOT_OPENED.",
        "Compare its digest with the request's, and open it with the AAD of the request.",
    ),
    case!(
        "replay",
        "ONCE",
        replay,
        "A request id whose evidence was revealed is answered no second time, on this stream or \
         the next, though it was truly logged twice.",
        "Remember the ids that you revealed for ten minutes, for all streams together.",
    ),
];

impl Stage {
    fn asked_with(
        &self,
        draft: &Draft,
        change: impl FnOnce(&mut Request),
    ) -> Result<Asked, Problem> {
        let plain = plain_of(&draft.person).map_err(Problem::failed)?;
        self.world.ask_with(draft, &plain, change).map_err(Problem::failed)
    }

    /// Each must be refused for its reasons.
    async fn all_refused(&mut self, opens: Vec<(&str, Asked, Open)>, reasons: &[Reason]) -> Tried {
        let count = opens.len();
        for (name, asked, open) in opens {
            self.refused(&asked, open, reasons).await.map_err(|problem| problem.at(name))?;
        }
        self.still_serves().await?;
        Ok(format!("{count} refused, and an honest one after them answered"))
    }

    /// An honest request, opened otherwise.
    fn opened(
        &mut self,
        change: impl FnOnce(&Self, &Asked, &mut Open),
    ) -> Result<(Asked, Open), Problem> {
        let asked = self.ask_main()?;
        let mut open = self.open_of(&asked);
        change(self, &asked, &mut open);
        Ok((asked, open))
    }
}

/// The signed request with other bytes in it.
fn tampered(asked: &Asked, change: impl FnOnce(&mut SignedRequest)) -> Vec<u8> {
    let mut signed = SignedRequest::decode(asked.signed_request.as_slice()).unwrap_or_default();
    change(&mut signed);
    signed.encode_to_vec()
}

fn flip(bytes: &mut [u8], at: usize) {
    let length = bytes.len().max(1);
    if let Some(byte) = bytes.get_mut(at % length) {
        *byte ^= 1;
    }
}

async fn signature(stage: &mut Stage) -> Tried {
    let asked = stage.ask_main()?;
    let stranger_key = SigningKey::from_seed(&[5; 32]).map_err(Problem::failed)?;
    let by = |key: &SigningKey| sign(&asked.request, key).map_err(Problem::failed);
    let world = std::sync::Arc::clone(&stage.world);
    let other = world.authority(STRANGER).ok_or_else(|| Problem::not_checked("no stranger"))?;
    let unsigned = tampered(&asked, |signed| {
        signed.batch.get_or_insert_default().signatures.clear();
    });
    let broken = tampered(&asked, |signed| {
        for signature in &mut signed.batch.get_or_insert_default().signatures {
            flip(&mut signature.signature, 7);
        }
    });
    let elsewhere = stage.ask_main()?;
    let of_other_batch = tampered(&asked, |signed| {
        let other = SignedRequest::decode(elsewhere.signed_request.as_slice()).unwrap_or_default();
        signed.batch = other.batch;
    });
    let changed = tampered(&asked, |signed| flip(&mut signed.request, 3));
    let cases = [
        ("without a signature", unsigned, Some(Reason::BadSignature)),
        ("with a changed signature", broken, Some(Reason::BadSignature)),
        ("signed by nobody known", by(&stranger_key)?, Some(Reason::BadSignature)),
        ("signed by another authority", by(other)?, Some(Reason::BadSignature)),
        ("not in the signed batch", of_other_batch, None),
        ("with a changed byte", changed, None),
        ("garbage", vec![0xff; 1000], None),
        ("empty", Vec::new(), None),
    ];
    let count = cases.len();
    for (name, signed_request, reason) in cases {
        let open = Open { signed_request, ..stage.open_of(&asked) };
        let declined = stage.declined(&asked, open).await.map_err(|p| p.at(name))?;
        let is_right = match (reason, &declined) {
            (Some(reason), Declined::Refused(got)) => *got == reason,
            // It may not be known which request it is: then there is nothing to sign about.
            (None, Declined::Refused(_) | Declined::Fault(_)) => true,
            _ => false,
        };
        if !is_right {
            return Err(Problem::failed(format!("{name}: {declined}")));
        }
    }
    stage.still_serves().await?;
    Ok(format!("{count} declined, and an honest one after them answered"))
}

async fn time(stage: &mut Stage) -> Tried {
    let now_ms = Clock::system().now_ms();
    let times = [
        ("an hour old", now_ms - 3_600_000, Reason::RequestExpired),
        ("just over five minutes old", now_ms - REQUEST_LIFE_MS - 5_000, Reason::RequestExpired),
        ("just over two minutes ahead", now_ms + SKEW_MS + 15_000, Reason::ClockSkew),
        ("a day ahead", now_ms + 86_400_000, Reason::ClockSkew),
    ];
    for (name, issued_at_ms, reason) in times {
        let draft = Draft { issued_at_ms, ..stage.draft(&stage.main.clone()) };
        let asked = stage.world.ask(&draft).map_err(Problem::failed)?;
        let open = stage.open_of(&asked);
        stage.refused(&asked, open, &[reason]).await.map_err(|problem| problem.at(name))?;
    }
    stage.still_serves().await?;
    Ok("4 refused, and an honest one after them answered".to_owned())
}

async fn permit(stage: &mut Stage) -> Tried {
    type Change = fn(&mut v1::Permit);
    let changes: [(&str, Change); 6] = [
        ("by other policies", |permit| {
            for grant in &mut permit.fields {
                grant.policies = vec!["other".to_owned()];
            }
        }),
        ("without its fields", |permit| permit.fields.clear()),
        ("of other rules", |permit| permit.rules_digest = Digest::of(b"mine").to_vec()),
        ("of another directory", |permit| {
            permit.directory_digest = permit.rules_digest.clone();
        }),
        ("without the areas", |permit| permit.crosses_areas = !permit.crosses_areas),
        ("for a request that is not", |permit| {
            permit.request_digest = Digest::of(b"another").to_vec();
        }),
    ];
    let mut opens = Vec::new();
    for (name, change) in changes {
        let (asked, open) = stage.opened(|_, _, open| {
            let mut permit = v1::Permit::decode(open.permit.as_slice()).unwrap_or_default();
            change(&mut permit);
            open.permit = permit.encode_to_vec();
        })?;
        opens.push((name, asked, open));
    }
    let wider = stage.main.choice.refused.first().cloned();
    if let Some(field) = wider {
        let (asked, open) = stage.opened(|_, _, open| {
            let mut permit = v1::Permit::decode(open.permit.as_slice()).unwrap_or_default();
            permit.fields.push(FieldGrant { field, policies: vec!["check".to_owned()] });
            open.permit = permit.encode_to_vec();
        })?;
        opens.push(("wider by a field", asked, open));
    }
    let other = stage.ask_main()?;
    let other = stage.world.permit(&other);
    let (asked, open) = stage.opened(|_, _, open| open.permit = other)?;
    opens.push(("for another request", asked, open));
    // A field that nobody knows: the same permit, in other bytes.
    let (asked, open) = stage.opened(|_, _, open| open.permit.extend([0x78, 0x01]))?;
    opens.push(("in other bytes", asked, open));
    let (asked, open) = stage.opened(|_, _, open| open.permit.clear())?;
    opens.push(("missing", asked, open));
    let (asked, open) = stage.opened(|_, _, open| open.permit = vec![0xff; 100])?;
    opens.push(("garbage", asked, open));
    stage.all_refused(opens, &[Reason::PermitDiffers]).await
}

async fn not_permitted(stage: &mut Stage) -> Tried {
    let main = stage.main.clone();
    let mut drafts = vec![(
        "an authority without any rule",
        Draft { authority: STRANGER.to_owned(), ..stage.draft(&main) },
    )];
    if let Some(purpose) = main.choice.other_purpose.clone() {
        drafts.push(("another purpose", Draft { purpose, ..stage.draft(&main) }));
    }
    if let Some(field) = main.choice.refused.first() {
        let mut draft = stage.draft(&main);
        draft.fields.push(field.clone());
        draft.fields.sort_unstable();
        drafts.push(("a field more", draft));
    }
    let mut opens = Vec::new();
    for (name, draft) in drafts {
        let asked = stage.world.ask(&draft).map_err(Problem::failed)?;
        let open = stage.open_of(&asked);
        opens.push((name, asked, open));
    }
    stage.all_refused(opens, &[Reason::NotPermitted]).await
}

async fn other_register(stage: &mut Stage) -> Tried {
    let main = stage.main.clone();
    let draft = stage.draft(&main);
    let mut tried = vec!["another register"];
    let asked = stage.asked_with(&draft, |request| request.register = "elsewhere".to_owned())?;
    let open = stage.open_of(&asked);
    match stage.declined(&asked, open).await? {
        Declined::Fault(_) | Declined::Refused(_) => {}
        Declined::Ended => return Err(Problem::failed("it ended the stream; a Decline must come")),
    }
    let directory = std::sync::Arc::clone(&stage.world.trust.directory);
    let held = directory.register(&main.register).map(|found| found.entry.evidence_types.clone());
    let types = stage.world.trust.rules.document().evidence_types.clone();
    let not_held = types.iter().find(|t| held.as_ref().is_some_and(|held| !held.contains(&t.id)));
    if let Some(kind) = not_held {
        let fields = kind.fields.iter().take(1).map(|field| field.name.clone()).collect();
        let draft = Draft { evidence_type: kind.id.clone(), fields, ..draft };
        let asked = stage.world.ask(&draft).map_err(Problem::failed)?;
        let open = stage.open_of(&asked);
        stage.refused(&asked, open, &[Reason::NotHeldByRegister]).await?;
        tried.push("an evidence type that it does not hold");
    }
    stage.still_serves().await?;
    Ok(format!("declined: {}", tried.join(", ")))
}

/// A target of the same register whose way uses the number, or not.
fn target_by(stage: &Stage, idnr: bool) -> Result<Target, Problem> {
    let of = |target: &&Target| {
        target.register == stage.main.register && target.person.idnr.is_empty() != idnr
    };
    let found = std::iter::once(&stage.main).chain(stage.targets.iter()).find(of).cloned();
    found.ok_or_else(|| {
        let with = if idnr { "with" } else { "without" };
        Problem::not_checked(format!("no question {with} the identification number is permitted"))
    })
}

async fn check_digit(stage: &mut Stage) -> Tried {
    let target = target_by(stage, true)?;
    let mut opens = Vec::new();
    for off in 1..10_u32 {
        let mut draft = stage.draft(&target);
        let mut digits: Vec<u32> =
            draft.person.idnr.chars().filter_map(|c| c.to_digit(10)).collect();
        if let Some(last) = digits.last_mut() {
            *last = (*last + off) % 10;
        }
        draft.person.idnr = digits.iter().filter_map(|d| char::from_digit(*d, 10)).collect();
        let asked = stage.world.ask(&draft).map_err(Problem::failed)?;
        let open = stage.open_of(&asked);
        opens.push(("a wrong check digit", asked, open));
    }
    stage.all_refused(opens, &[Reason::BadCheckDigit]).await
}

async fn query(stage: &mut Stage) -> Tried {
    let target = target_by(stage, false)?;
    type Change = fn(&mut v1::Person);
    let changes: [(&str, Change); 7] = [
        ("nobody", |person| *person = v1::Person::default()),
        ("a family name alone", |person| {
            let (family_name, birth_date) = (person.family_name.clone(), person.birth_date.clone());
            *person = v1::Person { family_name, birth_date, ..v1::Person::default() };
        }),
        ("without the birth date", |person| person.birth_date.clear()),
        ("with a malformed date", |person| person.birth_date = "1.2.1990".to_owned()),
        ("with a day that is none", |person| person.birth_date = "1990-02-30".to_owned()),
        ("in two ways at once", |person| {
            person.given_names = "Niemand".to_owned();
            person.postcode = "00000".to_owned();
            person.place = "Nirgendwo".to_owned();
        }),
        ("with half a residence", |person| {
            person.given_names.clear();
            person.place.clear();
            person.postcode = "00000".to_owned();
        }),
    ];
    let mut opens = Vec::new();
    for (name, change) in changes {
        let mut draft = stage.draft(&target);
        change(&mut draft.person);
        let asked = stage.world.ask(&draft).map_err(Problem::failed)?;
        let open = stage.open_of(&asked);
        opens.push((name, asked, open));
    }
    stage.all_refused(opens, &[Reason::QueryNotLawful, Reason::PersonNotOpened]).await
}

async fn declared(stage: &mut Stage) -> Tried {
    let (mut opens, mut missing) = (Vec::new(), None);
    for idnr in [true, false] {
        // What is declared must be permitted by itself, or the rules would refuse it first.
        let other = target_by(stage, !idnr);
        match (target_by(stage, idnr), other) {
            (Ok(target), Ok(other)) => {
                let draft = Draft {
                    authority: other.choice.authority.clone(),
                    evidence_type: other.evidence_type.clone(),
                    fields: other.choice.fields.clone(),
                    purpose: other.choice.purpose.clone(),
                    initiation: other.choice.initiation,
                    ..stage.draft(&target)
                };
                let asked = stage.asked_with(&draft, |request| request.idnr_used = !idnr)?;
                let open = stage.open_of(&asked);
                let name = if idnr { "used and not declared" } else { "declared and not used" };
                opens.push((name, asked, open));
            }
            (Err(problem), _) | (_, Err(problem)) => missing = Some(problem),
        }
    }
    match missing {
        Some(problem) => Err(problem),
        None => stage.all_refused(opens, &[Reason::DeclaredNotReal]).await,
    }
}

async fn sealed_person(stage: &mut Stage) -> Tried {
    let main = stage.main.clone();
    let other = stage.ask_main()?;
    let mut opens = Vec::new();
    let asked = stage.ask_main()?;
    let open = Open { sealed_person: other.sealed_person.clone(), ..stage.open_of(&asked) };
    opens.push(("another request's", asked, open));
    // The authority itself puts one person's seal beside another request.
    let digest = Digest::of(&other.sealed_person).to_vec();
    let draft = stage.draft(&main);
    let asked = stage.asked_with(&draft, |request| request.sealed_person_digest = digest)?;
    let open = Open { sealed_person: other.sealed_person, ..stage.open_of(&asked) };
    opens.push(("another request's, signed", asked, open));
    for (name, bytes) in [("missing", Vec::new()), ("garbage", vec![0xff; 1200])] {
        let asked = stage.ask_main()?;
        let open = Open { sealed_person: bytes, ..stage.open_of(&asked) };
        opens.push((name, asked, open));
    }
    let asked = stage.world.ask_with(&draft, b"short", |_| ()).map_err(Problem::failed)?;
    let open = stage.open_of(&asked);
    opens.push(("not padded", asked, open));
    stage.all_refused(opens, &[Reason::PersonNotOpened]).await
}

async fn replay(stage: &mut Stage) -> Tried {
    let asked = stage.ask_main()?;
    let (first, second) = (stage.open_of(&asked), stage.open_of(&asked));
    let first = stage.commit(&asked, first).await?;
    // A second commitment may be made: nothing was revealed yet. Or it is refused already.
    let exchange = second.exchange;
    stage.line.open(second.clone()).await;
    let second = stage.committed(&asked, second).await;
    stage.reveal(&first).await?;
    if let Ok(second) = second {
        stage.log(&second).await;
        match stage.line.after(exchange, SILENCE).await {
            After::Silent | After::Other(_) => {}
            After::Ended => stage.reattach().await?,
            After::Revealed(_) | After::Partly(_) => {
                return Err(Problem::failed("it revealed twice for one request id"));
            }
        }
    }
    let late = stage.open_of(&asked);
    stage.refused(&asked, late, &[Reason::Replayed]).await?;
    stage.last_a_while().await;
    stage.begin_anew().await?;
    let late = stage.open_of(&asked);
    stage
        .refused(&asked, late, &[Reason::Replayed])
        .await
        .map_err(|problem| problem.at("on the next stream"))?;
    stage.still_serves().await?;
    Ok("refused on the same stream and on the next".to_owned())
}
