# SPDX-License-Identifier: Apache-2.0
"""braid trace: what ranks did in their newest steps. usage: trace_test.py BRAID MODEL"""
import collections
import json
import os
import subprocess
import sys
import tempfile
import unittest

from server import BRAID, Server

LAYERED = {"attention", "dispatch", "receive", "experts", "send back", "combine"}


class Trace(unittest.TestCase):
    def trace(self, *words, code=0):
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "trace.json")
            ran = subprocess.run([BRAID, "trace", path, *words], capture_output=True, text=True, timeout=60)
            self.assertEqual(ran.returncode, code, ran.stderr)
            if code:
                return ran.stderr
            with open(path) as f:
                return json.load(f)["traceEvents"]

    def test_ranks_that_share_experts_show_their_steps_and_layers(self):
        server = Server("--data-parallel-size", "2", "--enable-expert-parallel", "--cpu-threads", "1")
        self.addCleanup(server.end)
        server.post("/v1/completions", {"prompt": "What is a river?", "max_tokens": 4, "ignore_eos": True})
        ranks = collections.defaultdict(list)
        for event in self.trace("--url", server.url):
            if event["ph"] == "X":
                ranks[event["pid"]].append(event)
        self.assertEqual(set(ranks), {0, 1})
        for events in ranks.values():
            named = collections.defaultdict(list)
            for event in events:
                named[event["name"]].append(event)
            steps = sorted((e["ts"], e["ts"] + e["dur"]) for e in named["step"])
            self.assertGreaterEqual(len(steps), 4)
            layers = {e["args"]["layer"] for e in named["layer"]}
            for name in LAYERED:
                self.assertLessEqual({e["args"]["layer"] for e in named[name]}, layers)
                self.assertGreaterEqual(len(named[name]), len(steps), name)
            for event in named["layer"]:
                self.assertTrue(any(begin <= event["ts"] and event["ts"] + event["dur"] <= end + 1 for begin, end in steps), event)

    def test_a_server_alone_and_its_key(self):
        server = Server("--api-key", "secret")
        self.addCleanup(server.end)
        self.assertIn("wants a key", self.trace("--url", server.url, code=2))
        names = {event["name"] for event in self.trace("--url", server.url, "--api-key", "secret")}
        self.assertIn("process_name", names)


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1], verbosity=2)
