#!/bin/sh
# SPDX-License-Identifier: EUPL-1.2
# Copies a keeper's index and archive, beside a running keeper or without one:
#     keeper.sh /var/lib/einmal/keeper/state NEW-FOLDER
# Day keys and the site key are in no backup: what is forgotten must stay forgotten.
set -eu
umask 077
state=$1 out=$2
mkdir "$out"
sqlite3 -bail -cmd ".timeout 10000" "$state/index.sqlite" ".backup '$out/index.sqlite'"
cp -a "$state/archive" "$out/archive"
sync "$out/index.sqlite"
