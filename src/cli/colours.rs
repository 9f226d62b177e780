//! Whether a stream is written to in colours.
//!
//! Always holds: only on a terminal that knows them, and never against its owner's will. (`clap` keeps to the same
//! rules by itself.)

use std::env::var_os;
use std::io::IsTerminal;

/// Whether this stream is a terminal, `NO_COLOR` is not set ([no-color.org](https://no-color.org): or empty), and `TERM`
/// is not `dumb`.
pub(super) fn are_wanted(stream: &impl IsTerminal) -> bool {
    stream.is_terminal()
        && var_os("NO_COLOR").is_none_or(|set| set.is_empty())
        && var_os("TERM").is_none_or(|kind| kind != "dumb")
}
