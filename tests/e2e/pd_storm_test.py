# SPDX-License-Identifier: Apache-2.0
"""Prefill and decode on different engines while every process on the way is killed. usage: pd_storm_test.py BRAID MODEL

BRAID_TEST_ROUNDS kills, in turn behind the router alone and with a sidecar, at moments that BRAID_TEST_SEED decides."""
import collections
import concurrent.futures
import http.client
import json
import os
import random
import sys
import tempfile
import threading
import time
import unittest
import urllib.error
import urllib.request

from route_pd_test import CONFIG
from server import BRAID, DEADLINE_S, MODEL, Process, free_ports, wait_until

ROUNDS = int(os.environ.get("BRAID_TEST_ROUNDS", "20"))
SEED = int(os.environ.get("BRAID_TEST_SEED", "1"))
TOKENS = 30
LONGEST_WAIT_S = 0.25
BROKEN = (OSError, http.client.HTTPException)


class Path:
    """The processes of one way, by name; each comes back where it was."""

    def __init__(self, config_file, with_sidecar):
        self.ports = dict(zip(("prefill", "decode", "router", "sidecar"), range(free_ports(4), sys.maxsize)))
        self.config_file = config_file
        self.names = ["prefill", "decode", *(["sidecar"] if with_sidecar else []), "router"]
        self.processes = {}
        for name in self.names:
            self.start(name)

    def words(self, name):
        at = {role: f"127.0.0.1:{port}" for role, port in self.ports.items()}
        if name in ("prefill", "decode"):
            transfers = {"kv_connector": "NixlConnector", "kv_port": 0, "kv_connector_extra_config": {"kv_lease_duration": 2},
                         "kv_role": {"prefill": "kv_producer", "decode": "kv_consumer"}[name]}
            return ["serve", MODEL, "--cpu-threads", "1", "--kv-transfer-config", json.dumps(transfers)]
        if name == "sidecar":
            return ["sidecar", "--model-server-port", str(self.ports["decode"]), "--allowed-prefillers", "127.0.0.1"]
        divided = "sidecar" in self.names
        return ["route", "--config-file", self.config_file, "--refresh-metrics-interval", "10",
                "--disaggregation", "header" if divided else "proxy",
                "--endpoints", f"{at['prefill']};role=prefill,{at['sidecar' if divided else 'decode']};role=decode"]

    def start(self, name):
        process = Process([BRAID, *self.words(name), "--host", "127.0.0.1", "--port", str(self.ports[name])])
        self.processes[name] = process
        process.port, process.url = self.ports[name], f"http://127.0.0.1:{self.ports[name]}"
        process.wait_for_log(r"ready\s+port=" if name == "sidecar" else r"url=http://")

    def whole(self):
        router = self.processes["router"]
        wait_until(lambda: router.metric("llm_d_epp_ready_endpoints ") == 2, "both engines are there")

    def kill(self, name):
        self.processes[name].end()

    def idle(self, name):
        engine = self.processes[name]
        wait_until(lambda: engine.metric("braid:kv_blocks_used") == 0 and engine.metric("braid:kv_holds") == 0, f"{name} holds no block")

    def end(self):
        for process in self.processes.values():
            if process.process.poll() is None:
                process.end()


class Answer:
    """What a client has in the end: a text, and how it came to an end."""

    def __init__(self, url, body):
        self.text, self.end = "", "broken"
        request = urllib.request.Request(url + "/v1/completions", data=json.dumps(body).encode(), headers={"Content-Type": "application/json"})
        try:
            with urllib.request.urlopen(request, timeout=DEADLINE_S) as answer:
                self.read(answer, body["stream"])
        except urllib.error.HTTPError as refusal:
            with refusal:
                self.end = f"refused {refusal.code}" if self.message(refusal.read()) else "refused without a word"
        except BROKEN:
            pass

    def message(self, text):
        body = json.loads(text)
        return body.get("error", body)["message"]  # the sidecar's errors are llm-d's

    def read(self, answer, stream):
        if not stream:
            self.text = json.loads(answer.read())["choices"][0]["text"]
            self.end = "right"
            return
        for line in answer:
            event = line.decode().removeprefix("data: ").strip()
            if event == "[DONE]":
                self.end = "right" if self.end == "broken" else self.end
            elif event.startswith('{"error"'):
                self.end = "error in the stream" if self.message(event) else "error without a word"
            elif event:
                self.text += "".join(choice["text"] for choice in json.loads(event)["choices"])


class Storm(unittest.TestCase):
    def setUp(self):
        self.config = tempfile.NamedTemporaryFile("w", suffix=".yaml")
        self.addCleanup(self.config.close)
        self.config.write(CONFIG)
        self.config.flush()

    def check(self, path, body, expected, victim=None):
        begun = time.monotonic()
        answer = Answer(path.processes["router"].url, body)
        self.assertLess(time.monotonic() - begun, DEADLINE_S)
        self.assertNotIn("without a word", answer.end)
        if answer.end == "right":
            self.assertEqual(answer.text, expected)
        else:
            self.assertTrue(expected.startswith(answer.text), (answer.text, expected))
            self.assertIsNotNone(victim, answer.end)
        if answer.end == "broken":
            self.assertEqual(victim, "router")
        return answer.end

    def storm(self, with_sidecar, seed):
        chance = random.Random(seed)
        path = Path(self.config.name, with_sidecar)
        self.addCleanup(path.end)
        path.whole()
        bodies = [{"prompt": [chance.randrange(10, 4000) for _ in range(chance.randrange(2, 200))], "max_tokens": TOKENS,
                   "temperature": 0, "ignore_eos": True, "stream": i % 2 == 1} for i in range(16)]
        expected = [Answer(path.processes["prefill"].url, body).text for body in bodies]
        outcomes = collections.Counter()
        for _ in range(ROUNDS // 2):
            victim = chance.choice(path.names)
            with concurrent.futures.ThreadPoolExecutor(4) as pool:
                running = [pool.submit(self.check, path, bodies[i], expected[i], victim) for i in chance.sample(range(16), 4)]
                threading.Event().wait(chance.random() * LONGEST_WAIT_S)
                path.kill(victim)
                outcomes.update(f"{victim} killed: {answer.result()}" for answer in running)
            for survivor in {"prefill", "decode"} - {victim}:
                path.idle(survivor)
            path.start(victim)
            path.whole()
            i = chance.randrange(16)
            outcomes[self.check(path, bodies[i], expected[i])] += 1
        path.idle("prefill")
        path.idle("decode")
        print(*(f"{count:6} {what}" for what, count in sorted(outcomes.items())), sep="\n", file=sys.stderr)

    def test_behind_the_router(self):
        self.storm(False, SEED)

    def test_behind_a_sidecar(self):
        self.storm(True, SEED + 1)


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1], verbosity=2)
