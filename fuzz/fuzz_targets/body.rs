// SPDX-License-Identifier: EUPL-1.2
//! Bodies of the ledger, as keepers and auditors read them: whatever a broker put there.
#![no_main]

use einmal_protocol::{
    commitment::Commitment,
    envelope,
    leaf::{Leaf, LeafKind},
    permit::Permit,
    reason::Reason,
    request::Unverified,
    wire::v1::{Body, Envelope, body},
};
use libfuzzer_sys::fuzz_target;
use prost::Message;

fuzz_target!(|bytes: &[u8]| {
    let Ok(body) = Body::decode(bytes) else { return };
    let kind = LeafKind::of(&body);
    assert_eq!(kind.is_none(), body.kind.is_none());
    if let Some(kind) = kind {
        let leaf = Leaf::new(kind, 20_779, bytes);
        assert_eq!(Leaf::parse(&leaf.to_bytes()), Ok(leaf));
    }
    match body.kind {
        Some(body::Kind::Exchange(exchange)) => {
            let _ = Unverified::parse(&exchange.signed_request);
            let _ = Permit::parse(&exchange.permit);
            assert!(Commitment::verify(&exchange.commitment, &[]).is_err());
        }
        Some(body::Kind::Refusal(refusal)) => {
            let _ = Unverified::parse(&refusal.signed_request);
            let _ = Reason::parse(&refusal.reason);
            if let Ok(envelope) = Envelope::parse(&refusal.register_refusal) {
                assert!(envelope.verified(envelope::payload_type::REFUSAL, &[]).is_err());
            }
        }
        _ => {}
    }
});
