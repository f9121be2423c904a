-- SPDX-License-Identifier: EUPL-1.2
CREATE TABLE einwohner (
  ewo_id INTEGER PRIMARY KEY, idnr TEXT NOT NULL, familienname TEXT NOT NULL, geburtsname TEXT,
  vornamen TEXT NOT NULL, geburtsdatum TEXT NOT NULL, geburtsort TEXT, staat TEXT,
  anschrift TEXT, plz TEXT, wohnort TEXT, gemeinde TEXT, einzug TEXT, wohnung TEXT, relig TEXT,
  haushalt INTEGER, auskunftssperre TEXT,
  erw1_idnr TEXT, erw1_geb TEXT, erw2_idnr TEXT, erw2_geb TEXT);
CREATE INDEX einwohner_idnr ON einwohner (idnr);
CREATE INDEX einwohner_geburt ON einwohner (geburtsdatum);
CREATE TABLE haushalt_erwachsene (haushalt INTEGER, vorn TEXT, name TEXT, einzug TEXT);
CREATE INDEX haushalt_nr ON haushalt_erwachsene (haushalt);
