//! `tidegate send`: requests from the shell, one or many, and what came of them.
//!
//! Replies go to standard output, everything that is said about them to standard error, so that a reply can be piped.
//!
//! Always holds: the exit code is 0 if every reply was OK, 1 if one was not or did not come, 2 if nothing could be
//! sent because of how it was asked for. Never: a request sent twice; whoever wants that calls again.

mod ask;
mod many;
mod payload;
pub(super) mod print;

use super::{complain, seconds, token};
use crate::base::limits::{CLIENT_OPEN_MAX, DEADLINE_MS_MAX, PAYLOAD_BYTES_MAX};
use crate::client::{self, Error, Identity, Reply, Request};
use crate::wire::Trace;
use anyhow::{anyhow, bail};
use ask::Asked;
use clap::Args;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// The most that `--count` may be: each time is kept, 8 bytes.
const COUNT_MAX: u32 = 10_000_000;

const EXAMPLES: &str = "\
Examples:
  tidegate send 127.0.0.1:7411 hello            text on route 1, which echoes
  tidegate send 127.0.0.1:7411 --hex 00ff       two bytes
  tidegate send 127.0.0.1:7412 --lines hello    a line of text
  tidegate send 127.0.0.1:7411 --count 1000 --pipeline 16 hello
Exit code: 0 replied OK, 1 a failure or no reply, 2 asked for in a wrong way";

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Options {
    /// Where the server listens: HOST:PORT or unix:PATH
    address: String,
    /// The text to send [default: what standard input gives]
    payload: Vec<String>,
    /// Which route it goes to, 0 to 16383
    #[arg(long, value_name = "ROUTE", default_value_t = 1, value_parser = super::route)]
    route: u16,
    /// The payload is given in hex, such as 00ff
    #[arg(long)]
    hex: bool,
    /// Send the bytes of this file
    #[arg(long, value_name = "PATH", conflicts_with = "payload")]
    file: Option<PathBuf>,
    /// A number that the reply must carry
    #[arg(long, value_name = "NUMBER")]
    correlation: Option<u64>,
    /// How long the server may take
    #[arg(long, value_name = "SECONDS", allow_negative_numbers = true)]
    deadline: Option<f64>,
    /// No reply is wanted, or the route never replies
    #[arg(long)]
    one_way: bool,
    /// Begin a sampled trace, and say its id
    #[arg(long, conflicts_with = "count")]
    trace: bool,
    /// Say HELLO first, with this token; it may be empty
    #[arg(long, value_name = "TEXT")]
    token: Option<String>,
    /// Say HELLO first, with the token in this file [default: $TIDEGATE_TOKEN, if set]
    #[arg(long, value_name = "PATH", conflicts_with = "token")]
    token_file: Option<PathBuf>,
    /// The payload is a line, for a listener for lines
    #[arg(long, conflicts_with_all = ["route", "correlation", "deadline", "one_way", "trace", "token", "token_file"])]
    lines: bool,
    /// Send it so often, and print a summary
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u32).range(1..=i64::from(COUNT_MAX)))]
    count: Option<u32>,
    /// How many may be on their way at once
    #[arg(long, value_name = "DEPTH", default_value_t = 1, requires = "count",
        value_parser = clap::value_parser!(u32).range(1..=CLIENT_OPEN_MAX as i64))]
    pipeline: u32,
    /// How long to wait for a connection or a reply
    #[arg(long, value_name = "SECONDS", default_value_t = 5.0, allow_negative_numbers = true)]
    timeout: f64,
    #[command(flatten)]
    tls: super::tls::Tls,
    /// Write the reply's bytes as they are
    #[arg(long)]
    raw: bool,
    /// Print the reply alone, no status and no time
    #[arg(long)]
    quiet: bool,
}

pub(super) fn run(options: &Options) -> anyhow::Result<ExitCode> {
    let payload = payload::read(options)?;
    let trace = if options.trace { Some(new_trace()?) } else { None };
    let request = request(options, &payload, trace)?;
    let settings = settings(options)?;
    let sent = Asked::connect(options, settings).and_then(|asked| match options.count {
        Some(count) => many::run(asked, &request, count, options),
        None => one(asked, &request, options, trace),
    });
    match sent {
        Ok(code) => Ok(code),
        Err(error) if error.is_misuse() => bail!("{error}"),
        Err(error) => {
            complain(&explained(&error, options));
            Ok(ExitCode::FAILURE)
        }
    }
}

