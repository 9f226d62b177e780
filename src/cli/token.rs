//! `tidegate token NAME`: a token from the system's chance, printed once, and the hash that a server keeps of it.

use crate::base::limits::CONTROL_BYTES_MAX;
use crate::identity::{TokenHash, User};
use anyhow::{anyhow, bail};
use clap::Args;
use std::fs::File;
use std::io::{Read, Write};
use std::path::Path;
use std::process::ExitCode;

pub(super) const AFTER: &str = "\
Example: tidegate token alice
  TIDEGATE_TOKEN=alice.... tidegate send 127.0.0.1:7411 hello
The token is shown this once; the server keeps a hash of it";

/// 64 letters that need no quotes anywhere: 6 bits each.
const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// Letters of a secret: 192 bits.
const SECRET_LETTERS: usize = 32;

#[derive(Debug, Args)]
pub(super) struct Options {
    /// Whose it is: 1 to 64 of A-Z a-z 0-9 _ -
    name: String,
}

/// Where a token is looked for that no flag gives.
const VARIABLE: &str = "TIDEGATE_TOKEN";

/// The token that a client shows: that of the flags, else of the environment.
///
/// # Errors
///
/// One line, without a byte of it.
pub(super) fn given(flag: Option<&str>, file: Option<&Path>) -> anyhow::Result<Option<Vec<u8>>> {
    let Some(path) = file else {
        let of_environment = || std::env::var_os(VARIABLE).map(|text| text.into_encoded_bytes());
        return Ok(flag.map(|text| text.as_bytes().to_vec()).or_else(of_environment));
    };
    let (name, mut bytes) = (path.display(), Vec::new());
    let most = CONTROL_BYTES_MAX as usize;
    let opened = File::open(path).and_then(|file| file.take(most as u64 + 1).read_to_end(&mut bytes));
    opened.map_err(|error| anyhow!("the token file {name} cannot be read: {error}"))?;
    if bytes.len() > most {
        bail!("the token file {name} holds more than {most} bytes; is it a token?");
    }
    while bytes.last().is_some_and(|byte| [b'\n', b'\r'].contains(byte)) {
        bytes.pop();
    }
    Ok(Some(bytes))
}

pub(super) fn run(options: &Options) -> anyhow::Result<ExitCode> {
    let name = options.name.as_str();
    User::new(name)?;
    let (mut secret, mut salt) = ([0; SECRET_LETTERS], [0; TokenHash::SALT_BYTES]);
    getrandom::fill(&mut secret)
        .and_then(|()| getrandom::fill(&mut salt))
        .map_err(|error| anyhow!("the system gives no chance to make a token of: {error}"))?;
    let letters = secret.iter().map(|byte| char::from(LETTERS[usize::from(byte & 63)]));
    let token: String = name.chars().chain(['.']).chain(letters).collect();
    let hash = TokenHash::of(salt, token.as_bytes());
    let text = format!("{token}\n\n[[user]]\nname = \"{name}\"\ntoken_hash = \"{hash}\"\n");
    let written = std::io::stdout().lock().write_all(text.as_bytes());
    written.map_err(|error| anyhow!("cannot print the token: {error}"))?;
    Ok(ExitCode::SUCCESS)
}
