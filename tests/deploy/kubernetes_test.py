# SPDX-License-Identifier: Apache-2.0
"""Manifests and Braid's own clients against a real kube-apiserver. With helm, kube-apiserver and kubectl in build/go/bin.
usage: kubernetes_test.py BRAID MODEL"""
import itertools
import json
import pathlib
import subprocess
import sys
import unittest

import yaml

from apiserver import ROOT, ApiServer, answer_of, free_ports
from manifests_test import SLO, pod_of, render
from paths_test import CHARTED, PATHS

BRAID, MODEL = pathlib.Path(sys.argv[1]).resolve(), sys.argv[2]
CHART = ROOT / "deploy/charts/braid"
POOL = {"apiVersion": "inference.networking.k8s.io/v1", "kind": "InferencePool", "metadata": {"name": "pool"},
        "spec": {"selector": {"matchLabels": {"app": "engine"}}, "targetPorts": [{"number": 8000}], "endpointPickerRef": {"name": "epp", "port": {"number": 9002}}}}
READER = {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": {"name": "router"},
          "rules": [{"apiGroups": [""], "resources": ["pods"], "verbs": ["get", "list", "watch"]},
                    {"apiGroups": ["inference.networking.k8s.io", "inference.networking.x-k8s.io", "llm-d.ai"],
                     "resources": ["inferencepools", "inferenceobjectives", "inferencemodelrewrites"], "verbs": ["get", "list", "watch"]}]}


def objects(text):
    return [document for document in yaml.safe_load_all(text) if document]


class Kubernetes(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.server = ApiServer()
        cls.addClassCleanup(cls.server.close)
        cls.server.define()

    def namespace(self, name):
        self.server.kubectl("create", "namespace", name)
        return name

    def begin(self, *command, **more):
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, stdin=subprocess.DEVNULL, **more)
        self.addCleanup(self.server.end, process)
        return process


class Manifests(Kubernetes):
    def test_the_server_takes_every_path_s_manifests(self):
        for path in CHARTED:
            with self.subTest(path):
                self.server.apply(yaml.safe_dump_all(render(path)), self.namespace(path))

    def test_the_server_takes_what_no_path_s_values_ask_for(self):
        more = {"autoscaling": {"keda": {}, "hpa": {"serve": {"min": 1, "max": 4, "queueSize": 250, "runningRequests": 250}}}}
        self.server.apply(yaml.safe_dump_all(render("autoscaling", "--set-json", f"autoscaling={json.dumps(more['autoscaling'])}")), self.namespace("hpa"))
        self.server.apply(yaml.safe_dump_all(render("gateway", "--set", "gateway.className=some,gateway.objectives.urgent=100")), self.namespace("class"))

    def test_a_field_that_is_not_defined_is_found(self):
        for document in render("wide-ep-lws"):
            if "spec" in document:
                document["spec"]["unheardOf"] = 1
                with self.subTest(document["kind"]), self.assertRaisesRegex(AssertionError, "unheardOf"):
                    self.server.apply(yaml.safe_dump(document))

    def test_definitions_refuse_what_makes_no_sense(self):
        twice = {**POOL, "spec": {**POOL["spec"], "targetPorts": [{"number": 8000}, {"number": 8000}]}}
        with self.assertRaisesRegex(AssertionError, "port numbers must differ"):
            self.server.apply(yaml.safe_dump(twice))

    def test_groups_of_pods_are_scaled_by_the_scale_subresource(self):
        self.server.apply(yaml.safe_dump(next(d for d in render("wide-ep-lws") if (d["kind"], d["metadata"]["name"]) == ("LeaderWorkerSet", "wide-ep-lws-decode"))), self.namespace("scaled"))
        self.server.kubectl("scale", "--replicas=3", "leaderworkerset/wide-ep-lws-decode", "-n", "scaled")
        self.assertEqual(self.server.get("leaderworkerset", "wide-ep-lws-decode", "-n", "scaled")["spec"]["replicas"], 3)

    def test_helm_installs_upgrades_and_uninstalls_every_path(self):
        for path in CHARTED:
            space = self.namespace(f"helm-{path}")
            words = [path, str(CHART), "-n", space, "-f", str(PATHS / path / "values.yaml")]
            with self.subTest(path):
                self.helm("install", *words)
                secret = self.server.get("secret", f"{path}-ranks", "-n", space)["data"]
                self.helm("upgrade", *words)
                self.assertEqual(self.server.get("secret", f"{path}-ranks", "-n", space)["data"], secret)
                self.helm("uninstall", path, "-n", space)
                self.assertEqual(self.server.get("deployments,services,leaderworkersets", "-n", space)["items"], [])

    def helm(self, *words):
        done = self.server.run("helm", *words)
        self.assertEqual(done.returncode, 0, done.stderr)


