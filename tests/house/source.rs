//! Enough of a Rust reader for rules about imports: tokens without comments and texts, and the paths in them, with
//! `use` groups taken apart and `self` and `super` resolved.
//!
//! Never: types, macros' meaning, names that were imported under another one. The rules only need where paths begin.

use std::path::{Path, PathBuf};

/// One source file of the crate.
pub(crate) struct Source {
    /// Its path below `src`.
    pub(crate) file: String,
    pub(crate) text: String,
    tokens: Vec<Token>,
    /// For each token, whether it belongs to a `use`.
    in_use: Vec<bool>,
}

/// A word, a `::`, an arrow, or one sign.
#[derive(Clone, Debug)]
pub(crate) struct Token {
    pub(crate) text: String,
    pub(crate) line: usize,
    /// Inside something marked `#[cfg(test)]`, or in a file of tests.
    pub(crate) in_tests: bool,
    /// The inline modules around it.
    modules: Vec<String>,
}

/// A path as it was meant: from `crate` for our own, from the crate's name for others.
#[derive(Clone, Debug)]
pub(crate) struct UsedPath {
    pub(crate) segments: Vec<String>,
    pub(crate) line: usize,
    pub(crate) in_tests: bool,
}

/// All files below `src`.
pub(crate) fn all_sources() -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    collect(&root, &mut files);
    files.sort();
    files
        .iter()
        .map(|path| {
            let below = path.strip_prefix(&root).expect("it was found there");
            let text = std::fs::read_to_string(path).expect("source is text");
            Source::new(&below.to_string_lossy().replace('\\', "/"), &text)
        })
        .collect()
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).expect("a folder of sources") {
        let path = entry.expect("an entry of it").path();
        if path.is_dir() {
            collect(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
}

impl Source {
    pub(crate) fn new(file: &str, text: &str) -> Source {
        let mut tokens = read_tokens(text);
        let is_tests = file.ends_with("tests.rs");
        mark_modules(&mut tokens, is_tests);
        let mut in_use = vec![false; tokens.len()];
        for (start, end) in uses(&tokens) {
            in_use[start..=end].fill(true);
        }
        Source { file: file.to_owned(), text: text.to_owned(), tokens, in_use }
    }

    /// The layer it belongs to; the root belongs to none.
    pub(crate) fn layer(&self) -> Option<&str> {
        match self.file.split_once('/') {
            Some((layer, _)) => Some(layer),
            None if ["lib.rs", "main.rs"].contains(&self.file.as_str()) => None,
            None => self.file.strip_suffix(".rs"),
        }
    }

    pub(crate) fn tokens(&self) -> &[Token] {
        &self.tokens
    }

    pub(crate) fn is_in_use(&self, at: usize) -> bool {
        self.in_use[at]
    }

    /// Whether a token stands in a pattern: the brackets around it, as far as they go, end before an arrow, or they
    /// are those of `matches!` behind its first comma.
    pub(crate) fn is_in_pattern(&self, at: usize) -> bool {
        let (mut depth, mut least) = (0_i32, 0_i32);
        for (place, token) in self.tokens.iter().enumerate().skip(at + 1) {
            match token.text.as_str() {
                "(" | "[" | "{" => depth += 1,
                ")" | "]" | "}" => {
                    depth -= 1;
                    if depth >= least {
                        continue;
                    }
                    // This bracket was opened before the token.
                    least = depth;
                    let next = self.tokens.get(place + 1).map_or("", |token| token.text.as_str());
                    let is_guarded = next == "if" && token.text != "}";
                    if next == "=>" || next == "|" || is_guarded || self.closes_matches(place) {
                        return true;
                    }
                }
                ";" | "=>" => return false,
                _ => {}
            }
        }
        false
    }

    /// Whether the bracket that ends here is that of `matches!`.
    fn closes_matches(&self, end: usize) -> bool {
        let mut depth = 0_i32;
        for place in (0..=end).rev() {
            match self.tokens[place].text.as_str() {
                ")" => depth += 1,
                "(" => {
                    depth -= 1;
                    if depth == 0 {
                        return place >= 2
                            && self.tokens[place - 1].text == "!"
                            && self.tokens[place - 2].text.ends_with("matches");
                    }
                }
                _ => {}
            }
        }
        false
    }

    /// Calls of these macros, with their lines.
    pub(crate) fn macros(&self, names: &[&str]) -> Vec<(usize, String)> {
        self.tokens
            .windows(2)
            .filter(|two| !two[0].in_tests && names.contains(&two[0].text.as_str()) && two[1].text == "!")
            .map(|two| (two[0].line, two[0].text.clone()))
            .collect()
    }

    /// Every path: those of `use`, taken apart, and those in code that have more than one segment.
    pub(crate) fn paths(&self) -> Vec<UsedPath> {
        let mut paths = Vec::new();
        for (start, end) in uses(&self.tokens) {
            let mut at = start + 1;
            self.use_tree(&mut at, end, &[], &mut paths);
        }
        let mut at = 0;
        while at < self.tokens.len() {
            if self.in_use[at] || !is_word(&self.tokens[at].text) || self.is_behind_separator(at) {
                at += 1;
                continue;
            }
            let first = at;
            let mut segments = vec![self.tokens[at].text.clone()];
            while at + 2 < self.tokens.len()
                && self.tokens[at + 1].text == "::"
                && is_word(&self.tokens[at + 2].text)
            {
                segments.push(self.tokens[at + 2].text.clone());
                at += 2;
            }
            if segments.len() > 1 {
                paths.push(self.path(&segments, first));
            }
            at += 1;
        }
        paths
    }

    /// Whether a `::` before this word makes it the middle of a path; one that begins a path does not.
    fn is_behind_separator(&self, at: usize) -> bool {
        at >= 2
            && self.tokens[at - 1].text == "::"
            && (is_word(&self.tokens[at - 2].text) || self.tokens[at - 2].text == ">")
            && !["fn", "in", "as", "impl", "dyn", "mut", "return"]
                .contains(&self.tokens[at - 2].text.as_str())
    }

    /// One tree of a `use`: a path, and maybe a group of trees behind it.
    fn use_tree(&self, at: &mut usize, end: usize, before: &[String], paths: &mut Vec<UsedPath>) {
        let mut segments = before.to_vec();
        let first = *at;
        while *at < end {
            match self.tokens[*at].text.as_str() {
                "::" => *at += 1,
                "{" => {
                    *at += 1;
                    while self.tokens[*at].text != "}" {
                        self.use_tree(at, end, &segments, paths);
                        if self.tokens[*at].text == "," {
                            *at += 1;
                        }
                    }
                    *at += 1;
                    return;
                }
                "," | "}" | ";" => break,
                "as" => *at += 2,
                word => {
                    segments.push(word.to_owned());
                    *at += 1;
                }
            }
        }
        if segments.len() > 1 && segments.last().is_some_and(|last| last == "self") {
            segments.pop();
        }
        if !segments.is_empty() {
            paths.push(self.path(&segments, first));
        }
    }

    /// Resolves `self` and `super` by where the path stands.
    fn path(&self, segments: &[String], at: usize) -> UsedPath {
        let token = &self.tokens[at];
        let mut rest = segments;
        let mut resolved = segments.to_vec();
        if ["self", "super"].contains(&segments[0].as_str()) {
            let mut here = self.module();
            here.extend(token.modules.iter().cloned());
            while let Some((first, behind)) = rest.split_first() {
                match first.as_str() {
                    "self" => {}
                    "super" => {
                        here.pop();
                    }
                    _ => break,
                }
                rest = behind;
            }
            resolved = [vec!["crate".to_owned()], here, rest.to_vec()].concat();
        }
        UsedPath { segments: resolved, line: token.line, in_tests: token.in_tests }
    }

    /// The modules that the file's path names.
    fn module(&self) -> Vec<String> {
        let mut module: Vec<String> = self.file.split('/').map(str::to_owned).collect();
        let name = module.pop().unwrap_or_default();
        match name.strip_suffix(".rs") {
            Some("mod" | "lib" | "main") | None => {}
            Some(name) => module.push(name.to_owned()),
        }
        module
    }
}

fn is_word(text: &str) -> bool {
    text.chars().next().is_some_and(|first| first.is_alphabetic() || first == '_')
}

/// First and last token of each `use`.
fn uses(tokens: &[Token]) -> Vec<(usize, usize)> {
    let mut found = Vec::new();
    for (at, token) in tokens.iter().enumerate() {
        if token.text == "use"
            && let Some(length) = tokens[at..].iter().position(|token| token.text == ";")
        {
            found.push((at, at + length));
        }
    }
    found
}

/// Notes the inline modules around each token, and what is only compiled for tests.
fn mark_modules(tokens: &mut [Token], is_tests: bool) {
    // Of each open brace: the module it opens, if it does, and whether it is for tests.
    let mut open: Vec<(Option<String>, bool)> = Vec::new();
    let mut next_is_for_tests = false;
    let mut next_module = None;
    for at in 0..tokens.len() {
        let is_cfg_test = ["#", "[", "cfg", "(", "test", ")", "]"]
            .iter()
            .enumerate()
            .all(|(step, want)| tokens.get(at + step).is_some_and(|token| token.text == *want));
        next_is_for_tests |= is_cfg_test;
        if tokens[at].text == "mod" && tokens.get(at + 2).is_some_and(|token| token.text == "{") {
            next_module = Some(tokens[at + 1].text.clone());
        }
        match tokens[at].text.as_str() {
            "{" => {
                open.push((next_module.take(), next_is_for_tests));
                next_is_for_tests = false;
            }
            "}" => {
                open.pop();
            }
            ";" => next_is_for_tests = false,
            _ => {}
        }
        tokens[at].in_tests = is_tests || open.iter().any(|(_, for_tests)| *for_tests);
        tokens[at].modules = open.iter().filter_map(|(module, _)| module.clone()).collect();
    }
}

/// Cuts a text into tokens, and leaves out comments, texts, characters and lifetimes.
fn read_tokens(text: &str) -> Vec<Token> {
    let chars: Vec<char> = text.chars().collect();
    let mut tokens = Vec::new();
    let (mut at, mut line) = (0, 1);
    while at < chars.len() {
        let rest = &chars[at..];
        let taken = match rest {
            [c, ..] if c.is_whitespace() => 1,
            ['/', '/', ..] => rest.iter().position(|c| *c == '\n').unwrap_or(rest.len()),
            ['/', '*', ..] => comment_chars(rest),
            ['b' | 'c', '"', ..] => 1 + text_chars(&rest[1..]),
            ['"', ..] => text_chars(rest),
            ['r', '"' | '#', ..] if raw_chars(rest).is_some() => raw_chars(rest).unwrap_or(1),
            ['b' | 'c', 'r', '"' | '#', ..] if raw_chars(&rest[1..]).is_some() => {
                1 + raw_chars(&rest[1..]).unwrap_or(1)
            }
            ['b', '\'', ..] => 1 + quote_chars(&rest[1..]),
            ['\'', ..] => quote_chars(rest),
            [c, ..] => {
                let length = token_chars(*c, rest);
                let text = rest[..length].iter().collect();
                tokens.push(Token { text, line, in_tests: false, modules: Vec::new() });
                length
            }
            [] => break,
        };
        line += rest[..taken].iter().filter(|c| **c == '\n').count();
        at += taken;
    }
    tokens
}

fn token_chars(first: char, rest: &[char]) -> usize {
    if first.is_alphanumeric() || first == '_' {
        return rest.iter().take_while(|c| c.is_alphanumeric() || **c == '_').count();
    }
    match rest {
        [':', ':', ..] | ['=', '>' | '=', ..] | ['!', '=', ..] | ['-', '>', ..] | ['|', '|', ..] => 2,
        _ => 1,
    }
}

/// A block comment; they nest.
fn comment_chars(rest: &[char]) -> usize {
    let (mut at, mut depth) = (0, 0);
    while at < rest.len() {
        match rest[at..] {
            ['/', '*', ..] => (at, depth) = (at + 2, depth + 1),
            ['*', '/', ..] => (at, depth) = (at + 2, depth - 1),
            _ => at += 1,
        }
        if depth == 0 {
            return at;
        }
    }
    at
}

/// A text in quotes, with its quotes.
fn text_chars(rest: &[char]) -> usize {
    let mut at = 1;
    while at < rest.len() {
        match rest[at] {
            '\\' => at += 2,
            '"' => return at + 1,
            _ => at += 1,
        }
    }
    rest.len()
}

/// `r"..."`, `r#"..."#`: none if this is a name that begins with r.
fn raw_chars(rest: &[char]) -> Option<usize> {
    let hashes = rest[1..].iter().take_while(|c| **c == '#').count();
    if rest.get(1 + hashes) != Some(&'"') {
        return None;
    }
    let mut at = 2 + hashes;
    while at < rest.len() {
        if rest[at] == '"' && rest[at + 1..].iter().take(hashes).filter(|c| **c == '#').count() == hashes {
            return Some(at + 1 + hashes);
        }
        at += 1;
    }
    Some(rest.len())
}

/// A character, or a lifetime.
fn quote_chars(rest: &[char]) -> usize {
    match rest {
        ['\'', '\\', ..] => rest.iter().skip(3).position(|c| *c == '\'').map_or(rest.len(), |at| at + 4),
        ['\'', _, '\'', ..] => 3,
        _ => 1 + rest[1..].iter().take_while(|c| c.is_alphanumeric() || **c == '_').count(),
    }
}
