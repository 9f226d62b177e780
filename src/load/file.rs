//! Reports as files: JSON that people can read and compare by lines.
//!
//! Always holds: what is written is read back; what can't be read gets one line that says why and what to do.
//! Never: a guess at a report of another schema.

use super::report::{Report, SCHEMA};
use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};

/// The largest file that is read, in bytes: a run of some days has less.
pub const FILE_BYTES_MAX: u64 = 256 << 20;

/// Why a report can't be written or read.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// The system refuses to read.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The system refuses to write.
    #[error("cannot write {}: {source}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Larger than any report.
    #[error(
        "{} has more than {FILE_BYTES_MAX} bytes, the most that is read; give a file that bench --json wrote",
        path.display()
    )]
    TooLarge {
        /// The file.
        path: PathBuf,
    },
    /// Not JSON at all, or cut off.
    #[error("{} is not JSON: {why}; give a file that bench --json wrote", path.display())]
    NotJson {
        /// The file.
        path: PathBuf,
        /// What is wrong, and where.
        why: serde_json::Error,
    },
    /// JSON of something else.
    #[error("{} is not a report: {why}; give a file that bench --json wrote", path.display())]
    NotAReport {
        /// The file.
        path: PathBuf,
        /// What is missing or wrong.
        why: String,
    },
    /// A report whose fields mean something else.
    #[error(
        "{} has schema {got} of tidegate {version}, and this is tidegate {} with schema {SCHEMA}; use that version, or \
         measure again",
        path.display(),
        env!("CARGO_PKG_VERSION")
    )]
    OtherSchema {
        /// The file.
        path: PathBuf,
        /// Its schema.
        got: u64,
        /// Which version of this program wrote it.
        version: String,
    },
}

/// The report as JSON with a line for each field, and a line's end at its end.
pub fn to_json(report: &Report) -> String {
    let mut text =
        serde_json::to_string_pretty(report).expect("a report has text keys and nothing that fails");
    text.push('\n');
    text
}

/// Writes a report.
///
/// # Errors
///
/// [`FileError::Write`].
pub fn write(path: &Path, report: &Report) -> Result<(), FileError> {
    let told = |source| FileError::Write { path: path.to_owned(), source };
    let mut file = File::create(path).map_err(told)?;
    file.write_all(to_json(report).as_bytes()).map_err(told)
}

/// Reads a report back.
///
/// # Errors
///
/// Each of [`FileError`] but `Write`.
pub fn read(path: &Path) -> Result<Report, FileError> {
    let told = |source| FileError::Read { path: path.to_owned(), source };
    let mut bytes = Vec::new();
    File::open(path).map_err(told)?.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(told)?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err(FileError::TooLarge { path: path.to_owned() });
    }
    from_json(path, &bytes)
}

/// Takes the bytes of a file apart; the path is for what is said about them.
fn from_json(path: &Path, bytes: &[u8]) -> Result<Report, FileError> {
    let not_json = |why| FileError::NotJson { path: path.to_owned(), why };
    let not_a_report = |why: String| FileError::NotAReport { path: path.to_owned(), why };
    let value: serde_json::Value = serde_json::from_slice(bytes).map_err(not_json)?;
    let schema = value.get("schema").and_then(serde_json::Value::as_u64);
    let version = value.get("version").and_then(serde_json::Value::as_str);
    let (Some(got), Some(version)) = (schema, version) else {
        return Err(not_a_report("it has no schema and version".to_owned()));
    };
    if got != u64::from(SCHEMA) {
        // It may be from anywhere: no more of it than a version has, and no end of line.
        let version = version.chars().filter(|one| !one.is_control()).take(32).collect();
        return Err(FileError::OtherSchema { path: path.to_owned(), got, version });
    }
    serde_json::from_value(value).map_err(|why| not_a_report(why.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_report_is_told_in_one_line() {
        #[rustfmt::skip]
        let table: &[(&str, &str, &str)] = &[
            ("nothing",        "",                                    "run.json is not JSON: EOF"),
            ("text",           "p99 is fine",                         "run.json is not JSON: expected value at line 1"),
            ("cut off",        "{\"schema\": 1,",                     "run.json is not JSON: EOF"),
            ("another thing",  "[1, 2]",                              "run.json is not a report: it has no schema and version; give"),
            ("fields missing", r#"{"schema":1,"version":"0.1.0"}"#,   "run.json is not a report: missing field"),
            ("of tomorrow",    r#"{"schema":2,"version":"9.8\n.7"}"#, "run.json has schema 2 of tidegate 9.8.7, and this is tidegate"),
        ];
        for (name, text, want) in table {
            let told = from_json(Path::new("run.json"), text.as_bytes()).unwrap_err().to_string();
            assert!(told.starts_with(want), "case: {name}: {told}");
            assert!(!told.contains('\n'), "case: {name}: {told}");
        }
    }

    #[test]
    fn a_file_that_is_not_there_is_named() {
        let told = read(Path::new("/nowhere/run.json")).unwrap_err().to_string();
        assert!(told.starts_with("cannot read /nowhere/run.json: "), "{told}");
    }
}