class Discovery(Kubernetes):
    numbers = itertools.count()

    def setUp(self):
        self.space = self.namespace(f"route-{next(self.numbers)}")
        self.apply(POOL)
        self.apply(READER)
        self.server.kubectl("create", "serviceaccount", "router", "-n", self.space)
        self.server.kubectl("create", "rolebinding", "router", "--role=router", f"--serviceaccount={self.space}:router", "-n", self.space)
        self.token = self.server.kubectl("create", "token", "router", "-n", self.space).strip()

    def apply(self, document):
        self.server.apply(yaml.safe_dump(document), self.space)

    def engine(self, address):
        port = self.pool_port
        process = self.begin(BRAID, "serve", MODEL, "--served-model-name=lexicon", "--backend=simulated", f"--host={address}", f"--port={port}")
        self.server.wait_until(lambda: answer_of(f"http://{address}:{port}/ready")[0] == 200, "an engine is ready")
        return process

    def pod(self, name, address, ready="True"):
        self.apply({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": {"app": "engine"}},
                    "spec": {"containers": [{"name": "engine", "image": "braid"}]}})
        status = {"status": {"phase": "Running", "podIP": address, "podIPs": [{"ip": address}], "conditions": [{"type": "Ready", "status": ready}]}}
        self.server.kubectl("patch", "pod", name, "-n", self.space, "--subresource=status", "--type=merge", "-p", json.dumps(status))

    def endpoints(self):
        page = answer_of(f"{self.url}/metrics")[1]
        return {line.split('endpoint_name="')[1].split('"')[0] for line in page.splitlines() if line.startswith("llm_d_epp_per_endpoint_queue_size{")}

    def follow(self, *where, **more):
        """A router for two engines whose pods come and go, over a server that is away for a while."""
        self.pool_port, router = free_ports(2)
        self.apply({**POOL, "spec": {**POOL["spec"], "targetPorts": [{"number": self.pool_port}]}})
        self.url = f"http://127.0.0.1:{router}"
        self.engine("127.0.0.2")
        self.engine("127.0.0.3")
        self.begin(*more.pop("before", []), str(BRAID), "route", "--host=127.0.0.1", f"--port={router}", "--pool-name=pool", *where, **more)
        self.pod("one", "127.0.0.2")
        self.await_endpoints("one-rank-0")
        self.pod("two", "127.0.0.3")
        self.await_endpoints("one-rank-0", "two-rank-0")

    def await_endpoints(self, *names):
        self.server.wait_until(lambda: self.endpoints() == set(names), f"the router knows {names}")

    def test_a_router_outside_of_the_cluster_follows_pods_over_tls(self):
        self.follow(f"--kubeconfig={self.server.write_kubeconfig('router.yaml', self.token)}", f"--pool-namespace={self.space}")
        self.pod("one", "127.0.0.2", ready="False")
        self.await_endpoints("two-rank-0")
        self.pod("one", "127.0.0.2")
        self.await_endpoints("one-rank-0", "two-rank-0")
        self.server.stop()
        self.assertEqual((self.endpoints(), answer_of(f"{self.url}/readyz")[0]), ({"one-rank-0", "two-rank-0"}, 200))
        self.server.start()
        self.server.wait_until(self.server.ready, "the API server is back")
        self.server.kubectl("delete", "pod", "two", "-n", self.space, "--grace-period=0", "--force")
        self.await_endpoints("one-rank-0")

    def test_a_router_in_a_pod_uses_its_service_account(self):
        folder = self.server.folder / "account"
        folder.mkdir()
        (folder / "token").write_text(self.token)
        (folder / "namespace").write_text(self.space)
        (folder / "ca.crt").write_text((self.server.folder / "ca.crt").read_text())
        mounted = 'mount -t tmpfs pod /run && mkdir -p /run/secrets/kubernetes.io && cp -r "$0" /run/secrets/kubernetes.io/serviceaccount && exec "$@"'
        self.follow(before=["unshare", "-m", "sh", "-ec", mounted, str(folder)],
                    env={"KUBERNETES_SERVICE_HOST": "127.0.0.1", "KUBERNETES_SERVICE_PORT": str(self.server.port), "PATH": "/usr/sbin:/usr/bin:/sbin:/bin"})

    def test_a_router_that_may_not_ask_is_not_ready_and_says_why(self):
        self.server.kubectl("delete", "rolebinding", "router", "-n", self.space)
        router = free_ports(1)[0]
        config = self.server.write_kubeconfig("forbidden.yaml", self.token)
        self.begin(BRAID, "route", "--host=127.0.0.1", f"--port={router}", "--pool-name=pool", f"--kubeconfig={config}", f"--pool-namespace={self.space}")
        self.server.wait_until(lambda: answer_of(f"http://127.0.0.1:{router}/readyz")[0] == 503, "the router listens")
        self.server.wait_until(lambda: "403" in answer_of(f"http://127.0.0.1:{router}/readyz")[1], "it says why")


