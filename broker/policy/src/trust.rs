// SPDX-License-Identifier: EUPL-1.2
//! What a party trusts at one moment: root, rules, directory and deny list, all verified from the
//! pinned root, none older than what was accepted before.

use std::{collections::BTreeMap, sync::Arc};

use einmal_protocol::{Digest, Reason, envelope::payload_type, permit::Permit, wire::v1::Envelope};
use serde::{Deserialize, Serialize};

use crate::{
    chain::{Accepted, Candidate, ChainError, check_expiry, no_way_around},
    change::{self, Change, ChangeError},
    decide::{Question, Refused, decide},
    deny::{self, DenyError, DenyList},
    directory::{Directory, DirectoryError},
    documents::Documents,
    freshness::{Freshness, FreshnessError},
    root::{Role, Root, RootError},
    rules::{Rules, RulesError},
};

/// Rules that only one role signed may follow those that both signed, at most this many.
pub const RULES_MAX: usize = 16;

/// What must survive a restart, so that nobody can roll a party back.
#[derive(Clone, Debug, Default, Serialize, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct TrustState {
    /// Newest root.
    #[serde(default)]
    pub root: Option<Accepted>,
    /// Newest rules.
    #[serde(default)]
    pub rules: Option<Accepted>,
    /// Newest directory.
    #[serde(default)]
    pub directory: Option<Accepted>,
    /// Newest deny list.
    #[serde(default)]
    pub deny: Option<Accepted>,
    /// When the newest statement of freshness was made, UTC milliseconds.
    #[serde(default)]
    pub fresh_at_ms: u64,
    /// Ids of the keys that could sign the above.
    #[serde(default)]
    pub keys: BTreeMap<Role, Vec<String>>,
}

/// Verified trust. One exchange uses one of these from start to end.
#[derive(Clone, Debug)]
pub struct Trust {
    /// The root.
    pub root: Root,
    /// The rules.
    pub rules: Arc<Rules>,
    /// The directory, without what the deny list takes out of it.
    pub directory: Arc<Directory>,
    /// The deny list.
    pub deny: Option<Arc<DenyList>>,
    /// When its freshness ends, UTC milliseconds; 0 without any.
    pub fresh_until_ms: u64,
    /// The directory as it is signed.
    whole_directory: Arc<Directory>,
}

impl Trust {
    /// Verifies documents from the pinned root and against what was accepted before. What is
    /// `held` is not parsed again, and says what newer rules and deny lists change. The new state
    /// must be made durable before the trust is used.
    ///
    /// A missing or old statement of freshness is no error here: [`Trust::check_time`] refuses.
    ///
    /// # Errors
    /// Names the document that is not accepted, and why.
    pub fn accept(
        pinned: &Envelope,
        documents: &Documents,
        (state, held): (&TrustState, Option<&Self>),
        now_ms: u64,
    ) -> Result<(Self, TrustState), TrustError> {
        let (passed, root) = Root::pinned(pinned)?.walk_over(&documents.roots, now_ms)?;
        check_root(&root, &passed, state.root.as_ref())?;
        let known = state.as_far_as_signed_by(&root);
        let Signed { rules, passed, directory } = signed_under(&root, documents, held)?;
        let accepted_rules = candidate_rules(&rules).accept(known.rules.as_ref(), now_ms)?;
        no_way_around("rules", &passed, known.rules.as_ref())?;
        let accepted_directory =
            candidate_directory(&directory).accept(known.directory.as_ref(), now_ms)?;
        let mut state = TrustState {
            root: Some(root.accepted().clone()),
            rules: Some(accepted_rules),
            directory: Some(accepted_directory),
            deny: known.deny,
            fresh_at_ms: known.fresh_at_ms,
            keys: root.key_ids(),
        };
        let (deny, fresh_until_ms) =
            accept_deny(&root, (documents, &passed), &mut state, held, now_ms)?;
        let mut this = Self {
            root,
            rules,
            directory: Arc::clone(&directory),
            deny,
            fresh_until_ms,
            whole_directory: directory,
        };
        this.leave_out(held);
        Ok((this, state))
    }

    /// Takes out of the directory what the deny list names.
    fn leave_out(&mut self, held: Option<&Self>) {
        let Some(deny) = &self.deny else { return };
        if deny.keys().is_empty() && deny.operators().is_empty() {
            return;
        }
        // Thousands of entries: not once a statement of freshness.
        self.directory = match held {
            Some(held)
                if Arc::ptr_eq(&held.whole_directory, &self.whole_directory)
                    && held.deny.as_ref().is_some_and(|one| one.digest() == deny.digest()) =>
            {
                Arc::clone(&held.directory)
            }
            _ => Arc::new(self.whole_directory.without(deny.keys(), &deny.operators())),
        };
    }

