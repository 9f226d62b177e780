//! A profile as a value: stacks of frames, and the processor time that each stood for.
//!
//! Always holds: a stack begins with its thread; a frame stands in the table once. Never: more frames of a stack than
//! [`PROFILE_FRAMES_MAX`]; those next to the root go first.

use crate::base::limits::PROFILE_FRAMES_MAX;
use std::collections::HashMap;
use std::time::{Duration, SystemTime};

/// Where the code of a frame comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::control) enum Origin {
    /// A thread, or all of them: no code.
    Thread,
    /// What is not sampled, and known from the kernel's books.
    Books,
    /// This server and its library.
    Own,
    /// Rust's own library.
    Standard,
    /// Everything else.
    Other,
}

/// A function that was running, or had called one that was.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(in crate::control) struct Frame {
    pub(in crate::control) name: String,
    /// Empty if it is not known.
    pub(in crate::control) file: String,
    /// 0 if it is not known.
    pub(in crate::control) line: u32,
}

/// The kernel's own work for a thread.
pub(in crate::control) const KERNEL: &str = "[kernel]";
/// What a thread used outside of the kernel and of sampled functions.
pub(in crate::control) const C_LIBRARY: &str = "[C library]";

impl Frame {
    /// One that is no function.
    pub(super) fn named(name: &str) -> Frame {
        Frame { name: name.to_owned(), file: String::new(), line: 0 }
    }
}

/// Where a function comes from, by its demangled name: `<tidegate::turn::Turn as core::ops::Drop>::drop` is our own.
pub(super) fn origin(name: &str) -> Origin {
    if name == KERNEL || name == C_LIBRARY {
        return Origin::Books;
    }
    let path = name.trim_start_matches(|c: char| !c.is_alphanumeric());
    let path =
        ["mut ", "dyn ", "impl "].iter().fold(path, |path, word| path.strip_prefix(word).unwrap_or(path));
    let root = path.split(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap_or_default();
    match root {
        "tidegate" => Origin::Own,
        "std" | "core" | "alloc" => Origin::Standard,
        _ => Origin::Other,
    }
}

/// What was running, and for how long.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::control) struct Stack {
    /// Places in [`Profile::frames`], the thread first, the function that was running last.
    pub(in crate::control) frames: Vec<usize>,
    pub(in crate::control) samples: u64,
    pub(in crate::control) time: Duration,
}

/// All stacks.
#[derive(Clone, Debug)]
pub(in crate::control) struct Profile {
    pub(in crate::control) began: SystemTime,
    pub(in crate::control) lasted: Duration,
    pub(in crate::control) hz: u32,
    pub(in crate::control) frames: Vec<Frame>,
    pub(in crate::control) stacks: Vec<Stack>,
    /// Places in `frames`.
    known: HashMap<Frame, usize>,
}

impl Profile {
    pub(super) fn new(began: SystemTime, lasted: Duration, hz: u32) -> Profile {
        Profile { began, lasted, hz, frames: Vec::new(), stacks: Vec::new(), known: HashMap::new() }
    }

    /// Processor time that one sample stands for.
    pub(in crate::control) fn period(&self) -> Duration {
        Duration::from_secs(1) / self.hz
    }

    /// Functions of a thread that were running, the caller before the called, and in how many samples.
    pub(super) fn add(&mut self, thread: &str, functions: impl IntoIterator<Item = Frame>, samples: u64) {
        let time = self.period() * u32::try_from(samples).unwrap_or(u32::MAX);
        self.put(thread, functions, samples, time);
    }

    /// Time of a thread that was not sampled.
    pub(super) fn add_unsampled(&mut self, thread: &str, name: &str, time: Duration) {
        if time.is_zero() {
            return;
        }
        let samples = time.as_nanos() / self.period().as_nanos();
        self.put(thread, [Frame::named(name)], u64::try_from(samples).unwrap_or(u64::MAX), time);
    }

    fn put(
        &mut self,
        thread: &str,
        functions: impl IntoIterator<Item = Frame>,
        samples: u64,
        time: Duration,
    ) {
        let functions: Vec<usize> = functions.into_iter().map(|frame| self.place(frame)).collect();
        let kept = functions.len().min(PROFILE_FRAMES_MAX);
        let mut frames = vec![self.place(Frame::named(thread))];
        frames.extend_from_slice(&functions[functions.len() - kept..]);
        self.stacks.push(Stack { frames, samples, time });
    }

    fn place(&mut self, frame: Frame) -> usize {
        if let Some(at) = self.known.get(&frame) {
            return *at;
        }
        self.known.insert(frame.clone(), self.frames.len());
        self.frames.push(frame);
        self.frames.len() - 1
    }

