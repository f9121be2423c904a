-- SPDX-License-Identifier: EUPL-1.2
CREATE TABLE leistungsfall (
  kd_nr TEXT NOT NULL, idnr TEXT NOT NULL, name TEXT, vorname TEXT, geb TEXT, plz TEXT, ort TEXT,
  art TEXT, beginn TEXT, ende TEXT, tagessatz TEXT, bescheid TEXT, sperrzeit TEXT);
CREATE INDEX leistungsfall_idnr ON leistungsfall (idnr);
