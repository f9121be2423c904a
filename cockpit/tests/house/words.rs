// SPDX-License-Identifier: EUPL-1.2
//! Words of an invented country, and pages over a small world.

use std::sync::Arc;

use einmal_cockpit::{
    login::{LoginConfig, Provider},
    pages::{Pages, Participation, Vocabulary},
};
use einmal_policy::rules_document::Texts;

use crate::house::{AUTHORITY, House, REGISTER, ledger_key};

pub(crate) struct Words;

fn texts(de: &str, en: &str, leicht: &str) -> Texts {
    Texts { de: de.into(), en: en.into(), de_leicht: leicht.into() }
}

impl Vocabulary for Words {
    fn purpose(&self, id: &str) -> Option<Texts> {
        Some(match id {
            "parental-allowance" => {
                texts("Antrag auf Elterngeld", "Claim for parental allowance", "Eltern·geld")
            }
            "housing-allowance" => {
                texts("Antrag auf Wohngeld", "Claim for housing allowance", "Wohn·geld")
            }
            _ => return None,
        })
    }

    fn legal_basis(&self, purpose: &str) -> Vec<String> {
        match purpose {
            "parental-allowance" => vec!["§ 8 Abs. 1 BEEG".into(), "§ 5 EGovG".into()],
            _ => vec!["§ 33 WoGG".into()],
        }
    }

    fn evidence_type(&self, id: &str) -> Option<Texts> {
        Some(match id {
            "birth-certificate" => texts("Geburtsurkunde", "Birth certificate", "Geburts·urkunde"),
            "residence" => texts("Meldeanschrift", "Registered address", "Adresse"),
            _ => return None,
        })
    }

    fn field(&self, _evidence_type: &str, name: &str) -> Option<Texts> {
        Some(match name {
            "birth_date" => texts("Geburtsdatum", "Date of birth", "Geburts·datum"),
            "given_names" => texts("Vornamen", "Given names", "Vor·namen"),
            _ => return None,
        })
    }

    fn authority_name(&self, id: &str) -> Option<String> {
        (id == AUTHORITY).then(|| "Elterngeldstelle Bremen".into())
    }

    fn register_name(&self, id: &str) -> Option<String> {
        (id == REGISTER).then(|| "Standesamt Bremen-Mitte".into())
    }

    fn policy(&self, _id: &str) -> Option<(String, Texts)> {
        let text = "Die Elterngeldstelle muss wissen, wann das Kind geboren wurde.";
        Some(("§ 8 Abs. 1 BEEG".into(), texts(text, text, text)))
    }

    fn authority_region(&self, id: &str) -> Option<String> {
        (id == AUTHORITY).then(|| "04011000".into())
    }

    fn participants(&self) -> Participation {
        Participation {
            authorities: vec!["Elterngeldstelle Bremen".into()],
            registers: vec![("Standesamt Bremen-Mitte".into(), vec!["birth-certificate".into()])],
        }
    }
}

pub(crate) async fn pages(house: &House) -> Pages {
    pages_at(house, &house.login)
}

pub(crate) fn pages_at(house: &House, login: &LoginConfig) -> Pages {
    Pages {
        keeper: house.client(),
        vocabulary: Arc::new(Words),
        login: Arc::new(Provider::new(login, house.clock.clone()).unwrap()),
        demo: true,
        kern: None,
        ledger: ledger_key(),
        secure_cookies: true,
        clock: house.clock.clone(),
    }
}
