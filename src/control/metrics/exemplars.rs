//! Buckets of handler times that are explained: each by a request that fell into it, and whose trace can be looked up.
//!
//! The encoder has no way to write exemplars that somebody else has kept, so they are added behind its lines. OpenMetrics 1.0,
//! section "Exemplars"; the older format has none.
//!
//! Always holds: an exemplar stands behind the bucket that its time falls into, and only where that counts something. Never: a
//! label but two ids.

use super::families::HANDLER_DURATION;
use crate::metrics::BUCKETS;
use crate::server::Exemplar;
use std::fmt::Write;
use std::time::SystemTime;

/// The exemplars of the series of handler times, in the order in which they are written.
pub(super) type Explained = Vec<[Option<Exemplar>; BUCKETS]>;

/// Adds them to OpenMetrics text, as the encoder writes it.
pub(super) fn explain(text: &str, series: &[[Option<Exemplar>; BUCKETS]]) -> String {
    let bucket = format!("{}_seconds_bucket{{", HANDLER_DURATION.name);
    let mut exemplars = series.iter().flatten();
    let mut out = String::with_capacity(text.len() + 128 * series.len());
    // The buckets of a series are cumulative, and begin anew with the next.
    let (mut place, mut before) = (0, 0);
    for line in text.lines() {
        out.push_str(line);
        if line.starts_with(&bucket)
            && let Some(exemplar) = exemplars.next()
        {
            let count = line.rsplit(' ').next().and_then(|count| count.parse().ok()).unwrap_or(0_u64);
            if place % BUCKETS == 0 {
                before = 0;
            }
            if let Some(exemplar) = exemplar.filter(|_| count > before) {
                write(&mut out, &exemplar);
            }
            (place, before) = (place + 1, count);
        }
        out.push('\n');
    }
    out
}

fn write(out: &mut String, exemplar: &Exemplar) {
    let Exemplar { own, handler_us, at } = exemplar;
    let (trace, span) = (u128::from_be_bytes(own.id), u64::from_be_bytes(own.parent));
    let seconds = f64::from(*handler_us) / 1e6;
    let at = at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs_f64();
    let written = write!(out, " # {{trace_id=\"{trace:032x}\",span_id=\"{span:016x}\"}} {seconds} {at:.3}");
    debug_assert!(written.is_ok(), "a string takes everything");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trace::Trace;
    use std::time::Duration;

    #[test]
    fn exemplars_stand_behind_their_buckets() {
        let own = Trace { id: [1; 16], parent: [2; 8], flags: 1 };
        let at = SystemTime::UNIX_EPOCH + Duration::from_millis(1_500);
        let exemplar = Some(Exemplar { own, handler_us: 3, at });
        let (mut first, mut second) = ([None; BUCKETS], [None; BUCKETS]);
        // Of the first series nothing was counted between 2 and 4 µs; of the second, one.
        (first[2], second[2]) = (exemplar, exemplar);
        let line = |service: &str, count: u32| {
            format!("tidegate_handler_duration_seconds_bucket{{le=\"x\",service=\"{service}\"}} {count}\n")
        };
        let text = |counts: [u32; 2]| -> String {
            let series = [("a", counts[0]), ("b", counts[1])];
            let lines = series.iter().flat_map(|(service, second)| {
                (0..BUCKETS).map(move |place| line(service, if place < 2 { 0 } else { *second }))
            });
            lines.collect::<String>() + "tidegate_turns_total 9\n# EOF\n"
        };
        let explained = explain(&text([0, 1]), &[first, second]);
        let told =
            " # {trace_id=\"01010101010101010101010101010101\",span_id=\"0202020202020202\"} 0.000003 1.500";
        let changed: Vec<_> = explained.lines().filter(|line| line.contains(" # {")).collect();
        assert_eq!(changed, [format!("{}{told}", line("b", 1).trim_end())]);
        assert_eq!(explained.replace(told, ""), text([0, 1]), "nothing else is changed");
    }
}
