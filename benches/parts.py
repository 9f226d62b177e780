"""What `compare --goals` measures, part by part. Each part starts its own servers, ends them, and returns what it found
as JSON would hold it; `goals` makes figures of that.

Always: servers take turns within a round, in reversed order every other round; a part that fails is told and stops
nothing else; every run of a program has a bound in time.
"""

import contextlib
import json
import pathlib
import re
import shlex
import subprocess
import sys
import tempfile
import time

import costs
import kit
import peers
import soak
import windows
from figures import BARE, BASE, CONTROL, OURS, twice
from goals import CELLS, SPREAD, SPREAD_AGAIN, key

CALLS_ROUNDS, CALLS_ROUNDS_QUICK = 5, 1
CALLS_CELLS_QUICK = ((64, 16),)

# Nine rounds of three servers leave 86,400 connections in TIME_WAIT for a minute; Linux keeps 131,072 unless told else.
CHURN_COUNT, CHURN_COUNT_QUICK, CHURN_WARMUP = 3_000, 1_000, 200
TIME_WAIT_SECS = 60
RUN_SECS_MAX = 60

SUBSCRIBERS, FAN_OUT_BYTES = 1_000, 256
FAN_OUT_SECS, FAN_OUT_SECS_QUICK = 1.0, 0.5

HALF = 0.5  # of what tidegate reaches at the beginning of the part
FULL_TRIES = 3  # the best of them, since others may take time from one
FULL_LOAD = {"size": costs.SIZE_BYTES, "depth": 1, "conns": costs.CONNS}

REST_SECS = 15  # buffers kept for reuse are halved once a second: a dozen times leaves nothing
LARGE_BYTES = 1 << 20
MEMORY_LEVELS, MEMORY_LEVELS_QUICK = "2000,18000", "500,4500"
MEMORY_SECS_MAX = 180

TOOL_SECS_MAX = 1800


def measure(options, programs):
    """What was found, and what failed with why, both by part."""
    found, failures = {}, {}
    for name in options.parts:
        print(f"{name} …", file=sys.stderr)
        try:
            found[name] = MEASURES[name](options, programs)
        except Exception as why:  # whatever it is, the other parts are worth having
            failures[name] = str(why) if isinstance(why, kit.Failure) else f"{type(why).__name__}: {why}"
            print(f"{name}: {failures[name]}", file=sys.stderr)
    return found, failures


class Programs:
    """What must be built, each when it is first asked for."""

    def __init__(self):
        self._floor, self._tidegate = None, None

    @property
    def floor(self):
        self._floor = self._floor or kit.build_floor()
        return self._floor

    @property
    def tidegate(self):
        self._tidegate = self._tidegate or kit.build_tidegate()
        return self._tidegate

    def specs(self):
        """The floor, the same again as the control, and tidegate."""
        raws = [kit.floor_spec(name, self.floor["raw"], flips=False) for name in (BASE, CONTROL)]
        return [*raws, kit.tidegate_spec(OURS, program=self.tidegate)]


@contextlib.contextmanager
def running(specs, options):
    """All of them at once; only one is asked something at a time."""
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(kit.Server(spec, {options.server_cpu})) for spec in specs]


def interleaved(servers, rounds, run):
    """`run(server, round)` of each, as lists by server."""
    found = {server.spec.name: [] for server in servers}
    for number in range(rounds):
        for server in servers if number % 2 == 0 else servers[::-1]:
            found[server.spec.name].append(run(server, number))
    return found


def calls(options, programs):
    """System calls a message by cell, server and round."""
    cells, rounds = (CALLS_CELLS_QUICK, CALLS_ROUNDS_QUICK) if options.quick else (CELLS, CALLS_ROUNDS)
    load = programs.floor["lg"]
    with running(programs.specs(), options) as servers:
        return {
            key(size, depth): interleaved(
                servers, rounds, lambda server, _: costs.calls_of(server, load, size, depth, options)
            )
            for size, depth in cells
        }  # fmt: skip


