//! Bytes to frames and lines, and back. The protocol itself is told in `docs/PROTOCOL.md`.
//!
//! ```text
//!   header   crc        what a frame is made of
//!       \    /
//!       frame           one frame of a stream      line      one text line of a stream
//!         |
//!   control  extension  what the frames with bit 14 carry; the block of those with bit 15
//!         \  /
//!         tlv           tags with values, at the end of both
//!
//!      status           how a request or a connection ended
//!      foreign          names for first bytes that are some other protocol
//!      proxy            the header of a load balancer, before the first message
//! ```
//!
//! Always holds:
//! 1. Whatever a peer sends is answered with a value or a typed fault, never with a panic.
//! 2. A length is compared with its limit before anything else is done with it.
//! 3. Where the stream was cut into reads never changes what is decoded from it.
//!
//! Never: sockets, clocks, memory of earlier calls. Decoding allocates nothing and copies nothing: what it returns
//! borrows from the input.

pub mod control;
pub mod crc;
pub mod extension;
pub mod foreign;
pub mod frame;
pub mod header;
pub mod line;
pub mod proxy;
pub mod status;
pub mod tlv;

pub use control::{ClientId, Control, ControlError, ControlFrame, Hello, Subscription, Welcome};
pub use crc::{Crc, CrcStream};
pub use extension::{CORRELATION_ALONE, Extension, ExtensionError, Trace, Unsupported};
pub use foreign::{Foreign, TLS_ALERT, is_tls_alert};
pub use frame::{DecodeError, Decoded, FrameLimits, RawFrame, decode, encode};
pub use header::Header;
pub use line::{Line, LineError, decode_line, encode_error_line, error_line, last_line};
pub use proxy::{ProxyError, ProxyHeader, ProxySource, decode_proxy};
pub use status::Status;
pub use tlv::{TlvError, TlvWriter, Tlvs};
