# SPDX-License-Identifier: Apache-2.0
"""A small cluster under load: two ranks that share experts, and a router with a prefiller and a decoder."""
import os
import sys
import threading

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../e2e"))

from server import BRAID, Process, Server, wait_until  # noqa: E402

EPP = """
apiVersion: llm-d.ai/v1alpha1
kind: EndpointPickerConfig
plugins:
- type: disagg-profile-handler
  parameters: {deciders: {prefill: prefix-based-pd-decider}}
- type: prefix-based-pd-decider
  parameters: {nonCachedTokens: 32}
- type: prefill-filter
- type: decode-filter
- type: queue-scorer
- type: kv-cache-utilization-scorer
- type: prefix-cache-scorer
schedulingProfiles:
- name: prefill
  plugins: [{pluginRef: prefill-filter}, {pluginRef: queue-scorer}, {pluginRef: prefix-cache-scorer, weight: 2}]
- name: decode
  plugins: [{pluginRef: decode-filter}, {pluginRef: queue-scorer}, {pluginRef: kv-cache-utilization-scorer}, {pluginRef: prefix-cache-scorer, weight: 3}]
"""
TOPICS = ["a river", "the sea", "a mountain", "an old bridge", "winter", "a clock", "salt", "a harbour"]


class Cluster:
    def __init__(self, key=None):
        flags = ["--api-key", key] if key else []
        self.headers = {"Authorization": "Bearer " + key} if key else {}
        self.ranks = Server("--data-parallel-size", "2", "--enable-expert-parallel", "--enable-eplb", "--eplb-config.window-size", "8",
                            "--eplb-config.step-interval", "16", "--eplb-config.num-redundant-experts", "2", *flags, wait=False)
        decoders = [Server("--backend", "simulated", "--served-model-name", "lexicon", *flags, wait=False) for _ in range(2)]
        prefiller = Server("--backend", "simulated", "--served-model-name", "lexicon", *flags, wait=False)
        self.processes = [self.ranks, *decoders, prefiller]
        for process in self.processes:
            process.wait_ready()
        endpoints = [f"127.0.0.1:{d.port};role=decode" for d in decoders] + [f"127.0.0.1:{prefiller.port};role=prefill"]
        self.router = Process([BRAID, "route", "--host", "127.0.0.1", "--port", "0", "--config-text", EPP, "--endpoints", ",".join(endpoints), *flags])
        self.processes.append(self.router)
        self.router.wait_ready()
        wait_until(lambda: self.router.metric("llm_d_epp_ready_endpoints ") == 3, "all endpoints are there")
        self.stopping = threading.Event()
        self.threads = [threading.Thread(target=self.talk, args=(n,), daemon=True) for n in range(4)]
        for thread in self.threads:
            thread.start()

    def talk(self, number):
        turn = number
        while not self.stopping.is_set():
            turn += 1
            topic = TOPICS[turn % len(TOPICS)]
            for server, model, tokens in (self.ranks, None, 24), (self.router, "lexicon", 32):
                ask = {"messages": [{"role": "user", "content": f"Tell me of {topic}, slowly and in all its parts. " * (1 + turn % 3 * 8) + str(turn % 5)}],
                       "max_tokens": tokens, **({"model": model} if model else {})}
                server.post_raw("/v1/chat/completions", ask, self.headers)

    def end(self):
        self.stopping.set()
        for thread in self.threads:
            thread.join(60)
        for process in reversed(self.processes):
            process.end()
