-- SPDX-License-Identifier: EUPL-1.2
CREATE TABLE elstam (
  idnr TEXT PRIMARY KEY, geburtstag TEXT NOT NULL, stkl TEXT, zkf REAL, kist TEXT, freibetrag REAL,
  ag TEXT, gueltig_ab TEXT, sperre TEXT);
