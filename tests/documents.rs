//! The documents are true to the tree: links lead somewhere, what is named exists, code that is shown is the code that
//! is tested, and what is said to be printed is printed.

#[path = "../docs/examples/simulated.rs"]
#[allow(dead_code, reason = "its main prints what is looked at here")]
mod simulated;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use tidegate::CloseReason;
use tidegate::metrics::{Counter, Outcome};
use tidegate::net::Endpoint;
use tidegate::server::{DrainReport, Error};

const GUIDE: &str = include_str!("../docs/GUIDE.md");
const ARCHITECTURE: &str = include_str!("../docs/ARCHITECTURE.md");

/// Every document of the repository.
const DOCUMENTS: [&str; 27] = [
    "README.md",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "benches/README.md",
    "docs/ADMIN.md",
    "docs/ARCHITECTURE.md",
    "docs/BENCH.md",
    "docs/CLI.md",
    "docs/CLIENTS.md",
    "docs/CONFIG.md",
    "docs/DASHBOARD.md",
    "docs/DEPLOY.md",
    "docs/GUIDE.md",
    "docs/IDENTITY.md",
    "docs/METRICS.md",
    "docs/OPERATIONS.md",
    "docs/PERFORMANCE.md",
    "docs/PROTOCOL.md",
    "docs/RELIABILITY.md",
    "docs/STABILITY.md",
    "docs/TESTING.md",
    "docs/SECURITY.md",
    "docs/TLS.md",
    "docs/operate/README.md",
    "docs/operate/RUNBOOK.md",
    "docs/TRACING.md",
    "fuzz/README.md",
];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// A document without its code blocks.
fn prose(text: &str) -> String {
    text.split("```").step_by(2).collect()
}

/// What stands between these two, each time.
fn between<'a>(text: &'a str, open: &str, close: &str) -> Vec<&'a str> {
    text.split(open).skip(1).filter_map(|rest| rest.split_once(close)).map(|(inner, _)| inner).collect()
}

/// The anchors of a document's headings, as GitHub makes them.
fn anchors(text: &str) -> BTreeSet<String> {
    let headings = text.lines().filter_map(|line| line.strip_prefix('#'));
    let plain = headings.map(|heading| heading.trim_start_matches('#').trim().to_lowercase());
    let kept = |letter: &char| letter.is_alphanumeric() || [' ', '-', '_'].contains(letter);
    plain.map(|heading| heading.chars().filter(kept).collect::<String>().replace(' ', "-")).collect()
}

#[test]
fn links_lead_somewhere() {
    let mut broken = Vec::new();
    let mut count = 0;
    for document in DOCUMENTS {
        let text = prose(&read(document));
        for link in between(&text, "](", ")") {
            if link.starts_with("https://") {
                continue;
            }
            count += 1;
            let (file, anchor) = link.split_once('#').unwrap_or((link, ""));
            let here = root().join(document);
            let target = if file.is_empty() { here } else { here.with_file_name("").join(file) };
            if !target.exists() {
                broken.push(format!("{document}: {link}: there is no such file"));
            } else if !anchor.is_empty()
                && !anchors(&fs::read_to_string(&target).expect("text")).contains(anchor)
            {
                broken.push(format!("{document}: {link}: there is no such heading"));
            }
        }
    }
    assert!(count > 60, "only {count} links were found: the reader is blind");
    assert!(broken.is_empty(), "\n{}", broken.join("\n"));
}

/// The README leads to each, so that none is forgotten.
#[test]
fn every_document_is_known_and_linked() {
    let mut found = BTreeSet::new();
    for folder in [".", "docs", "docs/operate", "benches", "fuzz"] {
        for entry in fs::read_dir(root().join(folder)).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.extension().is_some_and(|kind| kind == "md") {
                let inside = path.strip_prefix(root()).expect("inside").to_string_lossy().into_owned();
                found.insert(inside.trim_start_matches("./").to_owned());
            }
        }
    }
    let known: BTreeSet<String> = DOCUMENTS.iter().map(|&name| name.to_owned()).collect();
    assert_eq!(found, known);
    let readme = read("README.md");
    let unlinked = DOCUMENTS.iter().filter(|name| name.starts_with("docs/") || **name == "CONTRIBUTING.md");
    let unlinked: Vec<_> = unlinked.filter(|name| !readme.contains(&format!("({name})"))).collect();
    assert!(unlinked.is_empty(), "the README leads nowhere near {unlinked:?}");
}

/// Words in backticks that are paths: of a file in `src`, or from the root.
fn paths_in(text: &str) -> Vec<&str> {
    let prose = text.split("```").step_by(2);
    let ticked = prose.flat_map(|part| part.split('`').skip(1).step_by(2));
    let is_path = |word: &&str| {
        let letters = |letter: char| letter.is_ascii_alphanumeric() || "_-./".contains(letter);
        word.chars().all(letters) && (word.ends_with(".rs") || word.ends_with('/') || word.contains(".md"))
    };
    ticked.filter(is_path).collect()
}

#[test]
fn paths_in_the_documents_exist() {
    let mut missing = Vec::new();
    for document in [
        "docs/ARCHITECTURE.md",
        "docs/TESTING.md",
        "docs/RELIABILITY.md",
        "docs/STABILITY.md",
        "CONTRIBUTING.md",
    ] {
        let text = read(document);
        let paths = paths_in(&text);
        assert!(!paths.is_empty(), "{document}: the reader is blind");
        let exists = |path: &str| ["", "src"].iter().any(|from| root().join(from).join(path).exists());
        missing
            .extend(paths.into_iter().filter(|path| !exists(path)).map(|path| format!("{document}: {path}")));
    }
    assert!(missing.is_empty(), "\n{}", missing.join("\n"));
}

