//! A listener's TLS: made from files, and made anew from them while it is in use.
//!
//! Always holds: what is current was made from files that go together; who came before a reload keeps what it came with.
//! Tickets outlive a reload, unless the authorities or the revoked certificates have changed: whoever resumes is not
//! checked again. Never: half of a reload.

use super::certificate::{Certificate, Revoked, not_after};
use super::{Secure, TlsError, calendar, files};
use rustls::RootCertStore;
use rustls::crypto::CryptoProvider;
use rustls::crypto::aws_lc_rs::{self, Ticketer};
use rustls::pki_types::CertificateDer;
use rustls::server::{NoServerSessionStorage, ProducesTickets, ServerConfig, WebPkiClientVerifier};
use rustls::version::{TLS12, TLS13};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, PoisonError, RwLock};

/// Whether clients show certificates.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ClientAuth {
    /// None is asked for.
    #[default]
    Off,
    /// Who has one may show it; one that is shown must be right.
    Optional,
    /// Nobody comes in without.
    Required,
}

/// The files that a listener's TLS is made from, all PEM.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TlsFiles {
    /// The certificate, and behind it those of its issuers.
    pub cert: PathBuf,
    /// Its private key.
    pub key: PathBuf,
    /// Whose certificates clients may have; with [`ClientAuth::Off`] without effect.
    pub client_ca: Option<PathBuf>,
    /// Whether they need one.
    pub client: ClientAuth,
    /// Certificates of clients that were taken back: one list for each authority.
    pub revoked: Option<PathBuf>,
}

impl TlsFiles {
    /// Of a certificate and its key.
    pub fn new(cert: impl Into<PathBuf>, key: impl Into<PathBuf>) -> TlsFiles {
        TlsFiles { cert: cert.into(), key: key.into(), ..TlsFiles::default() }
    }

    /// Clients must have certificates of these authorities.
    #[must_use]
    pub fn client_ca(self, file: impl Into<PathBuf>) -> TlsFiles {
        TlsFiles { client_ca: Some(file.into()), client: ClientAuth::Required, ..self }
    }

    /// All of them.
    pub fn paths(&self) -> impl Iterator<Item = &Path> {
        let more = [self.client_ca.as_deref(), self.revoked.as_deref()];
        [self.cert.as_path(), self.key.as_path()].into_iter().chain(more.into_iter().flatten())
    }
}

/// What a reload found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reloaded {
    /// Whether tickets from before still resume.
    pub keeps_tickets: bool,
    /// Whether certificates of clients may have been revoked since: the live ones are looked at.
    pub checks_clients: bool,
}

/// What a listener's TLS will be made of.
#[derive(Debug)]
pub struct Prepared((Current, u64));

/// See the module.
#[derive(Debug)]
pub struct Acceptor {
    files: TlsFiles,
    current: RwLock<Current>,
    /// Counts what has changed for live clients.
    generation: AtomicU64,
    not_after: AtomicU64,
}

/// Two of the same files.
impl PartialEq for Acceptor {
    fn eq(&self, other: &Acceptor) -> bool {
        self.files == other.files
    }
}

impl Eq for Acceptor {}

#[derive(Clone, Debug)]
struct Current {
    config: Arc<ServerConfig>,
    revoked: Arc<Revoked>,
    tickets: Tickets,
}

/// Tickets, and what they rest on.
#[derive(Clone, Debug)]
struct Tickets {
    ticketer: Arc<dyn ProducesTickets>,
    authorities: Vec<CertificateDer<'static>>,
    lists: Vec<Vec<u8>>,
}

impl Acceptor {
    /// From files.
    ///
    /// # Errors
    ///
    /// What is wrong with which of them.
    pub fn new(files: TlsFiles) -> Result<Acceptor, TlsError> {
        let (current, not_after) = load(&files, None)?;
        let (generation, not_after) = (AtomicU64::new(0), AtomicU64::new(not_after));
        Ok(Acceptor { files, current: RwLock::new(current), generation, not_after })
    }

    /// The files that it is made from.
    pub const fn files(&self) -> &TlsFiles {
        &self.files
    }

    /// Reads them again: newcomers get what is new, live connections keep what they have.
    ///
    /// # Errors
    ///
    /// What is wrong with which of them; then all stays as it was.
    pub fn reload(&self) -> Result<Reloaded, TlsError> {
        self.prepare().map(|prepared| self.replace(prepared))
    }

    /// The first half of a reload: all that can fail.
    ///
    /// # Errors
    ///
    /// What is wrong with which file.
    pub fn prepare(&self) -> Result<Prepared, TlsError> {
        load(&self.files, Some(&self.current().tickets)).map(Prepared)
    }

    /// The second half.
    pub fn replace(&self, Prepared((current, not_after)): Prepared) -> Reloaded {
        let before = self.current();
        let keeps_tickets = Arc::ptr_eq(&current.tickets.ticketer, &before.tickets.ticketer);
        let checks_clients = current.tickets.lists != before.tickets.lists;
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = current;
        self.not_after.store(not_after, Relaxed);
        if checks_clients {
            self.generation.fetch_add(1, Relaxed);
        }
        Reloaded { keeps_tickets, checks_clients }
    }

