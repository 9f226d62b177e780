//! `fanout ADDR`: the fan-out of the project's tests as a server with one loop, so that its deliveries can be measured:
//! whoever says HELLO gets whatever anybody sends to any route. The binary `tidegate` has no such service yet.
//!
//! Serves until it is killed. Limits are the library's defaults.

#[path = "../../../tests/services/fan_out.rs"]
#[allow(unreachable_pub, reason = "a file to be copied")]
mod service;

use std::process::ExitCode;

use tidegate::Server;
use tidegate::server::Listener;

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [address] = &words[..] else {
        eprintln!("usage: fanout ADDR");
        return ExitCode::FAILURE;
    };
    match serve(address) {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("fanout: {why}");
            ExitCode::FAILURE
        }
    }
}

fn serve(address: &str) -> tidegate::Result<()> {
    let builder = Server::builder().listen(Listener::frames(address))?.shards(1);
    builder.start(service::FanOut::default)?.join().map(drop)
}
