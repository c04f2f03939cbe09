# SPDX-License-Identifier: Apache-2.0
"""Real engines behind a real router, asked by a real client. usage: route_test.py BRAID MODEL"""
import concurrent.futures
import json
import re
import sys
import tempfile
import unittest
import urllib.request

from openai import InternalServerError
from server import BRAID, DEADLINE_S, MODEL, Process, Server, wait_until

QUESTION = [{"role": "user", "content": "What is a river?"}]


class Router(Process):
    def __init__(self, *flags):
        super().__init__([BRAID, "route", "--host", "127.0.0.1", "--port", "0", "--refresh-metrics-interval", "10", *flags])
        self.wait_ready()

    def ready(self):
        return self.answers("/readyz")

    def usable(self, count):
        return self.metric("llm_d_epp_ready_endpoints ") == count


def address(server):
    return f"127.0.0.1:{server.port}"


def text_of(stream):
    return "".join(chunk.choices[0].delta.content or "" for chunk in stream if chunk.choices)


def ask(router, **more):
    return router.client().chat.completions.create(model=MODEL, messages=QUESTION, temperature=0, **more)


def raw_stream(url):
    """An answer's bytes, without what differs from one answer to the next."""
    body = {"model": MODEL, "messages": QUESTION, "temperature": 0, "stream": True, "stream_options": {"include_usage": True}}
    request = urllib.request.Request(url + "/v1/chat/completions", data=json.dumps(body).encode(), headers={"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=DEADLINE_S) as answer:
        return re.sub(rb'"id":"[^"]*"|"created":\d+', b"", answer.read())


class Route(unittest.TestCase):
    def start(self, make, *flags):
        process = make(*flags)
        self.addCleanup(process.end)
        return process

    def test_a_client_sees_the_engine_s_own_answers(self):
        engine = self.start(Server)
        router = self.start(Router, "--endpoints", address(engine))
        wait_until(router.ready, "the router is ready")
        self.assertEqual(raw_stream(router.url), raw_stream(engine.url))
        self.assertEqual(ask(router).choices[0].message.content, ask(engine).choices[0].message.content)
        self.assertEqual([model.id for model in router.client().models.list()], [MODEL])

    def test_requests_that_have_not_begun_outlive_their_engine(self):
        engines = [self.start(Server, "--max-num-seqs", "2") for _ in range(2)]
        router = self.start(Router, "--endpoints", ",".join(map(address, engines)))
        wait_until(lambda: router.usable(2), "both engines are there")
        with concurrent.futures.ThreadPoolExecutor(16) as pool:  # few and short enough that the one left answers all in time
            answers = [pool.submit(ask, router, max_tokens=40, extra_body={"ignore_eos": True}) for _ in range(32)]
            busy = []
            wait_until(lambda: busy.extend(e for e in engines if e.metric("vllm:generation_tokens_total") > 0) or busy, "an engine is at work")
            busy[0].process.kill()
            texts = {answer.result().choices[0].message.content for answer in answers}
        self.assertEqual(len(texts), 1)
        wait_until(lambda: router.usable(1), "the dead engine is left out")
        self.assertEqual(text_of(ask(router, stream=True, max_tokens=40, extra_body={"ignore_eos": True})), texts.pop())

    def test_endpoints_come_from_a_file_that_changes(self):
        engine = self.start(Server)
        with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
            file.write("endpoints: []\n")
            file.flush()
            router = self.start(Router, "--endpoints-file", file.name)
            self.assertFalse(router.ready())
            with self.assertRaises(InternalServerError) as refused:
                ask(router)
            self.assertEqual(refused.exception.response.headers["x-llm-d-request-dropped-reason"], "rejected-no-endpoints")
            file.seek(0)
            file.write(f"endpoints:\n- name: one\n  address: 127.0.0.1\n  port: {engine.port}\n")
            file.flush()
            wait_until(router.ready, "the endpoint is there")
            self.assertIn("river", ask(router).choices[0].message.content.lower())

    def test_a_wrong_configuration_is_one_sentence(self):
        with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
            file.write("apiVersion: llm-d.ai/v1alpha1\nkind: EndpointPickerConfig\nplugins:\n- type: queue-scorrer\n")
            file.flush()
            process = Process([BRAID, "route", "--port", "0", "--config-file", file.name])
            self.assertEqual(process.wait(), 2)
            self.assertIn("queue-scorer", "".join(process.log))


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1], verbosity=2)
