//! Where a configuration is read from: a file and the environment. Its mistakes are told here.

use super::colours;
use super::host::host;
use crate::config::{File, Flag, Host, Loaded, PREFIX, Sources, load};
use anyhow::bail;
use std::io::Read;
use std::path::Path;

/// Longest file that is read, in bytes: every route in a table of its own has half of that.
const FILE_BYTES_MAX: u64 = 2 << 20;

/// Puts file, environment and flags together on this host; the number of mistakes, all told, if there are any.
pub(super) fn configuration(
    file: Option<&Path>,
    flags: Vec<Flag>,
) -> anyhow::Result<Result<(Loaded, Host), usize>> {
    let host = host();
    match load(sources(file, flags)?, &host) {
        Ok(loaded) => Ok(Ok((loaded, host))),
        Err(mistakes) => {
            tell(&mistakes.render(colours::are_wanted(&std::io::stderr())));
            Ok(Err(mistakes.len()))
        }
    }
}

/// The file's text, the environment and these flags.
pub(super) fn sources(file: Option<&Path>, flags: Vec<Flag>) -> anyhow::Result<Sources> {
    let file = file.map(read).transpose()?;
    let variables = std::env::vars_os()
        .map(|(name, text)| (name.to_string_lossy().into_owned(), text.to_string_lossy().into_owned()))
        .filter(|(name, _)| name.starts_with(PREFIX))
        .collect();
    Ok(Sources { file, variables, flags })
}

/// `3 errors`
pub(super) fn count_line(mistakes: usize) -> String {
    format!("{mistakes} error{}\n", if mistakes == 1 { "" } else { "s" })
}

#[expect(clippy::print_stderr, reason = "this is where mistakes reach people")]
pub(super) fn tell(text: &str) {
    eprint!("{text}");
}

pub(super) fn read(path: &Path) -> anyhow::Result<File> {
    let name = path.display().to_string();
    let opened = std::fs::File::open(path);
    let file = match opened {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            bail!("{name} does not exist; tidegate check --print-default prints a file to begin with")
        }
        Err(error) => bail!("{name} cannot be read: {error}"),
    };
    if file.metadata().is_ok_and(|of_file| of_file.is_dir()) {
        bail!("{name} is a directory; give it the file in it");
    }
    let mut bytes = Vec::new();
    if let Err(error) = file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes) {
        bail!("{name} cannot be read: {error}");
    }
    if bytes.len() as u64 > FILE_BYTES_MAX {
        bail!("{name} has more than {FILE_BYTES_MAX} bytes; is it a configuration?");
    }
    match String::from_utf8(bytes) {
        Ok(text) => Ok(File { name, text }),
        Err(error) => {
            let at = error.utf8_error().valid_up_to();
            let line = 1 + error.as_bytes()[..at].iter().filter(|byte| **byte == b'\n').count();
            bail!("{name} is not UTF-8: byte {at}, in line {line}, is no part of a character")
        }
    }
}
