"""What a crowd of idle connections takes, by arithmetic: how many processes, what of this machine limits them, and
whether what was measured meets its goals. Starts nothing; `million` does.
"""

import dataclasses
import math
import os
import pathlib
import resource

import kit

GIB = 2**30

# Of a million; of fewer, the same for each.
FULL = 1_000_000
CONNECT_SECS_GOAL = 60
MEMORY_GOAL_BYTES = 11 * GIB
P50_RATIO_GOAL = 1.2

# What a process keeps for itself of its descriptors: `tidegate serve` with two listeners, one loop and an admin port
# 104, `tidegate hold` 64.
SERVER_KEEPS = 128
HOLDER_KEEPS = 64
# The kernel deals connections to the servers of a port by a hash, so each has its share give or take its square root.
DEVIATIONS = 6
# Each takes two files and two sockets. Measured here: 10,154 bytes of memory for the kernel's part of a pair.
BYTES_EACH = 11_264
# Of the ephemeral ports of an address, `tidegate hold` uses a quarter: the kernel searches long for the last ones.
PORTS_USED = 1 / 4
# The kernel's own counts are of the whole machine, where others connect, too.
STRANGERS = 0.001
# A window of the echo counts if the generator's median lateness is within what a wake-up takes.
LATE_NS_MAX = 20_000


@dataclasses.dataclass(frozen=True)
class Limits:
    """What this machine gives, as it is: nothing of it is raised but a process's own soft limit."""

    descriptors: int  # that a process may have
    files: int  # that may be opened beside those that are
    ports: int  # ephemeral ones
    accept_queue: int  # the longest that the kernel gives
    memory_bytes: int  # that is free, or can be had at once
    tracked: int = None  # connections that conntrack has room for, if it counts any now


def read_limits(proc=pathlib.Path("/proc")):
    sysctl = proc / "sys"
    opened, _, most = map(int, (sysctl / "fs/file-nr").read_text().split())
    first, last = map(int, (sysctl / "net/ipv4/ip_local_port_range").read_text().split())
    memory = meminfo(proc)
    track = sysctl / "net/netfilter"
    tracked = None
    if (track / "nf_conntrack_count").exists():
        count = int((track / "nf_conntrack_count").read_text())
        # Without a rule that wants it, the kernel tracks none.
        tracked = int((track / "nf_conntrack_max").read_text()) - count if count else None
    return Limits(
        descriptors=resource.getrlimit(resource.RLIMIT_NOFILE)[1],
        files=most - opened,
        ports=last - first + 1,
        accept_queue=int((sysctl / "net/core/somaxconn").read_text()),
        memory_bytes=memory["MemAvailable"],
        tracked=tracked,
    )


def meminfo(proc=pathlib.Path("/proc")):
    """In bytes, what is in kB there."""
    lines = (line.split() for line in (proc / "meminfo").read_text().splitlines())
    return {words[0].rstrip(":"): int(words[1]) * 1024 for words in lines if len(words) == 3}


@dataclasses.dataclass(frozen=True)
class Plan:
    connections: int
    servers: int
    holders: int
    sources: int

    def shares(self):
        """The numbers of each holder's connections: the first, and how many."""
        each, more = divmod(self.connections, self.holders)
        counts = [each + (holder < more) for holder in range(self.holders)]
        return [(sum(counts[:holder]), count) for holder, count in enumerate(counts)]


def plan(connections, limits):
    """How many processes it takes. Says which limit is in the way, if one is."""
    room = {
        "fs.file-max": limits.files // 2,
        "memory": limits.memory_bytes // BYTES_EACH,
        "nf_conntrack_max": limits.tracked,
    }
    for name, most in room.items():
        if most is not None and connections > most:
            raise kit.Failure(f"{connections:,} connections don't fit: {name} leaves room for {most:,}; ask for fewer")
    if min(limits.descriptors - SERVER_KEEPS, limits.ports * PORTS_USED) < 1000:
        raise kit.Failure(f"{limits.descriptors:,} descriptors a process and {limits.ports:,} ports are too few")
    return Plan(
        connections,
        servers=servers_for(connections, limits.descriptors - SERVER_KEEPS),
        holders=math.ceil(connections / (limits.descriptors - HOLDER_KEEPS)),
        sources=math.ceil(connections / int(limits.ports * PORTS_USED)),
    )


def servers_for(connections, most):
    """So many that none of them gets more than `most` by chance; two at least, for one port shall be shared."""
    count = max(2, math.ceil(connections / most))
    while connections / count + DEVIATIONS * math.sqrt(connections / count) > most:
        count += 1
    return count


def limits_rows(plan, limits):
    tracked = "none are tracked" if limits.tracked is None else f"{limits.tracked:,} more"
    return [
        ["what limits", "here", "so"],
        ["descriptors a process", f"{limits.descriptors:,}", f"{plan.servers} servers, {plan.holders} holders"],
        ["ephemeral ports", f"{limits.ports:,}", f"{plan.sources} source addresses"],
        ["files (fs.file-max)", f"{limits.files:,} more", f"at most {limits.files // 2:,} connections"],
        ["memory", f"{limits.memory_bytes / GIB:.1f} GiB", f"at most {limits.memory_bytes // BYTES_EACH:,}"],
        ["accept queue (somaxconn)", f"{limits.accept_queue:,}", f"{limits.accept_queue * plan.servers:,} may wait"],
        ["nf_conntrack", tracked, "no limit" if limits.tracked is None else "a limit"],
    ]


