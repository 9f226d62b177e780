//! Where spans are sent: the address of a collector, out of a URL.
//!
//! Always holds: what comes out can be connected to and be asked for. Never: a scheme but http. A collector on the way, or an
//! agent on this host, has TLS.

use crate::base::limits::EXPORT_NAME_BYTES_MAX;
use std::fmt;
use std::str::FromStr;

/// The port of OTLP over HTTP (opentelemetry.io, OTLP specification, "OTLP/HTTP Default Port").
const DEFAULT_PORT: u16 = 4318;

/// What OTLP adds to an address that is for all signals (same document, "OTLP/HTTP Request").
const TRACES_PATH: &str = "/v1/traces";

/// A collector of spans that speaks OTLP over HTTP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Collector {
    /// Its name or IP address, without brackets.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// What is asked for: begins with `/`, and ends with `/v1/traces`.
    pub path: String,
}

/// Why a text is no collector's URL.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CollectorError {
    /// Another scheme than http.
    #[error("a collector's URL begins with http://; for TLS, send to an agent on this host that has it")]
    Scheme,
    /// Nothing, or something that no host is called.
    #[error("a collector's URL names a host, and after a colon perhaps a port from 1 to 65535")]
    Host,
    /// A path with something that is none.
    #[error("a collector's URL ends with a path of visible ASCII without ? and #")]
    Path,
    /// More than anybody needs.
    #[error("a collector's URL has {got_bytes} bytes, but may have at most {EXPORT_NAME_BYTES_MAX}")]
    TooLong {
        /// How many it has.
        got_bytes: usize,
    },
}

impl FromStr for Collector {
    type Err = CollectorError;

    /// `http://HOST[:PORT][/PATH]`.
    fn from_str(text: &str) -> Result<Collector, CollectorError> {
        if text.len() > EXPORT_NAME_BYTES_MAX {
            return Err(CollectorError::TooLong { got_bytes: text.len() });
        }
        let rest = text.strip_prefix("http://").ok_or(CollectorError::Scheme)?;
        let (authority, path) = rest.find('/').map_or((rest, ""), |at| rest.split_at(at));
        let (host, port) = match authority.strip_prefix('[') {
            Some(rest) => {
                let (host, port) = rest.split_once(']').ok_or(CollectorError::Host)?;
                host.parse::<core::net::Ipv6Addr>().map_err(|_| CollectorError::Host)?;
                (host, port)
            }
            None => authority.find(':').map_or((authority, ""), |at| authority.split_at(at)),
        };
        let is_name = |letter: char| letter.is_ascii_alphanumeric() || "-._:".contains(letter);
        if host.is_empty() || !host.chars().all(is_name) {
            return Err(CollectorError::Host);
        }
        let port = match port.strip_prefix(':') {
            Some(digits) if digits.bytes().all(|byte| byte.is_ascii_digit()) => {
                digits.parse().ok().filter(|port| *port > 0).ok_or(CollectorError::Host)?
            }
            None if port.is_empty() => DEFAULT_PORT,
            Some(_) | None => return Err(CollectorError::Host),
        };
        let is_path = |byte: u8| byte.is_ascii_graphic() && !b"?#".contains(&byte);
        if !path.bytes().all(is_path) {
            return Err(CollectorError::Path);
        }
        let base = path.trim_end_matches('/');
        let base = base.strip_suffix(TRACES_PATH).unwrap_or(base);
        Ok(Collector { host: host.to_owned(), port, path: format!("{base}{TRACES_PATH}") })
    }
}

impl Collector {
    /// What stands for it in the header `host`.
    pub fn authority(&self) -> String {
        let Collector { host, port, .. } = self;
        if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
    }
}

/// The whole URL, as it is asked.
impl fmt::Display for Collector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "http://{}{}", self.authority(), self.path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_read_as_exporters_read_them() {
        use CollectorError::{Host, Path, Scheme};
        #[rustfmt::skip]
        let table: &[(&str, Result<&str, CollectorError>)] = &[
            ("http://127.0.0.1:4318",             Ok("http://127.0.0.1:4318/v1/traces")),
            ("http://127.0.0.1:4318/",            Ok("http://127.0.0.1:4318/v1/traces")),
            ("http://otel-collector",             Ok("http://otel-collector:4318/v1/traces")),
            ("http://[::1]:9",                    Ok("http://[::1]:9/v1/traces")),
            ("http://[::1]",                      Ok("http://[::1]:4318/v1/traces")),
            ("http://host:1/tenant/a",            Ok("http://host:1/tenant/a/v1/traces")),
            ("http://host:1/v1/traces",           Ok("http://host:1/v1/traces")),
            ("https://host:4318",                 Err(Scheme)),
            ("host:4318",                         Err(Scheme)),
            ("",                                  Err(Scheme)),
            ("http://",                           Err(Host)),
            ("http://:4318",                      Err(Host)),
            ("http://host:",                      Err(Host)),
            ("http://host:0",                     Err(Host)),
            ("http://host:65536",                 Err(Host)),
            ("http://host:+1",                    Err(Host)),
            ("http://user@host",                  Err(Host)),
            ("http://[::1",                       Err(Host)),
            ("http://[nothing]:1",                Err(Host)),
            ("http://host/a b",                   Err(Path)),
            ("http://host/?a=b",                  Err(Path)),
            ("http://host/\r\nx: y",              Err(Path)),
        ];
        for (text, want) in table {
            let got = text.parse::<Collector>().map(|collector| collector.to_string());
            assert_eq!(got.as_deref(), want.as_ref().map(|url| *url), "case: {text:?}");
        }
        let long = format!("http://{}", "a".repeat(EXPORT_NAME_BYTES_MAX));
        let got_bytes = long.len();
        assert_eq!(long.parse::<Collector>(), Err(CollectorError::TooLong { got_bytes }));
    }
}
