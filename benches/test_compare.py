#!/usr/bin/env python3
"""What `compare` computes and writes, without measuring anything: `python3 -m unittest discover benches`."""

import copy
import pathlib
import tempfile
import unittest
import xml.etree.ElementTree

import costs
import figures
import kit
import peers
import plots
import report

GROUP = figures.Group(64, 16, (1, 50, 1000))
SPECS = [kit.Spec(name, "") for name in ("raw", "raw2", "framed", "tidegate", "mio", "go-each")]


def window(ns, clean=True):
    return {"server_cpu_ns_per_msg": ns, "msgs": 1, "clean": clean}


def windows(ns_by_name, rounds=3):
    """Each round twice as slow as the one before: ratios within a round don't care."""
    return {
        (GROUP, conns, name, number): window(ns * 2**number)
        for conns in GROUP.conns for name, ns in ns_by_name.items() for number in range(rounds)
    }  # fmt: skip


NS = {"raw": 100, "raw2": 104, "framed": 110, "tidegate": 121, "mio": 112, "go-each": 500}


class Ratios(unittest.TestCase):
    def test_a_ratio_is_taken_within_its_round(self):
        line = figures.Figures(GROUP, SPECS, windows(NS), 3)
        for name, want in (("framed", 1.10), ("tidegate", 1.21), ("mio", 1.12)):
            for figure in line.over_base[name]:
                self.assertAlmostEqual(figure, want)
        self.assertAlmostEqual(line.over_bare["tidegate"][0], 1.1)
        self.assertEqual(line.medians("raw"), [200, 200, 200])

    def test_over_the_numbers_of_connections_it_is_the_geometric_mean(self):
        self.assertAlmostEqual(figures.geomean([1, 10, 100]), 10)
        found = windows(NS)
        for number in range(3):
            found[GROUP, 1, "mio", number]["server_cpu_ns_per_msg"] *= 8
        line = figures.Figures(GROUP, SPECS, found, 3)
        self.assertAlmostEqual(line.over_base["mio"][0], 1.12 * 2)

    def test_a_round_with_noise_is_left_out_while_two_clean_ones_remain(self):
        found = windows(NS)
        found[GROUP, 1, "mio", 0] = window(10_000, clean=False)
        line = figures.Figures(GROUP, SPECS, found, 3)
        self.assertAlmostEqual(line.over_base["mio"][0], 1.12)
        self.assertEqual(line.unclean, set())
        found[GROUP, 1, "mio", 1] = window(20_000, clean=False)
        line = figures.Figures(GROUP, SPECS, found, 3)
        self.assertGreater(line.over_base["mio"][0], 4)
        self.assertEqual(line.unclean, {"mio"})

    def test_the_control_tells_the_error(self):
        line = figures.Figures(GROUP, SPECS, windows(NS), 3)
        self.assertAlmostEqual(figures.ControlSpread({GROUP: line}).of(GROUP), 0.04)


class Void(unittest.TestCase):
    LIMITS = peers.Limits('{"over_raw": {"mio": {"64x16": 1.0}}, "off_max": 0.2, "conns": [1, 50, 1000]}')

    def test_a_peer_that_is_off_by_more_than_allowed_is_void(self):
        for ratio, void in ((0.79, True), (0.81, False), (1.0, False), (1.19, False), (1.21, True)):
            self.assertEqual(self.LIMITS.void("mio", GROUP, ratio), 1.0 if void else None, ratio)

    def test_what_is_unknown_or_measured_otherwise_is_not_judged(self):
        self.assertIsNone(self.LIMITS.void("tidegate", GROUP, 9))
        self.assertIsNone(self.LIMITS.void("mio", figures.Group(64, 1, GROUP.conns), 9))
        self.assertIsNone(self.LIMITS.void("mio", figures.Group(64, 16, (1, 8)), 9))

    def test_both_numbers_are_kept(self):
        line = figures.Figures(GROUP, SPECS, windows({**NS, "mio": 150}), 3)
        self.assertEqual(list(line.void(self.LIMITS)), ["mio"])
        self.assertAlmostEqual(line.void(self.LIMITS)["mio"][0], 1.5)
        self.assertEqual(line.void(self.LIMITS)["mio"][1], 1.0)

    def test_every_peer_is_known_for_every_standard_line(self):
        known = peers.Limits.read()
        lines = {f"{size}x{depth}" for size in (64, 1024) for depth in (1, 16, 128)}
        for name in peers.NAMES:
            self.assertLessEqual(lines, set(known.over_raw[name]), name)


