# SPDX-License-Identifier: Apache-2.0
"""Data-parallel ranks with expert parallelism, as real processes. usage: ranks_test.py BRAID MODEL"""
import concurrent.futures
import re
import os
import signal
import subprocess
import sys
import threading
import unittest

from server import BRAID, DEADLINE_S, MODEL, Server, alive, children_of, free_ports, wait_until

QUESTIONS = ["What is a river?", "Define dog.", "What is a KV cache?", "What is expert parallelism?"]


def ask(client, question, **kw):
    kw = {"temperature": 0, "max_tokens": 80, **kw}
    return client.chat.completions.create(model=MODEL, messages=[{"role": "user", "content": question}], **kw)


def answers(server):
    """Of all questions at once, so that every rank has work and some have none."""
    client = server.client()
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        return list(pool.map(lambda q: ask(client, q).choices[0].message.content, QUESTIONS * 3))


def answers_while(server, act):
    """Streams of all questions; act() runs when the first of them has begun."""
    client = server.client()
    begun = threading.Event()

    def stream(question):
        text = ""
        for chunk in ask(client, question, stream=True):
            text += chunk.choices[0].delta.content or "" if chunk.choices else ""
            begun.set()
        return text
    with concurrent.futures.ThreadPoolExecutor(12) as pool:
        streams = [pool.submit(stream, q) for q in QUESTIONS * 3]
        assert begun.wait(DEADLINE_S)
        act()
        return [s.result(DEADLINE_S) for s in streams]


def logprobs(*flags):
    server = Server(*flags)
    try:
        answer = ask(server.client(), QUESTIONS[0], logprobs=True, top_logprobs=3)
        return [(t.token, t.logprob) for t in answer.choices[0].logprobs.content]
    finally:
        server.stop()


def sample(metrics, pattern):
    return float(re.search(pattern + r" (\S+)", metrics).group(1))