def latency(options, programs):
    """Response times at half of what tidegate reaches, by percentile, server and round; a void round has none."""
    costs.must_have_bench(programs.tidegate)
    with running(programs.specs(), options) as servers:
        ours = next(server for server in servers if server.spec.name == OURS)
        full = max(
            kit.run_load(
                programs.floor["lg"], ours, {options.load_cpu}, **FULL_LOAD, service=kit.service_of(options.route),
                time=options.window, warmup=options.warmup,
            )["msgs_per_s"]
            for _ in range(FULL_TRIES)
        )  # fmt: skip
        rate = int(full * HALF)
        rounds = interleaved(
            servers, options.latency_rounds,
            lambda server, number: costs.latency(server, programs.tidegate, rate, number, options),
        )  # fmt: skip
    return {"rate": rate, "full_rate": full, **costs.by_percentile(rounds)}


def churn(options, programs):
    """CPU time of a connection, by what it does, server and round."""
    count = CHURN_COUNT_QUICK if options.quick else CHURN_COUNT
    wait_for_room(options.rounds * len(programs.specs()) * (count + CHURN_WARMUP))
    found = {}
    for name, arguments in (("first", ("--hold",)), ("churn", ())):
        with running(programs.specs(), options) as servers:
            found[name] = interleaved(
                servers, options.rounds,
                lambda server, turn: churn_run(server, programs, count, turn, arguments, options),
            )  # fmt: skip
    return found


def wait_for_room(conns):
    """Until the kernel keeps so many more connections in TIME_WAIT, or those of an earlier run must be gone; if there is
    no room then either, `churn` says so."""
    most = int(pathlib.Path("/proc/sys/net/ipv4/tcp_max_tw_buckets").read_text())
    end = time.monotonic() + TIME_WAIT_SECS + 5
    while kit.time_wait() + conns > most and time.monotonic() < end:
        time.sleep(1)


def churn_run(server, programs, count, turn, arguments, options):
    expect = kit.service_of(options.route).expect(server.spec.flips)
    argv = [programs.floor["churn"], "--addr", f"127.0.0.1:{server.port}", "--pid", str(server.process.pid)]
    argv += ["--count", str(count), "--warmup", str(CHURN_WARMUP), "--from", str(turn * (count + CHURN_WARMUP))]
    argv += ["--route", str(options.route), "--expect", expect, *arguments]
    return float(said_by(argv, server, options)["server_cpu_ns_per_conn"])


def fan_out(options, programs):
    """CPU time of a delivery from one publisher to a thousand subscribers, by server and round."""
    bare = [kit.floor_spec(name, programs.floor["spread"]) for name in (SPREAD, SPREAD_AGAIN)]
    secs = FAN_OUT_SECS_QUICK if options.quick else FAN_OUT_SECS

    def run(server, _):
        argv = [programs.floor["subscribers"], "--addr", f"127.0.0.1:{server.port}", "--pid", str(server.process.pid)]
        argv += ["--count", str(SUBSCRIBERS), "--size", str(FAN_OUT_BYTES), "--time", str(secs)]
        return said_by(argv, server, options)["server_cpu_ns_per_delivery"]

    with running([*bare, kit.floor_spec(OURS, kit.build_fan_out())], options) as servers:
        return {"cpu_ns_per_delivery": interleaved(servers, options.rounds, run)}


def said_by(argv, server, options, secs_max=RUN_SECS_MAX):
    """What a program that loads `server` prints as JSON."""
    done = kit.run_pinned(argv, {options.load_cpu}, secs_max)
    if done.returncode != 0:
        raise kit.Failure(f"{server.spec.name}: {first_line(done.stderr)}: {shlex.join(argv)}\n{server.last_words()}")
    return json.loads(done.stdout)


def instructions(options, programs):
    """User instructions a message by kind of frames and depth, and those of the server without its figures."""
    del programs  # the tool builds what it needs
    results = tool("instructions", "--only", "tidegate,unmetered", *pins(options))["results"]
    found = {}
    for one in results:
        plain, is_ours = one["frames"] == "plain", one["server"] == OURS
        name = ("plain" if plain else "ext") if is_ours else ("unmetered" if plain else None)
        if name:
            found.setdefault(name, {})[str(one["depth"])] = one["instructions_per_message"]
    return found


