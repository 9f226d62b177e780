//! `tidegate floor`: the bare byte echo that `tidegate bench --floor` compares a server with. Not for people: it prints
//! its address in one line, and ends when its standard input ends.

use crate::load::descriptors;
use crate::load::floor::Floor;
use anyhow::anyhow;
use clap::Args;
use std::io::{self, Write};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

#[derive(Debug, Args)]
pub(super) struct Options {
    /// Where to listen: HOST:PORT or unix:PATH
    #[arg(value_name = "ADDRESS")]
    address: String,
}

pub(super) fn run(options: &Options) -> anyhow::Result<ExitCode> {
    let address = &options.address;
    descriptors::raise_limit();
    let mut floor = Floor::bind(address).map_err(|error| anyhow!("cannot listen at {address}: {error}"))?;
    let mut out = io::stdout().lock();
    writeln!(out, "{}", floor.address())
        .and_then(|()| out.flush())
        .map_err(|error| anyhow!("cannot write to standard output: {error}"))?;
    let is_over = Arc::new(AtomicBool::new(false));
    let ended = Arc::clone(&is_over);
    // Not waited for: it ends with the process, if not before.
    std::thread::spawn(move || {
        let _ = io::copy(&mut io::stdin().lock(), &mut io::sink());
        ended.store(true, Ordering::Relaxed);
    });
    floor.run(|| is_over.load(Ordering::Relaxed)).map_err(|error| anyhow!("the echo ended: {error}"))?;
    Ok(ExitCode::SUCCESS)
}
