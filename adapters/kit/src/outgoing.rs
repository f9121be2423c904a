// SPDX-License-Identifier: EUPL-1.2
//! What goes to a broker: short messages before the chunks of long answers, so that an answer of
//! two mebibytes delays nobody else's.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use einmal_protocol::wire::register::v1::{
    AttachRequest, Reveal, attach_request::Message as ToBroker,
};
use tokio::sync::mpsc;
use tokio_stream::Stream;

/// Short messages that wait.
const SHORT_MAX: usize = 256;
/// Chunks of long answers that wait, of all exchanges together: so they take turns.
const CHUNKS_MAX: usize = 1;

/// Where messages are put.
#[derive(Clone)]
pub(crate) struct Outgoing {
    short: mpsc::Sender<AttachRequest>,
    chunks: mpsc::Sender<AttachRequest>,
}

/// Where the stream takes them from.
pub(crate) struct Waiting {
    short: mpsc::Receiver<AttachRequest>,
    chunks: mpsc::Receiver<AttachRequest>,
}

/// Both ends.
pub(crate) fn queues() -> (Outgoing, Waiting) {
    let (short, short_waiting) = mpsc::channel(SHORT_MAX);
    let (chunks, chunks_waiting) = mpsc::channel(CHUNKS_MAX);
    let waiting = Waiting { short: short_waiting, chunks: chunks_waiting };
    (Outgoing { short, chunks }, waiting)
}

impl Outgoing {
    /// Sends a message; false where the stream is gone.
    pub(crate) async fn send(&self, message: ToBroker) -> bool {
        self.short.send(AttachRequest { message: Some(message) }).await.is_ok()
    }

    /// A place in the queue of short messages; nothing where the stream is gone.
    pub(crate) async fn reserve(&self) -> Option<mpsc::Permit<'_, AttachRequest>> {
        self.short.reserve().await.ok()
    }

    /// Sends a message that may be left out.
    pub(crate) fn try_send(&self, message: ToBroker) {
        let _ = self.short.try_send(AttachRequest { message: Some(message) });
    }

    /// Sends a whole answer; false where the stream is gone. One of a single chunk is short.
    pub(crate) async fn reveal(&self, exchange: u64, answer: &[u8], chunk_max: usize) -> bool {
        let chunks = answer.chunks(chunk_max.max(1));
        let last = chunks.len().saturating_sub(1);
        let queue = if last == 0 { &self.short } else { &self.chunks };
        for (number, chunk) in chunks.enumerate() {
            let reveal = Reveal { exchange, chunk: chunk.to_vec(), last: number == last };
            let request = AttachRequest { message: Some(ToBroker::Reveal(reveal)) };
            if queue.send(request).await.is_err() {
                return false;
            }
        }
        true
    }
}

impl Stream for Waiting {
    type Item = AttachRequest;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let short = self.short.poll_recv(context);
        if let Poll::Ready(Some(_)) = short {
            return short;
        }
        match (self.chunks.poll_recv(context), short) {
            // Its end is the end of both.
            (Poll::Ready(None), Poll::Pending) => Poll::Pending,
            (chunk, _) => chunk,
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio_stream::StreamExt;

    use super::*;

    #[tokio::test]
    async fn short_messages_overtake_long_answers_which_take_turns() {
        let (outgoing, mut waiting) = queues();
        let answers: Vec<_> = (1..=2)
            .map(|id| {
                let outgoing = outgoing.clone();
                tokio::spawn(async move { outgoing.reveal(id, &[0; 320], 10).await })
            })
            .collect();
        let mut long = Vec::new();
        while long.len() < 20 {
            let Some(ToBroker::Reveal(reveal)) = waiting.next().await.unwrap().message else {
                panic!("nothing else was sent")
            };
            long.push(reveal.exchange);
        }
        let ones = long.iter().filter(|id| **id == 1).count();
        assert!((6..=14).contains(&ones), "{long:?}");
        outgoing.reveal(3, &[0; 10], 10).await;
        let Some(ToBroker::Reveal(short)) = waiting.next().await.unwrap().message else {
            panic!("nothing else was sent")
        };
        assert_eq!((short.exchange, short.last), (3, true));
        drop(outgoing);
        let rest = waiting.collect::<Vec<_>>().await;
        assert_eq!(rest.len(), 64 - 20, "nothing is lost at the end");
        for answer in answers {
            assert!(answer.await.unwrap());
        }
    }
}
