//! What is made from reports, on reports of every kind: files that are read back as they were written.
#![cfg(feature = "load")]

use tidegate::load;

#[path = "support/reports.rs"]
mod reports;

use load::{file, report::Report};

/// A report has no equality of its own; its written form has every figure.
fn is_same(one: &Report, other: &Report) -> bool {
    file::to_json(one) == file::to_json(other)
}

#[test]
fn samples_are_reports_that_could_be() {
    for (name, report, _) in reports::all() {
        assert!(report.counts.balance(), "{name}: {:?}", report.counts);
    }
}

#[test]
fn every_report_is_read_back_as_it_was_written() {
    let path = std::env::temp_dir().join(format!("tidegate-report-{}.json", std::process::id()));
    for (name, report, _) in reports::all() {
        file::write(&path, &report).expect(name);
        let text = std::fs::read_to_string(&path).expect(name);
        assert!(text.ends_with("}\n") && text.lines().count() > 80, "{name} has no line for each field");
        let back = file::read(&path).expect(name);
        assert!(is_same(&report, &back), "{name}");
        let response = |report: &Report| report.classes.first().map(|class| class.response.clone());
        assert_eq!(response(&back), response(&report), "{name}");
    }
    std::fs::remove_file(&path).expect("it was written");
}
