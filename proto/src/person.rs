// SPDX-License-Identifier: EUPL-1.2
//! The person asked about: what the authority seals to the register. Wiped on drop, printed by
//! nothing.

use prost::Message;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use crate::{
    pad::{self, PadError},
    wire::v1,
};

/// Every sealed person has this many plain bytes.
pub const PERSON_SIZE: usize = 1024;
const TEXT_MAX: usize = 200;

/// Whether these are eleven digits with a right check digit (ISO 7064 MOD 11,10; § 139b AO).
pub fn idnr_is_valid(idnr: &str) -> bool {
    let digits: Option<Vec<u32>> = idnr.chars().map(|c| c.to_digit(10)).collect();
    let Some(digits) = digits.filter(|digits| digits.len() == 11) else { return false };
    let Some((check, payload)) = digits.split_last() else { return false };
    payload.first() != Some(&0) && idnr_check_digit(payload) == *check
}

/// The check digit of ten digits by ISO 7064 MOD 11,10.
pub fn idnr_check_digit(payload: &[u32]) -> u32 {
    let product = payload.iter().fold(10, |product, digit| {
        let sum = (digit + product) % 10;
        let sum = if sum == 0 { 10 } else { sum };
        sum * 2 % 11
    });
    (11 - product) % 10
}

/// How a person may be named (IDNrG § 6 (3)).
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub enum PersonQuery {
    /// Identification number and birth date.
    Idnr {
        /// Eleven digits, check digit right.
        idnr: String,
        /// YYYY-MM-DD.
        birth_date: String,
    },
    /// Family name, given names and birth date.
    Names {
        /// Family name.
        family_name: String,
        /// Given names.
        given_names: String,
        /// YYYY-MM-DD.
        birth_date: String,
    },
    /// Family name, place, postcode and birth date.
    Residence {
        /// Family name.
        family_name: String,
        /// Postcode.
        postcode: String,
        /// Place.
        place: String,
        /// YYYY-MM-DD.
        birth_date: String,
    },
}

impl std::fmt::Debug for PersonQuery {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("PersonQuery(redacted)")
    }
}

/// A person and the case: what is sealed.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct Person {
    /// Who is meant.
    pub query: PersonQuery,
    /// The authority's file number.
    pub case_reference: String,
    /// Who works on it; sealed, for the data-protection officer only.
    pub clerk: String,
}

impl std::fmt::Debug for Person {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Person(redacted)")
    }
}

impl PersonQuery {
    /// Whether the identification number is used.
    pub fn uses_idnr(&self) -> bool {
        matches!(self, Self::Idnr { .. })
    }

    /// The subject of a record about somebody of whom only this query is known.
    pub fn to_subject(&self) -> v1::Subject {
        match self {
            Self::Idnr { idnr, birth_date } => v1::Subject {
                idnr: idnr.clone(),
                birth_date: birth_date.clone(),
                ..v1::Subject::default()
            },
            Self::Names { family_name, given_names, birth_date } => v1::Subject {
                birth_name: family_name.clone(),
                given_names: given_names.clone(),
                birth_date: birth_date.clone(),
                ..v1::Subject::default()
            },
            Self::Residence { family_name, birth_date, .. } => v1::Subject {
                birth_name: family_name.clone(),
                birth_date: birth_date.clone(),
                ..v1::Subject::default()
            },
        }
    }
}

impl Person {
    /// The padded plain bytes to seal.
    ///
    /// # Errors
    /// Where names and references together are too long.
    pub fn to_plain(&self, salt: [u8; 32]) -> Result<Zeroizing<Vec<u8>>, PadError> {
        let mut wire = v1::Person {
            case_reference: self.case_reference.clone(),
            clerk: self.clerk.clone(),
            ..v1::Person::default()
        };
        match &self.query {
            PersonQuery::Idnr { idnr, birth_date } => {
                wire.idnr.clone_from(idnr);
                wire.birth_date.clone_from(birth_date);
            }
            PersonQuery::Names { family_name, given_names, birth_date } => {
                wire.family_name.clone_from(family_name);
                wire.given_names.clone_from(given_names);
                wire.birth_date.clone_from(birth_date);
            }
            PersonQuery::Residence { family_name, postcode, place, birth_date } => {
                wire.family_name.clone_from(family_name);
                wire.postcode.clone_from(postcode);
                wire.place.clone_from(place);
                wire.birth_date.clone_from(birth_date);
            }
        }
        let message = Zeroizing::new(wire.encode_to_vec());
        wipe(&mut wire);
        pad::pad(salt, &message, PERSON_SIZE)
    }

    /// Reads padded plain bytes, and that the person is named in a lawful way.
    ///
    /// # Errors
    /// Where they are malformed or the combination is not one of the three.
    pub fn from_plain(plain: &[u8]) -> Result<Self, PersonError> {
        let message = pad::unpad(plain).map_err(|_| PersonError::Form)?;
        let wire = v1::Person::decode(message).map_err(|_| PersonError::Form)?;
        Self::from_wire(wire)
    }

