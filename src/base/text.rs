//! A short text on the stack, for messages on paths that must not allocate.

use std::any::Any;
use std::fmt;

/// Longest text, in bytes; what is more is cut at a character.
pub const TEXT_BYTES_MAX: usize = 160;

/// A bounded text. Writing to it never fails and never allocates.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Text {
    bytes: [u8; TEXT_BYTES_MAX],
    len: u8,
}

const _: () = assert!(TEXT_BYTES_MAX <= u8::MAX as usize);

impl Text {
    /// No text.
    pub const EMPTY: Text = Text { bytes: [0; TEXT_BYTES_MAX], len: 0 };

    /// The text of `args`: `Text::of(format_args!("{} of {}", 3, 4))`.
    pub fn of(args: fmt::Arguments<'_>) -> Text {
        let mut text = Text::EMPTY;
        // Cannot fail: our `write_str` cuts instead; what a Display of a caller's returns is of no use here.
        let _ = fmt::Write::write_fmt(&mut text, args);
        text
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.bytes[..usize::from(self.len)]).unwrap_or_default()
    }
}

impl fmt::Write for Text {
    fn write_str(&mut self, more: &str) -> fmt::Result {
        let start = usize::from(self.len);
        let mut fits = more.len().min(TEXT_BYTES_MAX - start);
        while !more.is_char_boundary(fits) {
            fits -= 1;
        }
        self.bytes[start..start + fits].copy_from_slice(&more.as_bytes()[..fits]);
        self.len = u8::try_from(start + fits).expect("the text's bound fits a byte");
        Ok(())
    }
}

impl fmt::Display for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

/// What a caught panic said.
pub fn panic_text(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "it panicked".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_text_is_cut_at_a_character() {
        assert_eq!(Text::of(format_args!("{} of {}", 3, 4)).as_str(), "3 of 4");
        let long = "é".repeat(200);
        let cut = Text::of(format_args!("x{long}"));
        assert_eq!(cut.as_str().len(), 159, "80 characters would need 161 bytes");
        assert!(cut.as_str().ends_with('é'));
    }
}
