//! What the table keeps for a connection. Its size is what an idle connection costs.
//!
//! Invariants: `input` is there exactly while bytes wait to be handled, `output` exactly while bytes wait to be
//! written; so an idle connection holds no buffer. `paused_at` means something only while a pause bit is set.

use super::{Form, Readiness};
use crate::base::planted::{Bug, is_planted};
use crate::base::{Address, Ms, Time, Token, U48};
use crate::buffer::{OutQueue, Ring};
use crate::session::{Greeting, Pauses, Phase, Slots};
use core::net::{IpAddr, Ipv6Addr, SocketAddr};

/// One connection.
#[derive(Debug)]
pub(super) struct Entry<C, St> {
    pub(super) stream: St,
    /// Tells this owner of the slot from earlier and later ones.
    pub(super) generation: u32,
    pub(super) address: PeerAddress,
    /// What it goes by of its listener.
    pub(super) listener: Form,
    pub(super) flags: Flags,
    pub(super) pauses: Pauses,
    /// Reads since its drain began.
    pub(super) drain_reads: u8,
    pub(super) phase: Phase,
    /// The last whole message, or the accept.
    pub(super) heard: Ms,
    pub(super) paused_at: Ms,
    /// Bytes thrown away while lingering.
    pub(super) lingered: u32,
    pub(super) life: Life,
    pub(super) input: Option<Box<Inbound>>,
    pub(super) output: Option<Box<Outbound>>,
    /// There exactly while requests are open.
    pub(super) slots: Option<Box<Slots>>,
    /// There from a HELLO on.
    pub(super) greeting: Option<Box<Greeting>>,
    pub(super) conn: C,
}

impl<C, St> Entry<C, St> {
    pub(super) const fn token(&self, slot: u32) -> Token {
        Token { generation: self.generation, slot }
    }

    /// Bytes that wait to be written, for the socket or behind open requests.
    #[inline]
    pub(super) fn queued_bytes(&self) -> u32 {
        let slots = self.slots.as_ref().filter(|_| !is_planted(Bug::HeldNotCounted));
        let held = slots.map_or(0, |slots| slots.held_bytes());
        held + self.output.as_ref().map_or(0, |output| output.queue.queued_bytes())
    }

    /// The same, counted anew.
    pub(super) fn waiting_bytes(&self) -> usize {
        let held = self.slots.as_ref().map_or(0, |slots| slots.held_bytes() as usize);
        held + self.output.as_ref().map_or(0, |output| output.queue.queued_bytes() as usize)
    }

    /// Requests that are open.
    #[inline]
    pub(super) fn open_requests(&self) -> u32 {
        self.slots.as_ref().map_or(0, |slots| slots.open_count())
    }

    /// What the poller told of its stream.
    #[inline]
    pub(super) fn note(&mut self, ready: Readiness) {
        if ready.readable {
            self.flags.set(Flag::Readable);
        }
        if ready.writable {
            self.flags.set(Flag::Writable);
        }
        if ready.read_closed {
            self.flags.set(Flag::ReadClosed);
            self.flags.set(Flag::Readable);
        }
        if ready.hangup {
            self.flags.set(Flag::Hangup);
            self.flags.set(Flag::Readable);
            self.flags.set(Flag::Writable);
        }
    }

    /// Whether whole messages may lie in the ring, left there by a stopped batch.
    #[inline]
    pub(super) fn has_unparsed(&self) -> bool {
        self.input.as_ref().is_some_and(|input| input.unparsed)
    }
}

/// What is counted of a connection from its beginning on. Packed, since four bytes fewer are eight fewer in the entry.
#[derive(Clone, Copy, Debug)]
#[repr(C, packed(2))]
pub(super) struct Life {
    /// In milliseconds, and not as [`Ms`], which wraps: connections live for longer than deadlines do.
    pub(super) opened: U48,
    pub(super) bytes_in: U48,
    pub(super) bytes_out: U48,
    /// Whole messages that came; stays at the largest number.
    pub(super) messages_in: u32,
}

impl Life {
    /// One that begins now.
    pub(super) fn new(now: Time) -> Life {
        let none = U48::default();
        Life { opened: U48::new(now.whole_ms()), bytes_in: none, bytes_out: none, messages_in: 0 }
    }
}

