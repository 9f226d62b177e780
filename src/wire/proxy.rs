//! The PROXY protocol, versions 1 and 2: a header by which a load balancer tells whose connection it passes on.
//!
//! ```text
//!  v1   PROXY TCP4 203.0.113.7 192.0.2.1 56324 7411\r\n           a line of at most 107 bytes
//!  v2   \r\n\r\n\0\r\nQUIT\n  2|command  family|transport  length:16  addresses  TLVs
//! ```
//!
//! Always holds: what a header is does not depend on how the stream was cut; a complete one tells exactly how many bytes
//! are its own, at most [`HEADER_BYTES_MAX`]; what is refused once is refused whatever follows.
//! Never: TLVs are not looked at, so that a checksum among them is not verified: TCP has its own, and a header that is
//! damaged is no danger that a lying proxy would not be.
//!
//! Source: haproxy, "The PROXY protocol", versions 1 & 2, sections 2.1 and 2.2.

use crate::base::Address;
use crate::base::limits::PROXY_BODY_BYTES_MAX;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// The longest line of version 1, its end included (section 2.1).
pub const LINE_BYTES_MAX: usize = 107;

/// What a header of version 2 begins with.
const SIGNATURE: [u8; 12] = *b"\r\n\r\n\0\r\nQUIT\n";

/// What a header of version 1 begins with.
const LINE_START: [u8; 6] = *b"PROXY ";

/// The part of version 2 that has a fixed size.
const FIXED_BYTES: usize = 16;

/// The longest header of any version.
pub const HEADER_BYTES_MAX: usize = FIXED_BYTES + PROXY_BODY_BYTES_MAX as usize;
const _: () = assert!(LINE_BYTES_MAX <= HEADER_BYTES_MAX);

/// What bytes are as the beginning of a stream with a header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProxyHeader {
    /// The beginning of a header, as far as it goes.
    NeedMore,
    /// A whole one, of this many bytes.
    Complete {
        /// Its length.
        used: usize,
        /// Whose connection it is.
        source: ProxySource,
    },
}

/// Whose connection a header says it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProxySource {
    /// A client's at this address.
    Client(Address),
    /// A client's whose address it does not tell (`UNKNOWN`, `UNSPEC`, datagrams).
    Unknown,
    /// The proxy's own (`LOCAL`): it looks whether we are well.
    Itself,
}

/// What is wrong with a header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProxyError {
    /// It begins like neither version.
    #[error("these bytes begin no PROXY header")]
    NoHeader,
    /// A line without an end.
    #[error("a PROXY line goes on past {LINE_BYTES_MAX} bytes")]
    LineTooLong,
    /// A line that is not of the form above.
    #[error("a PROXY line that does not parse")]
    BadLine,
    /// A version or a command that does not exist.
    #[error("PROXY version and command {got:#04x}, but there are 0x20 and 0x21")]
    BadCommand {
        /// The byte.
        got: u8,
    },
    /// A family or a transport that does not exist.
    #[error("PROXY family and transport {got:#04x} are unknown")]
    BadFamily {
        /// The byte.
        got: u8,
    },
    /// More behind the fixed part than we take.
    #[error(
        "a PROXY header with {got_bytes} bytes of addresses and TLVs exceeds the {PROXY_BODY_BYTES_MAX} byte limit"
    )]
    TooLong {
        /// The declared length.
        got_bytes: u16,
    },
    /// Less than the family's addresses need.
    #[error("a PROXY header with {got_bytes} bytes of addresses, which need {least_bytes}")]
    TooShort {
        /// The declared length.
        got_bytes: u16,
        /// What the addresses need.
        least_bytes: u16,
    },
}

/// What these first bytes of a stream are.
///
/// # Errors
///
/// If they are, or begin, no header.
pub fn decode_proxy(first: &[u8]) -> Result<ProxyHeader, ProxyError> {
    if has_begun(first, &LINE_START) {
        decode_line(first)
    } else if has_begun(first, &SIGNATURE) {
        decode_binary(first)
    } else {
        Err(ProxyError::NoHeader)
    }
}

fn has_begun(first: &[u8], start: &[u8]) -> bool {
    let common = first.len().min(start.len());
    first[..common] == start[..common]
}