    /// Verifies rules and directory of the past, for replay and for exported records: signatures
    /// count, expiry and newer versions do not. They may be signed under an earlier root whose keys
    /// were replaced since, but both under the same; `root` says under which. Without a deny list:
    /// what is on one today was not forbidden then.
    ///
    /// # Errors
    /// As `accept`.
    pub fn of_the_past(pinned: &Envelope, documents: &Documents) -> Result<Self, TrustError> {
        let chain = Root::pinned(pinned)?.chain(&documents.roots)?;
        Self::under_one_of(&chain, documents, None)
    }

    /// As `of_the_past`, from roots that were walked before. What is `held` is not parsed again.
    ///
    /// # Errors
    /// As `accept`; where no root vouches for the documents, what the newest lacks.
    pub fn under_one_of(
        chain: &[Root],
        documents: &Documents,
        held: Option<&Self>,
    ) -> Result<Self, TrustError> {
        let mut newest_lacks = None;
        for root in chain.iter().rev() {
            match signed_under(root, documents, held) {
                Ok(Signed { rules, directory, .. }) => {
                    candidate_rules(&rules).accept(None, 0)?;
                    candidate_directory(&directory).accept(None, 0)?;
                    return Ok(Self {
                        root: root.clone(),
                        rules,
                        directory: Arc::clone(&directory),
                        deny: None,
                        fresh_until_ms: 0,
                        whole_directory: directory,
                    });
                }
                Err(
                    error @ (TrustError::RulesSignature(_)
                    | TrustError::DirectorySignature(_)
                    | TrustError::OneSigner),
                ) => {
                    newest_lacks.get_or_insert(error);
                }
                Err(error) => return Err(error),
            }
        }
        Err(newest_lacks.unwrap_or(TrustError::NoRules))
    }

    /// These rules and this directory, with another's root, deny list and freshness: an exchange
    /// that began before a switch is decided by the rules of before, and the deny list of now.
    #[must_use]
    pub fn with_the_deny_list_of(&self, newer: &Self) -> Self {
        let mut this = Self {
            root: newer.root.clone(),
            deny: newer.deny.clone(),
            fresh_until_ms: newer.fresh_until_ms,
            directory: Arc::clone(&self.whole_directory),
            ..self.clone()
        };
        this.leave_out(Some(self));
        this
    }

    /// Decides one request: the deny list first, then the rules. Strict: one refused field
    /// refuses the request.
    ///
    /// # Errors
    /// A refusal, naming each refused field and what spoke against it.
    pub fn decide(&self, question: &Question, request: Digest) -> Result<Permit, Refused> {
        self.not_denied(question)?;
        decide(&self.rules, &self.directory, question, request)
    }

    /// Whether the deny list lets a question pass. The rules may still refuse it.
    ///
    /// # Errors
    /// `Denied`, naming the entry.
    pub fn not_denied(&self, question: &Question) -> Result<(), Refused> {
        let authority = self.directory.authority(&question.authority);
        let kinds = authority.map_or(&[][..], |found| found.entry.kinds.as_slice());
        let forbids = |deny: &Arc<DenyList>| {
            let entry = deny.forbids(question, kinds, &self.rules)?;
            Some(deny::refusals(entry, question))
        };
        match self.deny.as_ref().and_then(forbids) {
            Some(fields) => Err(Refused { reason: Reason::Denied, fields }),
            None => Ok(()),
        }
    }

    /// The directory as it is signed, with what the deny list takes out of it: for what was signed
    /// before.
    pub fn signed_directory(&self) -> &Arc<Directory> {
        &self.whole_directory
    }

    /// Whether all documents are still good, and the deny list is fresh.
    ///
    /// # Errors
    /// `RulesExpired` where one is over, `DenyListStale` where nobody said lately that the deny
    /// list is the newest.
    pub fn check_time(&self, now_ms: u64) -> Result<(), Reason> {
        let ends = [
            ("root", self.root.document().expires_at_ms),
            ("rules", self.rules.document().expires_at_ms),
            ("directory", self.directory.document().expires_at_ms),
        ];
        ends.into_iter()
            .try_for_each(|(what, end)| check_expiry(what, end, now_ms))
            .map_err(|_| Reason::RulesExpired)?;
        if self.deny.is_none() || now_ms >= self.fresh_until_ms {
            return Err(Reason::DenyListStale);
        }
        Ok(())
    }

    /// Whether a permit was decided under these rules and this directory.
    pub fn is_of(&self, rules: Digest, directory: Digest) -> bool {
        self.rules.digest() == rules && self.directory.digest() == directory
    }
}

