# SPDX-License-Identifier: Apache-2.0
"""Several servers before the ranks of one deployment: hybrid and external load balancing. usage: servers_test.py BRAID MODEL"""
import json
import os
import re
import signal
import subprocess
import sys
import unittest
import urllib.error
import urllib.request

from ranks_test import answers, answers_while
from server import BRAID, DEADLINE_S, MODEL, Server, alive, children_of, free_ports, wait_until

SECRET = {"BRAID_DATA_PARALLEL_SECRET": "xyzzy"}
SCALE_REFUSED = ("the ranks of several servers cannot be added or taken away; a deployment that is to change needs all its ranks "
                 "under one server, with --headless on the other hosts")


class Servers(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        alone = Server()
        cls.expected = answers(alone)
        assert alone.stop() == 0

    def start(self, size, each):
        """Servers of one deployment, the leading one last, each with its flags."""
        shared = ["--data-parallel-size", str(size), "--enable-expert-parallel", "--data-parallel-rpc-port", str(free_ports(1))]
        servers = [Server(*shared, *flags, env=SECRET, wait=False) for flags in reversed(each)][::-1]
        for server in servers:
            self.addCleanup(server.process.kill)
        for server in servers:
            server.wait_ready()
        return shared, servers

    def engines(self, server):
        return sorted(set(re.findall(r'^vllm:generation_tokens_total\{.*engine="(\d+)"', server.get("/metrics"), re.M)))

    def test_hybrid_every_host_answers_with_its_own_ranks(self):
        hybrid = ["--data-parallel-hybrid-lb", "--data-parallel-size-local", "2"]
        _, (leader, other) = self.start(4, [hybrid, [*hybrid, "--data-parallel-start-rank", "2"]])
        for server, ranks in (leader, ["0", "1"]), (other, ["2", "3"]):
            self.assertEqual(answers(server), self.expected)
            self.assertEqual(self.engines(server), ranks)
            for rank in ranks:
                self.assertRegex(server.get("/metrics"), rf'vllm:generation_tokens_total{{.*engine="{rank}".*}} [1-9]')
        for server in leader, other:
            status, answer = server.post("/scale_elastic_ep", {"new_data_parallel_size": 5})
            self.assertEqual((status, answer["error"]["message"]), (400, SCALE_REFUSED))
        victim = children_of(other.process.pid)[0]
        self.assertEqual(answers_while(other, lambda: os.kill(victim, signal.SIGKILL)), self.expected)
        other.wait_for_log("a rank is back")
        self.assertEqual(answers(other), self.expected)
        self.assertEqual(answers_while(leader, lambda: self.assertEqual(other.stop(), 0)), self.expected)
        self.assertEqual(answers(leader), self.expected)
        self.assertEqual(leader.stop(), 0)

    def test_external_a_server_for_every_rank(self):
        each = [["--data-parallel-rank", str(rank)] for rank in range(3)]
        shared, servers = self.start(3, each)
        for rank, server in enumerate(servers):
            self.assertEqual(answers(server), self.expected)
            self.assertEqual(self.engines(server), [str(rank)])
        self.assertEqual(answers_while(servers[1], servers[2].process.kill), self.expected)
        servers[2].wait()
        self.assertEqual(answers(servers[0]), self.expected)
        again = Server(*shared, *each[2], env=SECRET)
        self.addCleanup(again.process.kill)
        self.assertEqual(answers(again), self.expected)
        self.assertEqual([s.stop() for s in (again, servers[1], servers[0])], [0, 0, 0])

    def test_without_expert_parallelism_too(self):
        shared = ["--data-parallel-size", "2", "--data-parallel-rpc-port", str(free_ports(1))]
        other = Server(*shared, "--data-parallel-rank", "1", env=SECRET, wait=False)
        leader = Server(*shared, "--data-parallel-rank", "0", env=SECRET)
        other.wait_ready()
        self.assertEqual([answers(s) for s in (leader, other)], [self.expected] * 2)
        self.assertEqual([s.stop() for s in (other, leader)], [0, 0])


class ManyPorts(unittest.TestCase):
    def supervise(self, *flags):
        self.first = free_ports(2)
        server = Server("--data-parallel-size", "2", "--enable-expert-parallel", "--data-parallel-multi-port-external-lb",
                        "--port", str(self.first), "--data-parallel-rpc-port", str(free_ports(1)), "--data-parallel-supervisor-port", "0",
                        "--dp-supervisor-probe-interval-s", "0.05", *flags, wait=False)
        self.addCleanup(server.process.kill)
        self.port = int(server.wait_for_log(r"supervisor_port=(\d+)").group(1))
        return server

    def ask(self, path):
        try:
            answer = urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=DEADLINE_S)
            return answer.status, json.loads(answer.read())
        except urllib.error.HTTPError as error:
            return error.code, json.loads(error.read())

    def ready(self):
        return self.ask("/readyz")[0] == 200

    def test_one_launch_many_ports_and_one_that_speaks_for_all(self):
        supervisor = self.supervise()
        wait_until(self.ready, "all servers are ready")
        status, body = self.ask("/health")
        self.assertEqual(status, 200)
        self.assertEqual(body, {"ranks": [{"rank": r, "port": self.first + r, "healthy": True, "ready": True} for r in range(2)]})
        texts = []
        for port in self.first, self.first + 1:
            body = json.dumps({"prompt": "A river is", "temperature": 0, "max_tokens": 20}).encode()
            request = urllib.request.Request(f"http://127.0.0.1:{port}/v1/completions", data=body, headers={"Content-Type": "application/json"})
            texts.append(json.loads(urllib.request.urlopen(request, timeout=DEADLINE_S).read())["choices"][0]["text"])
        self.assertEqual(texts[0], texts[1])
        self.assertEqual(self.ask("/v1/models")[0], 404)
        servers = children_of(supervisor.process.pid)
        self.assertEqual(len(servers), 2)
        self.assertEqual(supervisor.stop(), 0)
        self.assertFalse([p for p in servers if alive(p)])

    def test_a_server_that_dies_is_told_and_started_again(self):
        supervisor = self.supervise("--dp-supervisor-probe-failure-threshold", "1")
        wait_until(self.ready, "all servers are ready")
        os.kill(max(children_of(supervisor.process.pid)), signal.SIGKILL)
        wait_until(lambda: self.ask("/health")[0] == 503, "its end was told")
        wait_until(self.ready, "it is back")
        self.assertEqual(self.ask("/health")[0], 200)
        self.assertEqual(supervisor.stop(), 0)

    def test_a_server_that_cannot_start_ends_all(self):
        supervisor = self.supervise("--kv-cache-memory-bytes", "1")
        self.assertEqual(supervisor.wait(), 1)
        self.assertIn("could not start", "".join(supervisor.log))


class Refusals(unittest.TestCase):
    def test_what_does_not_go_together_is_said(self):
        for flags, message in (
            (["--data-parallel-size", "2", "--data-parallel-rank", "1"], "needs the secret of the deployment in BRAID_DATA_PARALLEL_SECRET"),
            (["--data-parallel-size", "2", "--data-parallel-address", "0.0.0.0"], "--data-parallel-address 0.0.0.0 would let every network in"),
            (["--data-parallel-size", "2", "--data-parallel-multi-port-external-lb", "--port", "0"], "needs a --port for its first rank"),
            (["--data-parallel-hybrid-lb"], "needs --data-parallel-size 2 or more"),
        ):
            done = subprocess.run([BRAID, "serve", MODEL, *flags], capture_output=True, text=True, timeout=DEADLINE_S)
            self.assertEqual(done.returncode, 2)
            self.assertIn(message, done.stderr)


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1] + sys.argv[3:], verbosity=2)
