# SPDX-License-Identifier: Apache-2.0
"""The manifests of every path, as helm ($HELM) makes them. usage: manifests_test.py"""
import os
import subprocess
import unittest

import yaml

from paths_test import CHART, CHARTED, PATHS

HELM = os.environ["HELM"]
SLO = ("--set-json", 'autoscaling.slo.groups=["prefill","decode"]')


def render(path, *flags):
    done = subprocess.run([HELM, "template", path, str(CHART), "--kube-version", "1.34.0", "-f", str(PATHS / path / "values.yaml"), *flags],
                          capture_output=True, text=True, timeout=60)
    if done.returncode:
        raise AssertionError(done.stderr)
    return [document for document in yaml.safe_load_all(done.stdout) if document]


def pod_of(document):
    spec = document["spec"]
    return (spec["leaderWorkerTemplate"]["workerTemplate"] if document["kind"] == "LeaderWorkerSet" else spec["template"])["spec"]


class Manifests(unittest.TestCase):
    def test_pods_are_what_a_careful_cluster_admits(self):
        for path in CHARTED:
            documents = render(path)
            pods = [pod_of(d) for d in documents if d["kind"] in ("Deployment", "LeaderWorkerSet")]
            self.assertGreaterEqual(len(pods), 2, path)
            for pod in pods:
                self.assertTrue(pod["securityContext"]["runAsNonRoot"])
                self.assertFalse(pod["automountServiceAccountToken"])
                for container in [*pod["containers"], *pod.get("initContainers", [])]:
                    security = container["securityContext"]
                    self.assertTrue(security["readOnlyRootFilesystem"])
                    self.assertEqual(security["capabilities"]["drop"], ["ALL"])
                    self.assertLessEqual(set(security["capabilities"].get("add", [])), {"IPC_LOCK"})
                    self.assertIn("memory", container["resources"]["requests"])
                    self.assertIn("startupProbe", container)
                for container in pod["containers"]:
                    self.assertLess(container["lifecycle"]["preStop"]["sleep"]["seconds"], pod["terminationGracePeriodSeconds"])
                    for probe in "startupProbe", "livenessProbe", "readinessProbe":
                        self.assertIn(container[probe]["httpGet"]["port"], [p["containerPort"] for p in container["ports"]])

    def test_several_routers_are_peers(self):
        documents = render("inference-scheduling", "--set", "router.replicas=2")
        router, = [pod_of(d)["containers"][0] for d in documents if d["kind"] == "Deployment" and d["metadata"]["name"].endswith("-epp")]
        peers, = [arg for arg in router["args"] if arg.startswith("--peers=")]
        service, = [d for d in documents if d["kind"] == "Service" and d["metadata"]["name"].endswith("-epp-peers")]
        port = service["spec"]["ports"][0]["targetPort"]
        self.assertEqual(peers, f"--peers={service['metadata']['name']}:{port}")
        key, = [e["valueFrom"]["secretKeyRef"] for e in router["env"] if e["name"] == "BRAID_ROUTE_PEER_KEY"]
        secret, = [d for d in documents if d["kind"] == "Secret" and d["metadata"]["name"] == key["name"]]
        self.assertIn(key["key"], secret["data"])
        policy, = [d["spec"] for d in documents if d["kind"] == "NetworkPolicy" and d["metadata"]["name"].endswith("-epp")]
        selector = {"podSelector": policy["podSelector"]}
        self.assertTrue(any(selector in rule.get("from", []) for rule in policy["ingress"]))
        self.assertTrue(any(selector in rule.get("to", []) for rule in policy["egress"]))

    def test_services_and_budgets_select_pods(self):
        for path in CHARTED:
            documents = render(path)
            labels = [(d["spec"]["leaderWorkerTemplate"]["workerTemplate"] if d["kind"] == "LeaderWorkerSet" else d["spec"]["template"])["metadata"]["labels"]
                      for d in documents if d["kind"] in ("Deployment", "LeaderWorkerSet")]
            for document in documents:
                if document["kind"] in ("Service", "PodDisruptionBudget", "NetworkPolicy", "InferencePool"):
                    spec = document["spec"]
                    wanted = spec.get("podSelector", spec.get("selector"))
                    wanted = wanted.get("matchLabels", wanted)
                    self.assertTrue(any(wanted.items() <= pod.items() for pod in labels), (path, document["kind"], document["metadata"]["name"]))

    def test_no_pod_may_ask_the_api_server(self):
        for path in CHARTED:
            self.assertFalse([d for d in render(path) if "Role" in d["kind"]])

    def test_the_autoscaler_may_scale_its_groups_and_nothing_else(self):
        documents = render("wide-ep-lws", *SLO)
        rules = next(d for d in documents if d["kind"] == "Role")["rules"]
        self.assertEqual([(rule["resources"], rule["resourceNames"], rule["verbs"]) for rule in rules],
                         [(["leaderworkersets/scale"], [f"wide-ep-lws-{group}"], ["get", "patch"]) for group in ("prefill", "decode")])
        with_token = [d["metadata"]["name"] for d in documents if d["kind"] in ("Deployment", "LeaderWorkerSet") and pod_of(d)["automountServiceAccountToken"]]
        self.assertEqual(with_token, ["wide-ep-lws-autoscale"])
        self.assertFalse([d for d in documents if d["kind"] == "LeaderWorkerSet" and "replicas" in d["spec"]])
        args = pod_of(next(d for d in documents if d["metadata"]["name"] == with_token[0] and d["kind"] == "Deployment"))["containers"][0]["args"]
        self.assertIn("--decode-engines-per-replica=16", args)
        self.assertEqual(sum(arg.startswith("--decode-metrics=") for arg in args), 8)

    def test_a_group_is_scaled_by_one_thing(self):
        with self.assertRaisesRegex(AssertionError, "keep one"):
            render("autoscaling", "--set-json", 'autoscaling.slo.groups=["serve"]')
        with self.assertRaisesRegex(AssertionError, "no group of engines"):
            render("wide-ep-lws", "--set-json", 'autoscaling.slo.groups=["serve"]')


if __name__ == "__main__":
    unittest.main(verbosity=2)
