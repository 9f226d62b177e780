//! The flags of a client's TLS.

use crate::tls::{Connector, ConnectorOptions};
use clap::Args;
use std::path::PathBuf;

/// See the module.
#[derive(Debug, Args)]
#[command(next_help_heading = "TLS")]
pub(super) struct Tls {
    /// Speak TLS
    #[arg(long, hide_short_help = true)]
    tls: bool,
    /// Trust certificates of the authorities in this file (PEM)
    #[arg(long, hide_short_help = true, value_name = "FILE", requires = "tls")]
    tls_ca: Option<PathBuf>,
    /// The name that the server's certificate must have [default: the host]
    #[arg(long, hide_short_help = true, value_name = "NAME", requires = "tls")]
    tls_name: Option<String>,
    /// Show this certificate (PEM)
    #[arg(long, hide_short_help = true, value_name = "FILE", requires_all = ["tls", "tls_key"])]
    tls_cert: Option<PathBuf>,
    /// Its key (PEM)
    #[arg(long, hide_short_help = true, value_name = "FILE", requires_all = ["tls", "tls_cert"])]
    tls_key: Option<PathBuf>,
    /// Take any certificate: whoever answers could be anybody
    #[arg(long, hide_short_help = true, requires = "tls", conflicts_with = "tls_ca")]
    tls_insecure: bool,
}

impl Tls {
    /// What connects, if TLS is wanted.
    pub(super) fn connector(&self) -> anyhow::Result<Option<Connector>> {
        if !self.tls {
            return Ok(None);
        }
        if self.tls_ca.is_none() && !self.tls_insecure {
            anyhow::bail!("--tls needs --tls-ca FILE with the authorities to trust, or --tls-insecure");
        }
        let options = ConnectorOptions {
            ca: self.tls_ca.clone(),
            name: self.tls_name.clone(),
            cert: self.tls_cert.clone(),
            key: self.tls_key.clone(),
            insecure: self.tls_insecure,
            ..ConnectorOptions::default()
        };
        Ok(Some(Connector::new(&options)?))
    }
}
