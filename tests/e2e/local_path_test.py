# SPDX-License-Identifier: Apache-2.0
"""What deploy/paths/local/README.md promises. usage: local_path_test.py BRAID MODEL"""
import os
import sys
import unittest

from server import BRAID, MODEL, Process, free_ports, wait_until


class Local(unittest.TestCase):
    def test_one_command_starts_engines_and_router_and_ctrl_c_ends_them(self):
        first = free_ports(3)
        local = Process(["deploy/paths/local/up.sh", "2"],
                        env={"BRAID": os.path.abspath(BRAID), "MODEL": MODEL, "PORT": str(first), "ENGINE_PORT": str(first + 1)})
        self.addCleanup(local.end)
        local.url = f"http://127.0.0.1:{first}"
        local.wait_for_log(rf"url=http://\S+:{first} ")
        wait_until(lambda: local.answers("/readyz") and local.metric("llm_d_epp_ready_endpoints ") == 2, "both engines are there")
        status, headers, body = local.post_raw("/v1/chat/completions",
                                               {"model": "lexicon", "messages": [{"role": "user", "content": "What is a river?"}], "temperature": 0},
                                               {"x-braid-explain": "1"})
        self.assertEqual(status, 200)
        self.assertIn("prefix-cache-scorer", headers["x-braid-explain"])
        self.assertIn("river", body.lower())
        self.assertEqual(local.stop(), 0)


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1], verbosity=2)
