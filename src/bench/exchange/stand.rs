// SPDX-License-Identifier: EUPL-1.2
//! A world to measure: the demo's, with a broker and a register that are processes of their own.

use std::{
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::Arc,
    time::Duration,
};

use einmal_client::{Ask, Client};
use einmal_peer::{
    Clock, Tls, TlsFiles,
    dial::{self, Target},
    files,
};
use einmal_policy::rules_document::RulesDocument;
use einmal_protocol::{
    envelope::payload_type,
    wire::{
        evidence::v1::{RequestEvidenceRequest, evidence_service_client::EvidenceServiceClient},
        v1::Outcome,
    },
};
use einmal_test_servers::Postgres;
use prost::Message;
use tokio_util::sync::CancellationToken;
use tonic::transport::Channel;

use super::{super::stage, Path as Way, envoy, nginx};
use crate::{
    Exit, broker, cockpit,
    demo::{
        application,
        plan::{AUTHORITY_OPERATOR, Plan, TRUST_DOMAIN},
        registers::questions,
    },
    online::Online,
    request,
};

/// The register that is asked.
pub(super) const REGISTER: &str = "meldebehoerde-bremen";
/// Its operator.
pub(super) const OPERATOR: &str = "rechenzentrum-weser";
/// The field of its evidence that is asked for.
pub(super) const FIELD: &str = "family_name";
/// Where the register's process says on which port its plain service listens.
pub(super) const PORT_FILE: &str = "plain.port";
/// An answer, for the plain service to give.
pub(super) const ANSWER_FILE: &str = "plain.answer";
const EVIDENCE_TYPE: &str = "residence-registration";
/// Connections from here to either of the others.
const CONNECTIONS: usize = 4;
/// How long a process may take to be there.
const READY: Duration = Duration::from_secs(60);
/// Of a tick of the system's clock: it counts a process's time in hundredths of a second.
const TICK_US: u64 = 10_000;

/// A process that ends with what is measured.
pub(super) struct Program(Child);

impl Program {
    /// Starts it, with the path of what it is for as its last argument.
    pub(super) fn start(program: &Path, arguments: &[&str], folder: &Path) -> Result<Self, Exit> {
        let child = Command::new(program)
            .args(arguments)
            .arg(folder)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        Ok(Self(child.map_err(Exit::failed)?))
    }

    /// Time on processors since it began, in user and in system mode.
    pub(super) fn cpu_us(&self) -> u64 {
        cpu_us(self.0.id())
    }
}

/// Time of a process on processors since it began, in user and in system mode.
pub(super) fn cpu_us(process: u32) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat"));
    let stat = stat.unwrap_or_default();
    // The name before may hold anything.
    let numbers = stat.rsplit_once(')').map(|(_, numbers)| numbers).unwrap_or_default();
    let times = numbers.split_whitespace().skip(11).take(2);
    times.filter_map(|ticks| ticks.parse::<u64>().ok()).sum::<u64>() * TICK_US
}

/// Where the programs are that Einmal is compared with, if they are installed.
pub(super) struct Proxies {
    pub(super) envoy: Option<PathBuf>,
    pub(super) nginx: Option<PathBuf>,
}

/// A proxy before the plain service, and connections to it.
type Proxied = Option<(Program, Vec<Channel>)>;

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A running world.
pub(super) struct Stand {
    /// The broker.
    pub(super) broker: Program,
    /// Connections to it.
    pub(super) through: Vec<Channel>,
    /// Connections to the plain service.
    pub(super) direct: Vec<Channel>,
    envoy: Proxied,
    nginx: Proxied,
    /// The register's, which is the plain service's too.
    pub(super) register: Program,
    client: Client,
    ask: Ask,
    /// The ledger's size when an answer was verified: a client asks for a proof from there.
    seen_size: u64,
    folder: PathBuf,
    stop: CancellationToken,
    _postgres: Option<Postgres>,
}

