"""A soak for `compare --goals`: 99 connections at a fixed rate, alone and beside one that stopped reading, and what the
server's own figures say of its turns meanwhile.

Always: the stopped one is there before the load begins, owes more than the server may keep for it, and is gone before
the next run. Never: a run that the generator calls void in a figure.
"""

import contextlib
import dataclasses
import json
import re
import socket
import struct
import time
import urllib.request
import zlib

import costs
import kit

CONNS = 99
RATE = 20_000  # requests a second over all of them
SIZE_BYTES = 256
ROUTE_ECHO = 1
ALONE, STOPPED, AGAIN = "without", "stopped", "without again"

STALL = ("env", "TIDEGATE_LOG__STALL=1ms")  # what a batch may take; the server counts those that take longer
# A batch is timed by the clock on the wall. The generator never sleeps, so whatever else runs here runs on the server's
# CPU, for milliseconds at a time: at a real-time priority the loop is not interrupted, and its batches are its own.
ALONE_ON_CPU = ("chrt", "--fifo", "1")
ASKED_BYTES = 64 << 10  # of a request of the one that stops
ASKED_MAX = 1_000  # so many of them are far more than two socket buffers and the server's queue
FULL_SECS = 0.3  # nothing more can be sent for so long: the server doesn't read it any more
SCRAPE_SECS_MAX = 10
OVER_US = 1_000  # of STALL
GAPS_SECS = 3.0  # a round, of a bare loop that looks at the clock on the server's CPU: what the machine itself takes


def measure(options, programs):
    """Response times by kind of run and round, and the turns of all of them."""
    admin = kit.free_port()
    spec = kit.tidegate_spec(program=programs.tidegate)
    spec = dataclasses.replace(spec, command=spec.command.replace("--admin off", f"--admin 127.0.0.1:{admin}"))
    runs = {ALONE: [], STOPPED: [], AGAIN: []}
    uninterrupted = kit.succeeds(*ALONE_ON_CPU, "true")
    wrapper = (*ALONE_ON_CPU, *STALL) if uninterrupted else STALL
    gaps = []
    with kit.Server(spec, {options.server_cpu}, wrapper) as server:
        before, began, stolen = turns_of(scrape(admin)), time.monotonic(), kit.stolen_ms(options.server_cpu)
        for number in range(options.latency_rounds):
            kinds = list(runs)
            for kind in kinds if number % 2 == 0 else kinds[::-1]:
                with stopped_reader(server.port) if kind == STOPPED else contextlib.nullcontext():
                    one = costs.latency(server, programs.tidegate, RATE, number, options, conns=CONNS, size=SIZE_BYTES)
                runs[kind].append(one)
            gaps.append(look_for_gaps(options, programs, wrapper))
        turns = since(turns_of(scrape(admin)), before)
        turns["stolen_ms"] = kit.stolen_ms(options.server_cpu) - stolen
        turns["slowest"] = slowest(server.last_words())
        turns["uninterrupted"] = uninterrupted
        turns["gaps"] = {"secs": sum(one["secs"] for one in gaps), "gaps": sum(one["gaps"] for one in gaps),
                         "longest_us": max(one["longest_us"] for one in gaps)}  # fmt: skip
        turns["waited_share"] = turns["waited_ms"] / 1000 / (time.monotonic() - began)
    return {"rate": RATE, "turns": turns, **costs.by_percentile(runs)}


def look_for_gaps(options, programs, wrapper):
    """How often a program that does nothing else than look at the clock is kept from it for as long as a batch may take:
    at the server's priority, on its CPU, while the server rests."""
    argv = [*wrapper, programs.floor["gaps"], "--secs", str(GAPS_SECS), "--over-us", str(OVER_US)]
    done = kit.run_pinned(argv, {options.server_cpu}, GAPS_SECS + 30)
    if done.returncode != 0:
        raise kit.Failure(done.stderr)
    return json.loads(done.stdout)


@contextlib.contextmanager
def stopped_reader(port):
    """A connection that asks for echoes until the server doesn't read it any more, and never reads one itself."""
    frame = struct.pack(">HI", ROUTE_ECHO, ASKED_BYTES) + bytes(ASKED_BYTES)
    frame += struct.pack(">I", zlib.crc32(frame))
    with socket.create_connection(("127.0.0.1", port), 5) as stream:
        stream.setblocking(False)
        sent, last = 0, time.monotonic()
        while time.monotonic() - last < FULL_SECS:
            if sent > ASKED_MAX * len(frame):
                raise kit.Failure(f"the server read {sent} bytes of one that takes no reply")
            try:
                sent += stream.send(frame[sent % len(frame) :])
                last = time.monotonic()
            except BlockingIOError:
                time.sleep(0.01)
        yield


def scrape(port):
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=SCRAPE_SECS_MAX) as answer:
        return answer.read().decode()


def turns_of(metrics):
    """What the text of /metrics says of batches and turns; turns by the bound of their bucket in seconds."""
    buckets = re.findall(r'^tidegate_turn_duration_seconds_bucket\{le="([^"]+)"\} (\d+)', metrics, re.MULTILINE)
    slow = re.findall(r"^tidegate_stalls_total\{[^}]*\} (\d+)", metrics, re.MULTILINE)
    if not buckets or not slow:
        raise kit.Failure("/metrics tells nothing of turns and stalls")
    waited = re.findall(r"^tidegate_shard_runqueue_wait_seconds_total\{[^}]*\} (\S+)", metrics, re.MULTILINE)
    busy = re.findall(r"^tidegate_turn_duration_seconds_sum (\S+)", metrics, re.MULTILINE)
    return {"slow_batches": sum(map(int, slow)), "waited_secs": sum(map(float, waited)),
            "busy_secs": sum(map(float, busy)),
            "buckets": {float(bound): int(count) for bound, count in buckets}}  # fmt: skip


def slowest(log):
    """The slowest of the batches that the end of the log names, in its words; empty if it names none."""
    named = re.findall(r'"took_us":(\d+),"frames":(\d+),"service":"(\w+)"', log)
    took, frames, service = max(named, key=lambda one: int(one[0]), default=("", "", ""))
    return f"{took} µs with {frames} frames of {service}" if named else ""


def since(after, before):
    """What was added: how many turns, the bound of the longest, the batches over the limit, and how long the loop was
    ready and had no processor, which is in both."""
    added = {bound: count - before["buckets"][bound] for bound, count in after["buckets"].items()}
    count = max(added.values())
    longest = min(bound for bound, reached in added.items() if reached == count)
    slow = after["slow_batches"] - before["slow_batches"]
    waited_ms = 1000 * (after["waited_secs"] - before["waited_secs"])
    busy_secs = after["busy_secs"] - before["busy_secs"]
    return {"count": count, "longest_at_most_us": longest * 1e6, "slow_batches": slow, "waited_ms": waited_ms,
            "busy_secs": busy_secs}  # fmt: skip
