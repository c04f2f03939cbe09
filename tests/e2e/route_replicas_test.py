# SPDX-License-Identifier: Apache-2.0
"""Two routers in front of the same engines, of which one is killed. usage: route_replicas_test.py BRAID MODEL"""
import http.client
import json
import sys
import tempfile
import unittest

from route_kv_test import CONFIG
from server import BRAID, DEADLINE_S, MODEL, Process, Server, free_ports, wait_until

RANKS = 2


class Router(Process):
    def __init__(self, config, engine, *flags, port=0):
        super().__init__([BRAID, "route", "--host", "127.0.0.1", "--port", str(port), "--config-file", config, *flags, "--endpoints",
                          *(f"127.0.0.1:{engine.port}@{rank}" for rank in range(RANKS))])
        self.wait_ready()
        wait_until(lambda: self.metric("llm_d_epp_ready_endpoints ") == RANKS, "the engine's ranks are there")

    def blocks(self):
        return self.metric("llm_d_epp_kv_cache_index_blocks")

    def ask(self, prompt):
        """The rank that was chosen, and how much of the prompt each had, as the router knew."""
        body = {"model": MODEL, "prompt": prompt, "max_tokens": 1, "temperature": 0}
        status, headers, text = self.post_raw("/v1/completions", body, {"x-braid-explain": "1"})
        if status != 200:
            raise AssertionError(text)
        decision = json.loads(headers["x-braid-explain"])
        scores = [each["scores"]["prefix-cache-scorer"] for _, each in sorted(decision["profiles"][0]["endpoints"].items())]
        return decision["decode"][0]["rank"], scores

    def in_flight(self):
        return self.metric("braid_route_peer_requests")

    def begin_stream(self):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=DEADLINE_S)
        body = {"model": MODEL, "prompt": [5] * 8, "max_tokens": 1500, "ignore_eos": True, "stream": True}
        connection.request("POST", "/v1/completions", json.dumps(body), {"Content-Type": "application/json"})
        answer = connection.getresponse()
        answer.readline()
        return connection, answer


class Replicas(unittest.TestCase):
    def setUp(self):
        first = free_ports(2 * RANKS)  # of events and of replays
        events = {"enable_kv_cache_events": True, "publisher": "zmq", "endpoint": f"tcp://*:{first}", "replay_endpoint": f"tcp://*:{first + RANKS}"}
        self.engine = self.start(Server("--data-parallel-size", str(RANKS), "--kv-events-config", json.dumps(events)))
        config = tempfile.NamedTemporaryFile("w", suffix=".yaml")
        self.addCleanup(config.close)
        config.write(CONFIG % ("sha256_cbor", first, first + RANKS))
        config.flush()
        self.config = config.name

    def start(self, process):
        self.addCleanup(process.end)
        return process

    def agree(self, *routers):
        """Waits until all know as much as the one that knows most. Each time something new is computed, so that who missed an event notices."""
        self.told = 0

        def agreed():
            self.told += 1
            for rank in range(RANKS):
                body = {"model": MODEL, "prompt": list(range(1000 + 20 * self.told, 1017 + 20 * self.told)), "max_tokens": 1}
                self.assertEqual(self.engine.post_raw("/v1/completions", body, {"x-data-parallel-rank": str(rank)})[0], 200)
            known = [router.blocks() for router in routers]
            return known[0] >= self.told and len(set(known)) == 1
        wait_until(agreed, "the routers know the same")

    def test_the_other_goes_on_with_what_both_know(self):
        one, other = (self.start(Router(self.config, self.engine)) for _ in range(2))
        self.agree(one, other)
        prompts = [list(range(100 * i, 100 * i + 64)) for i in range(4)]
        chosen = [one.ask(prompt)[0] for prompt in prompts]
        self.agree(one, other)

        connection, stream = one.begin_stream()
        self.addCleanup(connection.close)
        wait_until(lambda: self.engine.metric("vllm:num_requests_running") > 0, "it is under way")
        one.process.kill()
        self.assertRaises((http.client.IncompleteRead, ConnectionError), stream.read)
        wait_until(lambda: self.engine.metric("vllm:num_requests_running") == 0, "the engine has ended what nobody waits for")

        for rank, prompt in zip(chosen, prompts):
            again, scores = other.ask(prompt)
            self.assertEqual((again, scores[rank]), (rank, 1))

        third = self.start(Router(self.config, self.engine))
        self.agree(other, third)
        for rank, prompt in zip(chosen, prompts):
            again, scores = third.ask(prompt)
            self.assertEqual((again, scores[rank]), (rank, 1))

    def test_routers_count_each_other_s_requests_in_flight(self):
        with open(self.config, "a") as config:
            config.write("- type: active-request-scorer\n")
        first = free_ports(2)
        peers = ["--peers", f"127.0.0.1:{first},127.0.0.1:{first + 1}", "--peer-key", "word"]
        one, other = (self.start(Router(self.config, self.engine, *peers, port=first + i)) for i in range(2))
        wait_until(lambda: all(router.metric("braid_route_peers") == 1 for router in (one, other)), "each hears the other, and not itself")
        connection, _ = one.begin_stream()
        self.addCleanup(connection.close)
        wait_until(lambda: other.in_flight() == 1, "the other knows of it")
        self.assertEqual(one.in_flight(), 0)
        one.process.kill()
        wait_until(lambda: other.metric("braid_route_peers") == 0, "who is dead counts no longer")
        self.assertEqual(other.in_flight(), 0)
        self.assertEqual(len(other.ask([3] * 40)[1]), RANKS)


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1], verbosity=2)
