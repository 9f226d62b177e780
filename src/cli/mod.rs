//! The command line: the only place that parses arguments, prints, and exits.
//!
//! Always holds: a mistake gets one line that says what to do, and an exit code that says what kind it was.
//! Never: anything that a library user would miss.

mod admin;
mod banner;
pub mod bench;
mod check;
mod colours;
mod conform;
mod doctor;
mod floor;
mod hold;
mod host;
mod logs;
mod reload;
mod send;
mod serve;
mod shell;
mod sources;
mod successor;
mod systemd;
mod tls;
mod token;
mod top;
mod trace;
mod upgrade;
mod users;

use crate::control::AdminError;
use crate::upgrade::UpgradeError;
use crate::wire::Header;
use anyhow::{anyhow, bail};
use clap::error::ErrorKind;
use clap::{ColorChoice, CommandFactory, FromArgMatches, Parser, Subcommand};
use std::process::ExitCode;
use std::time::Duration;

/// A low-latency TCP message server.
#[derive(Debug, Parser)]
#[command(name = "tidegate", version, about, max_term_width = 100, after_help = AFTER_HELP)]
struct Args {
    #[command(subcommand)]
    command: Command,
}

const AFTER_HELP: &str = "\
Example: tidegate serve, then in another terminal:
  tidegate send 127.0.0.1:7411 hello";

const AFTER_SERVE: &str = "\
Example: tidegate serve --frames 0.0.0.0:7411 --route 16-23=flip
  tidegate serve --config tidegate.toml
Exit code: 0 drained without loss, 1 with losses, 2 asked for in a wrong way,
  69 no such address to be had, 70 a bug, 77 no permission, 78 the host's trouble,
  130 aborted by a second signal";

const AFTER_CHECK: &str = "\
Example: tidegate check --print-default > tidegate.toml
  tidegate check tidegate.toml
Exit code: 0 it is right, 2 it is not";

const AFTER_RELOAD: &str = "\
Example: tidegate reload --dry-run --token-file /etc/tidegate/token
  tidegate reload --admin 127.0.0.1:7413
Exit code: 0 it was taken, or there was nothing to change, 2 it was refused, or could not be asked";
const AFTER_UPGRADE: &str = "\
Example: tidegate upgrade --config /etc/tidegate/tidegate.toml --rehearse
  tidegate upgrade --at /run/tidegate/upgrade.sock
Exit code: 0 the next process serves, or would, 2 asked for in a wrong way,
  69 no such server, or it refused and goes on, 75 no answer in time";

const AFTER_CONFORM: &str = "\
Example: tidegate conform 127.0.0.1:7411 --lines 127.0.0.1:7412
Exit code: 0 all cases are as they must be, 1 some are not, 2 could not be asked";

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the server: frames on 7411, text lines on 7412, routes ack, echo, discard, flip
    #[command(after_help = AFTER_SERVE)]
    Serve(serve::Options),
    /// Say whether a configuration is right, or everything that is wrong with it
    #[command(after_help = AFTER_CHECK)]
    Check(check::Options),
    /// Say how many connections this host will really carry, what limits it first, and what raises that
    #[command(after_help = doctor::AFTER)]
    Doctor(doctor::Options),
    /// Have a running server read its configuration anew
    #[command(after_help = AFTER_RELOAD)]
    Reload(reload::Options),
    /// Restart a running server without refusing one connection: the next process gets its sockets
    #[command(after_help = AFTER_UPGRADE)]
    Upgrade(upgrade::Options),
    /// Load a server, check every reply, and tell what it can do
    Bench(Box<bench::Options>),
    /// Send a request from the shell, and print its reply
    Send(send::Options),
    /// Ask a server whether it speaks the protocol: golden vectors, negatives, sessions
    #[command(after_help = AFTER_CONFORM)]
    Conform(conform::Options),
    /// Make a token for a user, and print what to write into the configuration
    #[command(after_help = token::AFTER)]
    Token(token::Options),
    /// Echo bytes, as the floor that a benchmark compares with
    #[command(hide = true)]
    Floor(floor::Options),
    /// Hold idle connections for a benchmark that has not descriptors enough
    #[command(hide = true)]
    Hold,
    /// Show a running server live in the terminal: loops, limits, closes, and who sends most
    #[command(after_help = top::AFTER)]
    Top(top::Options),
    /// Print what makes a shell complete the words of this command line
    Completions(shell::Completions),
    /// Print the manual page, of a command or of all
    Man(shell::Man),
}

