// SPDX-License-Identifier: EUPL-1.2
//! The append-only Merkle log: tree, group commit, stores, tiles.
