# SPDX-License-Identifier: Apache-2.0
"""A server whose model has no weights. usage: simulated_test.py BRAID MODEL"""
import subprocess
import sys
import unittest

from openai import InternalServerError

from server import BRAID, DEADLINE_S, MODEL, Server, wait_until

FAST = ["--backend", "simulated", "--simulated", '{"ttft_ms": "1:1", "itl_ms": "1:1"}']


def ask(server, text, **kw):
    kw = {"temperature": 0, "max_tokens": 12, **kw}
    return server.client().chat.completions.create(model=MODEL, messages=[{"role": "user", "content": text}], **kw)


class Simulated(unittest.TestCase):
    def start(self, *flags, **kw):
        server = Server(*FAST, *flags, **kw)
        self.addCleanup(server.process.kill)
        return server

    def test_answers_depend_on_the_prompt_alone(self):
        one, two = self.start(), self.start("--data-parallel-size", "2", "--enable-expert-parallel")
        prompts = ["a tall tree by the river " * n for n in range(1, 9)]
        texts = [ask(one, p).choices[0].message.content for p in prompts]
        self.assertEqual(len(set(texts)), len(texts))
        self.assertEqual([ask(two, p).choices[0].message.content for p in prompts], texts)
        self.assertEqual([ask(one, p, temperature=1).choices[0].message.content for p in prompts], texts)
        self.assertGreater(one.metric("vllm:prefix_cache_hits_total"), 0)
        for server in one, two:
            self.assertEqual(server.stop(), 0)

    def test_answers_end_by_themselves_if_wanted(self):
        server = self.start("--simulated.mean-output-tokens", "20")
        ends = [ask(server, str(n), max_tokens=200) for n in range(20)]
        self.assertIn("stop", [e.choices[0].finish_reason for e in ends])
        self.assertLess(sum(e.usage.completion_tokens for e in ends), 20 * 100)
        self.assertEqual(server.stop(), 0)

    def test_an_engine_fails_when_it_should(self):
        server = self.start("--simulated.fail-at-step", "4")
        with self.assertRaisesRegex(InternalServerError, "simulated device failed"):
            ask(server, "hello")
        wait_until(lambda: server.post("/health", {})[0] != 200, "the server says that its engine is dead")
        server.process.kill()
        server.wait()

    def test_what_makes_no_sense_is_refused(self):
        for flags, message in (
            (["--simulated.itl-ms", "5"], "simulated.itl-ms: '5' is not a list of points"),
            (["--speculative-config.method", "mtp"], "a simulated model has no draft module"),
        ):
            done = subprocess.run([BRAID, "serve", MODEL, *FAST, *flags], capture_output=True, text=True, timeout=DEADLINE_S)
            self.assertNotEqual(done.returncode, 0)
            self.assertIn(message, done.stderr)


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1] + sys.argv[3:], verbosity=2)
