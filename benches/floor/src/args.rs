//! `--name value` pairs and plain words from the command line, each taken once; what is left over is refused.

use std::fmt::Display;
use std::str::FromStr;

/// A refusal in words for the terminal.
pub type Refusal = String;

/// The command line, emptied option by option.
#[derive(Debug)]
pub struct Args {
    words: Vec<String>,
}

impl Args {
    /// The arguments of this process.
    pub fn from_env() -> Args {
        Args { words: std::env::args().skip(1).collect() }
    }

    /// Takes `--name` if it is there.
    pub fn flag(&mut self, name: &str) -> bool {
        let at = self.words.iter().position(|word| word == name);
        at.map(|at| self.words.remove(at)).is_some()
    }

    /// Takes the value of `--name`; `None` if the option isn't there.
    pub fn option<T: FromStr<Err: Display>>(&mut self, name: &str) -> Result<Option<T>, Refusal> {
        let Some(at) = self.words.iter().position(|word| word == name) else { return Ok(None) };
        self.words.remove(at);
        if at == self.words.len() {
            return Err(format!("{name} needs a value"));
        }
        let value = self.words.remove(at);
        value.parse().map(Some).map_err(|why| format!("{name} {value}: {why}"))
    }

    /// Takes the value of `--name`, which must be there.
    pub fn required<T: FromStr<Err: Display>>(&mut self, name: &str) -> Result<T, Refusal> {
        self.option(name)?.ok_or_else(|| format!("{name} is required"))
    }

    /// Takes the first word that is left.
    pub fn word<T: FromStr<Err: Display>>(&mut self, what: &str) -> Result<T, Refusal> {
        if self.words.is_empty() {
            return Err(format!("{what} is required"));
        }
        let value = self.words.remove(0);
        value.parse().map_err(|why| format!("{what} {value}: {why}"))
    }

    /// Refuses whatever was not taken.
    pub fn finish(self) -> Result<(), Refusal> {
        if self.words.is_empty() { Ok(()) } else { Err(format!("not understood: {}", self.words.join(" "))) }
    }
}
