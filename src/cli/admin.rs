//! The admin port as the configuration wants it: its token, its address, and what is said about both.
//!
//! Always holds: a token is in no line that is printed or logged. Never: a port that was asked for and is not there.

use super::logs;
use crate::base::limits::ADMIN_TOKEN_BYTES;
use crate::config::{AdminPort, Loaded};
use crate::control::{Admin, AdminError};
use crate::net::{Endpoint, Inherited};
use crate::server::Error;
use anyhow::{anyhow, bail};
use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::sync::Arc;

/// What its socket is called where sockets are passed on.
pub(super) const PROTOCOL: &str = "admin";

/// The port, if there is to be one: bound, or with the socket that was passed for it. In a rehearsal it is not bound.
pub(super) fn bind(
    loaded: &Loaded,
    token: Option<String>,
    log: Arc<logs::Filter>,
    inherited: &mut Inherited,
    rehearses: bool,
) -> anyhow::Result<Option<Admin>> {
    let Some(port) = &loaded.config.admin else { return Ok(None) };
    let mut admin = match inherited.take_port(PROTOCOL, &port.address) {
        Some(passed) => Admin::over(passed.into_fd()).map_err(Error::Host)?,
        None if rehearses => return Ok(None),
        None => Admin::bind(&port.address).map_err(|error| in_words(error, loaded.config.share_port))?,
    };
    if let Some(token) = token {
        admin = admin.token(token)?;
    }
    let admin = admin.hosts(port.hosts.iter().cloned())?;
    let admin = admin.config(loaded.effective_text()).grace(loaded.config.grace).profile(port.profile);
    Ok(Some(admin.log(log)))
}

/// What can be had, but should not be left so: one line each.
pub(super) fn warnings(port: &AdminPort) -> Vec<String> {
    let mut warnings = Vec::new();
    let address = Endpoint::parse(&port.address).ok().and_then(|endpoint| endpoint.ip());
    if address.is_some_and(|address| !address.ip().is_loopback()) {
        warnings.push(format!(
            "the admin port is on {}, which is not loopback: whoever reaches it can read figures and the addresses of \
             peers",
            port.address
        ));
    }
    if let Some(path) = &port.token_file
        && is_open_to_all(path)
    {
        warnings.push(format!(
            "{} can be read by every user of this host; take that away: chmod 600 {0}",
            path.display()
        ));
    }
    warnings
}

/// The token, from the configuration or its file.
///
/// # Errors
///
/// One line, without a byte of it.
pub(super) fn token(port: &AdminPort) -> anyhow::Result<Option<String>> {
    let Some(path) = &port.token_file else {
        return Ok(port.token.as_ref().map(|token| token.reveal().to_owned()));
    };
    let name = path.display();
    let (least, most) = ADMIN_TOKEN_BYTES;
    let text = read(path, most).map_err(|error| {
        anyhow!("the token file {name} cannot be read: {error}; make it, or take token_file out of [admin]")
    })?;
    let token = text.strip_suffix("\n").unwrap_or(&text);
    let token = token.strip_suffix("\r").unwrap_or(token);
    match token.len() {
        got if got < least => {
            bail!("the token file {name} holds {got} bytes, but a token has at least {least}")
        }
        got if got > most => bail!("the token file {name} holds more than {most} bytes, the most of a token"),
        _ if !token.bytes().all(|byte| byte.is_ascii_graphic()) => {
            bail!("the token file {name} holds more than a token: characters that are not visible ASCII")
        }
        _ => Ok(Some(token.to_owned())),
    }
}

fn read(path: &Path, most: usize) -> std::io::Result<String> {
    let mut text = String::new();
    // Its end, and one that is too much.
    File::open(path)?.take(most as u64 + 3).read_to_string(&mut text)?;
    Ok(text)
}

#[cfg(unix)]
pub(super) fn is_open_to_all(path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    const READ_BY_OTHERS: u32 = 0o004;
    path.metadata().is_ok_and(|file| file.mode() & READ_BY_OTHERS != 0)
}

#[cfg(not(unix))]
pub(super) fn is_open_to_all(_path: &Path) -> bool {
    false
}

/// Who starts a second server for a trial has the same admin port: the line says how to have another one.
fn in_words(error: AdminError, shares: bool) -> anyhow::Error {
    let AdminError::Listen(Error::AddressInUse { address }) = &error else { return error.into() };
    let first = if shares { "it is not shared, so" } else { "stop it," };
    let text = format!(
        "the admin port {address} is in use by another process; {first} choose another address with --admin (port 0 \
         takes a free one), or have none with --admin off"
    );
    anyhow::Error::from(error).context(text)
}
