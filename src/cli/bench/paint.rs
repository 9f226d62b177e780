//! Colours of a terminal, and lines that stay within a width.
//!
//! Always holds: what is painted is text first: no character of it moves the cursor or changes a colour. Never: a
//! meaning that only a colour has.

use crate::cli::send::print::one_line;

/// How a piece of text looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::cli) enum Ink {
    /// As all text.
    Plain,
    /// Names of rows and what matters less.
    Faint,
    /// The figures that are looked for first.
    Strong,
    /// As it should be.
    Good,
    /// Not as it should be.
    Bad,
    /// What must not be overlooked.
    Alarm,
}

/// Whether colours are used.
#[derive(Clone, Copy, Debug)]
pub(in crate::cli) struct Paint {
    pub(in crate::cli) in_colour: bool,
}

impl Paint {
    /// The text, in its colour if colours are wanted.
    pub(in crate::cli) fn text(self, ink: Ink, text: &str) -> String {
        let text = one_line(text);
        let code = match ink {
            Ink::Plain => return text,
            Ink::Faint => "2",
            Ink::Strong => "1",
            Ink::Good => "32",
            Ink::Bad => "1;31",
            Ink::Alarm => "1;97;41",
        };
        if self.in_colour && !text.trim().is_empty() { format!("\x1b[{code}m{text}\x1b[0m") } else { text }
    }
}

/// Breaks a text between words into lines of at most `width` characters; a longer word is broken where it must.
pub(in crate::cli) fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    let mut line = String::new();
    for word in text.split_whitespace() {
        let mut word: Vec<char> = word.chars().collect();
        let used = line.chars().count();
        if used > 0 && used + 1 + word.len() > width {
            lines.push(std::mem::take(&mut line));
        }
        while word.len() > width {
            lines.push(word.drain(..width).collect());
        }
        if !line.is_empty() {
            line.push(' ');
        }
        line.extend(word);
    }
    if !line.is_empty() {
        lines.push(line);
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_broken_between_words() {
        #[rustfmt::skip]
        let table: &[(&str, usize, &[&str])] = &[
            ("",               10, &[]),
            ("one two three",  10, &["one two", "three"]),
            ("one two three",  13, &["one two three"]),
            ("abcdefgh ij",     4, &["abcd", "efgh", "ij"]),
            ("x abcdef y",      4, &["x", "abcd", "ef y"]),
        ];
        for (text, width, want) in table {
            assert_eq!(wrapped(text, *width), *want, "case: {text:?} in {width}");
        }
    }

    #[test]
    fn what_is_painted_is_one_line_of_text() {
        let paint = Paint { in_colour: true };
        assert_eq!(paint.text(Ink::Good, "a\x1b[31m\nb"), "\x1b[32ma [31m b\x1b[0m");
        assert_eq!(paint.text(Ink::Bad, ""), "");
        assert_eq!(Paint { in_colour: false }.text(Ink::Alarm, "x"), "x");
    }
}
