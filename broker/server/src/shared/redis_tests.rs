// SPDX-License-Identifier: EUPL-1.2
//! Redis as brokers share it: one server, with TLS and ACL, a cluster, Sentinels; and a server that
//! is gone, hangs, forgets, is full, or lies.

use std::{
    path::PathBuf,
    sync::atomic::{AtomicU32, Ordering},
    time::Instant,
};

use einmal_test_servers::{Redis, RedisCluster, RedisSentinel};
use tokio::{io::AsyncWriteExt, net::TcpListener};

use super::{
    conformance::{self, ANSWER_MAX, End, Known, LIFE, OfMany, answer, asked},
    *,
};

const ORIGIN: &str = "einmal.example/l";
/// The user that docs/operators.md recommends.
const USER: &str = "user broker on >word ~einmal:einmal.example/l:* &einmal:einmal.example/l:* -@all \
                    +get +set +del +eval +time +ping +publish +subscribe +cluster|slots";

/// A file with the shared secret and one with a password.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!(
            "einmal-shared-{}-{}",
            std::process::id(),
            COUNT.fetch_add(1, Ordering::Relaxed)
        );
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&path).unwrap();
        let folder = Self(path);
        folder.write("secret", "0123456789abcdef0123456789abcdef");
        folder.write("password", "word");
        folder
    }

    fn write(&self, name: &str, text: &str) {
        use std::os::unix::fs::PermissionsExt;
        let path = self.0.join(name);
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
    }

    fn section(&self, urls: Vec<String>) -> SharedSection {
        SharedSection {
            redis: urls,
            mode: section::Mode::Single,
            service: None,
            user: None,
            password_file: None,
            authorities: None,
            certificate: None,
            key: None,
            secret_file: self.0.join("secret"),
            brokers: 2,
            deadline_ms: 200,
            answer_max_kib: 1,
        }
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _gone = std::fs::remove_dir_all(&self.0);
    }
}

/// What one broker has of it, with the task that keeps it.
struct OneBroker {
    distant: Distant,
    stop: CancellationToken,
}

impl OneBroker {
    async fn new(section: &SharedSection) -> Self {
        let limits = Limits { window_ms: 5_000, ..Limits::default() };
        let distant = Distant::new(section, (ORIGIN, "one"), &limits, SharedMetrics::default());
        let (distant, stop) = (distant.unwrap(), CancellationToken::new());
        tokio::spawn(Arc::clone(&distant.link).keep(Arc::clone(&distant.names), stop.clone()));
        let broker = Self { distant, stop };
        broker.until(true).await;
        broker
    }

