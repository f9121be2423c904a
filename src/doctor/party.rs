// SPDX-License-Identifier: EUPL-1.2
//! Checks that are the same for every program: keys, certificate, documents, broker, key card.

use std::{
    error::Error,
    os::unix::fs::PermissionsExt,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use einmal_peer::{
    Clock, PeerRole, SpiffeId, Tls, TlsFiles, TrustStore,
    certificate::{self, Papers},
    dial::{self, Target},
    expiry, files, trust,
};
use einmal_policy::{Root, Trust, documents::Offer, freshness::STALE_MS, key_card::KeyCard};
use einmal_protocol::{
    key::{Algorithm, PublicKey, SigningKey},
    time::{DAY_MS, SKEW_MS, to_iso},
    wire::{
        cockpit::v1::GetStatusRequest,
        directory::v1::{ListKeyCardsRequest, directory_service_client::DirectoryServiceClient},
        v1::Envelope,
    },
};
use time::{
    PrimitiveDateTime, format_description::StaticFormatDescription, macros::format_description,
};
use tonic::{Status, transport::Channel};
use tonic_health::pb::{
    HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient,
};

use super::Chart;

/// A broker may take so long to answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// Clocks are read in whole seconds over the network: less than this is no difference.
const CLOCK_NOISE_MS: u64 = 2_000;
/// From here on a difference of clocks is worth a word.
const CLOCK_WARN_MS: u64 = 10_000;
/// A key card that ends sooner was not renewed when it should have been.
const CARD_WARN_MS: u64 = 10 * DAY_MS;
/// RFC 9110 § 5.6.7.
const HTTP_DATE: StaticFormatDescription = format_description!(
    "[weekday repr:short], [day] [month repr:short] [year] [hour]:[minute]:[second] GMT"
);

/// Who one is, and how one dials.
pub(super) struct Own {
    pub(super) id: SpiffeId,
    pub(super) ends_at_ms: u64,
    /// Nothing where the files do not fit each other.
    pub(super) tls: Option<Tls>,
}

/// The pinned root.
pub(super) struct Pinned {
    pub(super) envelope: Envelope,
    pub(super) trust_domain: String,
}

/// Whole days until then.
pub(super) fn days(ms: u64) -> String {
    match ms / DAY_MS {
        1 => "1 day".to_owned(),
        days => format!("{days} days"),
    }
}

/// Whether others may read a secret.
pub(super) fn secret(chart: &mut Chart, what: &str, path: &Path) {
    match std::fs::metadata(path) {
        Err(error) => {
            chart.fail(format!("{what}: {}: {error}", path.display()), "put the file there");
        }
        Ok(metadata) if metadata.permissions().mode() & 0o077 != 0 => chart.warn(
            format!("{what}: others may read {}", path.display()),
            "take their rights away: chmod 600",
        ),
        Ok(_) => chart.ok(format!("{what}: only its owner may read {}", path.display())),
    }
}

/// An identity key.
pub(super) fn key(chart: &mut Chart, what: &str, path: &Path) -> Option<SigningKey> {
    opened_key(chart, what, path, files::signing_key(path))
}

/// A key that was read, or not.
pub(super) fn opened_key(
    chart: &mut Chart,
    what: &str,
    path: &Path,
    opened: Result<SigningKey, impl std::fmt::Display>,
) -> Option<SigningKey> {
    secret(chart, what, path);
    let key = chart.value(opened, "put the right file there; `einmal pki key` makes a new key")?;
    chart.ok(format!("{what}: a key of type {}", name(key.public())));
    Some(key)
}

fn name(key: &PublicKey) -> &'static str {
    match key.algorithm() {
        Algorithm::Ed25519 => "Ed25519",
        Algorithm::EcdsaP256 => "ECDSA P-256",
    }
}

/// Whether the key that one has is the one that others expect.
pub(super) fn same_key(chart: &mut Chart, what: &str, key: &SigningKey, known: &[PublicKey]) {
    if known.contains(key.public()) {
        chart.ok(format!("{what}: the key is the one in the directory"));
    } else {
        chart.fail(
            format!("{what}: the key is not the one in the directory"),
            "use the right key, or have the register authority enter this one",
        );
    }
}

