# SPDX-License-Identifier: Apache-2.0
"""The number of ranks changes while they serve. usage: elastic_test.py BRAID MODEL"""
import concurrent.futures
import json
import os
import signal
import sys
import threading
import unittest

from ranks_test import answers, answers_while
from server import Server, children_of, wait_until


class Load:
    """Questions without a pause from several clients, until stop()."""

    def __init__(self, server):
        self.rounds, self.ending = [], threading.Event()
        self.pool = concurrent.futures.ThreadPoolExecutor(1)
        self.work = self.pool.submit(self.run, server)

    def run(self, server):
        while not self.ending.is_set():
            self.rounds.append(answers(server))

    def wait_for_rounds(self, more):
        goal = len(self.rounds) + more
        wait_until(lambda: len(self.rounds) >= goal or self.work.done(), "questions were answered")

    def stop(self):
        self.ending.set()
        self.work.result()
        self.pool.shutdown()
        return self.rounds


class Elastic(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        alone = Server()
        cls.expected = answers(alone)
        assert alone.stop() == 0

    def start(self, *flags):
        server = Server("--enable-expert-parallel", *flags)
        self.addCleanup(server.process.kill)
        return server

    def scale(self, server, ranks, **more):
        return server.post("/scale_elastic_ep", {"new_data_parallel_size": ranks, **more})

    def state(self, server):
        return json.loads(server.get("/ready"))

    def test_ranks_come_and_go_under_load_and_no_answer_changes(self):
        server = self.start("--data-parallel-size", "2")
        load = Load(server)
        load.wait_for_rounds(1)
        for ranks, drain in (4, 120), (3, 120), (1, 0), (2, 0):
            self.assertEqual(self.scale(server, ranks, drain_timeout=drain), (200, {"message": f"Scaled to {ranks} data parallel engines"}))
            self.assertEqual(self.state(server), {"ranks": ranks, "missing": [], "scaling": False})
            wait_until(lambda: len(children_of(server.process.pid)) == ranks, "only the ranks are left")
            load.wait_for_rounds(2)
            for rank in range(ranks):
                self.assertEqual(server.metric(f'braid:group_ranks{{model_name="models/lexicon-30m",engine="{rank}"}}'), ranks)
        for texts in load.stop():
            self.assertEqual(texts, self.expected)
        self.assertEqual(server.stop(), 0)

    def test_requests_of_ranks_that_leave_at_once_go_on_on_the_others(self):
        server = self.start("--data-parallel-size", "4")
        self.assertEqual(answers_while(server, lambda: self.assertEqual(self.scale(server, 1, drain_timeout=0)[0], 200)), self.expected)
        self.assertEqual(answers(server), self.expected)
        self.assertEqual(server.stop(), 0)

    def test_one_rank_grows_and_a_lost_one_of_the_larger_group_comes_back(self):
        server = self.start("--enable-elastic-ep")
        self.assertEqual(answers(server), self.expected)
        self.assertEqual(self.scale(server, 3)[0], 200)
        self.assertEqual(answers_while(server, lambda: os.kill(max(children_of(server.process.pid)), signal.SIGKILL)), self.expected)
        server.wait_for_log("a rank is back")
        self.assertEqual(answers(server), self.expected)
        self.assertEqual(self.state(server), {"ranks": 3, "missing": [], "scaling": False})
        self.assertEqual(server.stop(), 0)

    def grow_and_spoil(self, server, spoil):
        """Asks for 4 ranks and does something to the first new process."""
        before = set(children_of(server.process.pid))
        new = lambda: sorted(set(children_of(server.process.pid)) - before)  # noqa: E731
        with concurrent.futures.ThreadPoolExecutor(1) as pool:
            answer = pool.submit(self.scale, server, 4)
            wait_until(new, "a new rank was started")
            os.kill(new()[0], spoil)
            if spoil == signal.SIGSTOP:
                self.assertEqual(server.post("/is_scaling_elastic_ep", {}), (200, {"is_scaling_elastic_ep": True}))
            return answer.result()

    def check_nothing_changed(self, server, status, body):
        self.assertEqual(status, 500)
        self.assertIn("the deployment goes on with 2 ranks", body["error"]["message"])
        self.assertEqual(self.state(server), {"ranks": 2, "missing": [], "scaling": False})
        self.assertEqual(server.post("/is_scaling_elastic_ep", {}), (200, {"is_scaling_elastic_ep": False}))
        self.assertEqual(answers(server), self.expected)
        wait_until(lambda: len(children_of(server.process.pid)) == 2, "the new processes have ended")

    def test_a_new_rank_that_dies_undoes_the_change(self):
        server = self.start("--data-parallel-size", "2")
        load = Load(server)
        status, body = self.grow_and_spoil(server, signal.SIGKILL)
        for texts in load.stop():
            self.assertEqual(texts, self.expected)
        self.check_nothing_changed(server, status, body)
        self.assertEqual(self.scale(server, 3)[0], 200)
        self.assertEqual(answers(server), self.expected)
        self.assertEqual(server.stop(), 0)

    def test_a_new_rank_that_does_not_come_undoes_the_change_after_its_deadline(self):
        server = self.start("--data-parallel-size", "2", "--rank-start-timeout", "20")
        status, body = self.grow_and_spoil(server, signal.SIGSTOP)
        self.assertIn("waited 20 seconds for rank", body["error"]["message"])
        self.check_nothing_changed(server, status, body)
        self.assertEqual(server.stop(), 0)

    def test_what_cannot_be_is_refused_before_anything_happens(self):
        server = self.start("--data-parallel-size", "2")
        ranks = children_of(server.process.pid)
        for body, message in (({}, "new_data_parallel_size: expected a whole number"), ({"new_data_parallel_size": 0}, "found 0"),
                              ({"new_data_parallel_size": "4"}, 'found "4"'), ({"new_data_parallel_size": 4, "drain_timeout": -1}, "drain_timeout"),
                              ({"new_data_parallel_size": 513}, "out of range"), ({"new_data_parallel_size": 500}, "experts")):
            status, answer = server.post("/scale_elastic_ep", body)
            self.assertEqual(status, 400, body)
            self.assertIn(message, answer["error"]["message"])
        self.assertEqual(self.scale(server, 2)[0], 200)
        self.assertEqual(children_of(server.process.pid), ranks)
        self.assertEqual(server.stop(), 0)

    def test_a_server_of_one_process_says_what_it_would_need(self):
        server = Server()
        status, answer = self.scale(server, 2)
        self.assertEqual(status, 400)
        self.assertIn("--enable-elastic-ep", answer["error"]["message"])
        self.assertEqual(server.post("/is_scaling_elastic_ep", {}), (200, {"is_scaling_elastic_ep": False}))
        self.assertEqual(server.stop(), 0)

    def test_the_key_guards_it(self):
        server = self.start("--data-parallel-size", "2", "--api-key", "k")
        self.assertEqual(self.scale(server, 3)[0], 401)
        self.assertEqual(server.stop(), 0)


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1] + sys.argv[3:], verbosity=2)
