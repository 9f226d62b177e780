//! The flags of a client's TLS.

use crate::tls::{Connector, ConnectorOptions};
use clap::Args;
use std::path::PathBuf;

macro_rules! flags {
    ($(#[$doc:meta])* $name:ident, $is_rare:literal, $heading:expr) => {
        $(#[$doc])*
        #[derive(Debug, Args)]
        #[command(next_help_heading = $heading)]
        pub(in crate::cli) struct $name {
            /// Speak TLS
            #[arg(long, hide_short_help = $is_rare)]
            tls: bool,
            /// Trust the authorities in this file (PEM)
            #[arg(long, hide_short_help = $is_rare, value_name = "FILE", requires = "tls")]
            tls_ca: Option<PathBuf>,
            /// The name in the server's certificate [default: the host]
            #[arg(long, hide_short_help = $is_rare, value_name = "NAME", requires = "tls")]
            tls_name: Option<String>,
            /// Show this certificate (PEM)
            #[arg(long, hide_short_help = $is_rare, value_name = "FILE", requires_all = ["tls", "tls_key"])]
            tls_cert: Option<PathBuf>,
            /// Its key (PEM)
            #[arg(long, hide_short_help = $is_rare, value_name = "FILE", requires_all = ["tls", "tls_cert"])]
            tls_key: Option<PathBuf>,
            /// Take any certificate: whoever answers could be anybody
            #[arg(long, hide_short_help = $is_rare, requires = "tls", conflicts_with = "tls_ca")]
            tls_insecure: bool,
        }

        impl $name {
            /// What connects, if TLS is wanted.
            pub(in crate::cli) fn connector(&self) -> anyhow::Result<Option<Connector>> {
                let options = ConnectorOptions {
                    ca: self.tls_ca.clone(),
                    name: self.tls_name.clone(),
                    cert: self.tls_cert.clone(),
                    key: self.tls_key.clone(),
                    insecure: self.tls_insecure,
                    ..ConnectorOptions::default()
                };
                self.tls.then(|| connector(&options)).transpose()
            }
        }
    };
}

flags! {
    /// For a command with few flags.
    Tls, false, None::<&str>
}
flags! {
    /// For a command with more flags than a screen has lines: its `-h` leaves these out.
    RareTls, true, Some("TLS")
}

fn connector(options: &ConnectorOptions) -> anyhow::Result<Connector> {
    if options.ca.is_none() && !options.insecure {
        anyhow::bail!("--tls needs --tls-ca FILE with the authorities to trust, or --tls-insecure");
    }
    Ok(Connector::new(options)?)
}
