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

use crate::{root::ROOTS_MAX, trust::RULES_MAX};

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
        roots.sort_by_cached_key(order);
        roots
    }

    /// Lets go of roots that nobody would verify: those before the pinned one, except what it
    /// follows by digest. Anybody could have offered them.
    pub fn keep_roots_about(&mut self, pinned: &Envelope) {
        let first = order(pinned);
        let mut follows = previous(pinned);
        let mut kept: Vec<Envelope> = Vec::with_capacity(self.roots.len());
        for root in std::mem::take(&mut self.roots).into_iter().rev() {
            let is_followed = || Some(Digest::of(&root.payload).to_hex()) == follows;
            if order(&root) >= first {
                kept.push(root);
            } else if is_followed() {
                follows = previous(&root);
                kept.push(root);
            }
        }
        kept.reverse();
        self.roots = kept;
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

/// The digest of the version before it, as a document says.
fn previous(envelope: &Envelope) -> Option<String> {
    #[derive(Deserialize)]
    struct Previous {
        previous: Option<String>,
    }
    serde_json::from_slice::<Previous>(&envelope.payload).ok()?.previous
}

impl Offer {
    /// Whether there are more roots or rules than anybody verifies. To be asked before anything is
    /// done with an offer: to compare millions of them with each other takes days.
    pub fn is_too_much(&self) -> bool {
        self.roots.len() > ROOTS_MAX + 1 || self.rules.len() > RULES_MAX
    }

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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn root(version: u64, previous: Option<&Envelope>, words: &str) -> Envelope {
        let previous = previous.map(|one| Digest::of(&one.payload).to_hex());
        let root = json!({
            "version": version, "previous": previous, "issued_at_ms": 0, "words": words,
        });
        Envelope { payload: serde_json::to_vec(&root).unwrap(), ..Envelope::default() }
    }

    #[test]
    fn roots_that_nobody_verifies_are_not_kept() {
        let one = root(1, None, "");
        let two = root(2, Some(&one), "");
        let pinned = root(3, Some(&two), "");
        let four = root(4, Some(&pinned), "");
        let junk = [1, 2].map(|version| root(version, None, "junk"));
        let good = vec![one, two, pinned.clone(), four];
        let roots = [&junk[..1], &good[..2], &junk[1..], &good[2..]].concat();
        let mut documents = Documents::default().with(&Offer { roots, ..Offer::default() });
        assert_eq!(documents.roots.len(), 6);
        documents.keep_roots_about(&pinned);
        assert_eq!(documents.roots, good);
    }

    #[test]
    fn more_than_anybody_verifies_is_too_much() {
        let many = |count| vec![Envelope::default(); count];
        assert!(Offer { roots: many(ROOTS_MAX + 2), ..Offer::default() }.is_too_much());
        assert!(Offer { rules: many(RULES_MAX + 1), ..Offer::default() }.is_too_much());
        let most = Offer { roots: many(ROOTS_MAX + 1), rules: many(RULES_MAX), ..Offer::default() };
        assert!(!most.is_too_much());
    }
}
