// SPDX-License-Identifier: EUPL-1.2
//! The same people in each kind of source.

use einmal_test_servers::{MariaDb, Postgres};

use super::*;

/// Where the people are.
pub(super) enum Backend {
    Csv(Folder),
    Sqlite(Folder),
    Postgres(Folder, Postgres),
    MariaDb(Folder, MariaDb),
}

const MAPPING: &str = r#"
[[evidence]]
type = "birth-certificate"
source = "register"
table = "person"
blocked = "blocked"
[evidence.match]
idnr = "idnr"
family_name = "family"
given_names = "given"
birth_date = "born"
postcode = "plz"
place = "town"
[evidence.subject]
idnr = "idnr"
birth_name = "birth_name"
given_names = "given"
birth_place = "birth_place"
[[evidence.affected]]
idnr = "mother"
[evidence.fields]
family_name = { column = "family" }
birth_date = { column = "born" }
sex = { column = "sex", codes = { m = "male", w = "female" } }
office = { constant = "Standesamt Musterstadt" }
twin = { column = "twin" }
weight = { column = "weight" }
"#;

const INCOME: &str = r#"
[[evidence]]
type = "income"
source = "register"
table = "person"
[evidence.match]
idnr = "idnr"
birth_date = "born"
[evidence.subject]
idnr = "idnr"
[evidence.fields]
gross = { column = "gross" }
nationalities = { column = "nations" }
[evidence.fields.months]
table = "pay"
key = "person_id"
parent = "id"
order_by = "month"
[evidence.fields.months.columns]
month = { column = "month" }
gross = { column = "gross" }
currency = { constant = "EUR" }
"#;

const COLUMNS: &[&str] = &[
    "id",
    "idnr",
    "family",
    "given",
    "birth_name",
    "born",
    "birth_place",
    "plz",
    "town",
    "sex",
    "mother",
    "twin",
    "weight",
    "blocked",
    "gross",
    "nations",
];

/// Letters of DIN SPEC 91379 beyond Latin-1, one of them only as a sequence.
pub(super) const LETTERS: &str = "Đỗ Ğüneş-Łącka C̨ẞ";

const PEOPLE: &[&[&str]] = &[
    &[
        "1",
        ANNA,
        "Müller-Lüdenscheidt",
        "Anna Maria",
        "Müller",
        "1990-02-28",
        "Ulm",
        "01067",
        "Dresden",
        "w",
        MOTHER,
        "false",
        "3200",
        "",
        "1234.50",
        r#"["de","tr"]"#,
    ],
    &[
        "2",
        BERND,
        LETTERS,
        "Bernd",
        "",
        "1980-01-01",
        "Köln",
        "50667",
        "Köln",
        "m",
        "",
        "true",
        "",
        "nein",
        "-7.00",
        "",
    ],
    &["3", "", "Schmidt", "Eva", "Schmidt", "1970-03-03", "", "", "", "w", "", "", "", "", "", ""],
    &["4", "", "Schmidt", "Eva", "Schmidt", "1970-03-03", "", "", "", "w", "", "", "", "", "", ""],
    &["5", "", "Klein", "Uwe", "Klein", "1970-04-04", "", "", "", "x", "", "", "", "ja", "", ""],
    &["6", "", "Kurz", "Ute", "Kurz", "1970-05-05", "", "", "", "x", "", "", "", "", "", ""],
    // Nothing but what must be there.
    &["7", "", "Leer", "O'Neil", "Leer", "1970-06-06", "", "", "", "", "", "", "", "", "", ""],
];

impl Backend {
    pub(super) fn csv() -> Self {
        let folder = Folder::new();
        let line = |cells: &[&str]| {
            let quoted = cells.iter().map(|cell| format!("\"{}\"", cell.replace('"', "\"\"")));
            quoted.collect::<Vec<_>>().join(";") + "\n"
        };
        let lines: String = PEOPLE.iter().map(|cells| line(cells)).collect();
        std::fs::write(folder.path("register.csv"), line(COLUMNS) + &lines).unwrap();
        Self::Csv(folder)
    }

    pub(super) async fn sqlite() -> Self {
        let backend = Self::Sqlite(Folder::new());
        backend.fill("TEXT", "").await;
        backend
    }

    /// Nothing where it is not installed.
    pub(super) async fn postgres() -> Option<Self> {
        let backend = Self::Postgres(Folder::new(), Postgres::start()?);
        backend.fill("VARCHAR(200)", "").await;
        backend
            .sql("CREATE ROLE einmal_reader LOGIN; GRANT SELECT ON person, pay TO einmal_reader")
            .await;
        Some(backend)
    }