/// Certificate, authorities and revocation lists.
pub(super) fn papers(
    chart: &mut Chart,
    paths: &TlsFiles,
    role: PeerRole,
    now_ms: u64,
) -> Option<Own> {
    secret(chart, "the certificate's key", &paths.key);
    let install = "install a certificate of your PKI, its key and the authorities' certificates";
    let found = chart.value(certificate::papers(paths, now_ms), install)?;
    let Papers { id, ends_at_ms, problem, revocations } = found;
    if id.role != role {
        let needed = role.as_str();
        chart.fail(
            format!("the certificate is of {id}"),
            &format!("this program needs one of spiffe://<trust-domain>/{needed}/<id>"),
        );
    }
    match problem {
        Some(problem) => chart.fail(format!("the certificate of {id}: {problem}"), install),
        None if ends_at_ms.saturating_sub(now_ms) <= expiry::STEPS[0] * DAY_MS => chart.warn(
            format!("the certificate of {id} ends in {}", days(ends_at_ms.saturating_sub(now_ms))),
            "have a newer one made, then start the program anew",
        ),
        None => chart.ok(format!(
            "the certificate of {id}: the authorities vouch for it, {} left",
            days(ends_at_ms - now_ms)
        )),
    }
    for list in revocations {
        let age = days(now_ms.saturating_sub(list.made_at_ms));
        let path = list.path.display();
        let fetch = "fetch the authority's newest list, then start the program anew";
        match list.ends_at_ms {
            Some(end) if end <= now_ms => {
                chart.fail(format!("the revocation list {path} ended at {}", to_iso(end)), fetch);
            }
            Some(end) if end - now_ms < DAY_MS => {
                chart.warn(format!("the revocation list {path} ends at {}", to_iso(end)), fetch);
            }
            _ => chart.ok(format!("the revocation list {path} is {age} old")),
        }
    }
    if paths.revocations.is_empty() {
        chart.warn(
            "no revocation lists: a stolen certificate counts until it ends",
            "name your authority's lists as `revocations`",
        );
    }
    let tls = chart.value(Tls::load(paths), install);
    Some(Own { id, ends_at_ms, tls })
}

/// The pinned root, and whether the certificate is of its trust domain.
pub(super) fn pinned(chart: &mut Chart, path: &Path, own: Option<&Own>) -> Option<Pinned> {
    let pin = "pin the root that the register authority handed to you";
    let envelope = chart.value(files::envelope(path), pin)?;
    let root = Root::pinned(&envelope).map_err(|error| format!("the pinned root: {error}"));
    let trust_domain = chart.value(root, pin)?.document().trust_domain.clone();
    if let Some(own) = own.filter(|own| own.id.trust_domain != trust_domain) {
        chart.fail(
            format!("the certificate of {} is not of the trust domain {trust_domain}", own.id),
            "install a certificate of this trust domain, or pin the right root",
        );
    }
    Some(Pinned { envelope, trust_domain })
}

/// Root, rules, directory, deny list and freshness, as they are held and offered.
pub(super) fn documents(
    chart: &mut Chart,
    (pinned, offer, state): (&Pinned, &Offer, &Path),
    own: Option<&Own>,
    now_ms: u64,
) -> Option<Trust> {
    if offer.is_empty() && !state.exists() {
        chart.warn(
            "no documents were accepted yet, and no broker gives any",
            "mend the way to the broker, then look again",
        );
        return None;
    }
    let accepted = TrustStore::inspect(&pinned.envelope, offer, state, now_ms);
    let accepted = accepted.map_err(|error| format!("the documents are not accepted: {error}"));
    let publish = "have the register authority publish newer ones; `einmal root verify`, `rules \
                   verify` and `directory verify` say more";
    let (trust, _) = chart.value(accepted, publish)?;
    let own_end = own.map_or(u64::MAX, |own| own.ends_at_ms);
    let warnings = expiry::warnings(now_ms, &expiry::ends(&trust, own_end));
    let versions = [
        ("root", trust.root.document().version, trust.root.document().expires_at_ms),
        ("rules", trust.rules.document().version, trust.rules.document().expires_at_ms),
        ("directory", trust.directory.document().version, trust.directory.document().expires_at_ms),
    ];
    for (what, version, end) in versions {
        let left = days(end.saturating_sub(now_ms));
        match warnings.iter().find(|warning| warning.end.what == what) {
            None => chart.ok(format!("{what} version {version}: {left} left")),
            Some(warning) if warning.within_days == 0 => {
                chart.fail(format!("{what} version {version} ended at {}", to_iso(end)), publish);
            }
            Some(_) => chart.warn(
                format!("{what} version {version}: only {left} left"),
                "have a newer version made, signed and published",
            ),
        }
    }
    deny_list(chart, &trust, now_ms);
    Some(trust)
}

