//! Law: whatever the bytes and wherever they are cut, what begins a stream is no header yet, or decided as the whole is;
//! and a header is its own bytes and no others. A naive reader says the same of both versions. The input is a choice, the
//! sizes of three chunks, and a stream; the choice may put the start of a version before it.
#![no_main]

use std::net::{IpAddr, SocketAddr};
use tidegate::base::Address;
use tidegate::wire::proxy::{HEADER_BYTES_MAX, LINE_BYTES_MAX};
use tidegate::wire::{ProxyHeader, ProxySource, decode_proxy};
use tidegate_fuzz::Cut;

const STARTS: [&[u8]; 4] = [b"", b"PROXY ", b"\r\n\r\n\0\r\nQUIT\n", b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c"];

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let mut cut = Cut::new(data);
    let start = cut.pick(&STARTS);
    let sizes = [cut.u8(), cut.u8(), cut.u8()];
    let stream = [start, cut.rest()].concat();
    let whole = decode_proxy(&stream);
    // As a server sees it: more and more of it, until it is decided.
    let mut seen = 0;
    for step in 0.. {
        let first = decode_proxy(&stream[..seen]);
        if first != Ok(ProxyHeader::NeedMore) || seen == stream.len() {
            assert_eq!(first, whole, "cut at {seen}");
            break;
        }
        seen = stream.len().min(seen + 1 + usize::from(sizes[step % sizes.len()]));
    }
    if seen > 0 && whole != Ok(ProxyHeader::NeedMore) {
        let followed = [&stream[..], b"\r\n\0PROXY"].concat();
        assert_eq!(decode_proxy(&followed), whole, "what follows matters");
    }
    if let Err(error) = whole {
        assert!(error.to_string().len() < 160, "a message fits the text that carries it");
    }
    let got = match whole {
        Ok(ProxyHeader::Complete { used, source }) => {
            assert!(used <= stream.len() && used <= HEADER_BYTES_MAX, "{used} of {}", stream.len());
            assert_eq!(decode_proxy(&stream[..used - 1]), Ok(ProxyHeader::NeedMore), "it ends where it ends");
            Some((used, source))
        }
        Ok(ProxyHeader::NeedMore) => {
            assert!(stream.len() < HEADER_BYTES_MAX, "more is asked for than a header may have");
            None
        }
        Err(_) => None,
    };
    assert_eq!(got, naive_binary(&stream).or_else(|| naive_line(&stream)));
});

/// The binary version again, by indexes.
fn naive_binary(bytes: &[u8]) -> Option<(usize, ProxySource)> {
    if bytes.len() < 16 || &bytes[..12] != b"\r\n\r\n\0\r\nQUIT\n" {
        return None;
    }
    let length = usize::from(bytes[14]) * 256 + usize::from(bytes[15]);
    if length > 4096 || bytes.len() < 16 + length {
        return None;
    }
    let at = |ip: IpAddr, port: usize| {
        let port = u16::from_be_bytes([bytes[port], bytes[port + 1]]);
        ProxySource::Client(Address::Ip(SocketAddr::new(ip.to_canonical(), port)))
    };
    let source = match (bytes[12], bytes[13]) {
        (0x20, _) => ProxySource::Itself,
        (0x21, 0x00) => ProxySource::Unknown,
        (0x21, 0x11) if length >= 12 => at(IpAddr::from([bytes[16], bytes[17], bytes[18], bytes[19]]), 24),
        (0x21, 0x21) if length >= 36 => {
            let ip: [u8; 16] = bytes[16..32].try_into().expect("sixteen");
            at(IpAddr::from(ip), 48)
        }
        (0x21, 0x31) if length >= 216 => ProxySource::Client(Address::Unix),
        (0x21, 0x12) if length >= 12 => ProxySource::Unknown,
        (0x21, 0x22) if length >= 36 => ProxySource::Unknown,
        (0x21, 0x32) if length >= 216 => ProxySource::Unknown,
        _ => return None,
    };
    Some((16 + length, source))
}

/// The line again, by its words.
fn naive_line(bytes: &[u8]) -> Option<(usize, ProxySource)> {
    let end = bytes.windows(2).take(LINE_BYTES_MAX - 1).position(|two| two == b"\r\n")?;
    let line = std::str::from_utf8(&bytes[..end]).ok()?;
    let words: Vec<&str> = line.split(' ').collect();
    let source = match words.as_slice() {
        ["PROXY", "UNKNOWN", ..] => ProxySource::Unknown,
        ["PROXY", family @ ("TCP4" | "TCP6"), source, destination, ports @ ..] if ports.len() == 2 => {
            let (source, destination): (IpAddr, IpAddr) = (source.parse().ok()?, destination.parse().ok()?);
            if source.is_ipv4() != (*family == "TCP4") || destination.is_ipv4() != source.is_ipv4() {
                return None;
            }
            // A number is written in one way only.
            let ports: Vec<u16> = ports
                .iter()
                .filter_map(|text| text.parse().ok().filter(|port: &u16| port.to_string() == *text))
                .collect();
            let [port, _] = ports.as_slice() else { return None };
            ProxySource::Client(Address::Ip(SocketAddr::new(source.to_canonical(), *port)))
        }
        _ => return None,
    };
    Some((end + 2, source))
}
