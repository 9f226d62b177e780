//! As much of PromQL as it takes to see which series an expression asks for: names, their matchers, and labels to group by.

use std::collections::BTreeSet;

/// A series with what its labels must be.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Selector {
    pub(crate) name: String,
    /// Label, operator, value.
    pub(crate) matchers: Vec<(String, String, String)>,
}

fn is_letter(letter: char) -> bool {
    letter.is_ascii_alphanumeric() || letter == '_'
}

/// All selectors of an expression. Series are told from functions by how ours begin.
pub(crate) fn read(expression: &str) -> Vec<Selector> {
    let mut found = Vec::new();
    let mut rest = expression;
    while let Some(at) = rest.find(is_letter) {
        rest = &rest[at..];
        let end = rest.find(|letter| !is_letter(letter)).unwrap_or(rest.len());
        let (word, behind) = rest.split_at(end);
        rest = behind;
        if !word.starts_with("tidegate_") && !word.starts_with("process_") {
            continue;
        }
        let inner = rest.strip_prefix('{').and_then(|inner| inner.split_once('}'));
        let matchers = inner.map(|(inner, _)| matchers(inner)).unwrap_or_default();
        rest = inner.map_or(rest, |(_, behind)| behind);
        found.push(Selector { name: word.to_owned(), matchers });
    }
    found
}

/// `label="value", ...`; values of ours have neither quotes nor braces in them.
fn matchers(inner: &str) -> Vec<(String, String, String)> {
    let mut found = Vec::new();
    let mut rest = inner.trim();
    while !rest.is_empty() {
        let name = rest.find(|letter| !is_letter(letter)).expect("an operator");
        let quote = rest.find('"').expect("a value");
        let (value, behind) = rest[quote + 1..].split_once('"').expect("the value's end");
        found.push((rest[..name].to_owned(), rest[name..quote].trim().to_owned(), value.to_owned()));
        rest = behind.trim_start_matches([',', ' ']);
    }
    found
}

/// All labels that an expression groups by.
pub(crate) fn groups(expression: &str) -> BTreeSet<String> {
    let lists = expression.split(" by (").skip(1).filter_map(|rest| rest.split_once(')'));
    lists.flat_map(|(list, _)| list.split(',')).map(|label| label.trim().to_owned()).collect()
}

#[test]
fn selectors_are_found_with_all_that_they_say() {
    let text = r#"sum by (le, shard) (rate(tidegate_a_total{x="1", y!~"b|c"}[5m])) / process_open_fds > 0"#;
    let of = |label: &str, how: &str, value: &str| (label.to_owned(), how.to_owned(), value.to_owned());
    let first = Selector {
        name: "tidegate_a_total".to_owned(),
        matchers: vec![of("x", "=", "1"), of("y", "!~", "b|c")],
    };
    let second = Selector { name: "process_open_fds".to_owned(), matchers: Vec::new() };
    assert_eq!(read(text), [first, second]);
    assert_eq!(groups(text), BTreeSet::from(["le".to_owned(), "shard".to_owned()]));
}