    /// Rises when live clients have to be looked at.
    pub fn generation(&self) -> u64 {
        self.generation.load(Relaxed)
    }

    /// The last second of its certificate's life, since 1970.
    pub fn not_after(&self) -> u64 {
        self.not_after.load(Relaxed)
    }

    /// Whether clients may have certificates.
    pub const fn asks_clients(&self) -> bool {
        !matches!(self.files.client, ClientAuth::Off)
    }

    /// Whether a live client's certificate was revoked.
    pub fn is_revoked(&self, certificate: &Certificate) -> bool {
        let revoked = Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner).revoked);
        revoked.has(certificate)
    }

    /// A session for a newcomer, before its handshake.
    ///
    /// # Errors
    ///
    /// If the system has no random bytes.
    pub fn start(&self) -> Result<Secure, rustls::Error> {
        let config = Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner).config);
        Ok(Secure::new(rustls::ServerConnection::new(config)?.into()))
    }

    fn current(&self) -> Current {
        self.current.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

pub(super) fn provider() -> Arc<CryptoProvider> {
    Arc::new(aws_lc_rs::default_provider())
}

/// Trust in all certificates of a file.
pub(super) fn roots(
    path: &Path,
    certificates: &[CertificateDer<'static>],
) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates {
        let damaged =
            |error| TlsError::Damaged { path: path.to_owned(), why: format!("no authority: {error}") };
        roots.add(certificate.clone()).map_err(damaged)?;
    }
    Ok(roots)
}

/// Whether a pair can be used: what is wrong with it otherwise.
pub(super) fn pair_error(error: &rustls::Error, cert: &Path, key: &Path) -> TlsError {
    #[expect(clippy::wildcard_enum_match_arm, reason = "their list grows")]
    match error {
        rustls::Error::InconsistentKeys(_) => {
            TlsError::Mismatch { key: key.to_owned(), cert: cert.to_owned() }
        }
        other => TlsError::Unusable { path: key.to_owned(), why: other.to_string() },
    }
}

fn load(files: &TlsFiles, before: Option<&Tickets>) -> Result<(Current, u64), TlsError> {
    let chain = files::certificates(&files.cert)?;
    let key = files::key(&files.key)?;
    let damaged = |why| TlsError::Damaged { path: files.cert.clone(), why };
    let not_after = not_after(&chain[0]).map_err(damaged)?;
    let now = calendar();
    if now > not_after {
        return Err(TlsError::Expired { path: files.cert.clone(), ago_s: now - not_after });
    }
    let provider = provider();
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&[&TLS13, &TLS12])
        .map_err(|error| TlsError::Unusable { path: files.cert.clone(), why: error.to_string() })?;
    let (mut authorities, mut lists) = (Vec::new(), Vec::new());
    let builder = match (&files.client_ca, files.client) {
        (Some(path), ClientAuth::Optional | ClientAuth::Required) => {
            authorities = files::certificates(path)?;
            if let Some(path) = &files.revoked {
                lists = files::lists(path)?;
            }
            let roots = Arc::new(roots(path, &authorities)?);
            let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider)
                .with_crls(lists.iter().cloned())
                .only_check_end_entity_revocation();
            let verifier = if files.client == ClientAuth::Optional {
                verifier.allow_unauthenticated()
            } else {
                verifier
            };
            let unusable = |error| TlsError::Unusable { path: path.clone(), why: format!("{error}") };
            builder.with_client_cert_verifier(verifier.build().map_err(unusable)?)
        }
        (None, ClientAuth::Optional | ClientAuth::Required) => {
            let why = "clients are asked for certificates, but no client_ca says whose".to_owned();
            return Err(TlsError::Unusable { path: files.cert.clone(), why });
        }
        (_, ClientAuth::Off) => builder.with_no_client_auth(),
    };
    let mut config =
        builder.with_single_cert(chain, key).map_err(|error| pair_error(&error, &files.cert, &files.key))?;
    let revoked = Revoked::of(&lists).map_err(|error| TlsError::Damaged {
        path: files.revoked.clone().unwrap_or_default(),
        why: format!("no revocation list: {error}"),
    })?;
    let tickets = tickets(authorities, lists.iter().map(|list| list.to_vec()).collect(), before)
        .map_err(|error| TlsError::Unusable { path: files.cert.clone(), why: error.to_string() })?;
    config.ticketer = Arc::clone(&tickets.ticketer);
    // What a client resumes by is in its ticket: nothing is kept here, and one ticket is enough for who comes again.
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 1;
    // A request in early data could be sent again by whoever has recorded it.
    debug_assert_eq!(config.max_early_data_size, 0);
    Ok((Current { config: Arc::new(config), revoked: Arc::new(revoked), tickets }, not_after))
}

/// Those from before, if all that they were given for is as it was.
fn tickets(
    authorities: Vec<CertificateDer<'static>>,
    lists: Vec<Vec<u8>>,
    before: Option<&Tickets>,
) -> Result<Tickets, rustls::Error> {
    match before {
        Some(before) if before.authorities == authorities && before.lists == lists => Ok(before.clone()),
        Some(_) | None => Ok(Tickets { ticketer: Ticketer::new()?, authorities, lists }),
    }
}
