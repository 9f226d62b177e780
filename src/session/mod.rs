//! One connection, as values: what its bytes mean, what it is owed, where it stands in its life, what ends it.
//!
//! A connection is kept as separate parts so that one can be borrowed while another changes: [`Framing`] reads
//! (receive half), [`Outbox`] gathers a batch's replies (send half), [`Slots`] keep what is not answered yet, [`Phase`]
//! moves, [`Pauses`] hold reading back.
//! The loop that owns the socket puts them together (see `turn`).
//!
//! Always holds: the same bytes at the same moments give the same messages, replies and close reason.
//! Never: a socket, a clock, a thread. `now` is an argument.

mod farewell;
mod framing;
mod greeting;
mod outbox;
mod part;
mod pauses;
mod phase;
mod reply;
mod reply_to;
mod slots;

pub use farewell::{Leave, farewell, status_of};
pub use framing::{Framing, Protocol, Request, Role, Simple, Step};
pub use greeting::{Beat, Greeting};
pub use outbox::{Outbox, Unwritten};
pub use part::{Envelope, Inputs, Part, Segment, Source};
pub use pauses::{Pause, Pauses};
pub use phase::{Event, Phase};
pub use reply::{Failure, Tally, TooLargeReply, encode_failure, reply_bytes, write_reply};
pub use reply_to::{REPLY_BLOCK_BYTES_MAX, ReplyTo};
pub use slots::{Ended, NO_ROOM, Ready, Slots};