class Ranks(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        alone = Server()
        cls.expected = answers(alone)
        assert alone.stop() == 0

    def check(self, *flags):
        server = Server(*flags)
        ranks = children_of(server.process.pid)
        try:
            self.assertEqual(answers(server), self.expected)
            return server.get("/metrics"), server.log
        finally:
            self.assertEqual(server.stop(), 0)
            self.assertFalse([p for p in ranks if alive(p)])

    def test_four_ranks_answer_as_one(self):
        metrics, _ = self.check("--data-parallel-size", "4", "--enable-expert-parallel")
        self.assertEqual(metrics.count("# TYPE vllm:generation_tokens_total "), 1)
        for rank in range(4):
            self.assertIn(f'engine="{rank}"', metrics)

    def test_a_header_pins_requests_to_a_rank(self):
        server = Server("--data-parallel-size", "3")
        body = {"prompt": "dog", "max_tokens": 2}
        try:
            for _ in range(4):
                self.assertEqual(server.post("/v1/completions", body, {"X-data-parallel-rank": "2"})[0], 200)
            tokens = re.findall(r'^vllm:generation_tokens_total\{.*engine="(\d)".*\} (\d+)', server.get("/metrics"), re.M)
            self.assertEqual(sorted(tokens), [("0", "0"), ("1", "0"), ("2", "8")])
            status, answer = server.post("/v1/completions", body, {"X-data-parallel-rank": "3"})
            self.assertEqual(status, 400)
            self.assertIn("data_parallel_rank 3 does not exist; there are ranks 0 to 2", answer["error"]["message"])
        finally:
            server.stop()

    def test_every_backend_and_an_odd_number_of_ranks(self):
        names = {"low_latency": "low_latency", "allgather_reducescatter": "allgather_reducescatter", "deepep_low_latency": "low_latency",
                 "high_throughput": "high_throughput", "pplx": "flexible"}
        for backend, name in names.items():
            metrics, log = self.check("--data-parallel-size", "3", "--enable-expert-parallel", "--all2all-backend", backend,
                                "--moe-buffer-tokens", "7")
            self.assertIn("all2all=" + name, "".join(log))
            for what in "dispatched_bytes", "returned_bytes", "wait_seconds", "expert_rows":
                self.assertRegex(metrics, rf'braid:moe_{what}_total{{[^\n]*engine="2"[^\n]*}} [0-9.e+-]*[1-9]')

    def test_two_micro_batches_answer_as_one(self):
        metrics, _ = self.check("--data-parallel-size", "2", "--enable-expert-parallel", "--enable-dbo", "--dbo-decode-token-threshold", "2",
                                "--dbo-prefill-token-threshold", "2")
        self.assertRegex(metrics, r'braid:dbo_steps_total{[^\n]*} [1-9]')

    MTP = ["--speculative-config", '{"method": "mtp", "num_speculative_tokens": 2}']

    def test_drafted_tokens_answer_as_none(self):
        metrics, log = self.check("--data-parallel-size", "2", "--enable-expert-parallel", *self.MTP)
        self.assertRegex("".join(log), r"speculative decoding +method=mtp .*tokens_by_sequences")
        always = [*self.MTP, "--speculative-config.disable_by_batch_size", "100"]
        eplb = ["--enable-eplb", "--eplb-config", '{"window_size": 8, "step_interval": 8, "num_redundant_experts": 4}']
        metrics, _ = self.check("--data-parallel-size", "4", "--enable-expert-parallel", *always, *eplb, "--enable-dbo",
                                "--dbo-decode-token-threshold", "2", "--dbo-prefill-token-threshold", "2")
        self.assertRegex(metrics, r'vllm:spec_decode_num_accepted_tokens_total{[^\n]*} [1-9]')

    def test_a_rank_is_lost_while_tokens_are_drafted(self):
        server = Server("--data-parallel-size", "4", "--enable-expert-parallel", *self.MTP, "--speculative-config.disable_by_batch_size", "100")
        self.addCleanup(server.process.kill)
        for turn in range(2):
            victim = children_of(server.process.pid)[turn]
            self.assertEqual(answers_while(server, lambda: os.kill(victim, signal.SIGKILL)), self.expected)
            wait_until(lambda: "".join(server.log).count("a rank is back") == turn + 1, "the rank came back")
        self.assertEqual(answers(server), self.expected)
        self.assertEqual(server.stop(), 0)

    def test_micro_batches_need_expert_parallelism(self):
        done = subprocess.run([BRAID, "serve", MODEL, "--enable-dbo"], capture_output=True, text=True, timeout=DEADLINE_S)
        self.assertEqual(done.returncode, 2)
        self.assertIn("--enable-dbo hides what expert parallelism costs", done.stderr)

    def test_replicas_without_expert_parallelism(self):
        self.check("--data-parallel-size", "2")

    def test_deterministic_logprobs_are_those_of_one_rank(self):
        one = logprobs("--cpu-threads", "1")
        self.assertEqual(logprobs("--data-parallel-size", "4", "--enable-expert-parallel", "--deterministic"), one)

    def test_experts_move_while_answers_stay(self):
        eplb = ["--enable-eplb", "--eplb-config", '{"window_size": 8, "step_interval": 8}']
        for flags in (["--eplb-config.num_redundant_experts", "4"], ["--eplb-config.no-use-async", "--eplb-config.log-balancedness"]):
            metrics, log = self.check("--data-parallel-size", "4", "--enable-expert-parallel", *eplb, *flags)
            self.assertIn("experts rearranged", "".join(log))
            for rank in range(4):
                self.assertGreater(sample(metrics, f'braid:eplb_moved_bytes_total{{.*engine="{rank}"}}'), 0)
                self.assertEqual(sample(metrics, f'braid:eplb_stopped{{.*engine="{rank}"}}'), 0)
            self.assertLessEqual(sample(metrics, 'braid:eplb_balancedness{.*engine="0",layer="2"}'), 1)

    def test_moving_experts_changes_no_bit(self):
        one = logprobs("--cpu-threads", "1")
        self.assertEqual(logprobs("--data-parallel-size", "2", "--enable-expert-parallel", "--deterministic", "--enable-eplb",
                                  "--eplb-config", '{"window_size": 4, "step_interval": 4, "num_redundant_experts": 8}'), one)

    def test_what_expert_load_balancing_needs_is_said(self):
        for flags, message in (
            (["--enable-eplb"], "it needs --data-parallel-size 2 or more and --enable-expert-parallel"),
            (["--eplb-config.num_redundant_experts", "4"], "has no effect without --enable-eplb"),
            (["--data-parallel-size", "3", "--enable-expert-parallel", "--enable-eplb"], "set --eplb-config.num-redundant-experts to 1"),
        ):
            done = subprocess.run([BRAID, "serve", MODEL, *flags], capture_output=True, text=True, timeout=DEADLINE_S)
            self.assertEqual(done.returncode, 2)
            self.assertIn(message, done.stderr)

    def test_every_rank_may_be_killed_and_comes_back_and_no_answer_changes(self):
        server = Server("--data-parallel-size", "4", "--enable-expert-parallel")
        self.addCleanup(server.process.kill)
        for turn in range(4):
            ranks = children_of(server.process.pid)
            victim = ranks[turn % len(ranks)]
            self.assertEqual(answers_while(server, lambda: os.kill(victim, signal.SIGKILL)), self.expected)
            self.assertEqual(answers(server), self.expected)
            wait_until(lambda: "".join(server.log).count("a rank is back") == turn + 1, "the rank came back")
        self.assertEqual(answers(server), self.expected)
        self.assertEqual(len(children_of(server.process.pid)), 4)
        self.assertEqual(server.stop(), 0)

    def test_a_rank_that_hangs_is_given_up(self):
        server = Server("--data-parallel-size", "3", "--enable-expert-parallel", "--rank-timeout", "1")
        self.addCleanup(server.process.kill)
        victim = children_of(server.process.pid)[1]
        self.assertEqual(answers_while(server, lambda: os.kill(victim, signal.SIGSTOP)), self.expected)
        self.assertIn("it gave no sign of life in time", "".join(server.log))
        wait_until(lambda: not alive(victim), "the hanging process was ended")
        server.wait_for_log("a rank is back")
        self.assertEqual(answers(server), self.expected)
        self.assertEqual(server.stop(), 0)

    def test_two_ranks_lost_at_once_without_expert_parallelism(self):
        server = Server("--data-parallel-size", "3")
        self.addCleanup(server.process.kill)
        victims = children_of(server.process.pid)[:2]
        self.assertEqual(answers_while(server, lambda: [os.kill(v, signal.SIGKILL) for v in victims]), self.expected)
        server.get("/health")
        self.assertEqual(server.stop(), 0)

    def test_a_killed_server_leaves_no_process_behind(self):
        server = Server("--data-parallel-size", "3", "--enable-expert-parallel")
        ranks = children_of(server.process.pid)
        self.assertEqual(len(ranks), 3)
        server.process.send_signal(signal.SIGKILL)
        server.wait()
        wait_until(lambda: not any(alive(p) for p in ranks), "the ranks ended")

    def test_ranks_of_another_host_join_in_any_order(self):
        flags = ["--data-parallel-size", "4", "--data-parallel-rpc-port", str(free_ports(1)), "--enable-expert-parallel"]
        env = {"BRAID_DATA_PARALLEL_SECRET": "xyzzy"}
        second = Server(*flags, "--headless", "--data-parallel-start-rank", "2", env=env, wait=False)
        leader = Server(*flags, "--data-parallel-size-local", "2", env=env)
        self.assertEqual(answers(leader), self.expected)
        self.assertEqual(leader.stop(), 0)
        self.assertEqual(second.wait(), 0)

    def test_a_missing_host_is_named_while_waiting_and_other_flags_are_refused(self):
        flags = ["--data-parallel-size", "2", "--data-parallel-rpc-port", str(free_ports(1))]
        env = {"BRAID_DATA_PARALLEL_SECRET": "xyzzy"}
        leader = Server(*flags, "--data-parallel-size-local", "1", env=env, wait=False)
        leader.wait_for_log(r'waiting +for="rank 1"')
        other = Server(*flags, "--headless", "--data-parallel-start-rank", "1", "--block-size", "32", env=env, wait=False)
        leader.wait_for_log("rank 1 was started with --block-size 32, the serving process with --block-size 16")
        self.assertNotEqual(leader.wait(), 0)
        self.assertNotEqual(other.wait(), 0)
        self.assertIn("rank 1 was started with --block-size 32", "".join(other.log))

    def test_a_host_with_another_secret_is_not_let_in_and_one_with_the_right_one_is(self):
        flags = ["--data-parallel-size", "2", "--data-parallel-rpc-port", str(free_ports(1)), "--enable-expert-parallel"]
        right, wrong = ({"BRAID_DATA_PARALLEL_SECRET": secret} for secret in ("xyzzy", "plugh"))
        leader = Server(*flags, "--data-parallel-size-local", "1", env=right, wait=False)
        self.addCleanup(leader.process.kill)
        leader.wait_for_log(r'waiting +for="rank 1"')
        stranger = Server(*flags, "--headless", "--data-parallel-start-rank", "1", env=wrong, wait=False)
        self.assertNotEqual(stranger.wait(), 0)
        self.assertIn("set the same BRAID_DATA_PARALLEL_SECRET on every host", "".join(stranger.log))
        other = Server(*flags, "--headless", "--data-parallel-start-rank", "1", env=right, wait=False)
        leader.wait_ready()
        self.assertEqual(answers(leader), self.expected)
        self.assertEqual(leader.stop(), 0)
        self.assertEqual(other.wait(), 0)

    def test_a_host_that_dies_while_the_group_forms_ends_the_start_and_the_next_one_succeeds(self):
        flags = ["--data-parallel-size", "3", "--data-parallel-rpc-port", str(free_ports(1)), "--enable-expert-parallel"]
        env = {"BRAID_DATA_PARALLEL_SECRET": "xyzzy"}
        leading, joining = ["--data-parallel-size-local", "1"], ["--headless", "--data-parallel-size-local", "1", "--data-parallel-start-rank"]
        leader = Server(*flags, *leading, env=env, wait=False)
        dying = Server(*flags, *joining, "1", env=env, wait=False)
        leader.wait_for_log(r'waiting +for="rank 2"')
        dying.end()
        self.assertNotEqual(leader.wait(), 0)
        self.assertIn("rank 1 is gone while starting", "".join(leader.log))
        others = [Server(*flags, *joining, rank, env=env, wait=False) for rank in ("1", "2")]
        leader = Server(*flags, *leading, env=env)
        self.assertEqual(answers(leader), self.expected)
        self.assertEqual(leader.stop(), 0)
        self.assertEqual([other.wait() for other in others], [0, 0])

    def test_whoever_waits_in_vain_for_another_host_says_for_what_and_ends(self):
        port = free_ports(1)
        flags = ["--data-parallel-size", "2", "--data-parallel-rpc-port", str(port), "--rank-start-timeout", "3"]
        env = {"BRAID_DATA_PARALLEL_SECRET": "xyzzy"}
        for own, said in ((["--data-parallel-size-local", "1"], "not all ranks came: rank 1 missing"),
                          (["--headless", "--data-parallel-start-rank", "1"], f"rank 1: cannot connect to 127.0.0.1:{port}")):
            server = Server(*flags, *own, env=env, wait=False)
            self.addCleanup(server.process.kill)
            self.assertNotEqual(server.wait(), 0)
            self.assertIn(said, "".join(server.log))

    def test_a_headless_host_needs_the_secret(self):
        done = subprocess.run([BRAID, "serve", MODEL, "--data-parallel-size", "2", "--headless", "--data-parallel-start-rank", "1"],
                              capture_output=True, text=True, timeout=DEADLINE_S)
        self.assertEqual(done.returncode, 2)
        self.assertIn("--headless needs the secret of the deployment in BRAID_DATA_PARALLEL_SECRET", done.stderr)


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1] + sys.argv[3:], verbosity=2)
