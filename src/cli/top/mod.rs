//! `tidegate top`: a running server, live in the terminal, by its admin port.
//!
//! ```text
//!   ask (a thread) --> figures --> view --> screen --> terminal
//!                 `--> connections -------'
//! ```
//!
//! Always holds: a server that goes away is said to be away, and is asked again; the terminal is given back. Never: more than
//! a small part of a loop's time for looking at its connections.

mod ask;
mod figures;
mod screen;
mod terminal;
mod view;

use super::colours;
use crate::load::units;
use anyhow::bail;
use ask::Port;
use clap::Args;
use figures::Figures;
use screen::{Listed, Scene};
use serde_json::json;
use std::io::{self, IsTerminal as _, Write};
use std::process::ExitCode;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, SyncSender, channel, sync_channel};
use std::time::{Duration, Instant};
use terminal::{Key, Terminal};
use view::{Moments, Talkers, View};

pub(super) const AFTER: &str = "\
Keys: q quits, b, u and a put those with most bytes, most queued output and the oldest first, p pauses
Example: tidegate top
  tidegate top 127.0.0.1:7413 --once
Exit code: 0 it was ended, 2 asked for in a wrong way, 69 no answer (with --once or --json)";

/// Exit code where nobody answers.
const NO_ANSWER: u8 = 69;

/// Exit code of Ctrl-C: 128 + SIGINT, as shells have it.
const INTERRUPTED: u8 = 130;

/// Connections that are asked for.
const TALKERS: usize = 50;

/// The loops are asked for their connections so seldom that it takes a part in so many of the time.
const ASKING_SHARE: u32 = 20;

/// How soon a key is heard, and a terminal of another size drawn on.
const LOOK: Duration = Duration::from_millis(100);

#[derive(Debug, Args)]
pub(super) struct Options {
    /// The server's admin port
    #[arg(value_name = "ADDRESS", default_value = "127.0.0.1:7413")]
    address: String,
    /// How long between two looks, such as 2s or 500ms; 100ms to 1h
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = interval)]
    every: Duration,
    /// Which connections come first
    #[arg(long, value_name = "WHAT", default_value = "bytes", value_parser = ["bytes", "queued", "age"])]
    by: String,
    /// Look twice, print that, and end: for pipes and scripts
    #[arg(long)]
    once: bool,
    /// The same as JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn run(options: &Options) -> anyhow::Result<ExitCode> {
    if options.once || options.json {
        return once(options);
    }
    if !io::stdout().is_terminal() {
        bail!("standard output is no terminal; tidegate top --once prints one look");
    }
    let address = options.address.clone();
    let (looks, heard) = sync_channel(1);
    let (wishes, wished) = channel();
    let (every, by) = (options.every, options.by.clone());
    std::thread::Builder::new()
        .name("admin port".to_owned())
        .spawn(move || keep_looking(Port::new(&address), by, every, &looks, &wished))?;
    let shown = Shown::new(options, colours::are_wanted(&io::stdout()));
    let terminal = Terminal::take()?;
    // A terminal that is gone is an end like any other.
    let code = live(shown, &terminal, &heard, &wishes).unwrap_or(ExitCode::SUCCESS);
    drop(terminal);
    Ok(code)
}

/// What one look at the server gave.
struct Look {
    at: Instant,
    figures: Result<Figures, String>,
    /// `None`: not asked for this time.
    listed: Option<Listed>,
}

/// What is drawn, and what it was made from.
struct Shown {
    address: String,
    by: String,
    in_colour: bool,
    before: Option<(Instant, Figures)>,
    view: Option<View>,
    listed: Listed,
    alarm: Option<String>,
    is_paused: bool,
}

impl Shown {
    fn new(options: &Options, in_colour: bool) -> Shown {
        Shown {
            address: options.address.clone(),
            by: options.by.clone(),
            in_colour,
            before: None,
            view: None,
            listed: Listed::Unknown("asking for connections".to_owned()),
            alarm: None,
            is_paused: false,
        }
    }

    fn take(&mut self, look: Look) {
        match look.figures {
            Ok(now) => {
                let since = |then: &Instant| look.at.saturating_duration_since(*then).as_secs_f64();
                let before = self.before.as_ref().map(|(then, figures)| (figures, since(then)));
                self.view = Some(Moments { now: &now, before }.view());
                self.before = Some((look.at, now));
                self.alarm = None;
            }
            Err(why) => {
                let last = if self.view.is_some() { "; this is what it said last" } else { "" };
                self.alarm = Some(format!("no answer: {why}; trying again{last}"));
                // What comes next may be another process.
                self.before = None;
            }
        }
        if let Some(listed) = look.listed {
            self.listed = listed;
        }
    }

    /// Does what a key is for; the exit code if that is the end.
    fn press(&mut self, key: Key, wishes: &Sender<String>) -> Option<ExitCode> {
        let by = match key {
            Key::Interrupt => return Some(ExitCode::from(INTERRUPTED)),
            Key::Letter('q' | 'Q') => return Some(ExitCode::SUCCESS),
            Key::Letter('p' | 'P' | ' ') => {
                self.is_paused = !self.is_paused;
                return None;
            }
            Key::Letter('b') => "bytes",
            Key::Letter('u') => "queued",
            Key::Letter('a') => "age",
            Key::Letter(_) => return None,
        };
        by.clone_into(&mut self.by);
        // The thread that looks lives as long as this one.
        let _ = wishes.send(by.to_owned());
        None
    }

