//! The page of a run.
#![cfg(feature = "load")]

use tidegate::load;

#[path = "support/reports.rs"]
mod reports;

use load::page::page;

#[test]
fn write_samples() {
    for (name, report, baseline) in reports::all() {
        let html = page(&report, baseline.as_ref());
        std::fs::write(format!("/tmp/pages/{name}.html"), html).expect(name);
    }
}
