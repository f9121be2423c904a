// SPDX-License-Identifier: EUPL-1.2
//! What certificates and revocation lists say of time, for those who warn of their end. Nothing is
//! decided here: rustls verifies.

use std::path::PathBuf;

use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, UnixTime, pem::PemObject};
use time::{Date, Month, PrimitiveDateTime, Time};
use webpki::{ALL_VERIFICATION_ALGS, EndEntityCert, KeyUsage};

use crate::{
    files::{self, FileError},
    identity::SpiffeId,
    tls::{TlsFiles, authorities, certificates},
};

const SEQUENCE: u8 = 0x30;
const INTEGER: u8 = 0x02;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
/// `[0]`, in which a certificate says its version.
const EXPLICIT_0: u8 = 0xa0;

/// What the TLS files of a party say.
#[derive(Debug)]
pub struct Papers {
    /// Who the certificate says it is.
    pub id: SpiffeId,
    /// When the first of the own certificates ends, UTC milliseconds.
    pub ends_at_ms: u64,
    /// Why the authorities do not vouch for the certificate now, where they do not.
    pub problem: Option<String>,
    /// Revocation lists.
    pub revocations: Vec<Revocations>,
}

/// One revocation list.
#[derive(Debug)]
pub struct Revocations {
    /// Its file.
    pub path: PathBuf,
    /// When it was made, UTC milliseconds.
    pub made_at_ms: u64,
    /// From when on it does not count, UTC milliseconds; nothing where it does not say.
    pub ends_at_ms: Option<u64>,
}

/// Reads certificate, authorities and revocation lists.
///
/// # Errors
/// Names the file that cannot be used.
pub fn papers(paths: &TlsFiles, now_ms: u64) -> Result<Papers, FileError> {
    let failed = |problem: &dyn std::fmt::Display| FileError::new(&paths.certificate, problem);
    let chain = certificates(&paths.certificate)?;
    let (own, intermediates) =
        chain.split_first().ok_or_else(|| failed(&"no certificate in it"))?;
    let id = SpiffeId::of_certificate(own).map_err(|error| failed(&error))?;
    let roots = authorities(&paths.authorities)?;
    let now = UnixTime::since_unix_epoch(std::time::Duration::from_millis(now_ms));
    let certificate = EndEntityCert::try_from(own).map_err(|error| failed(&error))?;
    // As the other end looks at it, but for revocation.
    let verified = certificate.verify_for_usage(
        ALL_VERIFICATION_ALGS,
        &roots.roots,
        intermediates,
        now,
        KeyUsage::client_auth(),
        None,
        None,
    );
    let mut revocations = Vec::new();
    for path in &paths.revocations {
        let pem = files::read(path)?;
        let list = CertificateRevocationListDer::from_pem_slice(&pem)
            .map_err(|error| FileError::new(path, error))?;
        let (made_at_ms, ends_at_ms) =
            times(&list).ok_or_else(|| FileError::new(path, "its times cannot be read"))?;
        revocations.push(Revocations { path: path.clone(), made_at_ms, ends_at_ms });
    }
    Ok(Papers {
        id,
        ends_at_ms: first_end(&chain).ok_or_else(|| failed(&"its times cannot be read"))?,
        problem: verified.err().map(|error| error.to_string()),
        revocations,
    })
}

/// When the first of some certificates ends, UTC milliseconds.
pub(crate) fn first_end(chain: &[CertificateDer<'_>]) -> Option<u64> {
    let ends: Option<Vec<u64>> = chain.iter().map(|certificate| end(certificate)).collect();
    ends?.into_iter().min()
}

/// When a certificate ends (RFC 5280 § 4.1.2.5).
fn end(certificate: &[u8]) -> Option<u64> {
    let mut fields = to_be_signed(certificate)?;
    fields.skip(EXPLICIT_0)?;
    fields.take(INTEGER)?;
    fields.take(SEQUENCE)?;
    fields.take(SEQUENCE)?;
    let mut validity = Der(fields.take(SEQUENCE)?);
    validity.time()?;
    validity.time()
}

/// When a revocation list was made, and when it ends (RFC 5280 § 5.1.2).
fn times(list: &[u8]) -> Option<(u64, Option<u64>)> {
    let mut fields = to_be_signed(list)?;
    fields.skip(INTEGER)?;
    fields.take(SEQUENCE)?;
    fields.take(SEQUENCE)?;
    let made = fields.time()?;
    Some((made, fields.time()))
}

fn to_be_signed(signed: &[u8]) -> Option<Der<'_>> {
    let mut signed = Der(Der(signed).take(SEQUENCE)?);
    Some(Der(signed.take(SEQUENCE)?))
}