impl Stand {
    /// Starts everything and verifies one answer; nothing where the store's server is not installed.
    pub(super) async fn start(
        store: &str,
        evidence_kib: u32,
        proxies: &Proxies,
    ) -> Result<Option<Self>, Exit> {
        let folder = stage::folder(None)?;
        let started = Self::start_in(&folder, (store, evidence_kib), proxies).await;
        if !matches!(started, Ok(Some(_))) {
            let _gone = std::fs::remove_dir_all(&folder);
        }
        started
    }

    async fn start_in(
        folder: &Path,
        (store, evidence_kib): (&str, u32),
        proxies: &Proxies,
    ) -> Result<Option<Self>, Exit> {
        let clock = Clock::system();
        let Some((plan, postgres)) = plan(folder, store, &clock).await? else { return Ok(None) };
        let own = std::env::current_exe().map_err(Exit::failed)?;
        size_evidence(&plan, evidence_kib)?;
        let broker = Program::start(&own, &["broker", "--config"], &plan.config("broker"))?;
        let address = broker::read(&plan.config("broker"))?.listen;
        ready("the broker", async || tokio::net::TcpStream::connect(address).await.is_ok()).await?;
        let online = Arc::new(Online::open(&plan.config("publisher"), clock.clone()).await?);
        online.sign().await?;
        let stop = CancellationToken::new();
        tokio::spawn(online.run(stop.clone()));
        let keeper = cockpit::start(&plan.config("cockpit"), clock.clone()).await?;
        let register = Program::start(&own, &["bench", "exchange", "--register"], folder)?;
        let client = request::connect(&plan.config("client"), clock).await?;
        let question = questions(&plan.town).into_iter().find(|one| one.register == REGISTER);
        let question = question.ok_or_else(|| Exit::failed("the demo does not ask a register"))?;
        let ask = Ask { fields: vec![FIELD.to_owned()], ..application::ask(&question) };
        ready("the register", async || client.ask(ask.clone()).await.is_ok()).await?;
        let seen = client.ask(ask.clone()).await?;
        if seen.outcome != Outcome::Found {
            return Err(Exit::failed("the register found nothing"));
        }
        let seen_size = seen.proven.checkpoint().size();
        // All keys were fetched: nobody follows the ledger while it is measured.
        keeper.stop().await;
        let through = channels(&plan, &format!("https://{address}"))?;
        let port = files::read_text(&folder.join(PORT_FILE))?;
        let direct = channels(&plan, &format!("https://127.0.0.1:{}", port.trim()))?;
        let envoy = proxies.envoy.as_deref().map(|envoy| envoy::start(envoy, folder, port.trim()));
        let envoy = proxied(&plan, "Envoy", envoy.transpose()?).await?;
        let nginx = proxies.nginx.as_deref().map(|nginx| nginx::start(nginx, folder, port.trim()));
        let nginx = proxied(&plan, "nginx", nginx.transpose()?).await?;
        let stand = Self {
            broker,
            envoy,
            nginx,
            register,
            through,
            direct,
            client,
            ask,
            seen_size,
            folder: folder.to_owned(),
            stop,
            _postgres: postgres,
        };
        stand.keep_an_answer().await?;
        Ok(Some(stand))
    }

    /// Whether it has the program that this way leads through.
    pub(super) fn has(&self, path: Way) -> bool {
        match path {
            Way::Envoy => self.envoy.is_some(),
            Way::Nginx => self.nginx.is_some(),
            Way::Direct | Way::Einmal => true,
        }
    }

    /// Connections, and the process that they lead to if it is not the service itself.
    pub(super) fn way(&self, path: Way) -> (&[Channel], Option<&Program>) {
        let proxied = match path {
            Way::Envoy => &self.envoy,
            Way::Nginx => &self.nginx,
            Way::Einmal => return (&self.through, Some(&self.broker)),
            Way::Direct => &None,
        };
        match proxied {
            Some((program, channels)) => (channels, Some(program)),
            None => (&self.direct, None),
        }
    }

    async fn keep_an_answer(&self) -> Result<(), Exit> {
        let channel = self.through.first().cloned();
        let channel = channel.ok_or_else(|| Exit::failed("no connection"))?;
        let mut service =
            EvidenceServiceClient::new(channel).max_decoding_message_size(dial::MESSAGE_MAX);
        for request in self.requests(1, 1).await? {
            let answer = service.request_evidence(request).await.map_err(Exit::failed)?;
            let bytes = answer.into_inner().encode_to_vec();
            files::replace(&self.folder.join(ANSWER_FILE), &bytes)?;
        }
        Ok(())
    }

