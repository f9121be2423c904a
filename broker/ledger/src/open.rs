// SPDX-License-Identifier: EUPL-1.2
//! Starting: what is stored must be one tree, and none older than what was signed.

use einmal_protocol::{
    Digest,
    key::SigningKey,
    merkle::{Edge, Range},
    note::{Checkpoint, LedgerKey, NoteError},
};

use crate::{
    config::LedgerConfig,
    distant::{Afar, DistantFault, Need},
    memory::{Memory, MemoryError},
    postgres::PostgresOptionsError,
    shelf::Shelf,
    sqlite::DatabaseError,
    store::{Archive, Detail, Entry, Head, Row, Store, StoreError},
    tile::{HEIGHT, Tile, TileId, WIDTH, hashes_at},
    tree::Tree,
    witness::Witnesses,
};

/// Bodies at the end that are read again at every start.
const LAST: u64 = 256;

/// A ledger that may go on.
pub(crate) struct Opened {
    pub(crate) row: Row,
    pub(crate) tree: Tree,
    pub(crate) edge: Edge,
    pub(crate) memory: Option<Memory>,
    pub(crate) afar: Option<Afar>,
    pub(crate) checkpoint: Checkpoint,
}

/// The ledger's public key, once its configuration is found right.
pub(crate) fn ledger_key(config: &LedgerConfig, key: &SigningKey) -> Result<LedgerKey, OpenError> {
    config.check().map_err(OpenError::Config)?;
    Ok(LedgerKey::new(&config.origin, key.public().clone())?)
}

/// Checks all that § 11 of the design asks for at start, then signs the tree as it is.
pub(crate) async fn open(
    store: &dyn Store,
    shelf: &Shelf,
    config: &LedgerConfig,
    key: &SigningKey,
) -> Result<Opened, OpenError> {
    let ledger = ledger_key(config, key)?;
    // The memories first: they are written after the database, so the row read then is not behind
    // them, whoever else is appending.
    let witnessed = ask_witnesses(&config.witnesses, &ledger).await;
    let (mut afar, held) = match &config.distant {
        Some(distant) => distant.ask_at_start(&ledger).await?,
        None => (None, None),
    };
    let alone = config.distant.as_ref().is_some_and(|distant| distant.need == Need::Alone);
    let remembered = if alone { None } else { Memory::open(&config.memory)? };
    let row = store.row().await?;
    if row.head.origin != config.origin {
        let (found, configured) = (row.head.origin, config.origin.clone());
        return Err(OpenError::OtherOrigin { found, configured });
    }
    if row.closed {
        return Err(OpenError::Closed { size: row.head.size });
    }
    let (tree, edge) = read_tree(shelf.archive(), &row.head).await?;
    check_last_tiles(shelf, &tree).await?;
    check_last_entries(store, shelf, &tree, &row).await?;
    for note in witnessed.iter().flatten() {
        extends(note, shelf, &tree, &ledger).await?;
    }
    if let Some(held) = &held {
        extends(held.note(), shelf, &tree, &ledger).await?;
    }
    let may_be_new =
        tree.size() == 0 || config.adopt_memory || know_the_newest(&witnessed, &config.witnesses);
    let needed = afar.as_ref().is_some_and(|afar| afar.distant.is_needed());
    let checkpoint = Checkpoint::sign(&config.origin, row.head.size, row.head.root, key)?;
    let memory = if alone {
        if afar.as_ref().is_some_and(|afar| afar.met) && held.is_none() && !may_be_new {
            return Err(OpenError::MemoryMissing { size: tree.size() });
        }
        None
    } else {
        let may_be_new = may_be_new || (needed && held.is_some());
        let mut memory = match remembered {
            Some((mut memory, Some(note))) => {
                extends(&note, shelf, &tree, &ledger).await?;
                memory.compared(note);
                memory
            }
            Some((memory, None)) if may_be_new => memory,
            None if may_be_new => Memory::create(&config.memory)?,
            _ => return Err(OpenError::MemoryMissing { size: tree.size() }),
        };
        while let Some(note) = memory.write(checkpoint.note())? {
            // Another broker of this machine has just appended more: then it knows enough, and is
            // compared when this one has caught up.
            if Checkpoint::parse(&note, &ledger).is_ok_and(|signed| signed.size() > tree.size()) {
                break;
            }
            extends(&note, shelf, &tree, &ledger).await?;
            memory.compared(note);
        }
        Some(memory)
    };
    if let Some(afar) = &mut afar {
        afar.may_be_new = may_be_new || memory.is_some();
        afar.tell_at_start(&checkpoint, &ledger).await;
    }
    Ok(Opened { row, tree, edge, memory, afar, checkpoint })
}

