# SPDX-License-Identifier: Apache-2.0
"""Cache events of a real server, read by a real ZeroMQ subscriber. usage: kv_events_test.py BRAID MODEL"""
import json
import struct
import sys
import unittest

import msgpack
import zmq

from server import DEADLINE_S, Server, free_ports, wait_until

TOPIC = "kv@127.0.0.1:8000@model"
END = b"\xff" * 8


class Follower:
    """An index of one engine's blocks, as a router keeps it."""

    def __init__(self, server):
        line = server.wait_for_log(r"cache events .*endpoint=(\S+) replay=(\S+)")
        self.context = zmq.Context()
        self.events = self.context.socket(zmq.SUB)
        self.events.setsockopt(zmq.SUBSCRIBE, b"kv@")
        self.events.setsockopt(zmq.RCVTIMEO, DEADLINE_S * 1000)
        self.events.connect(line.group(1))
        self.replay = self.context.socket(zmq.DEALER)
        self.replay.setsockopt(zmq.RCVTIMEO, DEADLINE_S * 1000)
        self.replay.connect(line.group(2))
        self.next = 0
        self.known = {}
        self.children_of = {}
        self.in_host = set()
        self.all = []

    def close(self):
        self.context.destroy(linger=0)

    def ask(self, first):
        self.replay.send_multipart([b"", struct.pack(">q", first)])
        while True:
            _, number, payload = self.replay.recv_multipart()
            if number == END:
                return
            yield struct.unpack(">Q", number)[0], payload

    def catch_up(self):
        """Everything there is: by replay, as the subscription may still be on its way."""
        for number, payload in self.ask(self.next):
            assert number == self.next, (number, self.next)
            self.next += 1
            self.take(payload)

    def take(self, payload):
        batch = msgpack.unpackb(payload)
        ts, events, rank = batch if isinstance(batch, list) else (batch["ts"], batch["events"], batch["data_parallel_rank"])
        assert ts > 1.6e9 and rank == 0
        for event in events:
            self.all.append(event)
            kind, *rest = event if isinstance(event, list) else [event["type"], *(v for k, v in event.items() if k != "type")]
            if kind == "BlockStored" and isinstance(event, dict):
                rest = [event[k] for k in ("block_hashes", "parent_block_hash", "token_ids", "block_size", "lora_id", "medium")]
            if kind == "BlockStored":
                self.store(*rest[:6])
            elif kind == "BlockRemoved":
                hashes, medium = (event["block_hashes"], event["medium"]) if isinstance(event, dict) else rest
                if medium == "CPU":
                    self.in_host -= set(hashes)
                    continue
                for h in hashes:
                    assert h in self.known, "removed but never stored"
                    parent, _ = self.known.pop(h)
                    assert h in self.in_host or not self.children_of.get(h), "children go before parents"
                    self.children_of.get(parent, set()).discard(h)

    def store(self, hashes, parent, tokens, size, lora, medium):
        if medium == "CPU":
            assert tokens == [] and parent is None and all(h in self.known for h in hashes), "only what the device still holds goes there"
            self.in_host |= set(hashes)
            return
        assert len(tokens) == size * len(hashes) and lora is None and medium == "GPU"
        assert parent is None or parent in self.known or parent in self.in_host, "parents come before children"
        for i, h in enumerate(hashes):
            self.known[h] = (parent, tokens[i * size:(i + 1) * size])
            self.children_of.setdefault(parent, set()).add(h)
            parent = h

    def sequences(self):
        """The tokens from the beginning to each block that is known."""
        def tokens(h):
            parent, own = self.known[h]
            return (tokens(parent) if parent is not None else []) + own
        return [tokens(h) for h in self.known]


