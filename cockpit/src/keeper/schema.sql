-- SPDX-License-Identifier: EUPL-1.2
-- The keeper's index. Nothing here names a person: tags are HMACs under a key of their day, and
-- what was opened is sealed again under another key of that day.
PRAGMA user_version = 2;

-- One row: the ledger that is followed, how far it is verified, and the checkpoint that says so.
CREATE TABLE IF NOT EXISTS state (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    origin TEXT NOT NULL,
    size INTEGER NOT NULL,
    checkpoint TEXT NOT NULL,
    checked_at_ms INTEGER NOT NULL
) STRICT;

-- One row: the newest day of any leaf, and the day before which all is forgotten. The second is
-- written before anything is destroyed, so that a crash in between is finished at the next start.
CREATE TABLE IF NOT EXISTS horizon (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    newest_day INTEGER NOT NULL,
    before_day INTEGER NOT NULL
) STRICT;

-- Hashes of all complete subtrees; level 0 are the leaves.
CREATE TABLE IF NOT EXISTS nodes (
    level INTEGER NOT NULL,
    position INTEGER NOT NULL,
    hash BLOB NOT NULL,
    PRIMARY KEY (level, position)
) STRICT, WITHOUT ROWID;

-- Leaves and bodies as received, for exports.
CREATE TABLE IF NOT EXISTS bodies (
    leaf_index INTEGER PRIMARY KEY,
    day INTEGER NOT NULL,
    leaf BLOB NOT NULL,
    body BLOB
) STRICT;

CREATE INDEX IF NOT EXISTS bodies_by_day ON bodies (day) WHERE body IS NOT NULL;

-- One record of one person. Slot -1 stands on the authority's own record. Facts are what lists are
-- filtered by, sealed; before the long column, so that the rest of the row is not read for them.
CREATE TABLE IF NOT EXISTS records (
    leaf_index INTEGER NOT NULL,
    slot INTEGER NOT NULL,
    day INTEGER NOT NULL,
    tag BLOB,
    facts BLOB,
    sealed BLOB NOT NULL,
    PRIMARY KEY (leaf_index, slot)
) STRICT, WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS records_by_tag ON records (tag, leaf_index);
CREATE INDEX IF NOT EXISTS records_by_day ON records (day);

-- What links entries to each other: reports of use by digest, retries by id.
CREATE TABLE IF NOT EXISTS requests (
    leaf_index INTEGER PRIMARY KEY,
    digest BLOB NOT NULL,
    id BLOB NOT NULL,
    retry_of BLOB,
    authority TEXT NOT NULL,
    day INTEGER NOT NULL
) STRICT;
CREATE INDEX IF NOT EXISTS requests_by_digest ON requests (digest);
CREATE INDEX IF NOT EXISTS requests_by_id ON requests (authority, id);
CREATE INDEX IF NOT EXISTS requests_by_retry ON requests (authority, retry_of);
CREATE INDEX IF NOT EXISTS requests_by_day ON requests (day);

-- Reports of use, sealed under the key of the exchange's day.
CREATE TABLE IF NOT EXISTS uses (
    leaf_index INTEGER PRIMARY KEY,
    exchange_index INTEGER NOT NULL,
    sealed BLOB NOT NULL
) STRICT;
CREATE INDEX IF NOT EXISTS uses_by_exchange ON uses (exchange_index);

-- One row for each kind of alarm.
CREATE TABLE IF NOT EXISTS alarms (
    text TEXT PRIMARY KEY,
    first_index INTEGER,
    count INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Who first found records by a birth identity: a tag of their identification number, of the day.
CREATE TABLE IF NOT EXISTS claims (
    tag BLOB PRIMARY KEY,
    owner BLOB NOT NULL,
    contested INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- What was done with the ledger itself: forgotten, read by auditors, held longer. No person.
CREATE TABLE IF NOT EXISTS notices (
    leaf_index INTEGER PRIMARY KEY,
    day INTEGER NOT NULL,
    what TEXT NOT NULL,
    by_whom TEXT NOT NULL,
    at_ms INTEGER NOT NULL,
    from_index INTEGER NOT NULL,
    to_index INTEGER NOT NULL,
    reason TEXT NOT NULL
) STRICT;

-- Checkpoints that were handed in and are ahead of the keeper, by who handed them in: whoever
-- hands in many pushes out only their own.
CREATE TABLE IF NOT EXISTS pending_checkpoints (
    peer TEXT NOT NULL,
    size INTEGER NOT NULL,
    root BLOB NOT NULL,
    note TEXT NOT NULL,
    at_ms INTEGER NOT NULL,
    PRIMARY KEY (peer, size, root)
) STRICT, WITHOUT ROWID;

-- One row: the largest checkpoint that the ledger's brokers signed and had remembered here before
-- they answered.
CREATE TABLE IF NOT EXISTS remembered_checkpoint (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    size INTEGER NOT NULL,
    root BLOB NOT NULL,
    note TEXT NOT NULL
) STRICT;

-- Split views, each with its proof.
CREATE TABLE IF NOT EXISTS forks (
    size INTEGER NOT NULL,
    shown_root BLOB NOT NULL,
    shown TEXT NOT NULL,
    kept TEXT NOT NULL,
    own_root BLOB NOT NULL,
    consistency BLOB NOT NULL,
    at_ms INTEGER NOT NULL,
    PRIMARY KEY (size, shown_root)
) STRICT, WITHOUT ROWID;

-- Records that are kept longer, sealed to a data-protection officer (IDNrG section 9 (3)).
CREATE TABLE IF NOT EXISTS holds (
    leaf_index INTEGER NOT NULL,
    slot INTEGER NOT NULL,
    officer_key BLOB NOT NULL,
    until_day INTEGER NOT NULL,
    reason TEXT NOT NULL,
    notice_index INTEGER NOT NULL,
    sealed BLOB NOT NULL,
    PRIMARY KEY (leaf_index, slot, officer_key)
) STRICT;
