#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What taking prefill and decode apart adds to the first token of a lone request, behind the same router, and where it is spent: one after the
other, and with the decode engine beside the prefill.

usage: pd_cost.py [BRAID [MODEL]]

All ways run in turn, each with its own engines; what is spent where is told by the spans of their traces."""
import json
import os
import random
import statistics
import sys
import tempfile
import time
import urllib.request

BRAID = sys.argv[1] if len(sys.argv) > 1 else "build/release/braid"
MODEL = sys.argv[2] if len(sys.argv) > 2 else "models/lexicon-30m"
sys.argv[1:] = [BRAID, MODEL]
sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../tests/e2e"))
from route_pd_test import CONFIG  # noqa: E402
from server import DEADLINE_S, Process, Server, wait_until  # noqa: E402
from traces_test import Collector  # noqa: E402

ROUNDS = {200: 40, 4000: 20, 16000: 6}  # by the bytes of a prompt
POSITIONS = 8192
TOUCHES = 3  # longest prompts that fill it
CACHE = "80MiB"  # of each engine: every page of it has been touched before anything is measured
WORDS = "the river runs under an old bridge while people of this town speak about water wood stone light and a long cold winter".split()
PARTS = ("until prefill", "prefill", "handover", "of it reading", "first token")


def longer_model(folder):
    """The model with as many positions as the longest prompt needs; what it says there does not matter."""
    for name in os.listdir(MODEL):
        if name != "config.json":
            os.symlink(os.path.abspath(os.path.join(MODEL, name)), os.path.join(folder, name))
    with open(os.path.join(MODEL, "config.json")) as old, open(os.path.join(folder, "config.json"), "w") as new:
        json.dump({**json.load(old), "max_position_embeddings": POSITIONS}, new)
    return folder


class Way:
    """A router and its engines, and a collector of what they say."""

    def __init__(self, model, roles, *flags):
        self.collector = Collector()
        traces = ["--otlp-traces-endpoint", self.collector.endpoint]
        self.engines = []
        for role in roles:
            words = [BRAID, "serve", model, "--host", "127.0.0.1", "--port", "0", "--served-model-name", "model", "--kv-cache-memory-bytes", CACHE, *traces]
            if role:
                words += ["--kv-transfer-config", json.dumps({"kv_connector": "NixlConnector", "kv_role": role, "kv_port": 0})]
            self.engines.append(Server.__new__(Server))
            Process.__init__(self.engines[-1], words, {"OTEL_SERVICE_NAME": role or "one"})
            self.engines[-1].wait_ready()
        names = [f"127.0.0.1:{e.port}" + {"kv_producer": ";role=prefill", "kv_consumer": ";role=decode"}.get(r, "") for e, r in zip(self.engines, roles)]
        self.router = Process([BRAID, "route", "--host", "127.0.0.1", "--port", "0", "--endpoints", ",".join(names), *traces, *flags])
        self.router.wait_ready()
        wait_until(lambda: self.router.metric("llm_d_epp_ready_endpoints ") == len(roles), "all engines are there")
        self.times, self.parts = [], []

    def ask(self, prompt, trace):
        body = {"model": "model", "prompt": prompt, "max_tokens": 2, "temperature": 0, "ignore_eos": True, "stream": True}
        headers = {"Content-Type": "application/json", "traceparent": f"00-{trace}-{'1' * 16}-01"}
        request = urllib.request.Request(self.router.url + "/v1/completions", data=json.dumps(body).encode(), headers=headers)
        begun, at = time.perf_counter(), time.time_ns()
        with urllib.request.urlopen(request, timeout=DEADLINE_S) as answer:
            answer.readline()
            took = time.perf_counter() - begun
            answer.read()
        self.times.append(took * 1e3)
        return trace, at, at + int(took * 1e9)

    def spans(self, trace):
        """(service, name) -> (begin, end)"""
        return {(s["service"], s["name"]): (int(s["startTimeUnixNano"]), int(s["endTimeUnixNano"])) for s in self.collector.of(trace)}

    def tell(self, trace, begin, first):
        apart = len(self.engines) > 1
        service = "kv_producer" if apart else "one"
        wanted = {(service, "prefill"), *({("kv_consumer", "kv_transfer")} if apart else ())}
        wait_until(lambda: wanted <= set(self.spans(trace)), "the spans have come")
        spans = self.spans(trace)
        start, end = spans[service, "prefill"]
        read, ready = spans["kv_consumer", "kv_transfer"] if apart else (end, end)
        self.parts.append([(b - a) * 1e-6 for a, b in ((begin, start), (start, end), (end, ready), (read, ready), (ready, first))])

    def moved(self):
        return self.engines[-1].metric("vllm:nixl_bytes_transferred_sum")

    def end(self):
        for process in (self.router, *self.engines):
            process.end()
        self.collector.close()


def prompt_of(size, chance):
    prompt = ""
    while len(prompt) < size:
        prompt += chance.choice(WORDS) + " "
    return prompt


def row(cells):
    print("| " + " | ".join(cells) + " |", flush=True)


def medians(lists):
    return [f"{statistics.median(values):.2f}" for values in zip(*lists)]


def main():
    chance = random.Random(1)
    with tempfile.TemporaryDirectory() as folder, tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
        model = longer_model(folder)
        file.write(CONFIG)
        file.flush()
        apart = ["kv_producer", "kv_consumer"], "--config-file", file.name
        ways = {"one engine": Way(model, [None]), "apart, in turn": Way(model, *apart, "--no-early-transfer"), "apart": Way(model, *apart)}
        try:
            for _ in range(TOUCHES):
                for way in ways.values():
                    way.ask(prompt_of(max(ROUNDS), chance), f"{chance.getrandbits(128):032x}")
            row(["prompt bytes", "way", "first token ms", "added ms", *PARTS, "MB"])
            row(["---"] * (5 + len(PARTS)))
            for size, rounds in ROUNDS.items():
                asked = {way: [] for way in ways.values()}
                before = {way: way.moved() for way in ways.values() if len(way.engines) > 1}
                for i in range(rounds + 1):
                    prompt = prompt_of(size, chance)
                    for way in ways.values():
                        told = way.ask(prompt, f"{chance.getrandbits(128):032x}")
                        if i > 0:  # the first one warms up
                            asked[way].append(told)
                alone = None
                for name, way in ways.items():
                    for told in asked[way]:
                        way.tell(*told)
                    took = statistics.median(way.times[-rounds:])
                    alone = alone or took
                    moved = f"{(way.moved() - before[way]) / (rounds + 1) * 1e-6:.2f}" if way in before else ""
                    row([str(size), name, f"{took:.2f}", f"{took - alone:.2f}", *medians(way.parts[-rounds:]), moved])
        finally:
            for way in ways.values():
                way.end()


if __name__ == "__main__":
    main()
