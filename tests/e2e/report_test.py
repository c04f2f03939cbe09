# SPDX-License-Identifier: Apache-2.0
"""braid bundle-report, and that no secret gets into it. usage: report_test.py BRAID MODEL"""
import json
import os
import stat
import subprocess
import sys
import tempfile
import unittest

from server import BRAID, Process, Server, wait_until

SECRETS = {"flag": "key-by-flag-81f3", "environment": "key-by-environment-5c2e", "group": "secret-of-the-ranks-77aa", "router": "key-of-the-router-0b9d"}


class BundleReport(unittest.TestCase):
    def bundle(self, *words):
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "report.json")
            ran = subprocess.run([BRAID, "bundle-report", *words, "--output", path], capture_output=True, text=True, check=True, timeout=60)
            self.assertEqual(stat.S_IMODE(os.stat(path).st_mode), 0o600)
            with open(path) as f:
                text = f.read()
        for secret in SECRETS.values():
            self.assertNotIn(secret, text)
            self.assertNotIn(secret, ran.stdout + ran.stderr)
        return json.loads(text)

    def test_tells_everything_of_engine_and_router_but_secrets(self):
        keyed = Server("--backend", "simulated", env={"VLLM_API_KEY": SECRETS["environment"], "BRAID_DATA_PARALLEL_SECRET": SECRETS["group"]})
        self.addCleanup(keyed.end)
        router = Process([BRAID, "route", "--host", "127.0.0.1", "--port", "0", "--api-key", SECRETS["router"], "--endpoints", f"127.0.0.1:{keyed.port}"])
        self.addCleanup(router.end)
        router.wait_ready()
        wait_until(lambda: router.answers("/readyz"), "the router is ready")
        ask = {"prompt": SECRETS["router"], "max_tokens": 1, "model": "x"}
        router.post_raw("/v1/completions", ask, {"x-request-id": SECRETS["router"], "Authorization": "Bearer " + SECRETS["environment"]})

        whole = self.bundle(router.url, "--api-key", SECRETS["router"])
        told = whole["servers"][router.url]
        self.assertEqual(told["configuration"]["api-key"]["value"], "(hidden)")
        self.assertEqual(told["state"]["endpoints"][0]["name"], f"127.0.0.1:{keyed.port}")
        self.assertIn("llm_d_epp_ready_endpoints 1", told["metrics"])
        self.assertEqual(told["version"], whole["braid"])
        self.assertGreater(whole["machine"]["processors"], 0)

        told = self.bundle(keyed.url, "--api-key", SECRETS["environment"])["servers"][keyed.url]
        self.assertEqual(told["configuration"]["api-key"], {"value": "(hidden)", "source": "environment", "detail": told["configuration"]["api-key"]["detail"]})
        self.assertEqual(told["configuration"]["backend"]["value"], "simulated")
        self.assertEqual(told["state"]["kind"], "engine")

    def test_a_server_that_refuses_or_is_not_there_is_told_so(self):
        engine = Server("--backend", "simulated", "--api-key", SECRETS["flag"])
        self.addCleanup(engine.end)
        gone = "http://127.0.0.1:1"
        servers = self.bundle(engine.url, gone)["servers"]
        self.assertIn("wants a key", servers[engine.url]["error"])
        self.assertIn("127.0.0.1:1", servers[gone]["error"])

    def test_the_last_problems_are_in_it(self):
        engine = Server("--backend", "simulated", "--simulated.fail-at-step", "1")
        self.addCleanup(engine.end)
        engine.post_raw("/v1/completions", {"prompt": [1, 2, 3], "max_tokens": 2})
        problems = self.bundle(engine.url)["servers"][engine.url]["problems"]
        self.assertIn("engine is dead", " ".join(problems))


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1], verbosity=2)