    /// Nothing where it is not installed.
    pub(super) async fn mariadb() -> Option<Self> {
        let backend = Self::MariaDb(Folder::new(), MariaDb::start()?);
        backend.fill("VARCHAR(200)", "CHARACTER SET utf8mb4").await;
        backend
            .sql(
                "CREATE USER einmal_reader@'127.0.0.1'; \
                 GRANT SELECT ON test.person TO einmal_reader@'127.0.0.1'; \
                 GRANT SELECT ON test.pay TO einmal_reader@'127.0.0.1'",
            )
            .await;
        Some(backend)
    }

    async fn fill(&self, text: &str, options: &str) {
        self.sql(&format!(
            "CREATE TABLE person (id BIGINT PRIMARY KEY, idnr {text}, family {text}, given {text}, \
             birth_name {text}, born DATE, birth_place {text}, plz INTEGER, town {text}, \
             sex CHAR(3), mother CHAR(20), twin BOOLEAN, weight SMALLINT, blocked {text}, \
             gross NUMERIC(12,2), nations {text}) {options}; \
             CREATE INDEX person_born ON person (born); \
             CREATE TABLE pay (person_id BIGINT, month DATE, gross NUMERIC(12,2)); \
             INSERT INTO pay VALUES (1, '2024-02-01', 2000.50), (1, '2024-01-01', NULL), \
             (2, '2024-01-01', 1.00)"
        ))
        .await;
        for cells in PEOPLE {
            let value = |cell: &&str| match *cell {
                "" => "NULL".to_owned(),
                "true" | "false" => (*cell).to_owned(),
                text => format!("'{}'", text.replace('\'', "''")),
            };
            let values: Vec<String> = cells.iter().map(value).collect();
            self.sql(&format!("INSERT INTO person VALUES ({})", values.join(","))).await;
        }
    }

    /// Runs statements as the owner.
    pub(super) async fn sql(&self, statements: &str) {
        match self {
            Self::Csv(_) => {}
            Self::Sqlite(folder) => run(&folder.path("register.db"), statements).await,
            Self::Postgres(_, server) => drop(server.ask(statements)),
            Self::MariaDb(_, server) => drop(server.ask(statements)),
        }
    }

    /// The source's keys.
    pub(super) fn source(&self, user: &str) -> String {
        let server = |kind: &str, port: u16, database: &str| {
            format!("kind = \"{kind}\"\nurl = \"{kind}://{user}@127.0.0.1:{port}/{database}\"\n")
        };
        match self {
            Self::Csv(_) => "kind = \"csv\"\npath = \"register.csv\"\n".into(),
            Self::Sqlite(_) => "kind = \"sqlite\"\npath = \"register.db\"\n".into(),
            Self::Postgres(_, own) => server("postgres", own.port(), "postgres"),
            Self::MariaDb(_, own) => server("mariadb", own.port(), "test"),
        }
    }

    pub(super) fn config(&self, user: &str, timeout_ms: u32) -> String {
        let source = self.source(user);
        let head = format!("[[sources]]\nname = \"register\"\n{source}timeout_ms = {timeout_ms}\n");
        match self {
            Self::Csv(_) => head + &MAPPING.replace("table = \"person\"\n", ""),
            _ => head + MAPPING + INCOME,
        }
    }

    pub(super) fn folder(&self) -> &Folder {
        match self {
            Self::Csv(folder)
            | Self::Sqlite(folder)
            | Self::Postgres(folder, _)
            | Self::MariaDb(folder, _) => folder,
        }
    }

    pub(super) async fn open_with(&self, config: &str) -> Result<ConfiguredRegister, Vec<Mistake>> {
        self.folder().open(config).await
    }

    pub(super) async fn open(&self) -> ConfiguredRegister {
        self.open_with(&self.config("einmal_reader", 1_500)).await.unwrap()
    }

    /// Whether it has tables, types and lists.
    pub(super) fn is_sql(&self) -> bool {
        !matches!(self, Self::Csv(_))
    }

    pub(super) fn kill(&mut self) {
        match self {
            Self::Postgres(_, server) => server.kill(),
            Self::MariaDb(_, server) => server.kill(),
            Self::Csv(_) | Self::Sqlite(_) => {}
        }
    }

    pub(super) fn restart(&mut self) {
        match self {
            Self::Postgres(_, server) => server.restart(),
            Self::MariaDb(_, server) => server.restart(),
            Self::Csv(_) | Self::Sqlite(_) => {}
        }
    }

    pub(super) fn pause(&self) {
        match self {
            Self::Postgres(_, server) => server.pause(),
            Self::MariaDb(_, server) => server.pause(),
            Self::Csv(_) | Self::Sqlite(_) => {}
        }
    }

    pub(super) fn resume(&self) {
        match self {
            Self::Postgres(_, server) => server.resume(),
            Self::MariaDb(_, server) => server.resume(),
            Self::Csv(_) | Self::Sqlite(_) => {}
        }
    }
}
