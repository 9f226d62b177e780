"""What the programs here share: building, starting and stopping servers, the load generator, the facts that a published
figure needs. Only programs that this process started are ever stopped, each by its own handle.
"""

import contextlib
import dataclasses
import datetime
import json
import os
import pathlib
import platform
import resource
import shlex
import signal
import socket
import subprocess
import sys
import tempfile
import time

BENCHES = pathlib.Path(__file__).resolve().parent
PROJECT = BENCHES.parent

START_SECS_MAX = 30  # under valgrind a start takes seconds
STOP_SECS_MAX = 10


class Failure(Exception):
    """Ends a script with a message instead of a traceback."""


@dataclasses.dataclass(frozen=True)
class Spec:
    """A server to measure: how to start it, with how many loops, and whether it flips or just returns the bytes."""

    name: str
    command: str  # with {port}
    flips: bool = True
    loops: int = 1
    environment: tuple = ()  # pairs of names and values, beside what this process has

    def argv(self, port):
        return shlex.split(self.command.replace("{port}", str(port)))


@dataclasses.dataclass(frozen=True)
class Service:
    """What is asked of a server: requests take the routes in turn."""

    routes: tuple
    flips: bool = True  # the reply is the body with its first byte XOR 1
    ext: bool = False  # each request has an extension block with a correlation id

    def expect(self, server_flips):
        """What a generator's `--expect` takes."""
        return "flip" if self.flips and server_flips else "same"

    def arguments(self, server_flips):
        argv = ["--routes", ",".join(map(str, self.routes)), "--expect", self.expect(server_flips)]
        return [*argv, "--ext"] if self.ext else argv


ROUTE_FLIP = 3
FLIP_EXT = Service(tuple(range(16, 24)), ext=True)


def service_of(route):
    return Service((route,), flips=route == ROUTE_FLIP)


def build(manifest, *extra, flags=""):
    """Builds in release mode and returns the paths of the programs by name, wherever the target directory is."""
    argv = ["cargo", "build", "--release", "--message-format=json-render-diagnostics"]
    argv += ["--manifest-path", str(manifest), *extra]
    environment = {**os.environ, "RUSTFLAGS": flags} if flags else None
    done = subprocess.run(argv, stdout=subprocess.PIPE, text=True, env=environment)
    if done.returncode != 0:
        raise Failure(f"cargo build failed: {shlex.join(argv)}")
    messages = map(json.loads, done.stdout.splitlines())
    return {m["target"]["name"]: m["executable"] for m in messages if m.get("executable")}


def build_floor():
    return build(BENCHES / "floor" / "Cargo.toml", "--locked")


def build_tidegate():
    return build(PROJECT / "Cargo.toml", "--bin", "tidegate")["tidegate"]


def build_fan_out():
    """A fan-out on the library: the binary has no service that publishes."""
    return build(BENCHES / "fanout" / "Cargo.toml", "--locked")["fanout"]


def build_unmetered():
    """The server with everything in it but its own figures. In a directory of its own: flags make all crates anew."""
    extra = ("--bin", "tidegate", "--target-dir", str(PROJECT / "target" / "unmetered"))
    return build(PROJECT / "Cargo.toml", *extra, flags="--cfg tidegate_unmetered")["tidegate"]


def floor_spec(name, program, cpus=(), flips=True):
    """`raw` or `framed`, with a loop on each of `cpus`, or with one where the process is put."""
    command = f"{shlex.quote(program)} 127.0.0.1:{{port}}"
    if len(cpus) < 2:
        return Spec(name, command, flips)
    return Spec(name, f"{command} --loops {len(cpus)} --cpus {','.join(map(str, cpus))}", flips, len(cpus))


