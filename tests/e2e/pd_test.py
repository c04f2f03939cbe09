# SPDX-License-Identifier: Apache-2.0
"""A prompt computed by one server and continued by another. usage: pd_test.py BRAID MODEL

The test plays the proxy in front of both, in the order of llm-d's nixlv2. With BRAID_TEST_ROUNDS servers are
killed so often, at moments that BRAID_TEST_SEED decides."""
import concurrent.futures
import http.client
import json
import os
import random
import socket
import subprocess
import sys
import threading
import time
import unittest

from server import BRAID, DEADLINE_S, MODEL, Server, free_ports, wait_until

ROUNDS = int(os.environ.get("BRAID_TEST_ROUNDS", "20"))
SEED = int(os.environ.get("BRAID_TEST_SEED", "1"))
ASK = {"do_remote_decode": True, "do_remote_prefill": False, "remote_engine_id": None, "remote_block_ids": None,
       "remote_host": None, "remote_port": None}
LOST = (OSError, http.client.HTTPException, json.JSONDecodeError)


def server(role="kv_both", *flags, lease=60, env=None, **config):
    config = {"kv_connector": "NixlConnector", "kv_role": role, "kv_port": 0,
              "kv_connector_extra_config": {"kv_lease_duration": lease}, **config}
    return Server("--kv-transfer-config", json.dumps(config), *flags, env=env)


def prefill(p, path, body):
    limits = {"max_tokens": 1, **({"max_completion_tokens": 1} if "chat" in path else {})}
    return p.post(path, {**body, **limits, "stream": False, "kv_transfer_params": ASK})


def relay(p, d, path, body):
    """What the decode server answers: status and body."""
    status, answer = prefill(p, path, body)
    if status != 200:
        return status, answer
    return d.post(path, {**body, "kv_transfer_params": answer["kv_transfer_params"]})


def completion(prompt, max_tokens=16):
    return {"prompt": prompt, "max_tokens": max_tokens, "temperature": 0, "ignore_eos": True}


def prompts(seed, count, longest=200):
    random_ids = random.Random(seed)
    return [[random_ids.randrange(10, 4000) for _ in range(random_ids.randrange(2, longest))] for _ in range(count)]


def idle(s):
    wait_until(lambda: s.metric("braid:kv_blocks_used") == 0 and s.metric("braid:kv_holds") == 0, "no block is held")