impl TrustState {
    /// What still binds under this root. Where all keys of a role were replaced, what they signed
    /// binds no more: a thief may have signed the highest version there is, and the new keys must
    /// be able to go on below it (TUF 1.0 § 5.3.11). Where one key stayed, the old versions are
    /// still validly signed, so they go on binding.
    fn as_far_as_signed_by(&self, root: &Root) -> Self {
        let now = root.key_ids();
        let replaced = |role: Role| match (self.keys.get(&role), now.get(&role)) {
            (Some(old), Some(new)) if !old.is_empty() => !old.iter().any(|key| new.contains(key)),
            _ => false,
        };
        let authority = replaced(Role::RegisterAuthority);
        let rules = authority || replaced(Role::DataProtectionOfficer);
        Self {
            root: self.root.clone(),
            rules: self.rules.clone().filter(|_| !rules),
            directory: self.directory.clone().filter(|_| !authority),
            deny: self.deny.clone().filter(|_| !replaced(Role::Emergency)),
            fresh_at_ms: if replaced(Role::Online) { 0 } else { self.fresh_at_ms },
            keys: self.keys.clone(),
        }
    }
}

fn check_root(
    root: &Root,
    passed: &[Accepted],
    before: Option<&Accepted>,
) -> Result<(), ChainError> {
    let Some(before) = before else { return Ok(()) };
    let (got, accepted) = (root.accepted().version, before.version);
    if got < accepted {
        return Err(ChainError::Rollback { what: "root", got, accepted });
    }
    if got == accepted && root.accepted() != before {
        return Err(ChainError::Fork { what: "root", version: got });
    }
    no_way_around("root", passed, Some(before))
}

fn candidate_rules(rules: &Rules) -> Candidate<'_> {
    Candidate {
        what: "rules",
        version: rules.document().version,
        previous: rules.document().previous.as_deref(),
        expires_at_ms: rules.document().expires_at_ms,
        digest: rules.digest(),
    }
}

fn candidate_directory(directory: &Directory) -> Candidate<'_> {
    Candidate {
        what: "directory",
        version: directory.document().version,
        previous: directory.document().previous.as_deref(),
        expires_at_ms: directory.document().expires_at_ms,
        digest: directory.digest(),
    }
}

/// Rules and directory that one root vouches for, and that fit each other.
struct Signed {
    rules: Arc<Rules>,
    /// The rules, and those that they narrow.
    passed: Vec<Accepted>,
    directory: Arc<Directory>,
}

fn signed_under(
    root: &Root,
    documents: &Documents,
    held: Option<&Trust>,
) -> Result<Signed, TrustError> {
    let (rules, passed) = accept_rules(root, &documents.rules, held)?;
    let directory = accept_directory(root, &documents.directory, held)?;
    let (got, lowest) = (rules.document().version, directory.document().lowest_rules_version);
    if got < lowest {
        return Err(ChainError::Rollback { what: "rules", got, accepted: lowest }.into());
    }
    Ok(Signed { rules, passed, directory })
}

/// Walks from rules that both roles signed over those that only narrow.
fn accept_rules(
    root: &Root,
    envelopes: &[Envelope],
    held: Option<&Trust>,
) -> Result<(Arc<Rules>, Vec<Accepted>), TrustError> {
    let both = [Role::RegisterAuthority, Role::DataProtectionOfficer];
    if envelopes.len() > RULES_MAX {
        return Err(TrustError::RulesTooMany);
    }
    let mut last: Option<Arc<Rules>> = None;
    let mut passed = Vec::new();
    for envelope in envelopes {
        let signed = root.check_signed(envelope, payload_type::RULES, &both);
        let one_is_enough = match (&last, signed) {
            (_, Ok(())) => false,
            (None, Err(error)) => return Err(TrustError::RulesSignature(error)),
            (Some(_), Err(_)) => {
                let by = |role| root.check_signed(envelope, payload_type::RULES, &[role]);
                by(Role::RegisterAuthority)
                    .or_else(|_| by(Role::DataProtectionOfficer))
                    .map_err(TrustError::RulesSignature)?;
                true
            }
        };
        let digest = Digest::of(&envelope.payload);
        let rules = match held.filter(|held| held.rules.digest() == digest) {
            Some(held) => Arc::clone(&held.rules),
            None => Arc::new(Rules::parse(&envelope.payload)?),
        };
        let before = last.as_ref().or_else(|| {
            // What is held may not be what these rules follow.
            let follows = |held: &&Trust| {
                rules.document().previous.as_ref() == Some(&held.rules.digest().to_hex())
            };
            held.filter(follows).map(|held| &held.rules)
        });
        if let Some(before) = before {
            check_change(before, &rules, one_is_enough)?;
        }
        passed.push(Accepted { version: rules.document().version, digest: digest.to_hex() });
        last = Some(rules);
    }
    Ok((last.ok_or(TrustError::NoRules)?, passed))
}

