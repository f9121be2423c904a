// SPDX-License-Identifier: EUPL-1.2
//! A broker that has as much to do as it can: who is turned away learns when to come back, nothing of
//! it is a leaf, who waits is answered as soon as there is a place, and the operator sees it.

use std::{sync::Arc, time::Duration};

use einmal::demo::plan::TRUST_DOMAIN;
use einmal_broker::admission::Place;
use einmal_client::{ClientError, Prepared};
use einmal_peer::{
    Tls, TlsFiles,
    dial::{Target, channel},
};
use einmal_protocol::{
    Reason,
    wire::evidence::v1::{RequestEvidenceRequest, evidence_service_client::EvidenceServiceClient},
};
use tonic::{Code, Status};
use tonic_types::StatusExt;

use crate::world::{World, ask_of};

impl World {
    /// Takes all places that there are, as somebody else.
    async fn busy(&self) -> Vec<Place> {
        let admission = &self.house.broker.broker.admission;
        let mut places = Vec::new();
        while places.len() < admission.figures().at_once {
            places.push(admission.enter("somebody else").await.unwrap());
        }
        places
    }

    /// Sends a question as it is, and gets the status as it is.
    async fn send(&self, prepared: &Prepared) -> Result<(), Status> {
        let pki = self.folder.path().join("pki");
        let tls = Tls::load(&TlsFiles {
            certificate: pki.join("it-bremen.pem"),
            key: pki.join("it-bremen.key"),
            authorities: pki.join("ca.pem"),
            revocations: Vec::new(),
        });
        let address = format!("https://{}", self.house.broker.address);
        let target = Target::broker(&address, TRUST_DOMAIN);
        let request = RequestEvidenceRequest {
            signed_request: prepared.signed_request.clone(),
            sealed_person: prepared.sealed_person.clone(),
            seen_size: 0,
        };
        let channel = channel(&target, tls.unwrap().client).unwrap();
        EvidenceServiceClient::new(channel).request_evidence(request).await.map(drop)
    }

    /// Waits until so many wait.
    async fn waiting(&self, count: usize) {
        while self.house.broker.broker.admission.figures().waiting != count {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_turned_away_learns_when_to_come_back_and_who_waits_is_answered() {
    let world = Arc::new(World::start().await);
    let client = Arc::new(world.house.client().await.unwrap_or_else(|exit| panic!("{exit}")));
    let ask = || ask_of(&world.house, "birth-certificate");
    // Key cards are fetched once.
    client.ask(ask()).await.unwrap();
    let broker = &world.house.broker.broker;
    let before = broker.ledger.checkpoint().size();

    let mut places = world.busy().await;
    let prepared = client.prepare(&[ask()]).await.unwrap().remove(0);
    let status = world.send(&prepared).await.unwrap_err();
    assert_eq!(status.code(), Code::ResourceExhausted);
    let retry = status.get_details_retry_info().and_then(|info| info.retry_delay).unwrap();
    assert!((500..1_500).contains(&retry.as_millis()), "{retry:?}");
    assert_eq!(ClientError::from(status).reason(), Some(Reason::BrokerBusy));
    assert_eq!(broker.ledger.checkpoint().size(), before, "nothing of it is a leaf");
    assert_eq!(
        (broker.admission.figures().waiting, broker.admission.figures().turned_away),
        (0, 1)
    );

    // The same bytes again, and a place comes free while they wait.
    let waiting = tokio::spawn({
        let client = Arc::clone(&client);
        async move { client.send(&prepared).await }
    });
    world.waiting(1).await;
    places.pop();
    waiting.await.unwrap().unwrap();

    // Who hangs up leaves the line.
    let again = client.prepare(&[ask()]).await.unwrap().remove(0);
    places.push(broker.admission.enter("somebody else").await.unwrap());
    tokio::select! {
        answer = client.send(&again) => panic!("{}", answer.is_ok()),
        () = world.waiting(1) => {}
    }
    world.waiting(0).await;
    drop(places);
    client.send(&again).await.unwrap();

    let text = broker.metrics.text();
    assert!(text.contains("einmal_broker_admission_turned_away"), "{text}");
    drop((client, text));
    Arc::into_inner(world).unwrap().house.stop().await;
}
