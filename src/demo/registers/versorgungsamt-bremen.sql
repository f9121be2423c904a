-- SPDX-License-Identifier: EUPL-1.2
-- Knows no identification number: people are found by name and residence.
CREATE TABLE feststellung (
  az TEXT NOT NULL, fam_name TEXT NOT NULL, geb_name TEXT, rufname_vornamen TEXT NOT NULL,
  geb_am TEXT NOT NULL, geb_ort TEXT, plz TEXT, ort TEXT, anerkannt TEXT, ab TEXT, bis TEXT,
  gdb INTEGER, merkz TEXT, leiden TEXT, ursache TEXT, sperrvermerk TEXT);
