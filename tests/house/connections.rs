// SPDX-License-Identifier: EUPL-1.2
//! Who holds a certificate and behaves badly on the connection itself: floods of resets and of
//! header frames, answers that are not read; and certificates that are renewed or revoked while
//! connections are open. Meanwhile honest calls are answered, each of them.

use std::{
    path::Path,
    process::Command,
    sync::Arc,
    time::{Duration, Instant},
};

use einmal::demo::{house::House, plan::Plan};
use einmal_broker::BrokerConfig;
use einmal_client::Client;
use einmal_peer::{Clock, Tls, TlsFiles};
use rustls::pki_types::{CertificateDer, ServerName, pem::PemObject};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};
use tokio_rustls::{TlsConnector, client::TlsStream};

use crate::world::{Folder, ask_of};

const REVOKED: &str = "rechenzentrum-bund";
/// One of its registers.
const TAX_OFFICE: &str = "bzst";
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const HEADERS: u8 = 1;
const RESET: u8 = 3;
const SETTINGS: u8 = 4;
const WINDOW_UPDATE: u8 = 8;
const CONTINUATION: u8 = 9;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

/// RFC 9113 § 4.1.
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// A gRPC call's header fields, as RFC 7541 has them without Huffman and without a table.
fn fields(path: &str) -> Vec<u8> {
    let text = |text: &str| [&[u8::try_from(text.len()).unwrap()], text.as_bytes()].concat();
    [
        &[0x83, 0x86, 0x04][..],
        &text(path),
        &[0x01],
        &text("localhost"),
        &[0x0f, 0x10],
        &text("application/grpc"),
        &[0x00],
        &text("te"),
        &text("trailers"),
    ]
    .concat()
}

struct Stage {
    folder: Folder,
    house: House,
    tls: TlsFiles,
}

impl Stage {
    /// A house whose broker has a revocation list, and pings often.
    async fn new() -> Self {
        let (folder, clock) = (Folder::new(), Clock::system());
        let plan = Plan::create(folder.path(), &clock).await.unwrap_or_else(|e| panic!("{e}"));
        revoke(folder.path(), None);
        let config = plan.config("broker");
        let text = std::fs::read_to_string(&config).unwrap();
        let text = text.replace("[tls]\n", "[tls]\nrevocations = [\"pki/ca.crl\"]\n");
        let text = format!("{text}\n[limits]\nping_ms = 3000\ncaller_connections_max = 20\n");
        std::fs::write(&config, &text).unwrap();
        let tls = toml::from_str::<BrokerConfig>(&text).unwrap().tls.within(folder.path());
        let house = House::start(plan, clock).await.unwrap_or_else(|exit| panic!("{exit}"));
        Self { folder, house, tls }
    }

    /// A connection of somebody with a good certificate; the frames on it are the test's.
    async fn dial(&self) -> TlsStream<TcpStream> {
        let pki = self.folder.path().join("pki");
        let tls = Tls::load(&TlsFiles {
            certificate: pki.join("it-bremen.pem"),
            key: pki.join("it-bremen.key"),
            authorities: pki.join("ca.pem"),
            revocations: Vec::new(),
        });
        let tcp = TcpStream::connect(self.house.broker.address).await.unwrap();
        let name = ServerName::try_from("127.0.0.1").unwrap();
        let connector = TlsConnector::from(tls.unwrap().client);
        let mut stream = connector.connect(name, tcp).await.unwrap();
        // Whoever is one too many learns it here or later.
        let first = [PREFACE, &frame(SETTINGS, 0, 0, &[])].concat();
        let _ = stream.write_all(&first).await;
        stream
    }

    fn has_tax_office(&self) -> bool {
        self.house.broker.broker.attachments.has(TAX_OFFICE)
    }
}

/// Writes a list that revokes this certificate too, as an authority does it.
fn revoke(folder: &Path, certificate: Option<&str>) {
    let pki = folder.join("pki");
    let openssl = |arguments: &[&str]| {
        let mut command = Command::new("openssl");
        command.current_dir(&pki).args(["ca", "-config", "crl.cnf", "-keyfile", "ca.key"]);
        let output = command.args(["-cert", "ca.pem"]).args(arguments).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    };
    if !pki.join("crl.cnf").exists() {
        let text = "[ca]\ndefault_ca = own\n[own]\ndatabase = index.txt\ncrlnumber = number\n\
                    default_md = sha256\ndefault_crl_days = 1\ncrl_extensions = more\n\
                    [more]\nauthorityKeyIdentifier = keyid\n";
        for (name, text) in [("crl.cnf", text), ("index.txt", ""), ("number", "01\n")] {
            std::fs::write(pki.join(name), text).unwrap();
        }
    }
    if let Some(name) = certificate {
        openssl(&["-revoke", &format!("{name}.pem")]);
    }
    openssl(&["-gencrl", "-out", "new.crl"]);
    std::fs::rename(pki.join("new.crl"), pki.join("ca.crl")).unwrap();
}

/// Asks until told to stop. How many answers there were; each call has one.
async fn honest(
    stage: Arc<Stage>,
    client: Client,
    stop: Arc<std::sync::atomic::AtomicBool>,
) -> u32 {
    let mut answers = 0;
    while !stop.load(std::sync::atomic::Ordering::SeqCst) {
        let ask = ask_of(&stage.house, "birth-certificate");
        let answer = timeout(Duration::from_secs(5), client.ask(ask)).await;
        let answer = answer.expect("an honest call is answered in time");
        assert!(answer.is_ok(), "after {answers}: {:?}", answer.err());
        answers += 1;
    }
    answers
}

