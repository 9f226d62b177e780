//! `tidegate hold`: a process that holds idle connections for a `tidegate bench` that has not descriptors enough.
//!
//! Reads what to do from its standard input, one line, and answers there; ends when it is told to or its input ends.

use crate::load::descriptors;
use crate::load::holders::{Held, Job, READY};
use anyhow::anyhow;
use std::io::{BufRead, Write};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

pub(super) fn run() -> anyhow::Result<ExitCode> {
    descriptors::raise_limit();
    let mut line = String::new();
    std::io::stdin().lock().read_line(&mut line)?;
    let job = Job::read(&line).map_err(|why| anyhow!("this is for tidegate bench to run: {why}"))?;
    let is_over = Arc::new(AtomicBool::new(false));
    let over = Arc::clone(&is_over);
    std::thread::Builder::new().name("end of input".to_owned()).spawn(move || {
        let mut line = String::new();
        // A word, the end, or an error: all mean that it is over.
        let _ = std::io::stdin().lock().read_line(&mut line);
        over.store(true, Ordering::Relaxed);
    })?;
    let tell = |line: &str| {
        let mut out = std::io::stdout().lock();
        // Without a reader the input ends, too.
        let _ = writeln!(out, "{line}").and_then(|()| out.flush());
    };
    let held = job.hold(|| tell(READY), || is_over.load(Ordering::Relaxed));
    // Whoever started this one tells people: it is one of several that say the same.
    tell(&held.as_ref().map_or_else(String::clone, Held::to_line));
    Ok(if held.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
