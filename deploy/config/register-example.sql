-- SPDX-License-Identifier: EUPL-1.2
-- Invented people for register-example.toml:
--     sqlite3 residents.db < register-example.sql
CREATE TABLE resident (
    idnr TEXT, family_name TEXT, birth_name TEXT, given_names TEXT, born TEXT, birth_place TEXT,
    street TEXT, postcode TEXT, town TEXT, moved_in TEXT, dwelling TEXT, household INTEGER,
    partner_idnr TEXT, block TEXT
);
CREATE INDEX resident_born ON resident (born, idnr);
CREATE TABLE adult (household INTEGER, given_names TEXT, family_name TEXT, moved_in TEXT);
CREATE INDEX adult_household ON adult (household);

INSERT INTO resident VALUES
    ('86095742719', 'Meier', 'Sommer', 'Anna Maria', '28.02.1990', 'Bremen', 'Am Wall 3',
     '28195', 'Bremen', '01.04.2021', 'A', 1, '47036892816', ''),
    ('47036892816', 'Meier', 'Meier', 'Jan', '03.11.1988', 'Emden', 'Am Wall 3',
     '28195', 'Bremen', '01.04.2021', 'A', 1, '86095742719', ''),
    ('65929970489', 'Krause', 'Krause', 'Lena', '17.07.1995', 'Jever', 'Hafenstraße 9',
     '28217', 'Bremen', '15.09.2024', 'H', 2, NULL, 'ja'),
    -- Two persons of one name, birth date and town: asked by name, the answer is "ambiguous".
    ('58129364703', 'Bauer', 'Bauer', 'Kim', '09.05.1980', 'Bremen', 'Am Dobben 12',
     '28203', 'Bremen', '01.02.2019', 'A', 3, NULL, ''),
    ('39461507287', 'Bauer', 'Wolf', 'Kim', '09.05.1980', 'Kiel', 'Steintor 77',
     '28203', 'Bremen', '01.10.2022', 'A', 4, NULL, '');
INSERT INTO adult VALUES
    (1, 'Anna Maria', 'Meier', '2021-04-01'),
    (1, 'Jan', 'Meier', '2021-04-01'),
    (2, 'Lena', 'Krause', '2024-09-15');
