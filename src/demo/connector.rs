// SPDX-License-Identifier: EUPL-1.2
//! The demo's connector: the office's application may ask for the seventeen evidences, another's
//! for nothing of the office.

use std::fmt::Write;

use einmal_connector::{Running, token};
use einmal_peer::files;

use super::{
    house::House,
    plan::{AUTHORITY, AUTHORITY_OPERATOR, OTHER_AUTHORITY, tls},
    registers::questions,
};
use crate::{Exit, connector};

/// A connector and what applications need to call it.
pub struct DemoConnector {
    /// The connector.
    pub running: Running,
    /// Where the broker is that it asks first.
    pub url: String,
    /// The token of the office's application.
    pub token: String,
    /// The token of another authority's application.
    pub other_token: String,
}

impl DemoConnector {
    /// Writes its configuration and its application's token into the world's folder, and starts it.
    ///
    /// # Errors
    /// Where it does not start.
    pub async fn start(house: &House) -> Result<Self, Exit> {
        let broker = format!("https://{}", house.broker.address);
        Self::asking(house, &broker, "").await
    }

    /// As `start`, with another broker to ask first and more in the configuration.
    ///
    /// # Errors
    /// As `start`.
    pub async fn asking(house: &House, broker: &str, more: &str) -> Result<Self, Exit> {
        let folder = &house.plan.folder;
        let (token, hash) = token::new().map_err(Exit::failed)?;
        let (other_token, other_hash) = token::new().map_err(Exit::failed)?;
        let types = questions(&house.plan.town).into_iter().map(|question| question.evidence_type);
        let mut types: Vec<String> = types.map(|id| format!("{id:?}")).collect();
        types.sort_unstable();
        types.dedup();
        let types = types.join(", ");
        let mut text = format!(
            "listen = \"127.0.0.1:0\"\n\
             broker = \"{broker}\"\n\
             root = \"trust/root.signed\"\n\
             state = \"connector\"\n{more}\n{}",
            tls(AUTHORITY_OPERATOR)
        );
        for (name, authority, hash) in
            [("elterngeld", AUTHORITY, hash), ("wohngeld", OTHER_AUTHORITY, other_hash)]
        {
            let hash = hash.to_hex();
            let written = write!(
                text,
                "\n[[authorities]]\n\
                 id = \"{authority}\"\n\
                 identity = \"keys/{authority}.key\"\n\n\
                 [[applications]]\n\
                 id = \"{name}\"\n\
                 token_sha256 = \"{hash}\"\n\
                 authorities = [\"{authority}\"]\n\
                 purposes = [\"parental-allowance\"]\n\
                 evidence_types = [{types}]\n"
            );
            written.map_err(Exit::failed)?;
        }
        let config = folder.join("connector.toml");
        files::replace(&config, text.as_bytes())?;
        files::replace_secret(&folder.join("connector.token"), token.as_bytes())?;
        let running = connector::start(&config, house.clock.clone()).await?;
        let url = running.address.to_string();
        Ok(Self { running, url, token, other_token })
    }

    /// One line of curl that gets an evidence about the applicant.
    pub fn curl(&self, house: &House) -> String {
        let folder = house.plan.folder.display();
        let town = &house.plan.town;
        let (idnr, birth_date) = town
            .person(town.applicant)
            .map(|person| (person.idnr.clone(), person.birth_date.clone()))
            .unwrap_or_default();
        let url = &self.url;
        format!(
            "curl -H \"Authorization: Bearer $(cat {folder}/connector.token)\" {url}/v1/evidence \
             -d '{{\"evidence_type\":\"residence-registration\",\
             \"fields\":[\"street\",\"postcode\",\"place\"],\
             \"purpose\":\"parental-allowance\",\"use\":\"used\",\
             \"person\":{{\"idnr\":\"{idnr}\",\"birth_date\":\"{birth_date}\"}}}}'"
        )
    }
}
