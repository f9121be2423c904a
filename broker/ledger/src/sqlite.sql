-- SPDX-License-Identifier: EUPL-1.2
-- The whole ledger. The row, leaves and tiles only ever grow; bodies and slots are forgotten.
BEGIN;
PRAGMA application_id = 0x65696e6d;
PRAGMA user_version = 1;

CREATE TABLE ledger (
    only_row INTEGER PRIMARY KEY DEFAULT 1 CHECK (only_row = 1),
    origin TEXT NOT NULL,
    size INTEGER NOT NULL CHECK (size >= 0),
    root BLOB NOT NULL CHECK (length(root) = 32),
    bodies_from INTEGER NOT NULL
) STRICT;

CREATE TABLE leaf (
    position INTEGER PRIMARY KEY,
    bytes BLOB NOT NULL
) STRICT;

CREATE TABLE body (
    position INTEGER PRIMARY KEY,
    day INTEGER NOT NULL,
    bytes BLOB NOT NULL
) STRICT;

CREATE INDEX body_day ON body (day);

CREATE TABLE slot (
    key BLOB PRIMARY KEY,
    position INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE tile (
    level INTEGER NOT NULL,
    position INTEGER NOT NULL,
    hashes BLOB NOT NULL,
    PRIMARY KEY (level, position)
) STRICT;
COMMIT;
