"""The table of `compare --goals`: every goal as a row, with the figure of this run and whether it is met. Pure: it
measures nothing and writes nothing.

Always: every row is there, whatever was measured; one without a figure says why. A ratio is taken within a round, then
the median over rounds. Never: a verdict without a figure, or a figure that is not in the run.
"""

import dataclasses
import math

import soak
from figures import (
    BARE, BASE, CONTROL, GOAL_ALLOCATIONS, GOAL_BATCHES, GOAL_CALLS, GOAL_CHURN, GOAL_FAN_OUT, GOAL_GENERATOR,
    GOAL_HELLO_BYTES, GOAL_IDLE_BYTES, GOAL_INSTRUCTIONS, GOAL_INSTRUCTIONS_EXT, GOAL_INSTRUCTIONS_METRICS,
    GOAL_LARGE_BYTES, GOAL_OVER_BARE, GOAL_P50, GOAL_P99, GOAL_P99_STOPPED, GOAL_TWO_LOOPS, GOALS, LARGE_BYTES_ERROR,
    OURS, deviation, label, quotient_of,
)  # fmt: skip

MET, NEARLY, MISSED, UNKNOWN = "met", "met±", "MISSED", "not measured"
CELLS = tuple((size, depth) for size in (64, 1024) for depth in (1, 16, 128))
SPREAD, SPREAD_AGAIN = "spread", "spread2"  # the bare fan-out, and the same once more
COUNT, BYTES = "{:.0f}", "{:.0f} B"
ERROR_MAX = 0.25  # of a ratio: a run that differs so much from itself tells nothing
WAIT_SHARE_MAX = 0.06  # of the soak, that its loop was ready and had no CPU: then its slow batches are others' doing


@dataclasses.dataclass(frozen=True)
class Goal:
    """A row: what is asked, of which part's figure."""

    part: str
    key: str
    what: str
    limit: float
    form: str = "{:.2f}"
    at_least: bool = False

    def text(self):
        return f"{'≥' if self.at_least else '≤'} {self.form.format(self.limit)}"

    def verdict(self, figure):
        """Met if within the limit; nearly, if within it and what this run can't tell apart; of a run whose own error is
        far too large, nothing."""
        if figure.is_noise():
            return UNKNOWN
        over = self.limit - figure.value if self.at_least else figure.value - self.limit
        if over <= 0:
            return MET
        return NEARLY if over <= figure.error else MISSED


@dataclasses.dataclass(frozen=True)
class Figure:
    """What was found for a row: a value, its quartiles if it has several rounds, and the error of the run."""

    value: float
    quartiles: tuple = ()
    error: float = 0.0
    note: str = ""

    def is_noise(self):
        return bool(self.quartiles) and self.error > ERROR_MAX

    def remarks(self):
        """What must be known beside the figure."""
        error = f"run's own error ± {self.error:.3g}" if self.error else ""
        error += ", too much to judge" if self.is_noise() else ""
        return "; ".join(filter(None, (error, self.note)))


def key(size, depth):
    return f"{size}x{depth}"


def goals():
    """Every row, in the order of the table."""
    return [
        *cpu_goals(),
        *(Goal("instructions", f"plain {depth}", f"user instructions a message, 64 B D{depth}", limit, COUNT)
          for depth, limit in GOAL_INSTRUCTIONS.items()),
        *(Goal("instructions", f"ext {depth}", f"… more with EXT, correlation, 8 routes, D{depth}",
               GOAL_INSTRUCTIONS_EXT, COUNT) for depth in GOAL_INSTRUCTIONS),
        *(Goal("instructions", f"metrics {depth}", f"… of them for metrics, D{depth}", limit, COUNT)
          for depth, limit in GOAL_INSTRUCTIONS_METRICS.items()),
        Goal("memory", "plain", "memory of an idle connection", GOAL_IDLE_BYTES, BYTES),
        Goal("memory", "hello", "… that said HELLO with an id of 16 B", GOAL_HELLO_BYTES, BYTES),
        Goal("memory", "large", "… more after 1 MiB each and a rest", GOAL_LARGE_BYTES, BYTES),
        Goal("allocations", "message", "heap allocations a message", GOAL_ALLOCATIONS, COUNT),
        *(Goal("calls", key(*cell), f"system calls a message, {label(*cell)} C50, ÷ {BASE}", GOAL_CALLS, "{:.3f}")
          for cell in CELLS),
        Goal("churn", "first", f"CPU of accept and first reply, ÷ {BASE}", GOAL_CHURN),
        Goal("churn", "churn", f"CPU of connect, one request, close, ÷ {BASE}", GOAL_CHURN),
        Goal("latency", "p50", f"p50 at half load, open loop, ÷ {BASE}", GOAL_P50),
        Goal("latency", "p99", f"p99 at half load, open loop, ÷ {BASE}", GOAL_P99),
        *(Goal("loops", key(*cell), f"two loops ÷ one, {label(*cell)}, ÷ {BASE}'s", GOAL_TWO_LOOPS) for cell in CELLS),
        Goal("soak", "p99", "p99 of 99 connections beside one that stopped ÷ without", GOAL_P99_STOPPED),
        Goal("soak", "batches", "batches of over 1 ms in that soak", GOAL_BATCHES, COUNT),
        Goal("fanout", "delivery", f"CPU of a delivery, 1 to 1,000, 256 B, ÷ {SPREAD}", GOAL_FAN_OUT),
        *(Goal("generator", str(depth), f"replies of tidegate bench, 64 B D{depth}, ÷ one in C", GOAL_GENERATOR,
               at_least=True) for depth in (1, 16, 128)),
    ]  # fmt: skip


