//! Reads `tests/data/vectors.txt`, whose head explains it.
//!
//! Always holds: a key that is not known here fails, so that the file can't grow past its readers. Never: what a case
//! means.

/// One case of the file.
#[derive(Clone, Default)]
pub(crate) struct Case<'a> {
    pub(crate) name: &'a str,
    pub(crate) kind: &'a str,
    pub(crate) from_server: bool,
    pub(crate) limit: u32,
    /// We would send it in fewer bytes, or not at all.
    pub(crate) is_spare: bool,
    pub(crate) bytes: Vec<u8>,
    /// As in the file, with bytes as [`hex`] writes them.
    pub(crate) wants: Vec<String>,
    /// Whether a session is for a listener of lines.
    pub(crate) on_lines: bool,
    /// What the client of a session sends, piece by piece.
    pub(crate) sends: Vec<Vec<u8>>,
}

impl<'a> Case<'a> {
    pub(crate) fn read_all(file: &'a str) -> Vec<Case<'a>> {
        let paragraphs = file.split("\n\n").map(|text| text.lines().filter(|line| !line.starts_with('#')));
        paragraphs
            .map(|lines| lines.collect::<Vec<_>>())
            .filter(|lines| !lines.is_empty())
            .map(Case::read)
            .collect()
    }

    fn read(lines: Vec<&'a str>) -> Case<'a> {
        let mut case = Case::default();
        for line in lines {
            let (key, value) = line.split_once(' ').unwrap_or_else(|| panic!("no value: {line}"));
            match key {
                "case" => case.name = value,
                "kind" => case.kind = value,
                "from" => {
                    assert!(["client", "server"].contains(&value), "unknown sender {value}");
                    case.from_server = value == "server";
                }
                "limit" => case.limit = value.parse().expect("limit in bytes"),
                "bytes" => case.bytes = bytes(value.split(' ')),
                "spare" => case.is_spare = true,
                "want" => case.wants.push(normal(value)),
                "on" => case.on_lines = value == "lines",
                "send" => case.sends.push(bytes(value.split(' '))),
                "finish" | "expect" if case.kind == "session" => {}
                other => panic!("unknown key {other} in case {}", case.name),
            }
        }
        assert!(
            !case.name.is_empty() && (case.kind == "session") == case.wants.is_empty(),
            "{} lacks a line",
            case.name
        );
        case
    }
}

/// Hex words joined; `61*3` repeats; `-` is nothing.
pub(crate) fn bytes<'a>(words: impl Iterator<Item = &'a str>) -> Vec<u8> {
    let mut out = Vec::new();
    for word in words.filter(|word| *word != "-") {
        let (digits, count) = word.split_once('*').unwrap_or((word, "1"));
        assert!(digits.len().is_multiple_of(2), "odd hex: {word}");
        let pairs = (0..digits.len()).step_by(2).map(|at| &digits[at..at + 2]);
        let once: Vec<u8> = pairs.map(|pair| u8::from_str_radix(pair, 16).expect("hex")).collect();
        out.extend(once.repeat(count.parse().expect("a count")));
    }
    out
}

/// Bytes as a want has them: `-` for nothing, many equal ones as a repeat, which keeps cases of a MiB quick.
pub(crate) fn hex(bytes: &[u8]) -> String {
    let Some(first) = bytes.first() else { return "-".to_owned() };
    if bytes.len() > 16 && bytes[1..] == bytes[..bytes.len() - 1] {
        return format!("{first:02x}*{}", bytes.len());
    }
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A want with its bytes in the form that [`hex`] gives them.
pub(crate) fn normal(want: &str) -> String {
    let is_long = |word: &str| word.contains('*') || word.len() > 32; // only bytes are
    let word = |word: &str| if is_long(word) { hex(&bytes([word].into_iter())) } else { word.to_owned() };
    want.split(' ').map(word).collect::<Vec<_>>().join(" ")
}
