"""What a server costs beside CPU time, for `compare --peers`: latency at a fixed rate, system calls and instructions a
message, memory of an idle connection.

Each figure comes from a program that measures it and ends by itself. Never: a figure of a run that the generator calls
void.
"""

import json
import pathlib
import shlex
import statistics
import subprocess
import sys
import tempfile

import kit
import peers

PARTS = ("cpu", "latency", "calls", "instructions", "memory")

SIZE_BYTES = 64
CONNS = 50

CALLS_DEPTHS, CALLS_DEPTHS_QUICK = (1, 16, 128), (16,)
# The difference leaves connecting out but for some 100 calls by chance, so the more the fewer calls a message needs.
CALLS_COUNTS = {1: (12_800, 140_800), 16: (12_800, 524_800), 128: (12_800, 524_800)}

LATENCY_IN_FLIGHT = 64
LATENCY_TRIES = 2  # a void run is repeated once
LATENCY_SECS_MAX = 60
VOID_STATUS = 3

MEMORY_LEVELS, MEMORY_LEVELS_QUICK = "2000,18000", "500,4500"
INSTRUCTIONS_SECS_MAX = 600
EVENT = "raw_syscalls:sys_enter"


def of_fresh_servers(specs, programs, options, failures):
    """System calls, instructions and memory: each of a server that has done nothing before. What fails is told in
    `failures` and stops nothing else."""
    found = {}
    measures = {
        "calls": lambda spec: calls(spec, programs["lg"], options),
        "instructions": lambda spec: instructions(spec.name, options),
        "memory": lambda spec: memory(spec, programs["idle"], options),
    }
    for part, measure in measures.items():
        if part not in options.parts:
            continue
        found[part] = {}
        for spec in specs:
            if part == "instructions" and spec.name in peers.GO:
                continue  # callgrind can't follow Go's stacks
            try:
                found[part][spec.name] = measure(spec)
            except kit.Failure as why:
                failures.append(f"{part} of {spec.name}: {why}")
        print(f"{part} done", file=sys.stderr)
    return found


def latencies(servers, tidegate, options, failures):
    """Every round of every server at every rate; in a round all servers get the same schedule, and every other round
    begins with the last. A server that fails is told in `failures` and has no figure at this rate."""
    figures = []
    for rate in options.rates:
        rounds = {server.spec.name: [] for server in servers}
        for number in range(options.latency_rounds):
            for server in servers if number % 2 == 0 else servers[::-1]:
                name = server.spec.name
                try:
                    if name in rounds:
                        rounds[name].append(latency(server, tidegate, rate, number, options))
                except kit.Failure as why:
                    failures.append(f"latency at {rate} a second: {why}")
                    del rounds[name]
        for name, one in rounds.items():
            figures.append({"rate": rate, "server": name, "rounds": one, **latency_figure(one)})
        print(f"latency at {rate} a second done", file=sys.stderr)
    return figures


def must_have_bench(tidegate):
    if "bench" not in kit.output(tidegate, "--help"):
        raise kit.Failure("tidegate has no bench: leave latency out with --parts")


def latency(server, tidegate, rate, number, options, **load):
    """One round, repeated once if it is void."""
    for _ in range(LATENCY_TRIES):
        found = latency_run(server, tidegate, rate, number, options, **load)
        if not found["void_because"]:
            break
    return found


def latency_run(server, tidegate, rate, number, options, *, conns=CONNS, size=SIZE_BYTES):
    server.must_run()
    expect = kit.service_of(options.route).expect(server.spec.flips)
    with tempfile.TemporaryDirectory(prefix="latency-") as directory:
        out = pathlib.Path(directory) / "run.json"
        argv = [tidegate, "bench", f"127.0.0.1:{server.port}", "--rate", str(rate), "--arrival", "poisson"]
        argv += ["--connections", str(conns), "--in-flight", str(LATENCY_IN_FLIGHT), "--size", str(size)]
        argv += ["--route", str(options.route), "--expect", expect]
        argv += ["--warmup", "0.5s", "--duration", f"{options.latency_secs}s", "--seed", str(number + 1)]
        argv += ["--json", str(out), "--quiet"]
        done = kit.run_pinned(argv, {options.load_cpu}, LATENCY_SECS_MAX)
        if done.returncode not in (0, VOID_STATUS) or not out.exists():
            said = done.stdout + done.stderr + server.last_words()
            raise kit.Failure(f"{server.spec.name}: {shlex.join(argv)}: status {done.returncode}\n{said}")
        return latency_of(json.loads(out.read_text()))