#[test]
fn the_architecture_names_every_module() {
    let words: BTreeSet<&str> = ARCHITECTURE.split(|letter: char| !letter.is_alphanumeric()).collect();
    let is_module = |path: &PathBuf| path.is_dir() || path.extension().is_some_and(|kind| kind == "rs");
    let entries =
        fs::read_dir(root().join("src")).expect("src is there").map(|entry| entry.expect("an entry").path());
    let modules = entries
        .filter(is_module)
        .map(|path| path.file_stem().expect("a name").to_string_lossy().into_owned());
    let modules: Vec<String> = modules.filter(|name| name != "lib" && name != "main").collect();
    assert!(modules.len() > 10, "only {modules:?}");
    let unnamed: Vec<_> = modules.iter().filter(|name| !words.contains(name.as_str())).collect();
    assert!(unnamed.is_empty(), "docs/ARCHITECTURE.md does not name {unnamed:?}");
}

/// What the guide shows of an example is in the example that the text before it links to last.
#[test]
fn the_guide_shows_examples_as_they_are() {
    let mut shown = 0;
    let mut before = 0;
    for (at, _) in GUIDE.match_indices("```rs\n") {
        let code = &GUIDE[at + 6..];
        let code = &code[..code.find("```").expect("a block ends")];
        let example = GUIDE[..at].rfind("](examples/").expect("an example is named before it is shown");
        assert!(example >= before, "its example is named near it");
        let name = GUIDE[example + 2..].split(')').next().expect("a link ends");
        let text = read(&format!("docs/{name}"));
        for part in code.split("// ...\n") {
            assert!(text.contains(part), "docs/{name} has not, or no longer:\n{part}");
            shown += 1;
        }
        before = example;
    }
    assert!(shown > 5, "only {shown} parts of examples were found");
}

#[test]
fn the_guide_says_what_is_printed() {
    let failure = simulated::simulate(simulated::careless).expect_err("the mistake is found").to_string();
    let first: String = failure.lines().take(2).map(|line| format!("{line}\n")).collect();
    assert!(GUIDE.contains(&first), "the guide has not:\n{first}");
    if let Err(failure) = simulated::simulate(simulated::careful) {
        panic!("{failure}");
    }
    let report = DrainReport::default().to_string();
    assert!(GUIDE.contains(&report), "the guide has not:\n{report}");
}

#[test]
fn an_idle_connection_costs_what_is_said() {
    let said = format!("An idle connection costs {} bytes", tidegate::turn::IDLE_BYTES);
    assert!(read("README.md").contains(&said), "the README has not: {said}");
    let formula = format!("connections × ({} B", tidegate::turn::IDLE_BYTES);
    assert!(ARCHITECTURE.contains(&formula), "docs/ARCHITECTURE.md has not: {formula}");
}

/// The rows of the guide's table of limits name what exists.
#[test]
fn the_guides_limits_exist() {
    let table =
        GUIDE.split("## 7. Limits").nth(1).and_then(|rest| rest.split("## 8.").next()).expect("it is there");
    let rows: Vec<&str> = table.lines().filter(|line| line.starts_with("| ") && line.contains('`')).collect();
    assert!(rows.len() > 20, "only {} rows", rows.len());
    let (limits, builder) =
        (read("src/base/limits/given.rs"), read("src/server/builder.rs") + &read("src/server/listener.rs"));
    let names = Counter::ALL.iter().map(|counter| counter.name());
    let names = names.chain(Outcome::ALL.iter().map(|outcome| outcome.name()));
    let names: BTreeSet<&str> = names.chain(CloseReason::ALL.iter().map(|why| why.name())).collect();
    for row in rows {
        let cells: Vec<&str> = row.trim_matches('|').split('|').collect();
        assert_eq!(cells.len(), 4, "{row}");
        for limit in cells[0].split('`').skip(1).step_by(2) {
            let (owner, name) = limit.split_once("::").expect("Owner::name");
            let exists = match owner {
                "Limits" => limits.contains(&format!("pub {name}: ")),
                _ => builder.contains(&format!("fn {name}(mut self")),
            };
            assert!(exists, "{limit}: {row}");
        }
        for counted in cells[3].split('`').skip(1).step_by(2) {
            assert!(names.contains(counted), "nothing is counted as {counted}: {row}");
        }
    }
}

#[test]
fn the_guides_exit_codes_are_ours() {
    let address = || Endpoint::parse("127.0.0.1:1").expect("an address");
    let other = || std::io::Error::other("why");
    let errors = [
        ("Lossy", Error::Lossy(DrainReport::default())),
        ("Address", Error::Address { text: String::new(), why: String::new() }),
        ("NoListener", Error::NoListener),
        ("Limit", Error::Limit { name: "", got: 0, least: 0, most: 0 }),
        ("AddressInUse", Error::AddressInUse { address: address() }),
        ("NotShared", Error::NotShared { address: address() }),
        ("CannotShare", Error::CannotShare { address: address(), why: "" }),
        ("NotLocal", Error::NotLocal { address: address() }),
        ("NotASocket", Error::NotASocket { address: address() }),
        ("NoDirectory", Error::NoDirectory { address: address() }),
        ("Listen", Error::Listen { address: address(), source: other() }),
        ("ShardDied", Error::ShardDied { shard: 0, why: String::new() }),
        ("Forbidden", Error::Forbidden { address: address() }),
        ("Host", Error::Host(other())),
        ("Signals", Error::Signals(String::new())),
    ];
    for (name, error) in errors {
        let row = GUIDE.lines().find(|line| line.starts_with(&format!("| {} | ", error.exit_code())));
        let row = row.unwrap_or_else(|| panic!("the guide has no exit code {}", error.exit_code()));
        assert!(row.contains(&format!("`{name}`")), "{name} is missing: {row}");
    }
}
