-- SPDX-License-Identifier: EUPL-1.2
CREATE TABLE konto (
  vsnr TEXT PRIMARY KEY, idnr TEXT NOT NULL, nachname TEXT, gebname TEXT, vornamen TEXT, geb TEXT,
  pflicht INTEGER, ep REAL, prognose REAL);
CREATE INDEX konto_idnr ON konto (idnr);
CREATE TABLE zeiten (vsnr TEXT NOT NULL, von TEXT, bis TEXT, art TEXT, entgelt REAL);
CREATE INDEX zeiten_vsnr ON zeiten (vsnr);