def cpu_goals():
    for (size, depth), limit in GOALS.items():
        what = f"CPU a message, {label(size, depth)}, ÷ "
        yield Goal("cpu", f"{key(size, depth)} {BASE}", what + BASE, limit)
        yield Goal("cpu", f"{key(size, depth)} {BARE}", what + BARE, GOAL_OVER_BARE)


def rows(chosen, measured, failures):
    """The table as a list of dicts: all rows of the `chosen` parts. By part: what was `measured`, and in `failures` why
    there is nothing."""
    found = {part: READ[part](what) for part, what in measured.items()}
    return [
        row(goal, found.get(goal.part, {}).get(goal.key), failures.get(goal.part))
        for goal in goals() if goal.part in chosen
    ]  # fmt: skip


def row(goal, figure, why):
    known = {"part": goal.part, "row": goal.what, "goal": goal.text()}
    if not isinstance(figure, Figure):
        why = figure or why or "not in this run"
        return {**known, "figure": "", "quartiles": "", "verdict": UNKNOWN, "note": why.splitlines()[0]}
    low_high = "–".join(goal.form.format(value) for value in figure.quartiles)
    return {
        **known, "figure": goal.form.format(figure.value), "quartiles": low_high, "verdict": goal.verdict(figure),
        "note": figure.remarks(),
    }  # fmt: skip


def missed(table):
    return sum(one["verdict"] == MISSED for one in table)


def summary(table):
    """One line: how many rows are what."""
    counts = {verdict: sum(one["verdict"] == verdict for one in table) for verdict in (MET, NEARLY, MISSED, UNKNOWN)}
    return f"{len(table)} rows: " + ", ".join(f"{count} {verdict}" for verdict, count in counts.items() if count)


# ---- figures by key, from what a part measured ----


def of_cpu(measured):
    found = {}
    for group in measured["groups"]:
        cell = key(group["size"], group["depth"])
        for other, column in ((BASE, "over_raw"), (BARE, "over_framed")):
            if OURS in group[column]:
                value, low, high = group[column][OURS]
                notes = ["too few quiet rounds"] if OURS in group["too_few_clean_rounds"] else []
                notes += [beside_peers(group)] if other == BASE else []
                note = "; ".join(filter(None, notes))
                found[f"{cell} {other}"] = Figure(value, (low, high), group["control_spread"], note)
    return found


def beside_peers(group):
    """Whether tidegate is ahead of every peer of this line; empty without any."""
    ratios = {
        name: figure[0] for name, figure in group["over_raw"].items()
        if name not in (OURS, CONTROL, BARE) and name not in group["void"]
    }  # fmt: skip
    ours = group["over_raw"][OURS][0]
    behind = [f"{name} {ratio:.2f}" for name, ratio in ratios.items() if ratio <= ours]
    if not ratios:
        return ""
    return f"not ahead of {', '.join(behind)}" if behind else "ahead of every peer"


def of_loops(measured):
    found = {}
    for group in measured["groups"]:
        over = group["two_over_one_over"].get(f"{OURS} over {BASE}")
        if over:
            value, low, high = over
            found[key(group["size"], group["depth"])] = Figure(value, (low, high), group["control_spread"])
    return found