def latency_of(report):
    """What is kept of a report of `tidegate bench`: response times in nanoseconds, and why it is void."""
    response = report["classes"][0]["response"]
    percentiles = {percent: ns for percent, ns in response["percentiles_ns"]}
    counts = report["counts"]
    return {
        "p50_ns": percentiles.get(50.0),
        "p99_ns": percentiles.get(99.0),
        "p50_of_windows_ns": median_of_windows(report["series"], "p50_ns"),
        "p99_of_windows_ns": median_of_windows(report["series"], "p99_ns"),
        "answered": counts["answered"],
        "dropped": counts["dropped"],
        "unanswered": counts["unanswered"],
        "busy": report["verdict"]["own"]["busy"],
        "drift": (report["confidence"] or {}).get("drift"),
        "void_because": report["verdict"]["void_because"],
    }


def median_of_windows(series, name):
    """Over the parts of a run, so that one pause of the machine, which the p99 of a whole run is, doesn't decide."""
    known = [part[name] for part in series if part["measured"] and part[name] is not None]
    return statistics.median(known) if known else None


def by_percentile(runs):
    """Of rounds by server, or by whatever they are rounds of: the medians of the windows' p50 and p99 by it and round,
    None for a void one, and why rounds are void."""
    times = {
        name: {
            whose: [None if one["void_because"] else one[f"{name}_of_windows_ns"] for one in rounds]
            for whose, rounds in runs.items()
        }
        for name in ("p50", "p99")
    }
    why = [one["void_because"][0] for rounds in runs.values() for one in rounds if one["void_because"]]
    return {"times_ns": times, "void": len(why), "void_because": why, "rounds": sum(map(len, runs.values()))}


def latency_figure(rounds):
    """Medians with range over the rounds that count, and how many are void. None where nothing is known."""
    valid = [one for one in rounds if not one["void_because"]]
    figure = {"void": len(rounds) - len(valid)}
    for name in ("p50_ns", "p99_ns"):
        known = [one[name] for one in valid if one[name] is not None]
        figure[name] = [statistics.median(known), min(known), max(known)] if known else None
    return figure


def calls(spec, load, options):
    """System calls a message by depth, of a fresh server for each."""
    found = {}
    for depth in CALLS_DEPTHS_QUICK if options.quick else CALLS_DEPTHS:
        with kit.Server(spec, {options.server_cpu}) as server:
            found[depth] = calls_of(server, load, SIZE_BYTES, depth, options)
    return found


def calls_of(server, load, size, depth, options):
    """System calls a message, counted by the kernel's own tracepoint."""
    counts = CALLS_COUNTS[depth]
    few, many = (count_calls(server, load, size, depth, count, options) for count in counts)
    return (many - few) / (counts[1] - counts[0])


def count_calls(server, load, size, depth, count, options):
    with tempfile.TemporaryDirectory(prefix="calls-") as directory:
        out = pathlib.Path(directory) / "perf.csv"
        counter = ["perf", "stat", "-x,", "-o", str(out), "-e", EVENT, "-p", str(server.process.pid), "--"]
        kit.run_load(
            load, server, {options.load_cpu}, wrapper=counter, size=size, depth=depth, conns=CONNS,
            service=kit.service_of(options.route), count=count, deadline=60,
        )  # fmt: skip
        return counted(out.read_text())


def counted(csv):
    """The number in what `perf stat -x,` wrote."""
    for line in csv.splitlines():
        if EVENT in line and line.split(",")[0].isdigit():
            return int(line.split(",")[0])
    raise kit.Failure(f"perf counted no {EVENT}: {csv.strip()}")


def instructions(name, options):
    """User instructions a message by depth, from `benches/instructions`."""
    with tempfile.TemporaryDirectory(prefix="instructions-") as directory:
        out = pathlib.Path(directory) / "instructions.json"
        argv = [str(kit.BENCHES / "instructions"), "--only", name, "--frames", "plain", "--json", str(out)]
        argv += ["--route", str(options.route), "--server-cpu", str(options.server_cpu)]
        argv += ["--load-cpu", str(options.load_cpu)]
        done = subprocess.run(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                              timeout=INSTRUCTIONS_SECS_MAX)  # fmt: skip
        if done.returncode != 0:
            raise kit.Failure(f"{shlex.join(argv)}\n{done.stdout}{done.stderr}")
        results = json.loads(out.read_text())["results"]
        return {one["depth"]: one["instructions_per_message"] for one in results}


def memory(spec, idle, options):
    """Resident bytes of an idle connection that has had one reply, of a fresh server."""
    levels = MEMORY_LEVELS_QUICK if options.quick else MEMORY_LEVELS
    with kit.Server(spec, {options.server_cpu}) as server:
        argv = [idle, "--addr", f"127.0.0.1:{server.port}", "--pid", str(server.process.pid)]
        argv += ["--levels", levels, "--echo"]
        done = kit.run_pinned(argv, {options.load_cpu}, 180)
        if done.returncode != 0:
            raise kit.Failure(f"{spec.name}: {shlex.join(argv)}\n{done.stderr}{server.last_words()}")
        return json.loads(done.stdout)["bytes_per_conn"]["rss"]