    /// New requests, so many of them under each signature.
    pub(super) async fn requests(
        &self,
        count: usize,
        group: usize,
    ) -> Result<Vec<RequestEvidenceRequest>, Exit> {
        let mut requests = Vec::with_capacity(count + group);
        while requests.len() < count {
            for prepared in self.client.prepare(&vec![self.ask.clone(); group]).await? {
                requests.push(RequestEvidenceRequest {
                    signed_request: prepared.signed_request,
                    sealed_person: prepared.sealed_person,
                    seen_size: self.seen_size,
                });
            }
        }
        requests.truncate(count);
        Ok(requests)
    }

    /// Ends everything.
    pub(super) async fn stop(self) {
        self.stop.cancel();
        let folder = self.folder.clone();
        drop(self);
        if let Err(error) = tokio::fs::remove_dir_all(&folder).await {
            eprintln!("{} could not be deleted: {error}", folder.display());
        }
    }
}

/// A world whose ledger lies in a store of this kind, and the server that was started for it.
async fn plan(
    folder: &Path,
    store: &str,
    clock: &Clock,
) -> Result<Option<(Plan, Option<Postgres>)>, Exit> {
    match store {
        "sqlite" => Ok(Some((Plan::create(folder, clock).await?, None))),
        "postgres" => {
            let Some(server) = Postgres::start() else {
                eprintln!("PostgreSQL is not installed: left out");
                return Ok(None);
            };
            let plan = Plan::create_in_postgres(folder, clock, &server.url()).await?;
            Ok(Some((plan, Some(server))))
        }
        other => Err(Exit::usage(format!("`{other}` is no store; say sqlite or postgres"))),
    }
}

/// Evidence is padded to the size that the rules name, and may be given without waiting.
fn size_evidence(plan: &Plan, evidence_kib: u32) -> Result<(), Exit> {
    let file = plan.folder.join("trust/rules.signed");
    let signed = files::envelope(&file)?;
    let mut rules: RulesDocument = serde_json::from_slice(&signed.payload).map_err(Exit::failed)?;
    for evidence in rules.evidence_types.iter_mut().filter(|one| one.id == EVIDENCE_TYPE) {
        (evidence.size, evidence.earliest_ms) = (evidence_kib * 1024, 0);
    }
    let signers = ["register-authority", "data-protection-officer"];
    let signed = plan.sign(payload_type::RULES, &rules, &signers)?;
    Ok(files::replace(&file, &signed.encode_to_vec())?)
}

/// Waits for a proxy that was started, and dials it.
async fn proxied(
    plan: &Plan,
    name: &str,
    started: Option<(Program, u16)>,
) -> Result<Proxied, Exit> {
    let Some((program, port)) = started else { return Ok(None) };
    let there = ("127.0.0.1", port);
    ready(name, async || tokio::net::TcpStream::connect(there).await.is_ok()).await?;
    Ok(Some((program, channels(plan, &format!("https://127.0.0.1:{port}"))?)))
}

fn channels(plan: &Plan, address: &str) -> Result<Vec<Channel>, Exit> {
    let tls = Tls::load(&TlsFiles {
        certificate: plan.folder.join(format!("pki/{AUTHORITY_OPERATOR}.pem")),
        key: plan.folder.join(format!("pki/{AUTHORITY_OPERATOR}.key")),
        authorities: plan.folder.join("pki/ca.pem"),
        revocations: Vec::new(),
    })?;
    let target = Target::broker(address, TRUST_DOMAIN);
    let channel = |_| dial::channel(&target, Arc::clone(&tls.client)).map_err(Exit::failed);
    (0..CONNECTIONS).map(channel).collect()
}

async fn ready(what: &str, is: impl AsyncFn() -> bool) -> Result<(), Exit> {
    let wait = async {
        while !is().await {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let waited = tokio::time::timeout(READY, wait).await;
    waited.map_err(|_| Exit::failed(format!("{what} did not start in time")))
}