def of_instructions(counts):
    plain, ext, unmetered = (counts.get(name, {}) for name in ("plain", "ext", "unmetered"))
    found = {f"plain {depth}": Figure(count) for depth, count in plain.items()}
    found.update((f"ext {depth}", Figure(ext[depth] - plain[depth])) for depth in ext.keys() & plain.keys())
    found.update((f"metrics {depth}", Figure(plain[depth] - unmetered[depth]))
                 for depth in unmetered.keys() & plain.keys())  # fmt: skip
    return found


def of_memory(slopes):
    """What couldn't be measured has the reason, a text, in the figure's place."""
    found = {name: slopes[name] if isinstance(slopes[name], str) else Figure(slopes[name]) for name in ("plain", "hello")}
    large = slopes["large"]
    if not isinstance(large, str):
        note = f"{large['conns']:,} connections, a rest of {large['rest_secs']:.0f} s"
        large = Figure(large["bytes_per_conn"], (), LARGE_BYTES_ERROR, note)
    if isinstance(found["hello"], Figure):
        found["hello"] = dataclasses.replace(found["hello"], note="without a subscription: there are none yet")
    return {**found, "large": large}


def of_allocations(tests):
    """The tests assert zero, so that they passed is the figure."""
    note = f"guarded by cargo test --test allocations: {tests['passed']} passed"
    return {"message": Figure(0, note=note)} if tests["passed"] and not tests["failed"] else {}


def of_rounds(by_key, base=BASE, control=CONTROL, ours=OURS):
    """Each of `by_key` has lists of a figure a round, by server."""
    found = {}
    for name, rounds in by_key.items():
        quotient = quotient_of(rounds[ours], rounds[base])
        again = quotient_of(rounds[control], rounds[base])
        if quotient:
            found[name] = Figure(quotient[0], quotient[1:], deviation(again[0]) if again else 0.0)
    return found


def of_latency(measured):
    """Without any valid round the reason of the last one stands in the figure's place."""
    found = of_rounds(measured["times_ns"])
    if not found:
        return dict.fromkeys(measured["times_ns"], void(measured))
    note = f"at {measured['rate']:,} a second; {measured['void']} of {measured['rounds']} runs void"
    return {name: dataclasses.replace(figure, note=note) for name, figure in found.items()}


def void(measured):
    """The reason of the last round, without the generator's advice."""
    return f"void: {(measured['void_because'] or ['too few samples'])[-1].split('; ')[0]}"


def of_soak(measured):
    turns = measured["turns"]
    note = f"longest of {turns['count']:,} turns {turns['longest_at_most_us']:.0f} µs at most"
    note += f"; slowest batch {turns['slowest']}" if turns["slowest"] else ""
    note += f"; the host took {turns['stolen_ms']:.0f} ms of its CPU" if turns["stolen_ms"] else ""
    note += "" if turns["uninterrupted"] else "; others may interrupt the loop: chrt is not there or not allowed"
    gaps = turns["gaps"]
    if gaps["gaps"]:
        note += f"; a bare loop beside it had {gaps['gaps']} such gaps in {gaps['secs']:.0f} s, {gaps['longest_us']} µs at most"
    # A batch that the host held up for over 1 ms needs as much of its time, and a bare loop is held up as often.
    held_up = math.ceil(gaps["gaps"] / gaps["secs"] * turns["busy_secs"])
    found = {"batches": Figure(turns["slow_batches"], error=max(turns["stolen_ms"], held_up), note=note)}
    if turns["slow_batches"] and turns["waited_share"] > WAIT_SHARE_MAX:
        waited = f"{turns['waited_share']:.0%} of the time the loop had no CPU"
        found = {"batches": f"void: {waited}; {turns['slow_batches']} batches; {note}"}
    times = of_rounds({"p99": measured["times_ns"]["p99"]}, soak.ALONE, soak.AGAIN, soak.STOPPED)
    if not times:
        return {**found, "p99": void(measured)}
    note = f"at {measured['rate']:,} a second; {measured['void']} of {measured['rounds']} runs void"
    return {**found, "p99": dataclasses.replace(times["p99"], note=note)}


def of_fan_out(measured):
    return of_rounds({"delivery": measured["cpu_ns_per_delivery"]}, SPREAD, SPREAD_AGAIN, OURS)


def of_generator(measured):
    return {str(one["depth"]): Figure(one["ratio"], tuple(one["quartiles"])) for one in measured["lines"]}


READ = {
    "cpu": of_cpu,
    "instructions": of_instructions,
    "memory": of_memory,
    "allocations": of_allocations,
    "calls": of_rounds,
    "churn": of_rounds,
    "latency": of_latency,
    "loops": of_loops,
    "soak": of_soak,
    "fanout": of_fan_out,
    "generator": of_generator,
}
