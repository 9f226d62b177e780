//! What can be wrong with files, and what ends a handshake: each with what to do about it.

use std::fmt;
use std::io;
use std::path::PathBuf;

/// Files that a listener's or a client's TLS can't be made from.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The system does not give the file.
    #[error("{}: cannot be read: {source} (does it exist, and may this user read it?)", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// A file that is larger than any of its kind.
    #[error("{}: {bytes} bytes, {limit} are the most", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// Its size.
        bytes: u64,
        /// The most.
        limit: u64,
    },
    /// There is no such section in it.
    #[error("{}: no PEM section \"{wanted}\" in it ({hint})", path.display())]
    NoPem {
        /// The file.
        path: PathBuf,
        /// What was looked for.
        wanted: &'static str,
        /// What to do.
        hint: &'static str,
    },
    /// A section that can't be read.
    #[error("{}: {why}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// The key is another certificate's.
    #[error("{}: this key does not belong to the certificate in {} (are both files of the same pair?)", key.display(), cert.display())]
    Mismatch {
        /// The key's file.
        key: PathBuf,
        /// The certificate's.
        cert: PathBuf,
    },
    /// Its time is over.
    #[error("{}: the certificate expired {ago_s} s ago: renew it", path.display())]
    Expired {
        /// The certificate's file.
        path: PathBuf,
        /// For how long.
        ago_s: u64,
    },
    /// What the files say together can't be used.
    #[error("{}: {why}", path.display())]
    Unusable {
        /// The file that it is about.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
}

/// Why a handshake came to nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failed {
    /// The first byte is none of TLS: somebody speaks plainly.
    Plaintext {
        /// That byte.
        first: u8,
    },
    /// A certificate is required, and none came.
    NoCertificate,
    /// The peer's certificate is over.
    Expired,
    /// The peer's certificate was revoked.
    Revoked,
    /// The peer's certificate is not one that is trusted.
    Untrusted(String),
    /// No version or cipher in common.
    Incompatible(String),
    /// The peer said by an alert that it does not want us.
    Refused(String),
    /// Its bytes break the protocol.
    Broken(String),
    /// The connection ended.
    Gone,
}

impl Failed {
    /// By what `rustls` says.
    pub(super) fn of(error: &rustls::Error) -> Failed {
        use rustls::{CertificateError, Error};
        #[expect(clippy::wildcard_enum_match_arm, reason = "their lists grow")]
        match error {
            Error::NoCertificatesPresented => Failed::NoCertificate,
            Error::InvalidCertificate(why) => match why {
                CertificateError::Expired | CertificateError::ExpiredContext { .. } => Failed::Expired,
                CertificateError::Revoked => Failed::Revoked,
                other => Failed::Untrusted(other.to_string()),
            },
            Error::PeerIncompatible(why) => Failed::Incompatible(format!("{why:?}")),
            Error::AlertReceived(alert) => Failed::Refused(format!("{alert:?}")),
            other => Failed::Broken(other.to_string()),
        }
    }
}

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failed::Plaintext { first } => {
                write!(f, "first byte {first:#04x} is not TLS's 0x16: it speaks plainly")
            }
            Failed::NoCertificate => f.write_str("it has brought no certificate, and one is required"),
            Failed::Expired => f.write_str("its certificate has expired"),
            Failed::Revoked => f.write_str("its certificate was revoked"),
            Failed::Untrusted(why) => write!(f, "its certificate is not trusted: {why}"),
            Failed::Incompatible(why) => write!(f, "nothing in common: {why}"),
            Failed::Refused(alert) => write!(f, "it refused us by the alert {alert}"),
            Failed::Broken(why) => write!(f, "it breaks TLS: {why}"),
            Failed::Gone => f.write_str("the connection ended in the handshake"),
        }
    }
}
