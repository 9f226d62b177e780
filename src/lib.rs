//! tidegate: a low-latency TCP message server, as a library.
pub mod base;
pub mod buffer;
pub mod metrics;
pub mod service;
pub mod session;
pub mod turn;
pub mod wire;
