-- SPDX-License-Identifier: EUPL-1.2
-- Invented people for register-server.toml; for PostgreSQL, MariaDB and MySQL alike.
CREATE TABLE resident (
    idnr VARCHAR(11), family_name VARCHAR(200), birth_name VARCHAR(200), given_names VARCHAR(200),
    born DATE, birth_place VARCHAR(200), street VARCHAR(200), postcode CHAR(5), town VARCHAR(200),
    municipality CHAR(8), moved_in TIMESTAMP NULL, block VARCHAR(10)
);
CREATE INDEX resident_born ON resident (born);
INSERT INTO resident VALUES
    ('86095742719', 'Meier', 'Sommer', 'Anna Maria', '1990-02-28', 'Bremen', 'Am Wall 3',
     '28195', 'Bremen', '04011000', '2021-04-01 09:30:00', NULL);

CREATE TABLE benefit (
    idnr BIGINT, born DATE, benefit_from DATE, benefit_until DATE, a_day NUMERIC(8, 2),
    in_all NUMERIC(10, 2), insurance_number VARCHAR(20)
);
CREATE INDEX benefit_born ON benefit (born);
INSERT INTO benefit VALUES
    (86095742719, '1990-02-28', '2024-03-01', '2024-06-07', 13.00, NULL, 'A123456780');
