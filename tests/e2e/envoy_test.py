# SPDX-License-Identifier: Apache-2.0
"""A real Envoy that asks a real router about simulated engines. usage: envoy_test.py BRAID MODEL"""
import json
import re
import sys
import tempfile
import unittest
import urllib.request
from pathlib import Path

import envoy
from server import BRAID, DEADLINE_S, MODEL, Process, Server, free_ports, wait_until

ENVOY = Path(envoy.__file__).parent / "_bin/envoy"
CONFIG = Path(__file__).parents[2] / "deploy/paths/envoy/envoy.yaml"

ONE_AT_A_TIME = """
apiVersion: llm-d.ai/v1alpha1
kind: EndpointPickerConfig
plugins:
- {type: queue-scorer}
- {type: concurrency-detector, parameters: {maxConcurrency: 1}}
saturationDetector: {pluginRef: concurrency-detector}
---
apiVersion: llm-d.ai/v1alpha2
kind: InferenceObjective
metadata: {name: whenever}
spec: {priority: -1}
"""


def engine(*flags, itl_ms=1):
    return Server("--backend", "simulated", "--simulated", json.dumps({"ttft_ms": "1:1", "itl_ms": f"1:{itl_ms}"}), *flags)


class Envoy(Process):
    """Envoy in front of a router of its own; `url` is Envoy's, `router` the router."""

    def __init__(self, *flags):
        first = free_ports(3)
        self.router = Process([BRAID, "route", "--host", "127.0.0.1", "--port", "0", "--refresh-metrics-interval", "10",
                               "--grpc-port", str(first), *flags])
        self.router.wait_ready()
        config = CONFIG.read_text().replace("port_value: 8080", f"port_value: {first + 1}").replace("port_value: 9002", f"port_value: {first}")
        super().__init__([ENVOY, "--config-yaml", config, "--disable-hot-restart", "--concurrency", "1", "--log-level", "warning"])
        self.url = f"http://127.0.0.1:{first + 1}"
        wait_until(self.reachable, "Envoy listens")

    def reachable(self):
        try:
            self.post_raw("/v1/completions", {})
            return True
        except OSError:
            return False

    def usable(self, count):
        return self.router.metric("llm_d_epp_ready_endpoints ") == count

    def end(self):
        super().end()
        self.router.end()


def address(server):
    return f"127.0.0.1:{server.port}"


def stream_of(url, body):
    request = urllib.request.Request(url + "/v1/completions", data=json.dumps(body).encode(), headers={"Content-Type": "application/json"})
    return urllib.request.urlopen(request, timeout=DEADLINE_S)


class EnvoyAsksTheRouter(unittest.TestCase):
    def start(self, make, *words, **more):
        process = make(*words, **more)
        self.addCleanup(process.end)
        return process

    def front(self, engines, *flags):
        front = self.start(Envoy, *(["--endpoints", ",".join(map(address, engines))] if engines else []), *flags)
        wait_until(lambda: front.usable(len(engines)), "all engines are usable")
        return front

    def test_a_client_sees_the_engine_s_own_answers(self):
        server = self.start(engine)
        front = self.front([server])
        ask = {"model": MODEL, "messages": [{"role": "user", "content": "hello"}], "temperature": 0, "max_tokens": 20}
        answers = [process.client().chat.completions.create(**ask) for process in (front, server)]
        self.assertEqual(answers[0].choices[0].message.content, answers[1].choices[0].message.content)
        self.assertEqual([model.id for model in front.client().models.list()], [MODEL])

    def test_streams_pass_byte_for_byte(self):
        server = self.start(engine)
        front = self.front([server])
        body = {"model": MODEL, "prompt": "a tall tree", "max_tokens": 100, "stream": True, "ignore_eos": True, "stream_options": {"include_usage": True}}
        texts = []
        for process in (front, server):
            with stream_of(process.url, body) as answer:
                self.assertEqual(answer.headers["content-type"].split(";")[0], "text/event-stream")
                texts.append(re.sub(rb'"id":"[^"]*"|"created":\d+', b"", answer.read()))
        self.assertEqual(texts[0], texts[1])
        self.assertEqual(front.router.metric("llm_d_epp_request_output_tokens_sum"), 100)

    def test_a_megabyte_passes_both_ways(self):
        server = self.start(engine)
        front = self.front([server])
        prompt = "river " * 180_000
        self.assertEqual(*(process.post("/tokenize", {"model": MODEL, "prompt": prompt}) for process in (front, server)))
        status, answer = front.post("/v1/completions", {"model": MODEL, "prompt": prompt})
        self.assertEqual((status, answer["error"]["code"]), (400, 400))
        self.assertEqual((status, answer), server.post("/v1/completions", {"model": MODEL, "prompt": prompt}))

    def test_prompts_with_a_common_beginning_go_to_one_engine(self):
        engines = [self.start(engine) for _ in range(3)]
        front = self.front(engines)
        for number in range(12):
            status, answer = front.post("/v1/completions", {"model": MODEL, "prompt": "the same long beginning " * 40 + str(number), "max_tokens": 1})
            self.assertEqual(status, 200, answer)
        self.assertEqual(sorted(e.metric("vllm:request_success_total") for e in engines), [0, 0, 12])

    def test_what_only_the_router_may_say_does_not_pass(self):
        engines = [self.start(engine) for _ in range(2)]
        front = self.front(engines[:1])
        for _ in range(4):
            front.post("/v1/completions", {"model": MODEL, "prompt": "x", "max_tokens": 1}, {"x-gateway-destination-endpoint": address(engines[1])})
        self.assertEqual(engines[1].metric("vllm:request_success_total"), 0)

    def test_refusals_come_at_once_and_say_why(self):
        front = self.front([])
        status, headers, _ = front.post_raw("/v1/completions", {"model": MODEL, "prompt": "x"})
        self.assertEqual((status, headers["x-llm-d-request-dropped-reason"]), (503, "rejected-no-endpoints"))
        status, answer = front.post("/v1/completions", b"no json")
        self.assertEqual(status, 400)
        self.assertIn("JSON", answer["error"]["message"])

    def test_a_full_pool_refuses_what_may_be_dropped(self):
        server = self.start(engine, itl_ms=200)
        with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
            file.write(ONE_AT_A_TIME)
            file.flush()
            front = self.front([server], "--config-file", file.name)
            body = {"model": MODEL, "prompt": "x", "max_tokens": 1000, "stream": True, "ignore_eos": True}
            with stream_of(front.url, body) as running:
                running.readline()
                status, headers, _ = front.post_raw("/v1/completions", {"model": MODEL, "prompt": "x"}, {"x-llm-d-inference-objective": "whenever"})
                self.assertEqual((status, headers["x-llm-d-request-dropped-reason"]), (429, "rejected-saturated"))
            wait_until(lambda: front.router.metric("llm_d_epp_request_running") == 0, "the client's leaving has ended its request")
            wait_until(lambda: re.search(r'request_success_total\{.*"abort".*\} 1', server.get("/metrics")), "and the engine's work")


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1], verbosity=2)
