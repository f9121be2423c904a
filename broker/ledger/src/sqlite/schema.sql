-- SPDX-License-Identifier: EUPL-1.2
-- The ledger but for its bodies, which lie in one file a day beside it. The row, leaves and tiles
-- only ever grow; bodies and slots are forgotten.
BEGIN;
PRAGMA application_id = 0x65696e6d;
PRAGMA user_version = 2;

CREATE TABLE ledger (
    only_row INTEGER PRIMARY KEY DEFAULT 1 CHECK (only_row = 1),
    origin TEXT NOT NULL,
    size INTEGER NOT NULL CHECK (size >= 0),
    root BLOB NOT NULL CHECK (length(root) = 32),
    bodies_from INTEGER NOT NULL DEFAULT 0,
    ids_from_ms INTEGER NOT NULL DEFAULT 0,
    closed INTEGER NOT NULL DEFAULT 0
) STRICT;

-- The 38 bytes of a leaf, then where its body lies in the file of its day: start, in 8 bytes, and
-- length, in 4.
CREATE TABLE leaf (
    position INTEGER PRIMARY KEY,
    bytes BLOB NOT NULL CHECK (length(bytes) = 50)
) STRICT;

-- How far each day's file is filled; what lies behind was never committed.
CREATE TABLE segment (
    day INTEGER PRIMARY KEY,
    bodies INTEGER NOT NULL,
    length INTEGER NOT NULL
) STRICT;

CREATE TABLE slot (
    key BLOB PRIMARY KEY,
    position INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- The number is level * 2^56 + position.
CREATE TABLE tile (
    number INTEGER PRIMARY KEY,
    hashes BLOB NOT NULL
) STRICT;
COMMIT;
