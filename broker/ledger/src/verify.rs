// SPDX-License-Identifier: EUPL-1.2
//! Verifying a whole ledger from the bodies up, reading only.

use std::path::Path;

use einmal_protocol::{
    Digest,
    note::{Checkpoint, LedgerKey, NoteError},
};

use crate::{
    memory::{self, MemoryError},
    open::check_entry,
    sqlite::{DatabaseError, SqliteStore},
    store::{Detail, Store, StoreError, TileId},
    tree::Tree,
};

const AT_ONCE: usize = 256;

/// A ledger that holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// How many leaves.
    pub size: u64,
    /// The root over them.
    pub root: Digest,
    /// Bodies whose digest is in their leaf.
    pub bodies: u64,
    /// Leaves whose body was forgotten in time.
    pub forgotten: u64,
    /// Tiles that are what the leaves give.
    pub tiles: u64,
    /// Size of the memory's checkpoint, which the tree contains.
    pub remembered: Option<u64>,
}

/// Derives everything anew from a database: each body's digest against its leaf, each tile, the
/// root, and that the memory's checkpoint, if given, is signed by this key and of this tree.
/// The ledger may be running meanwhile.
///
/// # Errors
/// At the first thing that does not hold.
pub async fn verify(
    database: &Path,
    ledger_key: &LedgerKey,
    memory: Option<&Path>,
) -> Result<Report, VerifyError> {
    let store = SqliteStore::inspect(database).await?;
    verify_store(&store, ledger_key, memory).await
}

/// As [`verify`], for any store.
///
/// # Errors
/// At the first thing that does not hold.
pub async fn verify_store(
    store: &dyn Store,
    ledger_key: &LedgerKey,
    memory: Option<&Path>,
) -> Result<Report, VerifyError> {
    // The memory first: it is written after the database, so it is never ahead of what follows.
    let remembered = match memory {
        Some(path) => Some(remembered(path, ledger_key)?),
        None => None,
    };
    let row = store.row().await?;
    if row.head.origin != ledger_key.name() {
        return Err(VerifyError::OtherOrigin { found: row.head.origin });
    }
    let (size, mut bodies_from) = (row.head.size, row.bodies_from);
    if let Some(signed) = remembered.as_ref().filter(|signed| signed.size() > size) {
        return Err(VerifyError::Behind { stored: size, signed: signed.size() });
    }
    let mut walk = Walk { tree: Tree::default(), report: Report::new(size, row.head.root) };
    walk.remembers(remembered.as_ref())?;
    while walk.tree.size() < size {
        let from = walk.tree.size();
        let wanted = AT_ONCE.min(usize::try_from(size - from).unwrap_or(AT_ONCE));
        let entries = store.entries(from, wanted, Detail::Bodies).await?;
        if entries.is_empty() {
            return Err(VerifyError::Broken(format!("leaf {from} is missing")));
        }
        let mut completed = Vec::new();
        for entry in entries {
            let (index, hash) = (walk.tree.size(), Some(entry.leaf.hash()));
            if check_entry(&entry, index, hash, bodies_from).is_err() {
                // It may have been forgotten since this began.
                bodies_from = store.row().await?.bodies_from;
                check_entry(&entry, index, hash, bodies_from).map_err(VerifyError::Broken)?;
            }
            match entry.leaf.day < bodies_from {
                true => walk.report.forgotten += 1,
                false => walk.report.bodies += 1,
            }
            walk.tree.push(entry.leaf.hash(), &mut completed);
            walk.remembers(remembered.as_ref())?;
        }
        for (id, tile) in completed {
            walk.compare(store, id, &tile.to_bytes()).await?;
        }
    }
    let partial: Vec<_> =
        // The growing tile of level 0 is not stored: its leaves were read.
        walk.tree
            .partial_tiles()
            .filter(|(id, _)| id.level > 0)
            .map(|(id, tile)| (id, tile.to_bytes()))
            .collect();
    for (id, bytes) in partial {
        walk.compare(store, id, &bytes).await?;
    }
    if walk.tree.root() != Some(row.head.root) {
        return Err(VerifyError::Broken("the leaves do not give the stored root".to_owned()));
    }
    Ok(walk.report)
}

/// The largest checkpoint that a memory knows to be signed.
///
/// # Errors
/// Where it holds none, or another ledger's.
pub fn remembered(path: &Path, ledger_key: &LedgerKey) -> Result<Checkpoint, VerifyError> {
    let note = memory::note(path)?.ok_or(VerifyError::EmptyMemory)?;
    Ok(Checkpoint::parse(&note, ledger_key)?)
}

impl Report {
    fn new(size: u64, root: Digest) -> Self {
        Self { size, root, bodies: 0, forgotten: 0, tiles: 0, remembered: None }
    }
}

struct Walk {
    tree: Tree,
    report: Report,
}

impl Walk {
    /// Compares the root with the remembered one at the size where that was signed.
    fn remembers(&mut self, signed: Option<&Checkpoint>) -> Result<(), VerifyError> {
        let Some(signed) = signed.filter(|signed| signed.size() == self.tree.size()) else {
            return Ok(());
        };
        if self.tree.root() != Some(signed.root()) {
            return Err(VerifyError::Forked { signed: signed.size() });
        }
        self.report.remembered = Some(signed.size());
        Ok(())
    }

    /// Compares a tile. A running ledger may have made it longer meanwhile.
    async fn compare(
        &mut self,
        store: &dyn Store,
        id: TileId,
        bytes: &[u8],
    ) -> Result<(), VerifyError> {
        let stored = store.tiles(&[id]).await?.pop().flatten();
        if !stored.is_some_and(|stored| stored.starts_with(bytes)) {
            return Err(VerifyError::Broken(format!("tile {id} is not what the leaves give")));
        }
        self.report.tiles += 1;
        Ok(())
    }
}

/// What does not hold.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum VerifyError {
    /// The database cannot be opened.
    #[error(transparent)]
    Database(#[from] DatabaseError),
    /// The database cannot be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Another ledger's.
    #[error("the database is of the ledger `{found}`")]
    OtherOrigin {
        /// Which.
        found: String,
    },
    /// What is stored contradicts itself.
    #[error("the ledger was changed: {0}")]
    Broken(String),
    /// The memory cannot be read.
    #[error(transparent)]
    Memory(#[from] MemoryError),
    /// No checkpoint in the memory.
    #[error("the memory holds no checkpoint")]
    EmptyMemory,
    /// The memory's checkpoint is not this ledger's.
    #[error("the memory's checkpoint does not count: {0}")]
    Checkpoint(#[from] NoteError),
    /// Rollback.
    #[error("the database has {stored} leaves, but {signed} were signed")]
    Behind {
        /// Leaves in the database.
        stored: u64,
        /// Leaves under the signature.
        signed: u64,
    },
    /// Fork.
    #[error("the tree of {signed} leaves that was signed is not the one stored")]
    Forked {
        /// Leaves under the signature.
        signed: u64,
    },
}
