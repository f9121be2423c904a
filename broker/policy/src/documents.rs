// SPDX-License-Identifier: EUPL-1.2
//! The signed documents as they travel, and what is taken of those that somebody offers.

use std::collections::HashSet;

use einmal_protocol::{
    Digest,
    wire::{
        directory::v1::{GetTrustResponse, PublishTrustRequest},
        v1::Envelope,
    },
};
use serde::Deserialize;

/// Root, rules, directory, deny list and freshness. Not verified.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Documents {
    /// From version 1 on.
    pub roots: Vec<Envelope>,
    /// Rules that both their signers signed, then those that only narrow; the last counts.
    pub rules: Vec<Envelope>,
    /// Current directory.
    pub directory: Envelope,
    /// Current deny list. Without one nothing is decided.
    pub deny: Option<Envelope>,
    /// What the online key says the newest are. Without it nothing is decided.
    pub freshness: Option<Envelope>,
}

/// Some documents that somebody offers; whatever is missing stays as it is.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Offer {
    /// Newer roots.
    pub roots: Vec<Envelope>,
    /// Newer rules, the whole chain from those that both roles signed.
    pub rules: Vec<Envelope>,
    /// A newer directory.
    pub directory: Option<Envelope>,
    /// A newer deny list.
    pub deny: Option<Envelope>,
    /// A newer statement of freshness.
    pub freshness: Option<Envelope>,
}

impl Documents {
    /// These documents, with each that is offered and not older. One that says it has the same
    /// version and is another is taken too, so that the contradiction is noticed.
    #[must_use]
    pub fn with(&self, offer: &Offer) -> Self {
        let newer = |held: &Envelope, offered: &Envelope| {
            held.payload != offered.payload && order(offered) >= order(held)
        };
        let one = |held: &Option<Envelope>, offered: &Option<Envelope>| match (held, offered) {
            (Some(held), Some(offered)) if !newer(held, offered) => Some(held.clone()),
            (held, offered) => offered.clone().or_else(|| held.clone()),
        };
        let rules_are_newer = match (self.rules.last(), offer.rules.last()) {
            (Some(held), Some(offered)) => newer(held, offered),
            (held, _) => held.is_none(),
        };
        Self {
            roots: self.roots_with(&offer.roots),
            rules: if rules_are_newer { &offer.rules } else { &self.rules }.clone(),
            directory: one(&Some(self.directory.clone()), &offer.directory).unwrap_or_default(),
            deny: one(&self.deny, &offer.deny),
            freshness: one(&self.freshness, &offer.freshness),
        }
    }

    fn roots_with(&self, offered: &[Envelope]) -> Vec<Envelope> {
        let mut roots = self.roots.clone();
        for root in offered {
            if !roots.iter().any(|held| held.payload == root.payload) {
                roots.push(root.clone());
            }
        }
        roots.sort_by_key(order);
        roots
    }

    /// Digests of all payloads, in the order of the fields: dear to make, for documents may have
    /// megabytes.
    pub fn digests(&self) -> Vec<Digest> {
        let one = [Some(&self.directory), self.deny.as_ref(), self.freshness.as_ref()];
        let all = self.roots.iter().chain(&self.rules).chain(one.into_iter().flatten());
        all.map(|envelope| Digest::of(&envelope.payload)).collect()
    }
}

/// What of some documents a caller does not hold yet, by the digests that it holds.
pub fn unknown(documents: &Documents, digests: &[Digest], known: &[Vec<u8>]) -> Offer {
    let known: HashSet<&[u8]> = known.iter().map(Vec::as_slice).collect();
    let mut digests = digests.iter();
    let mut is_new =
        || !digests.next().is_some_and(|one| known.contains(one.as_bytes().as_slice()));
    let new_roots: Vec<bool> = documents.roots.iter().map(|_| is_new()).collect();
    let new_rules: Vec<bool> = documents.rules.iter().map(|_| is_new()).collect();
    let mut one = |envelope: &Envelope| is_new().then(|| envelope.clone());
    let roots = documents.roots.iter().zip(new_roots).filter(|(_, new)| *new);
    // A chain of rules is one thing: its end is handed out with all that it follows.
    let rules = if new_rules.last() == Some(&true) { documents.rules.clone() } else { Vec::new() };
    Offer {
        roots: roots.map(|(root, _)| root.clone()).collect(),
        rules,
        directory: one(&documents.directory),
        deny: documents.deny.as_ref().and_then(&mut one),
        freshness: documents.freshness.as_ref().and_then(&mut one),
    }
}

/// What a document says its place is among those of its kind, before anything is verified.
fn order(envelope: &Envelope) -> u64 {
    #[derive(Deserialize)]
    struct Order {
        version: Option<u64>,
        issued_at_ms: u64,
    }
    serde_json::from_slice::<Order>(&envelope.payload)
        .map_or(0, |order| order.version.unwrap_or(order.issued_at_ms))
}

impl Offer {
    /// Whether nothing is offered.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

impl From<Documents> for Offer {
    fn from(documents: Documents) -> Self {
        let Documents { roots, rules, directory, deny, freshness } = documents;
        Self { roots, rules, directory: Some(directory), deny, freshness }
    }
}

impl From<GetTrustResponse> for Offer {
    fn from(answer: GetTrustResponse) -> Self {
        let GetTrustResponse { roots, rules, directory, deny, freshness } = answer;
        Self { roots, rules, directory, deny, freshness }
    }
}

impl From<PublishTrustRequest> for Offer {
    fn from(request: PublishTrustRequest) -> Self {
        let PublishTrustRequest { roots, rules, directory, deny, freshness } = request;
        Self { roots, rules, directory, deny, freshness }
    }
}

impl From<Offer> for PublishTrustRequest {
    fn from(offer: Offer) -> Self {
        let Offer { roots, rules, directory, deny, freshness } = offer;
        Self { roots, rules, directory, deny, freshness }
    }
}

impl From<Offer> for GetTrustResponse {
    fn from(offer: Offer) -> Self {
        let Offer { roots, rules, directory, deny, freshness } = offer;
        Self { roots, rules, directory, deny, freshness }
    }
}
