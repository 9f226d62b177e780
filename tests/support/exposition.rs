//! OpenMetrics text, read strictly: what is not exactly as the standard wants it is an error that names the line.
//!
//! Always holds: of a text that was read, every family was described before its samples, no series comes twice, names end
//! as their kind and unit want, and histograms add up. Never: the exporter's own code, so that both can't be wrong in the
//! same way.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// Names and values of one series.
pub type Labels = BTreeMap<String, String>;

/// A text that was read.
#[derive(Clone, Debug, Default)]
pub struct Exposition {
    pub families: Vec<Family>,
}

/// One family, in the order of the text.
#[derive(Clone, Debug, Default)]
pub struct Family {
    /// Without `_total` and the like.
    pub name: String,
    pub kind: String,
    pub unit: String,
    pub help: String,
    pub samples: Vec<Sample>,
}

/// One line.
#[derive(Clone, Debug)]
pub struct Sample {
    /// The whole name.
    pub name: String,
    pub labels: Labels,
    pub value: f64,
}

impl Sample {
    /// Whether it has all of these labels.
    fn matches(&self, labels: &[(&str, &str)]) -> bool {
        labels.iter().all(|(name, value)| self.labels.get(*name).is_some_and(|has| has == value))
    }
}

impl Family {
    /// The name that people see: of a counter with `_total`, of an info with `_info`.
    pub fn shown(&self) -> String {
        let ending = match self.kind.as_str() {
            "counter" => "_total",
            "info" => "_info",
            _ => "",
        };
        format!("{}{ending}", self.name)
    }

    /// The labels that its series have, in order, `le` aside.
    pub fn label_names(&self) -> Vec<&str> {
        let names = self.samples.iter().flat_map(|sample| sample.labels.keys());
        let names: BTreeSet<&str> = names.map(String::as_str).filter(|name| *name != "le").collect();
        names.into_iter().collect()
    }
}

impl Exposition {
    /// Reads a whole text.
    pub fn parse(text: &str) -> Result<Exposition, String> {
        let Some(body) = text.strip_suffix("# EOF\n") else {
            return Err("the last line is not `# EOF`".to_owned());
        };
        let mut families: Vec<Family> = Vec::new();
        for (line, number) in body.lines().zip(1..) {
            read_line(line, &mut families).map_err(|wrong| format!("line {number}: {wrong}: {line}"))?;
        }
        let mut seen = BTreeSet::new();
        for family in &families {
            check(family).map_err(|wrong| format!("{}: {wrong}", family.name))?;
            for sample in &family.samples {
                let series = format!("{}{:?}", sample.name, sample.labels);
                if !seen.insert(series.clone()) {
                    return Err(format!("{series} comes twice"));
                }
            }
        }
        Ok(Exposition { families })
    }

    /// All series.
    pub fn samples(&self) -> impl Iterator<Item = &Sample> {
        self.families.iter().flat_map(|family| &family.samples)
    }

    /// The one series with this name and exactly these labels.
    pub fn find(&self, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
        let mut samples = self.samples().filter(|sample| sample.name == name);
        samples
            .find(|sample| sample.labels.len() == labels.len() && sample.matches(labels))
            .map(|sample| sample.value)
    }

    /// The same; it must be there.
    #[track_caller]
    pub fn value(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        self.find(name, labels).unwrap_or_else(|| panic!("there is no {name} with {labels:?}"))
    }

    /// The values of all series with this name and at least these labels.
    pub fn matching(&self, name: &str, labels: &[(&str, &str)]) -> Vec<f64> {
        let samples = self.samples().filter(|sample| sample.name == name && sample.matches(labels));
        samples.map(|sample| sample.value).collect()
    }

    /// They, added up. There must be one at least.
    #[track_caller]
    pub fn sum(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        let values = self.matching(name, labels);
        assert!(!values.is_empty(), "there is no {name} with {labels:?}");
        values.iter().sum()
    }

