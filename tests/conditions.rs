//! What may be demanded of a run, and what is said of it: every figure, on the report of a run that never was.
#![cfg(feature = "load")]

use tidegate::load;

#[path = "support/reports.rs"]
mod reports;

use load::condition::{Condition, PARTS_MAX};
use load::histogram::Histogram;
use load::report::{Assertion, Counts, Model, Report, ServerFigures, Trouble};

/// 1,500 requests in three seconds, most in 1 ms and fifteen in 2 ms; twelve errors, two of them wrong replies.
fn report() -> Report {
    let mut report = reports::normal();
    let mut response = Histogram::default();
    response.record(1_000_000, 1484);
    response.record(2_000_000, 16);
    let plain = &mut report.classes[0];
    (plain.service, plain.lag) = (Histogram::default(), Histogram::default());
    plain.service.record(500_000, 1500);
    plain.lag.record(3_000, 1500);
    plain.response = response;
    report.measured_s = 3.0;
    report.counts = Counts {
        scheduled: 2000,
        sent: 1600,
        answered: 1500,
        unanswered: 100,
        dropped: 400,
        ..Counts::default()
    };
    report.troubles = [(Trouble::Reset, 10), (Trouble::Crc, 2)].into();
    report.verdict.own.achieved = Some(0.8);
    report.server = Some(ServerFigures { cpu_ns_per_message: 2_900.0, ..ServerFigures::default() });
    report.assertions.clear();
    report
}

fn judged(text: &str, report: &Report) -> Assertion {
    Condition::parse(text).expect(text).judge(report).remove(0)
}

#[test]
fn every_quantity_is_found_and_compared() {
    #[rustfmt::skip]
    let table: &[(&str, Option<bool>, &str)] = &[
        ("p50<2ms",           Some(true),  "p50 is 1.00 ms"),
        ("p99<2ms",           Some(false), "p99 is 2.00 ms (2,000,895 ns)"),
        ("p99<1.9ms",         Some(false), "p99 is 2.00 ms"),
        ("p99 <= 2.1 ms",     Some(true),  "p99 is 2.00 ms"),
        ("p99.9<5ms",         None,        "p99.9 needs 10,000 samples, and there are 1,500; raise --duration"),
        ("response.max>1ms",  Some(true),  "response.max is 2.00 ms"),
        ("mean>=1ms",         Some(true),  "mean is 1.01 ms"),
        ("service.p99<400us", Some(false), "service.p99 is 500 µs"),
        ("lag.max<10µs",      Some(true),  "lag.max is 3.00 µs"),
        ("errors=0",          Some(false), "errors: 12"),
        ("errors<=12",        Some(true),  "errors: 12"),
        ("errors<0.01%",      Some(false), "errors: 0.75 % (12 of 1,600 sent)"),
        ("errors<1%",         Some(true),  "errors: 0.75 % (12 of 1,600 sent)"),
        ("wrong=0",           Some(false), "wrong: 2"),
        ("reset<1k",          Some(true),  "reset: 10"),
        ("out_of_order=0",    Some(true),  "out_of_order: 0"),
        ("dropped<20%",       Some(false), "dropped: 20.0 % (400 of 2,000 scheduled)"),
        ("unanswered<=100",   Some(true),  "unanswered: 100"),
        ("rate>=0.5k",        Some(true),  "rate is 500/s"),
        ("achieved>=99%",     Some(false), "achieved is 80.0 %"),
        ("cpu<3us",           Some(true),  "cpu is 2.90 µs a message"),
    ];
    let report = report();
    for (text, held, found) in table {
        let got = judged(text, &report);
        assert_eq!((got.held, got.found.as_str()), (*held, *found), "case: {text}");
    }
}

