-- SPDX-License-Identifier: EUPL-1.2
CREATE TABLE versicherte (
  kvnr TEXT NOT NULL, idnr TEXT NOT NULL, nachname TEXT, vorname TEXT, geb_dat TEXT, plz TEXT,
  ort TEXT, vers_art TEXT, beginn TEXT, au_tage INTEGER, sperrkennz TEXT);
CREATE INDEX versicherte_idnr ON versicherte (idnr);