def bench_report(p50=30_000, void=()):
    """The fields of a report of `tidegate bench --json` that are read."""
    return {
        "classes": [{"name": "all", "response": {"percentiles_ns": [[50.0, p50], [99.0, 3 * p50]]}}],
        "counts": {"answered": 40_000, "dropped": 0, "unanswered": 1},
        "verdict": {"void_because": list(void), "own": {"busy": 0.5}},
        "confidence": None,
        "series": [
            {"measured": measured, "p50_ns": p50, "p99_ns": p99}
            for measured, p99 in ((False, 9 * p50), (True, 2 * p50), (True, 9 * p50), (True, 2 * p50), (True, None))
        ],
    }


class Parsing(unittest.TestCase):
    def test_latencies_come_from_the_response_times_of_all_requests(self):
        found = costs.latency_of(bench_report())
        self.assertEqual((found["p50_ns"], found["p99_ns"], found["drift"]), (30_000, 90_000, None))
        few = bench_report()
        few["classes"][0]["response"]["percentiles_ns"].pop()
        self.assertIsNone(costs.latency_of(few)["p99_ns"])

    def test_a_void_round_is_counted_and_not_in_the_figure(self):
        rounds = [costs.latency_of(bench_report(p50)) for p50 in (1000, 2000, 4000)]
        rounds.append(costs.latency_of(bench_report(9000, ["the generator was the limit"])))
        figure = costs.latency_figure(rounds)
        self.assertEqual((figure["p50_ns"], figure["void"]), ([2000, 1000, 4000], 1))
        self.assertIsNone(costs.latency_figure(rounds[3:])["p50_ns"])

    def test_the_count_of_perf(self):
        self.assertEqual(costs.counted("# started\n\n29,,raw_syscalls:sys_enter,2635808,100.00,,\n"), 29)
        with self.assertRaises(kit.Failure):
            costs.counted("<not counted>,,raw_syscalls:sys_enter,0,0.00,,\n")

    def test_the_version_of_go(self):
        self.assertEqual(peers.version_of("go version go1.27.3 linux/amd64"), (1, 27))
        self.assertEqual(peers.version_of("go version go1.9 linux/amd64"), (1, 9))
        self.assertLess(peers.version_of("unknown"), peers.GO_LEAST)
        self.assertLess((1, 9), peers.GO_LEAST)


def measured():
    """What a whole run would write, with one void figure and one void latency."""
    known = peers.Limits.read()
    line = figures.Figures(GROUP, SPECS, windows(NS), 3)
    void = bench_report(1, ["it was <busy>; lower --rate"])
    rounds = {"tidegate": [costs.latency_of(bench_report())], "mio": [costs.latency_of(void)]}
    return {
        "facts": {"utc": "2026-11-23T00:00:00+00:00", "machine": "AMD & co, 2 CPUs", "kernel": "Linux 6", "go": None,
                  "commit": "0123456789abcdef+changes", "rustc": "rustc 1.95", "command": "benches/compare --peers"},
        "options": {"quick": False},
        "groups": [{"size": 64, "depth": 16, "conns": GROUP.conns, "raw_ns": line.medians("raw"), **line.json(),
                    "void": line.void(known), "control_spread": 0.04, "too_few_clean_rounds": ["mio"]}],
        "windows": [window(1), window(1, clean=False)],
        "latency": [{"rate": 20_000, "server": name, "rounds": one, **costs.latency_figure(one)}
                    for name, one in rounds.items()],
        "calls": {"tidegate": {1: 2.02, 16: 0.127}, "mio": {1: 2.02}},
        "instructions": {"tidegate": {1: 1611}},
        "memory": {"tidegate": 88.0, "mio": 0.0, "go-each": 7967.4},
    }  # fmt: skip