#[test]
fn what_cannot_be_known_neither_holds_nor_fails() {
    let mut report = self::report();
    report.server = None;
    report.verdict.own.achieved = None;
    report.asked.model = Model::Closed;
    report.measured_s = 0.0;
    report.counts = Counts::default();
    report.classes[0].response = Histogram::default();
    report.troubles.clear();
    #[rustfmt::skip]
    let table: &[(&str, &str)] = &[
        ("cpu<3us",       "cpu is unknown; name the server's process by --pid"),
        ("achieved>=99%", "achieved is unknown in a closed loop; give it a --rate"),
        ("rate>1",        "rate is unknown: no time was measured; raise --duration"),
        ("errors<1%",     "errors has no share: nothing was sent"),
        ("max<1s",        "max is unknown: there are no samples"),
        ("p50<1s",        "p50 needs 1 sample, and there are 0; raise --duration"),
    ];
    for (text, found) in table {
        let got = judged(text, &report);
        assert_eq!((got.held, got.found.as_str()), (None, *found), "case: {text}");
    }
    assert_eq!(judged("errors=0", &report).held, Some(true));
    report.classes.clear();
    assert_eq!(judged("max<1s", &report).found, "no times were measured; raise --duration");
}

#[test]
fn a_condition_holds_if_all_of_it_does() {
    let report = report();
    #[rustfmt::skip]
    let table: &[(&str, bool, &str)] = &[
        ("p50<2ms, rate>100",          true,  "p50 is 1.00 ms, rate is 500/s"),
        ("p50<2ms,errors=0,wrong=0",   false, "errors: 12, wrong: 2"),
        ("p50<2ms,p99.99<1s",          false, "p99.99 needs 100,000 samples, and there are 1,500; raise --duration"),
    ];
    for (text, held, because) in table {
        let condition = Condition::parse(text).unwrap();
        assert_eq!(condition.outcome(&report), (*held, (*because).to_owned()), "case: {text}");
        assert_eq!(condition.to_string(), text.replace(' ', ""));
    }
    let wants = |text| {
        let condition = Condition::parse(text).unwrap();
        (condition.wants_server_process(), condition.wants_open_loop())
    };
    assert_eq!(wants("p99<1s,errors=0"), (false, false));
    assert_eq!(wants("p99<1s,cpu<1us"), (true, false));
    assert_eq!((wants("lag.p99<1s"), wants("achieved>99%")), ((false, true), (false, true)));
}

#[test]
fn what_cannot_be_judged_is_refused_with_advice() {
    #[rustfmt::skip]
    let table: &[(&str, &str)] = &[
        ("",               "`` is no condition; write one as p99<2ms or errors=0"),
        ("p99",            "`p99` is no condition"),
        ("p99<2ms,",       "`` is no condition"),
        ("p99<2",          "`p99` is compared with a time such as 250us, 2ms or 1s; `2` is none"),
        ("p99<",           "`` is none"),
        ("p99<-2ms",       "`-2ms` is none"),
        ("p99<2ms<3ms",    "`2ms<3ms` is none"),
        ("p99==2ms",       "`==` compares nothing; write <, <=, =, >= or >"),
        ("p99=2ms",        "`p99=2ms` asks for an exact figure, which no run gives; use < or >"),
        ("rate=5",         "use < or >"),
        ("p100<2ms",       "`p100` is no percentile: they lie above p0 and below p100; the longest time is `max`"),
        ("p0<2ms",         "is no percentile"),
        ("p9x<2ms",        "`p9x` is no figure of a run; there are p50 to p99.999, mean"),
        ("service.errors=0", "`service.errors` is no figure of a run"),
        ("error=0",        "errors, wrong, dropped"),
        ("errors=none",    "`errors` is compared with a count such as 0, or a share of what was sent"),
        ("errors<101%",    "`101%` is none"),
        ("rate>=99%",      "`rate` is compared with replies a second such as 500, 40k or 1.5M; `99%` is none"),
        ("achieved>=0.99", "`achieved` is compared with a share such as 99%; `0.99` is none"),
    ];
    for (text, want) in table {
        let said = Condition::parse(text).unwrap_err();
        assert!(said.contains(want) && !said.contains('\n'), "case: {text}\nsaid: {said}");
    }
    let many = vec!["errors=0"; PARTS_MAX + 1].join(",");
    assert!(Condition::parse(&many).unwrap_err().contains("33 conditions are more than 32"));
}

#[test]
fn every_trouble_can_be_asserted() {
    for trouble in Trouble::ALL {
        let name = serde_json::to_value(trouble).unwrap();
        let condition = format!("{}=0", name.as_str().unwrap());
        assert!(Condition::parse(&condition).is_ok(), "{condition}");
    }
}
