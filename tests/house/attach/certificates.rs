// SPDX-License-Identifier: EUPL-1.2
//! Certificates of a few seconds: renewed in time nobody notices, not renewed the stream ends.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use einmal::{demo::plan::TRUST_DOMAIN, pki::CertificateAuthority};
use einmal_peer::{PeerRole, SpiffeId};
use einmal_protocol::Reason;

use super::stage::{Cast, How, OPERATOR, Scripted, Stage, TAX, reason, until, until_idle};

/// A certificate for the operator, in the place of the one there is.
fn issue(stage: &Stage, life: Duration) {
    let authority = CertificateAuthority::open(&stage.folder().join("pki"));
    let authority = authority.unwrap_or_else(|exit| panic!("{exit}"));
    let trust_domain = TRUST_DOMAIN.to_owned();
    let id = SpiffeId { trust_domain, role: PeerRole::Operator, id: OPERATOR.to_owned() };
    let issued = authority.issue_for(&id, OPERATOR, &["localhost".to_owned()], life);
    issued.unwrap_or_else(|exit| panic!("{exit}"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_that_is_renewed_in_time_drops_no_exchange() {
    let stage = Stage::new("", 2048).await;
    issue(&stage, Duration::from_secs(18));
    let register = Scripted::new(How::Finds);
    let adapter = stage.attach(Cast::new(&[(TAX, &register)])).await;
    let old = stage.all().pop().unwrap();
    let client = stage.client().await;
    let began = Instant::now();
    let (mut answers, mut is_renewed) = (0, false);
    while began.elapsed() < Duration::from_secs(20) {
        let answer = stage.ask(&client, TAX).await;
        assert!(answer.is_ok(), "after {:?}: {:?}", began.elapsed(), reason(&answer));
        answers += 1;
        if !is_renewed && began.elapsed() > Duration::from_secs(2) {
            is_renewed = true;
            issue(&stage, Duration::from_secs(3_600));
        }
    }
    println!("{answers} answers while the certificate changed");
    until("the old stream is gone", || Arc::strong_count(&old) == 1).await;
    assert_eq!(stage.streams(), 1);
    until_idle(&stage, &adapter, 16).await;
    adapter.stop().await;
    stage.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_whose_certificate_has_ended_ends_and_a_newer_one_is_taken_without_restart() {
    let stage = Stage::new("", 2048).await;
    issue(&stage, Duration::from_secs(12));
    let register = Scripted::new(How::Finds);
    let adapter = stage.attach(Cast::new(&[(TAX, &register)])).await;
    let client = stage.client().await;
    stage.ask(&client, TAX).await.unwrap();
    until("the stream is ended", || stage.streams() == 0).await;
    let answer = stage.ask(&client, TAX).await;
    assert_eq!(reason(&answer), Some(Reason::RegisterNotAttached));
    // Half of a pair, and somebody else's, are not taken.
    let path = stage.folder().join(format!("pki/{OPERATOR}.pem"));
    std::fs::copy(stage.folder().join("pki/it-bremen.pem"), &path).unwrap();
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(stage.streams(), 0);
    issue(&stage, Duration::from_secs(3_600));
    until("it attaches by itself", || stage.streams() == 1).await;
    stage.ask(&client, TAX).await.unwrap();
    adapter.stop().await;
    stage.stop().await;
}

/// Long before the connection itself is cut.
#[tokio::test(flavor = "multi_thread")]
async fn a_stream_of_an_old_connection_is_replaced_without_a_break() {
    let stage = Stage::new("connection_age_s = 6\nconnection_grace_s = 5", 2048).await;
    let register = Scripted::new(How::Finds);
    let adapter = stage.attach(Cast::new(&[(TAX, &register)])).await;
    let old = stage.all().pop().unwrap();
    let began = Instant::now();
    while began.elapsed() < Duration::from_secs(9) {
        // Its own connection gets old too.
        let client = stage.client().await;
        let answer = stage.ask(&client, TAX).await;
        assert!(answer.is_ok(), "after {:?}: {:?}", began.elapsed(), reason(&answer));
    }
    assert!(!stage.all().iter().any(|stream| Arc::ptr_eq(stream, &old)));
    adapter.stop().await;
    stage.stop().await;
}