class PrefillAndDecode(unittest.TestCase):
    def start(self, *args, **config):
        s = server(*args, **config)
        self.addCleanup(s.end)
        return s

    def expected(self, bodies, path="/v1/completions"):
        """The texts of one server alone."""
        alone = Server()
        self.addCleanup(alone.end)
        texts = [self.text(*alone.post(path, body)) for body in bodies]
        alone.stop()
        return texts

    def text(self, status, answer):
        self.assertEqual(status, 200, answer)
        choice = answer["choices"][0]
        return choice.get("text") if "text" in choice else choice["message"]["content"]

    def test_text_is_that_of_one_server(self):
        bodies = [completion(p) for p in prompts(3, 12)]
        expected = self.expected(bodies)
        for ours in ("16", "64"):
            with self.subTest(block_size=ours):
                p, d = self.start("kv_producer"), self.start("kv_consumer", "--block-size", ours)
                for body, text in zip(bodies, expected):
                    self.assertEqual(self.text(*relay(p, d, "/v1/completions", body)), text)
                with concurrent.futures.ThreadPoolExecutor(6) as pool:
                    texts = list(pool.map(lambda body: self.text(*relay(p, d, "/v1/completions", body)), bodies))
                self.assertEqual(texts, expected)
                self.assertGreater(d.metric("vllm:nixl_xfer_time_seconds_count"), 0)
                idle(p)
                idle(d)
                self.assertEqual(p.metric("vllm:nixl_num_kv_expired_reqs"), 0)
                self.assertEqual((p.stop(), d.stop()), (0, 0))

    def test_with_the_draft_module_and_in_chats(self):
        chats = [{"messages": [{"role": "user", "content": q}], "temperature": 0, "max_tokens": 40}
                 for q in ("What is a river?", "What is expert parallelism?", "What is a lake?")]
        expected = self.expected(chats, "/v1/chat/completions")
        flags = ("--speculative-config", '{"method":"mtp","num_speculative_tokens":1}')
        p, d = self.start("kv_both", *flags), self.start("kv_both", *flags)
        for chat, text in zip(chats, expected):
            self.assertEqual(self.text(*relay(p, d, "/v1/chat/completions", chat)), text)
        self.assertGreater(d.metric("vllm:spec_decode_num_accepted_tokens_total"), 0)
        idle(p)
        idle(d)

    def test_fp8_caches_hand_over_to_each_other_alone(self):
        bodies = [completion(p) for p in prompts(4, 4)]
        alone = Server("--kv-cache-dtype", "fp8")
        self.addCleanup(alone.end)
        expected = [self.text(*alone.post("/v1/completions", body)) for body in bodies]
        p, d = self.start("kv_both", "--kv-cache-dtype", "fp8"), self.start("kv_both", "--kv-cache-dtype", "fp8")
        for body, text in zip(bodies, expected):
            self.assertEqual(self.text(*relay(p, d, "/v1/completions", body)), text)
        self.assertGreater(d.metric("vllm:nixl_xfer_time_seconds_count"), 0)
        plain = self.start("kv_both", kv_load_failure_policy="fail")
        status, answer = relay(p, plain, "/v1/completions", bodies[0])
        self.assertIn("set the same --dtype and --kv-cache-dtype", json.dumps(answer))
        self.assertNotEqual(status, 200)

    def test_the_answer_has_vllms_fields(self):
        p = self.start("kv_both", lease=0.5)
        status, answer = prefill(p, "/v1/completions", completion(list(range(40))))
        self.assertEqual(status, 200)
        params = answer["kv_transfer_params"]
        self.assertEqual([params["do_remote_prefill"], params["do_remote_decode"]], [True, False])
        self.assertEqual(len(params["remote_block_ids"][0]), 3)
        for name, kind in {"remote_engine_id": str, "remote_request_id": str, "remote_host": str, "remote_port": int,
                           "tp_size": int}.items():
            self.assertIsInstance(params[name], kind)
        idle(p)  # by the lease
        wait_until(lambda: p.metric("vllm:nixl_num_kv_expired_reqs") == 1, "the lease is counted as expired")
        _, answer = p.post("/v1/completions", completion([1, 2, 3]))
        self.assertIsNone(answer["kv_transfer_params"])

    def test_a_request_that_the_decoder_refuses_is_not_held_any_longer(self):
        p, d = self.start(), self.start()
        body = completion(list(range(10, 60)), max_tokens=4)
        _, answer = prefill(p, "/v1/completions", body)
        wait_until(lambda: p.metric("braid:kv_holds") == 1, "the blocks are held")
        status, _ = d.post("/v1/completions", {**body, "allowed_token_ids": [999999], "kv_transfer_params": answer["kv_transfer_params"]})
        self.assertEqual(status, 400)
        idle(p)

    def test_a_client_that_leaves_the_decoder(self):
        p, d = self.start(), self.start()
        body = {**completion(prompts(5, 1)[0], max_tokens=1500), "stream": True}
        for i in range(6):
            _, answer = prefill(p, "/v1/completions", body)
            data = json.dumps({**body, "kv_transfer_params": answer["kv_transfer_params"]}).encode()
            with socket.create_connection(("127.0.0.1", d.port), timeout=DEADLINE_S) as s:
                s.sendall(b"POST /v1/completions HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: "
                          + str(len(data)).encode() + b"\r\n\r\n" + data)
                if i % 2:
                    s.recv(15)
        idle(d)
        idle(p)

    def test_roles_and_addresses_are_checked(self):
        p, d = self.start("kv_producer"), self.start("kv_consumer")
        status, answer = prefill(d, "/v1/completions", completion([5, 6]))
        self.assertEqual(status, 400, answer)
        self.assertIn("kv_consumer", json.dumps(answer))
        _, answer = prefill(p, "/v1/completions", completion([5, 6]))
        status, answer = p.post("/v1/completions", {**completion([5, 6]), "kv_transfer_params": answer["kv_transfer_params"]})
        self.assertEqual(status, 400, answer)
        refused = subprocess.run([BRAID, "serve", MODEL, "--port", "0", "--kv-transfer-config",
                                  '{"kv_connector":"NixlConnector","kv_ip":"0.0.0.0"}'], capture_output=True, text=True, timeout=DEADLINE_S)
        self.assertEqual(refused.returncode, 2)
        self.assertIn("kv_secret", refused.stderr)

    def test_over_the_network(self):
        address = socket.gethostbyname(socket.gethostname())
        if address.startswith("127."):
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
                s.connect(("192.0.2.1", 1))
                address = s.getsockname()[0]
        bodies = [completion(p) for p in prompts(8, 4)]
        expected = self.expected(bodies)
        p, d = (self.start("kv_both", "--data-parallel-host", name, kv_ip=address, kv_secret="word") for name in "pd")
        for body, text in zip(bodies, expected):
            self.assertEqual(self.text(*relay(p, d, "/v1/completions", body)), text)
        d.wait_for_log("path to an engine .*over=\"?ucx")
        idle(p)
        stranger = self.start("kv_both", kv_ip=address, kv_secret="guess")
        status, answer = relay(p, stranger, "/v1/completions", bodies[0])
        self.assertEqual(status, 500)
        self.assertIn("kv_secret", json.dumps(answer))

    def test_ranks_lend_and_borrow(self):
        bodies = [completion(p) for p in prompts(9, 8)]
        expected = self.expected(bodies)
        port = free_ports(4)
        p = self.start("kv_both", "--data-parallel-size", "2", kv_port=port)
        d = self.start("kv_both", "--data-parallel-size", "2", kv_port=port + 2)
        self.assertEqual([self.text(*relay(p, d, "/v1/completions", b)) for b in bodies], expected)
        idle(p)
        idle(d)

    def test_servers_are_killed_at_any_moment(self):
        chance = random.Random(SEED)
        bodies = [completion(p, max_tokens=30) for p in prompts(SEED, 24)]
        expected = self.expected(bodies)
        right = dict(zip(map(json.dumps, bodies), expected))
        start = {"p": lambda: self.start("kv_producer", lease=2),
                 "d": lambda: self.start("kv_consumer", lease=2, kv_load_failure_policy=chance.choice(["fail", "recompute"]))}
        servers = {name: begin() for name, begin in start.items()}
        outcomes = {"right": 0, "failed": 0, "lost": 0}

        def one(body):
            begun = time.monotonic()
            try:
                status, answer = relay(servers["p"], servers["d"], "/v1/completions", body)
            except LOST:
                status = 0
            self.assertLess(time.monotonic() - begun, DEADLINE_S)
            if status == 200:
                self.assertEqual(answer["choices"][0]["text"], right[json.dumps(body)])
            outcomes["right" if status == 200 else "failed" if status else "lost"] += 1

        for _ in range(ROUNDS):
            victim = chance.choice("pd")
            with concurrent.futures.ThreadPoolExecutor(4) as pool:
                running = [pool.submit(one, chance.choice(bodies)) for _ in range(4)]
                threading.Event().wait(chance.random() * 0.25)
                servers[victim].process.kill()
                for r in running:
                    r.result()
            servers[victim].wait()
            survivor = servers["d" if victim == "p" else "p"]
            idle(survivor)
            servers[victim] = start[victim]()
            one(chance.choice(bodies))
        idle(servers["p"])
        idle(servers["d"])
        print(outcomes, file=sys.stderr)
        self.assertGreaterEqual(outcomes["right"], ROUNDS)


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1], verbosity=2)