fn deny_list(chart: &mut Chart, trust: &Trust, now_ms: u64) {
    let Some(deny) = &trust.deny else {
        chart.fail(
            "there is no deny list: everything is refused",
            "`einmal deny init` makes the first, `einmal deny publish` gives it to the brokers",
        );
        return;
    };
    let (version, entries) = (deny.document().version, deny.document().entries.len());
    let list = format!("deny list version {version}, {entries} entries");
    let start = "see that `einmal online` runs, has the online key, and reaches the brokers";
    match trust.fresh_until_ms {
        0 => chart.fail(format!("{list}: nobody says that it is the newest"), start),
        until if until <= now_ms => chart.fail(
            format!("{list}: not said to be the newest since {}", to_iso(until - STALE_MS)),
            start,
        ),
        until => {
            let minutes = (until - now_ms) / 60_000;
            chart.ok(format!("{list}: known to be the newest, good for {minutes} minutes"));
        }
    }
}

/// Whether the broker at an address answers, serves, and has the same time.
pub(super) async fn broker(
    chart: &mut Chart,
    target: &Target,
    own: Option<&Own>,
    clock: &Clock,
) -> Option<Channel> {
    let tls = own.and_then(|own| own.tls.as_ref())?;
    let address = &target.address;
    let channel = dial::channel(target, Arc::clone(&tls.client));
    let channel = chart.value(channel, "mend the address in the configuration")?;
    let mut health = HealthClient::new(channel.clone());
    // The first connects; the second measures.
    let mut asked = None;
    for _ in 0..2 {
        let began = (Instant::now(), clock.now_ms());
        let check = health.check(HealthCheckRequest::default());
        let answer = match tokio::time::timeout(PATIENCE, check).await {
            Ok(answer) => answer,
            Err(_) => Err(Status::deadline_exceeded("no answer in time")),
        };
        match answer {
            Ok(answer) => asked = Some((answer, began.0.elapsed(), began.1)),
            Err(status) => {
                chart.fail(
                    format!("the broker {address} does not answer: {}", cause(&status)),
                    "see that it runs, that this machine reaches it, and that each believes the \
                     other's authority",
                );
                return None;
            }
        }
    }
    let (answer, took, sent_ms) = asked?;
    let millis = took.as_secs_f64() * 1e3;
    if answer.get_ref().status() == ServingStatus::Serving {
        chart.ok(format!("the broker {address} answers and serves, {millis:.1} ms away"));
    } else {
        chart.fail(
            format!("the broker {address} answers in {millis:.1} ms, but does not serve"),
            "look into its log, and run `einmal doctor` with its configuration",
        );
    }
    let date = answer.metadata().get("date").and_then(|date| date.to_str().ok());
    time_there(chart, date, sent_ms + u64::try_from(took.as_millis()).unwrap_or(0) / 2);
    Some(channel)
}

/// Whether the keeper at an address answers these pages.
pub(super) async fn keeper(chart: &mut Chart, target: &Target, own: &Own) {
    let Some(tls) = &own.tls else { return };
    let address = &target.address;
    let channel = dial::channel(target, Arc::clone(&tls.client));
    let Some(channel) = chart.value(channel, "mend `keeper_address`") else { return };
    let mut keeper = einmal_cockpit::keeper::client(channel);
    let asked = keeper.get_status(GetStatusRequest {});
    let answer = match tokio::time::timeout(PATIENCE, asked).await {
        Ok(answer) => answer,
        Err(_) => Err(Status::deadline_exceeded("no answer in time")),
    };
    match answer {
        Ok(_) => chart.ok(format!("the keeper {address} answers these pages")),
        Err(status) => chart.fail(
            format!("the keeper {address} does not answer: {}", cause(&status)),
            "see that it runs, that `keeper_address` is where its [pages] listens, and that its \
             `allowed` names these pages",
        ),
    }
}

