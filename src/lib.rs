//! tidegate: a low-latency TCP message server, as a library.
pub mod base;
pub mod wire;
