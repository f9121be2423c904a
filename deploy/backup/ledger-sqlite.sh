#!/bin/sh
# SPDX-License-Identifier: EUPL-1.2
# Copies a ledger in SQLite, beside a running broker or without one:
#     ledger-sqlite.sh /var/lib/einmal/broker/ledger.sqlite NEW-FOLDER
# The database first, then the bodies: these only grow, so each leaf that was copied has its body.
set -eu
umask 077
database=$1 out=$2
mkdir "$out"
sqlite3 -bail -cmd ".timeout 10000" "$database" ".backup '$out/ledger.sqlite'"
cp -a "$database-bodies" "$out/ledger.sqlite-bodies"
sync "$out/ledger.sqlite"
