# SPDX-License-Identifier: Apache-2.0
"""The commands of the paths' manifests, run: every path scaled down to lexicon-30m on this machine, from the client to the ranks.
As root, with HELM in the environment. usage: cluster_test.py BRAID MODEL"""
import json
import pathlib
import sys
import tempfile
import threading
import unittest
import urllib.error
import urllib.request

import yaml

from cluster import DEADLINE_S, Cluster, enter_namespaces, wait_until

enter_namespaces()

from manifests_test import render  # noqa: E402
from paths_test import values_of  # noqa: E402

BRAID, MODEL = sys.argv[1], pathlib.Path(sys.argv[2])
SMALL = ["--cpu-threads=1", "--kv-cache-memory-bytes=64MiB"]
SEED = 7


def scaled(path, engines):
    """The path's values, with the small model and fewer, smaller engines."""
    values = values_of(path)
    values["model"] = {"name": "lexicon", "path": f"/models/{MODEL.name}", "volume": values.get("model", {}).get("volume", {})}
    for name, smaller in engines.items():
        engine = values["engines"][name] = {**values["engines"][name], **smaller}
        engine["args"] = [*engine.get("args", []), *SMALL]
    values["router"]["args"] = ["--dns-interval=0.2"]
    return values


class PathCase(unittest.TestCase):
    def start(self, path, engines):
        with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
            yaml.safe_dump(scaled(path, engines), file)
            file.flush()
            self.cluster = Cluster(render(path, "-f", file.name), BRAID, MODEL.parent, SEED)
        self.addCleanup(self.cluster.close)
        self.addCleanup(lambda: self._outcome.success or print(self.cluster.logs(), file=sys.stderr))
        self.wait_ready()

    def wait_ready(self):
        wait_until(self.cluster.all_ready, "every pod is ready")

    def router(self):
        return next(p for p in self.cluster.pods.values() if p.labels.get("app.kubernetes.io/component") == "router")

    def post(self, content="What is a river?"):
        body = {"model": "lexicon", "messages": [{"role": "user", "content": content}], "temperature": 0, "max_tokens": 40}
        request = urllib.request.Request(f"http://{self.router().ip}:8081/v1/chat/completions", data=json.dumps(body).encode(),
                                         headers={"Content-Type": "application/json"})
        try:
            with urllib.request.urlopen(request, timeout=DEADLINE_S) as answer:
                return answer.status, json.loads(answer.read())
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()

    def ask(self):
        status, answer = self.post()
        self.assertEqual(status, 200, answer)
        return answer["choices"][0]["message"]["content"]

    def answers(self):
        """Whether a request succeeds by now."""
        return self.post()[0] == 200

    def metric(self, pod, port, name):
        page = urllib.request.urlopen(f"http://{pod.ip}:{port}/metrics", timeout=DEADLINE_S).read().decode()
        return sum(float(line.split()[-1]) for line in page.splitlines() if line.startswith(name))

    def engines(self):
        return [pod.name for pod in self.cluster.all_pods() if pod is not self.router()]

    def killed_and_back(self, name):
        before = self.starts(name)
        self.cluster.pods[name].kill()
        wait_until(lambda: self.starts(name) not in (before, None), f"{name} was started again")
        self.wait_ready()
        wait_until(self.answers, "requests are answered again")

    def starts(self, name):
        pod = self.cluster.pods.get(name)
        return (self.cluster.generation[name], pod.containers[0].restarts) if pod else None

    def while_asking(self, change):
        """Requests without a pause while the cluster changes; what went wrong with them."""
        failed, stop = [], threading.Event()

        def client():
            while not stop.is_set():
                status, answer = self.post()
                if status != 200:
                    failed.append((status, answer))

        clients = [threading.Thread(target=client) for _ in range(2)]
        for thread in clients:
            thread.start()
        try:
            change()
        finally:
            stop.set()
            for thread in clients:
                thread.join()
        return failed

    def kill_each(self):
        for name in self.engines():
            self.killed_and_back(name)
            self.assertIn("river", self.ask().lower())

    def roll(self):
        """Engines are replaced a group at a time, after their requests have ended."""
        for group in self.cluster.groups:
            if group.name != self.router().group.name:
                exits = self.cluster.replace(group)
                self.assertEqual({status for _, status in exits}, {0}, exits)
                self.wait_ready()
        wait_until(self.answers, "answers after the roll")


