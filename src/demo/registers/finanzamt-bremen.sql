-- SPDX-License-Identifier: EUPL-1.2
CREATE TABLE bescheide (
  steuernummer TEXT NOT NULL, id_nr TEXT NOT NULL, name TEXT, vorname TEXT, geb TEXT, plz TEXT,
  ort TEXT, vz INTEGER, bescheid_vom TEXT, veranl TEXT, zve TEXT, eink_selbst TEXT, eink_kap TEXT,
  spenden TEXT, est TEXT, gatte_id_nr TEXT, gatte_geb TEXT);
CREATE INDEX bescheide_id_nr ON bescheide (id_nr);
