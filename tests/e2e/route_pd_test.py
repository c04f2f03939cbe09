# SPDX-License-Identifier: Apache-2.0
"""Prefill and decode on different engines behind the router, in its own process and by a sidecar. usage: route_pd_test.py BRAID MODEL"""
import json
import sys
import tempfile
import unittest

from route_test import QUESTION, Router, address, ask, text_of
from server import BRAID, MODEL, Process, Server, wait_until

CONFIG = """apiVersion: llm-d.ai/v1alpha1
kind: EndpointPickerConfig
plugins:
- type: prefill-filter
- type: decode-filter
- type: queue-scorer
- type: max-score-picker
- type: always-disagg-pd-decider
- type: disagg-profile-handler
  parameters:
    deciders:
      prefill: always-disagg-pd-decider
    onMissingPrefill: fail
schedulingProfiles:
- name: prefill
  plugins:
  - pluginRef: prefill-filter
  - pluginRef: queue-scorer
  - pluginRef: max-score-picker
- name: decode
  plugins:
  - pluginRef: decode-filter
  - pluginRef: queue-scorer
  - pluginRef: max-score-picker
"""


def engine(role):
    return Server("--kv-transfer-config", json.dumps({"kv_connector": "NixlConnector", "kv_role": role, "kv_port": 0}))


class Divided(unittest.TestCase):
    def start(self, process):
        self.addCleanup(process.end)
        return process

    def router(self, prefill, decode, *flags):
        file = tempfile.NamedTemporaryFile("w", suffix=".yaml")
        self.addCleanup(file.close)
        file.write(CONFIG)
        file.flush()
        router = self.start(Router("--config-file", file.name, "--endpoints", f"{prefill};role=prefill,{decode};role=decode", *flags))
        wait_until(lambda: router.usable(2), "both engines are there")
        return router

    def check(self, router, prefill, decode):
        """Answers are those of one engine, computed by two, and nothing stays held."""
        expected = decode.client().chat.completions.create(model=MODEL, messages=QUESTION, temperature=0).choices[0].message.content
        before = prefill.metric("vllm:prompt_tokens_total")
        self.assertEqual(ask(router).choices[0].message.content, expected)
        self.assertEqual(text_of(ask(router, stream=True)), expected)
        self.assertGreater(prefill.metric("vllm:prompt_tokens_total"), before)
        self.assertEqual(prefill.metric("vllm:request_success_total"), 2)
        wait_until(lambda: prefill.metric("braid:kv_holds") == 0 and decode.metric("braid:kv_holds") == 0, "no block is held")

    def test_the_router_runs_both_legs(self):
        prefill, decode = self.start(engine("kv_producer")), self.start(engine("kv_consumer"))
        router = self.router(address(prefill), address(decode))
        self.check(router, prefill, decode)
        self.assertEqual(router.metric('braid_route_prefills_total{outcome="done"}'), 2)
        prefill.process.kill()
        wait_until(lambda: router.usable(1), "the dead engine is left out")
        status, headers, _ = router.post_raw("/v1/chat/completions", {"model": MODEL, "messages": QUESTION})
        self.assertEqual(status, 503)
        self.assertIn("retry-after", {name.lower() for name in headers})

    def test_a_sidecar_runs_both_legs(self):
        prefill, decode = self.start(engine("kv_producer")), self.start(engine("kv_consumer"))
        sidecar = self.start(Process([BRAID, "sidecar", "--host", "127.0.0.1", "--port", "0", "--model-server-port", str(decode.port),
                                      "--allowed-prefillers", "127.0.0.1"]))
        port = sidecar.wait_for_log(r"ready\s+port=(\d+)").group(1)
        router = self.router(address(prefill), f"127.0.0.1:{port}", "--disaggregation", "header")
        self.check(router, prefill, decode)


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1], verbosity=2)
