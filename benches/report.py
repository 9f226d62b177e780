#!/usr/bin/env python3
"""Tables and plots from what `compare --peers --json FILE` or `compare --goals --json FILE` wrote, each into its marked
part of docs/PERFORMANCE.md.

    benches/report.py FILE [FOLDER]      FOLDER holds PERFORMANCE.md, by default docs

Always: machine, kernel, commit and command stand above the figures; what is void or unknown says so; where another
server is cheaper than tidegate, a sentence says it. Never: a figure that is not in the file.
"""

import json
import pathlib
import sys

import goals
import kit
import plots
from figures import BASE, CONTROL, OURS, size_label

DOCUMENT = "PERFORMANCE.md"
BEGIN, END = "<!-- peers: begin, written by benches/compare -->", "<!-- peers: end -->"
BEGIN_GOALS, END_GOALS = "<!-- goals: begin, written by benches/compare -->", "<!-- goals: end -->"
NONE = "—"
SPREAD_MAX = 0.05  # of raw against itself
PLOT_COLUMNS = 2  # what a page shows without shrinking it much


def write(data, folder):
    """Replaces the marked part of the document in `folder` that this run is about, and the plots beside it."""
    data = json.loads(json.dumps(data))  # so that a run and its file are the same
    document, plotted = pathlib.Path(folder) / DOCUMENT, pathlib.Path(folder) / "plots"
    if "table" in data:
        document.write_text(replaced(document.read_text(), "\n\n".join(goals_part(data)), BEGIN_GOALS, END_GOALS))
        return
    sections = [part for part in (cpu(data), latency(data), others(data)) if part]
    text = replaced(document.read_text(), "\n\n".join([header(data, data["windows"]), *sections]), BEGIN, END)
    plotted.mkdir(exist_ok=True)
    for name, picture in pictures(data).items():
        (plotted / name).write_text(picture)
    document.write_text(text)


def must_fit(folder, *, for_goals):
    """Refuses a folder whose document has no place for the report, before anything is measured for it."""
    document = pathlib.Path(folder) / DOCUMENT
    if not document.is_file():
        raise kit.Failure(f"--report {folder}: there is no {DOCUMENT}")
    replaced(document.read_text(), "", *((BEGIN_GOALS, END_GOALS) if for_goals else (BEGIN, END)))


def replaced(text, part, begin, end):
    """`text` with `part` between the markers, which stay."""
    if text.count(begin) != 1 or text.count(end) != 1 or text.index(begin) > text.index(end):
        raise kit.Failure(f"{DOCUMENT} must have one line `{begin}` and behind it one line `{end}`")
    return f"{text[: text.index(begin)]}{begin}\n\n{part}\n\n{text[text.index(end) :]}"


def goals_part(data):
    """Every goal of the run as a row."""
    windows = data["measured"].get("cpu", {}).get("windows", [])
    head = ["what", "goal", "figure", "quartiles", "verdict", ""]
    rows = [[one[name] for name in ("row", "goal", "figure", "quartiles")] + [verdict_cell(one), one["note"]]
            for one in data["table"]]  # fmt: skip
    return "## Every goal", header(data, windows), table(head, rows), f"{goals.summary(data['table'])}."


def verdict_cell(one):
    return f"**{one['verdict']}**" if one["verdict"] == goals.MISSED else one["verdict"]


def header(data, windows):
    facts = data["facts"]
    made_with = ", ".join(facts[tool] for tool in ("rustc", "go") if facts.get(tool))
    lines = [
        f"{facts['machine']}; {facts['kernel']}, loopback; {made_with}; commit {facts['commit'][:12]}"
        f"{' with changes' if facts['commit'].endswith('+changes') else ''}, {facts['utc'][:10]}.",
        f"Made by `{facts['command']}`.",
    ]
    if windows:
        flagged = sum(not window["clean"] for window in windows)
        lines.append(f"In {flagged} of {len(windows)} windows others took CPU time; they are left out where possible.")
    if data["options"].get("quick"):
        lines.append("A quick run, to try things: nothing here proves anything.")
    return "\n".join(lines)


def row(cells):
    return f"| {' | '.join(cells)} |"


def table(head, rows):
    return "\n".join([row(head), row(["---"] * len(head)), *map(row, rows)])


def group_label(group):
    return f"{size_label(group['size'])}, {group['depth']}"


def servers_of(groups):
    return [name for name in groups[0]["over_raw"] if name != CONTROL]


