# SPDX-License-Identifier: Apache-2.0
"""Rules and dashboards against a real Prometheus that scrapes a running cluster: every query finds data.
usage: prometheus_test.py BRAID MODEL"""
import glob
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import unittest
import urllib.parse

from cluster import Cluster
from server import Process, free_ports, wait_until

FOLDER = "deploy/observability"


class Prometheus(Process):
    def __init__(self, folder, targets):
        with open(FOLDER + "/prometheus.yaml") as f:
            config = f.read()
        config = config.replace("5s, evaluation_interval: 5s", "1s, evaluation_interval: 1s")
        for placeholder, target in targets.items():
            assert placeholder in config
            config = config.replace(placeholder, target)
        with open(folder + "/prometheus.yaml", "w") as f:
            f.write(config)
        shutil.copy(FOLDER + "/rules.yaml", folder)
        port = free_ports(1)
        super().__init__(["prometheus", f"--config.file={folder}/prometheus.yaml", f"--storage.tsdb.path={folder}/data", f"--web.listen-address=127.0.0.1:{port}"])
        self.url = f"http://127.0.0.1:{port}"
        wait_until(lambda: self.answers("/-/ready"), "Prometheus is ready")

    def query(self, text):
        answer = json.loads(self.get("/api/v1/query?" + urllib.parse.urlencode({"query": text})))
        return [s for s in answer["data"]["result"] if s["value"][1] != "NaN"]


def panel_queries():
    for path in sorted(glob.glob(FOLDER + "/grafana/*.json")):
        with open(path) as f:
            for panel in json.load(f)["panels"]:
                for target in panel["targets"]:
                    yield os.path.basename(path) + ": " + panel["title"], target["expr"].replace("$__rate_interval", "30s").replace("$model", ".*")


class Observability(unittest.TestCase):
    def test_promtool_accepts_rules_and_configuration(self):
        for kind, file in ("rules", "rules.yaml"), ("config", "prometheus.yaml"):
            subprocess.run(["promtool", "check", kind, f"{FOLDER}/{file}"], check=True, capture_output=True)

    def test_dashboards_are_those_of_their_tables(self):
        subprocess.run([sys.executable, FOLDER + "/dashboards.py", "--check"], check=True)

    def test_every_query_finds_data(self):
        cluster = Cluster()
        self.addCleanup(cluster.end)
        with tempfile.TemporaryDirectory() as folder:
            engines = [f'"127.0.0.1:{p.port}"' for p in cluster.processes[:-1]]
            prometheus = Prometheus(folder, {'"localhost:8000", "localhost:8001"': ", ".join(engines), "localhost:8081": f"127.0.0.1:{cluster.router.port}"})
            try:
                rules = json.loads(prometheus.get("/api/v1/rules"))["data"]["groups"]
                recorded = [(r["name"], r["name"]) for group in rules for r in group["rules"] if r["type"] == "recording"]
                self.assertGreater(len(recorded), 10)
                for what, query in [*panel_queries(), *recorded]:
                    with self.subTest(what):
                        wait_until(lambda: prometheus.query(query), f"'{query}' finds data")
                alerts = [r for group in json.loads(prometheus.get("/api/v1/rules"))["data"]["groups"] for r in group["rules"] if r["type"] == "alerting"]
                self.assertEqual([r["name"] for r in alerts if r["health"] == "err"], [])
                self.assertEqual([r["name"] for r in alerts if r["state"] == "firing" and r["labels"].get("severity") == "critical"], [])
                names = set(re.findall(r"\b(?:vllm|braid|llm_d_epp)[:_][a-z_0-9]+", " ".join(r["query"] for r in alerts)))
                recorded_parts = {name.split(":")[1] for name, _ in recorded}  # of level:metric:operation
                pages = "".join(p.get("/metrics") for p in cluster.processes)
                self.assertEqual([n for n in sorted(names - recorded_parts) if n not in pages], [])
            finally:
                prometheus.end()


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1], verbosity=2)
