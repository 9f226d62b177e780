//! What the programs of this package share: argument parsing, frames, sockets, loops, process accounting.
//!
//! The package holds no code of the server it is compared with, so that a fault in one can't hide in the other.

pub mod args;
pub mod frame;
pub mod net;
pub mod procfs;
pub mod serve;