    /// Time of a thread that is there so far.
    pub(super) fn time_of(&self, thread: &str) -> Duration {
        self.stacks
            .iter()
            .filter(|stack| self.frames[stack.frames[0]].name == thread)
            .map(|stack| stack.time)
            .sum()
    }

    /// Time in functions, in the C library, and in the kernel.
    pub(in crate::control) fn times(&self) -> (Duration, Duration, Duration) {
        let of = |is_meant: &dyn Fn(&str) -> bool| {
            let last =
                |stack: &&Stack| stack.frames.last().is_some_and(|at| is_meant(&self.frames[*at].name));
            self.stacks.iter().filter(last).map(|stack| stack.time).sum()
        };
        (
            of(&|name| name != KERNEL && name != C_LIBRARY),
            of(&|name| name == C_LIBRARY),
            of(&|name| name == KERNEL),
        )
    }

    /// What it is of, in a line or two.
    pub(in crate::control) fn words(&self) -> [String; 2] {
        let (functions, library, kernel) = self.times();
        let s = |time: Duration| format!("{:.2} s", time.as_secs_f64());
        [
            format!(
                "tidegate {}: processor time of {:.1} s, {} samples a second of it",
                env!("CARGO_PKG_VERSION"),
                self.lasted.as_secs_f64(),
                self.hz
            ),
            format!(
                "{}: {} in sampled functions, {} in the C library, {} in the kernel",
                s(functions + library + kernel),
                s(functions),
                s(library),
                s(kernel)
            ),
        ]
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// Two threads; `spin` under `serve` has most.
    pub(in crate::control::profile) fn example() -> Profile {
        let function = |name: &str, line| Frame { name: name.to_owned(), file: "src/a.rs".to_owned(), line };
        let mut profile = Profile::new(SystemTime::UNIX_EPOCH, Duration::from_secs(2), 100);
        let (serve, spin) =
            (function("tidegate::serve", 7), function("<my::Spin as tidegate::Service>::spin", 9));
        profile.add("tidegate-0", [serve.clone(), spin], 60);
        profile.add("tidegate-0", [serve.clone(), function("core::mem::swap", 1)], 5);
        profile.add("tidegate-1", [serve], 10);
        profile.add_unsampled("tidegate-0", KERNEL, Duration::from_millis(255));
        profile
    }

    #[test]
    fn time_is_that_of_samples_and_of_the_books() {
        let profile = example();
        assert_eq!(profile.time_of("tidegate-0"), Duration::from_millis(905));
        let ms = Duration::from_millis;
        assert_eq!(profile.times(), (ms(750), ms(0), ms(255)));
        assert_eq!(profile.stacks[3].samples, 25);
        assert_eq!(profile.frames.len(), 6, "each stands there once: {:?}", profile.frames);
        assert_eq!(
            profile.words()[1],
            "1.00 s: 0.75 s in sampled functions, 0.00 s in the C library, 0.26 s in the kernel"
        );
    }

    #[test]
    fn a_stack_that_is_too_deep_keeps_what_was_running() {
        let mut profile = Profile::new(SystemTime::UNIX_EPOCH, Duration::from_secs(1), 99);
        profile.add("t", (0..PROFILE_FRAMES_MAX + 10).map(|at| Frame::named(&at.to_string())), 1);
        let frames = &profile.stacks[0].frames;
        assert_eq!(frames.len(), 1 + PROFILE_FRAMES_MAX);
        let name = |at: usize| profile.frames[frames[at]].name.as_str();
        assert_eq!((name(0), name(1)), ("t", "10"));
        assert_eq!(name(PROFILE_FRAMES_MAX), (PROFILE_FRAMES_MAX + 9).to_string());
    }

    #[test]
    fn origins_are_told_by_name() {
        use Origin::{Books, Other, Own, Standard};
        #[rustfmt::skip]
        let table = [
            ("tidegate::turn::visit",                              Own),
            ("<tidegate::turn::Turn<S> as core::ops::Drop>::drop", Own),
            ("<&mut dyn tidegate::Service as my::Thing>::go",      Own),
            ("tidegate_other::go",                                 Other),
            ("<alloc::vec::Vec<tidegate::Frame>>::push",           Standard),
            ("core::ptr::drop_in_place<tidegate::Frame>",          Standard),
            ("std::io::Read::read",                                Standard),
            ("mio::poll::Poll::poll",                              Other),
            ("memchr",                                             Other),
            ("[kernel]",                                           Books),
            ("[C library]",                                        Books),
            ("",                                                   Other),
        ];
        for (name, want) in table {
            assert_eq!(origin(name), want, "case: {name}");
        }
    }
}
