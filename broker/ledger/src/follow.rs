// SPDX-License-Identifier: EUPL-1.2
//! Taking over what other processes have appended: it must extend what this one knows.

use einmal_protocol::merkle::Edge;

use crate::{
    open::{OpenError, read_tree},
    shelf::Shelf,
    store::{Detail, Head, StoreError},
    tree::{Growth, Tree},
};

/// So many new leaves are read one by one; more are proven by a consistency check instead.
const LEAVES_MAX: u64 = 4096;

/// From a tree to a larger one in the same store. Errors other than
/// [`StoreError::Unavailable`] mean that it is not the same tree any more.
pub(crate) async fn follow(
    shelf: &Shelf,
    known: &Head,
    (tree, edge): (&Tree, &Edge),
    found: &Head,
) -> Result<(Growth, Edge), StoreError> {
    if found.origin != known.origin {
        return Err(StoreError::Broken(format!("it is of the ledger `{}` now", found.origin)));
    }
    if found.size < known.size {
        return Err(StoreError::Broken(format!(
            "it has {} leaves, but {} were known: commits were lost or a backup was restored; \
             close this ledger and begin a new origin",
            found.size, known.size
        )));
    }
    let (growth, edge) = if found.size - known.size <= LEAVES_MAX {
        leaf_by_leaf(shelf, (tree, edge), found.size).await?
    } else {
        at_once(shelf, known, found).await?
    };
    if growth.tree.root() != Some(found.root) || edge.root() != found.root {
        return Err(rewritten());
    }
    Ok((growth, edge))
}

async fn leaf_by_leaf(
    shelf: &Shelf,
    (tree, edge): (&Tree, &Edge),
    size: u64,
) -> Result<(Growth, Edge), StoreError> {
    let mut growth = Growth { tree: tree.clone(), completed: Vec::new() };
    let mut edge = edge.clone();
    while growth.tree.size() < size {
        let from = growth.tree.size();
        let wanted = usize::try_from(size - from).unwrap_or(usize::MAX);
        let entries = shelf.archive().entries(from, wanted, Detail::Leaves).await?;
        if entries.is_empty() {
            return Err(StoreError::Broken(format!("leaf {from} is missing")));
        }
        for entry in entries {
            let hash = entry.leaf.hash();
            growth.tree.push(hash, &mut growth.completed);
            edge.push(hash);
        }
    }
    Ok((growth, edge))
}

async fn at_once(shelf: &Shelf, known: &Head, found: &Head) -> Result<(Growth, Edge), StoreError> {
    let (tree, edge) = read_tree(shelf.archive(), found).await.map_err(|error| match error {
        OpenError::Store(error) => error,
        other => StoreError::Broken(other.to_string()),
    })?;
    if shelf.root_at(&tree, known.size).await? != known.root {
        return Err(rewritten());
    }
    Ok((Growth { tree, completed: Vec::new() }, edge))
}

fn rewritten() -> StoreError {
    StoreError::Broken(
        "it holds another tree than the one known: a backup was restored and written to, or \
         leaves were changed; close this ledger and begin a new origin"
            .to_owned(),
    )
}
