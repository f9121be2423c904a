-- SPDX-License-Identifier: EUPL-1.2
-- Knows no identification number: people are found by their names.
CREATE TABLE akte (
  azr_nr TEXT NOT NULL, nachname TEXT NOT NULL, gebname TEXT, vorname TEXT NOT NULL,
  gebdat TEXT NOT NULL, gebort TEXT, staatsang TEXT, plz TEXT, ort TEXT, titel TEXT,
  rechtsgrund TEXT, erteilt TEXT, karte_bis TEXT, arbeit TEXT, einreise TEXT, pass_nr TEXT,
  sperre INTEGER);
CREATE INDEX akte_gebdat ON akte (gebdat);
