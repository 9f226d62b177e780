//! Why a connection ended: one closed list, for counters, logs, GOAWAY and tests.
//!
//! A reason is decided once, where the cause is seen, and never changed afterwards. Every ended connection is
//! counted under exactly one.

use super::Fault;

macro_rules! close_reasons {
    ($($(#[$doc:meta])* $variant:ident => $name:literal, $fault:ident;)+) => {
        /// Why a connection ended.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        #[repr(u8)]
        pub enum CloseReason { $($(#[$doc])* $variant),+ }

        impl CloseReason {
            /// All of them, in the order of [`CloseReason::index`].
            pub const ALL: &'static [CloseReason] = &[$(CloseReason::$variant),+];

            /// The name used in logs, metrics and golden vectors.
            pub const fn name(self) -> &'static str {
                match self { $(CloseReason::$variant => $name),+ }
            }

            /// Who had to move.
            pub const fn fault(self) -> Fault {
                match self { $(CloseReason::$variant => Fault::$fault),+ }
            }
        }
    };
}

close_reasons! {
    /// The peer ended its stream between two messages, and got everything that was due to it.
    PeerClosed => "peer_closed", Temporary;
    /// The peer or the network reset the connection.
    Reset => "reset", Temporary;
    /// The peer ended its stream inside a frame.
    Truncated => "truncated", Protocol;
    /// A frame's checksum did not match; behind it, framing can't be trusted.
    BadCrc => "bad_crc", Protocol;
    /// A frame declared more than the listener allows.
    TooLarge => "too_large", Protocol;
    /// A line went on past the listener's limit.
    LineTooLong => "line_too_long", Protocol;
    /// A control frame with a code that this version does not know.
    UnknownControl => "unknown_control", Protocol;
    /// A control frame whose payload does not parse.
    BadControl => "bad_control", Protocol;
    /// An extension block that does not parse.
    BadExtension => "bad_extension", Protocol;
    /// A control frame that only the other side sends.
    WrongDirection => "wrong_direction", Protocol;
    /// HELLO came behind another frame, or twice.
    LateHello => "late_hello", Protocol;
    /// HELLO named no version that this server speaks.
    NoCommonVersion => "no_common_version", Protocol;
    /// The peer did not say, or could not prove, who it is.
    Unauthenticated => "unauthenticated", Protocol;
    /// The certificate that the peer showed has expired since.
    CertificateExpired => "certificate_expired", Protocol;
    /// The certificate that the peer showed was revoked since.
    CertificateRevoked => "certificate_revoked", Protocol;
    /// Bytes behind the handshake that are no TLS, or that somebody on the way has changed.
    TlsBroken => "tls_broken", Protocol;
    /// The first bytes were a TLS hello, on a port without TLS.
    TlsOnPlain => "tls", Protocol;
    /// The first bytes were an HTTP request.
    Http => "http", Protocol;
    /// The first bytes were a RESP command (Redis).
    Resp => "resp", Protocol;
    /// The first bytes were a PROXY protocol header, on a port that expects none.
    Proxy => "proxy", Protocol;
    /// A frame was not whole in time.
    FrameDeadline => "frame_deadline", Protocol;
    /// No whole message came for the listener's idle time.
    Idle => "idle", Temporary;
    /// The peer said HELLO, and then nothing for two heartbeats.
    Heartbeat => "heartbeat", Temporary;
    /// A request failed on a listener whose protocol can't say so in another way.
    RequestFailed => "request_failed", Temporary;
    /// Output waited and the peer took none of it in time.
    WriteStall => "write_stall", Temporary;
    /// More output was queued for the peer than its limit.
    SlowConsumer => "slow_consumer", Temporary;
    /// Buffers were short, and this connection held most for the least progress.
    Memory => "memory", System;
    /// The service panicked and gave up its state.
    Panicked => "panicked", System;
    /// The server drained: everything received was answered.
    Drained => "drained", Temporary;
    /// The server drained, and time ran out before everything received was answered and taken.
    DrainForced => "drain_forced", Temporary;
    /// It had been open for as long as a connection may be.
    Aged => "aged", Temporary;
    /// The service, or the program around it, wanted it to end.
    ClosedByService => "closed_by_service", Temporary;
    /// A server that we dialed could not be reached in time.
    DialFailed => "dial_failed", Temporary;
    /// The socket failed in a way that has no name here.
    Failed => "failed", System;
}

impl CloseReason {
    /// How many there are.
    pub const COUNT: usize = Self::ALL.len();

    /// Whether the peer spoke a known protocol that is not ours.
    pub const fn is_foreign(self) -> bool {
        matches!(self, CloseReason::TlsOnPlain | CloseReason::Http | CloseReason::Resp | CloseReason::Proxy)
    }

    /// Whether only a listener with TLS has such ends.
    pub const fn is_of_tls(self) -> bool {
        matches!(
            self,
            CloseReason::CertificateExpired | CloseReason::CertificateRevoked | CloseReason::TlsBroken
        )
    }

    /// Whether nothing was wrong: the peer was done, or we were.
    pub const fn is_in_order(self) -> bool {
        matches!(
            self,
            CloseReason::PeerClosed | CloseReason::Drained | CloseReason::Aged | CloseReason::ClosedByService
        )
    }

    /// Whether an end for this reason is worth a look: not the daily weather of a server.
    pub const fn is_notable(self) -> bool {
        match self.fault() {
            Fault::Protocol | Fault::System => true,
            Fault::Temporary => matches!(
                self,
                CloseReason::RequestFailed
                    | CloseReason::WriteStall
                    | CloseReason::SlowConsumer
                    | CloseReason::DrainForced
            ),
        }
    }

    /// The reason with this name.
    pub fn named(name: &str) -> Option<CloseReason> {
        Self::ALL.iter().copied().find(|reason| reason.name() == name)
    }

    /// Its place in [`CloseReason::ALL`].
    pub const fn index(self) -> usize {
        self as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn index_is_the_place_in_the_list_and_names_are_unique() {
        for (place, reason) in CloseReason::ALL.iter().enumerate() {
            assert_eq!(reason.index(), place, "case: {reason:?}");
            let twins = CloseReason::ALL.iter().filter(|other| other.name() == reason.name()).count();
            assert_eq!(twins, 1, "case: {}", reason.name());
        }
    }
}
