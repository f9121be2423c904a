// SPDX-License-Identifier: EUPL-1.2
//! A client in another language, from the published files alone: `tests/foreign/client.py` shares
//! no code with us, and what it signs, seals and verifies must be what we sign, seal and verify.

use std::{
    path::{Path, PathBuf},
    process::{Command, Output},
    time::Duration,
};

use einmal::demo::{application, plan::AUTHORITY};
use einmal_cockpit::keeper::connect_in_process;
use einmal_protocol::{
    RequestId,
    digest::{hex, unhex},
    wire::{
        cockpit::v1::{GetStatusRequest, ListRecordsRequest, Record},
        v1::{self, Use},
    },
};
use prost::Message;
use serde_json::Value;

use crate::world::World;

/// How long the keeper may take to follow.
const FOLLOW: Duration = Duration::from_secs(20);

/// The folder of the Python client.
fn client() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("foreign")
}

fn said(output: std::io::Result<Output>, doing: &str) -> Result<String, String> {
    let output = output.map_err(|error| format!("{doing}: {error}"))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    Err(format!("{doing}: {}", String::from_utf8_lossy(&output.stderr)))
}

/// The Python of a virtual environment in the target folder, made where it is not there or has
/// other packages than `requirements.txt` says.
fn python() -> Result<PathBuf, String> {
    let program = std::env::current_exe().expect("a test program");
    let target = program.ancestors().nth(3).expect("target/<profile>/deps/<test>");
    let venv = target.join("foreign-venv");
    let (python, stamp) = (venv.join("bin/python"), venv.join("requirements.txt"));
    let wanted = client().join("requirements.txt");
    let text = std::fs::read_to_string(&wanted).expect("the requirements");
    // Written last, so that a half-made environment is made again.
    if std::fs::read_to_string(&stamp).is_ok_and(|installed| installed == text) {
        return Ok(python);
    }
    said(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&venv).output(), "python3")?;
    let mut install = Command::new(&python);
    install.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-r"]);
    said(install.arg(&wanted).output(), "pip")?;
    std::fs::write(&stamp, text).expect("a stamp in the environment");
    Ok(python)
}

/// Runs the client against a world; the object that it prints.
fn run(python: &Path, world: &Path) -> Value {
    let mut command = Command::new(python);
    // The source tree stays as it is.
    command.arg("-B").arg(client().join("client.py")).arg("--world").arg(world);
    let output = said(command.output(), "client.py").unwrap_or_else(|problem| panic!("{problem}"));
    serde_json::from_str(output.trim()).expect("one JSON object")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_foreign_client_verifies_us_and_is_verified() {
    let python = match tokio::task::spawn_blocking(python).await.unwrap() {
        Ok(python) => python,
        Err(problem) => {
            assert!(std::env::var("CI").as_deref() != Ok("true"), "{problem}");
            eprintln!("skipped: {problem}");
            return;
        }
    };
    let world = World::start().await;
    let folder = world.folder.path().to_owned();
    let told = tokio::task::spawn_blocking(move || run(&python, &folder)).await.unwrap();

    assert_eq!(told["health"], "SERVING");
    let services: Vec<&str> =
        told["services"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
    assert!(services.contains(&"einmal.evidence.v1.EvidenceService"), "{services:?}");
    // Reflection tells of what is served here, and the keeper is not.
    assert!(!services.contains(&"einmal.cockpit.v1.KeeperService"), "{services:?}");
    let refused = serde_json::json!({"code": "PERMISSION_DENIED", "domain": "einmal", "reason": "NOT_PERMITTED"});
    assert_eq!(told["refused"], refused);

    let exchanges = told["exchanges"].as_array().unwrap();
    let kems: Vec<&str> = exchanges.iter().filter_map(|e| e["reply_kem"].as_str()).collect();
    assert_eq!(kems, ["KEM_X_WING", "KEM_X25519", "KEM_X_WING"]);
    // Seven parts of each answer, changed by a bit.
    assert_eq!(told["tampering_found"], exchanges.len() * 7);
    let records = records(&world).await;
    for exchange in exchanges {
        assert_eq!(exchange["outcome"], "OUTCOME_FOUND");
        assert!(!exchange["fields"].as_array().unwrap().is_empty());
        let id = unhex(exchange["request"].as_str().unwrap()).unwrap();
        // The leaf that the client made itself is the one that stands there.
        let ledger = &world.house.broker.broker.ledger;
        let found = ledger.find(AUTHORITY, RequestId::parse(&id).unwrap()).await.unwrap().unwrap();
        assert_eq!(exchange["index"], found.index);
        let entry = ledger.entries(found.index, 1).await.unwrap().remove(0);
        assert_eq!(exchange["leaf"], hex(&entry.leaf.to_bytes()));
        // The keeper opened what the client sealed to it, and found the two ends agree.
        let record = records.iter().find(|record| id_of(record) == id).expect("a record");
        assert_eq!(record.findings, Vec::<String>::new());
        assert_eq!(record.r#use(), Use::Used);
    }
    assert_eq!(told["uses"].as_array().unwrap().len(), exchanges.len());
    world.house.stop().await;
}

fn id_of(record: &Record) -> Vec<u8> {
    v1::Request::decode(record.request.as_slice()).expect("a request").id
}

/// What the person of the world's `person.toml` reads, once the keeper has followed.
async fn records(world: &World) -> Vec<Record> {
    let mut keeper = connect_in_process(world.house.cockpit.keeper.clone());
    let size = world.house.broker.broker.ledger.checkpoint().size();
    let follow = async {
        loop {
            let status = keeper.get_status(GetStatusRequest {}).await.unwrap().into_inner();
            assert_eq!(status.alarms, Vec::<String>::new());
            if status.complete_up_to >= size {
                break;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(FOLLOW, follow).await.expect("the keeper follows");
    let town = &world.house.plan.town;
    let subject = application::subject(town.person(town.applicant).unwrap());
    let request = ListRecordsRequest {
        subject: Some(subject),
        page_size: 200,
        login: application::demo_login(),
        ..<_>::default()
    };
    keeper.list_records(request).await.unwrap().into_inner().records
}
