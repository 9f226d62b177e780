use super::*;
use crate::load::report::Trouble;
use std::collections::BTreeMap;

fn series(seconds: u32) -> Vec<Interval> {
    let one = |second: u32| Interval {
        at_s: f64::from(second),
        length_s: 1.0,
        measured: second >= 5,
        scheduled: 50_000,
        sent: 50_000,
        answered: 49_900,
        in_flight: 214,
        open: 64,
        p50_ns: Some(84_200),
        p99_ns: Some(231_000 + u64::from(second % 7) * 40_000),
        p999_ns: Some(1_200_000),
        max_ns: Some(4_100_000),
        ..Interval::default()
    };
    (0..seconds).map(one).collect()
}

fn moment<'a>(series: &'a [Interval], troubles: &'a BTreeMap<Trouble, u64>) -> Progress<'a> {
    Progress {
        title: "",
        phase: if series.is_empty() { Phase::Connecting } else { Phase::Measuring },
        elapsed_s: series.len() as f64,
        total_s: 35.0,
        wanted: 64,
        open: 64,
        offered: Some(50_000.0),
        series,
        troubles,
    }
}

#[test]
fn a_moment_is_a_few_lines() {
    let (series, troubles) = (series(12), [(Trouble::Reset, 12)].into());
    let lines = Display::new(false).lines(&moment(&series, &troubles), 80);
    let want = [
        "measuring  ━━━━━━━━━━──────────────────────   12 s of 35 s",
        "rate       50,000/s due, 49,900/s answered, 214 in flight, 64 of 64 open",
        "response   p50 84.2 µs  p99 391 µs  p99.9 1.20 ms  max 4.10 ms",
        "p99        ▁▂▃▄▅▆█▁▂▃▄▅  231 µs to 471 µs",
        "errors     12 reset by the server",
    ];
    assert_eq!(lines, want);
    let mut closed = moment(&series, &troubles);
    closed.offered = None;
    let lines = Display::new(false).lines(&closed, 80);
    assert_eq!(lines[1], "rate       49,900/s answered, 214 in flight, 64 of 64 open");
    assert!(lines[2].starts_with("service    p50 84.2 µs"), "{lines:?}");
    let (none, nothing) = (Vec::new(), BTreeMap::new());
    let lines = Display::new(false).lines(&moment(&none, &nothing), 80);
    assert_eq!(lines[1], "open       64 of 64 open");
}

/// A terminal may be of any width, and a server may fail in every way.
#[test]
fn no_line_is_wider_than_the_terminal() {
    let troubles: BTreeMap<_, _> = Trouble::ALL.iter().map(|trouble| (*trouble, u64::MAX)).collect();
    for seconds in [0, 1, 2, 40, 4_000] {
        let series = series(seconds);
        let mut progress = moment(&series, &troubles);
        progress.title = "floor, round 2 of 5 \x1b[31m\n";
        for width in 0..130 {
            for line in Display::new(false).lines(&progress, width) {
                assert!(line.chars().count() <= width, "{} > {width}: {line:?}", line.chars().count());
                assert!(!line.chars().any(char::is_control), "{line:?}");
            }
        }
    }
}

#[test]
fn a_moment_is_one_line_where_nobody_looks() {
    let (series, troubles) = (series(12), [(Trouble::Reset, 12)].into());
    let mut progress = moment(&series, &troubles);
    progress.title = "try 3: 41.0k/s";
    assert_eq!(
        Display::new(true).line(&progress),
        "try 3: 41.0k/s, measuring 12 s, 50,000/s due, 49,900/s answered, 214 in flight, 64 of 64 open, \
         p50 84.2 µs  p99 391 µs  p99.9 1.20 ms  max 4.10 ms, 12 reset by the server"
    );
}

fn written(way: Way) -> String {
    let mut out = Vec::new();
    let (series, troubles) = (series(3), BTreeMap::new());
    let mut live = Live { out: &mut out, way, display: Display::new(false), drawn: 0 };
    live.show_in(&moment(&series, &troubles), 60);
    live.show_in(&moment(&series, &troubles), 60);
    drop(live);
    String::from_utf8(out).expect("it is text")
}

#[test]
fn a_drawing_is_drawn_over_and_taken_away() {
    let text = written(Way::Drawn);
    let parts: Vec<_> = text.split("\x1b[4F\x1b[J").collect();
    assert_eq!(parts.len(), 3, "{text:?}");
    assert_eq!(parts[0], parts[1]);
    assert_eq!(parts[0].lines().count(), 4);
    assert_eq!(parts[2], "");
}

#[test]
fn lines_are_left_and_silence_is_kept() {
    let text = written(Way::Lines);
    assert_eq!((text.lines().count(), text.contains('\x1b')), (2, false));
    assert_eq!(written(Way::Silent), "");
}
