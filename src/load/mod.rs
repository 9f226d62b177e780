//! The load generator: requests at a rate or as fast as they are answered, every reply checked, every time measured
//! from when the request was due.
//!
//! Always holds: what could not be sent or was not answered is in the figures; whether the generator itself was the
//! limit is part of the result. Never: server code above the codec, the buffers and the sockets, so that a fault of
//! the server can't hide in the generator.

pub mod child;
pub mod compare;
pub mod condition;
pub mod confidence;
pub mod crew;
pub mod descriptors;
pub mod file;
pub mod floor;
pub mod hello;
pub mod histogram;
pub mod holders;
pub mod host;
pub mod hunt;
pub mod link;
pub mod log;
pub mod measure;
pub mod pace;
pub mod page;
pub mod plan;
pub mod profile;
pub mod progress;
pub mod record;
pub mod report;
pub mod rounds;
pub mod schedule;
pub mod search;
pub mod size;
pub mod sources;
pub mod talk;
pub mod template;
mod timer;
pub mod units;
pub mod verdict;
pub mod watch;
pub mod window;
pub mod words;
pub mod worker;
