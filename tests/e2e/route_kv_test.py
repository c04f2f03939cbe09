# SPDX-License-Identifier: Apache-2.0
"""A router that follows the KV events of real engines. usage: route_kv_test.py BRAID MODEL"""
import json
import sys
import tempfile
import unittest

from server import BRAID, MODEL, Process, Server, free_ports, wait_until

CONFIG = """
apiVersion: llm-d.ai/v1alpha1
kind: EndpointPickerConfig
plugins:
- type: precise-prefix-cache-producer
  parameters:
    tokenProcessorConfig: {blockSizeTokens: 16, hashAlgorithm: %s, hashSeed: "0"}
    kvEventsConfig: {podDiscoveryConfig: {socketPort: %d, replaySocketPort: %d}}
- type: prefix-cache-scorer
"""


class RouteKv(unittest.TestCase):
    def start(self, algorithm):
        first = free_ports(4)  # of events and of replays, for two ranks each
        events = {"enable_kv_cache_events": True, "publisher": "zmq", "endpoint": f"tcp://*:{first}", "replay_endpoint": f"tcp://*:{first + 2}"}
        self.engine = Server("--data-parallel-size", "2", "--kv-events-config", json.dumps(events))
        self.addCleanup(self.engine.end)
        config = tempfile.NamedTemporaryFile("w", suffix=".yaml")
        self.addCleanup(config.close)
        config.write(CONFIG % (algorithm, first, first + 2))
        config.flush()
        self.router = Process([BRAID, "route", "--host", "127.0.0.1", "--port", "0", "--config-file", config.name, "--endpoints",
                               *(f"127.0.0.1:{self.engine.port}@{rank}" for rank in range(2))])
        self.addCleanup(self.router.end)
        self.router.wait_ready()

    def complete(self, server, prompt, headers):
        body = {"model": MODEL, "prompt": prompt, "max_tokens": 1, "temperature": 0}
        status, answered, text = server.post_raw("/v1/completions", body, headers)
        self.assertEqual(status, 200, text)
        return answered

    def compute(self, rank, prompt):
        self.complete(self.engine, prompt, {"x-data-parallel-rank": str(rank)})

    def decide(self, prompt):
        """Rank chosen, and the scores of both."""
        decision = json.loads(self.complete(self.router, prompt, {"x-braid-explain": "1"})["x-braid-explain"])
        scores = [each["scores"]["prefix-cache-scorer"] for _, each in sorted(decision["profiles"][0]["endpoints"].items())]
        return decision["decode"][0]["rank"], scores

    def follows(self, algorithm):
        self.start(algorithm)
        cached = [list(range(100 * rank, 100 * rank + 64)) for rank in range(2)]
        for rank in range(2):  # past the router, and before it may have connected
            self.compute(rank, cached[rank])
        rounds = 0

        def known():
            # A later event shows that earlier ones were missed; a replay brings them.
            nonlocal rounds
            rounds += 1
            for rank in range(2):
                self.compute(rank, list(range(1000 + 20 * rounds, 1017 + 20 * rounds)))
            # Four blocks of each prompt above, one of each since; a block counts once for both ranks.
            return self.router.metric("llm_d_epp_kv_cache_index_blocks") == 8 + rounds
        wait_until(known, "the router knows what each rank has cached")
        for rank in range(2):
            chosen, scores = self.decide(cached[rank])
            self.assertEqual((chosen, scores[rank], scores[1 - rank]), (rank, 1, 0))

    def test_by_the_engines_own_hashes(self):
        self.follows("sha256_cbor")

    def test_by_keys_of_its_own(self):
        self.follows("cbor-fnv")


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1], verbosity=2)