/// Bytes that were read and not handled yet.
#[derive(Debug)]
pub(super) struct Inbound {
    /// They begin where a message begins. `None` only in a spare box.
    pub(super) ring: Option<Ring>,
    /// What they must grow to before there is a message, as far as is known; 0 for lines.
    pub(super) wanted: usize,
    /// When the first byte of the message in front came; moves on while the connection is paused.
    pub(super) since: Ms,
    /// When the last byte came.
    pub(super) arrived: Ms,
    /// A batch was stopped: there may be whole messages, and no new edge will tell.
    pub(super) unparsed: bool,
}

/// Bytes that wait for the socket.
#[derive(Debug)]
pub(super) struct Outbound {
    pub(super) queue: OutQueue,
    /// When the socket last took a byte.
    pub(super) moved: Ms,
    /// When output began to wait.
    pub(super) since: Ms,
    /// Bytes taken since.
    pub(super) taken: u64,
}

/// Facts of one bit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Flag {
    /// The socket may have bytes: it was not yet read to would-block since the last edge.
    Readable = 1 << 0,
    /// The socket may take bytes: it has not refused any since the last edge.
    Writable = 1 << 1,
    /// On the hot list.
    Hot = 1 << 2,
    /// The end of the peer's stream has been read.
    PeerEnded = 1 << 3,
    /// The peer has ended its side; its end has not been read yet, so a short read does not mean drained.
    ReadClosed = 1 << 4,
    /// Both sides are over, or the socket failed.
    Hangup = 1 << 5,
    /// No message has come yet.
    Fresh = 1 << 6,
    /// Its stream speaks TLS.
    Secure = 1 << 7,
}

/// A set of [`Flag`]s.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Flags(u8);

impl Flags {
    #[inline]
    pub(super) const fn has(self, flag: Flag) -> bool {
        self.0 & flag as u8 != 0
    }

    #[inline]
    pub(super) const fn set(&mut self, flag: Flag) {
        self.0 |= flag as u8;
    }

    #[inline]
    pub(super) const fn clear(&mut self, flag: Flag) {
        self.0 &= !(flag as u8);
    }
}

/// A peer's address in 18 bytes instead of the 32 of a `SocketAddr`: IPv4 as mapped IPv6, and no address at all as the
/// one that no peer has, `[::]:0`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct PeerAddress {
    ip: [u8; 16],
    port: [u8; 2],
}

impl PeerAddress {
    const UNIX: PeerAddress = PeerAddress { ip: [0; 16], port: [0; 2] };

    pub(super) const fn of(address: Address) -> PeerAddress {
        let address = match address {
            Address::Ip(address) => address,
            Address::Unix => return PeerAddress::UNIX,
        };
        let ip = match address.ip() {
            IpAddr::V4(ip) => ip.to_ipv6_mapped().octets(),
            IpAddr::V6(ip) => ip.octets(),
        };
        PeerAddress { ip, port: address.port().to_be_bytes() }
    }

    pub(super) fn get(self) -> Address {
        if self == PeerAddress::UNIX {
            return Address::Unix;
        }
        let ip = Ipv6Addr::from(self.ip);
        let ip = ip.to_ipv4_mapped().map_or(IpAddr::V6(ip), IpAddr::V4);
        Address::Ip(SocketAddr::new(ip, u16::from_be_bytes(self.port)))
    }
}

/// An idle connection of a service without state costs this, 12 bytes of timer links, and its kernel objects.
const _: () = assert!(size_of::<Entry<(), i32>>() <= 104);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_come_back_as_they_went_in() {
        for text in ["127.0.0.1:7411", "255.255.255.255:65535", "[::1]:1", "[2001:db8::7]:443"] {
            let address: SocketAddr = text.parse().unwrap();
            assert_eq!(PeerAddress::of(address.into()).get(), Address::Ip(address), "case: {text}");
        }
        assert_eq!(PeerAddress::of(Address::Unix).get(), Address::Unix);
        let mapped: SocketAddr = "[::ffff:10.0.0.1]:9".parse().unwrap();
        assert_eq!(
            PeerAddress::of(mapped.into()).get().to_string(),
            "10.0.0.1:9",
            "mapped addresses are told as IPv4"
        );
    }
}
