//! What `/metrics` says, as values: OpenMetrics text, one sample a line.
//!
//! Always holds: a line that is not understood makes the whole text wrong, with its number; nothing of a server is trusted
//! to be short. Never: a figure that was not there.

use std::collections::BTreeMap;

/// Samples of one text at most: four times what the largest server has.
const SAMPLES_MAX: usize = 1 << 17;

/// One line.
#[derive(Clone, Debug, PartialEq)]
struct Sample {
    labels: Vec<(String, String)>,
    value: f64,
}

impl Sample {
    fn label(&self, name: &str) -> Option<&str> {
        self.labels.iter().find(|(label, _)| label == name).map(|(_, value)| value.as_str())
    }

    fn has(&self, labels: &[(&str, &str)]) -> bool {
        labels.iter().all(|(name, value)| self.label(name) == Some(*value))
    }
}

/// All samples of a moment, by their names.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Figures(BTreeMap<String, Vec<Sample>>);

impl Figures {
    /// Reads a text.
    ///
    /// # Errors
    ///
    /// Which line is none of OpenMetrics.
    pub(super) fn read(text: &str) -> Result<Figures, String> {
        let mut samples: BTreeMap<String, Vec<Sample>> = BTreeMap::new();
        for (at, line) in text.lines().enumerate() {
            if line.starts_with('#') || line.is_empty() {
                continue;
            }
            if at >= SAMPLES_MAX {
                return Err(format!("more than {SAMPLES_MAX} lines"));
            }
            let (name, sample) = sample(line).ok_or_else(|| format!("line {} is no metric", at + 1))?;
            samples.entry(name.to_owned()).or_default().push(sample);
        }
        Ok(Figures(samples))
    }

    fn of<'a>(&'a self, name: &str, labels: &'a [(&'a str, &'a str)]) -> impl Iterator<Item = &'a Sample> {
        self.0.get(name).into_iter().flatten().filter(move |sample| sample.has(labels))
    }

    /// The sum of all samples with these labels; `None` if there is none.
    pub(super) fn sum(&self, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
        let mut all = self.of(name, labels).map(|sample| sample.value).peekable();
        all.peek()?;
        Some(all.sum())
    }

    /// The sums by the value of a label, in the order of its values.
    pub(super) fn by(&self, name: &str, label: &str) -> BTreeMap<String, f64> {
        let mut sums = BTreeMap::new();
        for sample in self.of(name, &[]) {
            if let Some(value) = sample.label(label) {
                *sums.entry(value.to_owned()).or_insert(0.0) += sample.value;
            }
        }
        sums
    }

    /// A label of the only sample, as of an info.
    pub(super) fn text(&self, name: &str, label: &str) -> Option<&str> {
        self.0.get(name)?.first()?.label(label)
    }

    /// How often a histogram, of all labels together, has counted something up to each of its bounds; the last is infinite.
    pub(super) fn buckets(&self, name: &str) -> Vec<(f64, f64)> {
        let mut sums: Vec<(f64, f64)> = Vec::new();
        for sample in self.0.get(&format!("{name}_bucket")).into_iter().flatten() {
            let Some(bound) = sample.label("le").and_then(number) else { continue };
            match sums.iter_mut().find(|(other, _)| *other == bound) {
                Some((_, count)) => *count += sample.value,
                None => sums.push((bound, sample.value)),
            }
        }
        sums.sort_by(|(one, _), (other, _)| one.total_cmp(other));
        sums
    }
}

/// `name{label="value",..} 12.5`, with a time behind it or not.
fn sample(line: &str) -> Option<(&str, Sample)> {
    let end = line.find(['{', ' '])?;
    let (name, rest) = line.split_at(end);
    let is_name = |letter: char| letter.is_ascii_alphanumeric() || ['_', ':'].contains(&letter);
    if name.is_empty() || !name.chars().all(is_name) {
        return None;
    }
    let (labels, rest) = match rest.strip_prefix('{') {
        Some(rest) => labels(rest)?,
        None => (Vec::new(), rest),
    };
    let value = number(rest.strip_prefix(' ')?.split(' ').next()?)?;
    Some((name, Sample { labels, value }))
}

/// Names and values.
type Labels = Vec<(String, String)>;

/// Up to the closing brace, and what is behind it.
fn labels(mut rest: &str) -> Option<(Labels, &str)> {
    let mut labels = Vec::new();
    loop {
        if let Some(behind) = rest.strip_prefix('}') {
            return Some((labels, behind));
        }
        let (name, behind) = rest.split_once("=\"")?;
        let (value, behind) = quoted(behind)?;
        labels.push((name.to_owned(), value));
        rest = behind.strip_prefix(',').unwrap_or(behind);
    }
}

/// Up to the quote that is not escaped, and what is behind it.
fn quoted(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut letters = text.char_indices();
    while let Some((at, letter)) = letters.next() {
        match letter {
            '"' => return Some((value, &text[at + 1..])),
            '\\' => value.push(match letters.next()?.1 {
                'n' => '\n',
                other => other,
            }),
            other => value.push(other),
        }
    }
    None
}

fn number(text: &str) -> Option<f64> {
    match text {
        "+Inf" => Some(f64::INFINITY),
        "-Inf" => Some(f64::NEG_INFINITY),
        other => other.parse().ok().filter(|number: &f64| number.is_finite()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const TEXT: &str = "\
# HELP a_total What it is.
# TYPE a_total counter
a_total{shard=\"0\",reason=\"x y\"} 5
a_total{shard=\"1\",reason=\"q\\\"u\\\\o\\n\"} 7.5 1600000000
# a comment
b 3
c_bucket{le=\"0.001\",of=\"x\"} 2
c_bucket{le=\"0.001\",of=\"y\"} 1
c_bucket{le=\"+Inf\",of=\"x\"} 4
c_bucket{le=\"+Inf\",of=\"y\"} 1
d_info{version=\"0.1.0\"} 1
# EOF
";

    #[test]
    fn a_text_is_read() {
        let figures = Figures::read(TEXT).expect("it is right");
        assert_eq!(figures.sum("a_total", &[]), Some(12.5));
        assert_eq!(figures.sum("a_total", &[("shard", "1")]), Some(7.5));
        assert_eq!(figures.sum("a_total", &[("shard", "2")]), None);
        assert_eq!(figures.sum("b", &[]), Some(3.0));
        assert_eq!(figures.by("a_total", "reason").keys().collect::<Vec<_>>(), ["q\"u\\o\n", "x y"]);
        assert_eq!(figures.buckets("c"), [(0.001, 3.0), (f64::INFINITY, 5.0)]);
        assert_eq!(figures.text("d_info", "version"), Some("0.1.0"));
        assert_eq!(figures.text("e_info", "version"), None);
    }

    #[test]
    fn what_is_no_metric_is_told_with_its_line() {
        for line in [
            "a",
            "a ",
            "a x",
            "a{",
            "a{b=\"",
            "a{b=\"c\"",
            "a{b=c} 1",
            "{} 1",
            "<html> 5",
            "a{b=\"c\"}1",
            "a NaN",
        ] {
            let told = Figures::read(&format!("b 1\n{line}\n"));
            assert_eq!(told, Err("line 2 is no metric".to_owned()), "case: {line}");
        }
        let long = "a 1\n".repeat(SAMPLES_MAX + 1);
        assert!(Figures::read(&long).is_err_and(|told| told.contains("more than")), "an endless text ends");
    }

    proptest! {
        /// Whatever a server sends, it is read or told.
        #[test]
        fn no_text_is_too_strange(text in ".{0,200}") {
            let _ = Figures::read(&text);
        }
    }
}
