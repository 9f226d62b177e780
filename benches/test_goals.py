#!/usr/bin/env python3
"""What `compare --goals` makes of what it measured, without measuring: `python3 -m unittest discover benches`."""

import contextlib
import io
import pathlib
import tempfile
import unittest

import costs
import figures
import goals
import kit
import parts
import report
import soak

ROUNDS = {"raw": [100, 200, 400], "raw2": [102, 204, 408], "tidegate": [110, 220, 480]}


def line(size, depth, **more):
    return {
        "size": size, "depth": depth, "control_spread": 0.04, "too_few_clean_rounds": [], "void": {},
        "over_raw": {"raw2": [1.04] * 3, "framed": [1.0] * 3, "tidegate": [1.15, 1.1, 1.2]},
        "over_framed": {"tidegate": [1.2, 1.1, 1.3]}, **more,
    }  # fmt: skip


def turns(**more):
    return {"count": 1000, "longest_at_most_us": 512.0, "slow_batches": 0, "waited_share": 0.0, "stolen_ms": 0.0,
            "slowest": "", "uninterrupted": True, "busy_secs": 10.0,
            "gaps": {"secs": 20.0, "gaps": 0, "longest_us": 90}, **more}  # fmt: skip


def response(ours, why=()):
    times = {"without": [100, 100], "without again": [101, 101], "stopped": ours}
    return {"rate": 20_000, "times_ns": {"p99": times}, "void": len(why), "void_because": list(why), "rounds": 6}


def measured():
    return {
        "cpu": {"groups": [line(64, 16)], "windows": []},
        "instructions": {"plain": {"1": 650.0, "16": 500.0}, "ext": {"1": 700.0, "16": 600.0},
                         "unmetered": {"16": 480.0}},
        "memory": {"plain": 106.4, "hello": 421.0, "large": {"conns": 18_000, "rest_secs": 15, "bytes_per_conn": 24.0}},
        "allocations": {"passed": 20, "failed": 0},
        "calls": {"64x1": ROUNDS},
        "churn": {"first": ROUNDS, "churn": {**ROUNDS, "tidegate": [None, None, None]}},
        "latency": {**response([1]), "times_ns": {"p50": ROUNDS, "p99": ROUNDS}},
        "loops": {"groups": [{"size": 1024, "depth": 1, "control_spread": 0.1,
                              "two_over_one_over": {"tidegate over raw": [1.0, 0.9, 1.1]}}]},
        "soak": {**response([119, 119]), "turns": turns()},
        "fanout": {"cpu_ns_per_delivery": {"spread": [100], "spread2": [100], "tidegate": [111]}},
        "generator": {"lines": [{"depth": 1, "ratio": 0.89, "quartiles": [0.8, 0.9]},
                                {"depth": 16, "ratio": 0.9, "quartiles": [0.8, 1.0]}]},
    }  # fmt: skip


def table(found=None, failures=None, chosen=parts.PARTS):
    return {one["row"]: one for one in goals.rows(chosen, measured() if found is None else found, failures or {})}


