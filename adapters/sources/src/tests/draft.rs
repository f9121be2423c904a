// SPDX-License-Identifier: EUPL-1.2
//! First configurations of sources that nobody has mapped yet.

use super::*;
use crate::{Draft, DraftError, draft};

const ODD: &str = "
    CREATE TABLE t_versicherte (lfd_nr INTEGER, \"Steuer_ID\" TEXT, Familienname TEXT, vorname_1 TEXT, \
        Geb_Dat TEXT, ort_schluessel TEXT, sperr_kz TEXT);
    CREATE TABLE t_bescheid (lfd_nr INTEGER, brutto REAL, \"evil\"\" = 1 #\" TEXT)";

const SECTION: &str = "[[sources]]\nname = \"data\"\nkind = \"sqlite\"\npath = \"odd.db\"";

async fn drafted(folder: &Folder, kind: usize, table: Option<&str>) -> Result<Draft, DraftError> {
    draft(SECTION, &folder.0, &[&types()[kind]], table).await
}

#[tokio::test]
async fn what_cannot_be_told_from_names_is_said() {
    let folder = Folder::new();
    run(&folder.path("odd.db"), ODD).await;
    let Draft { text, open } = drafted(&folder, 0, None).await.unwrap();
    for line in [
        "table = \"t_versicherte\"",
        "blocked = \"sperr_kz\"",
        "idnr = \"Steuer_ID\"",
        "family_name = \"Familienname\"",
        "# given_names = \"vorname_1\"",
        "birth_date = \"Geb_Dat\"",
        "# place = \"?\"",
        "family_name = { column = \"Familienname\" }",
        "# sex = { column = \"?\" }",
        "absent = [\"sex\", \"office\", \"twin\", \"weight\"]",
    ] {
        assert!(text.lines().any(|found| found == line), "{line}\n{text}");
    }
    assert_eq!(
        open,
        [
            "evidence.birth-certificate.absent: not held, or not recognised? sex, office, twin, weight"
        ]
    );
    // It is a register's file, and works as far as it goes.
    let register = folder.open(&text).await.unwrap();
    drop(register);

    // A table without persons: what is needed is not guessed, and the check names the lines.
    let Draft { text, open } = drafted(&folder, 1, Some("T_BESCHEID")).await.unwrap();
    assert!(open.iter().any(|open| open.contains("match.birth_date")), "{open:?}");
    let mistakes: Vec<String> =
        folder.open(&text).await.unwrap_err().iter().map(ToString::to_string).collect();
    let birth = mistakes.iter().find(|mistake| mistake.contains("match.birth_date")).unwrap();
    assert!(birth.contains("it is not decided yet"), "{birth}");
}

#[tokio::test]
async fn sources_that_cannot_be_looked_into() {
    let folder = Folder::new();
    let error = drafted(&folder, 0, None).await.unwrap_err();
    let text = error.to_string();
    assert!(text.starts_with("sources.data.path: `odd.db`") && !text.contains('\n'), "{text}");
    run(&folder.path("odd.db"), "CREATE TABLE only (idnr TEXT)").await;
    let error = drafted(&folder, 0, Some("others")).await.unwrap_err();
    assert_eq!(error.to_string(), "there is no table `others`; write one of `only`");
    run(&folder.path("odd.db"), "DROP TABLE only").await;
    assert!(matches!(drafted(&folder, 0, None).await, Err(DraftError::NoTable)));
    let two = format!("{SECTION}\n{}", SECTION.replace("data", "more"));
    let error = draft(&two, &folder.0, &[], None).await.unwrap_err();
    assert!(matches!(error, DraftError::NotOne(2)));
    let error = draft("[[sources]]\nkind = \"tape\"", &folder.0, &[], None).await.unwrap_err();
    assert!(matches!(error, DraftError::Source(_)), "{error}");
}
