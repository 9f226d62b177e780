//! The sampler: the process's profiling timer (setitimer(2), `ITIMER_PROF`), a handler of SIGPROF, and names for what it saw.
//!
//! Handler and unwinder are the crate `pprof`'s. They are kept out of the C library, the unwinder itself and the kernel's
//! page of code: what is interrupted there can't be followed safely.
//!
//! Always holds: the timer is off before the first name is looked for, whatever came of the profile; SIGPROF is ignored
//! from then on, so that one that was on its way ends nothing. Never: on a thread that others wait for; names take a
//! while.

use super::names::readable;
use super::stacks::{C_LIBRARY, Frame, KERNEL};
use super::usage::Books;
use super::{NoProfile, Plan, Profile, Told};
use pprof::{Frames, ProfilerGuardBuilder, Symbol};
use rustix::time::{ClockId, clock_getres};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Duration;

/// Libraries that no sample is taken in.
const LEFT_OUT: [&str; 4] = ["libc", "libgcc", "pthread", "vdso"];

/// Frames of the handler itself are among the first.
const HANDLER_FRAMES_MAX: usize = 12;

/// Where a thread of Rust's begins its own work; the standard library marks it for this.
const THREAD_BEGINS: &str = "__rust_begin_short_backtrace";

/// A profile of so long, or until enough is told; `None` if nobody is there to be told of it any more.
pub(in crate::control) fn sample(plan: Plan, told: &Receiver<Told>) -> Result<Option<Profile>, NoProfile> {
    let hz = i32::try_from(plan.hz).unwrap_or(i32::MAX);
    let guard =
        ProfilerGuardBuilder::default().frequency(hz).blocklist(&LEFT_OUT).build().map_err(refused)?;
    let before = Books::now();
    match told.recv_timeout(plan.lasts) {
        Ok(Told::Enough) | Err(RecvTimeoutError::Timeout) => {}
        Err(RecvTimeoutError::Disconnected) => return Ok(None),
    }
    let report = guard.report().build_unresolved();
    let used = Books::now().since(&before);
    drop(guard);
    let report = report.map_err(refused)?;
    let mut profile =
        Profile::new(report.timing.start_time, report.timing.duration, plan.hz.min(ticks_per_second()));
    for (stack, samples) in report.data {
        let stack = Frames::from(stack);
        profile.add(
            &stack.thread_name_or_id(),
            functions(&stack),
            u64::try_from(samples).unwrap_or_default(),
        );
    }
    for (thread, used) in used {
        profile.add_unsampled(&thread, C_LIBRARY, used.user.saturating_sub(profile.time_of(&thread)));
        profile.add_unsampled(&thread, KERNEL, used.kernel);
    }
    Ok(Some(profile))
}

/// How often a second the kernel looks at its timers of processor time, and so takes a sample at most: with the tick of
/// its clock, which the coarse clocks show (clock_getres(2)).
fn ticks_per_second() -> u32 {
    let tick = Duration::try_from(clock_getres(ClockId::RealtimeCoarse)).unwrap_or_default();
    let ticks = Duration::from_secs(1).as_nanos().checked_div(tick.as_nanos());
    ticks.and_then(|ticks| u32::try_from(ticks).ok()).map_or(u32::MAX, |ticks| ticks.max(1))
}

fn refused(error: pprof::Error) -> NoProfile {
    match error {
        pprof::Error::Running => NoProfile::Taken,
        // It has said more in the log.
        pprof::Error::CreatingError => NoProfile::Refused(
            "it wants a directory for temporary files that it may write to; TMPDIR names one, when the server starts".to_owned(),
        ),
        pprof::Error::NixError(_) | pprof::Error::IoError(_) | pprof::Error::NotRunning => {
            NoProfile::Refused(error.to_string())
        }
    }
}

/// The caller before the called, without what the handler and the start of a thread are made of.
fn functions(stack: &Frames) -> Vec<Frame> {
    let symbols: Vec<&Symbol> = stack.frames.iter().flatten().collect();
    let names: Vec<String> = symbols.iter().map(|symbol| symbol.name()).collect();
    own_part(&names).rev().map(|at| frame(symbols[at], &names[at])).collect()
}

/// Which of these names, the one that was running first, are the thread's own.
fn own_part(names: &[String]) -> std::ops::Range<usize> {
    let is_handler = |name: &String| name.contains("pprof::") || name.contains("backtrace::backtrace::");
    let handler = names.iter().take(HANDLER_FRAMES_MAX).rposition(is_handler).map_or(0, |at| at + 1);
    let begins = names.iter().position(|name| name.contains(THREAD_BEGINS)).unwrap_or(names.len());
    handler..begins.max(handler)
}

fn frame(symbol: &Symbol, name: &str) -> Frame {
    let file = symbol.filename.as_ref().map(|path| path.to_string_lossy().into_owned()).unwrap_or_default();
    Frame { name: readable(name, &file), file, line: symbol.lineno.unwrap_or_default() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_has_a_clock() {
        assert!((24..=10_000).contains(&ticks_per_second()), "{}", ticks_per_second());
    }

    #[test]
    fn what_the_handler_and_the_start_of_a_thread_are_made_of_is_left_out() {
        let own = |names: &[&str]| {
            let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
            names[own_part(&names)].join(" ")
        };
        assert_eq!(own(&["a", "b"]), "a b");
        assert_eq!(own(&[]), "");
        let start =
            ["std::sys::backtrace::__rust_begin_short_backtrace", "core::ops::FnOnce::call_once", "clone3"];
        assert_eq!(own(&[&["a", "b"], &start[..]].concat()), "a b");
        let handler = ["backtrace::backtrace::libunwind::trace", "<pprof::backtrace::Trace>::trace"];
        assert_eq!(own(&[&handler[..], &["a", "b"], &start].concat()), "a b");
        assert_eq!(own(&[&handler[..], &start].concat()), "");
    }
}
