// SPDX-License-Identifier: EUPL-1.2
//! What is checked of each program.

use std::path::Path;

use einmal_broker::{
    BrokerConfig, serve,
    shared::{self, SharedSection, Trouble},
};
use einmal_peer::{Archive, Clock, PeerRole, TlsFiles, dial::Target, files};
use einmal_policy::{Role, Trust};
use tonic::transport::Channel;

use super::{
    Chart, ledger,
    party::{self, Own, Pinned},
};
use crate::{
    Exit, adapter as adapters, broker as brokers, cockpit as cockpits, online, publisher, request,
};

const MEND: &str = "mend the configuration; deploy/config holds commented samples";

fn read<T>(file: &Path, read: fn(&Path) -> Result<T, Exit>) -> (Chart, Option<T>) {
    let mut chart = Chart::new(file);
    let config = chart.value(read(file), MEND);
    if config.is_some() {
        chart.ok("the configuration can be read");
    }
    (chart, config)
}

/// A broker.
pub(super) async fn broker(file: &Path, clock: &Clock) -> Chart {
    let (mut chart, config) = read(file, brokers::read);
    let Some(config) = config else { return chart };
    let now_ms = clock.now_ms();
    let own = party::papers(&mut chart, &config.tls, PeerRole::Broker, now_ms);
    let key = party::key(&mut chart, "the ledger's key", &config.ledger.key);
    let pinned = party::pinned(&mut chart, &config.root, own.as_ref());
    let trust = pinned.as_ref().and_then(|pinned| {
        let offer = chart.value(serve::offer(&config), MEND)?;
        let state = serve::state(&config);
        party::documents(&mut chart, (pinned, &offer, &state), own.as_ref(), now_ms)
    });
    ledger::look(&mut chart, &config.ledger, key.as_ref(), trust.as_ref()).await;
    if let Some(section) = &config.shared {
        redis(&mut chart, section, &config.ledger.origin).await;
    }
    if let (Some(trust), Some(pinned), Some(own)) = (&trust, &pinned, &own) {
        archive(&mut chart, &serve::archive(&config), trust);
        cards(&mut chart, &config, trust, now_ms);
        let brokers = &trust.directory.document().brokers;
        let entered = brokers.iter().find(|broker| broker.id == own.id.id);
        if entered.is_none() {
            chart.warn(
                format!("the directory has no broker {}", own.id.id),
                "have the register authority enter it: adapters attach to those in the directory",
            );
        }
        let listens = format!("https://{}", config.listen);
        let address = entered.map_or(listens, |broker| broker.address.clone());
        let target = Target {
            id: Some(own.id.id.clone()),
            ..Target::broker(&address, &pinned.trust_domain)
        };
        party::broker(&mut chart, &target, Some(own), clock).await;
    }
    chart
}

/// The Redis that brokers share.
async fn redis(chart: &mut Chart, section: &SharedSection, origin: &str) {
    match shared::examine(section, origin).await {
        Ok(()) => chart.ok("Redis takes what is written, and gives it back"),
        Err(error @ Trouble::Unusable(_)) => chart.fail(format!("[shared]: {error}"), MEND),
        Err(error @ Trouble::Away(_)) => chart.warn(
            error.to_string(),
            "start it or mend the way to it; meanwhile each broker grants its share of the quotas, \
             and retries at another broker get ANSWER_LOST",
        ),
    }
    if let Some(url) = section.in_the_clear() {
        chart.warn(
            format!("{url} is reached without TLS"),
            "write rediss://: what lies there is sealed, but the password is not",
        );
    }
}

/// Whether what is trusted now can be read from the archive again.
fn archive(chart: &mut Chart, folder: &Path, trust: &Trust) {
    let kept = Archive::inspect(folder).and_then(|archive| {
        let rules = archive.rules(trust.rules.digest())?.is_some();
        Ok(rules && archive.directory(trust.directory.digest())?.is_some())
    });
    match kept {
        Ok(true) => chart.ok("rules and directory are in the archive"),
        Ok(false) => chart.warn(
            "rules or directory are not in the archive",
            "start the program: it keeps what it accepts",
        ),
        Err(error) => chart.warn(
            format!("the archive: {error}"),
            "start the program: it keeps what it accepts, and mends a file that is damaged",
        ),
    }
}

