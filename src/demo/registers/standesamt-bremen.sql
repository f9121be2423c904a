-- SPDX-License-Identifier: EUPL-1.2
-- A register of civil status as it grew since the nineties.
CREATE TABLE geburten (
  reg_nr TEXT NOT NULL, idnr TEXT NOT NULL, kind_name TEXT NOT NULL, kind_vornamen TEXT NOT NULL,
  geb_datum TEXT NOT NULL, geb_zeit TEXT, geb_ort TEXT, geschl TEXT, mehrling TEXT,
  mutter_idnr TEXT, mutter TEXT, mutter_geb TEXT, vater_idnr TEXT, vater TEXT, vater_geb TEXT,
  sperrvermerk TEXT);
CREATE INDEX geburten_idnr ON geburten (idnr);
CREATE INDEX geburten_datum ON geburten (geb_datum);
CREATE TABLE ehen (
  eintrag TEXT NOT NULL, ehe_datum TEXT, ehe_ort TEXT, stand TEXT,
  a_idnr TEXT, a_name TEXT, a_gebname TEXT, a_vornamen TEXT, a_geb TEXT,
  b_idnr TEXT, b_name TEXT, b_gebname TEXT, b_vornamen TEXT, b_geb TEXT,
  sperrvermerk TEXT);
CREATE VIEW v_ehe_person AS
  SELECT eintrag, ehe_datum, ehe_ort, stand, a_idnr AS idnr, a_name AS name, a_gebname AS gebname,
    a_vornamen AS vornamen, a_geb AS geb, b_idnr AS gatte_idnr, b_geb AS gatte_geb,
    b_vornamen || ' ' || b_name AS gatte, sperrvermerk FROM ehen
  UNION ALL
  SELECT eintrag, ehe_datum, ehe_ort, stand, b_idnr, b_name, b_gebname, b_vornamen, b_geb, a_idnr,
    a_geb, a_vornamen || ' ' || a_name, sperrvermerk FROM ehen;
CREATE TABLE vaterschaften (
  urk_nr TEXT NOT NULL, kind_idnr TEXT NOT NULL, kind_name TEXT, kind_vornamen TEXT, kind_geb TEXT,
  vater_idnr TEXT, vater TEXT, vater_geb TEXT, mutter_idnr TEXT, mutter_geb TEXT,
  anerkannt TEXT, zugestimmt TEXT, stelle TEXT);