fn decode_line(first: &[u8]) -> Result<ProxyHeader, ProxyError> {
    let within = &first[..first.len().min(LINE_BYTES_MAX)];
    let Some(end) = memchr::memmem::find(within, b"\r\n") else {
        return if first.len() < LINE_BYTES_MAX {
            Ok(ProxyHeader::NeedMore)
        } else {
            Err(ProxyError::LineTooLong)
        };
    };
    let text = std::str::from_utf8(&first[LINE_START.len()..end]).map_err(|_| ProxyError::BadLine)?;
    let source = line_source(text).ok_or(ProxyError::BadLine)?;
    Ok(ProxyHeader::Complete { used: end + 2, source })
}

/// What stands behind `PROXY `. Fields are separated by one space each.
fn line_source(text: &str) -> Option<ProxySource> {
    let mut fields = text.split(' ');
    let family = fields.next()?;
    if family == "UNKNOWN" {
        // What follows is to be ignored.
        return Some(ProxySource::Unknown);
    }
    let (source, destination) = (fields.next()?, fields.next()?);
    let (source_port, destination_port) = (port(fields.next()?)?, port(fields.next()?)?);
    if fields.next().is_some() {
        return None;
    }
    let (source, _destination, _port): (IpAddr, IpAddr, u16) = match family {
        "TCP4" => (
            source.parse::<Ipv4Addr>().ok()?.into(),
            destination.parse::<Ipv4Addr>().ok()?.into(),
            destination_port,
        ),
        "TCP6" => (
            source.parse::<Ipv6Addr>().ok()?.into(),
            destination.parse::<Ipv6Addr>().ok()?.into(),
            destination_port,
        ),
        _ => return None,
    };
    Some(client(source, source_port))
}

/// Digits without a leading zero.
fn port(text: &str) -> Option<u16> {
    let is_plain = text.bytes().all(|byte| byte.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    text.parse().ok().filter(|_| is_plain)
}

/// IPv4 in IPv6's clothes is told as IPv4, like everywhere.
fn client(ip: IpAddr, port: u16) -> ProxySource {
    ProxySource::Client(Address::Ip(SocketAddr::new(ip.to_canonical(), port)))
}

/// Byte by byte in their order, so that a cut can't change which of two mistakes is told.
fn decode_binary(first: &[u8]) -> Result<ProxyHeader, ProxyError> {
    let is_local = match first.get(12) {
        None => return Ok(ProxyHeader::NeedMore),
        Some(0x20) => true,
        Some(0x21) => false,
        Some(&got) => return Err(ProxyError::BadCommand { got }),
    };
    let Some(&family) = first.get(13) else { return Ok(ProxyHeader::NeedMore) };
    let needs = if is_local { Some(0) } else { address_bytes(family) };
    let Some(least_bytes) = needs else { return Err(ProxyError::BadFamily { got: family }) };
    let Some((fixed, body)) = first.split_first_chunk::<FIXED_BYTES>() else {
        return Ok(ProxyHeader::NeedMore);
    };
    let got_bytes = u16::from_be_bytes([fixed[14], fixed[15]]);
    if got_bytes > PROXY_BODY_BYTES_MAX {
        return Err(ProxyError::TooLong { got_bytes });
    }
    if got_bytes < least_bytes {
        return Err(ProxyError::TooShort { got_bytes, least_bytes });
    }
    let Some(body) = body.get(..usize::from(got_bytes)) else { return Ok(ProxyHeader::NeedMore) };
    let source = if is_local { ProxySource::Itself } else { binary_source(family, body) };
    Ok(ProxyHeader::Complete { used: FIXED_BYTES + body.len(), source })
}

/// How many bytes the addresses of a family take; `None` if there is no such family or transport.
const fn address_bytes(family: u8) -> Option<u16> {
    match family {
        0x00 => Some(0),
        0x11 | 0x12 => Some(12),
        0x21 | 0x22 => Some(36),
        0x31 | 0x32 => Some(216),
        _ => None,
    }
}

/// Datagrams can't come over a stream: to be treated as unspecified (section 2.2).
fn binary_source(family: u8, body: &[u8]) -> ProxySource {
    let port = |at: usize| body.get(at..at + 2).map(|two| u16::from_be_bytes([two[0], two[1]]));
    let source = match family {
        0x11 => body.first_chunk::<4>().zip(port(8)).map(|(ip, port)| client((*ip).into(), port)),
        0x21 => body.first_chunk::<16>().zip(port(32)).map(|(ip, port)| client((*ip).into(), port)),
        0x31 => Some(ProxySource::Client(Address::Unix)),
        _ => None,
    };
    source.unwrap_or(ProxySource::Unknown)
}

#[cfg(test)]
mod tests;
