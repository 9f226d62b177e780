//! `tidegate reload`: asks a running server, by its admin port, to read its configuration anew.

use super::super::admin;
use super::super::sources::{configuration, count_line, tell};
use crate::base::limits::ADMIN_ANSWER_WITHIN;
use crate::config::{Changes, Flag};
use anyhow::{anyhow, bail};
use clap::Args;
use std::io::{Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::process::ExitCode;
use std::time::Duration;

/// How long connecting may take.
const CONNECT_WITHIN: Duration = Duration::from_secs(5);

/// What is waited for beyond the time that the port gives its answers.
const SPARE: Duration = Duration::from_secs(5);

/// The longest answer that is read: every value of every listener and route may have changed.
const ANSWER_BYTES_MAX: u64 = 16 << 20;

#[derive(Debug, Args)]
pub(in crate::cli) struct Options {
    /// The server's admin port [default: 127.0.0.1:7413]
    #[arg(long, value_name = "ADDRESS")]
    admin: Option<String>,
    /// A file that holds the port's token [default: what TIDEGATE_ADMIN__TOKEN or _TOKEN_FILE say]
    #[arg(long, value_name = "FILE")]
    token_file: Option<String>,
    /// Say what would change, and change nothing
    #[arg(long)]
    dry_run: bool,
}

pub(in crate::cli) fn run(options: &Options) -> anyhow::Result<ExitCode> {
    let flag = |name: &str, key, value: &String| Flag {
        flag: format!("--{name} {value}"),
        changes: Changes::Key("admin", key),
        value: value.clone(),
    };
    let mut flags = Vec::new();
    flags.extend(options.admin.iter().map(|address| flag("admin", "address", address)));
    flags.extend(options.token_file.iter().map(|file| flag("token-file", "token_file", file)));
    let config = match configuration(None, flags)? {
        Ok((loaded, _)) => loaded.config,
        Err(mistakes) => {
            tell(&format!("\n{}", count_line(mistakes)));
            return Ok(ExitCode::from(2));
        }
    };
    let Some(port) = config.admin else { bail!("the admin port is off; name it with --admin ADDRESS") };
    let Some(token) = admin::token(&port)? else {
        bail!(
            "a reload wants the admin port's token; give it in a file with --token-file, or set TIDEGATE_ADMIN__TOKEN"
        );
    };
    let query = if options.dry_run { "?dry_run=true" } else { "" };
    let (status, body) = ask(&port.address, query, &token)?;
    if status == 200 {
        let mut out = std::io::stdout().lock();
        // A closed standard output is no reason to say that it failed.
        let _ = out.write_all(body.as_bytes());
        return Ok(ExitCode::SUCCESS);
    }
    tell(&body);
    Ok(ExitCode::from(2))
}

/// The answer's status and text.
fn ask(address: &str, query: &str, token: &str) -> anyhow::Result<(u16, String)> {
    let failed = |error: std::io::Error| anyhow!("the admin port {address} does not answer: {error}");
    let at = address.to_socket_addrs().map_err(failed)?.next();
    let at = at.ok_or_else(|| anyhow!("{address} is nowhere"))?;
    let mut stream = TcpStream::connect_timeout(&at, CONNECT_WITHIN).map_err(failed)?;
    let within = Some(ADMIN_ANSWER_WITHIN + SPARE);
    stream.set_read_timeout(within).and_then(|()| stream.set_write_timeout(within)).map_err(failed)?;
    let request = format!(
        "POST /reload{query} HTTP/1.1\r\nHost: {at}\r\nAuthorization: Bearer {token}\r\nContent-Length: 0\r\nConnection: \
         close\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).map_err(failed)?;
    let mut answer = String::new();
    stream.take(ANSWER_BYTES_MAX).read_to_string(&mut answer).map_err(failed)?;
    let none = || anyhow!("what is at {address} is no admin port");
    let (head, body) = answer.split_once("\r\n\r\n").ok_or_else(none)?;
    let status =
        head.strip_prefix("HTTP/1.1 ").and_then(|rest| rest.get(..3)?.parse().ok()).ok_or_else(none)?;
    Ok((status, body.to_owned()))
}