    /// The values that a label has in all series with this name.
    pub fn label_values(&self, name: &str, label: &str) -> BTreeSet<&str> {
        let samples = self.samples().filter(|sample| sample.name == name);
        samples.filter_map(|sample| sample.labels.get(label)).map(String::as_str).collect()
    }
}

fn read_line(line: &str, families: &mut Vec<Family>) -> Result<(), String> {
    if let Some(rest) = line.strip_prefix("# ") {
        let mut words = rest.splitn(3, ' ');
        let (Some(what), Some(name), Some(text)) = (words.next(), words.next(), words.next()) else {
            return Err("a description needs a name and a text".to_owned());
        };
        return describe(what, name, text, families);
    }
    let sample = read_sample(line)?;
    let Some(family) = families.last_mut() else { return Err("no family was described".to_owned()) };
    let Some(suffix) = sample.name.strip_prefix(family.name.as_str()) else {
        return Err(format!("not of the family {}", family.name));
    };
    let suffixes: &[&str] = match family.kind.as_str() {
        "counter" => &["_total"],
        "gauge" => &[""],
        "info" => &["_info"],
        "histogram" => &["_bucket", "_count", "_sum"],
        other => return Err(format!("a family without a known type: {other:?}")),
    };
    if !suffixes.contains(&suffix) {
        return Err(format!("a {} ends in one of {suffixes:?}", family.kind));
    }
    family.samples.push(sample);
    Ok(())
}

fn describe(what: &str, name: &str, text: &str, families: &mut Vec<Family>) -> Result<(), String> {
    if families.last().is_none_or(|family| family.name != name) {
        if families.iter().any(|family| family.name == name) {
            return Err("this family was described before".to_owned());
        }
        if !is_name(name) {
            return Err("no name of a family".to_owned());
        }
        families.push(Family { name: name.to_owned(), ..Family::default() });
    }
    let family = families.last_mut().expect("there is one");
    if !family.samples.is_empty() {
        return Err("a description behind a sample".to_owned());
    }
    let slot = match what {
        "HELP" => &mut family.help,
        "TYPE" => &mut family.kind,
        "UNIT" => &mut family.unit,
        _ => return Err("neither HELP nor TYPE nor UNIT".to_owned()),
    };
    if !slot.is_empty() || text.is_empty() {
        return Err(format!("{what} is empty, or comes twice"));
    }
    *slot = text.to_owned();
    Ok(())
}

fn is_name(name: &str) -> bool {
    let is_letter = |letter: char| letter.is_ascii_alphanumeric() || letter == '_';
    name.chars().all(is_letter) && name.starts_with(|first: char| first.is_ascii_alphabetic())
}

fn read_sample(line: &str) -> Result<Sample, String> {
    let end = line.find(['{', ' ']).ok_or("no value")?;
    let (name, rest) = line.split_at(end);
    if !is_name(name) {
        return Err("no name of a series".to_owned());
    }
    let (labels, rest) = match rest.strip_prefix('{') {
        Some(rest) => read_labels(rest)?,
        None => (Labels::new(), rest),
    };
    let value = rest.strip_prefix(' ').ok_or("no space before the value")?;
    let value = value.parse::<f64>().map_err(|_| "not a number")?;
    Ok(Sample { name: name.to_owned(), labels, value })
}

