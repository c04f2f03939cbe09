# SPDX-License-Identifier: Apache-2.0
"""What deploy/paths/local/README.md promises. usage: local_path_test.py BRAID MODEL"""
import json
import os
import sys
import unittest

from server import BRAID, MODEL, Process, free_ports, wait_until


class Local(unittest.TestCase):
    def up(self, *counts):
        engines = sum(map(int, counts))
        first = free_ports(1 + engines)
        local = Process(["deploy/paths/local/up.sh", *counts],
                        env={"BRAID": os.path.abspath(BRAID), "MODEL": MODEL, "PORT": str(first), "ENGINE_PORT": str(first + 1)})
        self.addCleanup(lambda: local.process.poll() is None and local.stop())  # kill would leave its children
        local.url = f"http://127.0.0.1:{first}"
        local.wait_for_log(rf"url=http://\S+:{first} ")
        wait_until(lambda: local.answers("/readyz") and local.metric("llm_d_epp_ready_endpoints ") == engines, "all engines are there")
        return local

    def ask(self, local, question="What is a river?"):
        status, headers, body = local.post_raw("/v1/chat/completions",
                                               {"model": "lexicon", "messages": [{"role": "user", "content": question}], "temperature": 0},
                                               {"x-braid-explain": "1"})
        self.assertEqual(status, 200)
        return headers["x-braid-explain"], json.loads(body)["choices"][0]["message"]["content"]

    def test_one_command_starts_engines_and_router_and_ctrl_c_ends_them(self):
        local = self.up("2")
        why, text = self.ask(local)
        self.assertIn("prefix-cache-scorer", why)
        self.assertIn("river", text.lower())
        self.assertEqual(local.stop(), 0)

    def test_prompts_are_computed_by_one_kind_of_engine_and_continued_by_another(self):
        local = self.up("2", "2")
        question = "Some words have to do with water. A lake is one of them, and a brook is another one. " * 4 + "What is a river?"
        _, text = self.ask(local, question)
        self.assertEqual(local.metric('braid_route_prefills_total{outcome="done"}'), 1)
        self.assertEqual(self.ask(local, question)[1], text)  # what is cached needs no prefill
        self.assertEqual(local.metric('braid_route_prefills_total{outcome="done"}'), 1)
        self.assertEqual(local.stop(), 0)


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1], verbosity=2)