    /// Waits until Redis is found to be there, or away. Answers how long that took.
    async fn until(&self, up: bool) -> Duration {
        let began = Instant::now();
        while self.distant.link.is_up() != up {
            assert!(began.elapsed() < Duration::from_secs(15), "in vain for {up}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        began.elapsed()
    }

    fn end(&self) -> OfMany {
        OfMany::new(Retries {
            link: Arc::clone(&self.distant.link),
            names: Arc::clone(&self.distant.names),
            life: LIFE,
            running: Duration::from_secs(5),
            answer_max: ANSWER_MAX,
        })
    }
}

impl Drop for OneBroker {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// Both suites with two brokers, and an announcement from one to the other.
async fn conforms(section: &SharedSection) {
    let (one, other) = (OneBroker::new(section).await, OneBroker::new(section).await);
    let (here, there) = (one.end(), other.end());
    let (into, mut heard) = mpsc::channel(4);
    tokio::spawn(other.distant.news.clone().listen(into, other.stop.clone()));
    let hears = async {
        // It may not have subscribed yet.
        for _ in 0..100 {
            one.distant.news.announce().await.unwrap();
            if let Ok(heard) = tokio::time::timeout(Duration::from_millis(100), heard.recv()).await
            {
                return heard;
            }
        }
        None
    };
    let (_, _, heard) = tokio::join!(
        conformance::retries(&here, &there),
        conformance::rates(&one.distant.rates, &other.distant.rates),
        hears
    );
    assert_eq!(heard.as_deref(), Some("one"));
}

#[tokio::test]
async fn one_server_conforms_and_holds_nothing_in_the_clear_nor_for_ever() {
    let Some(server) = Redis::start() else { return };
    let folder = Folder::new();
    let section = folder.section(vec![server.url()]);
    conforms(&section).await;
    let broker = OneBroker::new(&section).await;
    let (end, own) = (broker.end(), asked(b"own"));
    end.claim(own).await;
    let secret = RequestEvidenceResponse { permit: b"office".to_vec(), ..answer(9) };
    end.settle(own, Settled::Answered(&secret)).await;
    let rate = Rate::per_second(1, 2).unwrap();
    broker.distant.rates.take(&[(Whose::Authority("office"), rate)]).await.unwrap();
    let keys = server.ask(&["KEYS", "*"]);
    assert!(keys.lines().count() >= 2, "{keys}");
    for key in keys.lines() {
        assert!(key.starts_with("einmal:einmal.example/l:") && !key.contains("office"), "{key}");
        let left: i64 = server.ask(&["PTTL", key]).parse().unwrap();
        assert!(left == -2 || (1..=10_000).contains(&left), "{key} stays for {left} ms");
        assert!(!server.ask(&["GET", key]).contains("office"), "{key}");
    }
}

#[tokio::test]
async fn a_server_with_tls_and_acl_conforms_and_others_are_not_believed() {
    let Some(server) = Redis::start_encrypted(&[USER]) else { return };
    let folder = Folder::new();
    let section = SharedSection {
        user: Some("broker".to_owned()),
        password_file: Some(folder.0.join("password")),
        authorities: server.certificate().map(Into::into),
        ..folder.section(vec![server.url()])
    };
    conforms(&section).await;
    // A certificate that nobody here vouches for, a wrong password, a plain connection.
    let unknown = SharedSection { authorities: None, ..section.clone() };
    folder.write("wrong", "wrong");
    let wrong = SharedSection { password_file: Some(folder.0.join("wrong")), ..section.clone() };
    let plain = SharedSection {
        redis: vec![server.url().replace("rediss", "redis")],
        authorities: None,
        ..section.clone()
    };
    let more = SharedSection { user: None, ..section.clone() };
    for bad in [unknown, wrong, plain, more] {
        let Err(Trouble::Away(problem)) = examine(&bad, ORIGIN).await else { panic!("{bad:?}") };
        assert!(!problem.contains("word"), "{problem}");
    }
    // Another ledger's names are not this user's.
    let foreign = examine(&section, "einmal.example/m").await.unwrap_err();
    assert_eq!(foreign, Trouble::Away("it answers NOPERM".to_owned()));
    examine(&section, ORIGIN).await.unwrap();
}

#[tokio::test]
async fn a_cluster_conforms_and_goes_on_without_one_of_its_nodes() {
    let Some(mut cluster) = RedisCluster::start_with(&[USER]) else { return };
    let folder = Folder::new();
    let mode = section::Mode::Cluster;
    let section = SharedSection {
        mode,
        user: Some("broker".to_owned()),
        password_file: Some(folder.0.join("password")),
        ..folder.section(cluster.urls())
    };
    conforms(&section).await;
    let broker = OneBroker::new(&section).await;
    cluster.nodes_mut()[2].kill();
    // What lies on the others is still found.
    let mut there = 0;
    for _ in 0..60 {
        there += usize::from(broker.distant.retries.claim(asked(b"own")).await.is_ok());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(there > 5, "{there} of 60");
}

#[tokio::test]
async fn a_new_master_that_sentinels_name_is_found() {
    let Some(mut watched) = RedisSentinel::start() else { return };
    let folder = Folder::new();
    let section = SharedSection {
        mode: section::Mode::Sentinel,
        service: Some(RedisSentinel::SERVICE.to_owned()),
        ..folder.section(vec![watched.url()])
    };
    let broker = OneBroker::new(&section).await;
    conforms(&section).await;
    watched.kill_master();
    broker.until(false).await;
    let took = broker.until(true).await;
    println!("the new master was found after {took:?}");
    assert_eq!(broker.end().claim(asked(b"own")).await, Known::First);
}

#[tokio::test]
async fn a_server_that_is_gone_or_hangs_costs_a_moment_and_comes_back_by_itself() {
    let Some(mut server) = Redis::start() else { return };
    let folder = Folder::new();
    let broker = OneBroker::new(&folder.section(vec![server.url()])).await;
    server.pause();
    let began = Instant::now();
    for _ in 0..20 {
        assert!(broker.distant.retries.claim(asked(b"own")).await.is_err());
    }
    let took = began.elapsed();
    assert!(took < Duration::from_millis(200 * 4), "three deadlines and no more: {took:?}");
    assert!(!broker.distant.link.is_up());
    server.resume();
    broker.until(true).await;
    server.kill();
    broker.until(false).await;
    server.restart();
    let took = broker.until(true).await;
    assert!(took < Duration::from_secs(4), "{took:?}");
    let (end, own) = (broker.end(), asked(b"own"));
    assert_eq!(end.claim(own).await, Known::First);
    // All is forgotten: nothing is refused that need not be.
    server.ask(&["FLUSHALL"]);
    assert_eq!(end.claim(own).await, Known::First);
}

#[tokio::test]
async fn a_server_that_is_full_or_follows_another_counts_as_away() {
    let Some(server) = Redis::start() else { return };
    let folder = Folder::new();
    let broker = OneBroker::new(&folder.section(vec![server.url()])).await;
    server.ask(&["CONFIG", "SET", "maxmemory", "1"]);
    broker.until(false).await;
    server.ask(&["CONFIG", "SET", "maxmemory", "0"]);
    broker.until(true).await;
    let nowhere = einmal_test_servers::free_port().to_string();
    server.ask(&["REPLICAOF", "127.0.0.1", &nowhere]);
    broker.until(false).await;
    server.ask(&["REPLICAOF", "NO", "ONE"]);
    broker.until(true).await;
}

#[tokio::test]
async fn a_server_that_lies_is_not_believed() {
    let Some(server) = Redis::start() else { return };
    let folder = Folder::new();
    let broker = OneBroker::new(&folder.section(vec![server.url()])).await;
    let (end, one, two) = (broker.end(), asked(b"one"), asked(b"two"));
    for own in [one, two] {
        assert_eq!(end.claim(own).await, Known::First);
    }
    let name = |own: Asked<'_>| {
        let parts = [own.authority.as_bytes(), own.id.as_bytes().as_slice()];
        broker.distant.names.name(names::Kind::Request, &parts)
    };
    // Somebody else's answer, garbage, and the answer to other bytes.
    end.settle(one, Settled::Answered(&answer(9))).await;
    server.ask(&["COPY", &name(one), &name(two), "REPLACE"]);
    assert_eq!(end.claim(two).await, Known::Unknown);
    server.ask(&["SET", &name(one), "garbage"]);
    assert_eq!(end.claim(one).await, Known::Unknown);
    server.ask(&["DEL", &name(one)]);
    server.ask(&["RPUSH", &name(one), "a list"]);
    assert!(broker.distant.retries.claim(one).await.is_err());
    // A quota's time in a thousand years, or no time at all, keeps nobody out for long.
    let rate = [(Whose::Authority("office"), Rate::per_second(10, 1).unwrap())];
    let quota = broker.distant.names.name(names::Kind::Rate, &[b"authority", b"office"]);
    for lie in ["99999999999999999999", "-5", "nan", "x", ""] {
        server.ask(&["SET", &quota, lie]);
        if let Taken::None { wait, .. } = broker.distant.rates.take(&rate).await.unwrap() {
            assert!(wait <= Duration::from_millis(100), "{lie}: {wait:?}");
        }
    }
    // News that no broker of this ledger told.
    let (into, mut heard) = mpsc::channel(4);
    tokio::spawn(broker.distant.news.clone().listen(into, broker.stop.clone()));
    let channel = broker.distant.names.name(names::Kind::News, &[]);
    let mut subscribers = String::from("0");
    while subscribers != "1" {
        tokio::time::sleep(Duration::from_millis(20)).await;
        subscribers = server.ask(&["PUBLISH", &channel, "one"]);
    }
    let heard = tokio::time::timeout(Duration::from_millis(200), heard.recv()).await;
    assert!(heard.is_err(), "{heard:?}");
}

#[tokio::test]
async fn what_speaks_no_redis_is_never_used() {
    let folder = Folder::new();
    for says in
        ["+OK\r\n", "$-1\r\n", "*1000000\r\n", "HTTP/1.1 400 Bad Request\r\n\r\n", ":1\r\n", ""]
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("redis://{}", listener.local_addr().unwrap());
        let liar = tokio::spawn(async move {
            while let Ok((mut tcp, _)) = listener.accept().await {
                let _gone = tcp.write_all(says.repeat(8).as_bytes()).await;
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        });
        let came = examine(&folder.section(vec![url]), ORIGIN).await;
        assert!(came.is_err(), "{says:?}");
        liar.abort();
    }
}