/// Runs the command line and gives the process's exit code.
pub fn run() -> ExitCode {
    let colour =
        if colours::are_wanted(&std::io::stdout()) { ColorChoice::Always } else { ColorChoice::Never };
    let command = in_full(Args::command().color(colour));
    let args = match command.try_get_matches().and_then(|found| Args::from_arg_matches(&found)) {
        Ok(args) => args,
        Err(error) => return misused(&error),
    };
    let ended = match args.command {
        Command::Serve(options) => serve::run(&options),
        Command::Check(options) => check::run(&options),
        Command::Doctor(options) => doctor::run(&options),
        Command::Reload(options) => reload::run(&options),
        Command::Upgrade(options) => upgrade::run(&options),
        Command::Bench(options) => bench::run(&options),
        Command::Send(options) => send::run(&options),
        Command::Conform(options) => conform::run(&options),
        Command::Token(options) => token::run(&options),
        Command::Top(options) => top::run(&options),
        Command::Floor(options) => floor::run(&options),
        Command::Hold => hold::run(),
        Command::Completions(options) => shell::completions(&options, &Args::command()),
        Command::Man(options) => shell::man(&options, Args::command()),
    };
    match ended {
        Ok(code) => code,
        Err(error) => {
            complain(&error);
            let of_server = error.downcast_ref::<crate::server::Error>().map(crate::server::Error::exit_code);
            let of_admin = || error.downcast_ref::<AdminError>().map(AdminError::exit_code);
            let of_upgrade = || error.downcast_ref::<UpgradeError>().map(UpgradeError::exit_code);
            ExitCode::from(of_server.or_else(of_admin).or_else(of_upgrade).unwrap_or(2))
        }
    }
}

/// The flags of bench don't fit a screen: `-h` shows some, `--help` all, as compactly as that of the other commands.
fn in_full(command: clap::Command) -> clap::Command {
    if !std::env::args().any(|word| word == "--help" || word == "help") {
        return command;
    }
    let shown =
        |bench: clap::Command| bench.after_help(bench::AFTER_ALL).mut_args(|arg| arg.hide_short_help(false));
    command.mut_subcommand("bench", shown)
}

/// Help and version as they are; a mistake in one line.
fn misused(error: &clap::Error) -> ExitCode {
    let asked = [
        ErrorKind::DisplayHelp,
        ErrorKind::DisplayVersion,
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand,
    ];
    if asked.contains(&error.kind()) {
        error.exit();
    }
    complain(&anyhow!("{}", in_one_line(&error.render().to_string())));
    ExitCode::from(2)
}

/// What is wrong and the tips, without the usage that stands behind them.
fn in_one_line(told: &str) -> String {
    let lines = told.lines().map(str::trim).filter(|line| !line.is_empty());
    let mut said = String::new();
    for line in lines.take_while(|line| !line.starts_with("Usage:") && !line.starts_with("For more ")) {
        let line = line.trim_start_matches("error: ");
        let gap = match line.strip_prefix("tip: ") {
            _ if said.is_empty() => "",
            Some(_) => "; ",
            None => " ",
        };
        said.extend([gap, line.trim_start_matches("tip: ")]);
    }
    said
}

/// A route of a flag, as a configuration writes it: decimal, or hex behind `0x`.
fn route(text: &str) -> Result<u16, String> {
    let number = match text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        Some(digits) => u16::from_str_radix(digits, 16),
        None => text.parse(),
    };
    match number {
        Ok(route) if route <= Header::ROUTE_MAX => Ok(route),
        Ok(_) | Err(_) => Err(format!("routes are 0 to {}, or 0x0 to {0:#x}", Header::ROUTE_MAX)),
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