@dataclasses.dataclass(frozen=True)
class Memory:
    """What the machine has in use at a moment, in bytes."""

    used: int  # all but what is free and what caches files
    slab: int
    tables: int  # page tables and kernel stacks
    tcp: int  # bytes in sockets

    @staticmethod
    def now(proc=pathlib.Path("/proc")):
        info = meminfo(proc)
        sockets = (line.split() for line in (proc / "net/sockstat").read_text().splitlines())
        tcp = next(words for words in sockets if words[0] == "TCP:")
        return Memory(
            used=info["MemTotal"] - info["MemFree"] - info["Buffers"] - info["Cached"],
            slab=info["Slab"],
            tables=info["PageTables"] + info["KernelStack"],
            tcp=int(tcp[tcp.index("mem") + 1]) * os.sysconf("SC_PAGE_SIZE"),
        )

    def kernel_since(self, before):
        return sum(getattr(self, name) - getattr(before, name) for name in ("slab", "tables", "tcp"))


@dataclasses.dataclass(frozen=True)
class Window:
    """The echo's times in one run of `tidegate bench`."""

    p50_ns: int
    p99_ns: int
    late_ns: int  # the generator's own, median

    @property
    def counts(self):
        return self.late_ns <= LATE_NS_MAX

    @staticmethod
    def of(report):
        response = dict(map(tuple, report["classes"][0]["response"]["percentiles_ns"]))
        return Window(response[50.0], response[99.0], report["verdict"]["own"]["late_p50_ns"])


def best_of(windows):
    """Those that count, or all if none does."""
    return [window for window in windows if window.counts] or windows


def middle(values):
    values = sorted(values)
    return (values[(len(values) - 1) // 2] + values[len(values) // 2]) / 2


@dataclasses.dataclass(frozen=True)
class Seen:
    """What a run saw; memory in bytes."""

    connections: int
    by_servers: int  # connections, as they count them
    by_kernel: int  # ends of connections that it calls ESTABLISHED, beyond those before
    kept: int  # by the servers, when the echo was over
    connect_s: float
    servers_cpu_s: float  # meanwhile
    holders_cpu_s: float
    servers_bytes: int
    holders_bytes: int
    kernel_bytes: int
    used_bytes: int  # what the machine has in use beyond what it had before
    before: list  # windows of the echo
    beside: list
    after: list

    @property
    def memory_bytes(self):
        return self.servers_bytes + self.holders_bytes + self.kernel_bytes

    def p50s(self):
        """Alone before and after, beside; nanoseconds."""
        return [middle([window.p50_ns for window in best_of(of)]) for of in (self.before, self.after, self.beside)]

    def ratio(self):
        """The echo's median beside the crowd over that alone, and that alone after over before: what drifts anyway."""
        before, after, beside = self.p50s()
        return beside / ((before + after) / 2), after / before


def verdicts(seen):
    """Each figure with its goal and whether that is met; the table's rows, and whether all are."""
    part = seen.connections / FULL
    connect_goal, memory_goal = CONNECT_SECS_GOAL * part, MEMORY_GOAL_BYTES * part
    ratio, drift = seen.ratio()
    ends = 2 * seen.connections
    is_fair = all(any(window.counts for window in of) for of in (seen.before, seen.beside, seen.after))
    is_near = abs(seen.by_kernel - ends) <= STRANGERS * ends
    p50 = met(ratio <= P50_RATIO_GOAL) if is_fair else "VOID: the generator was late"
    each = f"{seen.memory_bytes / seen.connections:,.0f} B"
    rows = [
        held("servers count", seen.by_servers, seen.connections),
        held("the same when the echo was over", seen.kept, seen.connections),
        ["kernel: ends ESTABLISHED", f"{ends:,}", f"{seen.by_kernel:,}", met(is_near)],
        ["seconds to connect, each with a reply", f"{connect_goal:.1f}", f"{seen.connect_s:.1f}",
         met(seen.connect_s <= connect_goal)],
        ["  processor time of the servers, each", "", micros(seen.servers_cpu_s / seen.connections), ""],
        ["  of the generator", "", micros(seen.holders_cpu_s / seen.connections), ""],
        ["memory in all", size(memory_goal), size(seen.memory_bytes), met(seen.memory_bytes <= memory_goal)],
        ["  for each connection", "", each, ""],
        ["  server processes", "", size(seen.servers_bytes), ""],
        ["  generator", "", size(seen.holders_bytes), ""],
        ["  kernel, both ends", "", size(seen.kernel_bytes), ""],
        ["  (in use on the machine, more than before)", "", size(seen.used_bytes), ""],
        ["echo p50 beside ÷ alone", f"{P50_RATIO_GOAL:.2f}", f"{ratio:.2f}", p50],
        ["  (alone: after ÷ before)", "", f"{drift:.2f}", ""],
    ]  # fmt: skip
    return rows, all(row[3] == "met" for row in rows if row[1])


def held(what, got, want):
    return [what, f"{want:,}", f"{got:,}", met(got == want)]


def met(is_so):
    return "met" if is_so else "MISSED"


def micros(secs):
    return f"{secs * 1e6:.1f} µs"


def size(count):
    return f"{count / GIB:.2f} GiB"


def echo_rows(seen):
    rows = [["echo", "windows", "p50 µs", "p99 µs", "generator late p50 µs"]]
    for name, windows in (("alone, before", seen.before), ("beside", seen.beside), ("alone, after", seen.after)):
        for number, window in enumerate(windows, 1):
            times = [f"{ns / 1000:.1f}" for ns in (window.p50_ns, window.p99_ns, window.late_ns)]
            rows.append([name, f"{number} of {len(windows)}", *times])
    return rows
