//! Which address of this host a connection comes from, so that there are ports for all of them.
//!
//! ```text
//!  to 127.0.0.1:7411     connections 0..7058        any address
//!                        7058..14116                127.0.1.1
//!                        14116..21174               127.0.1.2     ...
//! ```
//!
//! Between an address of ours and one of theirs there are as many connections as ephemeral ports; Linux begins with
//! every second one, and searches longer and longer when those are gone. So an address takes half of the ports at the
//! most, and a quarter where there are addresses enough: on loopback, where all of 127.0.0.0/8 is ours (Linux).
//!
//! Always holds: a connection's address depends on its number alone, so it comes back from where it was.

use crate::net::Endpoint;
use core::net::{IpAddr, Ipv4Addr};
use std::net::UdpSocket;

/// Ephemeral ports where the system doesn't tell: 49152 to 65535 (RFC 6335), macOS's and FreeBSD's default.
const PORTS: u32 = 16_384;

/// 127.0.1.0. What follows it is nobody's: servers listen at 127.0.0.1.
const LOOPBACK: u32 = 0x7F00_0100;

/// The most addresses of loopback that are used: up to 127.1.1.0.
const LOOPBACK_MAX: u32 = 1 << 16;

/// Where connections come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sources {
    /// The system decides.
    Any,
    /// So many from any address, then so many from each address of loopback in turn.
    Loopback {
        /// How many, at least 1.
        each: u32,
    },
    /// From these in turn. Not empty, and no two alike.
    Given(Vec<IpAddr>),
}

impl Sources {
    /// For so many connections to `to`; `given` are the addresses to come from, if not empty.
    ///
    /// # Errors
    ///
    /// In one line, if there are not ports enough, or a given address can't be used.
    pub fn plan(to: &Endpoint, connections: u32, given: &[IpAddr]) -> Result<Sources, String> {
        Sources::plan_with(to, connections, given, ports())
    }

    fn plan_with(to: &Endpoint, connections: u32, given: &[IpAddr], ports: u32) -> Result<Sources, String> {
        let Some(target) = to.ip() else {
            return match given {
                [] => Ok(Sources::Any),
                [first, ..] => Err(format!("--source {first} means nothing for {to}; leave it out")),
            };
        };
        if let Some(other) = given.iter().find(|source| source.is_ipv4() != target.is_ipv4()) {
            let family = if target.is_ipv4() { "an IPv4" } else { "an IPv6" };
            return Err(format!("--source {other} can't reach {to}; give {family} address of this host"));
        }
        if let Some(foreign) = given.iter().find(|source| UdpSocket::bind((**source, 0)).is_err()) {
            return Err(format!("--source {foreign} is not an address of this host; give one that is"));
        }
        let is_spread = cfg!(target_os = "linux") && target.ip().is_loopback() && target.is_ipv4();
        if given.is_empty() && is_spread {
            let each = (ports / 4).max(1);
            return if connections.div_ceil(each) <= LOOPBACK_MAX {
                Ok(Sources::Loopback { each })
            } else {
                let fit = u64::from(each) * u64::from(LOOPBACK_MAX);
                Err(format!("{connections} connections to {to} don't fit: {fit} have ports; ask for fewer"))
            };
        }
        let each = (ports / 2).max(1);
        let mut different = given.to_vec();
        different.sort_unstable();
        different.dedup();
        let count = u32::try_from(different.len().max(1)).unwrap_or(u32::MAX);
        let fit = u64::from(each) * u64::from(count);
        if u64::from(connections) > fit {
            let needed = connections.div_ceil(each);
            return Err(format!(
                "{connections} connections to {to} don't fit: {fit} have ports, {each} an address; give --source \
                 {needed} addresses of this host, A,B,.."
            ));
        }
        Ok(if given.is_empty() { Sources::Any } else { Sources::Given(different) })
    }

    /// The address of one connection, counted from 0; `None`: any.
    pub fn of(&self, connection: u32) -> Option<IpAddr> {
        match self {
            Sources::Any => None,
            Sources::Loopback { each } => match connection / each {
                0 => None,
                nth => Some(Ipv4Addr::from_bits(LOOPBACK.saturating_add(nth)).into()),
            },
            Sources::Given(addresses) => {
                let count = u32::try_from(addresses.len()).unwrap_or(u32::MAX);
                addresses.get(usize::try_from(connection % count.max(1)).unwrap_or(0)).copied()
            }
        }
    }
}

