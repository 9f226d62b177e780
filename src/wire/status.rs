//! How a request or a connection ended, as a number on the wire and a name in logs.
//!
//! Codes under 256 are the protocol's and have one meaning everywhere; from 256 on they are the application's own and
//! pass through unchanged. Always holds: every code has a name, so nothing that logs one has to handle a missing one.

use std::fmt;

/// A status code. The default is [`OK`](Self::OK).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Status(u16);

impl Status {
    /// Done.
    pub const OK: Status = Status(0);
    /// The peer broke the protocol: CRC, control code, direction, payload. Not to be retried. Closes.
    pub const PROTOCOL: Status = Status(1);
    /// The peer did not say, or could not prove, who it is. Not to be retried. Closes.
    pub const UNAUTHENTICATED: Status = Status(2);
    /// The peer may not do this. Not to be retried.
    pub const FORBIDDEN: Status = Status(3);
    /// Nothing is served under this route. Not to be retried.
    pub const NO_ROUTE: Status = Status(4);
    /// A limit refused it and nothing was done. To be retried after a pause.
    pub const OVERLOADED: Status = Status(5);
    /// No healthy backend, and nothing was sent. Safe to retry.
    pub const UNAVAILABLE: Status = Status(6);
    /// It was started somewhere that was then lost, or was not back in time. To be retried only if idempotent.
    pub const OUTCOME_UNKNOWN: Status = Status(7);
    /// Its deadline passed before it was started. Safe to retry.
    pub const DEADLINE_EXCEEDED: Status = Status(8);
    /// This server is going away and did not start it. Safe to retry elsewhere.
    pub const DRAINING: Status = Status(9);
    /// The handler failed or gave no answer. To be retried only if idempotent.
    pub const INTERNAL: Status = Status(10);
    /// The peer did not read what was sent to it. Closes.
    pub const SLOW_CONSUMER: Status = Status(11);
    /// The same client has connected again. Closes.
    pub const REPLACED: Status = Status(12);
    /// Nothing came for too long. Closes.
    pub const IDLE: Status = Status(13);
    /// A payload over a limit: the listener's closes, a backend's refuses the one request. Not to be retried.
    pub const TOO_LARGE: Status = Status(14);
    /// This server does not know how. Not to be retried.
    pub const UNSUPPORTED: Status = Status(15);

    /// The first code that belongs to the application.
    pub const APPLICATION_MIN: u16 = 256;

    /// The status with this code, as read from the wire. Every code is one; an unknown code under
    /// [`APPLICATION_MIN`](Self::APPLICATION_MIN) keeps its number and is treated as [`INTERNAL`](Self::INTERNAL).
    #[inline]
    pub const fn from_code(code: u16) -> Status {
        Status(code)
    }

    /// A status of the application's own, [`APPLICATION_MIN`](Self::APPLICATION_MIN)`..=65_535`.
    ///
    /// A code under that is a mistake of the caller: debug builds panic, release builds make it
    /// [`INTERNAL`](Self::INTERNAL), so that it can't be taken for a word of the server.
    #[inline]
    pub const fn application(code: u16) -> Status {
        debug_assert!(code >= Status::APPLICATION_MIN);
        if code >= Status::APPLICATION_MIN { Status(code) } else { Status::INTERNAL }
    }

    /// The number on the wire.
    #[inline]
    pub const fn code(self) -> u16 {
        self.0
    }

    /// The name in logs and error lines: `APPLICATION` from 256 on, `INTERNAL` for an unknown code under that.
    pub const fn name(self) -> &'static str {
        match self.0 {
            0 => "OK",
            1 => "PROTOCOL",
            2 => "UNAUTHENTICATED",
            3 => "FORBIDDEN",
            4 => "NO_ROUTE",
            5 => "OVERLOADED",
            6 => "UNAVAILABLE",
            7 => "OUTCOME_UNKNOWN",
            8 => "DEADLINE_EXCEEDED",
            9 => "DRAINING",
            10 => "INTERNAL",
            11 => "SLOW_CONSUMER",
            12 => "REPLACED",
            13 => "IDLE",
            14 => "TOO_LARGE",
            15 => "UNSUPPORTED",
            16..Status::APPLICATION_MIN => "INTERNAL",
            Status::APPLICATION_MIN.. => "APPLICATION",
        }
    }
}

/// Number and name: `5 OVERLOADED`.
impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.0, self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The codes are a promise to every client ever written; this table may only grow.
    #[test]
    fn codes_and_names_never_change() {
        #[rustfmt::skip]
        let table: &[(Status, &str)] = &[
            (Status::OK,                 "0 OK"),
            (Status::PROTOCOL,           "1 PROTOCOL"),
            (Status::UNAUTHENTICATED,    "2 UNAUTHENTICATED"),
            (Status::FORBIDDEN,          "3 FORBIDDEN"),
            (Status::NO_ROUTE,           "4 NO_ROUTE"),
            (Status::OVERLOADED,         "5 OVERLOADED"),
            (Status::UNAVAILABLE,        "6 UNAVAILABLE"),
            (Status::OUTCOME_UNKNOWN,    "7 OUTCOME_UNKNOWN"),
            (Status::DEADLINE_EXCEEDED,  "8 DEADLINE_EXCEEDED"),
            (Status::DRAINING,           "9 DRAINING"),
            (Status::INTERNAL,           "10 INTERNAL"),
            (Status::SLOW_CONSUMER,      "11 SLOW_CONSUMER"),
            (Status::REPLACED,           "12 REPLACED"),
            (Status::IDLE,               "13 IDLE"),
            (Status::TOO_LARGE,          "14 TOO_LARGE"),
            (Status::UNSUPPORTED,        "15 UNSUPPORTED"),
            (Status::from_code(16),      "16 INTERNAL"),
            (Status::from_code(255),     "255 INTERNAL"),
            (Status::application(256),   "256 APPLICATION"),
            (Status::application(65535), "65535 APPLICATION"),
        ];
        for (status, want) in table {
            assert_eq!(status.to_string(), *want);
            assert_eq!(Status::from_code(status.code()), *status);
        }
    }
}