def cpu(data):
    groups = data["groups"]
    if not groups:
        return ""
    names = servers_of(groups)
    conns = " / ".join(map(str, groups[0]["conns"]))
    head = ["payload, in flight", f"raw: ns at {conns} connections", "raw again"]
    rows = []
    for group in groups:
        control = group["over_raw"].get(CONTROL)
        rows.append([
            group_label(group), " / ".join(f"{ns:.0f}" for ns in group["raw_ns"]),
            f"{control[0]:.2f}" if control else NONE, *(cpu_cell(group, name) for name in names),
        ])  # fmt: skip
    spread = max(group["control_spread"] for group in groups)
    parts = [
        "### CPU time of a message beside others",
        "![CPU time of a message over that of a bare byte echo](plots/peers-cpu.svg)",
        f"Server CPU time over raw's of the same round; the run's own error is up to ± {spread:.2f}."
        + (" That is too much: something else ran here, and the run proves nothing." if spread > SPREAD_MAX else ""),
        table([*head, *names], rows),
        noise_words(groups),
        void_words(groups),
        cheaper_words(groups, names),
    ]
    return "\n\n".join(part for part in parts if part)


def cpu_cell(group, name):
    found = f"{group['over_raw'][name][0]:.2f}"
    if name in group["void"]:
        return f"*void*: {found}, known {group['void'][name][1]:.2f}"
    return f"**{found}**" if name == OURS else found


def noise_words(groups):
    found = [
        f"{group_label(group)}: {', '.join(group['too_few_clean_rounds'])}"
        for group in groups if group["too_few_clean_rounds"]
    ]  # fmt: skip
    return f"With too few quiet rounds, so that all are in the figure: {'; '.join(found)}." if found else ""


def void_words(groups):
    count = sum(len(group["void"]) for group in groups)
    are = "is" if count == 1 else "are"
    return (
        f"{count} of these figures {are} void: there the peer is more than 20 % off what its design is known to cost "
        "over raw. Both numbers are told, and nothing follows from them."
        if count else ""
    )  # fmt: skip


def cheaper_words(groups, names):
    """Where a server of this run is cheaper than tidegate by more than the run's error."""
    found = []
    for group in groups:
        ratios = {name: group["over_raw"][name][0] for name in names if name not in group["void"]}
        if OURS not in ratios:
            return ""
        ours, error = ratios[OURS], group["control_spread"]
        less = [f"{name} {ratio:.2f}" for name, ratio in ratios.items() if ratio + error < ours]
        if less:
            found.append(f"{group_label(group)}: {', '.join(less)} against {ours:.2f}")
    said = f"Cheaper than tidegate, by more than the run's error: {'; '.join(found)}." if found else ""
    return said or "None of them is cheaper than tidegate by more than the run's error."


def latency(data):
    figures = data.get("latency")
    if not figures:
        return ""
    rates = sorted({one["rate"] for one in figures})
    names = list(dict.fromkeys(one["server"] for one in figures))
    found = {(one["server"], one["rate"]): one for one in figures}
    head = ["server", *(f"{rate:,} a second: p50, p99 in µs (range)" for rate in rates)]
    rows = [[bold(name), *(latency_cell(found.get((name, rate))) for rate in rates)] for name in names]
    parts = [
        "### Latency at the same rates",
        "![p50 and p99 of the response time](plots/peers-latency.svg)",
        "`tidegate bench`, open loop, Poisson arrivals over 50 connections, 64 B, from the time a request was due. The "
        "median over rounds with their range; every server gets the same schedule. A round in which the generator was "
        "the limit is void.",
        table(head, rows),
        void_latency_words(figures),
    ]  # fmt: skip
    return "\n\n".join(part for part in parts if part)


def latency_cell(one):
    if one is None:
        return NONE
    if one["p50_ns"] is None:
        return "*void*"
    said = ", ".join(range_of(one[name]) for name in ("p50_ns", "p99_ns"))
    return f"{said}; {one['void']} of {len(one['rounds'])} rounds void" if one["void"] else said


def void_latency_words(figures):
    """Why: the generator's words, without its advice."""
    reasons = [
        f"{one['server']} at {one['rate']:,} a second: {one['rounds'][-1]['void_because'][0].split('; ')[0]}"
        for one in figures if one["p50_ns"] is None
    ]  # fmt: skip
    return f"Void in all rounds, with the reason of the last one. {'. '.join(reasons)}." if reasons else ""


