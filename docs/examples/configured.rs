//! A service of one's own beside the built-in ones, set up by a file and the environment as `tidegate serve` is.
//!
//! ```text
//! tidegate check --print-default > my.toml
//! cargo run --example configured -- my.toml
//! tidegate send 127.0.0.1:7411 --route 16 hello
//! ```
//!
//! Always holds: whatever is wrong with the file and the environment is told at once, before anything listens.

use std::num::NonZero;
use std::process::ExitCode;
use tidegate::config::{Config, File, Host, PREFIX, Sources, load};
use tidegate::{Cx, Frame, Peer, Replied, Reply, Router, Service};

/// Its own route; all others are those of the configuration.
pub(crate) const REVERSE: u16 = 16;

#[expect(clippy::print_stderr, reason = "this is where mistakes reach people")]
fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(told) => {
            eprintln!("{told}");
            ExitCode::from(2)
        }
    }
}

fn run() -> Result<(), String> {
    let path = std::env::args().nth(1).ok_or("give it the path of a configuration file")?;
    let text = std::fs::read_to_string(&path).map_err(|error| format!("{path}: {error}"))?;
    let (config, host) = configuration(path, text)?;
    serve(&config, &host)
}

/// The configuration, or all that is wrong with it.
pub(crate) fn configuration(name: String, text: String) -> Result<(Config, Host), String> {
    let variables = std::env::vars().filter(|(name, _)| name.starts_with(PREFIX)).collect();
    let sources = Sources { file: Some(File { name, text }), variables, flags: Vec::new() };
    let host = Host {
        processors: std::thread::available_parallelism().map_or(1, NonZero::get),
        descriptors: 1024, // what `ulimit -n` says: so many connections, and some fewer
        memory_bytes: None,
        backlog_max: None,
    };
    match load(sources, &host) {
        Ok(loaded) => Ok((loaded.config, host)),
        Err(mistakes) => Err(mistakes.render(false)),
    }
}

fn serve(config: &Config, host: &Host) -> Result<(), String> {
    let others = config.router();
    let builder = config.builder(host).map_err(|error| error.to_string())?;
    builder.serve(move || Reverser { others: others.clone() }).map_err(|error| error.to_string())
}

/// Replies with the payload backwards; what is not its own goes to the configuration's routes.
pub(crate) struct Reverser {
    pub(crate) others: Router,
}

impl Service for Reverser {
    type Conn = ();

    fn on_open(&mut self, _peer: &Peer, _cx: &mut Cx<'_>) {}

    fn is_one_way(&self, route: u16) -> bool {
        self.others.is_one_way(route)
    }

    fn on_frame(&mut self, _conn: &mut (), frame: Frame<'_>, reply: Reply<'_>, cx: &mut Cx<'_>) -> Replied {
        if frame.route() != REVERSE {
            return self.others.on_frame(&mut (), frame, reply, cx);
        }
        let reversed: Vec<u8> = frame.payload().iter().rev().copied().collect();
        reply.send(&reversed)
    }
}
