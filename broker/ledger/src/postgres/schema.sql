-- SPDX-License-Identifier: EUPL-1.2
-- The whole ledger; `einmal_schema` stands for the schema that the options name. The row, leaves
-- and tiles only ever grow; bodies and slots are forgotten.

-- Written at each commit: room for its versions on one page, so that none is left behind.
CREATE TABLE einmal_schema.ledger (
    only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    application text NOT NULL DEFAULT 'einmal-ledger',
    version integer NOT NULL,
    origin text NOT NULL,
    size bigint NOT NULL CHECK (size >= 0),
    root bytea NOT NULL CHECK (octet_length(root) = 32),
    bodies_from bigint NOT NULL DEFAULT 0,
    ids_from_ms bigint NOT NULL DEFAULT 0,
    closed boolean NOT NULL DEFAULT false
) WITH (fillfactor = 10);

CREATE TABLE einmal_schema.leaf (
    position bigint PRIMARY KEY,
    bytes bytea NOT NULL CHECK (octet_length(bytes) = 38)
);

-- One partition a day, which is dropped with its day. What is sealed cannot be compressed.
CREATE TABLE einmal_schema.body (
    position bigint NOT NULL,
    day integer NOT NULL,
    bytes bytea NOT NULL,
    PRIMARY KEY (position, day)
) PARTITION BY RANGE (day);
ALTER TABLE einmal_schema.body ALTER COLUMN bytes SET STORAGE EXTERNAL;

-- How many bodies each partition has.
CREATE TABLE einmal_schema.day (
    day integer PRIMARY KEY,
    bodies bigint NOT NULL
) WITH (fillfactor = 50);

CREATE TABLE einmal_schema.slot (
    key bytea PRIMARY KEY,
    position bigint NOT NULL
);

CREATE TABLE einmal_schema.tile (
    level smallint NOT NULL,
    position bigint NOT NULL,
    hashes bytea NOT NULL,
    PRIMARY KEY (level, position)
);
ALTER TABLE einmal_schema.tile ALTER COLUMN hashes SET STORAGE EXTERNAL;
