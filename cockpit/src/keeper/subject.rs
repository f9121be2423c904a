// SPDX-License-Identifier: EUPL-1.2
//! The canonical forms of a person's identity, of which tags are made, and whether two records
//! can be about the same person. Nothing here is stored or printed.

use einmal_protocol::{person::idnr_is_valid, wire::v1::Subject};
use zeroize::Zeroizing;

/// A canonical form. Wiped on drop.
pub(crate) type Form = Zeroizing<Vec<u8>>;

/// The form that a record is found by: the identification number if it is known, else the four
/// parts of the birth identity. Nothing where neither is whole: half an identity would show one
/// person the records of another (READ-ONLY-BY-ITS-OWNER).
pub(crate) fn form_of_record(subject: &Subject) -> Option<Form> {
    by_idnr(subject).or_else(|| by_birth(subject))
}

/// The forms under which records about a person may lie.
pub(crate) struct Forms {
    /// By identification number: theirs alone.
    pub(crate) number: Option<Form>,
    /// By birth identity, which two people can share.
    pub(crate) birth: Option<Form>,
}

/// All forms of this person.
pub(crate) fn forms_of_person(subject: &Subject) -> Forms {
    Forms { number: by_idnr(subject), birth: by_birth(subject) }
}

fn by_idnr(subject: &Subject) -> Option<Form> {
    idnr_is_valid(&subject.idnr)
        .then(|| Zeroizing::new([b"idnr\0".as_slice(), subject.idnr.as_bytes()].concat()))
}

fn by_birth(subject: &Subject) -> Option<Form> {
    let parts = [
        normal(&subject.birth_name),
        normal(&subject.given_names),
        normal(&subject.birth_date),
        normal(&subject.birth_place),
    ];
    if parts.iter().any(|part| part.is_empty()) {
        return None;
    }
    let mut form = Zeroizing::new(b"birth".to_vec());
    for part in &parts {
        form.push(0);
        form.extend_from_slice(part.as_bytes());
    }
    Some(form)
}

/// Trimmed, runs of white space as one, lower case with "ß" as "ss"; no zero bytes, which part
/// the forms.
fn normal(text: &str) -> Zeroizing<String> {
    let mut out = Zeroizing::new(String::with_capacity(text.len() * 2));
    for word in text.split_whitespace() {
        if !out.is_empty() {
            out.push(' ');
        }
        for c in word.chars().filter(|c| *c != '\0').flat_map(char::to_lowercase) {
            match c {
                'ß' => out.push_str("ss"),
                other => out.push(other),
            }
        }
    }
    out
}

/// Whether nothing that both name speaks against one person. Family and birth names may differ
/// by marriage, so names count only where there is nothing better.
pub(crate) fn can_be_same(asked: &Subject, found: &Subject) -> bool {
    let differ = |a: &str, b: &str| !a.is_empty() && !b.is_empty() && normal(a) != normal(b);
    if differ(&asked.idnr, &found.idnr) || differ(&asked.birth_date, &found.birth_date) {
        return false;
    }
    let both_idnr = !asked.idnr.is_empty() && !found.idnr.is_empty();
    let both_dates = !asked.birth_date.is_empty() && !found.birth_date.is_empty();
    both_idnr || both_dates || !differ(&asked.birth_name, &found.birth_name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn person(name: &str, place: &str) -> Subject {
        Subject {
            birth_name: name.into(),
            given_names: "Anna Maria".into(),
            birth_date: "1990-01-02".into(),
            birth_place: place.into(),
            ..Subject::default()
        }
    }

    #[test]
    fn one_person_has_one_form_however_written() {
        let a = form_of_record(&person("Groß", "Köln"));
        assert_eq!(a, form_of_record(&person("  GROß ", "KÖLN")));
        assert_eq!(a, form_of_record(&person("gross", "köln")));
        assert_ne!(a, form_of_record(&person("Groß", "Bonn")));
        // Parts do not run into each other.
        assert_ne!(form_of_record(&person("a b", "c")), form_of_record(&person("a", "b c")));
    }

    #[test]
    fn half_an_identity_has_no_form() {
        assert!(form_of_record(&person("Groß", "")).is_none());
        let wrong = Subject { idnr: "12345678901".into(), ..Subject::default() };
        assert!(form_of_record(&wrong).is_none());
    }

    #[test]
    fn the_number_goes_first_and_a_person_has_both() {
        let both = Subject { idnr: "86095742719".into(), ..person("Groß", "Köln") };
        assert!(form_of_record(&both).is_some_and(|form| form.starts_with(b"idnr\0")));
        let forms = forms_of_person(&both);
        assert!(forms.number.is_some() && forms.birth.is_some());
    }

    #[test]
    fn same_or_not() {
        let number = |idnr: &str, date: &str| Subject {
            idnr: idnr.into(),
            birth_date: date.into(),
            ..Subject::default()
        };
        assert!(can_be_same(&number("1", "2000-01-01"), &number("1", "2000-01-01")));
        assert!(!can_be_same(&number("1", "2000-01-01"), &number("2", "2000-01-01")));
        assert!(!can_be_same(&number("1", "2000-01-01"), &number("1", "2000-01-02")));
        assert!(can_be_same(&person("Married", "x"), &person("Born", "x")));
        assert!(can_be_same(&number("1", ""), &person("Born", "x")));
    }
}