fn one(
    mut asked: Asked,
    request: &Request<'_>,
    options: &Options,
    trace: Option<Trace>,
) -> Result<ExitCode, Error> {
    let traced =
        trace.map_or_else(String::new, |trace| format!("; trace {:032x}", u128::from_be_bytes(trace.id)));
    let begun = Instant::now();
    asked.send(request)?;
    if options.one_way {
        asked.confirm()?;
        print::about(options, format_args!("sent; no reply was asked for{traced}"));
        return Ok(ExitCode::SUCCESS);
    }
    let reply = asked.receive()?;
    let taken = begun.elapsed();
    let is_printed = print::reply(&reply, options.raw);
    print::about(options, format_args!("{}{traced}", outcome(&reply, taken)));
    if let Err(error) = is_printed {
        complain(&anyhow!("cannot write the reply: {error}"));
        return Ok(ExitCode::FAILURE);
    }
    Ok(if reply.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Status, size or text, and time, in a line.
fn outcome(reply: &Reply, taken: Duration) -> String {
    let (status, time, bytes) = (reply.status, print::time(taken), reply.body.len());
    let correlation = reply.correlation.map_or_else(String::new, |id| format!(", correlation {id}"));
    if reply.is_ok() {
        return format!("{status}{correlation}, {bytes} byte{} in {time}", if bytes == 1 { "" } else { "s" });
    }
    let text = print::one_line(&reply.text());
    let colon = if text.is_empty() { "" } else { ": " };
    let again = reply.retry_after_ms.map_or_else(String::new, |ms| format!("; try again after {ms} ms"));
    format!("{status}{correlation}{colon}{text} (in {time}){again}")
}

/// A trace that begins here, with ids of the system's chance.
fn new_trace() -> anyhow::Result<Trace> {
    let mut trace = Trace { id: [0; 16], parent: [0; 8], flags: Trace::SAMPLED };
    while !trace.is_valid() {
        getrandom::fill(&mut trace.id)
            .and_then(|()| getrandom::fill(&mut trace.parent))
            .map_err(|error| anyhow!("the system gives no random bytes: {error}"))?;
    }
    Ok(trace)
}

fn request<'a>(options: &Options, payload: &'a [u8], trace: Option<Trace>) -> anyhow::Result<Request<'a>> {
    let mut request = Request::new(options.route, payload);
    if let Some(trace) = trace {
        request = request.trace(trace);
    }
    if let Some(id) = options.correlation {
        request = request.correlation(id);
    }
    if let Some(deadline) = options.deadline {
        let ms = seconds("--deadline", deadline)?.as_millis();
        match u32::try_from(ms) {
            Ok(ms) if ms <= DEADLINE_MS_MAX => request = request.deadline_ms(ms),
            _ => bail!("--deadline is {deadline}; give it at most {} seconds", DEADLINE_MS_MAX / 1000),
        }
    }
    if options.one_way {
        request = request.one_way();
    }
    Ok(request)
}

fn settings(options: &Options) -> anyhow::Result<client::Options> {
    let timeout = seconds("--timeout", options.timeout)?;
    let most = u128::from(DEADLINE_MS_MAX);
    if !(1..=most).contains(&timeout.as_millis()) {
        bail!("--timeout is {}; give it 0.001 to {} seconds", options.timeout, DEADLINE_MS_MAX / 1000);
    }
    let token = match options.lines {
        true => None,
        false => token::given(options.token.as_deref(), options.token_file.as_deref())?,
    };
    let identity = |token| Identity { client_id: String::new(), token };
    Ok(client::Options {
        connect_timeout: timeout,
        read_timeout: timeout,
        write_timeout: timeout,
        reply_bytes_max: PAYLOAD_BYTES_MAX,
        identity: token.map(identity),
        tls: options.tls.connector()?,
        ..client::Options::default()
    })
}

/// The error, and what may help.
fn explained(error: &Error, options: &Options) -> anyhow::Error {
    let is_silence = matches!(error, Error::Timeout { waited_for: "reply", .. });
    let hint = if matches!(error, Error::Connect { .. }) {
        "; is the server running? try: tidegate serve"
    } else if options.lines && (is_silence || matches!(error, Error::Cut { .. })) {
        "; if this is a listener for frames, leave --lines out"
    } else if is_silence {
        "; a route that never replies wants --one-way, a listener for lines --lines"
    } else if matches!(error, Error::SpeaksTls) {
        "; try --tls"
    } else if matches!(error, Error::Frame(_)) {
        "; is this a listener of tidegate for frames?"
    } else {
        ""
    };
    anyhow!("{error}{hint}")
}
