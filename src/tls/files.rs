//! Certificates, keys and lists out of PEM files.
//!
//! Always holds: no file of more than [`FILE_BYTES_MAX`] is read; an error names its file and what to do. Never: a key's
//! bytes in a message.

use super::TlsError;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer};
use std::fs::File;
use std::io::Read;
use std::path::Path;

/// The largest file that is read, in bytes: system bundles of all authorities have 250 KiB, large revocation lists a few MiB.
const FILE_BYTES_MAX: u64 = 32 << 20;

fn read(path: &Path) -> Result<Vec<u8>, TlsError> {
    let unreadable = |source| TlsError::Unreadable { path: path.to_owned(), source };
    let mut file = File::open(path).map_err(unreadable)?;
    let mut bytes = Vec::new();
    let got = (&mut file).take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    if got as u64 > FILE_BYTES_MAX {
        let bytes = file.metadata().map_or(got as u64, |about| about.len());
        return Err(TlsError::TooLarge { path: path.to_owned(), bytes, limit: FILE_BYTES_MAX });
    }
    Ok(bytes)
}

fn all<T: PemObject>(path: &Path, wanted: &'static str, hint: &'static str) -> Result<Vec<T>, TlsError> {
    let bytes = read(path)?;
    let items = T::pem_slice_iter(&bytes).collect::<Result<Vec<T>, _>>().map_err(|error| {
        TlsError::Damaged { path: path.to_owned(), why: format!("no proper PEM: {error}") }
    })?;
    if items.is_empty() { Err(TlsError::NoPem { path: path.to_owned(), wanted, hint }) } else { Ok(items) }
}

/// A chain, or several authorities.
pub(super) fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    all(path, "BEGIN CERTIFICATE", "write the certificate first, then those of its issuers")
}

pub(super) fn lists(path: &Path) -> Result<Vec<CertificateRevocationListDer<'static>>, TlsError> {
    all(path, "BEGIN X509 CRL", "openssl ca -gencrl writes one")
}

pub(super) fn key(path: &Path) -> Result<PrivateKeyDer<'static>, TlsError> {
    let hint = "an encrypted key has to be decrypted first: openssl pkey -in KEY -out PLAIN";
    let mut keys = all::<PrivateKeyDer<'static>>(path, "BEGIN PRIVATE KEY", hint)?;
    Ok(keys.swap_remove(0))
}
