// SPDX-License-Identifier: EUPL-1.2
//! READ-ONLY-BY-ITS-OWNER as a citizen meets it: the whole house, the pages behind TLS in a real
//! Chromium, a real OpenID provider; what is taken home verifies offline. tests/browser/run.mjs
//! is the citizen. Skipped, and says so, where node, its packages or Chromium are missing.

use std::{
    net::TcpListener,
    path::{Path, PathBuf},
    process::Command,
    sync::Arc,
};

use einmal::{
    demo::{application, house::House},
    verify,
};
use einmal_cockpit::export::ExportFile;

use crate::world::World;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").canonicalize().unwrap()
}

/// Where `./test` installs packages of npm.
fn packages(name: &str) -> PathBuf {
    root().join("target/npm").join(name)
}

fn works(program: &str, argument: &str) -> bool {
    Command::new(program).arg(argument).output().is_ok_and(|out| out.status.success())
}

fn chromium() -> Option<String> {
    let names = ["chromium", "chromium-browser", "google-chrome"];
    let found = names.into_iter().find(|name| works(name, "--version"))?;
    let path = Command::new("sh").args(["-c", &format!("command -v {found}")]).output().ok()?;
    Some(String::from_utf8(path.stdout).ok()?.trim().to_owned())
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// An authority, and a certificate of it for this machine.
fn certify(folder: &Path) {
    let script = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 \
                  -subj /CN=ca -keyout ca.key -out ca.pem && \
                  openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=here \
                  -addext subjectAltName=DNS:localhost,IP:127.0.0.1 -keyout here.key -out here.csr \
                  && openssl x509 -req -in here.csr -CA ca.pem -CAkey ca.key -CAcreateserial \
                  -days 2 -copy_extensions copy -out here.pem";
    let out = Command::new("sh").args(["-c", script]).current_dir(folder).output().unwrap();
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
}

/// Older ones lack what the provider's package uses.
fn node_is_new_enough() -> bool {
    let told = Command::new("node").arg("--version").output();
    let told = told.map(|out| String::from_utf8_lossy(&out.stdout).into_owned());
    let major =
        told.ok().and_then(|text| text.trim().strip_prefix('v')?.split('.').next()?.parse().ok());
    major.is_some_and(|major: u32| major >= 20)
}

/// The browser, if all that the test needs is installed; else it is said what is not.
fn everything_is_here(scripts: &Path) -> Option<String> {
    let chromium = chromium();
    let missing = if chromium.is_none() {
        "chromium is not installed"
    } else if !works("openssl", "version") || !node_is_new_enough() {
        "openssl, or node from version 20 on, is not installed"
    } else if !scripts.join("node_modules/oidc-provider").is_dir() {
        "./test installs the packages of tests/browser"
    } else {
        return chromium;
    };
    println!("skipped: {missing}");
    None
}

#[tokio::test(flavor = "multi_thread")]
async fn a_citizen_in_a_real_browser() {
    let scripts = packages("browser");
    let Some(chromium) = everything_is_here(&scripts) else { return };
    let World { house, folder } = World::start().await;
    let client = Arc::new(house.client().await.unwrap());
    application::apply(&client, &house.plan.town, |_, _| ()).await.unwrap();
    let size = house.broker.broker.ledger.checkpoint().size();
    let House { plan, broker, adapters, cockpit, clock, online, stop } = house;
    cockpit.stop().await;

    let place = folder.path().join("browser");
    std::fs::create_dir_all(&place).unwrap();
    certify(&place);
    let (provider_port, proxy_port, pages_port) = (free_port(), free_port(), free_port());
    let secret = "a+secret%of&more:than=32/characters";
    std::fs::write(place.join("secret"), secret).unwrap();
    let path = plan.config("cockpit");
    let config = std::fs::read_to_string(&path).unwrap();
    let config = config.split("[[demo_persons]]").next().unwrap();
    let config = config
        .replace("listen = \"127.0.0.1:0\"", &format!("listen = \"127.0.0.1:{pages_port}\""))
        .replace("secure_cookies = false", "");
    let kern = packages("kern").join("node_modules/@kern-ux/native");
    let kern = if kern.is_dir() { format!("kern = {kern:?}\n") } else { String::new() };
    let login = format!(
        "{kern}{config}\n[login]\nissuer = \"https://127.0.0.1:{provider_port}\"\n\
         client_id = \"einmal-cockpit\"\npublic_url = \"https://localhost:{proxy_port}\"\n\
         client_secret = \"browser/secret\"\nauthorities = \"browser/ca.pem\"\nacr = [\"high\"]\n"
    );
    std::fs::write(&path, login).unwrap();
    let cockpit =
        einmal::cockpit::start(&path, clock.clone()).await.unwrap_or_else(|exit| panic!("{exit}"));
    while cockpit.keeper.size().await.unwrap() < size {
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }

    let person = plan.town.person(plan.town.applicant).unwrap();
    let exported = place.join("export.json");
    let told = serde_json::json!({
        "providerPort": provider_port, "proxyPort": proxy_port,
        "pages": format!("127.0.0.1:{pages_port}"), "secret": secret, "chromium": chromium,
        "key": place.join("here.key"), "certificate": place.join("here.pem"),
        "exported": exported, "pdf": place.join("list.pdf"),
        "pictures": scripts.join("pictures"),
        "takePictures": std::env::var_os("EINMAL_PICTURES").is_some(),
        "person": {
            "idnr": person.idnr, "birth_name": person.birth_name,
            "given_names": person.given_names, "birth_date": person.birth_date,
            "birth_place": person.birth_place,
        },
    });
    std::fs::write(place.join("plan.json"), told.to_string()).unwrap();
    for script in ["run.mjs", "servers.mjs"] {
        std::fs::copy(root().join("tests/browser").join(script), scripts.join(script)).unwrap();
    }
    let run = tokio::task::spawn_blocking({
        let (scripts, plan) = (scripts.clone(), place.join("plan.json"));
        move || Command::new("node").arg("run.mjs").arg(plan).current_dir(scripts).output()
    });
    let out = run.await.unwrap().unwrap();
    let said = String::from_utf8_lossy(&out.stdout);
    println!("{said}");
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    assert!(said.contains("all good"));

    let file = ExportFile::parse(&std::fs::read_to_string(exported).unwrap()).unwrap();
    verify::verify(&file, &plan.root().unwrap()).unwrap();
    let house = House { plan, broker, adapters, cockpit, clock, online, stop };
    house.stop().await;
}
