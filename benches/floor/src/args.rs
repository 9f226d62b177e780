//! `--name value` pairs and plain words from the command line, each taken once; what is left over is refused.

use std::fmt::Display;
use std::str::FromStr;

/// A refusal in words for the terminal.
pub type Refusal = String;

/// Values separated by commas, as in `16,17,18`.
#[derive(Debug, PartialEq)]
pub struct List<T>(pub Vec<T>);

impl<T: FromStr> FromStr for List<T> {
    type Err = T::Err;

    fn from_str(text: &str) -> Result<List<T>, T::Err> {
        text.split(',').map(|item| item.trim().parse()).collect::<Result<_, _>>().map(List)
    }
}

impl<T> Default for List<T> {
    fn default() -> List<T> {
        List(Vec::new())
    }
}

/// The command line, emptied option by option.
#[derive(Debug)]
pub struct Args {
    words: Vec<String>,
}

impl Args {
    /// The arguments of this process.
    pub fn from_env() -> Args {
        Args::from_words(std::env::args().skip(1))
    }

    /// These words.
    pub fn from_words(words: impl Iterator<Item = String>) -> Args {
        Args { words: words.collect() }
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

#[cfg(test)]
mod tests {
    use super::*;

    fn args(line: &str) -> Args {
        Args::from_words(line.split(' ').map(str::to_owned))
    }

    #[test]
    fn options_may_stand_anywhere_and_nothing_may_be_left() {
        let mut args = args("--cpus 0,1 127.0.0.1:7 --loops 2 --what");
        assert_eq!(args.option("--loops"), Ok(Some(2)));
        assert_eq!(args.option("--cpus"), Ok(Some(List(vec![0, 1]))));
        assert_eq!(args.option::<u8>("--ext"), Ok(None));
        assert_eq!(args.word("ADDR"), Ok("127.0.0.1:7".to_owned()));
        assert_eq!(args.finish(), Err("not understood: --what".to_owned()));
    }

    #[test]
    fn a_list_holds_no_gaps() {
        for text in ["", "1,", ",1", "1,,2", "1;2"] {
            assert!(text.parse::<List<u16>>().is_err(), "{text:?}");
        }
    }
}
