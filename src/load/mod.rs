//! The load generator: requests at a rate or as fast as they are answered, every reply checked, every time measured
//! from when the request was due.
//!
//! Always holds: what could not be sent or was not answered is in the figures; whether the generator itself was the
//! limit is part of the result. Never: server code above the codec, the buffers and the sockets, so that a fault of
//! the server can't hide in the generator.

pub mod compare;
pub mod file;
pub mod histogram;
pub mod log;
pub mod page;
pub mod progress;
pub mod report;
pub mod words;
