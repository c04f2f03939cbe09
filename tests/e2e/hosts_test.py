# SPDX-License-Identifier: Apache-2.0
"""Ranks on two hosts. usage: hosts_test.py BRAID MODEL

The hosts are two network namespaces of this machine, joined by a virtual cable. Where a process may not
make namespaces they are two names on one loopback interface.
"""
import concurrent.futures
import contextlib
import json
import os
import random
import re
import signal
import socket
import subprocess
import sys
import unittest

NAMESPACES = ["unshare", "-Urnm"], ["unshare", "-nm"]
OWN_DEVICES = "mount -t sysfs sysfs /sys"  # UCX looks there for the devices of its namespace
INSIDE = "BRAID_TEST_INSIDE"
LEADER, OTHER = "10.77.0.1", "10.77.0.2"

if INSIDE not in os.environ:
    for command in NAMESPACES:
        trial = OWN_DEVICES + " && ip link add name a0 type veth peer name b0"
        if subprocess.run([*command, "sh", "-c", trial], capture_output=True).returncode == 0:
            run = [*command, "sh", "-c", OWN_DEVICES + ' && exec "$@"', "sh", sys.executable, *sys.argv]
            os.execvpe(command[0], run, {**os.environ, INSIDE: "namespaces"})
    os.environ[INSIDE] = "loopback"

from ranks_test import QUESTIONS, answers, answers_while, ask  # noqa: E402
from server import DEADLINE_S, Server, alive, children_of, free_ports, wait_until  # noqa: E402

SECRET = {"BRAID_DATA_PARALLEL_SECRET": "xyzzy"}


class Hosts:
    """Two hosts: flags for the servers of each, and how to run a command on the second."""

    def __init__(self):
        self.holder = None
        self.flags = [["--data-parallel-host", "first"], ["--data-parallel-host", "second"]]
        self.names = ["first", "second"]
        self.on_second, self.address = [], "127.0.0.1"
        if os.environ[INSIDE] == "namespaces":
            self.make_namespaces()

    def make_namespaces(self):
        self.holder = subprocess.Popen(["unshare", "-nm", "sh", "-c", OWN_DEVICES + " && echo there && exec sleep 600"], stdout=subprocess.PIPE)
        assert self.holder.stdout.readline() == b"there\n"
        self.flags = [[], []]
        self.names = [socket.gethostname()] * 2
        self.on_second = ["nsenter", "-t", str(self.holder.pid), "-n", "-m", "--wd=" + os.getcwd()]
        self.address = LEADER
        commands = [f"link add name a0 type veth peer name b0 netns {self.holder.pid}", f"addr add {LEADER}/24 dev a0"]
        for command in [*commands, "link set a0 up", "link set lo up"]:
            subprocess.run(["ip", *command.split()], check=True)
        for command in f"addr add {OTHER}/24 dev b0", "link set b0 up", "link set lo up":
            subprocess.run([*self.on_second, "ip", *command.split()], check=True)

    def close(self):
        if self.holder:
            self.holder.kill()
            self.holder.wait()
            self.holder.stdout.close()

    def listening(self):
        """Addresses, in the kernel's hexadecimal, on which anything listens on either host."""
        found = set()
        for prefix in [], self.on_second:
            for table in "tcp", "tcp6":
                text = subprocess.run([*prefix, "cat", f"/proc/net/{table}"], capture_output=True, text=True).stdout
                found |= set(re.findall(r"^ *\d+: ([0-9A-F]+):[0-9A-F]{4} [0-9A-F:]+ 0A ", text, re.M))
        return found


