//! The control thread: the admin port, and whatever else watches a running server from beside it.
//!
//! ```text
//!   loops --figures, read without a lock--> [ one thread: HTTP on the admin port ] --letters--> loops
//!
//!   serve -- accepts, bounds --> guard -- who may ask --> api -- what is answered; live -- what goes on being told
//! ```
//!
//! This is the only place with tokio. The thread runs at a lower priority than the loops where the system lets it.
//!
//! Always holds: killing, stalling or flooding it disturbs no connection; what it asks of a loop goes through that loop's
//! bounded mailbox. Never: a lock that a loop could wait on, or a byte of a message.

mod admin;
mod api;
pub mod conditions;
mod guard;
mod live;
mod metrics;
mod places;
mod profile;
mod serve;
mod settings;
mod trace;
mod watchdog;

pub use admin::{Admin, AdminError, Bounds, Control, LogFilter};
pub use api::{Reload, ReloadReport, ReloadedValue};
pub use settings::{AdminChange, Settings};
pub use trace::{Sending, Traces, TracesError};