class Rows(unittest.TestCase):
    def test_every_part_has_rows_and_every_row_a_part(self):
        self.assertEqual({goal.part for goal in goals.goals()}, set(parts.PARTS))
        self.assertEqual(set(goals.READ), set(parts.PARTS))
        named = [(goal.part, goal.key) for goal in goals.goals()]
        self.assertEqual(len(named), len(set(named)))
        self.assertEqual(len(table()), len(named), "two rows have the same name")

    def test_each_cell_of_cpu_time_has_both_bars(self):
        cpu = [goal for goal in goals.goals() if goal.part == "cpu"]
        self.assertEqual(len(cpu), 2 * len(figures.GOALS))
        for size in ("64 B", "1 KiB", "16 KiB", "1 MiB"):
            over_framed = [goal.limit for goal in cpu if f" {size} D1," in goal.what and "framed" in goal.what]
            self.assertEqual(over_framed, [1.05], size)

    def test_figures_and_verdicts(self):
        found = table()
        for what, figure, verdict in (
            ("CPU a message, 64 B D16, ÷ raw", "1.15", "met±"),
            ("CPU a message, 64 B D16, ÷ framed", "1.20", "MISSED"),
            ("user instructions a message, 64 B D1", "650", "met"),
            ("user instructions a message, 64 B D16", "500", "MISSED"),
            ("… more with EXT, correlation, 8 routes, D1", "50", "met"),
            ("… more with EXT, correlation, 8 routes, D16", "100", "MISSED"),
            ("… of them for metrics, D16", "20", "met"),
            ("memory of an idle connection", "106 B", "met"),
            ("… that said HELLO with an id of 16 B", "421 B", "MISSED"),
            ("… more after 1 MiB each and a rest", "24 B", "met±"),
            ("heap allocations a message", "0", "met"),
            ("system calls a message, 64 B D1 C50, ÷ raw", "1.100", "MISSED"),
            ("CPU of accept and first reply, ÷ raw", "1.10", "met"),
            ("CPU of connect, one request, close, ÷ raw", "", "not measured"),
            ("p50 at half load, open loop, ÷ raw", "1.10", "met"),
            ("two loops ÷ one, 1 KiB D1, ÷ raw's", "1.00", "met"),
            ("two loops ÷ one, 64 B D1, ÷ raw's", "", "not measured"),
            ("p99 of 99 connections beside one that stopped ÷ without", "1.19", "met"),
            ("batches of over 1 ms in that soak", "0", "met"),
            ("CPU of a delivery, 1 to 1,000, 256 B, ÷ spread", "1.11", "MISSED"),
            ("replies of tidegate bench, 64 B D1, ÷ one in C", "0.89", "MISSED"),
            ("replies of tidegate bench, 64 B D16, ÷ one in C", "0.90", "met"),
        ):
            self.assertEqual((found[what]["figure"], found[what]["verdict"]), (figure, verdict), what)

    def test_a_part_that_failed_says_why_in_each_of_its_rows(self):
        found = table({"allocations": {"passed": 1, "failed": 0}}, {"memory": "no such program\nmore words"})
        self.assertEqual(found["memory of an idle connection"]["note"], "no such program")
        self.assertEqual(found["heap allocations a message"]["verdict"], "met")
        self.assertEqual(found["p50 at half load, open loop, ÷ raw"]["verdict"], "not measured")
        self.assertEqual(goals.missed(found.values()), 0)

    def test_what_fails_in_memory_costs_its_own_row_alone(self):
        memory = {**measured()["memory"], "hello": "idle: no WELCOME", "large": "idle: no echo\nargv"}
        found = table({"memory": memory})
        self.assertEqual(found["memory of an idle connection"]["verdict"], "met")
        self.assertEqual(found["… that said HELLO with an id of 16 B"]["note"], "idle: no WELCOME")
        self.assertEqual(found["… more after 1 MiB each and a rest"]["note"], "idle: no echo")

    def test_only_chosen_parts_have_rows(self):
        self.assertEqual({one["part"] for one in table(chosen=("soak", "memory")).values()}, {"soak", "memory"})

    def test_tests_that_fail_are_no_zero(self):
        found = table({"allocations": {"passed": 19, "failed": 1}})
        self.assertEqual(found["heap allocations a message"]["verdict"], "not measured")

    def test_a_run_that_differs_from_itself_too_much_tells_nothing(self):
        goal = goals.Goal("churn", "first", "", 1.15)
        for error, verdict in ((0.04, "MISSED"), (0.06, "met±"), (0.25, "met±"), (0.26, "not measured")):
            self.assertEqual(goal.verdict(goals.Figure(1.2, (1.1, 1.3), error)), verdict)
        self.assertEqual(goal.verdict(goals.Figure(1.0, (0.9, 1.1), 0.26)), "not measured")

    def test_where_a_peer_is_as_cheap_it_is_named(self):
        more = {"mio": [1.15] * 3, "go-each": [9.0] * 3}
        group = line(64, 16)
        self.assertEqual(goals.beside_peers(group), "")
        group["over_raw"].update(more)
        self.assertEqual(goals.beside_peers(group), "not ahead of mio 1.15")
        group["void"] = {"mio": [1.15, 2.0]}
        self.assertEqual(goals.beside_peers(group), "ahead of every peer")


class Void(unittest.TestCase):
    def test_a_void_round_is_in_no_figure(self):
        for found, want in zip(figures.quotient_of([110, None, 140], [100, 100, 100]), (1.25, 1.175, 1.325)):
            self.assertAlmostEqual(found, want)
        self.assertIsNone(figures.quotient_of([None, 1], [1, None]))

    def test_without_a_valid_round_the_reason_stands_there(self):
        found = table({"soak": {**response([None, None], ["it was late; lower --rate"] * 2), "turns": turns()}})
        row = found["p99 of 99 connections beside one that stopped ÷ without"]
        self.assertEqual((row["verdict"], row["note"]), ("not measured", "void: it was late"))

    def test_batches_that_others_held_up_are_not_judged(self):
        for more, verdict in (
            ({}, "MISSED"),
            ({"stolen_ms": 10.0}, "met±"),
            ({"waited_share": 0.1}, "not measured"),
            ({"gaps": {"secs": 20.0, "gaps": 2, "longest_us": 1500}}, "MISSED"),
            ({"gaps": {"secs": 20.0, "gaps": 4, "longest_us": 1500}}, "met±"),
        ):
            found = table({"soak": {**response([1, 1]), "turns": turns(slow_batches=2, **more)}})
            self.assertEqual(found["batches of over 1 ms in that soak"]["verdict"], verdict, more)

    def test_medians_of_windows_leave_the_warm_up_out(self):
        parts_of_a_run = [{"measured": measured, "p99_ns": ns} for measured, ns in
                          ((False, 1), (True, 100), (True, 9_000), (True, 120), (True, None))]  # fmt: skip
        self.assertEqual(costs.median_of_windows(parts_of_a_run, "p99_ns"), 120)
        self.assertIsNone(costs.median_of_windows(parts_of_a_run[:1], "p99_ns"))


