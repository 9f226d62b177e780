"""The windows that `compare` measures: which cells there are, in which order servers take their turns, and whether
anybody disturbed one.

Always: servers of a cell are measured back to back, their order reversed every other round, so that a drift of the
machine meets them alike; the whole has a bound in time.
"""

import contextlib
import sys
import time

import kit
from figures import BASE, ControlSpread, Figures, Group, LoopFigures

CONNS = (1, 50, 1000)
CONNS_HUGE = (1, 8, 50)  # at 1 MiB a thousand connections would hold gigabytes
CONNS_TWO_LOOPS = (128, 512)  # SO_REUSEPORT deals few unevenly
WAIT_SHARE_MAX = 0.06  # of the window, server and generator together
OTHERS_SHARE_MAX = 0.25  # of a CPU; the kernel samples it at its tick, so quiet windows read up to 0.15
# Until each of a thousand connections has had a reply, a server that turns to one of them for long takes seconds.
WINDOW_SECS_MAX = 60
RAMP_SECS = 0.15  # rough cost of connecting and starting one window, for the time bound


def standard_groups(*, two_loops=False, full=False):
    """The lines of a table; `full` has also those of 16 KiB and 1 MiB."""
    conns = CONNS_TWO_LOOPS if two_loops else CONNS
    groups = [Group(size, depth, conns) for size in (64, 1024) for depth in (1, 16, 128)]
    if full:
        groups += [Group(16384, 1, conns), Group(16384, 16, conns)]
        groups += [] if two_loops else [Group(1 << 20, 1, CONNS_HUGE)]
    return groups


def server_cpus(spec, options):
    return {options.server_cpu} if spec.loops == 1 else {options.server_cpu, options.load_cpu}


def load_cpus(spec, options):
    """Two loops have both CPUs: then the generator runs where there is room."""
    return {options.load_cpu} if spec.loops == 1 else {options.server_cpu, options.load_cpu}


def measure(servers, load, groups, options, *, dealt=False):
    """All windows by (group, conns, server, round). Servers of a cell run back to back, their order reversed every
    round, so that a drift of the machine meets them alike."""
    cells = len(servers) * sum(len(group.conns) for group in groups)
    secs = cells * options.rounds * (options.window + options.warmup + RAMP_SECS)
    plan = f"{options.rounds} rounds of {cells} windows of {options.window} s: about {secs / 60:.1f} min"
    print(plan, file=sys.stderr)
    end = time.monotonic() + 3 * secs + 60
    service = kit.FLIP_EXT if options.ext else kit.service_of(options.route)
    windows = {}
    for number in range(options.rounds):
        order = servers if number % 2 == 0 else servers[::-1]
        for group in groups:
            for conns in group.conns:
                for server in order:
                    if time.monotonic() > end:
                        raise kit.Failure("overall time bound exceeded")
                    window = kit.run_load(
                        load, server, load_cpus(server.spec, options), size=group.size, depth=group.depth,
                        conns=conns, service=service, dealt=dealt, time=options.window,
                        warmup=options.warmup, deadline=WINDOW_SECS_MAX,
                    )  # fmt: skip
                    window["clean"] = is_clean(window, server.spec)
                    windows[group, conns, server.spec.name, number] = window
        print(f"round {number + 1} of {options.rounds} done", file=sys.stderr)
    return windows


def is_clean(window, spec):
    """Whether nobody else took much CPU time from this window. One loop and the generator have a CPU each, so any wait
    for one tells it; two loops and the generator on two CPUs always wait, so there it is the time that none used."""
    if spec.loops == 1:
        quiet = window["server_delay_share"] + window["lg_delay_share"] <= WAIT_SHARE_MAX
    else:
        quiet = window["others_cpu_share"] <= OTHERS_SHARE_MAX
    return quiet and window["server_cpu_ns_per_msg"] is not None


def table(options, specs, load, *, two_loops=False, known=None):
    """The windows of these servers in all cells that `options` leaves, and the figures of each line, as JSON."""
    groups = [
        group for group in standard_groups(two_loops=two_loops, full=not two_loops)
        if not options.cells or group.key() in options.cells.split(",")
    ]  # fmt: skip
    with contextlib.ExitStack() as stack:
        servers = [stack.enter_context(kit.Server(spec, server_cpus(spec, options))) for spec in specs]
        measured = measure(servers, load, groups, options, dealt=two_loops)
    kind = LoopFigures if two_loops else Figures
    return as_json({group: kind(group, specs, measured, options.rounds) for group in groups}, known)


def as_json(lines, known=None):
    """Everything about these lines that another program may want; `known` tells which peers are void."""
    spread = ControlSpread(lines)
    windows = next(iter(lines.values())).windows if lines else {}
    return {
        "groups": [
            {
                "size": group.size,
                "depth": group.depth,
                "conns": group.conns,
                "raw_ns": line.medians(BASE),
                **line.json(),
                "void": line.void(known) if known else {},
                "control_spread": spread.of(group),
                "too_few_clean_rounds": sorted(line.unclean),
            }
            for group, line in lines.items()
        ],
        "windows": [
            {"size": group.size, "depth": group.depth, "conns": conns, "server": name, "round": number, **window}
            for (group, conns, name, number), window in windows.items()
        ],
    }  # fmt: skip
