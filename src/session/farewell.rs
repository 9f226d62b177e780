//! What a peer is told when its connection ends from our side.
//!
//! Peers on a frame listener get GOAWAY as the last frame, which tells a close from a crash. Peers on a line
//! listener get an `ERR` line where it takes the place of a reply, and nothing otherwise; peers of bare frames get
//! nothing, since there all headers are routes.

use super::Protocol;
use crate::base::{CloseReason, Text};
use crate::wire::{Control, Crc, Status, TLS_ALERT, encode_error_line};

/// The status that tells a peer why, or `None` where there is nobody to tell.
pub const fn status_of(why: CloseReason) -> Option<Status> {
    match why {
        CloseReason::PeerClosed
        | CloseReason::Reset
        | CloseReason::Truncated
        | CloseReason::RequestFailed
        | CloseReason::DialFailed
        | CloseReason::TlsBroken
        | CloseReason::Failed => None,
        CloseReason::BadCrc
        | CloseReason::UnknownControl
        | CloseReason::BadControl
        | CloseReason::BadExtension
        | CloseReason::WrongDirection
        | CloseReason::LateHello
        | CloseReason::TlsOnPlain
        | CloseReason::Http
        | CloseReason::Resp
        | CloseReason::Proxy
        | CloseReason::FrameDeadline => Some(Status::PROTOCOL),
        CloseReason::NoCommonVersion => Some(Status::UNSUPPORTED),
        CloseReason::Unauthenticated | CloseReason::CertificateExpired | CloseReason::CertificateRevoked => {
            Some(Status::UNAUTHENTICATED)
        }
        CloseReason::TooLarge | CloseReason::LineTooLong => Some(Status::TOO_LARGE),
        CloseReason::Idle | CloseReason::Heartbeat => Some(Status::IDLE),
        CloseReason::WriteStall | CloseReason::SlowConsumer => Some(Status::SLOW_CONSUMER),
        CloseReason::Memory => Some(Status::OVERLOADED),
        CloseReason::Panicked | CloseReason::ClosedByService => Some(Status::INTERNAL),
        CloseReason::Drained | CloseReason::DrainForced | CloseReason::Aged => Some(Status::DRAINING),
    }
}

/// Why a connection ends, and what its peer is told.
#[derive(Clone, Copy, Debug)]
pub struct Leave {
    /// The reason that is counted.
    pub why: CloseReason,
    /// The status that the peer is told; `None` for nothing.
    pub status: Option<Status>,
    /// And in words.
    pub text: Text,
    /// How long it is asked to wait before it connects again, in milliseconds.
    pub reconnect_after_ms: u32,
}

impl Leave {
    /// With the status that belongs to the reason.
    pub fn new(why: CloseReason, text: &str) -> Leave {
        Leave { why, status: status_of(why), text: Text::of(format_args!("{text}")), reconnect_after_ms: 0 }
    }
}

/// Appends the last words; nothing where the peer has no use for any.
pub fn farewell(out: &mut Vec<u8>, crc: &Crc, protocol: Protocol, leave: &Leave) {
    let Leave { why, status: Some(status), text, reconnect_after_ms } = leave else { return };
    let (why, status, text) = (*why, *status, text.as_str());
    let reconnect_after_ms = *reconnect_after_ms;
    match protocol {
        Protocol::Frame if why == CloseReason::TlsOnPlain => out.extend_from_slice(&TLS_ALERT),
        Protocol::Frame => Control::GoAway { status, reconnect_after_ms, text }.encode(out, crc),
        Protocol::Bare => {}
        Protocol::Line => farewell_line(out, status, why, text),
    }
}

fn farewell_line(out: &mut Vec<u8>, status: Status, why: CloseReason, text: &str) {
    match why {
        CloseReason::TlsOnPlain => out.extend_from_slice(&TLS_ALERT),
        CloseReason::LineTooLong
        | CloseReason::Http
        | CloseReason::Proxy
        | CloseReason::Memory
        | CloseReason::Panicked => encode_error_line(out, status, text),
        CloseReason::PeerClosed
        | CloseReason::Reset
        | CloseReason::Truncated
        | CloseReason::BadCrc
        | CloseReason::TooLarge
        | CloseReason::UnknownControl
        | CloseReason::BadControl
        | CloseReason::BadExtension
        | CloseReason::WrongDirection
        | CloseReason::LateHello
        | CloseReason::NoCommonVersion
        | CloseReason::Unauthenticated
        | CloseReason::CertificateExpired
        | CloseReason::CertificateRevoked
        | CloseReason::TlsBroken
        | CloseReason::Resp
        | CloseReason::FrameDeadline
        | CloseReason::Idle
        | CloseReason::Heartbeat
        | CloseReason::RequestFailed
        | CloseReason::DialFailed
        | CloseReason::ClosedByService
        | CloseReason::WriteStall
        | CloseReason::SlowConsumer
        | CloseReason::Drained
        | CloseReason::DrainForced
        | CloseReason::Aged
        | CloseReason::Failed => {}
    }
}