def tidegate_spec(name="tidegate", loops=1, program=None):
    program = program or build_tidegate()
    command = f"{shlex.quote(program)} serve --frames 127.0.0.1:{{port}} --lines 127.0.0.1:0"
    flags = output(program, "serve", "--help")
    if loops > 1 and "--shards" not in flags:
        raise Failure("tidegate serve has no --shards: leave it out with --only")
    command += f" --shards {loops}" if "--shards" in flags else ""
    command += " --route 16-23=flip" if "--route" in flags else ""
    command += " --pin" if loops > 1 and "--pin" in flags else ""
    command += " --admin off" if "--admin" in flags else ""
    has_limit = "per_address" in output(program, "check", "--print-default")
    environment = {"TIDEGATE_LIMITS__PER_ADDRESS": "off"} if has_limit else {}  # all clients are of one host
    return Spec(name, command, loops=loops, environment=tuple(environment.items()))


def free_port():
    """A port that nobody listens on at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def prepare(cpus):
    """In the child, before it becomes the program: its CPUs, and as many descriptors as it may have."""
    os.sched_setaffinity(0, cpus)
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def run_pinned(argv, cpus, secs_max):
    """Runs a program that ends by itself, and returns what it said."""
    try:
        return subprocess.run(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=secs_max,
                              preexec_fn=lambda: prepare(cpus))  # fmt: skip
    except subprocess.TimeoutExpired:
        raise Failure(f"not done after {secs_max} s: {shlex.join(argv)}") from None
    except FileNotFoundError:
        raise Failure(f"{argv[0]} is not installed, it was needed for: {shlex.join(argv)}") from None


class Server:
    """A running server on the CPUs `cpus`; as a context manager it is stopped whatever happens."""

    def __init__(self, spec, cpus, wrapper=()):
        self.spec = spec
        self.port = free_port()
        self.log = tempfile.TemporaryFile()
        self.process = subprocess.Popen(
            [*wrapper, *spec.argv(self.port)],
            stdin=subprocess.DEVNULL,
            stdout=self.log,
            stderr=subprocess.STDOUT,
            preexec_fn=lambda: prepare(cpus),
            env={**os.environ, **dict(spec.environment)},
        )

    def __enter__(self):
        try:
            self._wait_until_it_listens()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_):
        self.stop()

    def _wait_until_it_listens(self):
        end = time.monotonic() + START_SECS_MAX
        while time.monotonic() < end:
            self.must_run()
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1):
                return
            time.sleep(0.05)
        raise Failure(f"{self.spec.name} doesn't listen after {START_SECS_MAX} s\n{self.last_words()}")

    def must_run(self):
        if self.process.poll() is not None:
            raise Failure(f"{self.spec.name} ended with {self.process.returncode}\n{self.last_words()}")

    def last_words(self):
        self.log.seek(0)
        return self.log.read().decode(errors="replace")[-2000:]

    def stop(self):
        """SIGTERM, and SIGKILL for whom that is not enough."""
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(STOP_SECS_MAX)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()


def run_load(program, server, cpus, *, size, depth, conns, service, dealt=False, wrapper=(), **options):
    """One run of the generator; its report as a dict. It always ends: `lg` has a deadline, and so has this."""
    server.must_run()
    argv = [*wrapper, program, "--addr", f"127.0.0.1:{server.port}", "--pid", str(server.process.pid)]
    argv += ["--size", str(size), "--depth", str(depth), "--conns", str(conns)]
    argv += service.arguments(server.spec.flips)
    argv += ["--dealt"] if dealt else []
    for name, value in options.items():
        argv += [f"--{name}", str(value)]
    before = OtherTime.now(server)
    done = run_pinned(argv, cpus, 300)
    if done.returncode != 0:
        said = done.stdout + done.stderr + server.last_words()
        raise Failure(f"{server.spec.name}: {shlex.join(argv)}\n{said}")
    return {**json.loads(done.stdout), "others_cpu_share": OtherTime.now(server).share_since(before)}


@dataclasses.dataclass(frozen=True)
class OtherTime:
    """CPU time of whoever is neither the server nor we; exact to a tick or two (10 ms)."""

    at: float
    secs: float

    @staticmethod
    def now(server):
        fields = pathlib.Path("/proc/stat").read_text().split("\n", 1)[0].split()
        user, nice, system, _idle, _iowait, irq, softirq, steal = map(int, fields[1:9])  # see proc(5)
        busy = (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK")
        ours = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
        used = sum(one.ru_utime + one.ru_stime for one in ours)
        return OtherTime(time.monotonic(), busy - used - cpu_secs(server.process.pid))

    def share_since(self, before):
        """Of one CPU."""
        return (self.secs - before.secs) / (self.at - before.at)


def stolen_ms(cpu):
    """How long the host has kept a virtual CPU from running since it started, to a tick."""
    for line in pathlib.Path("/proc/stat").read_text().splitlines():
        name, *fields = line.split()
        if name == f"cpu{cpu}":
            return int(fields[7]) * 1000 / os.sysconf("SC_CLK_TCK")  # see proc(5)
    raise Failure(f"/proc/stat knows no CPU {cpu}")


def time_wait():
    """How many TCP connections are in TIME_WAIT here."""
    words = pathlib.Path("/proc/net/sockstat").read_text().split()
    return int(words[words.index("tw") + 1])


def cpu_secs(pid):
    tasks = pathlib.Path(f"/proc/{pid}/task").iterdir()
    return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks) / 1e9


def facts():
    """What must stand beside a figure: machine, kernel, commit, command, load."""
    return {
        "utc": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "machine": f"{cpu_model()}, {os.cpu_count()} CPUs, {memory_gib()} GiB",
        "kernel": f"{platform.system()} {platform.release()} {platform.machine()}",
        "commit": commit(),
        "rustc": output("rustc", "--version"),
        "command": shlex.join(sys.argv),
        "load_average": os.getloadavg(),
    }


def tools():
    """What a count of instructions depends on, beside the source. Valgrind shows programs a processor of its own that
    has AVX2 if this one has, and nothing newer; the C library chooses its copies by that."""
    flags = next((line for line in cpu_lines() if line.startswith("flags")), "").split()
    return {
        "rustc": output("rustc", "--version"),
        "libc": " ".join(platform.libc_ver()),
        "valgrind": output("valgrind", "--version"),
        "cpu": platform.machine() + (" avx2" if "avx2" in flags else ""),
    }


def cpu_lines():
    return pathlib.Path("/proc/cpuinfo").read_text().splitlines()


def cpu_model():
    return next((line.split(":")[1].strip() for line in cpu_lines() if line.startswith("model name")), "unknown CPU")


def memory_gib():
    return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30)


def commit():
    changed = output("git", "-C", str(PROJECT), "status", "--porcelain")
    return output("git", "-C", str(PROJECT), "rev-parse", "HEAD") + ("+changes" if changed else "")


def output(*argv):
    with contextlib.suppress(OSError):
        return subprocess.run(argv, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True).stdout.strip()
    return "unknown"


def succeeds(*argv):
    with contextlib.suppress(OSError):
        return subprocess.run(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).returncode == 0
    return False


def table(rows, left=(0,)):
    """Rows of text as aligned columns, those in `left` to the left, the rest to the right."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    for row in rows:
        cells = [
            cell.ljust(width) if i in left else cell.rjust(width) for i, (cell, width) in enumerate(zip(row, widths))
        ]
        print("  ".join(cells).rstrip())


def write_json(path, value):
    if path:
        pathlib.Path(path).parent.mkdir(parents=True, exist_ok=True)
        pathlib.Path(path).write_text(json.dumps(value, indent=1) + "\n")
        print(f"written: {path}")


def main(run):
    """Runs a script's `run`, and turns a `Failure`, Ctrl-C or SIGTERM into an exit status; servers are stopped."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    try:
        sys.exit(run())
    except Failure as why:
        sys.exit(f"{pathlib.Path(sys.argv[0]).name}: {why}")
    except KeyboardInterrupt:
        sys.exit(130)