/// How many ephemeral ports this system has.
fn ports() -> u32 {
    let range = std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").ok();
    range.and_then(|range| width(&range)).unwrap_or(PORTS)
}

/// `FIRST LAST`.
fn width(range: &str) -> Option<u32> {
    let mut ends = range.split_ascii_whitespace().map(|end| end.parse::<u16>().ok());
    let (first, last) = (ends.next()??, ends.next()??);
    Some(u32::from(last.checked_sub(first)?) + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINUX: u32 = 28_232;

    fn to(text: &str) -> Endpoint {
        Endpoint::parse(text).unwrap()
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn loopback_has_addresses_enough() {
        let sources = Sources::plan_with(&to("127.0.0.1:7411"), 1_000_000, &[], LINUX).unwrap();
        let v4 = |third, fourth| Some(IpAddr::from([127, 0, third, fourth]));
        #[rustfmt::skip]
        let table = [
            (0,         None),
            (7_057,     None),
            (7_058,     v4(1, 1)),
            (14_115,    v4(1, 1)),
            (14_116,    v4(1, 2)),
            (999_999,   v4(1, 141)),
            (7_058 * 256, v4(2, 0)),
        ];
        for (connection, want) in table {
            assert_eq!(sources.of(connection), want, "connection {connection}");
        }
        assert_eq!(Sources::plan_with(&to("127.0.0.1:7411"), 9, &[], 1), Ok(Sources::Loopback { each: 1 }));
        let error = Sources::plan_with(&to("127.0.0.1:7411"), 65_537, &[], 1).unwrap_err();
        assert!(error.contains("65536 have ports"), "{error}");
    }

    #[test]
    fn given_addresses_take_turns() {
        let given: Vec<IpAddr> = vec![[0, 0, 0, 0].into(), [127, 0, 0, 1].into(), [0, 0, 0, 0].into()];
        let sources = Sources::plan_with(&to("127.0.0.1:7411"), 5, &given, LINUX).unwrap();
        let taken: Vec<_> = (0..3).map(|connection| sources.of(connection).unwrap()).collect();
        assert_eq!(taken, [given[0], given[1], given[0]], "each once");
    }

    #[test]
    fn what_does_not_fit_is_told_with_what_would() {
        let v4: IpAddr = [127, 0, 0, 1].into();
        let any: IpAddr = [0, 0, 0, 0].into();
        #[rustfmt::skip]
        let table: &[(&str, u32, &[IpAddr], &str)] = &[
            ("192.0.2.9:7411",   14_116, &[],                ""),
            ("192.0.2.9:7411",   14_117, &[],                "14116 have ports, 14116 an address; give --source 2 addresses"),
            ("[::1]:7411",       40_000, &[],                "give --source 3 addresses"),
            ("127.0.0.1:7411",   28_233, &[v4, any],         "28232 have ports, 14116 an address; give --source 3 addresses"),
            ("127.0.0.1:7411",   1,      &[[192, 0, 2, 1].into()], "--source 192.0.2.1 is not an address of this host"),
            ("127.0.0.1:7411",   14_117, &[v4, v4],          "14116 have ports, 14116 an address; give --source 2 addresses"),
        ("[::1]:7411",       1,      &[v4],              "--source 127.0.0.1 can't reach [::1]:7411; give an IPv6"),
            ("unix:/run/x.sock", 90_000, &[],                ""),
            ("unix:/run/x.sock", 1,      &[v4],              "--source 127.0.0.1 means nothing for unix:/run/x.sock"),
        ];
        for (target, connections, given, want) in table {
            let told = Sources::plan_with(&to(target), *connections, given, LINUX);
            match told {
                Ok(_) => assert_eq!(*want, "", "case: {connections} to {target}"),
                Err(told) => assert!(!want.is_empty() && told.contains(want), "{told}"),
            }
        }
    }

    #[test]
    fn the_range_of_ports_is_read() {
        assert_eq!(width("32768\t60999\n"), Some(LINUX));
        assert_eq!(width("1024 65535"), Some(64_512));
        for text in ["", "5", "9 5", "a b", "0 70000"] {
            assert_eq!(width(text), None, "case: {text}");
        }
        assert!(ports() >= 1);
    }
}
