//! How the library behaves in somebody else's program: it brings few crates along, and leaves to the program what there
//! is one of in a process: signal handlers, the panic hook, the log's subscriber.

mod support;

use std::collections::BTreeSet;
use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use support::client::{ECHO, INTERNAL};
use support::serving::{Serving, builder};
use tidegate::service::Router;
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};

/// What `tidegate` itself asks for, without features.
const DIRECT: &[&str] = &[
    "bytes",
    "crc32fast",
    "crossbeam-queue",
    "memchr",
    "memmap2",
    "mio",
    "rustix",
    "sha2",
    "slab",
    "socket2",
    "subtle",
    "thiserror",
    "tracing",
];

/// What those bring along on Linux: the system's interface and small helpers, and what `thiserror` needs to derive.
const BROUGHT_ALONG: &[&str] = &[
    "bitflags",
    "block-buffer",
    "cfg-if",
    "cpufeatures",
    "crossbeam-utils",
    "crypto-common",
    "digest",
    "hybrid-array",
    "libc",
    "linux-raw-sys",
    "log",
    "once_cell",
    "pin-project-lite",
    "proc-macro2",
    "quote",
    "syn",
    "thiserror-impl",
    "tracing-core",
    "typenum",
    "unicode-ident",
];

/// Crates of the binary at most. Each is somebody else's code to trust, and a clean build is to take a minute on two
/// cores. Whoever needs more looks first for what can go. A third of them are the admin port's: an HTTP server.
/// Eighteen are for CPU profiles: they follow a stack, and find the names of what is on it in the binary's own debug information.
/// Six are for traces: protobuf and what derives it, and the client's side of the same HTTP.
const DEFAULT_MAX: usize = 163;

/// The crates that are linked on Linux, without ourselves.
fn tree(arguments: &[&str]) -> BTreeSet<String> {
    let output = Command::new(env!("CARGO"))
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .args(["tree", "--locked", "--offline", "--edges", "normal", "--prefix", "none", "--format", "{p}"])
        .args(["--target", "x86_64-unknown-linux-gnu"])
        .args(arguments)
        .output()
        .expect("cargo runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).expect("names are text");
    let names = text.lines().filter_map(|line| line.split(' ').next()).filter(|name| !name.is_empty());
    names.filter(|name| *name != "tidegate").map(str::to_owned).collect()
}

fn set(names: &[&[&str]]) -> BTreeSet<String> {
    names.iter().flat_map(|names| names.iter()).map(|name| (*name).to_owned()).collect()
}

#[test]
fn the_bare_library_brings_few_crates_along() {
    assert_eq!(tree(&["--no-default-features", "--depth", "1"]), set(&[DIRECT]));
    assert_eq!(tree(&["--no-default-features"]), set(&[DIRECT, BROUGHT_ALONG]));
}

#[test]
fn the_binary_is_made_of_a_number_of_crates_that_can_be_looked_at() {
    let (bare, all) = (tree(&["--no-default-features"]), tree(&[]));
    assert!(bare.is_subset(&all) && all.contains("clap"), "{all:?}");
    assert!(all.len() <= DEFAULT_MAX, "{} crates, {DEFAULT_MAX} are the most: {all:?}", all.len());
}

/// Signals that this process handles and ignores, and that this thread blocks, as the kernel knows it. (Those of the first
/// thread are all blocked for moments, when it starts another.)
#[cfg(target_os = "linux")]
fn signals() -> Vec<String> {
    let status = std::fs::read_to_string("/proc/thread-self/status").expect("/proc is there");
    let of = ["SigCgt:", "SigIgn:", "SigBlk:"];
    let lines: Vec<_> = status.lines().filter(|line| of.iter().any(|name| line.starts_with(name))).collect();
    assert_eq!(lines.len(), of.len(), "{status}");
    lines.into_iter().map(str::to_owned).collect()
}

/// A server that has served somebody.
fn used() -> Serving {
    let serving = Serving::of(builder().workers(1, 1).start(Router::embedded).expect("a server"));
    serving.connect().echo(b"hello");
    serving
}

#[test]
#[cfg(target_os = "linux")]
fn start_leaves_signals_to_the_program() {
    let before = signals();
    let serving = used();
    assert_eq!(signals(), before);
    serving.end();
    assert_eq!(signals(), before);
    // What they look like when somebody takes them, so that the above means something.
    #[cfg(feature = "signals")]
    {
        let serving = used();
        let running = serving.into_running();
        let grace = std::time::Duration::from_secs(1);
        tidegate::server::drain_on_signals(&running, grace).expect("nobody else has taken them");
        assert_ne!(signals(), before, "SIGINT and SIGTERM are handled");
        running.handle().drain(grace);
        running.join().expect("it ends in order");
    }
}

#[test]
fn start_leaves_the_panic_hook_to_the_program() {
    let told = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&told);
    let before = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |_| {
        counted.fetch_add(1, Relaxed);
    }));
    let serving = Serving::of(
        builder()
            .start_fn(
                |frame, reply| if frame.route() == ECHO { reply.send(b"") } else { panic!("a mistake") },
            )
            .expect("a server"),
    );
    let mut client = serving.connect();
    for round in 1..=3 {
        client.request(ECHO + 1, b"");
        client.expect_error(INTERNAL);
        assert_eq!(told.load(Relaxed), round, "the program's hook is told of each panic of a handler");
    }
    drop(client);
    serving.end();
    std::panic::set_hook(before);
}

/// Remembers what it is told.
struct Notes(Arc<Mutex<Vec<&'static str>>>);

impl Subscriber for Notes {
    fn enabled(&self, _metadata: &Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, _span: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _span: &Id, _values: &Record<'_>) {}

    fn record_follows_from(&self, _span: &Id, _follows: &Id) {}

    fn event(&self, event: &Event<'_>) {
        self.0.lock().expect("no panic").push(event.metadata().target());
    }

    fn enter(&self, _span: &Id) {}

    fn exit(&self, _span: &Id) {}
}

/// The same trouble on two servers: before the program has a subscriber, and then.
#[test]
fn start_leaves_the_log_to_the_program() {
    let trouble = || {
        let serving = used();
        let mut client = serving.connect();
        client.send(b"\0\x01\0\0\0\0wrong checksum");
        client.read_to_end();
        drop(client);
        serving.end();
    };
    trouble();
    assert!(!tracing::dispatcher::has_been_set(), "a server has set a subscriber");
    let said = Arc::new(Mutex::new(Vec::new()));
    tracing::subscriber::set_global_default(Notes(Arc::clone(&said))).expect("nobody has set one");
    trouble();
    let said = said.lock().expect("no panic");
    assert!(said.iter().any(|target| target.starts_with("tidegate")), "the program's is told: {said:?}");
}
