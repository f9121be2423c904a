// SPDX-License-Identifier: EUPL-1.2
//! Keeper and pages as two parts that know each other over real mTLS only: pages hold no key and get
//! nothing but what a logged-in person may see (READ-ONLY-BY-ITS-OWNER).

use std::{net::SocketAddr, path::Path, sync::Arc};

use einmal::{
    demo::{
        application,
        house::House,
        plan::{Plan, TRUST_DOMAIN},
    },
    doctor::{self, Level},
    pki::CertificateAuthority,
};
use einmal_cockpit::{
    keeper::{self, PagesDoor},
    login::{Attempt, DemoProvider, Login, LoginConfig, LoginProof, LoginSecret, Provider},
    serve::{KeeperConfig, PagesConfig, RunningKeeper, start_keeper, start_pages},
};
use einmal_peer::{
    PeerRole, SpiffeId, Tls, TlsFiles,
    dial::{self, Target},
};
use einmal_protocol::wire::cockpit::v1::{
    GetStatusRequest, HandInRequest, ListRecordsRequest,
    checkpoint_service_client::CheckpointServiceClient,
};
use einmal_test_servers::free_port;
use tonic::{Code, transport::Channel};

use crate::{citizen::Browser, figures, world::World};

fn certificate(plan: &Plan, role: PeerRole, id: &str) -> TlsFiles {
    let authority = CertificateAuthority::open(&plan.folder.join("pki"))
        .unwrap_or_else(|exit| panic!("{exit}"));
    let trust_domain = TRUST_DOMAIN.to_owned();
    let name = SpiffeId { trust_domain, role, id: id.to_owned() };
    let file = format!("{}-{id}", role.as_str());
    authority.issue(&name, &file, &["127.0.0.1".to_owned()]).unwrap_or_else(|exit| panic!("{exit}"))
}

/// The demo's identity provider, which is neither half's, for pages at this address.
async fn provider(house: &House, pages: SocketAddr) -> LoginConfig {
    let config = einmal::cockpit::read(&house.plan.config("cockpit"));
    let persons = config.unwrap_or_else(|exit| panic!("{exit}")).demo_persons;
    let url = format!("http://{pages}");
    DemoProvider::start(persons, &url, house.clock.clone(), house.stop.clone()).await.unwrap()
}

/// The demo's keeper, without its pages. It needs to know nothing of where these are.
fn keeper_config(plan: &Plan, login: &LoginConfig) -> KeeperConfig {
    let config = einmal::cockpit::read_keeper(&plan.config("cockpit"))
        .unwrap_or_else(|exit| panic!("{exit}"));
    let door =
        PagesDoor { listen: "127.0.0.1:0".parse().unwrap(), allowed: vec!["pages-1".into()] };
    let login = Some(LoginConfig { public_url: None, ..login.clone() });
    let metrics = Some("127.0.0.1:0".parse().unwrap());
    KeeperConfig { login, pages: Some(door), metrics, ..config }
}

fn pages_config(
    plan: &Plan,
    keeper: &RunningKeeper,
    (state, listen, login): (&Path, SocketAddr, LoginConfig),
) -> PagesConfig {
    let both =
        einmal::cockpit::read(&plan.config("cockpit")).unwrap_or_else(|exit| panic!("{exit}"));
    PagesConfig {
        keeper_address: address(keeper),
        tls: certificate(plan, PeerRole::Pages, "pages-1"),
        state: state.to_owned(),
        metrics: Some("127.0.0.1:0".parse().unwrap()),
        listen,
        ..both.pages(login)
    }
}

fn address(keeper: &RunningKeeper) -> String {
    format!("https://{}", keeper.pages.unwrap())
}

fn dial(keeper: &RunningKeeper, tls: &TlsFiles) -> Channel {
    let (address, trust_domain) = (address(keeper), TRUST_DOMAIN.to_owned());
    let target = Target { address, trust_domain, role: PeerRole::Cockpit, id: None };
    dial::channel(&target, Arc::clone(&Tls::load(tls).unwrap().client)).unwrap()
}

