//! What a peer is told when its connection ends from our side.
//!
//! Peers on a frame listener get GOAWAY as the last frame, which tells a close from a crash. Peers on a line
//! listener get an `ERR` line where it takes the place of a reply, and nothing otherwise.

use super::Protocol;
use crate::base::CloseReason;
use crate::wire::{Control, Crc, Status, TLS_ALERT, encode_error_line};

/// The status that tells a peer why, or `None` where there is nobody to tell.
pub const fn status_of(why: CloseReason) -> Option<Status> {
    match why {
        CloseReason::PeerClosed | CloseReason::Reset | CloseReason::Truncated | CloseReason::Failed => None,
        CloseReason::BadCrc
        | CloseReason::UnknownControl
        | CloseReason::BadControl
        | CloseReason::BadExtension
        | CloseReason::WrongDirection
        | CloseReason::TlsOnPlain
        | CloseReason::Http
        | CloseReason::Resp
        | CloseReason::Proxy
        | CloseReason::FrameDeadline => Some(Status::PROTOCOL),
        CloseReason::TooLarge | CloseReason::LineTooLong => Some(Status::TOO_LARGE),
        CloseReason::Idle => Some(Status::IDLE),
        CloseReason::WriteStall | CloseReason::SlowConsumer => Some(Status::SLOW_CONSUMER),
        CloseReason::Memory => Some(Status::OVERLOADED),
        CloseReason::Panicked => Some(Status::INTERNAL),
        CloseReason::Drained | CloseReason::DrainForced => Some(Status::DRAINING),
    }
}

/// Appends the last words for `why`; nothing where the peer has no use for any.
pub fn farewell(out: &mut Vec<u8>, crc: &Crc, protocol: Protocol, why: CloseReason, text: &str) {
    let Some(status) = status_of(why) else { return };
    match protocol {
        Protocol::Frame if why == CloseReason::TlsOnPlain => out.extend_from_slice(&TLS_ALERT),
        Protocol::Frame => Control::GoAway { status, reconnect_after_ms: 0, text }.encode(out, crc),
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
        | CloseReason::Resp
        | CloseReason::FrameDeadline
        | CloseReason::Idle
        | CloseReason::WriteStall
        | CloseReason::SlowConsumer
        | CloseReason::Drained
        | CloseReason::DrainForced
        | CloseReason::Failed => {}
    }
}
