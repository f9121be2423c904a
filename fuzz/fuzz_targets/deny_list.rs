// SPDX-License-Identifier: EUPL-1.2
//! Deny lists, and documents as anybody may offer them to a broker. Nothing is signed here: what
//! is looked for is a parser that panics, or one that takes what it cannot write again.
#![no_main]

use einmal_policy::{
    deny::DenyList,
    documents::{Documents, Offer},
};
use einmal_protocol::wire::{directory::v1::PublishTrustRequest, v1::Envelope};
use libfuzzer_sys::fuzz_target;
use prost::Message;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(list) = DenyList::parse(bytes) {
        let again = serde_json::to_vec(list.document()).expect("it was read from JSON");
        let again = DenyList::parse(&again).expect("what was taken is taken again");
        assert_eq!(again.document(), list.document());
    }
    let held = Envelope { payload: bytes.to_vec(), ..Envelope::default() };
    let mut documents = Documents { directory: held, ..Documents::default() };
    if let Ok(request) = PublishTrustRequest::decode(bytes) {
        let offer = Offer::from(request);
        documents = documents.with(&offer);
        // Once is as good as twice.
        assert_eq!(documents.with(&offer), documents);
    }
    assert!(documents.digests().len() >= 1);
});