fn files_below(folder: &Path, into: &mut Vec<String>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files_below(&path, into);
        } else {
            into.push(path.display().to_string());
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_of_their_own_show_records_and_hold_no_key() {
    let world = World::start().await;
    let client = world.house.client().await.unwrap();
    client.ask(world.ask("pay-data")).await.unwrap();
    let World { house, folder } = world;
    let at: SocketAddr = format!("127.0.0.1:{}", free_port()).parse().unwrap();
    let login = provider(&house, at).await;
    let (plan, clock) = (house.plan, house.clock);
    house.cockpit.stop().await;
    let keeper = start_keeper(&keeper_config(&plan, &login), clock.clone()).await.unwrap();
    while keeper.keeper.size().await.unwrap() == 0 {
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    let state = folder.path().join("pages");
    let config = pages_config(&plan, &keeper, (&state, at, login.clone()));
    let nowhere =
        PagesConfig { login: LoginConfig { public_url: None, ..login.clone() }, ..config.clone() };
    let refused = start_pages(&nowhere, clock.clone()).await.err().unwrap();
    assert!(refused.to_string().contains("public_url"), "{refused}");
    let pages = start_pages(&config, clock.clone()).await.unwrap();

    let person = plan.town.person(plan.town.applicant).unwrap();
    let mut browser = Browser::log_in(pages.address, person).await;
    let records = browser.records().await;
    assert_eq!(records.len(), 1);
    let page = browser.get(&format!("/zugriffe/{}", records[0])).await;
    assert!(page.status == 200 && page.text.contains("Geprüft"), "{}", page.text);

    // All that the pages' half has on disk is documents that everybody may read.
    let mut files = Vec::new();
    files_below(&state, &mut files);
    assert!(!files.is_empty());
    for file in &files {
        assert!(file.contains("/pages/archive/") || file.contains("/pages/trust."), "{file}");
    }
    tokens_of_others(&plan, &keeper, &login, &clock).await;
    // Each half shows its own figures, and what ends when.
    for at in [keeper.metrics, pages.metrics] {
        assert_eq!(figures::get(at, "/readyz").await, (200, "ready\n".to_owned()));
        let text = figures::get(at, "/metrics").await.1;
        assert!(text.contains("einmal_expires_seconds{what=\"certificate\"}"), "{text}");
    }
    // With the keeper gone there is no record, and the pages say so.
    keeper.stop().await;
    let why = (503, "the keeper does not answer\n".to_owned());
    assert_eq!(figures::get(pages.metrics, "/readyz").await, why);
    let page = browser.get("/zugriffe").await;
    assert!(page.status >= 500, "{}", page.status);
    pages.stop().await;
    house.broker.stop().await;
}

/// Pages in wrong hands, with tokens that are good elsewhere: each is refused, and nothing is shown.
async fn tokens_of_others(
    plan: &Plan,
    keeper: &RunningKeeper,
    login: &LoginConfig,
    clock: &einmal_peer::Clock,
) {
    let own = certificate(plan, PeerRole::Pages, "pages-1");
    let mut pages = keeper::client(dial(keeper, &own));
    let person = plan.town.person(plan.town.applicant).unwrap();
    let url = login.public_url.clone().unwrap();
    let stop = tokio_util::sync::CancellationToken::new();
    let persons = einmal::cockpit::read(&plan.config("cockpit"));
    let persons = persons.unwrap_or_else(|exit| panic!("{exit}")).demo_persons;
    let start = DemoProvider::start(persons, &url, clock.clone(), stop.clone());
    let foreign = Provider::new(&start.await.unwrap(), clock.clone()).unwrap();
    let own = Provider::new(login, clock.clone()).unwrap();
    let (good, foreign) = (log_in(&own).await, log_in(&foreign).await);
    let LoginProof::Oidc(proof) = &good.proof else { panic!("a token") };
    let mut cut = proof.clone();
    let end = cut.id_token.len() - 4;
    cut.id_token.truncate(end);
    let mut ask = async |proof: Option<&LoginProof>, subject| {
        let login = proof.map(Into::into);
        let list = ListRecordsRequest { subject, login, ..ListRecordsRequest::default() };
        pages.list_records(list).await.map(|answer| answer.into_inner().total)
    };
    assert_eq!(ask(Some(&good.proof), None).await.unwrap(), 1);
    for (what, proof) in [
        ("of another issuer", foreign.proof.clone()),
        ("changed", LoginProof::Oidc(cut)),
        ("none", LoginProof::Demo),
    ] {
        let subject = Some(application::subject(person));
        let refused = ask(Some(&proof), subject).await.unwrap_err();
        assert_eq!(refused.code(), Code::Unauthenticated, "{what}: {refused}");
    }
    stop.cancel();
    // A keeper that expects another client, or a higher level, takes none of these.
    for other in [
        LoginConfig { client_id: "another-cockpit".into(), ..login.clone() },
        LoginConfig { acr: vec!["higher".into()], ..login.clone() },
    ] {
        let other = Provider::new(&other, clock.clone()).unwrap();
        assert!(other.proven(proof).await.is_err());
    }
}

/// Logs in as the first person, without any pages.
async fn log_in(provider: &Provider) -> Login {
    let secret = LoginSecret::new(zeroize::Zeroizing::new([9; 32]));
    let attempt = Attempt { state: "s".repeat(43), secret, verifier: "v".repeat(43) };
    let url = provider.begin(&attempt, "de").await.unwrap();
    let code = crate::citizen::code_of_first_person(&url).await;
    provider.finish(&attempt, &code).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn only_named_pages_get_in_and_only_with_a_login_that_counts() {
    let World { house, folder } = World::start().await;
    let login = provider(&house, "127.0.0.1:1".parse().unwrap()).await;
    let (plan, clock) = (house.plan, house.clock);
    house.cockpit.stop().await;
    let keeper = start_keeper(&keeper_config(&plan, &login), clock.clone()).await.unwrap();
    for (role, id) in [
        (PeerRole::Pages, "pages-2"),
        (PeerRole::Operator, "pages-1"),
        (PeerRole::Auditor, "pages-1"),
        (PeerRole::Broker, "pages-1"),
        (PeerRole::Cockpit, "pages-1"),
    ] {
        let tls = certificate(&plan, role, id);
        let refused = keeper::client(dial(&keeper, &tls)).get_status(GetStatusRequest {}).await;
        assert_eq!(refused.unwrap_err().code(), Code::PermissionDenied, "{role:?} {id}");
    }
    let own = certificate(&plan, PeerRole::Pages, "pages-1");
    let channel = dial(&keeper, &own);
    let mut pages = keeper::client(channel.clone());
    pages.get_status(GetStatusRequest {}).await.unwrap();
    // Nothing else is served there.
    let other = CheckpointServiceClient::new(channel)
        .hand_in(HandInRequest { checkpoint: String::new() })
        .await;
    assert_eq!(other.unwrap_err().code(), Code::Unimplemented);

    let person = plan.town.person(plan.town.applicant).map(application::subject);
    let list = ListRecordsRequest { subject: person, ..ListRecordsRequest::default() };
    let nobody = pages.list_records(list.clone()).await.unwrap_err();
    assert_eq!(nobody.code(), Code::Unauthenticated, "no login: {nobody}");
    let demo = ListRecordsRequest { login: application::demo_login(), ..list.clone() };
    let demo = pages.list_records(demo).await.unwrap_err();
    assert!(demo.message().contains("no demo logins"), "{demo}");
    let flood = ListRecordsRequest { page_token: "1".repeat(100_000), ..list };
    assert_eq!(pages.list_records(flood).await.unwrap_err().code(), Code::OutOfRange);

    doctor_says(&plan, &keeper, folder.path(), &clock).await;
    keeper.stop().await;
    house.broker.stop().await;
}

/// `einmal doctor --pages` looks at the way to the keeper.
async fn doctor_says(
    plan: &Plan,
    keeper: &RunningKeeper,
    folder: &Path,
    clock: &einmal_peer::Clock,
) {
    let demo = std::fs::read_to_string(plan.config("cockpit")).unwrap();
    let both: toml::Table = toml::from_str(&demo).unwrap();
    let mut table = toml::Table::new();
    for key in ["keeper", "broker", "root", "ledger", "tls"] {
        table.insert(key.into(), both[key].clone());
    }
    let login =
        [("issuer", "http://127.0.0.1:1"), ("client_id", "x"), ("public_url", "http://localhost")];
    let login = login.into_iter().map(|(key, value)| (key.to_owned(), value.into()));
    table.insert("login".into(), toml::Value::Table(login.collect()));
    for (key, value) in [
        ("state", "pages".to_owned()),
        ("listen", "127.0.0.1:0".to_owned()),
        ("keeper_address", address(keeper)),
    ] {
        table.insert(key.into(), value.into());
    }
    for (name, fails) in [("pages-1", false), ("pages-2", true)] {
        let tls = table["tls"].as_table_mut().unwrap();
        tls.insert("certificate".into(), format!("pki/pages-{name}.pem").into());
        tls.insert("key".into(), format!("pki/pages-{name}.key").into());
        let file = folder.join("pages.toml");
        std::fs::write(&file, toml::to_string(&table).unwrap()).unwrap();
        let args = doctor::Args { pages: vec![file], ..doctor::Args::default() };
        let found = doctor::examine(&args, clock).await;
        let failed: Vec<_> = found.iter().filter(|found| found.level == Level::Fail).collect();
        assert_eq!(failed.len(), usize::from(fails), "{found:?}");
        let keeper = found.iter().find(|found| found.what.contains("the keeper https"));
        assert_eq!(keeper.unwrap().level == Level::Fail, fails, "{found:?}");
    }
}
