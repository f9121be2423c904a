// SPDX-License-Identifier: EUPL-1.2
//! What adapters dial: one stream each.

use std::{
    pin::Pin,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use einmal_policy::Trust;
use einmal_protocol::{
    Reason,
    wire::register::v1::{
        AttachRequest, AttachResponse, Heartbeat, Hello, Welcome, attach_request as from_adapter,
        attach_response as to_adapter, register_service_server::RegisterService,
    },
};
use tokio::sync::mpsc;
use tokio_stream::{Stream, wrappers::ReceiverStream};
use tonic::{Request, Response, Status, Streaming};

use crate::{
    Broker,
    attachment::{Attachment, CHUNK_MAX},
    attachments::REGISTERS_MAX,
    caller,
    ending::{Ending, LOOK},
    exchange::Failure,
};

const HELLO_TIMEOUT: Duration = Duration::from_secs(10);
const QUEUE: usize = 256;

/// Serves `einmal.register.v1`.
pub(crate) struct RegisterRoom(pub(crate) Arc<Broker>);

type Responses = Pin<Box<dyn Stream<Item = Result<AttachResponse, Status>> + Send>>;

#[tonic::async_trait]
impl RegisterService for RegisterRoom {
    type AttachStream = Responses;

    async fn attach(
        &self,
        request: Request<Streaming<AttachRequest>>,
    ) -> Result<Response<Responses>, Status> {
        let broker = Arc::clone(&self.0);
        let peer = caller::peer(&request)?;
        let operator = caller::operator(&peer.id, &broker.trust.current().directory)?;
        let mut requests = request.into_inner();
        let first = tokio::time::timeout(HELLO_TIMEOUT, requests.message()).await;
        let first = first.map_err(|_| Failure::fault(Reason::DeadlineExceeded))??;
        let Some(from_adapter::Message::Hello(hello)) = first.and_then(|first| first.message)
        else {
            return Err(Status::invalid_argument("the first message must be a hello"));
        };
        let trust = broker.trust.current();
        check(&broker, &trust, &operator, &hello)?;
        let (sender, responses) = mpsc::channel(QUEUE);
        let welcome = Welcome {
            ledger: broker.origin.clone(),
            broker_time_ms: broker.clock.now_ms(),
            heartbeat_interval_ms: broker.limits.heartbeat_ms,
            chunk_bytes_max: u32::try_from(CHUNK_MAX).unwrap_or(u32::MAX),
        };
        let message = Some(to_adapter::Message::Welcome(welcome));
        let _ = sender.send(Ok(AttachResponse { message })).await;
        let start = (hello.credits, hello.seen_size);
        let attachment =
            Arc::new(Attachment::new(operator, hello.registers, start, sender.clone()));
        broker.attachments.add(&attachment)?;
        broker.metrics.attached.inc();
        let registers = attachment.registers.len();
        tracing::info!(attachment.operator, registers, "attached");
        let ending = Ending::new(&broker.limits, trust, peer.ends_at_ms);
        tokio::spawn(async move {
            let ended = read(&broker, &attachment, ending, requests, &sender).await;
            broker.attachments.remove(&attachment);
            broker.metrics.attached.dec();
            tracing::info!(attachment.operator, registers, ?ended, "detached");
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(responses))))
    }
}

/// Each register must be one that this operator may carry.
fn check(broker: &Broker, trust: &Trust, operator: &str, hello: &Hello) -> Result<(), Failure> {
    if broker.draining.load(Ordering::Relaxed) {
        return Err(Failure::refused(Reason::Draining));
    }
    let malformed = |detail: String| Failure::refused(Reason::MalformedRequest).with_detail(detail);
    if hello.registers.is_empty() || hello.registers.len() > REGISTERS_MAX {
        return Err(malformed(format!(
            "a stream is for 1 to {REGISTERS_MAX} registers; attach more streams for more"
        )));
    }
    if hello.credits == 0 {
        return Err(malformed("a stream without credits is of no use".to_owned()));
    }
    let mut names: Vec<&String> = hello.registers.iter().collect();
    names.sort_unstable();
    if names.windows(2).any(|pair| pair.first() == pair.last()) {
        return Err(malformed("a register is named twice".to_owned()));
    }
    for register in &hello.registers {
        if trust.directory.register(register).is_none() {
            return Err(Failure::refused(Reason::UnknownRegister).with_detail(register.clone()));
        }
        if !trust.directory.may_carry_for_register(operator, register) {
            return Err(Failure::refused(Reason::OperatorMayNotCarry).with_detail(register.clone()));
        }
    }
    Ok(())
}

/// Takes the adapter's messages until the stream ends, sending heartbeats meanwhile; an adapter
/// that is silent for three of them is gone.
async fn read(
    broker: &Broker,
    attachment: &Attachment,
    mut ending: Ending,
    mut requests: Streaming<AttachRequest>,
    sender: &mpsc::Sender<Result<AttachResponse, Status>>,
) -> Result<(), Status> {
    let interval = Duration::from_millis(u64::from(broker.limits.heartbeat_ms.max(100)));
    let (mut beat, mut look) = (tokio::time::interval(interval), tokio::time::interval(LOOK));
    let mut silent = 0;
    loop {
        tokio::select! {
            request = requests.message() => {
                silent = 0;
                match request {
                    Ok(Some(request)) => {
                        if let Err(status) = attachment.take(request) {
                            let _ = sender.try_send(Err(status.clone()));
                            return Err(status);
                        }
                        // Closed from this side: what crossed the adapter's last word was served.
                        if attachment.is_finished() {
                            return Ok(());
                        }
                    }
                    Ok(None) => return Ok(()),
                    Err(status) => return Err(status),
                }
            }
            _ = beat.tick() => {
                silent += 1;
                if silent > 3 {
                    return Err(Status::deadline_exceeded("no heartbeat"));
                }
                let time_ms = broker.clock.now_ms();
                let message = Some(to_adapter::Message::Heartbeat(Heartbeat { time_ms }));
                // A full queue is a sign of life.
                let _ = sender.try_send(Ok(AttachResponse { message }));
            }
            _ = look.tick() => {
                if let Err(status) = ending.look(broker, attachment) {
                    let _ = sender.try_send(Err(status.clone()));
                    return Err(status);
                }
                if attachment.is_finished() {
                    return Ok(());
                }
            }
        }
    }
}
