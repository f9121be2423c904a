// SPDX-License-Identifier: EUPL-1.2
//! `einmal bench attach`: what attached registers cost a broker in memory. The broker is this
//! process; those who attach are another one, so that what is measured is the broker's alone.

use std::{
    io::{Read, Write},
    path::Path,
    process::{Command, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};

use einmal_peer::{
    Clock, PeerRole, SpiffeId, Tls, TlsFiles,
    dial::{self, Target},
};
use einmal_policy::directory::{Operator, Register};
use einmal_protocol::wire::register::v1::{
    AttachRequest, Heartbeat, Hello, attach_request as to_broker, attach_response as from_broker,
    register_service_client::RegisterServiceClient,
};
use tokio::{
    sync::mpsc,
    task::{JoinSet, spawn_blocking},
};
use tokio_stream::wrappers::ReceiverStream;

use super::{AttachArgs, directory, stage};
use crate::{
    Exit, broker,
    demo::plan::{Plan, TRUST_DOMAIN},
    pki::CertificateAuthority,
};

/// An operator may have 64 streams.
const STREAMS_OF_OPERATOR: usize = 50;
/// Handshakes at once.
const AT_ONCE: usize = 16;

/// Runs it.
///
/// # Errors
/// Where the broker does not start, or not everybody attaches.
pub(super) async fn run(args: &AttachArgs) -> Result<(), Exit> {
    if let Some(folder) = &args.adapters {
        return attach_all(folder, args).await;
    }
    let folder = stage::folder(None)?;
    let measured = measure(&folder, args).await;
    let _gone = std::fs::remove_dir_all(&folder);
    measured
}

async fn measure(folder: &Path, args: &AttachArgs) -> Result<(), Exit> {
    let clock = Clock::system();
    let plan = Plan::create(folder, &clock).await?;
    enter(&plan, args)?;
    let config = plan.config("broker");
    let running =
        einmal_broker::start(&broker::read(&config)?, clock).await.map_err(Exit::failed)?;
    let attachments = &running.broker.attachments;
    let before = stage::resident_kib("self");
    let began = Instant::now();
    let mut adapters = Command::new(std::env::current_exe().map_err(Exit::failed)?)
        .args(["bench", "attach", "--adapters"])
        .arg(folder)
        .args(["--streams", &args.streams.to_string()])
        .args(["--registers", &args.registers.to_string()])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(Exit::failed)?;
    let mut told = adapters.stdout.take().ok_or_else(|| Exit::failed("no output"))?;
    // Whatever goes wrong there ends its output.
    let attached = spawn_blocking(move || told.read_exact(&mut [0; 8])).await;
    attached.map_err(Exit::failed)?.map_err(Exit::failed)?;
    let took = began.elapsed();
    // Until what the handshakes needed is given back.
    tokio::time::sleep(Duration::from_secs(2)).await;
    let after = stage::resident_kib("self");
    let (registers, streams) = (attachments.registers(), attachments.streams().len());
    if (registers, streams) != (args.streams * args.registers, args.streams) {
        return Err(Exit::failed(format!("only {registers} registers on {streams} streams")));
    }
    let more = after.saturating_sub(before);
    let each = |count: usize| more * 1024 / count.max(1) as u64;
    if args.json {
        let row = serde_json::json!({
            "part": "attach", "streams": streams, "registers": registers,
            "seconds": took.as_secs_f64(), "before_kib": before, "after_kib": after,
            "bytes_a_stream": each(streams), "bytes_a_register": each(registers),
        });
        println!("{row}");
    } else {
        println!("{registers} registers on {streams} streams, attached in {took:.1?}");
        println!("resident: {before} KiB before, {after} KiB after");
        println!("{} bytes a stream, {} a register", each(streams), each(registers));
    }
    drop(adapters.stdin.take());
    let _ended = spawn_blocking(move || adapters.wait()).await;
    running.stop().await;
    Ok(())
}

fn operator(stream: usize) -> String {
    format!("bench-operator-{}", stream / STREAMS_OF_OPERATOR)
}

fn registers(stream: usize, count: usize) -> impl Iterator<Item = String> {
    (0..count).map(move |number| format!("bench-register-{stream}-{number}"))
}

/// Enters all registers and their operators in the directory, with a certificate for each.
fn enter(plan: &Plan, args: &AttachArgs) -> Result<(), Exit> {
    let authority = CertificateAuthority::open(&plan.folder.join("pki"))?;
    directory::amend(plan, |directory| {
        let sample = directory.registers.first().cloned();
        let sample = sample.ok_or_else(|| Exit::failed("the demo has no register"))?;
        for stream in 0..args.streams {
            let operator = operator(stream);
            if stream % STREAMS_OF_OPERATOR == 0 {
                let trust_domain = TRUST_DOMAIN.to_owned();
                let id = SpiffeId { trust_domain, role: PeerRole::Operator, id: operator.clone() };
                authority.issue(&id, &operator, &[])?;
                directory.operators.push(Operator { id: operator.clone(), name: operator.clone() });
            }
            directory.registers.extend(registers(stream, args.registers).map(|id| Register {
                id,
                operators: vec![operator.clone()],
                ..sample.clone()
            }));
        }
        Ok(())
    })
}

/// The other process: attaches, says so, and holds the streams until its input ends.
async fn attach_all(folder: &Path, args: &AttachArgs) -> Result<(), Exit> {
    let address = broker::read(&folder.join("broker.toml"))?.listen;
    let target = Target::broker(&format!("https://{address}"), TRUST_DOMAIN);
    let (target, places) = (Arc::new(target), Arc::new(tokio::sync::Semaphore::new(AT_ONCE)));
    let (attached, mut all) = mpsc::channel(args.streams.max(1));
    let mut streams = JoinSet::new();
    for stream in 0..args.streams {
        let name = operator(stream);
        let tls = Tls::load(&TlsFiles {
            certificate: folder.join(format!("pki/{name}.pem")),
            key: folder.join(format!("pki/{name}.key")),
            authorities: folder.join("pki/ca.pem"),
            revocations: Vec::new(),
        })?;
        let registers = registers(stream, args.registers).collect();
        let (target, attached, places) =
            (Arc::clone(&target), attached.clone(), Arc::clone(&places));
        streams.spawn(async move {
            let place = places.acquire_owned().await;
            hold(&target, tls, registers, attached).await.inspect_err(|e| eprintln!("{e}"))?;
            drop(place);
            Ok::<(), Exit>(())
        });
    }
    drop(attached);
    let mut held = Vec::new();
    while let Some(one) = all.recv().await {
        held.push(one);
        if held.len() == args.streams {
            break;
        }
    }
    if held.len() < args.streams {
        return Err(Exit::failed(format!("only {} streams", held.len())));
    }
    let mut output = std::io::stdout();
    output.write_all(b"attached").and_then(|()| output.flush()).map_err(Exit::failed)?;
    let _end = spawn_blocking(|| std::io::stdin().read_to_end(&mut Vec::new())).await;
    Ok(())
}

/// Attaches one stream; a task of its own answers its heartbeats.
async fn hold(
    target: &Target,
    tls: Tls,
    registers: Vec<String>,
    attached: mpsc::Sender<tokio::task::JoinHandle<()>>,
) -> Result<(), Exit> {
    let channel = dial::channel(target, tls.client).map_err(Exit::failed)?;
    let (sender, requests) = mpsc::channel(16);
    let say = |message| AttachRequest { message: Some(message) };
    let hello = Hello { registers, seen_size: 0, credits: 64 };
    sender.send(say(to_broker::Message::Hello(hello))).await.map_err(Exit::failed)?;
    let responses = RegisterServiceClient::new(channel.clone())
        .attach(ReceiverStream::new(requests))
        .await
        .map_err(Exit::failed)?;
    let mut responses = responses.into_inner();
    responses.message().await.map_err(Exit::failed)?;
    let beats = tokio::spawn(async move {
        let _channel = channel;
        while let Ok(Some(response)) = responses.message().await {
            if let Some(from_broker::Message::Heartbeat(Heartbeat { time_ms })) = response.message {
                let beat = to_broker::Message::Heartbeat(Heartbeat { time_ms });
                let _ = sender.send(AttachRequest { message: Some(beat) }).await;
            }
        }
    });
    attached.send(beats).await.map_err(Exit::failed)
}
