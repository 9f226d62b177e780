//! How large the payload of a reply may be, and below which size it takes the short way.
//!
//! Always holds: [`Outbox::short_end`] follows from the protocol and the largest payload; both are set here alone. Never: a reply
//! that is larger than its peer takes.

use super::Outbox;
use crate::base::limits::{FORWARD_BYTES_MIN, PAYLOAD_BYTES_MAX};
use crate::session::{Protocol, TooLargeReply};

impl Outbox {
    /// Sets how replies are written from here on.
    #[inline]
    pub fn set_protocol(&mut self, protocol: Protocol) {
        self.protocol = protocol;
        self.short_end = self.short_end();
    }

    /// Sets the largest payload of a reply from here on, in bytes: what the peer takes, and what the server may have
    /// waiting for it.
    #[inline]
    pub fn set_payload_max(&mut self, peers: u32, own: u32) {
        self.own_max = own.min(PAYLOAD_BYTES_MAX);
        self.set_peers_max(peers);
    }

    /// The same when the peer says what it takes.
    #[inline]
    pub fn set_peers_max(&mut self, peers: u32) {
        self.payload_max = peers.min(self.own_max);
        self.short_end = self.short_end();
    }

    /// Below so many bytes a payload is short: it may be sent, goes in a frame, and is copied whatever it is made of.
    #[inline]
    fn short_end(&self) -> usize {
        if self.protocol == Protocol::Line {
            0
        } else {
            (self.payload_max as usize + 1).min(FORWARD_BYTES_MIN)
        }
    }

    /// Whether a reply with a payload of so many bytes may be made.
    ///
    /// # Errors
    ///
    /// [`TooLargeReply`] beyond what may be sent to this peer.
    pub fn check_payload(&self, payload: usize) -> Result<(), TooLargeReply> {
        self.checked_length(payload).map(|_| ())
    }

    /// Its length, if it may.
    pub(super) fn checked_length(&self, payload: usize) -> Result<u32, TooLargeReply> {
        match u32::try_from(payload) {
            Ok(length) if length <= self.payload_max => Ok(length),
            Ok(_) | Err(_) => Err(TooLargeReply {
                got_bytes: payload,
                limit_bytes: self.payload_max,
                is_own: self.payload_max == self.own_max,
            }),
        }
    }
}
