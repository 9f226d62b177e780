//! Certificates for tests, made anew each time, in files that go when their folder goes.

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, CertifiedIssuer, DnType, IsCa,
    KeyIdMethod, KeyPair, KeyUsagePurpose, RevokedCertParams, SanType, SerialNumber,
};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, SystemTime};

/// A folder of its own under the system's for temporary files.
#[derive(Debug)]
pub struct Folder(PathBuf);

impl Folder {
    pub fn new() -> Folder {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let name = format!("tidegate-tls-{}-{}", std::process::id(), COUNT.fetch_add(1, Relaxed));
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&path).expect("a folder of our own");
        Folder(path)
    }

    pub fn file(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// Writes a file in place of the one before, at once.
    pub fn write(&self, name: &str, text: impl AsRef<[u8]>) -> PathBuf {
        let (path, beside) = (self.file(name), self.file(&format!("{name}.new")));
        std::fs::write(&beside, text).expect("room for a small file");
        std::fs::rename(&beside, &path).expect("both lie in our folder");
        path
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Who signs.
pub struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
}

/// What a certificate is to say.
#[derive(Clone, Debug)]
pub struct Wanted {
    pub names: Vec<SanType>,
    pub common_name: Option<&'static str>,
    pub serial: u64,
    /// From now on; 0 is over already.
    pub lives: Duration,
}

impl Wanted {
    /// A server's, at loopback.
    pub fn server() -> Wanted {
        let names = vec![
            SanType::DnsName("localhost".try_into().expect("ASCII")),
            SanType::IpAddress("127.0.0.1".parse().expect("an address")),
        ];
        Wanted { names, common_name: None, serial: 1, lives: Duration::from_secs(86_400) }
    }

    /// A client's, whose common name is its only one.
    pub fn client(name: &'static str, serial: u64) -> Wanted {
        Wanted { names: Vec::new(), common_name: Some(name), serial, ..Wanted::server() }
    }

    pub fn lives(self, lives: Duration) -> Wanted {
        Wanted { lives, ..self }
    }
}

/// A certificate and its key, as PEM.
#[derive(Clone, Debug)]
pub struct Pair {
    pub cert: String,
    pub key: String,
}

impl Pair {
    /// In two files of this stem.
    pub fn write(&self, folder: &Folder, stem: &str) -> (PathBuf, PathBuf) {
        let key = folder.write(&format!("{stem}.key"), &self.key);
        (folder.write(&format!("{stem}.pem"), &self.cert), key)
    }
}

impl Authority {
    pub fn new(name: &str) -> Authority {
        let mut params = CertificateParams::new(Vec::new()).expect("no names");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params.distinguished_name.push(DnType::CommonName, name);
        let key = KeyPair::generate().expect("a key");
        Authority { issuer: CertifiedIssuer::self_signed(params, key).expect("it signs itself") }
    }

    pub fn write(&self, folder: &Folder, name: &str) -> PathBuf {
        folder.write(name, self.issuer.pem())
    }

    pub fn issue(&self, wanted: &Wanted) -> Pair {
        let mut params = CertificateParams::new(Vec::new()).expect("no names");
        params.subject_alt_names.clone_from(&wanted.names);
        params.distinguished_name = rcgen::DistinguishedName::new();
        if let Some(name) = wanted.common_name {
            params.distinguished_name.push(DnType::CommonName, name);
        }
        params.serial_number = Some(SerialNumber::from(wanted.serial));
        let now = SystemTime::now();
        params.not_before = (now - Duration::from_secs(3600)).into();
        let is_over = wanted.lives.is_zero();
        params.not_after = if is_over { now - Duration::from_secs(60) } else { now + wanted.lives }.into();
        let key = KeyPair::generate().expect("a key");
        let cert = params.signed_by(&key, &self.issuer).expect("it is signed");
        Pair { cert: cert.pem(), key: key.serialize_pem() }
    }

    /// A list of those that are taken back.
    pub fn revoked(&self, serials: &[u64]) -> String {
        let now = SystemTime::now();
        let revoked_certs = serials
            .iter()
            .map(|serial| RevokedCertParams {
                serial_number: SerialNumber::from(*serial),
                revocation_time: now.into(),
                reason_code: None,
                invalidity_date: None,
            })
            .collect();
        let params = CertificateRevocationListParams {
            this_update: now.into(),
            next_update: (now + Duration::from_secs(86_400)).into(),
            crl_number: SerialNumber::from(1_u64),
            issuing_distribution_point: None,
            revoked_certs,
            key_identifier_method: KeyIdMethod::Sha256,
        };
        params.signed_by(&self.issuer).expect("it is signed").pem().expect("it is text")
    }
}

/// A file's path as text.
pub fn text(path: &Path) -> &str {
    path.to_str().expect("our folders have plain names")
}