/// The key cards that a broker hands out.
fn cards(chart: &mut Chart, config: &BrokerConfig, trust: &Trust, now_ms: u64) {
    let document = trust.directory.document();
    let registers = document.registers.iter().map(|register| &register.id);
    for id in registers.chain(document.keepers.iter().map(|keeper| &keeper.id)) {
        let card = config.state.join("cards").join(format!("{id}.card"));
        let card = files::envelope(&card).ok();
        party::look_at_card(chart, card.as_ref(), id, trust, now_ms);
    }
}

/// What a program that dials a broker found.
struct Dialled {
    own: Option<Own>,
    pinned: Option<Pinned>,
    trust: Option<Trust>,
    channel: Option<Channel>,
}

/// Certificate, root, broker and documents of a program that dials a broker.
async fn dialler(
    chart: &mut Chart,
    role: PeerRole,
    (tls, root, state): (&TlsFiles, &Path, &Path),
    address: &str,
    clock: &Clock,
) -> Dialled {
    let now_ms = clock.now_ms();
    let own = party::papers(chart, tls, role, now_ms);
    let pinned = party::pinned(chart, root, own.as_ref());
    let mut found = Dialled { own, pinned, trust: None, channel: None };
    let Some(pinned) = &found.pinned else { return found };
    let target = Target::broker(address, &pinned.trust_domain);
    found.channel = party::broker(chart, &target, found.own.as_ref(), clock).await;
    let offer = party::offered(chart, found.channel.as_ref()).await;
    let state = state.join("trust.json");
    found.trust = party::documents(chart, (pinned, &offer, &state), found.own.as_ref(), now_ms);
    found
}

/// An adapter.
pub(super) async fn adapter(file: &Path, clock: &Clock) -> Chart {
    let (mut chart, config) = read(file, adapters::read);
    let Some(config) = config else { return chart };
    let files = (&config.tls, config.root.as_path(), config.state.as_path());
    let found = dialler(&mut chart, PeerRole::Operator, files, &config.broker, clock).await;
    for register in &config.registers {
        let what = format!("register {}", register.id);
        let key = party::key(&mut chart, &what, &register.identity);
        let Some(trust) = &found.trust else { continue };
        let Some(entry) = trust.directory.register(&register.id) else {
            chart.fail(
                format!("the directory has no register {}", register.id),
                "have the register authority enter it",
            );
            continue;
        };
        if let Some(key) = key {
            party::same_key(&mut chart, &what, &key, &entry.keys);
        }
        if let Some(own) = &found.own {
            carries(
                &mut chart,
                &what,
                trust.directory.may_carry_for_register(&own.id.id, &register.id),
            );
        }
        let opened = adapters::open(register, &trust.rules.document().evidence_types).await;
        if chart.value(opened, "mend its sources or their mapping").is_some() {
            chart.ok(format!("{what}: its sources open, and fit the rules"));
        }
        if let Some(channel) = &found.channel {
            party::card(&mut chart, channel, &register.id, trust, clock.now_ms()).await;
        }
    }
    chart
}

fn carries(chart: &mut Chart, what: &str, may: bool) {
    if may {
        chart.ok(format!("{what}: this operator may carry for it"));
    } else {
        chart.fail(
            format!("{what}: this operator may not carry for it"),
            "have the register authority enter the operator, or use its certificate",
        );
    }
}

