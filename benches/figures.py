"""The arithmetic of `compare`: from windows to ratios, their spread and what a run proves. Pure: no files, no output.

Always: a ratio is taken between two windows of the same round, then the median over rounds, then the geometric mean
over numbers of connections.
"""

import dataclasses
import math
import statistics

import kit

BASE, CONTROL, BARE, OURS = "raw", "raw2", "framed", "tidegate"

# ---- goals ----

# (payload bytes, depth): the whole server's CPU time a message over raw's.
GOALS = {
    (64, 1): 1.03, (64, 16): 1.12, (64, 128): 1.55,
    (1024, 1): 1.05, (1024, 16): 1.20, (1024, 128): 1.42,
    (16384, 1): 1.12, (16384, 16): 1.10,
    (1 << 20, 1): 1.60,
}  # fmt: skip
GOAL_OVER_BARE = 1.05  # and over the best bare framed loop of the same run, whatever the day
GOAL_TWO_LOOPS = 1.05  # two loops over one, as a ratio to the same of the floor in the same run

GOAL_INSTRUCTIONS = {1: 700, 16: 480}  # user instructions a message of 64 B, by depth
GOAL_INSTRUCTIONS_EXT = 90  # and so many more with an extension block, over eight routes, at each depth
GOAL_INSTRUCTIONS_METRICS = {16: 25}  # and so many of them for the server's own figures

GOAL_IDLE_BYTES = 160  # resident, of an idle connection that has had one reply
GOAL_HELLO_BYTES = 420  # of one that said HELLO with an id of 16 bytes
# After a frame of 1 MiB and a rest: as before it. So much more, in bytes a connection, is the error of the reading:
# what a loop owns once, such as its scratch buffer, is touched by the first of those frames (some 450 KiB over 18,000).
GOAL_LARGE_BYTES, LARGE_BYTES_ERROR = 0, 32

GOAL_ALLOCATIONS = 0  # on the heap, a message, once warm
GOAL_CALLS = 1.02  # system calls a message over raw's
GOAL_CHURN = 1.15  # CPU time of a connection over raw's
GOAL_P50, GOAL_P99 = 1.1, 1.3  # response times at half load over raw's
GOAL_P99_STOPPED = 1.2  # p99 of 99 connections beside one that stopped reading, over that without it
GOAL_BATCHES = 0  # of one connection that take over 1 ms, in the soak
GOAL_FAN_OUT = 1.10  # CPU time of a delivery over that of a bare loop that writes the same bytes
GOAL_GENERATOR = 0.90  # replies a second of `tidegate bench` over those of a bare generator in C; at least

# ---- from windows to ratios ----

CLEAN_ROUNDS_MIN = 2


@dataclasses.dataclass(frozen=True, order=True)
class Group:
    """A line of the table: the cells that differ only in their number of connections."""

    size: int
    depth: int
    conns: tuple

    def label(self):
        return label(self.size, self.depth)

    def key(self):
        """As `--cells` takes it."""
        return f"{self.size}x{self.depth}"


def size_label(size):
    units = {1 << 20: "1 MiB", 16384: "16 KiB", 1024: "1 KiB"}
    return units.get(size, f"{size} B")


def label(size, depth):
    return f"{size_label(size)} D{depth}"


def twice(name):
    """What the same server is called with two loops."""
    return f"{name} x2"


