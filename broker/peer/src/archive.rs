// SPDX-License-Identifier: EUPL-1.2
//! Every root, chain of rules, directory and deny list that a party ever accepted, by digest. Whoever
//! decides or verifies keeps them: a permit names its rules and directory by digest, and years
//! later it is decided again under these bytes.

use std::{
    collections::HashSet,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

use einmal_policy::documents::Documents;
use einmal_protocol::{
    Digest,
    digest::{hex, unhex},
    wire::{directory::v1::GetTrustResponse, v1::Envelope},
};
use prost::Message;

use crate::files::{self, FileError};

/// What a file holds; also the ending of its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// A root.
    Root,
    /// Rules that both roles signed, then those that only narrow; named by the last.
    Rules,
    /// A directory.
    Directory,
    /// A deny list.
    Deny,
}

impl Kind {
    /// Its name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Root => "root",
            Self::Rules => "rules",
            Self::Directory => "directory",
            Self::Deny => "deny",
        }
    }
}

/// A folder with one file a document. Whatever is read from it is verified again by whoever uses
/// it: here only the digest is compared with the name.
#[derive(Debug)]
pub struct Archive {
    folder: PathBuf,
    /// What is known to lie there whole.
    kept: Mutex<HashSet<(Kind, Digest)>>,
}

impl Archive {
    /// The archive in a folder, which is made where it is missing.
    ///
    /// # Errors
    /// Where the folder cannot be made.
    pub fn open(folder: &Path) -> Result<Self, FileError> {
        std::fs::create_dir_all(folder).map_err(|error| FileError::new(folder, error))?;
        Ok(Self { folder: folder.to_owned(), kept: Mutex::default() })
    }

    /// The archive in a folder that is there, only to be read.
    ///
    /// # Errors
    /// Where there is no such folder.
    pub fn inspect(folder: &Path) -> Result<Self, FileError> {
        if !folder.is_dir() {
            return Err(FileError::new(folder, "there is no such folder: name the archive"));
        }
        Ok(Self { folder: folder.to_owned(), kept: Mutex::default() })
    }

    /// Keeps documents that were accepted. A file that does not hold what its name says is
    /// replaced.
    ///
    /// # Errors
    /// Where a file cannot be written.
    pub fn keep(&self, documents: &Documents) -> Result<(), FileError> {
        let one = |kind, envelope: &Envelope| self.keep_one(kind, std::slice::from_ref(envelope));
        documents.roots.iter().try_for_each(|root| one(Kind::Root, root))?;
        self.keep_one(Kind::Rules, &documents.rules)?;
        one(Kind::Directory, &documents.directory)?;
        documents.deny.iter().try_for_each(|deny| one(Kind::Deny, deny))
    }

    fn keep_one(&self, kind: Kind, envelopes: &[Envelope]) -> Result<(), FileError> {
        let Some(last) = envelopes.last() else { return Ok(()) };
        let digest = Digest::of(&last.payload);
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.contains(&(kind, digest)) {
            return Ok(());
        }
        if !matches!(self.read(kind, digest), Ok(Some(_))) {
            // One form for all: chains are lists of envelopes, the others have one.
            let bytes = match kind {
                Kind::Rules => {
                    let rules = envelopes.to_vec();
                    GetTrustResponse { rules, ..<_>::default() }.encode_to_vec()
                }
                Kind::Root | Kind::Directory | Kind::Deny => last.encode_to_vec(),
            };
            files::replace(&self.path(kind, digest), &bytes)?;
        }
        kept.insert((kind, digest));
        Ok(())
    }

    /// Rules and all that they narrow, or nothing where they are not kept.
    ///
    /// # Errors
    /// Where the file cannot be read, or holds something else than its name says.
    pub fn rules(&self, digest: Digest) -> Result<Option<Vec<Envelope>>, FileError> {
        self.read(Kind::Rules, digest)
    }

    /// A directory, or nothing where it is not kept.
    ///
    /// # Errors
    /// Where the file cannot be read, or holds something else than its name says.
    pub fn directory(&self, digest: Digest) -> Result<Option<Envelope>, FileError> {
        Ok(self.read(Kind::Directory, digest)?.and_then(|mut envelopes| envelopes.pop()))
    }