/// Granting needs both roles, narrowing needs one; what the rules say of themselves must be so.
fn check_change(before: &Rules, rules: &Rules, one_is_enough: bool) -> Result<(), TrustError> {
    let (old, new) = (before.document(), rules.document());
    let accepted = Accepted { version: old.version, digest: before.digest().to_hex() };
    // One step, and chained by its digest.
    if old.version.checked_add(1) != Some(new.version) {
        return Err(ChainError::Previous { what: "rules", version: new.version }.into());
    }
    candidate_rules(rules).accept(Some(&accepted), 0)?;
    let found = change::check(before, rules)?;
    // Whoever signs alone may not make rules live longer, nor change what citizens read.
    let same_words = new.expires_at_ms <= old.expires_at_ms && change::same_words(before, rules);
    if one_is_enough && !(found == Change::Narrows && same_words) {
        return Err(TrustError::OneSigner);
    }
    Ok(())
}

fn accept_directory(
    root: &Root,
    envelope: &Envelope,
    held: Option<&Trust>,
) -> Result<Arc<Directory>, TrustError> {
    root.check_signed(envelope, payload_type::DIRECTORY, &[Role::RegisterAuthority])
        .map_err(TrustError::DirectorySignature)?;
    let digest = Digest::of(&envelope.payload);
    match held.filter(|held| held.whole_directory.digest() == digest) {
        Some(held) => Ok(Arc::clone(&held.whole_directory)),
        None => Ok(Arc::new(Directory::parse(&envelope.payload)?)),
    }
}

/// The deny list, and until when it counts as the newest.
fn accept_deny(
    root: &Root,
    (documents, passed): (&Documents, &[Accepted]),
    state: &mut TrustState,
    held: Option<&Trust>,
    now_ms: u64,
) -> Result<(Option<Arc<DenyList>>, u64), TrustError> {
    let Some(envelope) = &documents.deny else { return Ok((None, 0)) };
    let held = held.and_then(|held| held.deny.as_deref()).filter(|_| state.deny.is_some());
    let (deny, accepted) = DenyList::accept(envelope, root, state.deny.as_ref(), held)?;
    state.deny = Some(accepted);
    let deny = Some(Arc::new(deny));
    let Some(envelope) = &documents.freshness else { return Ok((deny, 0)) };
    let fresh = Freshness::accept(envelope, root, state.fresh_at_ms, now_ms)?;
    let found =
        [("rules", &state.rules), ("directory", &state.directory), ("deny list", &state.deny)];
    for (what, accepted) in found {
        if let Some(accepted) = accepted {
            fresh.check(what, accepted)?;
        }
    }
    no_way_around("rules", passed, Some(&fresh.rules))?;
    state.fresh_at_ms = fresh.issued_at_ms;
    Ok((deny, fresh.ends_at_ms()))
}

/// Why documents are not accepted.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum TrustError {
    /// The root.
    #[error("root: {0}")]
    Root(#[from] RootError),
    /// Too few signatures on the rules.
    #[error("rules: {0}")]
    RulesSignature(#[source] RootError),
    /// None at all.
    #[error("there are no rules")]
    NoRules,
    /// More than `RULES_MAX`.
    #[error("more than {RULES_MAX} rules that one role signed follow one another: have both sign")]
    RulesTooMany,
    /// The rules say of themselves that they change something else.
    #[error(transparent)]
    Change(#[from] ChangeError),
    /// One signer where both are needed.
    #[error(
        "rules: one of their two signers is enough only for rules that narrow, end no later and \
         leave all texts as they are"
    )]
    OneSigner,
    /// Too few signatures on the directory.
    #[error("directory: {0}")]
    DirectorySignature(#[source] RootError),
    /// The rules.
    #[error("rules: {0}")]
    Rules(#[from] RulesError),
    /// The directory.
    #[error("directory: {0}")]
    Directory(#[from] DirectoryError),
    /// The deny list.
    #[error(transparent)]
    Deny(#[from] DenyError),
    /// Freshness.
    #[error(transparent)]
    Freshness(#[from] FreshnessError),
    /// Version, digest or expiry.
    #[error(transparent)]
    Chain(#[from] ChainError),
}

#[cfg(test)]
#[path = "trust_tests.rs"]
mod tests;

#[cfg(test)]
#[path = "deny_tests.rs"]
mod deny_tests;

#[cfg(test)]
#[path = "fork_tests.rs"]
mod fork_tests;