class Report(unittest.TestCase):
    TEXT = f"before\n{report.BEGIN}\nold\n{report.END}\nafter\n"

    def test_only_what_is_between_the_markers_is_replaced(self):
        written = report.replaced(self.TEXT, "new", report.BEGIN, report.END)
        self.assertEqual(written, f"before\n{report.BEGIN}\n\nnew\n\n{report.END}\nafter\n")

    def test_a_document_without_both_markers_in_order_is_refused(self):
        for text in ("", self.TEXT + self.TEXT, report.BEGIN, f"{report.END}\n{report.BEGIN}"):
            with self.assertRaises(kit.Failure):
                report.replaced(text, "new", report.BEGIN, report.END)

    def test_a_folder_without_a_place_for_it_is_refused_before_measuring(self):
        with tempfile.TemporaryDirectory() as directory:
            with self.assertRaises(kit.Failure):
                report.must_fit(directory, for_goals=False)
            (pathlib.Path(directory) / report.DOCUMENT).write_text(self.TEXT)
            report.must_fit(directory, for_goals=False)
            with self.assertRaises(kit.Failure):
                report.must_fit(directory, for_goals=True)

    def test_a_run_is_written_and_written_again_the_same(self):
        with tempfile.TemporaryDirectory() as directory:
            document = pathlib.Path(directory) / report.DOCUMENT
            document.write_text(self.TEXT)
            report.write(measured(), directory)
            first = document.read_text()
            report.write(measured(), directory)
            self.assertEqual(document.read_text(), first)
            for said in (
                "commit 0123456789ab with changes", "In 1 of 2 windows", "| 64 B, 16 | 200 / 200 / 200 | 1.04 |",
                "**1.21**", "*void*: 5.00, known 16.02", "1 of these figures is void: there", "mio 1.12 against 1.21",
                "| **tidegate** | 30 (30–30), 90 (90–90) |", "| mio | *void* |",
                "mio at 20,000 a second: it was <busy>.",
                "7,967 B", "| **tidegate** | 2.02 | 0.127 | 1611 | 88 B |", "| mio | 2.02 | — | — | 0 B |",
            ):  # fmt: skip
                self.assertIn(said, first)
            self.assertNotIn("\nold\n", first)
            for name in ("peers-cpu.svg", "peers-latency.svg", "peers-memory.svg"):
                self.assertIn(f"(plots/{name})", first)
                self.assertTrue((pathlib.Path(directory) / "plots" / name).exists(), name)

    def test_parts_that_were_not_measured_are_not_there(self):
        data = measured()
        for part in ("latency", "calls", "instructions", "memory"):
            del data[part]
        self.assertEqual(list(report.pictures(data)), ["peers-cpu.svg"])
        self.assertEqual((report.latency(data), report.others(data)), ("", ""))

    def test_noise_is_told(self):
        data = measured()
        self.assertIn("all are in the figure: 64 B, 16: mio.", report.cpu(data))
        self.assertNotIn("proves nothing", report.cpu(data))
        data["groups"][0].update(control_spread=0.06, too_few_clean_rounds=[])
        self.assertIn("proves nothing", report.cpu(data))
        self.assertNotIn("all are in the figure", report.cpu(data))

    def test_being_the_cheapest_is_only_said_where_it_is_so(self):
        data = copy.deepcopy(measured())
        data["groups"][0]["over_raw"]["tidegate"] = [1.01] * 3
        self.assertIn("None of them is cheaper", report.cpu(data))


def texts(picture):
    root = xml.etree.ElementTree.fromstring(picture)
    return [element.text for element in root.iter("{http://www.w3.org/2000/svg}text")]


class Plots(unittest.TestCase):
    def test_all_are_well_formed_and_name_every_server_and_figure(self):
        pictures = report.pictures(measured())
        said = texts(pictures["peers-cpu.svg"])
        for word in ("tidegate", "1.21", "framed", "1.10", "go-each", "void in this run"):
            self.assertIn(word, said)
        self.assertNotIn("5.00", said)
        self.assertIn("30 to 90", texts(pictures["peers-latency.svg"]))
        self.assertIn("88 B", texts(pictures["peers-memory.svg"]))
        for picture in pictures.values():
            self.assertIn("prefers-color-scheme: dark", picture)

    def test_words_are_escaped(self):
        row = plots.Row("a<b", "1 & 2", 3.0)
        self.assertIn("a<b", texts(plots.plot("<head>", [plots.Panel("p", (row,))], 1, "µs")))

    def test_the_axis_is_logarithmic_and_holds_all_that_is_shown(self):
        axis = plots.Axis([plots.Panel("", (plots.Row("", "", 100.0, 1.0),))])
        self.assertAlmostEqual(axis.at(10), plots.BAR_WIDTH / 2)
        self.assertLess(0, axis.at(1))
        self.assertLess(axis.at(100), plots.BAR_WIDTH)
        self.assertEqual(axis.ticks(), [1, 10, 100])

    def test_a_picture_without_any_figure_is_still_a_picture(self):
        texts(plots.plot("head", [plots.Panel("p", (plots.Row("mio", "void in this run"),))], 2, "µs"))


if __name__ == "__main__":
    unittest.main()