    /// Takes a person as it stands on the wire.
    ///
    /// # Errors
    /// As `from_plain`.
    pub fn from_wire(mut wire: v1::Person) -> Result<Self, PersonError> {
        let person = Self::read(&wire);
        wipe(&mut wire);
        person
    }

    fn read(wire: &v1::Person) -> Result<Self, PersonError> {
        let texts = [
            &wire.idnr,
            &wire.family_name,
            &wire.given_names,
            &wire.birth_date,
            &wire.postcode,
            &wire.place,
            &wire.case_reference,
            &wire.clerk,
        ];
        if texts.iter().any(|text| text.len() > TEXT_MAX || text.chars().any(char::is_control)) {
            return Err(PersonError::Form);
        }
        if !is_date(&wire.birth_date) {
            return Err(PersonError::Query);
        }
        let has = |text: &String| !text.is_empty();
        let birth_date = wire.birth_date.clone();
        let query = match (
            has(&wire.idnr),
            has(&wire.family_name),
            has(&wire.given_names),
            has(&wire.postcode),
            has(&wire.place),
        ) {
            (true, false, false, false, false) => {
                if !idnr_is_valid(&wire.idnr) {
                    return Err(PersonError::CheckDigit);
                }
                PersonQuery::Idnr { idnr: wire.idnr.clone(), birth_date }
            }
            (false, true, true, false, false) => PersonQuery::Names {
                family_name: wire.family_name.clone(),
                given_names: wire.given_names.clone(),
                birth_date,
            },
            (false, true, false, true, true) => PersonQuery::Residence {
                family_name: wire.family_name.clone(),
                postcode: wire.postcode.clone(),
                place: wire.place.clone(),
                birth_date,
            },
            _ => return Err(PersonError::Query),
        };
        Ok(Self { query, case_reference: wire.case_reference.clone(), clerk: wire.clerk.clone() })
    }
}

fn wipe(wire: &mut v1::Person) {
    for text in [
        &mut wire.idnr,
        &mut wire.family_name,
        &mut wire.given_names,
        &mut wire.birth_date,
        &mut wire.postcode,
        &mut wire.place,
        &mut wire.case_reference,
        &mut wire.clerk,
    ] {
        text.zeroize();
    }
}

/// Whether a text is a date as YYYY-MM-DD.
pub fn is_date(text: &str) -> bool {
    let mut parts = text.split('-');
    let (Some(year), Some(month), Some(day), None) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return false;
    };
    let number = |part: &str, length: usize| {
        (part.len() == length && part.bytes().all(|byte| byte.is_ascii_digit()))
            .then(|| part.parse::<u32>().ok())
            .flatten()
    };
    let (Some(year), Some(month), Some(day)) = (number(year, 4), number(month, 2), number(day, 2))
    else {
        return false;
    };
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let days = match month {
        4 | 6 | 9 | 11 => 30,
        2 if leap => 29,
        2 => 28,
        1..=12 => 31,
        _ => return false,
    };
    (1..=days).contains(&day)
}

/// Why a person is not accepted. Says nothing about the person.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum PersonError {
    /// Malformed.
    #[error("the opened bytes are not a person")]
    Form,
    /// Not a lawful combination (IDNrG § 6 (3)).
    #[error("the person is not named in one of the permitted ways")]
    Query,
    /// Wrong check digit (IDNrG § 5 (3)).
    #[error("the identification number has a wrong check digit")]
    CheckDigit,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wire() -> v1::Person {
        v1::Person {
            idnr: "86095742719".into(),
            birth_date: "1990-02-28".into(),
            case_reference: "EG-1".into(),
            ..v1::Person::default()
        }
    }

    #[test]
    fn check_digits() {
        // Published examples of the Federal Central Tax Office.
        for good in ["86095742719", "47036892816", "65929970489", "02476291358"] {
            assert_eq!(idnr_is_valid(good), !good.starts_with('0'), "{good}");
        }
        for bad in ["86095742718", "8609574271", "860957427190", "8609574271a", ""] {
            assert!(!idnr_is_valid(bad), "{bad}");
        }
    }

    #[test]
    fn only_lawful_combinations() {
        assert!(Person::from_wire(wire()).unwrap().query.uses_idnr());
        let mut wrong = wire();
        wrong.idnr = "86095742718".into();
        assert_eq!(Person::from_wire(wrong).err(), Some(PersonError::CheckDigit));
        let mut both = wire();
        both.family_name = "Meier".into();
        assert_eq!(Person::from_wire(both).err(), Some(PersonError::Query));
        let mut undated = wire();
        undated.birth_date = "1990-02-29".into();
        assert_eq!(Person::from_wire(undated).err(), Some(PersonError::Query));
    }

    #[test]
    fn there_and_back_in_one_size() {
        let person = Person::from_wire(wire()).unwrap();
        let plain = person.to_plain([5; 32]).unwrap();
        assert_eq!(plain.len(), PERSON_SIZE);
        let again = Person::from_plain(&plain).unwrap();
        assert_eq!(again.case_reference, "EG-1");
        assert!(!format!("{again:?} {:?}", wire()).contains("860"));
    }
}
