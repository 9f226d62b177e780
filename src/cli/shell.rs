//! `tidegate completions` and `tidegate man`: what a package or a shell's configuration installs.
//!
//! Always holds: both are made from the command line's own description, so they can't differ from it.

use anyhow::bail;
use clap::Args;
use clap_complete::Shell;
use std::io::{self, ErrorKind, Write};
use std::process::ExitCode;

#[derive(Debug, Args)]
#[command(after_help = "Example: tidegate completions bash > /etc/bash_completion.d/tidegate")]
pub(super) struct Completions {
    /// The shell that will read them
    shell: Shell,
}

#[derive(Debug, Args)]
#[command(after_help = "Example: tidegate man send | man -l -")]
pub(super) struct Man {
    /// The command that the page is about [default: tidegate as a whole]
    command: Option<String>,
}

pub(super) fn completions(options: &Completions, of: &clap::Command) -> anyhow::Result<ExitCode> {
    // What is not for people would be completed all the same.
    let shown = of.get_subcommands().filter(|command| !command.is_hide_set()).cloned();
    let mut of = clap::Command::new("tidegate").version(env!("CARGO_PKG_VERSION")).subcommands(shown);
    let mut text = Vec::new();
    clap_complete::generate(options.shell, &mut of, "tidegate", &mut text);
    written(&text)
}

pub(super) fn man(options: &Man, mut of: clap::Command) -> anyhow::Result<ExitCode> {
    // Gives subcommands their full names.
    of.build();
    let page = match &options.command {
        None => of,
        Some(name) => match of.find_subcommand(name) {
            Some(found) => found.clone(),
            None => bail!("there is no command {name}; tidegate --help lists them"),
        },
    };
    let mut text = Vec::new();
    clap_mangen::Man::new(page).render(&mut text)?;
    written(&text)
}

fn written(text: &[u8]) -> anyhow::Result<ExitCode> {
    match io::stdout().write_all(text) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            bail!("cannot write to standard output: {error}")
        }
        _written_or_not_wanted => Ok(ExitCode::SUCCESS),
    }
}