/// The right edge from the store, which must give the row's root. Others may be appending, so
/// what is found may be longer than this head asks for.
pub(crate) async fn read_tree(
    archive: &dyn Archive,
    head: &Head,
) -> Result<(Tree, Edge), OpenError> {
    let size = head.size;
    let mut tiles = Vec::new();
    if size > 0 {
        tiles.push(last_leaves(archive, size).await?);
    }
    let levels = (1u8..8).take_while(|level| hashes_at(*level, size) > 0);
    let ids: Vec<TileId> =
        levels.map(|level| TileId { level, index: hashes_at(level, size) >> HEIGHT }).collect();
    for (id, bytes) in ids.iter().zip(archive.tiles(&ids).await?) {
        let width = usize::try_from(hashes_at(id.level, size)).unwrap_or(0) % WIDTH;
        let tile = match bytes {
            _ if width == 0 => Some(Tile::default()),
            Some(bytes) => bytes.get(..width * 32).and_then(Tile::parse),
            None => None,
        };
        tiles.push(tile.ok_or_else(|| damaged(format!("tile {id} is missing or malformed")))?);
    }
    let tree = Tree::new(size, tiles)
        .ok_or_else(|| damaged(format!("the last tiles are not those of {size} leaves")))?;
    let edge = tree.edge_nodes().and_then(|nodes| Edge::new(size, nodes));
    let edge = edge.filter(|edge| edge.root() == head.root && tree.root() == Some(head.root));
    let edge = edge.ok_or_else(|| damaged("the last tiles do not give the root".to_owned()))?;
    Ok((tree, edge))
}

/// The growing tile of level 0, which is not stored: its leaves are.
async fn last_leaves(archive: &dyn Archive, size: u64) -> Result<Tile, OpenError> {
    let mut tile = Tile::default();
    let mut at = size - size % WIDTH as u64;
    while at < size {
        let wanted = usize::try_from(size - at).unwrap_or(WIDTH);
        let entries = archive.entries(at, wanted, Detail::Leaves).await?;
        if entries.is_empty() {
            return Err(damaged(format!("leaf {at} is missing")));
        }
        for entry in entries {
            tile.push(entry.leaf.hash());
            at += 1;
        }
    }
    Ok(tile)
}

/// The newest full tile of each level must be what the level above says.
async fn check_last_tiles(shelf: &Shelf, tree: &Tree) -> Result<(), OpenError> {
    for level in 0..8u8 {
        let full = hashes_at(level, tree.size()) >> HEIGHT;
        if let Some(index) = full.checked_sub(1) {
            shelf.tile(tree, TileId { level, index }).await?;
        }
    }
    Ok(())
}

/// The newest leaves must be those of the tree and of their bodies, and nothing may follow.
async fn check_last_entries(
    store: &dyn Store,
    shelf: &Shelf,
    tree: &Tree,
    row: &Row,
) -> Result<(), OpenError> {
    let size = tree.size();
    let mut at = size.saturating_sub(LAST);
    while at < size {
        let wanted = usize::try_from(size - at).unwrap_or(WIDTH);
        let entries = shelf.archive().entries(at, wanted, Detail::Bodies).await?;
        if entries.is_empty() {
            return Err(damaged(format!("leaf {at} is missing")));
        }
        for entry in entries {
            let range = Range { begin: at, end: at + 1 };
            let known = shelf.hashes(tree, &[range]).await?;
            check_entry(&entry, at, known.first().copied(), row.bodies_from).map_err(damaged)?;
            at += 1;
        }
    }
    let follows = shelf.archive().entries(size, 1, Detail::Leaves).await?;
    // Unless another broker has just appended it.
    if !follows.is_empty() && store.row().await?.head.size == size {
        return Err(damaged(format!("leaf {size} is beyond the end")));
    }
    Ok(())
}

/// A stored entry against the tree's hash of it.
pub(crate) fn check_entry(
    entry: &Entry,
    index: u64,
    hash: Option<Digest>,
    bodies_from: u32,
) -> Result<(), String> {
    if entry.index != index {
        return Err(format!("leaf {index} is missing"));
    }
    if Some(entry.leaf.hash()) != hash {
        return Err(format!("leaf {index} is not in the tree"));
    }
    if entry.leaf.day < bodies_from {
        // Forgotten, or about to be: a file is overwritten before it is deleted.
        return Ok(());
    }
    match &entry.body {
        Some(body) if Digest::of(body) != entry.leaf.body => {
            Err(format!("the body of leaf {index} was changed"))
        }
        None => Err(format!("the body of leaf {index} is missing before its time")),
        Some(_) => Ok(()),
    }
}

