-- SPDX-License-Identifier: EUPL-1.2
-- What employers report (rvBEA): employments, their months, and supplements.
CREATE TABLE beschaeftigung (
  id INTEGER PRIMARY KEY, idnr TEXT NOT NULL, nachname TEXT, vornamen TEXT, geb TEXT,
  betrieb TEXT, eintritt TEXT, std_woche REAL, taetigkeit TEXT, pers_nr TEXT, iban TEXT);
CREATE INDEX beschaeftigung_idnr ON beschaeftigung (idnr);
CREATE TABLE entgelt (
  besch_id INTEGER NOT NULL, monat TEXT NOT NULL, brutto REAL, einmalig REAL, lohnsteuer REAL,
  rv_pflicht INTEGER);
CREATE INDEX entgelt_besch ON entgelt (besch_id);
CREATE TABLE zuschuss_mutterschaft (
  idnr TEXT NOT NULL, nachname TEXT, vornamen TEXT, geb TEXT, betrieb TEXT, von TEXT, bis TEXT,
  je_tag REAL, summe REAL, pers_nr TEXT);
