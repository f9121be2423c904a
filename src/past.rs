// SPDX-License-Identifier: EUPL-1.2
//! Rules, directories and deny lists of the past: read from archives, verified from the pinned
//! root, and parsed once.

use std::{collections::VecDeque, sync::Arc};

use einmal_peer::{Archive, archive::Kind, files::FileError};
use einmal_policy::{
    Root, Trust,
    deny::DenyList,
    documents::{Documents, Offer},
    trust::TrustError,
};
use einmal_protocol::{Digest, wire::v1::Envelope};

use crate::Exit;

/// So many are held at once: leaves come in the order of time, so old ones are not asked for again.
const HELD_MAX: usize = 32;

/// What was trusted at any time.
#[derive(Debug)]
pub struct Past {
    /// From the pinned one on, oldest first.
    roots: Vec<Root>,
    archives: Vec<Archive>,
    lists: Vec<Arc<DenyList>>,
    held: VecDeque<(Digest, Digest, Result<Arc<Trust>, Missing>)>,
}

/// A document that cannot be had.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Missing {
    /// Rules or directory.
    pub kind: Kind,
    /// Which.
    pub digest: Digest,
    /// Why, and where one looked.
    pub problem: String,
}

impl Past {
    /// Walks the roots, and verifies the deny lists that the archives hold.
    ///
    /// # Errors
    /// Where the roots do not follow from the pinned one, or an archive cannot be read.
    pub fn open(
        pinned: &Envelope,
        mut newer: Vec<Envelope>,
        archives: Vec<Archive>,
    ) -> Result<Self, Exit> {
        for archive in &archives {
            for root in archive.all(Kind::Root)? {
                newer.push(root?);
            }
        }
        // In order, each once.
        let offer = Offer { roots: newer, ..Offer::default() };
        let newer = Documents::default().with(&offer).roots;
        let walked = Root::pinned(pinned).and_then(|pinned| pinned.chain(&newer));
        let roots = walked.map_err(|error| Exit::refused(format!("root: {error}")))?;
        let mut lists: Vec<Arc<DenyList>> = Vec::new();
        for archive in &archives {
            for envelope in archive.all(Kind::Deny)? {
                let list = DenyList::of_the_past(&envelope?, &roots).map_err(Exit::refused)?;
                if !lists.iter().any(|known| known.digest() == list.digest()) {
                    lists.push(Arc::new(list));
                }
            }
        }
        lists.sort_by_key(|list| list.document().version);
        Ok(Self { roots, archives, lists, held: VecDeque::new() })
    }

    /// Every deny list at hand, the oldest first.
    pub fn deny_lists(&self) -> &[Arc<DenyList>] {
        &self.lists
    }

    /// Rules and directory by their digests.
    ///
    /// # Errors
    /// Names the one that is missing or does not count.
    pub fn trust(&mut self, rules: Digest, directory: Digest) -> Result<Arc<Trust>, Missing> {
        let is = |held: &&(Digest, Digest, _)| (held.0, held.1) == (rules, directory);
        if let Some((_, _, found)) = self.held.iter().find(is) {
            return found.clone();
        }
        let found = self.verify(rules, directory);
        self.held.push_front((rules, directory, found.clone()));
        self.held.truncate(HELD_MAX);
        found
    }

    fn verify(&self, rules: Digest, directory: Digest) -> Result<Arc<Trust>, Missing> {
        let documents = Documents {
            rules: self.read(Kind::Rules, rules, |archive| archive.rules(rules))?,
            directory: self
                .read(Kind::Directory, directory, |archive| archive.directory(directory))?,
            ..Documents::default()
        };
        // Rules are dear to parse, and directories change more often.
        let mut held = self.held.iter().filter_map(|(_, _, found)| found.as_ref().ok());
        let same_rules = held.find(|held| held.rules.digest() == rules);
        let trust = Trust::under_one_of(&self.roots, &documents, same_rules.map(AsRef::as_ref));
        trust.map(Arc::new).map_err(|error| {
            let (kind, digest) = match &error {
                TrustError::DirectorySignature(_) | TrustError::Directory(_) => {
                    (Kind::Directory, directory)
                }
                _ => (Kind::Rules, rules),
            };
            Missing { kind, digest, problem: error.to_string() }
        })
    }

    /// From the first archive that has it.
    fn read<T>(
        &self,
        kind: Kind,
        digest: Digest,
        read: impl Fn(&Archive) -> Result<Option<T>, FileError>,
    ) -> Result<T, Missing> {
        let mut problem = "no archive has it".to_owned();
        for archive in &self.archives {
            match read(archive) {
                Ok(Some(found)) => return Ok(found),
                Ok(None) => (),
                Err(error) => problem = error.to_string(),
            }
        }
        Err(Missing { kind, digest, problem })
    }
}
