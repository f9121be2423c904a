// SPDX-License-Identifier: EUPL-1.2
//! Who is at the other end: exactly one SPIFFE URI name in the certificate,
//! `spiffe://<trust-domain>/{operator,broker,cockpit,pages,auditor}/<id>` (SPIFFE X.509-SVID § 2).

use std::fmt;

use einmal_protocol::request::is_id;
use rustls::pki_types::CertificateDer;
use webpki::EndEntityCert;

/// What a party is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PeerRole {
    /// Runs connectors and adapters.
    Operator,
    /// Routes.
    Broker,
    /// Keeps and shows access records.
    Cockpit,
    /// Shows citizens what their cockpit keeps; opens nothing.
    Pages,
    /// Reads bodies to check them.
    Auditor,
}

impl PeerRole {
    /// Its part of the path.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Operator => "operator",
            Self::Broker => "broker",
            Self::Cockpit => "cockpit",
            Self::Pages => "pages",
            Self::Auditor => "auditor",
        }
    }
}

/// A party's SPIFFE id.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct SpiffeId {
    /// Whose world it is in.
    pub trust_domain: String,
    /// What it is.
    pub role: PeerRole,
    /// Which one.
    pub id: String,
}

impl SpiffeId {
    /// Reads a URI.
    ///
    /// # Errors
    /// Where it is not of this form.
    pub fn parse(uri: &str) -> Result<Self, IdentityError> {
        let mut parts = uri.strip_prefix("spiffe://").ok_or(IdentityError::Form)?.split('/');
        let (Some(trust_domain), Some(role), Some(id), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(IdentityError::Form);
        };
        let role = [
            PeerRole::Operator,
            PeerRole::Broker,
            PeerRole::Cockpit,
            PeerRole::Pages,
            PeerRole::Auditor,
        ]
        .into_iter()
        .find(|known| known.as_str() == role)
        .ok_or(IdentityError::Form)?;
        if !is_id(trust_domain) || !is_id(id) {
            return Err(IdentityError::Form);
        }
        Ok(Self { trust_domain: trust_domain.to_owned(), role, id: id.to_owned() })
    }

    /// The id in a certificate whose chain was verified.
    ///
    /// # Errors
    /// Where there is not exactly one URI name, or it is not of this form.
    pub fn of_certificate(certificate: &CertificateDer<'_>) -> Result<Self, IdentityError> {
        let certificate =
            EndEntityCert::try_from(certificate).map_err(|_| IdentityError::Certificate)?;
        let mut names = certificate.valid_uri_names();
        match (names.next(), names.next()) {
            (Some(name), None) => Self::parse(name),
            _ => Err(IdentityError::NotOne),
        }
    }
}

impl fmt::Display for SpiffeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "spiffe://{}/{}/{}", self.trust_domain, self.role.as_str(), self.id)
    }
}

/// Why a certificate names nobody.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum IdentityError {
    /// Not parseable.
    #[error("the certificate cannot be read")]
    Certificate,
    /// None, or several.
    #[error("the certificate must have exactly one URI name")]
    NotOne,
    /// Another form.
    #[error(
        "the name must be spiffe://<trust-domain>/<operator|broker|cockpit|pages|auditor>/<id>"
    )]
    Form,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_this_form() {
        let good = "spiffe://einmal.example/operator/it-nord";
        assert_eq!(SpiffeId::parse(good).map(|id| id.to_string()), Ok(good.to_owned()));
        for bad in [
            "https://einmal.example/operator/it-nord",
            "spiffe://einmal.example/admin/it-nord",
            "spiffe://einmal.example/operator/",
            "spiffe://einmal.example/operator/it-nord/more",
            "spiffe:///operator/it-nord",
            "spiffe://einmal.example/operator",
        ] {
            assert_eq!(SpiffeId::parse(bad), Err(IdentityError::Form), "{bad}");
        }
    }
}
