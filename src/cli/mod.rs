//! The command line: the only place that parses arguments, prints, and exits.
//!
//! Always holds: a mistake gets one line that says what to do, and an exit code that says what kind it was.
//! Never: anything that a library user would miss.

mod banner;
mod check;
mod conform;
mod host;
mod logs;
mod serve;
mod sources;

use anyhow::bail;
use clap::{Parser, Subcommand};
use std::process::ExitCode;
use std::time::Duration;

/// A low-latency TCP message server.
#[derive(Debug, Parser)]
#[command(name = "tidegate", version, about, max_term_width = 100, after_help = AFTER_HELP)]
struct Args {
    #[command(subcommand)]
    command: Command,
}

const AFTER_HELP: &str = "Example: tidegate serve, then in another terminal:
  bash -c 'exec 3<>/dev/tcp/127.0.0.1/7412; printf \"hello\\n\" >&3; head -1 <&3'";

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the server: frames on 7411, text lines on 7412, routes ack, echo, discard, flip
    Serve(serve::Options),
    /// Say whether a configuration is right, or everything that is wrong with it
    Check(check::Options),
    /// Ask a server whether it speaks the protocol: golden vectors, negatives, sessions
    Conform(conform::Options),
}

/// Runs the command line and gives the process's exit code.
pub fn run() -> ExitCode {
    let args = Args::parse();
    let ended = match args.command {
        Command::Serve(options) => serve::run(&options),
        Command::Check(options) => check::run(&options),
        Command::Conform(options) => conform::run(&options),
    };
    match ended {
        Ok(code) => code,
        Err(error) => {
            complain(&error);
            let code =
                error.downcast_ref::<crate::server::Error>().map_or(2, crate::server::Error::exit_code);
            ExitCode::from(code)
        }
    }
}

fn seconds(flag: &str, given: f64) -> anyhow::Result<Duration> {
    match Duration::try_from_secs_f64(given) {
        Ok(duration) => Ok(duration),
        Err(_) => bail!("{flag} is {given}; give it a number of seconds, such as 30 or 0.5"),
    }
}

#[expect(clippy::print_stderr, reason = "this is where errors reach people")]
fn complain(error: &anyhow::Error) {
    // Not the chain: our errors have their cause in their own line.
    eprintln!("tidegate: {error}");
}
