//! Mistakes and how they are told: what is wrong, where, and what to do about it; all at once.
//!
//! Always holds: a place in a file lies within its text, at characters' borders. Never: printing; that is the command
//! line's.

use annotate_snippets::{AnnotationKind, Group, Level, Renderer, Snippet};
use std::fmt::Write as _;
use std::ops::Range;

/// Where a value came from.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Origin {
    /// Bytes of the file.
    File(Place),
    /// A variable of the environment, by its value; by its name if that is not known.
    Variable { name: String, text: String, is_known: bool },
    /// A flag of the command line, as it was given.
    Flag(String),
    /// Nobody gave it.
    Default,
    /// The running server has it, until a restart.
    Kept,
}

/// Bytes of the file, from the first to behind the last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    pub(super) start: usize,
    pub(super) end: usize,
}

impl From<Range<usize>> for Place {
    fn from(range: Range<usize>) -> Place {
        Place { start: range.start, end: range.end }
    }
}

/// One mistake.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Mistake {
    pub(super) title: String,
    pub(super) origin: Origin,
    /// What to do, said at the place.
    pub(super) advice: String,
    /// The other place, if two values don't go together, and what is there.
    pub(super) other: Option<(Origin, String)>,
}

impl Mistake {
    pub(super) fn new(origin: &Origin, title: impl Into<String>, advice: impl Into<String>) -> Mistake {
        Mistake { title: title.into(), origin: origin.clone(), advice: advice.into(), other: None }
    }

    pub(super) fn with(mut self, other: &Origin, what: impl Into<String>) -> Mistake {
        self.other = Some((other.clone(), what.into()));
        self
    }
}

/// A file that was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct File {
    /// Its name, for messages.
    pub name: String,
    /// All of it.
    pub text: String,
}

impl File {
    /// Makes what is at this place unreadable, but for its first and last byte, which are quotes.
    pub(super) fn hide(&mut self, place: Place) {
        let (Some(start), Some(end)) = (place.start.checked_add(1), place.end.checked_sub(1)) else { return };
        if start < end && self.text.is_char_boundary(start) && self.text.is_char_boundary(end) {
            self.text.replace_range(start..end, &"*".repeat(end - start));
        }
    }
}

/// Everything that is wrong with a configuration; never empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistakes {
    file: Option<File>,
    list: Vec<Mistake>,
}

/// So many are told; of the rest only the number.
const TOLD_MAX: usize = 50;

impl Mistakes {
    pub(super) fn new(file: Option<File>, mut list: Vec<Mistake>) -> Mistakes {
        list.sort_by(|left, right| left.origin.cmp(&right.origin));
        Mistakes { file, list }
    }

    /// How many there are.
    #[expect(clippy::len_without_is_empty, reason = "never empty")]
    pub fn len(&self) -> usize {
        self.list.len()
    }

    /// The places in the file, as bytes: of each mistake, and of what it contradicts.
    pub fn places(&self) -> impl Iterator<Item = Range<usize>> {
        let origins = self.list.iter().flat_map(|mistake| {
            std::iter::once(&mistake.origin).chain(mistake.other.as_ref().map(|(origin, _)| origin))
        });
        origins.filter_map(|origin| match origin {
            Origin::File(place) => Some(place.start..place.end),
            Origin::Variable { .. } | Origin::Flag(_) | Origin::Default | Origin::Kept => None,
        })
    }

    /// All of it for people, with colours or without: a paragraph for each mistake, a line for one in a flag.
    pub fn render(&self, colours: bool) -> String {
        let renderer = if colours { Renderer::styled() } else { Renderer::plain() };
        let mut out = String::new();
        for mistake in self.list.iter().take(TOLD_MAX) {
            if !out.is_empty() {
                out.push('\n');
            }
            self.render_one(&renderer, mistake, &mut out);
        }
        if self.list.len() > TOLD_MAX {
            let _ = writeln!(out, "\n... and {} more", self.list.len() - TOLD_MAX);
        }
        out
    }

