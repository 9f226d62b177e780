//! What can be wrong with a control frame.

use crate::base::Fault;
use crate::wire::{ExtensionError, TlvError};

/// Why a control frame can't be understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ControlError {
    /// A code that this version does not know.
    #[error("unknown control code {code}")]
    UnknownCode {
        /// Bits 13..0 of the header.
        code: u16,
    },
    /// Bit 15 is set, and this control frame has no extension block.
    #[error("control code {code} takes no extension block")]
    ExtensionNotAllowed {
        /// Bits 13..0 of the header.
        code: u16,
    },
    /// ACK without a block, or without the correlation that it is for.
    #[error("control code {code} needs an extension block with a correlation")]
    ExtensionMissing {
        /// Bits 13..0 of the header.
        code: u16,
    },
    /// The block has more than a control frame's may: correlation and trace, in an ACK only the correlation.
    #[error("the extension block of control code {code} has fields that only routes take")]
    ExtensionFields {
        /// Bits 13..0 of the header.
        code: u16,
    },
    /// The block can't be read.
    #[error("control code {code}: {error}")]
    Extension {
        /// Bits 13..0 of the header.
        code: u16,
        /// What is wrong with it.
        error: ExtensionError,
    },
    /// More bytes than this control frame ever has.
    #[error("payload of {got_bytes} bytes in control code {code} exceeds the {limit_bytes} byte limit")]
    TooLong {
        /// Bits 13..0 of the header.
        code: u16,
        /// Bytes of the payload, without the block.
        got_bytes: usize,
        /// The limit, in bytes.
        limit_bytes: usize,
    },
    /// The payload ends within a field that must be there.
    #[error(
        "payload of {got_bytes} bytes in control code {code} is under the {want_bytes} bytes of its fields"
    )]
    TooShort {
        /// Bits 13..0 of the header.
        code: u16,
        /// Bytes of the payload, without the block.
        got_bytes: usize,
        /// Bytes up to the end of the first field that is not whole.
        want_bytes: usize,
    },
    /// A topic or pattern over its limit.
    #[error("topic of {got_bytes} bytes in control code {code} exceeds the {limit_bytes} byte limit")]
    TopicTooLong {
        /// Bits 13..0 of the header.
        code: u16,
        /// Bytes of the topic.
        got_bytes: usize,
        /// The limit, in bytes.
        limit_bytes: usize,
    },
    /// A text, topic, pattern or group that is not UTF-8.
    #[error("text of {got_bytes} bytes in control code {code} is utf-8 only up to byte {valid_bytes}")]
    TextNotUtf8 {
        /// Bits 13..0 of the header.
        code: u16,
        /// Bytes of the text.
        got_bytes: usize,
        /// How many of them are UTF-8.
        valid_bytes: usize,
    },
    /// The id of a client or server is not one.
    #[error("id of {got_bytes} bytes in control code {code} is not 1 to 64 of A-Z, a-z, 0-9, _ and -")]
    BadId {
        /// Bits 13..0 of the header.
        code: u16,
        /// Bytes of the id.
        got_bytes: usize,
    },
    /// The tags behind the fields can't be read.
    #[error("control code {code}: {error}")]
    Tlv {
        /// Bits 13..0 of the header.
        code: u16,
        /// What is wrong with them.
        error: TlvError,
    },
}

impl ControlError {
    /// Who has to move.
    pub const fn fault(&self) -> Fault {
        match self {
            Self::UnknownCode { .. }
            | Self::ExtensionNotAllowed { .. }
            | Self::ExtensionMissing { .. }
            | Self::ExtensionFields { .. }
            | Self::TooLong { .. }
            | Self::TooShort { .. }
            | Self::TopicTooLong { .. }
            | Self::TextNotUtf8 { .. }
            | Self::BadId { .. } => Fault::Protocol,
            Self::Extension { error, .. } => error.fault(),
            Self::Tlv { error, .. } => error.fault(),
        }
    }
}