/// The server ends this connection by itself.
async fn is_cut(what: &str, mut stream: TlsStream<TcpStream>) {
    let read = async {
        let mut bytes = vec![0; 64 * 1024];
        while !matches!(stream.read(&mut bytes).await, Ok(0) | Err(_)) {}
    };
    timeout(Duration::from_secs(5), read).await.unwrap_or_else(|_| panic!("{what}: not cut"));
}

async fn floods(stage: &Stage) {
    let path = "/einmal.evidence.v1.EvidenceService/RequestEvidence";
    let mut stream = stage.dial().await;
    let mut all = Vec::new();
    for id in (1..8_000).step_by(2) {
        all.extend(frame(HEADERS, END_HEADERS, id, &fields(path)));
        all.extend(frame(RESET, 0, id, &8_u32.to_be_bytes()));
    }
    // It may be cut while we write.
    let _ = timeout(Duration::from_secs(5), stream.write_all(&all)).await.expect("it reads");
    is_cut("a flood of resets", stream).await;

    let mut stream = stage.dial().await;
    let mut all = frame(HEADERS, 0, 1, &fields(path));
    for number in 0..2_000 {
        let name = format!("x-{number:05}");
        let value = "v".repeat(100);
        let field = [&[0, 7], name.as_bytes(), &[100], value.as_bytes()].concat();
        all.extend(frame(CONTINUATION, 0, 1, &field));
    }
    let _ = timeout(Duration::from_secs(5), stream.write_all(&all)).await.expect("it reads");
    is_cut("a flood of header frames", stream).await;
}

/// Asks for everything, says that it may all come at once, and reads nothing.
async fn slow_readers(stage: &Stage) {
    let mut readers = Vec::new();
    for _ in 0..4 {
        let mut stream = stage.dial().await;
        let mut all = frame(SETTINGS, 0, 0, &[0, 4, 0x7f, 0xff, 0xff, 0xff]);
        all.extend(frame(WINDOW_UPDATE, 0, 0, &0x7000_0000_u32.to_be_bytes()));
        let fields = fields("/grpc.health.v1.Health/Watch");
        for id in (1..1_000).step_by(2) {
            all.extend(frame(HEADERS, END_HEADERS, id, &fields));
            // An empty message: all of the server.
            all.extend(frame(0, END_STREAM, id, &[0; 5]));
        }
        let _ = timeout(Duration::from_secs(5), stream.write_all(&all)).await;
        readers.push(stream);
    }
    // Longer than a ping and its answer may take.
    tokio::time::sleep(Duration::from_secs(6)).await;
    for mut stream in readers {
        // What is read now was sent before it was cut; nothing is answered any more.
        let ping = frame(6, 0, 0, &[0; 8]);
        let _ = stream.write_all(&ping).await;
        is_cut("one who reads nothing", stream).await;
    }
}

/// A caller has so many connections and no more; whoever else it is has theirs.
async fn too_many(stage: &Stage) {
    let mut held = Vec::new();
    for _ in 0..20 {
        held.push(stage.dial().await);
    }
    is_cut("one more than a caller may have", stage.dial().await).await;
}

async fn until(what: &str, is_so: impl AsyncFn() -> bool) {
    let began = Instant::now();
    while !is_so().await {
        assert!(began.elapsed() < Duration::from_secs(20), "not in time: {what}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// The broker's own certificate is renewed, and somebody else's revoked, with no restart.
async fn renewed_and_revoked(stage: &Stage) {
    let shown = async || -> CertificateDer<'static> {
        let stream = stage.dial().await;
        let (_, session) = stream.get_ref();
        session.peer_certificates().unwrap()[0].clone().into_owned()
    };
    let before = shown().await;
    let authority = einmal::pki::CertificateAuthority::open(&stage.folder.path().join("pki"));
    let authority = authority.unwrap_or_else(|exit| panic!("{exit}"));
    let own = Tls::load(&stage.tls).unwrap().own;
    let hosts = ["localhost".to_owned(), "127.0.0.1".to_owned()];
    authority.issue(&own, &own.id, &hosts).unwrap_or_else(|exit| panic!("{exit}"));
    let issued = CertificateDer::from_pem_file(&stage.tls.certificate).unwrap();
    assert_ne!(before, issued, "the certificate lies where the broker reads it");
    until("the new certificate is shown", async || shown().await == issued).await;

    assert!(stage.has_tax_office());
    revoke(stage.folder.path(), Some(REVOKED));
    until("the revoked operator's stream is cut", async || !stage.has_tax_office()).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert!(!stage.has_tax_office(), "it does not come in again");
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_manners_and_revoked_certificates_end_connections_and_no_honest_call_fails() {
    if Command::new("openssl").arg("version").output().is_err() {
        println!("skipped: openssl is not installed");
        return;
    }
    let stage = Arc::new(Stage::new().await);
    let stop = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let client = stage.house.client().await.unwrap_or_else(|exit| panic!("{exit}"));
    let asking = tokio::spawn(honest(Arc::clone(&stage), client, Arc::clone(&stop)));
    floods(&stage).await;
    slow_readers(&stage).await;
    too_many(&stage).await;
    until("its connections are gone", async || {
        let mut stream = stage.dial().await;
        timeout(Duration::from_secs(2), stream.read_u8()).await.is_ok_and(|read| read.is_ok())
    })
    .await;
    renewed_and_revoked(&stage).await;
    stop.store(true, std::sync::atomic::Ordering::SeqCst);
    let answers = asking.await.unwrap();
    println!("{answers} honest answers meanwhile");
    assert!(answers > 20, "{answers}");
    let stage = Arc::into_inner(stage).unwrap();
    stage.house.stop().await;
}