    fn render_one(&self, renderer: &Renderer, mistake: &Mistake, out: &mut String) {
        let Mistake { title, origin, advice, other } = mistake;
        if let Origin::Flag(flag) = origin {
            let _ = write!(out, "tidegate: {}: {title}", flag.escape_debug());
            if let Some((other, what)) = other {
                let _ = write!(out, " ({what} {})", self.place_in_words(other));
            }
            let _ = writeln!(out, "; {advice}");
            return;
        }
        let mut group = Group::with_title(Level::ERROR.primary_title(title.as_str()));
        let both = other.as_ref().and_then(|(other, what)| match (origin, other) {
            (Origin::File(here), Origin::File(there)) if here != there => Some((*here, *there, what)),
            _ => None,
        });
        group = match (both, self.snippet(origin)) {
            (Some((here, there, what)), _) => group.element(self.snippet_of_two(here, there, advice, what)),
            (None, Some((snippet, span))) => {
                group.element(snippet.annotation(AnnotationKind::Primary.span(span).label(advice.as_str())))
            }
            (None, None) => group.element(Level::HELP.message(advice.as_str())),
        };
        if let (None, Some((other, what))) = (both, other) {
            group = group.element(Level::NOTE.message(format!("{what} {}", self.place_in_words(other))));
        }
        out.push_str(&renderer.render(&[group]));
        out.push('\n');
    }

    /// The text around a place, and where in it that is.
    fn snippet<'a>(
        &'a self,
        origin: &'a Origin,
    ) -> Option<(Snippet<'a, annotate_snippets::Annotation<'a>>, Range<usize>)> {
        match origin {
            Origin::File(place) => {
                let file = self.file.as_ref()?;
                let lines = lines_around(&file.text, *place);
                let snippet = Snippet::source(&file.text[lines.clone()])
                    .path(file.name.escape_debug().to_string())
                    .line_start(line_of(&file.text, lines.start));
                Some((snippet, place.start - lines.start..place.end - lines.start))
            }
            Origin::Variable { name, text, is_known } => {
                let shown = format!("{}={text}", name.escape_debug());
                let value = shown.len() - text.len();
                let place = if *is_known { value..shown.len() } else { 0..value - 1 };
                Some((Snippet::source(shown).line_numbering(false), place))
            }
            Origin::Flag(_) | Origin::Default | Origin::Kept => None,
        }
    }

    fn snippet_of_two<'a>(
        &'a self,
        here: Place,
        there: Place,
        advice: &'a str,
        what: &'a str,
    ) -> Snippet<'a, annotate_snippets::Annotation<'a>> {
        let (name, text) = self.file.as_ref().map_or(("", ""), |file| (&file.name, &file.text));
        let whole = Place { start: here.start.min(there.start), end: here.end.max(there.end) };
        let lines = lines_around(text, whole);
        let within = |place: Place| place.start - lines.start..place.end - lines.start;
        Snippet::source(&text[lines.clone()])
            .path(name.escape_debug().to_string())
            .line_start(line_of(text, lines.start))
            .annotation(AnnotationKind::Primary.span(within(here)).label(advice))
            .annotation(AnnotationKind::Context.span(within(there)).label(what))
    }

    fn place_in_words(&self, origin: &Origin) -> String {
        let file = self.file.as_ref();
        origin_in_words(origin, file).unwrap_or_else(|| "by default".to_owned())
    }
}

/// `at FILE:12`, `in VARIABLE`, `by --flag`; nothing for a default.
pub(super) fn origin_in_words(origin: &Origin, file: Option<&File>) -> Option<String> {
    match origin {
        Origin::File(place) => {
            let (name, text) = file.map_or(("", ""), |file| (&file.name, &file.text));
            Some(format!("at {}:{}", name.escape_debug(), line_of(text, place.start)))
        }
        Origin::Variable { name, .. } => Some(format!("in {}", name.escape_debug())),
        Origin::Flag(flag) => Some(format!("by {}", flag.escape_debug())),
        Origin::Kept => Some("until a restart".to_owned()),
        Origin::Default => None,
    }
}

/// The number of the line that a byte is in, from 1.
fn line_of(text: &str, at: usize) -> usize {
    1 + text.as_bytes()[..at].iter().filter(|byte| **byte == b'\n').count()
}

/// The whole lines that hold a place, without the end of the last, be it Unix's or Windows'.
pub(super) fn lines_around(text: &str, place: Place) -> Range<usize> {
    let start = text[..place.start].rfind('\n').map_or(0, |end| end + 1);
    let end = text[place.end..].find('\n').map_or(text.len(), |more| place.end + more);
    let is_windows = end > place.end && text[..end].ends_with('\r');
    start..if is_windows { end - 1 } else { end }
}