def generator(options, programs):
    """`tidegate bench` beside a bare generator, by depth."""
    del programs
    quick = ("--rounds", "2", "--window", "0.3") if options.quick else ()
    return tool("generator", *quick, *pins(options))


def pins(options):
    return "--server-cpu", str(options.server_cpu), "--load-cpu", str(options.load_cpu)


def tool(name, *arguments):
    """What another program of this folder writes with --json."""
    with tempfile.TemporaryDirectory(prefix=f"{name}-") as directory:
        out = pathlib.Path(directory) / "found.json"
        argv = [str(kit.BENCHES / name), *arguments, "--json", str(out)]
        done = subprocess.run(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=TOOL_SECS_MAX)
        if done.returncode != 0 or not out.exists():
            raise kit.Failure(f"{shlex.join(argv)}: {last_line(done.stderr)}")
        return json.loads(out.read_text())


def first_line(text):
    return (text.strip() or "it said nothing").splitlines()[0]


def last_line(text):
    return (text.strip() or "it said nothing").splitlines()[-1]


def allocations(options, programs):
    """How many tests passed and failed that count the allocations of a message."""
    del options, programs
    argv = ["cargo", "test", "--locked", "--manifest-path", str(kit.PROJECT / "Cargo.toml"), "--test", "allocations"]
    done = subprocess.run(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=TOOL_SECS_MAX)
    return tests_of(done.stdout) or {"passed": 0, "failed": 1}


def tests_of(said):
    """What the last line of `cargo test` counts."""
    found = re.search(r"test result: \w+\. (\d+) passed; (\d+) failed", said)
    return {"passed": int(found[1]), "failed": int(found[2])} if found else None


def memory(options, programs):
    """Resident bytes of an idle connection: of one that had a reply, of one that said HELLO, and how many more there
    are after a large frame each and a rest."""
    found = {}
    levels = MEMORY_LEVELS_QUICK if options.quick else MEMORY_LEVELS
    rest = min(options.rest, 5) if options.quick else options.rest
    large = ("--echo", "--large", str(LARGE_BYTES), "--rest", str(rest))
    for name, arguments in (("plain", ("--echo",)), ("hello", ("--hello",)), ("large", large)):
        with kit.Server(kit.tidegate_spec(OURS, program=programs.tidegate), {options.server_cpu}) as server:
            argv = [programs.floor["idle"], "--addr", f"127.0.0.1:{server.port}", "--pid", str(server.process.pid)]
            argv += ["--levels", levels, *arguments]
            try:
                report = said_by(argv, server, options, MEMORY_SECS_MAX + rest)
            except kit.Failure as why:
                found[name] = str(why)  # in the place of its figure: the other two have one
                continue
        found[name] = report["large"] if name == "large" else report["bytes_per_conn"]["rss"]
    return found


def cpu(options, programs):
    """The lines of CPU time: all sizes and depths, over raw and over framed, and with --peers those of the peers."""
    specs = [*programs.specs(), kit.floor_spec(BARE, programs.floor["framed"])]
    known = None
    if options.peers:
        beside, _ = peers.specs(peers.NAMES, options.go)
        specs, known = [*specs, *beside.values()], peers.Limits.read()
    return windows.table(options, specs, programs.floor["lg"], known=known)


def loops(options, programs):
    """The lines of two loops over one, of raw, of raw again and of tidegate."""
    cpus, specs = (options.server_cpu, options.load_cpu), []
    for spec in programs.specs():
        specs.append(spec)
        if spec.name == OURS:
            specs.append(kit.tidegate_spec(twice(OURS), len(cpus), programs.tidegate))
        else:
            specs.append(kit.floor_spec(twice(spec.name), programs.floor["raw"], cpus, flips=False))
    return windows.table(options, specs, programs.floor["lg"], two_loops=True)


MEASURES = {
    "cpu": cpu,
    "instructions": instructions,
    "memory": memory,
    "allocations": allocations,
    "calls": calls,
    "churn": churn,
    "latency": latency,
    "loops": loops,
    "soak": soak.measure,
    "fanout": fan_out,
    "generator": generator,
}
PARTS = tuple(MEASURES)
