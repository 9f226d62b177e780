//! `tidegate floor`: the bare byte echo that `tidegate bench --floor` compares a server with. Not for people: it prints
//! its address in one line, and ends when its standard input ends.

use crate::load::descriptors;
use crate::load::floor::Floor;
use anyhow::anyhow;
use clap::Args;
use std::io::{self, ErrorKind, Write};
use std::process::ExitCode;

#[derive(Debug, Args)]
pub(super) struct Options {
    /// Where to listen: HOST:PORT or unix:PATH
    #[arg(value_name = "ADDRESS")]
    address: String,
}

pub(super) fn run(options: &Options) -> anyhow::Result<ExitCode> {
    let address = &options.address;
    descriptors::raise_limit();
    let floor = Floor::bind(address).map_err(|error| anyhow!("cannot listen at {address}: {error}"))?;
    let mut out = io::stdout().lock();
    writeln!(out, "{}", floor.address())
        .and_then(|()| out.flush())
        .map_err(|error| anyhow!("cannot write to standard output: {error}"))?;
    match floor.run(io::stdin()) {
        Ok(()) => Ok(ExitCode::SUCCESS),
        Err(error) if error.kind() == ErrorKind::PermissionDenied => {
            Err(anyhow!("standard input is a file; give it a pipe, whose end ends the echo"))
        }
        Err(error) => Err(anyhow!("the echo failed: {error}")),
    }
}