/// What stands behind an opening brace, and what follows the closing one.
fn read_labels(text: &str) -> Result<(Labels, &str), String> {
    let mut labels = Labels::new();
    let mut rest = text;
    loop {
        let (name, after) = rest.split_once("=\"").ok_or("a label without a value, or empty braces")?;
        if !is_name(name) {
            return Err(format!("{name:?} is no name of a label"));
        }
        let mut value = String::new();
        let mut letters = after.char_indices();
        let end = loop {
            match letters.next().ok_or("a value without an end")? {
                (_, '\\') => match letters.next().ok_or("a value without an end")?.1 {
                    'n' => value.push('\n'),
                    same @ ('"' | '\\') => value.push(same),
                    other => return Err(format!("\\{other} means nothing")),
                },
                (at, '"') => break at + 1,
                (_, letter) => value.push(letter),
            }
        };
        if labels.insert(name.to_owned(), value).is_some() {
            return Err(format!("the label {name} twice"));
        }
        rest = &after[end..];
        match rest.split_at_checked(1).ok_or("labels without an end")? {
            (",", more) => rest = more,
            ("}", more) => return Ok((labels, more)),
            _ => return Err("neither a comma nor a brace behind a value".to_owned()),
        }
    }
}

fn check(family: &Family) -> Result<(), String> {
    let Family { name, kind, unit, help, samples } = family;
    if samples.is_empty() || help.is_empty() || kind.is_empty() {
        return Err("no samples, no help, or no type".to_owned());
    }
    if !help.ends_with('.') {
        return Err("the help is no sentence".to_owned());
    }
    let unit_in_name = ["seconds", "bytes"].into_iter().find(|unit| name.ends_with(&format!("_{unit}")));
    if unit_in_name.unwrap_or_default() != unit {
        return Err(format!("the unit is {unit:?} and the name says {unit_in_name:?}"));
    }
    if ["_total", "_count", "_sum", "_bucket", "_info", "_created"].iter().any(|end| name.ends_with(end)) {
        return Err("the name ends like a series".to_owned());
    }
    for Sample { labels, value, .. } in samples {
        let is_sound = match kind.as_str() {
            "counter" | "histogram" => value.is_finite() && *value >= 0.0,
            "info" => *value == 1.0,
            _ => value.is_finite(),
        };
        if !is_sound {
            return Err(format!("{value} is no value of a {kind}: {labels:?}"));
        }
    }
    if kind == "histogram" { check_histograms(samples) } else { Ok(()) }
}

/// For each set of labels: buckets in order, which only grow, the last of which is everything, and a sum.
fn check_histograms(samples: &[Sample]) -> Result<(), String> {
    let mut each: BTreeMap<Labels, Histogram> = BTreeMap::new();
    for Sample { name, labels, value } in samples {
        let mut labels = labels.clone();
        let le = labels.remove("le");
        let histogram = each.entry(labels.clone()).or_default();
        match (le, name.ends_with("_sum"), name.ends_with("_count")) {
            (Some(le), false, false) => {
                let bound = if le == "+Inf" { f64::INFINITY } else { le.parse().map_err(|_| "a bad le")? };
                if histogram.buckets.last().is_some_and(|(last, _)| *last >= bound) {
                    return Err(format!("buckets are not in order: {le} {labels:?}"));
                }
                histogram.buckets.push((bound, *value));
            }
            (None, true, false) => histogram.sum = Some(*value),
            (None, false, true) => histogram.count = Some(*value),
            (Some(_) | None, _, _) => {
                return Err(format!("le is where it should not be, or missing: {name}"));
            }
        }
    }
    for (labels, Histogram { buckets, count, sum }) in each {
        let grows = buckets.windows(2).all(|two| two[0].1 <= two[1].1);
        let last = buckets.last().copied();
        if !grows || last.map(|(bound, _)| bound) != Some(f64::INFINITY) {
            return Err(format!("buckets shrink, or don't end at +Inf: {labels:?}"));
        }
        if last.map(|(_, count)| count) != count || sum.is_none() {
            return Err(format!("the last bucket is not the count, or there is no sum: {labels:?}"));
        }
    }
    Ok(())
}

#[derive(Default)]
struct Histogram {
    buckets: Vec<(f64, f64)>,
    count: Option<f64>,
    sum: Option<f64>,
}

impl fmt::Display for Sample {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{:?} {}", self.name, self.labels, self.value)
    }
}
