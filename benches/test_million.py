#!/usr/bin/env python3
"""What `million` computes, without a connection: `python3 -m unittest discover benches`."""

import dataclasses
import importlib.machinery
import importlib.util
import json
import pathlib
import re
import tempfile
import unittest

import crowd
import kit

LIMITS = crowd.Limits(
    descriptors=20_000, files=2_466_000, ports=28_232, accept_queue=4096, memory_bytes=22 * crowd.GIB
)


def program():
    """`million` as a module."""
    loader = importlib.machinery.SourceFileLoader("million", str(kit.BENCHES / "million"))
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader("million", loader))
    loader.exec_module(module)
    return module


class Plans(unittest.TestCase):
    def test_a_million_takes_as_many_processes_as_descriptors_demand(self):
        plan = crowd.plan(1_000_000, LIMITS)
        self.assertEqual((plan.servers, plan.holders, plan.sources), (53, 51, 142))

    def test_no_server_gets_more_than_it_has_descriptors_for(self):
        for connections, most in ((20_000, 19_872), (100_000, 900), (1_000_000, 19_872), (1_000_000, 1_000_000)):
            count = crowd.servers_for(connections, most)
            self.assertLessEqual(connections / count + 6 * (connections / count) ** 0.5, most)
        self.assertEqual(crowd.servers_for(10, 19_872), 2, "one port for several")

    def test_every_connection_is_dealt_once(self):
        for connections, holders in ((1_000_000, 51), (20_000, 2), (10, 3)):
            shares = crowd.Plan(connections, 2, holders, 1).shares()
            numbers = [number for first, count in shares for number in range(first, first + count)]
            self.assertEqual(numbers, list(range(connections)))

    def test_what_does_not_fit_is_told_with_what_does(self):
        for changed, words in (
            ({"files": 1_000_000}, "fs.file-max leaves room for 500,000"),
            ({"memory_bytes": crowd.GIB}, "memory leaves room for 95,325"),
            ({"tracked": 262_144}, "nf_conntrack_max leaves room for 262,144"),
            ({"descriptors": 1024}, "1,024 descriptors a process and 28,232 ports are too few"),
        ):
            with self.assertRaisesRegex(kit.Failure, words):
                crowd.plan(1_000_000, dataclasses.replace(LIMITS, **changed))
        self.assertIsNotNone(crowd.plan(1_000_000, dataclasses.replace(LIMITS, tracked=1_000_000)))


class Reading(unittest.TestCase):
    def setUp(self):
        place = tempfile.TemporaryDirectory()
        self.addCleanup(place.cleanup)
        self.proc = pathlib.Path(place.name)

    def write(self, files):
        for name, text in files.items():
            path = self.proc / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)

    def test_limits_are_read(self):
        self.write({
            "sys/fs/file-nr": "1000\t0\t5000\n", "sys/net/ipv4/ip_local_port_range": "32768\t60999\n",
            "sys/net/core/somaxconn": "4096\n", "meminfo": "MemAvailable:    2 kB\nHugePages_Total:   0\n",
        })  # fmt: skip
        limits = crowd.read_limits(self.proc)
        self.assertEqual((limits.files, limits.ports, limits.accept_queue), (4000, 28_232, 4096))
        self.assertEqual((limits.memory_bytes, limits.tracked), (2048, None))
        track = {"sys/net/netfilter/nf_conntrack_max": "262144\n"}
        for count, want in ((0, None), (144, 262_000)):
            self.write({**track, "sys/net/netfilter/nf_conntrack_count": f"{count}\n"})
            self.assertEqual(crowd.read_limits(self.proc).tracked, want)

    def test_memory_of_the_kernel_is_the_difference_of_two_moments(self):
        names = ("MemTotal", "MemFree", "Buffers", "Cached", "Slab", "PageTables", "KernelStack")
        sockets = "sockets: used 9\nTCP: inuse 3 orphan 0 tw 0 alloc 3 mem {}\n"

        def now(*kilobytes, pages):
            meminfo = "".join(f"{name}: {kb} kB\n" for name, kb in zip(names, kilobytes))
            self.write({"meminfo": meminfo, "net/sockstat": sockets.format(pages)})
            return crowd.Memory.now(self.proc)

        before = now(1000, 600, 10, 90, 50, 5, 5, pages=0)
        after = now(1000, 300, 20, 80, 250, 7, 8, pages=2)
        self.assertEqual(before.used, 300 * 1024)
        self.assertEqual(after.used - before.used, 300 * 1024)
        page = after.tcp // 2
        self.assertEqual(after.kernel_since(before), (200 + 2 + 3) * 1024 + 2 * page)


