// SPDX-License-Identifier: EUPL-1.2
//! Brokers appear in the directory and leave it; some of them are none.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use einmal::demo::plan::LEDGER;
use einmal_policy::directory::Broker;
use tokio::{io::AsyncReadExt, net::TcpListener};

use super::stage::{CHILD, Cast, How, OPERATOR, Scripted, Stage, TAX, until, until_idle};

/// A port that takes connections, and then does nothing, or ends them.
struct Port {
    address: SocketAddr,
    taken: Arc<AtomicUsize>,
    open: Arc<AtomicUsize>,
}

impl Port {
    async fn new(hangs: bool) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (taken, open) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let counts = (Arc::clone(&taken), Arc::clone(&open));
        tokio::spawn(async move {
            loop {
                let (mut tcp, _) = listener.accept().await.unwrap();
                let (taken, open) = counts.clone();
                taken.fetch_add(1, Ordering::SeqCst);
                open.fetch_add(1, Ordering::SeqCst);
                tokio::spawn(async move {
                    let mut bytes = [0; 1024];
                    while hangs && matches!(tcp.read(&mut bytes).await, Ok(1..)) {}
                    open.fetch_sub(1, Ordering::SeqCst);
                });
            }
        });
        Self { address, taken, open }
    }

    fn broker(&self, id: &str) -> Broker {
        Broker {
            id: id.to_owned(),
            name: id.to_owned(),
            address: format!("https://{}", self.address),
            ledger: LEDGER.to_owned(),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn brokers_that_appear_are_dialled_and_those_that_left_are_let_go() {
    let stage = Stage::new("", 2048).await;
    let (tax, child) = (Scripted::new(How::Finds), Scripted::new(How::Finds));
    let adapter = stage.attach(Cast::new(&[(TAX, &tax), (CHILD, &child)])).await;
    let client = stage.client().await;
    let (hangs, resets) = (Port::new(true).await, Port::new(false).await);
    let more = [hangs.broker("broker-2"), resets.broker("broker-3")];
    stage.change_directory(|directory| directory.brokers.extend(more)).await;
    until("both are dialled", || {
        hangs.open.load(Ordering::SeqCst) > 0 && resets.taken.load(Ordering::SeqCst) > 2
    })
    .await;
    for _ in 0..5 {
        stage.ask(&client, TAX).await.unwrap();
    }
    assert_eq!(stage.streams(), 1, "the stream to the good one stays");
    let stream = stage.all().pop().unwrap();
    stage.change_directory(|directory| directory.brokers.truncate(1)).await;
    until("nobody dials it", || hangs.open.load(Ordering::SeqCst) == 0).await;
    let taken = resets.taken.load(Ordering::SeqCst);
    for _ in 0..5 {
        stage.ask(&client, TAX).await.unwrap();
        tokio::time::sleep(std::time::Duration::from_millis(300)).await;
    }
    assert!(resets.taken.load(Ordering::SeqCst) <= taken + 1, "it is dialled no more");

    // The operator loses one of its registers: the other is served without it, and without a break.
    let lose = |directory: &mut einmal_policy::directory::DirectoryDocument| {
        let register = directory.registers.iter_mut().find(|register| register.id == TAX.0);
        register.unwrap().operators = vec!["it-bremen".to_owned()];
    };
    stage.change_directory(lose).await;
    let attachments = &stage.broker().attachments;
    let began = std::time::Instant::now();
    while attachments.has(TAX.0) || began.elapsed() < std::time::Duration::from_secs(1) {
        stage.ask(&client, CHILD).await.unwrap();
        assert!(began.elapsed() < super::stage::LONG, "its stream goes on");
    }
    assert!(stage.ask(&client, TAX).await.is_err());
    until("the stream of before is let go", || Arc::strong_count(&stream) == 1).await;
    assert_eq!(stage.streams(), 1);
    // And gets it back.
    let give = |directory: &mut einmal_policy::directory::DirectoryDocument| {
        let register = directory.registers.iter_mut().find(|register| register.id == TAX.0);
        register.unwrap().operators = vec![OPERATOR.to_owned()];
    };
    stage.change_directory(give).await;
    until("it is attached again", || attachments.has(TAX.0)).await;
    stage.ask(&client, TAX).await.unwrap();
    until("only one stream is left", || stage.streams() == 1).await;
    until_idle(&stage, &adapter, 16).await;
    adapter.stop().await;
    stage.stop().await;
}
