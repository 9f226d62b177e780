"""What `instructions --gate` decides: whether the counts of this build may stand beside those that are recorded. Pure:
it measures nothing and writes nothing.

Always: a count that is judged is compared with the one recorded for the same frames and depth; one that either side
lacks is an error. Counts repeat exactly with the same compiler, C library, valgrind and kind of processor. So with all
of these as recorded both directions are errors, since a gain that nobody records can be lost again unseen. With
another one of them only what no compiler explains is. Never: a comparison between two architectures.
"""

MORE_MAX = 0.02  # as a part of what is recorded
FEWER_MAX = 0.03
MORE_MAX_ELSEWHERE = 0.10  # with another compiler, C library, valgrind or kind of processor
TOOLS = ("rustc", "libc", "valgrind", "cpu")  # what counts depend on, beside the source
RECORD = "benches/instructions --record"


def key(frames, depth):
    return f"{frames} D{depth}"


def counts(results):
    """Instructions a message by frames and depth, as they are recorded: a tenth is more than a run repeats."""
    return {key(one["frames"], one["depth"]): round(one["instructions_per_message"], 1) for one in results}


def differences(recorded, here):
    """Which tools are not those of the record, each as a line."""
    return [f"{tool}: recorded with {recorded.get(tool, 'none')}, here {here[tool]}"
            for tool in TOOLS if recorded.get(tool) != here[tool]]  # fmt: skip


def is_comparable(recorded, here):
    return architecture(recorded) == architecture(here)


def architecture(tools):
    return tools.get("cpu", "").split(" ")[0]


def judge(recorded, now, is_same_tools):
    """What is wrong with the counts `now`, each as a line that says what to do; none if they may stand."""
    return [line for name in {**recorded, **now} for line in [judge_one(name, recorded, now, is_same_tools)] if line]


def judge_one(name, recorded, now, is_same_tools):
    if name not in now:
        return f"{name}: recorded, but not measured"
    if name not in recorded:
        return f"{name}: nothing is recorded. Record it: {RECORD}"
    before, count = recorded[name], now[name]
    more_max = MORE_MAX if is_same_tools else MORE_MAX_ELSEWHERE
    figures = f"{name}: {count:,.1f} instructions a message, {before:,.1f} recorded: {count / before - 1:+.1%}"
    if count > before * (1 + more_max):
        return (f"{figures}, and {more_max:.0%} more is the limit. Find what costs them (benches/README.md says how); "
                f"if they are worth it: {RECORD}, and the reason in the commit")  # fmt: skip
    if is_same_tools and count < before * (1 - FEWER_MAX):
        return f"{figures}. Record the gain, so that it can't be lost unseen: {RECORD}"
    return None


def rows(recorded, now):
    """A table of text: recorded, now, change."""
    table = [["user instructions/msg", "recorded", "now", "change"]]
    for name in {**recorded, **now}:
        cells = [f"{side[name]:.1f}" if name in side else "none" for side in (recorded, now)]
        both = name in recorded and name in now
        table.append([name, *cells, f"{now[name] / recorded[name] - 1:+.1%}" if both else ""])
    return table
