// SPDX-License-Identifier: EUPL-1.2
//! What stands between a broker and its database, and can fail there.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicU16, Ordering},
    },
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

/// What happens to the connection that first says some bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cut {
    /// They do not arrive, and both ends see the connection end.
    Both,
    /// They do not arrive, and only the client sees the connection end.
    HalfOpen,
    /// They arrive later, when the client has long seen the connection end.
    Late(Duration),
    /// They arrive, and their answer does not.
    Answer,
}

/// How a connection is cut, and by which bytes.
type Next = (Cut, &'static [u8]);

/// A way to a server on this machine.
#[derive(Clone)]
pub(crate) struct Proxy {
    pub(crate) port: u16,
    to: Arc<AtomicU16>,
    next: Arc<Mutex<Option<Next>>>,
}

impl Proxy {
    pub(crate) async fn start(to: u16) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let proxy = Self { port, to: Arc::new(AtomicU16::new(to)), next: Arc::default() };
        let own = proxy.clone();
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(own.clone().carry(client));
            }
        });
        proxy
    }

    /// Sends new connections to another server.
    pub(crate) fn lead_to(&self, port: u16) {
        self.to.store(port, Ordering::SeqCst);
    }

    /// Cuts the connection on which these bytes are said next.
    pub(crate) fn cut(&self, cut: Cut, at: &'static [u8]) {
        *self.next.lock().unwrap() = Some((cut, at));
    }

    async fn carry(self, client: TcpStream) -> Option<()> {
        let server =
            TcpStream::connect(("127.0.0.1", self.to.load(Ordering::SeqCst))).await.ok()?;
        let (mut from_client, mut to_client) = client.into_split();
        let (mut from_server, mut to_server) = server.into_split();
        let back = tokio::spawn(async move {
            drop(tokio::io::copy(&mut from_server, &mut to_client).await);
            drop(to_client.shutdown().await);
        });
        let mut said = vec![0; 1 << 16];
        loop {
            let count = from_client.read(&mut said).await.ok().filter(|count| *count > 0)?;
            let cut = self
                .next
                .lock()
                .unwrap()
                .take_if(|(_, at)| said[..count].windows(at.len()).any(|window| window == *at));
            let Some((cut, _)) = cut else {
                to_server.write_all(&said[..count]).await.ok()?;
                continue;
            };
            // Ends the client's side: both its halves go.
            back.abort();
            drop((back.await, from_client));
            match cut {
                Cut::Both => {}
                Cut::HalfOpen => tokio::time::sleep(Duration::from_secs(60)).await,
                Cut::Late(by) => {
                    tokio::time::sleep(by).await;
                    to_server.write_all(&said[..count]).await.ok()?;
                    tokio::time::sleep(Duration::from_secs(1)).await;
                }
                Cut::Answer => {
                    to_server.write_all(&said[..count]).await.ok()?;
                    tokio::time::sleep(Duration::from_secs(1)).await;
                }
            }
            return None;
        }
    }
}
