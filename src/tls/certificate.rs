//! What a certificate says of its owner: a name, until when, and by which number it may be revoked.
//!
//! Only certificates that were checked already are read here; still, whatever bytes come, the answer is a value.

use der::asn1::{AnyRef, GeneralizedTime, UtcTime};
use der::{Decode, Reader, SliceReader, Tag, Tagged};
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer};
use std::sync::Arc;

/// The longest name that is taken for one, in bytes: a name of DNS has 253.
const NAME_BYTES_MAX: usize = 256;

/// subjectAltName (RFC 5280, 4.2.1.6): 2.5.29.17.
const ALT_NAME: &[u8] = &[0x55, 0x1d, 0x11];
/// commonName (RFC 5280, A.1): 2.5.4.3.
const COMMON_NAME: &[u8] = &[0x55, 0x04, 0x03];

/// A client's certificate, as far as it is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certificate {
    /// See [`Identified`].
    pub name: Option<Arc<str>>,
    /// The last second of its life, since 1970.
    pub not_after: u64,
    serial: Box<[u8]>,
    issuer: Box<[u8]>,
}

/// Who a certificate says that its owner is: the first of its alternative names that is a name of DNS, a URI or an e-mail
/// address; without any, its common name. Names of more than 256 bytes, or with control characters, are none.
pub type Identified = Option<Arc<str>>;

impl Certificate {
    /// Of a certificate that was checked. `None` if it can't be read.
    pub fn of(certificate: &CertificateDer<'_>) -> Option<Certificate> {
        let parsed = webpki::EndEntityCert::try_from(certificate).ok()?;
        let (not_after, name) = facts(certificate).ok()?;
        let name = name.filter(|name| is_name(name)).map(Arc::from);
        Some(Certificate { name, not_after, serial: parsed.serial().into(), issuer: parsed.issuer().into() })
    }

    /// Whether its time is over.
    pub const fn is_over(&self, now: u64) -> bool {
        now > self.not_after
    }
}

/// The serial numbers that issuers have taken back.
#[derive(Debug, Default)]
pub(super) struct Revoked(Vec<webpki::CertRevocationList<'static>>);

impl Revoked {
    /// Out of lists whose signatures whoever wrote the file answers for.
    pub(super) fn of(lists: &[CertificateRevocationListDer<'static>]) -> Result<Revoked, webpki::Error> {
        let parse = |list: &CertificateRevocationListDer<'_>| {
            webpki::OwnedCertRevocationList::from_der(list).map(webpki::CertRevocationList::from)
        };
        lists.iter().map(parse).collect::<Result<_, _>>().map(Revoked)
    }

    pub(super) fn has(&self, certificate: &Certificate) -> bool {
        let lists = self.0.iter().filter(|list| *list.issuer() == *certificate.issuer);
        lists.into_iter().any(|list| matches!(list.find_serial(&certificate.serial), Ok(Some(_))))
    }
}

/// The last second of a certificate's life, or why it can't be read.
pub(super) fn not_after(certificate: &CertificateDer<'_>) -> Result<u64, String> {
    facts(certificate).map(|(not_after, _)| not_after).map_err(|error| error.to_string())
}

fn is_name(name: &str) -> bool {
    (1..=NAME_BYTES_MAX).contains(&name.len()) && !name.chars().any(char::is_control)
}

/// RFC 5280, 4.1: `SEQUENCE { tbsCertificate, ... }`.
fn facts(certificate: &[u8]) -> der::Result<(u64, Option<String>)> {
    let mut outer = inside(AnyRef::from_der(certificate)?)?;
    let mut tbs = inside(next(&mut outer)?)?;
    // [0] version, if it is there, then serial number, algorithm, issuer.
    if next(&mut tbs)?.tag() != Tag::Integer {
        next(&mut tbs)?;
    }
    next(&mut tbs)?;
    next(&mut tbs)?;
    let mut validity = inside(next(&mut tbs)?)?;
    next(&mut validity)?;
    let not_after = seconds(next(&mut validity)?)?;
    let subject = next(&mut tbs)?;
    let mut name = None;
    // The key, unique ids, and [3] extensions.
    while name.is_none() && !tbs.is_finished() {
        let field = next(&mut tbs)?;
        if is_context(field.tag(), 3) {
            name = alternative_name(field)?;
        }
    }
    let name = match name {
        Some(name) => Some(name),
        None => common_name(subject)?,
    };
    Ok((not_after, name))
}

fn next<'a>(reader: &mut SliceReader<'a>) -> der::Result<AnyRef<'a>> {
    AnyRef::decode(reader)
}

fn inside(any: AnyRef<'_>) -> der::Result<SliceReader<'_>> {
    SliceReader::new(any.value())
}

fn is_context(tag: Tag, wanted: u8) -> bool {
    matches!(tag, Tag::ContextSpecific { number, .. } if number.value() == wanted)
}

fn seconds(time: AnyRef<'_>) -> der::Result<u64> {
    if time.tag() == Tag::UtcTime {
        return Ok(time.decode_as::<UtcTime>()?.to_unix_duration().as_secs());
    }
    Ok(time.decode_as::<GeneralizedTime>()?.to_unix_duration().as_secs())
}

fn alternative_name(extensions: AnyRef<'_>) -> der::Result<Option<String>> {
    let mut list = inside(next(&mut inside(extensions)?)?)?;
    while !list.is_finished() {
        let mut extension = inside(next(&mut list)?)?;
        if next(&mut extension)?.value() != ALT_NAME {
            continue;
        }
        // [critical], then the names in an octet string.
        let mut value = next(&mut extension)?;
        if value.tag() == Tag::Boolean {
            value = next(&mut extension)?;
        }
        let mut names = inside(next(&mut inside(value)?)?)?;
        while !names.is_finished() {
            let name = next(&mut names)?;
            // rfc822Name [1], dNSName [2], uniformResourceIdentifier [6].
            if [1, 2, 6].into_iter().any(|wanted| is_context(name.tag(), wanted)) {
                return Ok(std::str::from_utf8(name.value()).ok().map(str::to_owned));
            }
        }
    }
    Ok(None)
}

fn common_name(subject: AnyRef<'_>) -> der::Result<Option<String>> {
    let mut sets = inside(subject)?;
    while !sets.is_finished() {
        let mut set = inside(next(&mut sets)?)?;
        while !set.is_finished() {
            let mut pair = inside(next(&mut set)?)?;
            if next(&mut pair)?.value() == COMMON_NAME {
                return Ok(std::str::from_utf8(next(&mut pair)?.value()).ok().map(str::to_owned));
            }
        }
    }
    Ok(None)
}