/// A keeper, alone or with its pages.
pub(super) async fn cockpit(file: &Path, clock: &Clock) -> Chart {
    let (mut chart, config) = read(file, cockpits::read_keeper);
    let Some(config) = config else { return chart };
    let key = party::key(&mut chart, "the keeper's key", &config.identity);
    if config.site_key.exists() {
        party::secret(&mut chart, "the site's key", &config.site_key);
    } else {
        chart.warn("there is no site key", "the first start makes it; otherwise find the old one");
    }
    for folder in &config.day_keys {
        if folder.is_dir() {
            chart.ok(format!("a folder for day keys: {}", folder.display()));
        } else {
            chart.warn(
                format!("there is no folder {} for day keys", folder.display()),
                "the first start makes it; otherwise mount its disk",
            );
        }
    }
    let files = (&config.tls, config.root.as_path(), config.state.as_path());
    let found = dialler(&mut chart, PeerRole::Cockpit, files, &config.broker, clock).await;
    let Some(trust) = &found.trust else { return chart };
    archive(&mut chart, &config.state.join("archive"), trust);
    match trust.directory.keeper(&config.keeper) {
        None => chart.fail(
            format!("the directory has no keeper {}", config.keeper),
            "have the register authority enter it",
        ),
        Some(keeper) => {
            if let Some(key) = key {
                party::same_key(&mut chart, "the keeper's key", &key, &keeper.keys);
            }
        }
    }
    let of_keeper = trust.directory.ledger(&config.ledger);
    if of_keeper.is_none_or(|ledger| ledger.entry.keeper != config.keeper) {
        chart.fail(
            format!("the directory names no ledger {} whose keeper this is", config.ledger),
            "mend `ledger`, or have the register authority enter it",
        );
    }
    if let Some(channel) = &found.channel {
        party::card(&mut chart, channel, &config.keeper, trust, clock.now_ms()).await;
    }
    chart
}

/// Pages of their own.
pub(super) async fn pages(file: &Path, clock: &Clock) -> Chart {
    let (mut chart, config) = read(file, cockpits::read_pages);
    let Some(config) = config else { return chart };
    let files = (&config.tls, config.root.as_path(), config.state.as_path());
    let found = dialler(&mut chart, PeerRole::Pages, files, &config.broker, clock).await;
    let Some(trust) = &found.trust else { return chart };
    archive(&mut chart, &config.state.join("archive"), trust);
    let of_keeper = trust.directory.ledger(&config.ledger);
    if of_keeper.is_none_or(|ledger| ledger.entry.keeper != config.keeper) {
        chart.fail(
            format!("the directory names no ledger {} with this keeper", config.ledger),
            "mend `ledger` or `keeper`",
        );
    }
    if let (Some(own), Some(pinned)) = (&found.own, &found.pinned) {
        let target = Target {
            address: config.keeper_address.clone(),
            trust_domain: pinned.trust_domain.clone(),
            role: PeerRole::Cockpit,
            id: Some(config.keeper.clone()),
        };
        party::keeper(&mut chart, &target, own).await;
    }
    chart
}

/// A client.
pub(super) async fn client(file: &Path, clock: &Clock) -> Chart {
    let (mut chart, config) = read(file, request::read);
    let Some(config) = config else { return chart };
    let key = party::key(&mut chart, "the authority's key", &config.identity);
    let files = (&config.tls, config.root.as_path(), config.state.as_path());
    let found = dialler(&mut chart, PeerRole::Operator, files, &config.broker, clock).await;
    let Some(trust) = &found.trust else { return chart };
    let Some(authority) = trust.directory.authority(&config.authority) else {
        chart.fail(
            format!("the directory has no authority {}", config.authority),
            "mend `authority`, or have the register authority enter it",
        );
        return chart;
    };
    let what = format!("authority {}", config.authority);
    if let Some(key) = key {
        party::same_key(&mut chart, &what, &key, &authority.keys);
    }
    if let Some(own) = &found.own {
        let may = trust.directory.may_carry_for_authority(&own.id.id, &config.authority);
        carries(&mut chart, &what, may);
    }
    chart
}

/// A publisher.
pub(super) async fn publisher(file: &Path, clock: &Clock) -> Chart {
    let (mut chart, config) = read(file, publisher::read);
    let Some(config) = config else { return chart };
    let key = config.online_key.as_ref().and_then(|path| {
        let opened = online::open_key(path, config.online_passphrase_file.as_deref());
        party::opened_key(&mut chart, "the online key", path, opened)
    });
    let files = (&config.tls, config.root.as_path(), config.state.as_path());
    let found = dialler(&mut chart, PeerRole::Operator, files, &config.broker, clock).await;
    if let (Some(key), Some(trust)) = (key, &found.trust) {
        let online = trust.root.key_ids().remove(&Role::Online).unwrap_or_default();
        if online.contains(&key.public().id()) {
            chart.ok("the online key is one of the root's");
        } else {
            chart.fail(
                "the online key is not one of the root's",
                "use the right key, or have it entered in a newer root",
            );
        }
    }
    chart
}