    fn lines(&self, size: (usize, usize), has_keys: bool) -> Vec<String> {
        let scene = Scene {
            address: &self.address,
            view: self.view.as_ref(),
            listed: &self.listed,
            by: &self.by,
            alarm: self.alarm.as_deref(),
            is_paused: self.is_paused,
            has_keys,
        };
        screen::lines(&scene, size, self.in_colour)
    }
}

/// Draws what is heard, and does what is typed, until the end.
fn live(
    mut shown: Shown,
    terminal: &Terminal,
    heard: &Receiver<Look>,
    wishes: &Sender<String>,
) -> io::Result<ExitCode> {
    let mut drawn_size = (0, 0);
    loop {
        let mut is_stale = false;
        if let Ok(look) = heard.try_recv()
            && !shown.is_paused
        {
            shown.take(look);
            is_stale = true;
        }
        let size = Terminal::size();
        if is_stale || size != drawn_size {
            drawn_size = size;
            terminal.draw(&shown.lines(size, terminal.has_keys), size.1)?;
        }
        for key in terminal.keys(LOOK)? {
            if let Some(code) = shown.press(key, wishes) {
                return Ok(code);
            }
            terminal.draw(&shown.lines(size, terminal.has_keys), size.1)?;
        }
    }
}

/// Looks at the server again and again, until nobody wants to know.
fn keep_looking(
    mut port: Port,
    mut by: String,
    every: Duration,
    looks: &SyncSender<Look>,
    wished: &Receiver<String>,
) {
    let mut ask_at = Instant::now();
    loop {
        let began = Instant::now();
        let is_due = began >= ask_at;
        let look = look(&mut port, &by, is_due);
        if is_due {
            // Looking at many connections costs the loops time.
            ask_at = began + began.elapsed() * ASKING_SHARE;
        }
        if looks.send(look).is_err() {
            return;
        }
        match wished.recv_timeout(every.saturating_sub(began.elapsed())) {
            Ok(other) => (by, ask_at) = (other, Instant::now()),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
    }
}

fn look(port: &mut Port, by: &str, with_connections: bool) -> Look {
    let figures = match port.get("/metrics") {
        Ok((200, text)) => Figures::read(&text),
        Ok((status, text)) => Err(format!("status {status}: {}", first_line(&text))),
        Err(why) => Err(why),
    };
    let at = Instant::now();
    let listed = (with_connections && figures.is_ok()).then(|| listed(port, by));
    Look { at, figures, listed }
}

fn listed(port: &mut Port, by: &str) -> Listed {
    match port.get(&format!("/connections?by={by}&limit={TALKERS}")) {
        Ok((200, text)) => match serde_json::from_str::<Talkers>(&text) {
            Ok(talkers) => Listed::Known(talkers.connections),
            Err(error) => Listed::Unknown(format!("the list of connections is not understood: {error}")),
        },
        Ok((_, text)) => Listed::Unknown(format!("no list of connections: {}", first_line(&text))),
        Err(why) => Listed::Unknown(format!("no list of connections: {why}")),
    }
}

fn first_line(text: &str) -> &str {
    text.lines().next().unwrap_or("nothing")
}

/// Two looks, printed.
fn once(options: &Options) -> anyhow::Result<ExitCode> {
    let mut port = Port::new(&options.address);
    let mut shown = Shown::new(options, false);
    for is_last in [false, true] {
        if is_last {
            std::thread::sleep(options.every);
        }
        let look = look(&mut port, &options.by, is_last);
        if let Err(why) = &look.figures {
            super::complain(&anyhow::anyhow!(
                "no answer from the admin port {}: {why}; is the server running, and is that its admin port?",
                options.address
            ));
            return Ok(ExitCode::from(NO_ANSWER));
        }
        shown.take(look);
    }
    let text = if options.json {
        let (talkers, why) = match &shown.listed {
            Listed::Known(talkers) => (Some(talkers), None),
            Listed::Unknown(why) => (None, Some(why)),
        };
        format!("{:#}\n", json!({ "server": shown.view, "by": options.by, "list": talkers, "no_list": why }))
    } else {
        let size = if io::stdout().is_terminal() { Terminal::size() } else { (ONCE_WIDTH, usize::MAX) };
        let lines = shown.lines((size.0, usize::MAX), false);
        lines.iter().map(|line| format!("{}\n", line.trim_end())).collect()
    };
    let mut out = io::stdout().lock();
    // A closed standard output, as of `| head`, is no mistake.
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    Ok(ExitCode::SUCCESS)
}

/// Columns where there is no terminal: all that a line can have.
const ONCE_WIDTH: usize = 120;

fn interval(text: &str) -> Result<Duration, String> {
    match units::seconds(text) {
        Some(seconds) if (0.1..=3600.0).contains(&seconds) => Ok(Duration::from_secs_f64(seconds)),
        _ => Err("give it a time of 100ms to 1h, such as 2s".to_owned()),
    }
}
