# SPDX-License-Identifier: Apache-2.0
"""Many more ranks than processors start, serve and survive. usage: many_ranks_test.py BRAID MODEL

BRAID_TEST_RANKS says how many, 16 if it is not set.
"""
import os
import signal
import sys
import unittest

from ranks_test import answers, answers_while
from server import Server, alive, children_of, wait_until

RANKS = int(os.environ.get("BRAID_TEST_RANKS", "16"))


class ManyRanks(unittest.TestCase):
    def test_they_answer_as_one_and_survive_the_loss_of_two(self):
        alone = Server()
        expected = answers(alone)
        self.assertEqual(alone.stop(), 0)
        server = Server("--data-parallel-size", str(RANKS), "--enable-expert-parallel", "--kv-cache-memory-bytes", "16MiB",
                        "--rank-timeout", "20")
        self.addCleanup(server.process.kill)
        ranks = children_of(server.process.pid)
        self.assertEqual(len(ranks), RANKS)
        self.assertEqual(answers(server), expected)
        self.assertEqual(answers_while(server, lambda: [os.kill(p, signal.SIGKILL) for p in (ranks[0], ranks[-1])]), expected)
        wait_until(lambda: "".join(server.log).count("a rank is back") == 2, "both are back")
        self.assertEqual(answers(server), expected)
        ranks = children_of(server.process.pid)
        self.assertEqual(server.stop(), 0)
        self.assertFalse([p for p in ranks if alive(p)])


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1] + sys.argv[3:], verbosity=2)
