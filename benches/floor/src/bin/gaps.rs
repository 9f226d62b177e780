//! `gaps`: how often this CPU is taken away from a program that does nothing but look at the clock.
//!
//! ```text
//!  look look look look ........ look look look        a gap: two looks that are further apart than --over-us
//! ```
//!
//! Run at a real-time priority where a server ran at one, it shows what the host and the kernel take from whoever runs
//! there: no server can be quicker. It sleeps for a fifth of each second, and leaves that out: Linux takes the CPU away
//! from whoever keeps it at such a priority for more than 95 % of one (`sched_rt_runtime_us`).
//! Always ends: after `--secs`. Prints one line of JSON; `secs` in it are those in which it looked.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use floor::args::{Args, Refusal};

const SECS_MAX: f64 = 60.0;
const LOOKING: Duration = Duration::from_millis(800);
const ASLEEP: Duration = Duration::from_millis(200);

const USAGE: &str = "usage: gaps --secs SECS --over-us MICROSECONDS";

fn main() -> ExitCode {
    match plan(Args::from_env()) {
        Ok((time, over)) => {
            println!("{}", look(time, over));
            ExitCode::SUCCESS
        }
        Err(why) => {
            eprintln!("gaps: {why}\n{USAGE}");
            ExitCode::FAILURE
        }
    }
}

fn plan(mut args: Args) -> Result<(Duration, Duration), Refusal> {
    let secs: f64 = args.required("--secs")?;
    let over_us = args.required("--over-us")?;
    args.finish()?;
    if !(0.0..=SECS_MAX).contains(&secs) {
        return Err(format!("--secs {secs}: 0 to {SECS_MAX}"));
    }
    Ok((Duration::from_secs_f64(secs), Duration::from_micros(over_us)))
}

fn look(time: Duration, over: Duration) -> String {
    let began = Instant::now();
    let (mut looked, mut gaps, mut longest) = (Duration::ZERO, 0_u64, Duration::ZERO);
    while began.elapsed() < time {
        let awake = Instant::now();
        let mut last = awake;
        while last - awake < LOOKING && last - began < time {
            let now = Instant::now();
            let gap = now - last;
            gaps += u64::from(gap > over);
            longest = longest.max(gap);
            last = now;
        }
        looked += last - awake;
        std::thread::sleep(ASLEEP);
    }
    let (secs, longest_us) = (looked.as_secs_f64(), longest.as_micros());
    format!("{{\"secs\":{secs:.3},\"gaps\":{gaps},\"longest_us\":{longest_us}}}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(line: &str) -> Args {
        Args::from_words(line.split(' ').map(str::to_owned))
    }

    #[test]
    fn every_look_is_a_gap_of_nothing() {
        let said = look(Duration::from_millis(5), Duration::ZERO);
        assert!(!said.contains("\"gaps\":0"), "{said}");
        assert!(look(Duration::from_millis(5), Duration::from_secs(9)).contains("\"gaps\":0"));
    }

    #[test]
    fn it_ends_within_a_minute() {
        assert!(plan(args("--secs 60 --over-us 1000")).is_ok());
        for line in
            ["--secs 61 --over-us 1000", "--secs -1 --over-us 1", "--secs nan --over-us 1", "--secs 1"]
        {
            assert!(plan(args(line)).is_err(), "{line}");
        }
    }
}
