"""The tables that `compare` prints. No figure is made here."""

import statistics

import kit
from figures import (
    BARE, BASE, CLEAN_ROUNDS_MIN, CONTROL, GOAL_OVER_BARE, GOAL_TWO_LOOPS, GOALS, ControlSpread, twice,
)  # fmt: skip


def show(lines, limits=None):
    """The table of ratios to raw, then that of the verdicts. With `limits`, peers have no verdict but may be void."""
    spread = ControlSpread(lines)
    names = [name for name in next(iter(lines.values())).names if name != BASE]
    peers = limits.over_raw if limits else ()
    rows = [["CPU/msg ÷ raw", "raw ns by conns", *names, "A/A spread"]]
    for group, line in lines.items():
        marked = [line.marked(name, line.over_base[name][0]) for name in names]
        rows.append([group.label(), line.ns(BASE), *marked, spread.label(group)])
    print()
    kit.table(rows)
    show_noise(lines)
    show_void(lines, limits)
    for name in names:
        if name not in peers and all(name in line.over_bare for line in lines.values()):
            show_verdicts(name, lines, spread)


def show_void(lines, limits):
    for group, line in lines.items():
        for name, (found, known) in (line.void(limits) if limits else {}).items():
            print(f"void, off by more than {limits.off_max:.0%}: {name} {group.label()} {found:.2f}, known {known:.2f}")


def show_verdicts(name, lines, spread):
    rows = [[name, "÷ raw", "goal", "", f"÷ {BARE}", "quartiles", "goal", ""]]
    for group, line in lines.items():
        over_base, over_bare = line.over_base[name], line.over_bare[name]
        goal, tolerance = GOALS[group.size, group.depth], spread.of(group)
        rows.append([
            group.label(), f"{over_base[0]:.2f}", f"{goal:.2f}", verdict(over_base[0], goal, tolerance),
            *judged(over_bare, GOAL_OVER_BARE, tolerance),
        ])  # fmt: skip
    print()
    kit.table(rows)


def show_two_loops(lines):
    """The table of two loops over one, then that of the verdicts, then how connections were dealt."""
    spread = ControlSpread(lines)
    servers = next(iter(lines.values())).servers
    rows = [["CPU/msg, two loops ÷ one", "raw ns by conns", "raw x2 ns", *servers, "A/A spread"]]
    for group, line in lines.items():
        marked = [line.marked(twice(name), line.two_over_one[name][0]) for name in servers]
        rows.append([group.label(), line.ns(BASE), line.ns(twice(BASE)), *marked, spread.label(group)])
    print()
    kit.table(rows)
    show_noise(lines)
    for name in servers:
        others = [other for other in (BASE, BARE) if all((name, other) in line.over for line in lines.values())]
        if others and name not in (BASE, CONTROL, BARE):
            show_loop_verdicts(name, others, lines, spread)
    show_dealt(servers, lines)


def show_loop_verdicts(name, others, lines, spread):
    head = [[f"÷ {other}'s", "quartiles", "goal", ""] for other in others]
    rows = [[f"{name}, two loops ÷ one", "", *sum(head, [])]]
    for group, line in lines.items():
        figures = [judged(line.over[name, other], GOAL_TWO_LOOPS, spread.of(group)) for other in others]
        rows.append([group.label(), f"{line.two_over_one[name][0]:.2f}", *sum(figures, [])])
    print()
    kit.table(rows)


def show_dealt(servers, lines):
    """The share of the connections that the busier of the two loops has: median and range over all windows."""
    first = next(iter(lines.values()))
    windows, levels = first.windows, first.group.conns
    rows = [["connections of the busier loop", *(f"of {conns}" for conns in levels)]]
    for name in servers:
        most = [[max(window["dealt"], default=0) for (_, conns, server, _), window in windows.items()
                 if (conns, server) == (wanted, twice(name))] for wanted in levels]  # fmt: skip
        rows.append([name, *(f"{statistics.median(one):.0f} ({min(one)}–{max(one)})" for one in most)])
    print()
    kit.table(rows)


def judged(figure, goal, tolerance):
    """Cells of a table: figure, quartiles, goal, verdict."""
    median, low, high = figure
    return [f"{median:.2f}", f"{low:.2f}–{high:.2f}", f"{goal:.2f}", verdict(median, goal, tolerance)]


def verdict(figure, goal, tolerance):
    """Met if within the goal plus what raw differs from itself."""
    if figure <= goal:
        return "met"
    return "met±" if figure <= goal + tolerance else "MISSED"


def show_noise(lines):
    windows = next(iter(lines.values())).windows.values()
    flagged = sum(not window["clean"] for window in windows)
    print(f"{flagged} of {len(windows)} windows in which others took CPU time, left out where possible")
    print(f"* a cell with fewer than {CLEAN_ROUNDS_MIN} clean rounds: all of its rounds are in the figure")


def show_others(others):
    """What `--peers` measures beside CPU time, as far as it was measured."""
    for one in others.get("latency", ()):
        p50, p99 = (micros(one[name]) for name in ("p50_ns", "p99_ns"))
        void = f", {one['void']} of {len(one['rounds'])} rounds void" if one["void"] else ""
        print(f"latency at {one['rate']} a second, {one['server']}: p50 {p50} µs, p99 {p99} µs{void}")
    for part, what in (("calls", "system calls/msg"), ("instructions", "user instructions/msg")):
        found = others.get(part, {})
        depths = sorted({depth for one in found.values() for depth in one})
        rows = [[what, *(f"D{depth}" for depth in depths)]]
        rows += [[name, *(f"{one[depth]:.4g}" for depth in depths)] for name, one in found.items()]
        if found:
            print()
            kit.table(rows)
    if others.get("memory"):
        print()
        kit.table([["resident memory of an idle connection", "bytes"],
                   *([name, f"{slope:.0f}"] for name, slope in others["memory"].items())])  # fmt: skip


def show_goals(table):
    """Every goal with what was found."""
    head = ("row", "goal", "figure", "quartiles", "verdict", "note")
    rows = [[name.replace("row", "what") for name in head], *([one[name] for name in head] for one in table)]
    print()
    kit.table(rows, left=(0, 5))


def micros(figure):
    return "none" if figure is None else f"{figure[0] / 1000:.0f}"