def range_of(figure):
    if figure is None:
        return NONE
    median, low, high = (f"{ns / 1000:.0f}" for ns in figure)
    return f"{median} ({low}–{high})"


def bold(name):
    return f"**{name}**" if name == OURS else name


def others(data):
    """System calls, instructions and memory, a server a line."""
    calls, instructions, memory = (data.get(part, {}) for part in ("calls", "instructions", "memory"))
    names = list(dict.fromkeys([*calls, *instructions, *memory]))
    if not names:
        return ""
    columns = []
    for title, found, form in (("system calls", calls, ".3g"), ("user instructions", instructions, ".0f")):
        depths = sorted({int(depth) for one in found.values() for depth in one})
        columns += [(f"{title}, {depth} in flight", found, str(depth), form) for depth in depths]
    head = ["a message's", *(title for title, *_ in columns)]
    rows = []
    for name in names:
        cells = [(found.get(name, {}).get(depth), form) for _, found, depth, form in columns]
        rows.append([bold(name), *(NONE if value is None else f"{value:{form}}" for value, form in cells)])
    if memory:
        head.append("resident memory of an idle connection")
        for cells, name in zip(rows, names):
            cells.append(bytes_label(memory[name]) if name in memory else NONE)
    parts = [
        "### System calls, instructions, memory",
        "![Resident memory of an idle connection](plots/peers-memory.svg)" if memory else "",
        "System calls: 64 B, 50 connections, the kernel's tracepoint. Instructions: 64 B, one connection, callgrind, "
        "which can't follow Go. Memory: the slope over connections that have had one reply each.",
        table(head, rows),
    ]
    return "\n\n".join(part for part in parts if part)


def bytes_label(count):
    return f"{count:,.0f} B"


def pictures(data):
    """SVG texts by file name, as far as there are figures."""
    found = {}
    groups, latencies, memory = data["groups"], data.get("latency"), data.get("memory")
    if groups:
        panels = [plots.Panel(f"{group_label(group)} in flight", tuple(cpu_rows(group))) for group in groups]
        head = "Server CPU time of a message ÷ that of a bare byte echo (less is better, logarithmic)"
        found["peers-cpu.svg"] = plots.plot(head, panels, PLOT_COLUMNS, "× raw", origin=1)
    if latencies:
        panels = []
        for rate in sorted({one["rate"] for one in latencies}):
            rows = (latency_row(one) for one in latencies if one["rate"] == rate)
            panels.append(plots.Panel(f"{rate:,} requests a second", tuple(rows)))
        head = "Response time, p50 to p99 (less is better, logarithmic)"
        found["peers-latency.svg"] = plots.plot(head, panels, PLOT_COLUMNS, "µs")
    if memory:
        rows = [
            plots.Row(name, bytes_label(slope), max(slope, 1), ours=name == OURS)
            for name, slope in memory.items() if name != BASE
        ]  # fmt: skip
        head = "Resident memory of an idle connection (less is better, logarithmic)"
        found["peers-memory.svg"] = plots.plot(head, [plots.Panel("after one reply each", tuple(rows))], 1, "bytes")
    return found


def cpu_rows(group):
    for name in servers_of([group]):
        if name in group["void"]:
            yield plots.Row(name, "void in this run")
        else:
            ratio = group["over_raw"][name][0]
            yield plots.Row(name, f"{ratio:.2f}", ratio, ours=name == OURS)


def latency_row(one):
    name, p50, p99 = one["server"], one["p50_ns"], one["p99_ns"]
    if p50 is None or p99 is None:
        return plots.Row(name, "void in this run" if one["void"] else "too few samples")
    p50, p99 = p50[0] / 1000, p99[0] / 1000
    return plots.Row(name, f"{p50:.0f} to {p99:.0f}", p99, p50, ours=name == OURS)


def main():
    if len(sys.argv) not in (2, 3):
        raise kit.Failure("give the file that compare --json wrote with --peers or --goals, and the folder of "
                          f"{DOCUMENT} unless that is docs")  # fmt: skip
    folder = sys.argv[2] if len(sys.argv) == 3 else kit.PROJECT / "docs"
    write(json.loads(pathlib.Path(sys.argv[1]).read_text()), folder)
    print(f"written: {folder}")
    return 0


if __name__ == "__main__":
    kit.main(main)