    /// All documents of one kind in no order, each with the name of its file if it cannot be used.
    ///
    /// # Errors
    /// Where the folder cannot be read.
    pub fn all(&self, kind: Kind) -> Result<Vec<Result<Envelope, FileError>>, FileError> {
        let failed = |error: std::io::Error| FileError::new(&self.folder, error);
        let mut found = Vec::new();
        for entry in std::fs::read_dir(&self.folder).map_err(failed)? {
            let path = entry.map_err(failed)?.path();
            if path.extension().is_none_or(|ending| ending != kind.as_str()) {
                continue;
            }
            let digest = path.file_stem().and_then(|name| name.to_str()).and_then(unhex);
            let digest = digest.and_then(|bytes| Digest::try_from(bytes.as_slice()).ok());
            let read = match digest {
                Some(digest) => self.read(kind, digest),
                None => Err(FileError::new(&path, "its name is no digest")),
            };
            found.extend(read.map(|envelopes| envelopes?.pop()).transpose());
        }
        Ok(found)
    }

    fn read(&self, kind: Kind, digest: Digest) -> Result<Option<Vec<Envelope>>, FileError> {
        let path = self.path(kind, digest);
        let Some(bytes) = files::read_if_there(&path)? else { return Ok(None) };
        let envelopes = match kind {
            Kind::Rules => GetTrustResponse::decode(bytes.as_slice()).map(|answer| answer.rules),
            Kind::Root | Kind::Directory | Kind::Deny => {
                Envelope::decode(bytes.as_slice()).map(|envelope| vec![envelope])
            }
        };
        let envelopes = envelopes.map_err(|error| FileError::new(&path, error))?;
        if envelopes.last().map(|last| Digest::of(&last.payload)) != Some(digest) {
            return Err(FileError::new(&path, "it holds another document than its name says"));
        }
        Ok(Some(envelopes))
    }

    /// Where a document lies.
    pub fn path(&self, kind: Kind, digest: Digest) -> PathBuf {
        self.folder.join(format!("{}.{}", hex(digest.as_bytes()), kind.as_str()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn envelope(payload: &str) -> Envelope {
        Envelope { payload: payload.as_bytes().to_vec(), ..Envelope::default() }
    }

    #[test]
    fn what_was_kept_is_found_and_what_was_exchanged_is_not_believed() {
        let folder = std::env::temp_dir().join(format!("einmal-archive-{}", std::process::id()));
        let _absent = std::fs::remove_dir_all(&folder);
        assert!(Archive::inspect(&folder).is_err());
        let archive = Archive::open(&folder).unwrap();
        let chain = vec![envelope("wide"), envelope("narrow")];
        let documents = Documents {
            roots: vec![envelope("root")],
            rules: chain.clone(),
            directory: envelope("directory"),
            deny: Some(envelope("deny")),
            freshness: None,
        };
        archive.keep(&documents).unwrap();
        let digest = Digest::of(b"narrow");
        assert_eq!(archive.rules(digest).unwrap(), Some(chain.clone()));
        assert_eq!(archive.rules(Digest::of(b"wide")).unwrap(), None);
        let directory = archive.directory(Digest::of(b"directory")).unwrap();
        assert_eq!(directory, Some(envelope("directory")));
        for (kind, payload) in [(Kind::Root, "root"), (Kind::Deny, "deny")] {
            let all: Vec<Envelope> = archive.all(kind).unwrap().into_iter().flatten().collect();
            assert_eq!(all, [envelope(payload)]);
        }
        // Another process finds them; one that finds another document in its place mends it.
        std::fs::write(archive.path(Kind::Rules, digest), b"").unwrap();
        assert!(archive.rules(digest).is_err());
        let again = Archive::open(&folder).unwrap();
        assert!(again.all(Kind::Rules).unwrap().iter().all(Result::is_err));
        again.keep(&documents).unwrap();
        assert_eq!(archive.rules(digest).unwrap(), Some(chain));
        let _gone = std::fs::remove_dir_all(&folder);
    }
}
