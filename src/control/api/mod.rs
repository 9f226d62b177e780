//! What the admin port answers: one file for each group of paths.
//!
//! A path is there when it stands in [`PATHS`] and one of the groups routes it: a `paths() -> Router<Arc<Context>>`,
//! merged into [`router`]. The row names its methods, and that is all there is to mark: whatever is not GET or HEAD
//! changes something, and the guard lets it through with the token alone. Who asked is in the request's extensions
//! ([`Asker`]); to say no, answer with a [`Refusal`].
//!
//! Always holds: an answer is made from copies of figures, or by asking a loop through its mailbox. Never: a change of
//! anything by GET, or an answer that waits for a loop without a bound.

mod act;
mod connections;
mod health;
mod live;
mod look;
mod metrics;
mod page;
mod profile;
mod query;
mod refusal;
mod reload;

pub(super) use connections::{Talkers, talkers};
pub(super) use profile::{PROFILE, is_off as profile_is_off};
pub(super) use refusal::Refusal;
pub use reload::{Reload, ReloadReport, ReloadedValue};

use super::admin::{Bounds, LogFilter, OwnPath};
use super::guard;
use super::live::Feed;
use super::metrics::Exporter;
use super::settings::Settings;
use crate::base::limits::ADMIN_BODY_BYTES_MAX;
use crate::server::Handle;
use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::routing::get;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::sync::watch;

/// A path, for the list of them, for who asks in another way, and for the guard.
#[derive(Debug)]
pub(super) struct Path {
    /// As it is routed.
    pub(super) path: &'static str,
    /// The methods it takes, as a header says it.
    pub(super) allow: &'static str,
    /// What it is for, in a line.
    pub(super) about: &'static str,
}

/// Changes nothing.
const READ: &str = "GET, HEAD";
/// Changes something: wants the token.
const CHANGE: &str = "POST";
/// Changes nothing, but costs so much that it wants the token, too.
pub(super) const COSTLY: &str = "GET";
/// Shows and changes.
const BOTH: &str = "GET, HEAD, POST";

/// All paths, in the order in which they are shown.
#[rustfmt::skip]
pub(super) const PATHS: &[Path] = &[
    Path { path: "/",                       allow: READ,   about: "the dashboard, for a browser; else this list" },
    Path { path: "/page/{part}",            allow: READ,   about: "what the dashboard is made of" },
    Path { path: "/live",                   allow: READ,   about: "how the server is, once a second, as events; ?once as JSON" },
    Path { path: "/live/past",              allow: READ,   about: "what the last five minutes were like, as JSON" },
    Path { path: "/healthz",                allow: READ,   about: "whether every event loop answers; ?within_ms=1000" },
    Path { path: "/readyz",                 allow: READ,   about: "whether newcomers are taken; ?verbose says more" },
    Path { path: "/metrics",                allow: READ,   about: "all figures, for Prometheus and its like" },
    Path { path: "/connections",            allow: READ,   about: "those that are open; ?by=bytes|queued|age &limit &state &listener" },
    Path { path: "/connections/{id}",       allow: READ,   about: "one of them, and what happened to it" },
    Path { path: "/connections/{id}/close", allow: CHANGE, about: "ends it in order; the body is its last words" },
    Path { path: "/closed",                 allow: READ,   about: "those that ended last, and why; ?reason &limit &id" },
    Path { path: "/config",                 allow: READ,   about: "the configuration in effect, its secrets hidden" },
    Path { path: "/debug/pprof",            allow: READ,   about: "CPU profiles: how to have one made, and to look at it" },
    Path { path: profile::PROFILE,          allow: COSTLY, about: "makes one, for the token; ?seconds=30 &hz=99 &format=pprof|flamegraph|collapsed" },
    Path { path: "/log",                    allow: BOTH,   about: "what is logged; POST a filter such as debug to change it" },
    Path { path: "/reload",                 allow: CHANGE, about: "reads the configuration anew; ?dry_run=true &json" },
    Path { path: "/drain",                  allow: CHANGE, about: "ends the server in order; ?grace=30s" },
];

/// What every answer may use.
#[derive(Debug)]
pub(super) struct Context {
    pub(super) handle: Handle,
    pub(super) settings: Settings,
    pub(super) bounds: Bounds,
    pub(super) log: Option<Arc<dyn LogFilter>>,
    pub(super) reload: Option<Arc<dyn Reload>>,
    /// Paths of the caller's own.
    pub(super) own: Vec<OwnPath>,
    pub(super) knocks: health::Knocks,
    pub(super) drains: act::Drains,
    pub(super) reloads: reload::Reloads,
    pub(super) asks: connections::Asks,
    pub(super) profiles: profile::Profiles,
    /// Told when the port ends.
    pub(super) end: Arc<watch::Sender<bool>>,
    pub(super) exporter: Exporter,
    pub(super) feed: Feed,
}

/// Who asked.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asker(pub(super) SocketAddr);

/// All paths, behind the guard.
pub(super) fn router(context: Arc<Context>) -> Router {
    let mut router = Router::new()
        .merge(look::paths())
        .merge(page::paths())
        .merge(live::paths())
        .merge(health::paths())
        .merge(act::paths())
        .merge(reload::paths())
        .merge(metrics::paths())
        .merge(connections::paths())
        .merge(profile::paths())
        .fallback(look::nowhere);
    for own in &context.own {
        let answer = Arc::clone(&own.answer);
        router = router.route(own.path, get(move || async move { answer() }));
    }
    router
        .layer(DefaultBodyLimit::max(ADMIN_BODY_BYTES_MAX))
        .layer(axum::middleware::from_fn_with_state(Arc::clone(&context), guard::answer))
        .with_state(context)
}
