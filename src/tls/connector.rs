//! A client's TLS: whom it trusts, and the certificate that it shows.

use super::acceptor::{pair_error, provider, roots};
use super::error::Failed;
use super::{Secure, TlsError, files};
use rustls::ClientConfig;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{ClientConnection, Resumption};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::version::{TLS12, TLS13};
use rustls::{DigitallySignedStruct, SignatureScheme};
use std::path::PathBuf;
use std::sync::Arc;

/// What a client's TLS is made from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ConnectorOptions {
    /// Whose certificates are trusted, PEM. Without it nobody's, unless `insecure`.
    pub ca: Option<PathBuf>,
    /// The name that the server's certificate must have; by default the host that is connected to.
    pub name: Option<String>,
    /// The certificate that is shown to the server, PEM, with its `key`.
    pub cert: Option<PathBuf>,
    /// Its key, PEM.
    pub key: Option<PathBuf>,
    /// Take any certificate: whoever answers could be anybody. For tests.
    pub insecure: bool,
    /// At most TLS 1.2.
    pub is_old: bool,
    /// Never by a ticket.
    pub never_resumes: bool,
}

/// See the module. Connections of one connector resume each other's sessions.
#[derive(Clone, Debug)]
pub struct Connector {
    config: Arc<ClientConfig>,
    name: Option<String>,
}

/// The same one, or its copy.
impl PartialEq for Connector {
    fn eq(&self, other: &Connector) -> bool {
        Arc::ptr_eq(&self.config, &other.config) && self.name == other.name
    }
}

impl Eq for Connector {}

impl Connector {
    /// From files.
    ///
    /// # Errors
    ///
    /// What is wrong with which of them.
    pub fn new(options: &ConnectorOptions) -> Result<Connector, TlsError> {
        let unusable = |path: &Option<PathBuf>, why: String| TlsError::Unusable {
            path: path.clone().unwrap_or_default(),
            why,
        };
        let provider = provider();
        let versions: &[_] = if options.is_old { &[&TLS12] } else { &[&TLS13, &TLS12] };
        let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(versions)
            .map_err(|error| unusable(&None, error.to_string()))?;
        let builder = match &options.ca {
            _ if options.insecure => {
                builder.dangerous().with_custom_certificate_verifier(Arc::new(Anybody(provider)))
            }
            Some(path) => builder.with_root_certificates(roots(path, &files::certificates(path)?)?),
            None => {
                let why = "whose certificates are to be trusted? name a file of authorities (ca)".to_owned();
                return Err(unusable(&None, why));
            }
        };
        let mut config = match (&options.cert, &options.key) {
            (Some(cert), Some(key)) => builder
                .with_client_auth_cert(files::certificates(cert)?, files::key(key)?)
                .map_err(|error| pair_error(&error, cert, key))?,
            (None, None) => builder.with_no_client_auth(),
            (cert, key) => {
                let why = "a certificate and its key go together".to_owned();
                return Err(unusable(if cert.is_some() { cert } else { key }, why));
            }
        };
        if options.never_resumes {
            config.resumption = Resumption::disabled();
        }
        Ok(Connector { config: Arc::new(config), name: options.name.clone() })
    }

    /// A session with the server at this address, `HOST:PORT` or `unix:PATH`, before its handshake.
    ///
    /// # Errors
    ///
    /// If there is no name to look for in its certificate.
    pub fn start(&self, address: &str) -> Result<Secure, Failed> {
        let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let host = if address.starts_with("unix:") { "localhost" } else { host };
        let text = self.name.as_deref().unwrap_or(host);
        let name = ServerName::try_from(text.to_owned())
            .map_err(|_| Failed::Incompatible(format!("{text:?} is no name that a certificate can have")))?;
        let tls =
            ClientConnection::new(Arc::clone(&self.config), name).map_err(|error| Failed::of(&error))?;
        Ok(Secure::new(tls.into()))
    }
}

/// Takes whatever certificate comes; its owner must still have the key.
#[derive(Debug)]
struct Anybody(Arc<CryptoProvider>);

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, cert, dss, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, cert, dss, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
