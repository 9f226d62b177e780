//! What the fuzz targets share: a way to cut a script out of bytes, a naive model of the protocol, a small world.
//!
//! ```text
//!   Cut       bytes of the fuzzer -> numbers and byte strings, never an error
//!   model     the protocol again, by hand and slowly: what a stream means
//!   owed      what is due for it, and whether some output is that
//!   promises  the same where the service answers when it likes
//!   naive     extension blocks, greetings and control frames again, one byte after the other
//!   world     an Io whose peers do what a script says
//! ```
//!
//! Always holds: the same bytes make the same run, so a crashing input is a whole bug report.
//! Never: the server's own parsing in a model; only its CRC is used, which its own tests compare with the definition.

mod cut;
pub mod model;
pub mod naive;
pub mod owed;
pub mod promises;
pub mod world;

pub use cut::Cut;