def window(p50_us, late_us=1):
    return crowd.Window(p50_us * 1000, p50_us * 3000, late_us * 1000)


def seen(**changed):
    whole = crowd.Seen(
        1_000_000, 1_000_000, 2_000_002, 1_000_000, 50.0, 25.0, 50.0, crowd.GIB, crowd.GIB, 8 * crowd.GIB, 10 * crowd.GIB,
        before=[window(50), window(40), window(60)], beside=[window(55)], after=[window(50)],
    )  # fmt: skip
    return dataclasses.replace(whole, **changed)


class Verdicts(unittest.TestCase):
    def missed(self, **changed):
        rows, is_met = crowd.verdicts(seen(**changed))
        missed = [row[0] for row in rows if row[3] == "MISSED"]
        self.assertEqual(is_met, not missed)
        return missed

    def test_each_figure_has_its_goal(self):
        self.assertEqual(self.missed(), [])
        self.assertEqual(self.missed(by_servers=999_999), ["servers count"])
        self.assertEqual(self.missed(kept=999_999), ["the same when the echo was over"])
        self.assertEqual(self.missed(by_kernel=1_990_000), ["kernel: ends ESTABLISHED"])
        self.assertEqual(self.missed(connect_s=60.1), ["seconds to connect, each with a reply"])
        self.assertEqual(self.missed(kernel_bytes=9 * crowd.GIB + 1), ["memory in all"])
        self.assertEqual(self.missed(beside=[window(61)]), ["echo p50 beside ÷ alone"])

    def test_of_fewer_connections_less_is_asked(self):
        few = {"connections": 100_000, "by_servers": 100_000, "by_kernel": 200_000, "kept": 100_000}
        less = {"servers_bytes": 0, "holders_bytes": 0, "kernel_bytes": crowd.GIB}
        self.assertEqual(self.missed(**few, **less, connect_s=6.0), [])
        self.assertEqual(self.missed(**few, **less, connect_s=6.1), ["seconds to connect, each with a reply"])
        self.assertEqual(self.missed(**few, connect_s=6.0), ["memory in all"])

    def test_a_window_with_a_late_generator_is_left_out_while_another_remains(self):
        ratio, drift = seen(beside=[window(55), window(500, late_us=21)]).ratio()
        self.assertAlmostEqual(ratio, 1.1)
        self.assertAlmostEqual(drift, 1.0)
        rows, is_met = crowd.verdicts(seen(beside=[window(55, late_us=21)]))
        self.assertIn(["echo p50 beside ÷ alone", "1.20", "1.10", "VOID: the generator was late"], rows)
        self.assertFalse(is_met)

    def test_alone_is_before_and_after(self):
        ratio, drift = seen(before=[window(40)], after=[window(60)], beside=[window(55)]).ratio()
        self.assertAlmostEqual(ratio, 1.1)
        self.assertAlmostEqual(drift, 1.5)

    def test_a_window_is_read_from_a_report(self):
        report = {
            "classes": [{"response": {"percentiles_ns": [[50.0, 40_000], [99.0, 90_000]]}}],
            "verdict": {"own": {"late_p50_ns": 900}},
        }
        self.assertEqual(crowd.Window.of(report), crowd.Window(40_000, 90_000, 900))


class Jobs(unittest.TestCase):
    def test_a_holder_is_told_what_it_reads(self):
        source = (kit.PROJECT / "src/load/holders.rs").read_text()
        fields = re.search(r"pub struct Job \{(.*?)\n\}", source, re.DOTALL).group(1)
        told = json.loads(program().job(7411, 5, 6, 20))
        self.assertEqual(sorted(told), sorted(re.findall(r"^    (\w+):", fields, re.MULTILINE)))
        self.assertEqual((told["target"], told["first"], told["count"], told["total"]), ("127.0.0.1:7411", 5, 6, 20))


if __name__ == "__main__":
    unittest.main()
