#!/usr/bin/env python3
"""What `instructions --gate` decides, without measuring anything: `python3 -m unittest discover benches`."""

import json
import unittest

import gate
import kit

TOOLS = {"rustc": "rustc 1.95.0", "libc": "glibc 2.36", "valgrind": "valgrind-3.19.0", "cpu": "x86_64 avx2"}
RECORDED = {"plain D1": 1000.0, "EXT D16": 500.0}


def judge(is_same_tools=True, **now):
    names = {"plain": "plain D1", "ext": "EXT D16"}
    return gate.judge(RECORDED, {names[short]: count for short, count in now.items()}, is_same_tools)


class Gate(unittest.TestCase):
    def test_counts_pass_from_3_percent_below_to_2_percent_above(self):
        for plain in (970.0, 999.9, 1000.0, 1020.0):
            self.assertEqual(judge(plain=plain, ext=500.0), [], plain)

    def test_more_fails_and_says_which_by_how_much_and_what_to_do(self):
        (line,) = judge(plain=1021.0, ext=500.0)
        self.assertTrue(line.startswith("plain D1: 1,021.0 instructions a message, 1,000.0 recorded: +2.1%"), line)
        self.assertIn("2% more is the limit", line)
        self.assertIn(gate.RECORD, line)

    def test_fewer_fails_until_it_is_recorded(self):
        (line,) = judge(plain=1000.0, ext=484.0)
        self.assertTrue(line.startswith("EXT D16: 484.0 instructions a message, 500.0 recorded: -3.2%"), line)
        self.assertIn(gate.RECORD, line)

    def test_every_count_that_has_moved_is_told(self):
        self.assertEqual(len(judge(plain=1100.0, ext=400.0)), 2)

    def test_with_other_tools_a_gain_passes_and_only_a_large_loss_fails(self):
        for plain in (500.0, 1021.0, 1100.0):
            self.assertEqual(judge(False, plain=plain, ext=500.0), [], plain)
        (line,) = judge(False, plain=1101.0, ext=500.0)
        self.assertIn("10% more is the limit", line)

    def test_a_count_that_either_side_lacks_is_an_error(self):
        self.assertEqual(judge(plain=1000.0), ["EXT D16: recorded, but not measured"])
        (line,) = gate.judge({}, {"plain D1": 1.0}, True)
        self.assertIn("nothing is recorded", line)

    def test_each_tool_that_differs_is_named(self):
        self.assertEqual(gate.differences(TOOLS, TOOLS), [])
        other = {**TOOLS, "rustc": "rustc 1.96.0"}
        self.assertEqual(gate.differences(TOOLS, other), ["rustc: recorded with rustc 1.95.0, here rustc 1.96.0"])
        self.assertEqual(len(gate.differences({}, TOOLS)), 4)

    def test_a_processor_without_avx2_is_compared_and_another_architecture_is_not(self):
        self.assertTrue(gate.is_comparable(TOOLS, {**TOOLS, "cpu": "x86_64"}))
        self.assertFalse(gate.is_comparable(TOOLS, {**TOOLS, "cpu": "aarch64"}))

    def test_what_is_measured_is_recorded_by_frames_and_depth(self):
        results = [{"frames": "plain", "depth": 1, "instructions_per_message": 1761.0449}]
        self.assertEqual(gate.counts(results), {"plain D1": 1761.0})

    def test_the_table_has_every_count_of_either_side(self):
        rows = gate.rows(RECORDED, {"plain D1": 1010.0, "EXT D1": 9.0})
        self.assertEqual(rows[1:], [["plain D1", "1000.0", "1010.0", "+1.0%"], ["EXT D16", "500.0", "none", ""],
                                    ["EXT D1", "none", "9.0", ""]])  # fmt: skip

    def test_the_record_has_all_that_the_gate_asks_for(self):
        record = json.loads((kit.BENCHES / "instructions.json").read_text())
        self.assertEqual(gate.differences(record["tools"], record["tools"]), [])
        self.assertEqual(set(record["tools"]), set(gate.TOOLS))
        names = {gate.key(frames, depth) for frames in ("plain", "EXT") for depth in (1, 16)}
        self.assertEqual(set(record["instructions_per_message"]), names)


if __name__ == "__main__":
    unittest.main()
