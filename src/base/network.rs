//! Networks, by which a listener tells whom it trusts: `10.0.0.0/8`, `::1`, `unix`.
//!
//! Always holds: bits behind the prefix are zero; IPv4 in IPv6's clothes (`::ffff:10.0.0.1`) is IPv4. Never: names, which
//! would have to be looked up.

use super::Address;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::fmt;
use std::str::FromStr;

/// Some addresses: those of a prefix, or of this host's unix sockets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Network {
    /// All whose first bits are these.
    Ip {
        /// The first of them.
        first: IpAddr,
        /// How many bits count, `0..=32` or `0..=128`.
        prefix: u8,
    },
    /// Clients of unix sockets.
    Unix,
}

/// A text that names no network.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoNetwork {
    /// It is none at all.
    #[error("{0:?} is no network: write IP, IP/BITS or unix, such as 10.0.0.0/8")]
    Unread(String),
    /// More bits than such an address has.
    #[error("{text:?} has {bits} bits, but there are {most}")]
    TooLong {
        /// What was given.
        text: String,
        /// Its bits.
        bits: u32,
        /// The most that there are.
        most: u8,
    },
    /// It names one address in the midst of the network.
    #[error("{text:?} has bits behind its prefix: did you mean {meant}?")]
    Host {
        /// What was given.
        text: String,
        /// The network that it lies in.
        meant: Network,
    },
}

impl Network {
    /// The network of this address with so many bits; more than it has are cut.
    pub fn of(ip: IpAddr, prefix: u8) -> Network {
        let most = bits_of(ip);
        let prefix = prefix.min(most);
        let first = match ip {
            IpAddr::V4(ip) => {
                let mask = u32::MAX.checked_shl(32 - u32::from(prefix)).unwrap_or(0);
                IpAddr::V4(Ipv4Addr::from_bits(ip.to_bits() & mask))
            }
            IpAddr::V6(ip) => {
                let mask = u128::MAX.checked_shl(128 - u32::from(prefix)).unwrap_or(0);
                IpAddr::V6(Ipv6Addr::from_bits(ip.to_bits() & mask))
            }
        };
        Network::Ip { first, prefix }
    }

    /// Whether it is one of these addresses.
    pub fn contains(&self, address: Address) -> bool {
        match (*self, address) {
            (Network::Unix, Address::Unix) => true,
            (Network::Unix, Address::Ip(_)) | (Network::Ip { .. }, Address::Unix) => false,
            (Network::Ip { first, prefix }, Address::Ip(address)) => {
                let ip = address.ip().to_canonical();
                ip.is_ipv4() == first.is_ipv4() && Network::of(ip, prefix) == *self
            }
        }
    }
}

const fn bits_of(ip: IpAddr) -> u8 {
    match ip {
        IpAddr::V4(_) => 32,
        IpAddr::V6(_) => 128,
    }
}

impl FromStr for Network {
    type Err = NoNetwork;

    fn from_str(text: &str) -> Result<Network, NoNetwork> {
        if text == "unix" {
            return Ok(Network::Unix);
        }
        let unread = || NoNetwork::Unread(text.to_owned());
        let (ip, bits) = match text.split_once('/') {
            Some((ip, bits)) => (ip, Some(bits)),
            None => (text, None),
        };
        let ip = ip.parse::<IpAddr>().map_err(|_| unread())?.to_canonical();
        let most = bits_of(ip);
        let Some(bits) = bits else { return Ok(Network::of(ip, most)) };
        if bits.is_empty() || !bits.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(unread());
        }
        let bits: u32 = bits.parse().map_err(|_| unread())?;
        let too_long = || NoNetwork::TooLong { text: text.to_owned(), bits, most };
        let prefix = u8::try_from(bits).ok().filter(|bits| *bits <= most).ok_or_else(too_long)?;
        let meant = Network::of(ip, prefix);
        if meant == (Network::Ip { first: ip, prefix }) {
            Ok(meant)
        } else {
            Err(NoNetwork::Host { text: text.to_owned(), meant })
        }
    }
}

/// As it is read: a single address without its bits.
impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Network::Unix => f.write_str("unix"),
            Network::Ip { first, prefix } if prefix == bits_of(first) => first.fmt(f),
            Network::Ip { first, prefix } => write!(f, "{first}/{prefix}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::net::SocketAddr;

    fn address(text: &str) -> Address {
        if text == "unix" { Address::Unix } else { SocketAddr::new(text.parse().unwrap(), 7).into() }
    }

    #[test]
    fn networks_know_their_addresses() {
        #[rustfmt::skip]
        let table: &[(&str, &[&str], &[&str])] = &[
            ("10.0.0.0/8",    &["10.0.0.0", "10.255.255.255", "::ffff:10.1.2.3"], &["11.0.0.0", "9.255.255.255", "::", "unix"]),
            ("192.0.2.7",     &["192.0.2.7"],                                     &["192.0.2.6", "unix"]),
            ("0.0.0.0/0",     &["0.0.0.0", "255.255.255.255"],                    &["::1", "unix"]),
            ("::/0",          &["::", "2001:db8::1"],                             &["127.0.0.1", "unix"]),
            ("::1",           &["::1"],                                           &["::2", "127.0.0.1"]),
            ("2001:db8::/32", &["2001:db8:ffff::"],                               &["2001:db9::"]),
            ("192.0.2.128/31", &["192.0.2.128", "192.0.2.129"],                   &["192.0.2.130"]),
            ("unix",          &["unix"],                                          &["127.0.0.1", "::1"]),
        ];
        for (text, inside, outside) in table {
            let network: Network = text.parse().unwrap();
            assert_eq!(network.to_string(), *text);
            for one in *inside {
                assert!(network.contains(address(one)), "case: {one} in {text}");
            }
            for one in *outside {
                assert!(!network.contains(address(one)), "case: {one} not in {text}");
            }
        }
        assert_eq!("::ffff:10.0.0.1".parse(), Ok(Network::of("10.0.0.1".parse().unwrap(), 32)));
    }

    #[test]
    fn what_is_no_network_is_told() {
        #[rustfmt::skip]
        let table: &[(&str, &str)] = &[
            ("",              "is no network"),
            ("localhost",     "is no network"),
            ("10.0.0.0/",     "is no network"),
            ("10.0.0.0/+8",   "is no network"),
            ("10.0.0/8",      "is no network"),
            ("UNIX",          "is no network"),
            ("127.0.0.1:80",  "is no network"),
            ("10.0.0.0/33",   "has 33 bits, but there are 32"),
            ("::/129",        "has 129 bits, but there are 128"),
            ("10.0.0.1/8",    "did you mean 10.0.0.0/8?"),
            ("2001:db8::1/32", "did you mean 2001:db8::/32?"),
        ];
        for (text, words) in table {
            let error = text.parse::<Network>().unwrap_err().to_string();
            assert!(error.contains(words), "case: {text}: {error}");
        }
    }
}