class TwoHosts(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.hosts = Hosts()
        cls.addClassCleanup(cls.hosts.close)
        alone = Server()
        cls.expected = answers(alone)
        assert alone.stop() == 0

    def join(self):
        other = Server(*self.flags, *self.hosts.flags[1], "--headless", "--data-parallel-start-rank", "2", env=SECRET, wait=False,
                       prefix=self.hosts.on_second)
        self.addCleanup(other.process.kill)
        return other

    def start(self, *flags):
        """Four ranks, two on each host; the second host comes first."""
        self.flags = ["--data-parallel-size", "4", "--enable-expert-parallel", "--data-parallel-address", self.hosts.address,
                      "--data-parallel-rpc-port", str(free_ports(1)), *flags]
        other = self.join()
        leader = Server(*self.flags, *self.hosts.flags[0], "--data-parallel-size-local", "2", env=SECRET)
        self.addCleanup(leader.process.kill)
        return leader, other

    def scale(self, leader, ranks, **more):
        return leader.post("/scale_elastic_ep", {"new_data_parallel_size": ranks, **more})

    def check_ranks(self, leader, here, other, there):
        self.assertEqual(json.loads(leader.get("/ready")), {"ranks": here + there, "missing": [], "scaling": False})
        for server, count in (leader, here), (other, there):
            wait_until(lambda: len(children_of(server.process.pid)) == count, f"{count} ranks run")
        self.assertEqual(answers(leader), self.expected)

    def test_ranks_come_and_go_on_both_hosts_and_no_answer_changes(self):
        leader, other = self.start()
        for ranks, here, there in (6, 3, 3), (3, 2, 1), (1, 1, 0), (4, 2, 2):
            texts = answers_while(leader, lambda: self.assertEqual(self.scale(leader, ranks, drain_timeout=0)[0], 200))
            self.assertEqual(texts, self.expected)
            self.check_ranks(leader, here, other, there)
        self.stop(leader, other)

    def test_a_new_rank_of_the_other_host_that_dies_undoes_the_change_and_is_named(self):
        leader, other = self.start()
        before = children_of(other.process.pid)
        new = lambda: set(children_of(other.process.pid)) - set(before)  # noqa: E731
        with concurrent.futures.ThreadPoolExecutor(1) as pool:
            answer = pool.submit(self.scale, leader, 6)
            wait_until(new, "a new rank was started there")
            os.kill(new().pop(), signal.SIGKILL)
            status, body = answer.result()
        self.assertEqual(status, 500)
        self.assertRegex(body["error"]["message"], "the deployment goes on with 4 ranks: rank 5 .*on " + self.hosts.names[1])
        self.check_ranks(leader, 2, other, 2)
        self.stop(leader, other)

    def test_a_host_that_is_lost_and_comes_back_gets_the_ranks_that_it_had(self):
        leader, other = self.start("--rank-timeout", "20")
        self.assertEqual(self.scale(leader, 6)[0], 200)
        self.assertEqual(answers_while(leader, other.end), self.expected)
        self.assertEqual(json.loads(leader.get("/ready"))["missing"], [2, 3, 5])
        again = self.join()
        wait_until(lambda: "".join(leader.log).count("a rank is back") == 3, "its ranks are back")
        self.check_ranks(leader, 3, again, 3)
        self.stop(leader, again)

    def test_a_host_joins_a_deployment_that_serves_and_leaves_it(self):
        flags = ["--data-parallel-address", self.hosts.address, "--enable-expert-parallel", "--enable-elastic-ep",
                 "--data-parallel-rpc-port", str(free_ports(1))]
        leader = Server(*flags, *self.hosts.flags[0], env=SECRET)
        self.addCleanup(leader.process.kill)
        spare = Server(*flags, *self.hosts.flags[1], "--headless", "--data-parallel-size-local", "0", env=SECRET, wait=False,
                       prefix=self.hosts.on_second)
        self.addCleanup(spare.process.kill)
        leader.wait_for_log("a host has come")
        self.assertEqual(self.scale(leader, 3)[0], 200)
        self.check_ranks(leader, 2, spare, 1)
        self.assertEqual(answers_while(leader, lambda: self.assertEqual(spare.stop(), 0)), self.expected)
        self.assertEqual(json.loads(leader.get("/ready"))["missing"], [1])
        self.assertEqual(self.scale(leader, 1)[0], 200)
        self.assertEqual(leader.stop(), 0)

    def kill_in_random_order(self, seed, leader, other):
        """Both serving processes and all ranks; returns these and whichever were started meanwhile."""
        tops = [leader.process.pid, other.process.pid]
        ranks = lambda: [rank for top in tops for rank in children_of(top)]  # noqa: E731
        seen = {*tops, *ranks()}
        for pid in random.Random(seed).sample(sorted(seen), len(seen)):
            seen.update(ranks())
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        return seen

    def test_processes_killed_in_any_order_while_they_answer_leave_none_behind(self):
        for seed in range(4):
            leader, other = self.start("--rank-timeout", "20")
            with concurrent.futures.ThreadPoolExecutor(len(QUESTIONS)) as pool:
                asked = [pool.submit(ask, leader.client(), question) for question in QUESTIONS]
                seen = self.kill_in_random_order(seed, leader, other)
                leader.wait()
                other.wait()
                wait_until(lambda: not any(alive(pid) for pid in seen), "all processes have ended")
                concurrent.futures.wait(asked, DEADLINE_S)

    def stop(self, leader, other):
        self.assertEqual(leader.stop(), 0)
        self.assertEqual(other.wait(), 0)

    def test_answers_are_those_of_one_rank_and_every_path_is_told(self):
        leader, other = self.start()
        self.assertEqual(answers(leader), self.expected)
        metrics = leader.get("/metrics")
        for rank in range(4):
            self.assertRegex(metrics, rf'vllm:generation_tokens_total{{.*engine="{rank}".*}} [1-9]')
        self.assertRegex("".join(leader.log), r'path +from=0 to=1 over=shm gb_per_s=[0-9.e+]+')
        self.assertRegex("".join(leader.log), r'path +from=0 to=2,3 over="ucx tcp/\w+" gb_per_s=[0-9.e+-]+')
        self.assertRegex("".join(other.log), r'path +from=2 to=0,1 over="ucx tcp/\w+"')
        self.stop(leader, other)

    def test_nothing_listens_on_every_interface(self):
        leader, other = self.start()
        open_to_all = {"0" * 8, "0" * 32} & self.hosts.listening() if self.hosts.holder else set()
        self.stop(leader, other)
        self.assertEqual(open_to_all, set())

    def test_every_backend_and_chunked_dispatch(self):
        for backend in "low_latency", "allgather_reducescatter":
            leader, other = self.start("--all2all-backend", backend, "--moe-buffer-tokens", "7")
            self.assertEqual(answers(leader), self.expected)
            self.stop(leader, other)

    def test_a_path_that_is_much_too_slow_is_a_warning_with_both_figures(self):
        leader, other = self.start("--network-gbits", "800000")
        self.assertEqual(ask(leader.client(), QUESTIONS[0]).choices[0].message.content, self.expected[0])
        warning = r'warning .*much slower than expected.*from=[01] to=[23] over="ucx tcp/\w+" gb_per_s=[0-9.e-]+ expected_gb_per_s=1e\+05'
        self.assertRegex("".join(leader.log), warning)
        self.stop(leader, other)

    def test_a_rank_of_the_other_host_is_killed_and_no_answer_changes(self):
        leader, other = self.start("--rank-timeout", "20")
        for turn in range(2):
            victim = children_of(other.process.pid)[turn]
            self.assertEqual(answers_while(leader, lambda: os.kill(victim, signal.SIGKILL)), self.expected)
            wait_until(lambda: "".join(leader.log).count("a rank is back") == turn + 1, "the rank came back")
        self.assertEqual(answers(leader), self.expected)
        self.stop(leader, other)


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1] + sys.argv[3:], verbosity=2)
