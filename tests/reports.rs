//! What is made from reports, on reports of every kind: files that are read back as they were written, comparisons that
//! tell a change from noise.
#![cfg(feature = "load")]

use tidegate::load;

#[path = "support/reports.rs"]
mod reports;

use load::compare::{CompareError, Judged, compare};
use load::file;
use load::report::{Model, Report, Trouble};

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

/// The judgement of a figure, 5 % allowed.
fn judged(old: &Report, new: &Report, figure: &str) -> Judged {
    let comparison = compare(old, new, 0.05).expect("they ask the same");
    let found = comparison.figures.iter().find(|found| found.name == figure);
    found.unwrap_or_else(|| panic!("{figure} is not among {:?}", comparison.figures)).judged
}

/// What is changed in the new run, the figure that is looked at, and what to make of it.
#[test]
fn a_change_is_told_from_noise() {
    type Change = fn(&mut Report);
    #[rustfmt::skip]
    let table: &[(&str, Change, &str, Judged)] = &[
        ("nothing",             |_| (),                                                              "response p99",  Judged::Noise),
        ("slower, sure",        |new| *new = reports::baseline(),                                    "response p50",  Judged::Regressed),
        ("slower, within",      |new| { *new = reports::baseline(); new.confidence = reports::normal().confidence; }, "response p50", Judged::Noise),
        ("slower, unsure",      |new| { *new = reports::baseline(); new.confidence = None; },         "response p50",  Judged::Regressed),
        ("slower service",      |new| *new = reports::baseline(),                                    "service p50",   Judged::Regressed),
        ("dearer by 3 %",       |new| new.server.as_mut().unwrap().cpu_ns_per_message *= 1.03,        "cpu a message", Judged::Noise),
        ("dearer by 6 %",       |new| new.server.as_mut().unwrap().cpu_ns_per_message *= 1.06,        "cpu a message", Judged::Regressed),
        ("cheaper",             |new| new.server.as_mut().unwrap().cpu_ns_per_message *= 0.90,        "cpu a message", Judged::Better),
        ("cost not known",      |new| new.server = None,                                             "cpu a message", Judged::Unknown),
        ("rate down by 10 %",   |new| new.counts.answered = new.counts.answered / 10 * 9,            "rate",          Judged::Regressed),
        ("rate up by 10 %",     |new| new.counts.answered = new.counts.answered / 10 * 11,           "rate",          Judged::Better),
        ("one error",           |new| { new.troubles.insert(Trouble::Timeout, 1); },                 "errors",        Judged::Noise),
        ("nine errors",         |new| { new.troubles.insert(Trouble::Timeout, 9); },                 "errors",        Judged::Regressed),
        ("one wrong reply",     |new| { new.troubles.insert(Trouble::Crc, 1); },                     "wrong",         Judged::Regressed),
        ("errors are not wrong", |new| { new.troubles.insert(Trouble::Timeout, 9); },                "wrong",         Judged::Noise),
    ];
    for (name, change, figure, want) in table {
        let mut new = reports::normal();
        change(&mut new);
        assert_eq!(judged(&reports::normal(), &new, figure), *want, "case: {name}");
    }
    assert_eq!(judged(&reports::baseline(), &reports::normal(), "response p50"), Judged::Better);
}

/// A small change that is sure is told, and is no regression.
#[test]
fn what_is_allowed_is_no_regression() {
    let (old, new) = (reports::normal(), reports::baseline());
    let comparison = compare(&old, &new, 0.99).expect("they ask the same");
    assert!(!comparison.has_regressed(), "{comparison:?}");
    assert!(comparison.figures.iter().any(|figure| figure.judged == Judged::Worse), "{comparison:?}");
    assert!(compare(&old, &new, 0.01).expect("they ask the same").has_regressed());
}

/// What is changed in the new run, and why it can't be compared then.
#[test]
fn only_answers_to_the_same_question_are_compared() {
    type Change = fn(&mut Report);
    #[rustfmt::skip]
    let table: &[(Change, &str)] = &[
        (|new| *new = reports::void(),                     "the new run is void: own lateness p99 is 1.92 ms"),
        (|new| *new = reports::failed(),                   "the new run measured nothing; measure it again"),
        (|new| new.asked.size = "1024".to_owned(),         "not the same question: size 64 against 1024; compare"),
        (|new| new.asked.profile = Some("20k".to_owned()), "not the same question: rate 50k against 20k;"),
        (|new| { new.asked.model = Model::Closed; new.asked.profile = None; new.asked.arrival = None; },
                                                           "not the same question: loop open against closed, rate 50k against none, arrival poisson against none;"),
        (|new| { new.asked.connections = 8; new.asked.impair = "slow=5%".to_owned(); },
                                                           "not the same question: connections 64 against 8, impair none against slow=5%;"),
    ];
    for (change, want) in table {
        let mut new = reports::normal();
        change(&mut new);
        let told = compare(&reports::normal(), &new, 0.05).expect_err(want);
        assert!(told.to_string().starts_with(want), "{told}");
    }
    let told = compare(&reports::void(), &reports::normal(), 0.05);
    assert!(matches!(told, Err(CompareError::Void { which: "old", .. })), "{told:?}");
}

#[test]
fn what_may_be_unfair_is_told() {
    let mut new = reports::normal();
    assert_eq!(compare(&reports::normal(), &new, 0.05).expect("the same").warnings, [""; 0]);
    new.host.processors = 64;
    new.asked.duration_s = 3.0;
    let warnings = compare(&reports::normal(), &new, 0.05).expect("the same").warnings;
    assert_eq!(
        warnings,
        [
            "another machine: Linux 6.12.41 AMD EPYC 9B14 with 2 processors against Linux 6.12.41 AMD EPYC 9B14 with \
             64 processors",
            "another length: 30 s after 5 s against 3 s after 5 s"
        ]
    );
}