class Autoscaling(Kubernetes):
    def test_braid_autoscale_scales_groups_with_the_rights_of_its_account(self):
        space, port = self.namespace("slo"), free_ports(1)[0]
        documents = render("wide-ep-lws", *SLO, "--set-json", "autoscaling.slo.min=3")
        self.server.apply(yaml.safe_dump_all(documents), space)
        pod = pod_of(next(d for d in documents if (d["kind"], d["metadata"]["name"]) == ("Deployment", "wide-ep-lws-autoscale")))
        account = pod["serviceAccountName"]
        for verb, what, allowed in (("patch", "leaderworkersets/wide-ep-lws-decode", "yes"), ("delete", "leaderworkersets/wide-ep-lws-decode", "no"), ("get", "secrets", "no")):
            done = self.server.run("kubectl", "auth", "can-i", verb, what, *(["--subresource=scale"] if verb == "patch" else []), "-n", space, f"--as=system:serviceaccount:{space}:{account}")
            self.assertEqual(done.stdout.strip(), allowed, (verb, what))
        config = self.server.write_kubeconfig("slo.yaml", self.server.kubectl("create", "token", account, "-n", space).strip(), space)
        self.begin(BRAID, "serve", MODEL, "--backend=simulated", "--host=127.0.0.1", f"--port={port}")
        self.server.wait_until(lambda: answer_of(f"http://127.0.0.1:{port}/ready")[0] == 200, "an engine is ready")
        # The pod's own words; its groups are one engine here, so that every engine is a replica.
        args = [arg for arg in pod["containers"][0]["args"] if "-metrics=" not in arg and "-per-replica=" not in arg]
        self.begin(BRAID, "autoscale", *args, f"--prefill-metrics=127.0.0.1:{port}", f"--decode-metrics=127.0.0.1:{port}", "--interval=1", f"--kubeconfig={config}")
        for group in "prefill", "decode":
            self.server.wait_until(lambda: self.server.get("leaderworkerset", f"wide-ep-lws-{group}", "-n", space)["spec"]["replicas"] == 3, f"there are three groups of {group}")


if __name__ == "__main__":
    unittest.main(argv=[sys.argv[0], *sys.argv[3:]], verbosity=2)