/// Whether one of those who answered must have cosigned the newest checkpoint of which anything was
/// revealed: so many have that each choice of the others is too small. Whom nobody waits for may
/// lag behind, and then knows less than the memory that is missing.
fn know_the_newest(answers: &[Option<String>], witnesses: &Witnesses) -> bool {
    let lagging = witnesses.all.len().saturating_sub(witnesses.required);
    witnesses.required > 0 && answers.len() > lagging && answers.iter().any(Option::is_some)
}

/// The newest that each witness that answers cosigned of this ledger; nothing where it says that
/// it knows none.
pub(crate) async fn ask_witnesses(
    witnesses: &Witnesses,
    ledger: &LedgerKey,
) -> Vec<Option<String>> {
    let mut notes = Vec::new();
    for witness in &witnesses.all {
        match witness.newest(ledger.name()).await {
            Ok(Some(note)) if Checkpoint::parse(&note, ledger).is_ok() => notes.push(Some(note)),
            // It proves nothing, so it must not keep the ledger from starting.
            Ok(Some(_)) => tracing::error!(
                witness = witness.key().name(),
                "alarm: it shows a note that this ledger's key did not sign"
            ),
            Ok(None) => {
                tracing::info!(witness = witness.key().name(), "it knows nothing of this ledger");
                notes.push(None);
            }
            Err(fault) => tracing::warn!(%fault, "not asked what was signed last"),
        }
    }
    notes
}

/// The tree must contain what was signed before.
pub(crate) async fn extends(
    note: &str,
    shelf: &Shelf,
    tree: &Tree,
    ledger: &LedgerKey,
) -> Result<(), OpenError> {
    let signed = Checkpoint::parse(note, ledger).map_err(OpenError::ForeignMemory)?;
    if signed.size() > tree.size() {
        return Err(OpenError::Behind { stored: tree.size(), signed: signed.size() });
    }
    if shelf.root_at(tree, signed.size()).await? != signed.root() {
        return Err(OpenError::Forked { signed: signed.size() });
    }
    Ok(())
}

fn damaged(what: String) -> OpenError {
    OpenError::Store(StoreError::Broken(what))
}

/// Why a ledger does not start.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum OpenError {
    /// A setting is wrong.
    #[error("the ledger's configuration is wrong: {0}")]
    Config(&'static str),
    /// The key cannot sign checkpoints.
    #[error("the ledger's key cannot be used: {0}")]
    Key(#[from] NoteError),
    /// The database cannot be created or opened.
    #[error(transparent)]
    Database(#[from] DatabaseError),
    /// The PostgreSQL database is not named rightly.
    #[error(transparent)]
    Options(#[from] PostgresOptionsError),
    /// What is stored cannot be read, or contradicts itself.
    #[error(
        "{0}; if the storage is damaged, do not start: close this ledger with its last checkpoint \
         and begin a new origin"
    )]
    Store(#[from] StoreError),
    /// Another ledger's database.
    #[error("the database is of the ledger `{found}`, the configuration says `{configured}`")]
    OtherOrigin {
        /// Origin in the database.
        found: String,
        /// Origin in the configuration.
        configured: String,
    },
    /// It was ended.
    #[error(
        "this ledger was closed with {size} leaves: begin a new origin, and enter both in the \
         directory"
    )]
    Closed {
        /// Leaves in the database.
        size: u64,
    },
    /// A new ledger was asked for, but there is a memory of an earlier one.
    #[error("the ledger's memory exists already: a new ledger needs a new memory")]
    MemoryExists,
    /// No memory, or an empty one, and not enough witnesses who must know as much.
    #[error(
        "the memory of this ledger of {size} leaves is missing, so whether the database is an old \
         one cannot be known: put the memory back (or the keeper that was it); only if a keeper or \
         witness confirms that nothing larger was signed, set adopt_memory for one start"
    )]
    MemoryMissing {
        /// Leaves in the database.
        size: u64,
    },
    /// The memory on another machine does not answer, and nothing may be answered without it.
    #[error("{0}; without it nobody knows whether the database is an old one: start it first")]
    Silent(#[source] DistantFault),
    /// The memory's checkpoint is not signed by this ledger's key.
    #[error("the memory is not of this ledger and key: {0}")]
    ForeignMemory(#[source] NoteError),
    /// The memory cannot be used.
    #[error(transparent)]
    Memory(#[from] MemoryError),
    /// Rollback.
    #[error(
        "the database has {stored} leaves and is older than a checkpoint of {signed} that was \
         signed: a backup was restored or commits were lost; do not start; close this ledger and \
         begin a new origin"
    )]
    Behind {
        /// Leaves in the database.
        stored: u64,
        /// Leaves under the signature.
        signed: u64,
    },
    /// Fork.
    #[error(
        "the database holds another tree than the one of {signed} leaves that was signed: a backup \
         was restored and written to, or leaves were changed; do not start; close this ledger and \
         begin a new origin"
    )]
    Forked {
        /// Leaves under the signature.
        signed: u64,
    },
}