class Line:
    """One group: quotients within a round, then their median over rounds, then the geometric mean over connections."""

    def __init__(self, group, specs, windows, rounds):
        self.group, self.windows, self.rounds = group, windows, rounds
        self.names = [spec.name for spec in specs]
        self.unclean = set()  # servers with a cell that had too few clean rounds: all of its rounds are used

    def quotient(self, above, below):
        """CPU per message of the servers `above` over that of those `below`, each a tuple of names that are
        multiplied, as (quotient, lower quartile, upper quartile); the quartiles are the mean of those of the cells."""
        cells = [self.cell_quotients(conns, above, below) for conns in self.group.conns]
        medians = [statistics.median(quotients) for quotients in cells]
        quartiles = [quartiles_of(quotients) for quotients in cells]
        return geomean(medians), geomean([low for low, _ in quartiles]), geomean([high for _, high in quartiles])

    def cell_quotients(self, conns, above, below):
        rounds = [
            [[self.windows[self.group, conns, name, number] for name in names] for names in (above, below)]
            for number in range(self.rounds)
        ]
        rounds = [one for one in rounds if all(window["msgs"] for side in one for window in side)]
        if not rounds:
            raise kit.Failure(f"{self.group.label()} C{conns}: no message in any window of {above[0]}")
        clean = [one for one in rounds if all(window["clean"] for side in one for window in side)]
        if len(clean) < CLEAN_ROUNDS_MIN:
            self.unclean.add(above[0])
            clean = rounds
        return [cost(ours) / cost(theirs) for ours, theirs in clean]

    def marked(self, name, figure):
        return f"{figure:.2f}{'*' if name in self.unclean else ''}"

    def ns(self, name):
        """Median CPU time per message for each number of connections."""
        return "/".join(f"{value:.0f}" for value in self.medians(name))

    def medians(self, name):
        return [
            statistics.median(
                self.windows[self.group, conns, name, number]["server_cpu_ns_per_msg"] or math.nan
                for number in range(self.rounds)
            )
            for conns in self.group.conns
        ]


def cost(windows):
    return math.prod(window["server_cpu_ns_per_msg"] for window in windows)


class Figures(Line):
    """What one loop costs over raw's and over framed's."""

    def __init__(self, *line):
        super().__init__(*line)
        self.over_base = {name: self.quotient((name,), (BASE,)) for name in self.names if name != BASE}
        compared = [name for name in self.names if BARE in self.names and name not in (BASE, CONTROL, BARE)]
        self.over_bare = {name: self.quotient((name,), (BARE,)) for name in compared}
        self.control = self.over_base.get(CONTROL)

    def void(self, limits):
        """(Ratio found, ratio known) of each server that `limits` says is void here."""
        known = {name: limits.void(name, self.group, figure[0]) for name, figure in self.over_base.items()}
        return {name: (self.over_base[name][0], ratio) for name, ratio in known.items() if ratio is not None}

    def json(self):
        return {"over_raw": self.over_base, "over_framed": self.over_bare}


class LoopFigures(Line):
    """What two loops cost over one: of each server, and that as a ratio to the same of raw and of framed."""

    def __init__(self, *line):
        super().__init__(*line)
        self.servers = [name for name in self.names if twice(name) in self.names]
        self.two_over_one = {name: self.quotient((twice(name),), (name,)) for name in self.servers}
        self.over = {
            (name, other): self.quotient((twice(name), other), (name, twice(other)))
            for name in self.servers for other in (BASE, BARE) if other in self.servers and name != other
        }  # fmt: skip
        self.control = self.over.get((CONTROL, BASE))

    def json(self):
        over = {f"{name} over {other}": figure for (name, other), figure in self.over.items()}
        return {"two_over_one": self.two_over_one, "two_over_one_over": over}


def geomean(values):
    return math.exp(statistics.fmean(map(math.log, values)))


def quotient_of(above, below):
    """What the same rounds of two servers come to: the median of the quotients and its quartiles; a round in which one
    of them has no figure doesn't count, and without any it is None."""
    pairs = [(ours, theirs) for ours, theirs in zip(above, below) if ours is not None and theirs]
    quotients = [ours / theirs for ours, theirs in pairs]
    return (statistics.median(quotients), *quartiles_of(quotients)) if quotients else None


def deviation(quotient):
    """How far a quotient of a thing and itself is from 1."""
    return math.expm1(abs(math.log(quotient)))


def quartiles_of(values):
    if len(values) < 2:
        return values[0], values[0]
    low, _, high = statistics.quantiles(values, n=4, method="inclusive")
    return low, high


class ControlSpread:
    """How far the figure of raw against raw is from 1: the error of this very estimate where the truth is known.

    For a group: its own deviation, or that of all groups of the run (root mean square) if that is more, because one
    group may hit 1.00 by luck.
    """

    def __init__(self, lines):
        off = {group: abs(math.log(line.control[0])) for group, line in lines.items() if line.control}
        pooled = math.sqrt(statistics.fmean(value**2 for value in off.values())) if off else 0.0
        self.by_group = {group: math.expm1(max(value, pooled)) for group, value in off.items()}

    def of(self, group):
        return self.by_group.get(group, 0.0)

    def label(self, group):
        return f"±{self.of(group):.3f}" if group in self.by_group else "unknown"
