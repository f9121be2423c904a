#!/bin/sh
# SPDX-License-Identifier: EUPL-1.2
# Copies a ledger in PostgreSQL, beside running brokers, as of one moment:
#     ledger-postgres.sh postgres://einmal@db.example.org:5432/einmal SCHEMA NEW-FOLDER
# The password comes from ~/.pgpass or PGPASSFILE. Restore it into an empty database with
#     pg_restore --exit-on-error --single-transaction --no-owner --dbname=URL NEW-FOLDER/ledger.pgdump
set -eu
umask 077
url=$1 schema=$2 out=$3
mkdir "$out"
pg_dump --format=custom --no-owner --schema="$schema" --file="$out/ledger.pgdump" "$url"