class EnginesAlike(PathCase):
    def test_no_request_fails_while_simulated_engines_are_killed_and_rolled(self):
        self.start("simulated", {"serve": {"replicas": 2}})
        wait_until(self.answers, "the first answer")
        self.assertEqual(self.while_asking(lambda: [*map(self.killed_and_back, self.engines()), self.roll()]), [])

    def test_no_request_fails_while_engines_are_killed_and_rolled(self):
        self.start("inference-scheduling", {"serve": {"replicas": 2}})
        wait_until(self.answers, "the first answer")
        self.assertEqual(self.while_asking(lambda: [self.kill_each(), self.roll()]), [])

    def test_the_router_hears_what_caches_hold(self):
        self.start("precise-prefix-cache", {"serve": {"replicas": 2}})
        wait_until(self.answers, "the first answer")
        self.assertEqual(self.post("What is a river? " * 40)[0], 200)
        wait_until(lambda: self.metric(self.router(), 8081, "llm_d_epp_kv_cache_index_blocks") > 0, "the router knows blocks of the prompt")

    def test_flow_control_lets_requests_through(self):
        self.start("flow-control", {"serve": {"replicas": 1}})
        wait_until(self.answers, "the first answer")

    def test_the_router_of_a_gateway_listens_for_it(self):
        self.start("gateway", {"serve": {"replicas": 1}})
        wait_until(self.answers, "the first answer")
        self.assertTrue(self.router().connects(9002))

    def test_a_request_waits_for_the_first_engine(self):
        self.start("autoscaling", {"serve": {}})
        self.assertEqual({status for _, status in self.cluster.scale("autoscaling-serve", 0)}, {0})
        wait_until(lambda: self.metric(self.router(), 8081, "llm_d_epp_ready_endpoints ") == 0, "the router knows that it is gone")
        answer = []
        client = threading.Thread(target=lambda: answer.append(self.post()))
        client.start()
        wait_until(lambda: self.metric(self.router(), 8081, "llm_d_epp_flow_control_queue_size") > 0, "the request waits")
        self.cluster.scale("autoscaling-serve", 1)
        client.join()
        self.assertEqual(answer[0][0], 200, answer)


class PrefillApartFromDecode(PathCase):
    def test_through_router_and_sidecar(self):
        self.start("pd-disaggregation", {"prefill": {"replicas": 1}, "decode": {"replicas": 1}})
        wait_until(self.answers, "the first answer")
        self.assertIn("river", self.ask().lower())
        decode = next(p for p in self.cluster.all_pods() if p.labels.get("llm-d.ai/role") == "decode")
        self.assertGreater(self.metric(decode, 8200, "vllm:nixl_xfer_time_seconds_count"), 0)
        self.kill_each()
        self.roll()


class WideExpertParallelism(PathCase):
    def begin(self, policy):
        small = {"size": 2, "ranksPerPod": 2, "restartPolicy": policy}
        self.start("wide-ep-lws", {"prefill": small, "decode": small})
        wait_until(self.answers, "the first answer")
        self.assertIn("river", self.ask().lower())

    def test_a_lost_pod_comes_back_alone(self):
        self.begin("None")
        self.kill_each()
        self.assertEqual({self.cluster.generation[name] for name in self.engines()}, {1})
        self.roll()

    def test_the_group_is_recreated_where_it_shall_be(self):
        self.begin("RecreateGroupOnPodRestart")
        worker = next(name for name in self.engines() if name.endswith("decode-0-1"))
        self.killed_and_back(worker)
        self.assertIn("river", self.ask().lower())
        wait_until(lambda: self.cluster.pods[worker].group.recreated, "the group was recreated")


if __name__ == "__main__":
    unittest.main(argv=[sys.argv[0], *sys.argv[3:]], verbosity=2)