class Parsing(unittest.TestCase):
    METRICS = (
        'tidegate_turn_duration_seconds_bucket{{le="0.000512"}} {0}\n'
        'tidegate_turn_duration_seconds_bucket{{le="0.001024"}} {1}\n'
        'tidegate_turn_duration_seconds_bucket{{le="+Inf"}} {1}\n'
        'tidegate_stalls_total{{service="echo",routes="1"}} {2}\n'
        'tidegate_stalls_total{{service="other",routes=""}} 1\n'
        "tidegate_turn_duration_seconds_sum 0.25\n"
        'tidegate_shard_runqueue_wait_seconds_total{{shard="0"}} 0.5\n'
    )

    def test_turns_are_those_since_the_first_look(self):
        before, after = (soak.turns_of(self.METRICS.format(*counts)) for counts in ((7, 9, 0), (107, 119, 3)))
        found = soak.since(after, before)
        self.assertEqual((found["count"], found["slow_batches"], found["waited_ms"]), (110, 3, 0))
        self.assertAlmostEqual(found["longest_at_most_us"], 1024)
        with self.assertRaises(kit.Failure):
            soak.turns_of("# EOF\n")

    def test_the_slowest_batch_of_a_log(self):
        log = "".join(f'{{"took_us":{us},"frames":{us % 9},"service":"flip"}}\n' for us in (1276, 4519, 1092))
        self.assertEqual(soak.slowest(log), "4519 µs with 1 frames of flip")
        self.assertEqual(soak.slowest(""), "")

    def test_what_cargo_test_counts(self):
        said = "running 20 tests\n\ntest result: FAILED. 19 passed; 1 failed; 0 ignored; 0 measured\n"
        self.assertEqual(parts.tests_of(said), {"passed": 19, "failed": 1})
        self.assertIsNone(parts.tests_of("error: could not compile"))


class Report(unittest.TestCase):
    def test_the_table_goes_between_its_own_marks(self):
        data = {
            "facts": {"utc": "2026-11-23T00:00:00+00:00", "machine": "AMD, 2 CPUs", "kernel": "Linux 6",
                      "rustc": "rustc 1", "commit": "0123456789abcdef", "command": "benches/compare --goals"},
            "options": {"quick": True}, "table": list(table().values()), "measured": measured(), "failures": {},
        }  # fmt: skip
        text = f"before\n{report.BEGIN_GOALS}\nold\n{report.END_GOALS}\n{report.BEGIN}\n{report.END}\nafter\n"
        with tempfile.TemporaryDirectory() as directory:
            document = pathlib.Path(directory) / report.DOCUMENT
            document.write_text(text)
            report.write(data, directory)
            first = document.read_text()
            report.write(data, directory)
            self.assertEqual(document.read_text(), first)
        for said in (
            "| CPU a message, 64 B D16, ÷ framed | ≤ 1.05 | 1.20 | 1.10–1.30 | **MISSED** |", "commit 0123456789ab",
            "A quick run, to try things: nothing here proves anything.", f"{len(table())} rows: ",
        ):  # fmt: skip
            self.assertIn(said, first)
        self.assertNotIn("\nold\n", first)
        self.assertTrue(first.endswith(f"{report.BEGIN}\n{report.END}\nafter\n"))


class Turns(unittest.TestCase):
    def test_every_other_round_begins_with_the_last(self):
        order = []
        servers = [type("Server", (), {"spec": kit.Spec(name, "")}) for name in "abc"]
        found = parts.interleaved(servers, 2, lambda server, number: order.append(server.spec.name) or number)
        self.assertEqual("".join(order), "abccba")
        self.assertEqual(found, {name: [0, 1] for name in "abc"})

    def test_a_part_that_fails_stops_no_other(self):
        def fail(*_):
            raise kit.Failure("it broke")

        kept = dict(parts.MEASURES)
        try:
            parts.MEASURES.update(memory=fail, calls=lambda *_: [][0], soak=lambda *_: "found")
            options = type("Options", (), {"parts": ("memory", "calls", "soak")})
            with contextlib.redirect_stderr(io.StringIO()):
                found, failures = parts.measure(options, None)
        finally:
            parts.MEASURES.update(kept)
        self.assertEqual(found, {"soak": "found"})
        self.assertEqual(failures, {"memory": "it broke", "calls": "IndexError: list index out of range"})


if __name__ == "__main__":
    unittest.main()