/// Elements that are still to be read.
#[derive(Clone, Copy)]
struct Der<'a>(&'a [u8]);

impl<'a> Der<'a> {
    fn next(&mut self) -> Option<(u8, &'a [u8])> {
        let (&[tag, first], mut rest) = self.0.split_first_chunk::<2>()?;
        let mut length = usize::from(first);
        if first >= 0x80 {
            let (digits, after) = rest.split_at_checked(usize::from(first & 0x7f))?;
            if digits.is_empty() || digits.len() > 4 {
                return None;
            }
            length = digits.iter().fold(0, |sum, digit| sum << 8 | usize::from(*digit));
            rest = after;
        }
        let (content, rest) = rest.split_at_checked(length)?;
        self.0 = rest;
        Some((tag, content))
    }

    /// The content of the next element, which must be of this kind.
    fn take(&mut self, wanted: u8) -> Option<&'a [u8]> {
        let (tag, content) = self.next()?;
        (tag == wanted).then_some(content)
    }

    /// Passes over the next element if it is of this kind.
    fn skip(&mut self, unwanted: u8) -> Option<()> {
        if self.0.first() == Some(&unwanted) {
            self.next()?;
        }
        Some(())
    }

    fn time(&mut self) -> Option<u64> {
        let (tag, content) = self.next()?;
        let text = std::str::from_utf8(content).ok()?.strip_suffix('Z')?;
        let (year, rest) = match tag {
            UTC_TIME => {
                let year: i32 = text.get(..2)?.parse().ok()?;
                (if year < 50 { 2000 + year } else { 1900 + year }, text.get(2..)?)
            }
            GENERALIZED_TIME => (text.get(..4)?.parse().ok()?, text.get(4..)?),
            _ => return None,
        };
        let part = |at: usize| rest.get(at..at + 2)?.parse::<u8>().ok();
        let month = Month::try_from(part(0)?).ok()?;
        let date = Date::from_calendar_date(year, month, part(2)?).ok()?;
        let time = Time::from_hms(part(4)?, part(6)?, part(8)?).ok()?;
        let seconds = PrimitiveDateTime::new(date, time).assume_utc().unix_timestamp();
        u64::try_from(seconds).ok()?.checked_mul(1000)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn element(tag: u8, content: &[u8]) -> Vec<u8> {
        let length = u8::try_from(content.len()).unwrap();
        let head = if length < 0x80 { vec![tag, length] } else { vec![tag, 0x81, length] };
        [head, content.to_vec()].concat()
    }

    #[test]
    fn times_are_read_in_both_forms_and_nothing_else_is() {
        let time = |tag, text: &str| element(tag, text.as_bytes());
        let day_ms = 86_400_000;
        let (utc, general) =
            (time(UTC_TIME, "261122010203Z"), time(GENERALIZED_TIME, "20591122010203Z"));
        let at = 20_779 * day_ms + 3_723_000;
        let list = |times: &[Vec<u8>]| {
            let sequence = element(SEQUENCE, &[]);
            let parts = [vec![element(INTEGER, &[1]), sequence.clone(), sequence], times.to_vec()];
            element(SEQUENCE, &element(SEQUENCE, &parts.concat().concat()))
        };
        assert_eq!(times(&list(std::slice::from_ref(&utc))), Some((at, None)));
        let later = at + 12_053 * day_ms;
        assert_eq!(times(&list(&[utc.clone(), general.clone()])), Some((at, Some(later))));
        let certificate = |version: &[u8]| {
            let validity = element(SEQUENCE, &[utc.clone(), general.clone()].concat());
            let names = element(SEQUENCE, &[7; 130]);
            let sequence = element(SEQUENCE, &[]);
            let parts = [version, &element(INTEGER, &[9]), &sequence, &names, &validity].concat();
            element(
                SEQUENCE,
                &[&[SEQUENCE, 0x81, u8::try_from(parts.len()).unwrap()], &parts[..]].concat(),
            )
        };
        let version = element(EXPLICIT_0, &element(INTEGER, &[2]));
        assert_eq!(end(&certificate(&version)), Some(later));
        assert_eq!(end(&certificate(&[])), Some(later));
        for wrong in
            ["261322010203Z", "260229010203Z", "261122", "261122010203", "26112201020xZ", ""]
        {
            assert_eq!(times(&list(&[time(UTC_TIME, wrong)])), None, "{wrong}");
        }
        let whole = certificate(&version);
        for cut in 0..whole.len() {
            assert_eq!(end(&whole[..cut]), None);
        }
    }
}