/// Compares clocks by the `date` of an answer, which is of whole seconds.
fn time_there(chart: &mut Chart, date: Option<&str>, here_ms: u64) {
    let parsed = date.and_then(|date| PrimitiveDateTime::parse(date, HTTP_DATE).ok());
    let there_s = parsed.and_then(|date| u64::try_from(date.assume_utc().unix_timestamp()).ok());
    let Some(there_ms) = there_s.map(|seconds| seconds * 1000 + 500) else {
        chart.warn("the broker does not say its time", "compare the clocks yourself");
        return;
    };
    let differ_ms = there_ms.abs_diff(here_ms);
    let which = if there_ms > here_ms { "behind" } else { "ahead of" };
    let text = format!("this clock is {} s {which} the broker's", differ_ms / 1000);
    if differ_ms <= CLOCK_NOISE_MS {
        chart.ok("this clock and the broker's agree");
    } else if differ_ms < CLOCK_WARN_MS {
        chart.ok(text);
    } else if differ_ms < SKEW_MS {
        chart.warn(text, "set both by NTP: two minutes are the limit");
    } else {
        chart.fail(text, "set both by NTP: beyond two minutes all is refused");
    }
}

/// What is at the bottom of an error: the certificate, the name, the port.
fn cause(status: &Status) -> String {
    let mut deepest: &dyn Error = status;
    while let Some(source) = deepest.source() {
        deepest = source;
    }
    match deepest.downcast_ref::<Status>() {
        Some(status) => status.message().to_owned(),
        None => deepest.to_string(),
    }
}

/// The documents that a broker hands out.
pub(super) async fn offered(chart: &mut Chart, channel: Option<&Channel>) -> Offer {
    let Some(channel) = channel else { return Offer::default() };
    let fetched = match tokio::time::timeout(PATIENCE, trust::fetch(channel.clone())).await {
        Ok(fetched) => fetched.map_err(|status| cause(&status)),
        Err(_) => Err("no answer in time".to_owned()),
    };
    let fetched =
        fetched.map_err(|problem| format!("the broker does not hand out its trust: {problem}"));
    chart.value(fetched, "look into the broker's log").unwrap_or_default()
}

/// The key card of a participant, as the broker hands it out.
pub(super) async fn card(
    chart: &mut Chart,
    channel: &Channel,
    participant: &str,
    trust: &Trust,
    now_ms: u64,
) {
    let request = ListKeyCardsRequest { participants: vec![participant.to_owned()] };
    let mut directory = DirectoryServiceClient::new(channel.clone());
    let listed = tokio::time::timeout(PATIENCE, directory.list_key_cards(request)).await;
    let card = match listed {
        Ok(Ok(answer)) => answer.into_inner().cards.pop(),
        Ok(Err(_)) | Err(_) => None,
    };
    look_at_card(chart, card.as_ref(), participant, trust, now_ms);
}

/// A key card, if there is one.
pub(super) fn look_at_card(
    chart: &mut Chart,
    card: Option<&Envelope>,
    participant: &str,
    trust: &Trust,
    now_ms: u64,
) {
    let start = "start its adapter or keeper: it makes a card and gives it to the broker";
    let Some(card) = card else {
        chart.warn(format!("there is no key card of {participant}"), start);
        return;
    };
    let Some(keys) = trust.directory.card_keys(participant) else {
        chart.fail(format!("the directory does not know {participant}"), "have it entered");
        return;
    };
    match KeyCard::verify(card, participant, keys, None, now_ms) {
        Err(error) => chart.fail(format!("the key card of {participant}: {error}"), start),
        Ok(card) => {
            let left_ms = card.expires_at_ms().saturating_sub(now_ms);
            let text = format!(
                "key card of {participant}: version {}, {} left",
                card.accepted().version,
                days(left_ms)
            );
            if left_ms < CARD_WARN_MS {
                chart
                    .warn(text, "it should have been renewed: see that its adapter or keeper runs");
            } else {
                chart.ok(text);
            }
        }
    }
}