class KvEvents(unittest.TestCase):
    def start(self, *flags, **config):
        config = {"enable_kv_cache_events": True, "publisher": "zmq", "endpoint": "tcp://127.0.0.1:*",
                  "replay_endpoint": "tcp://127.0.0.1:*", "topic": TOPIC, **config}
        self.server = Server("--kv-events-config", json.dumps(config), *flags)
        self.addCleanup(self.server.process.kill)
        self.follower = Follower(self.server)
        self.addCleanup(self.follower.close)

    def complete(self, prompt, max_tokens=4, **more):
        status, answer = self.server.post("/v1/completions", {"prompt": prompt, "max_tokens": max_tokens, "temperature": 0,
                                                              "ignore_eos": True, **more})
        self.assertEqual(status, 200, answer)
        return answer

    def test_a_prompt_becomes_blocks_with_its_tokens(self):
        self.start()
        prompt = list(range(100, 140))
        self.complete(prompt)
        self.follower.catch_up()
        self.assertEqual(max(self.follower.sequences(), key=len), prompt[:32])
        self.assertTrue(all(0 <= h < 1 << 64 for h in self.follower.known))
        before = len(self.follower.all)
        self.complete(prompt)
        self.follower.catch_up()
        self.assertEqual(len(self.follower.all), before, "nothing new is in the cache")

    def test_a_subscriber_hears_of_what_comes(self):
        self.start()
        number = 0

        def heard():
            nonlocal number
            number += 20
            self.complete(list(range(number, number + 20)))
            return self.follower.events.poll(200)
        wait_until(heard, "the subscription has arrived")
        topic, sequence, payload = self.follower.events.recv_multipart()
        self.assertEqual(topic.decode(), TOPIC)
        self.follower.next = struct.unpack(">Q", sequence)[0]
        self.follower.take(payload)
        self.assertEqual(len(self.follower.known), 1)

    def test_an_index_stays_right_while_blocks_are_reused(self):
        self.start("--num-gpu-blocks-override", "24", "--max-model-len", "256")
        for i in range(40):
            self.complete([5] * (i % 3 * 16) + list(range(i * 20, i * 20 + 60)), max_tokens=30)
        self.follower.catch_up()
        kinds = [e[0] for e in self.follower.all]
        self.assertIn("BlockRemoved", kinds)
        self.assertLessEqual(len(self.follower.known), 24)

    def test_what_the_cache_has_no_room_for_comes_back_from_the_host(self):
        prompts = [list(range(i * 50, i * 50 + 100)) for i in range(6)]

        def answers():
            return [self.complete(p, max_tokens=20) for p in prompts * 2]
        small = ("--num-gpu-blocks-override", "16", "--max-model-len", "256")
        self.start(*small)
        computed = answers()
        self.assertEqual(self.server.metric("vllm:kv_offload_total_bytes"), 0)
        self.server.end()
        self.start(*small, "--kv-offloading-size", "0.05", "--enable-prompt-tokens-details")
        restored = answers()
        self.assertEqual([a["choices"][0]["text"] for a in restored], [a["choices"][0]["text"] for a in computed])
        self.assertEqual([a["usage"]["prompt_tokens_details"]["cached_tokens"] for a in restored[6:]], [96] * 6)
        self.assertGreaterEqual(self.server.metric("vllm:external_prefix_cache_hits"), 5 * 96 - 16 * 16)
        self.assertGreater(self.server.metric("vllm:kv_offload_total_bytes"), 0)
        self.follower.catch_up()
        self.assertEqual(len(self.follower.in_host), self.server.metric("braid:kv_offload_blocks"))
        self.assertLessEqual(len(self.follower.known), 16)

    def test_a_host_tier_that_cannot_be_is_refused_at_start(self):
        for size, extra, remedy in (("1000000", (), "set a size between"), ("1", ("--no-enable-prefix-caching",), "leave out --no-enable-prefix-caching")):
            server = Server("--kv-offloading-size", size, *extra, wait=False)
            self.assertNotEqual(server.wait(), 0)
            self.assertIn(remedy, "".join(server.log))

    def test_maps_and_whole_hashes(self):
        self.start(format="map", int_block_hashes=False)
        self.complete(list(range(20)), cache_salt="mine")
        self.follower.catch_up()
        event, = self.follower.all
        self.assertEqual(event["type"], "BlockStored")
        self.assertEqual(event["extra_keys"], [["mine"]])
        self.assertTrue(all(isinstance(h, bytes) and len(h) == 32 for h in self.follower.known))

    def test_every_rank_publishes_at_its_own_port(self):
        first = free_ports(2)
        server = Server("--data-parallel-size", "2", "--kv-events-config", json.dumps(
            {"enable_kv_cache_events": True, "endpoint": f"tcp://127.0.0.1:{first}".replace("127.0.0.1", "*"), "topic": TOPIC}))
        self.addCleanup(server.process.kill)
        with zmq.Context() as context, context.socket(zmq.SUB) as sub:
            sub.setsockopt(zmq.SUBSCRIBE, b"")
            for rank in range(2):
                sub.connect(f"tcp://127.0.0.1:{first + rank}")
            ranks = set()

            def both_heard():
                for rank in range(2):
                    prompt = [7 * (len(ranks) + rank) + len(seen)] * 20
                    seen.append(prompt)
                    server.post("/v1/completions", {"prompt": prompt, "max_tokens": 1}, {"X-data-parallel-rank": str(rank)})
                while sub.poll(100):
                    ranks.add(msgpack.unpackb(sub.recv_multipart()[2])[2])
                return ranks == {0, 1}
            seen = []
            wait_until(both_heard, "both ranks were heard")


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1], verbosity=2)
